//! The server on this machine: where it is asked, and how it is shown who asks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Once;
use std::time::Duration;

use outwork_admin::local_urls;
use ureq::http::Uri;

use super::ClientError;
use crate::report;
use crate::settings::Whereabouts;

/// Who asks.
pub(super) enum Credential {
    /// A token that was given.
    Given(String),
    /// The secret of the data directory, and its file.
    Local(String, PathBuf),
    /// There is none: the server on this machine, if it is one, has left no such file.
    NoFile(PathBuf),
    /// There is none for another machine's server.
    Nobody,
}

impl Credential {
    pub(super) fn secret(&self) -> Option<&str> {
        match self {
            Self::Given(token) | Self::Local(token, _) => Some(token),
            Self::NoFile(_) | Self::Nobody => None,
        }
    }

    /// What can be done where this was not enough.
    pub(super) fn help(&self, status: u16) -> Option<String> {
        const GIVE: &str = "give a token with --token or OUTWORK_TOKEN";
        const MOVED: &str = "a server whose store.data_dir was changed since it started has the one before: --set store.data_dir=DIR names it";
        match (status, self) {
            (401, Self::Given(_)) => Some("is the token of --token or OUTWORK_TOKEN one of this server's?".into()),
            (401, Self::Local(_, path)) => Some(format!(
                "{} is not this server's: name its configuration with --config, or {GIVE}; {MOVED}",
                path.display()
            )),
            (401, Self::NoFile(path)) => Some(format!(
                "there is no {}: name the server's configuration with --config, or {GIVE}; {MOVED}",
                path.display()
            )),
            (401, Self::Nobody) => {
                Some(format!("{GIVE}; `outwork token create NAME` on the server's machine makes one"))
            }
            (403, _) => Some("an admin makes a token of a higher role: `outwork token create NAME --role ROLE`".into()),
            _ => None,
        }
    }
}

/// How long a server on this machine may take to accept a connection.
const ACCEPT: Duration = Duration::from_secs(2);

/// Where the server on this machine is asked: where it says that it listens, for `admin.listen` may have changed since; and where the configuration
/// has it listen, if it says nothing, or nobody is there.
pub(super) fn here(whereabouts: &Whereabouts) -> Result<String, ClientError> {
    let Whereabouts { admin, data_dir } = whereabouts;
    let wanted: Vec<_> = admin.listen.iter().map(|address| (*address, admin.tls.is_some())).collect();
    let there = local_urls(data_dir);
    let Some(own) = reached(&there) else { return reached(&wanted).map(url).ok_or(ClientError::NoPort) };
    let Some(configured) = reached(&wanted).filter(|_| !is_as_wanted(&there, &wanted)) else { return Ok(url(own)) };
    // Who ended uncleanly has left word of where nobody is by now.
    if TcpStream::connect_timeout(&own.0, ACCEPT).is_err() {
        return Ok(url(configured));
    }
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let (own, keys) = (url(own), if own.1 == configured.1 { "admin.listen" } else { "admin.listen, admin.tls" });
        let text = format!("the server listens at {own}, not as configured ({keys}): it is asked there");
        // Where nobody reads that, the command does what it does all the same.
        let _ = report::warn(&text);
    });
    Ok(url(own))
}

/// Whether a server is where the configuration has it listen. It chooses the ports itself that are 0 there.
fn is_as_wanted(there: &[(SocketAddr, bool)], wanted: &[(SocketAddr, bool)]) -> bool {
    wanted.iter().all(|one| one.0.port() == 0 || there.contains(one))
}

/// The listener that a server is asked at from its own machine: on loopback, if there is one. Those whose port nobody knows are passed over.
fn reached(listening: &[(SocketAddr, bool)]) -> Option<(SocketAddr, bool)> {
    let at = |(address, tls): &(SocketAddr, bool)| match address.ip() {
        IpAddr::V4(any) if any.is_unspecified() => (SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())), *tls),
        IpAddr::V6(any) if any.is_unspecified() => (SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())), *tls),
        _ => (*address, *tls),
    };
    let fixed = || listening.iter().filter(|(address, _)| address.port() != 0).map(at);
    fixed().find(|(address, _)| address.ip().is_loopback()).or_else(|| fixed().next())
}

fn url((address, tls): (SocketAddr, bool)) -> String {
    format!("{}://{address}", if tls { "https" } else { "http" })
}

/// Whether a server is on this machine: only such a one is shown this machine's secret.
pub(super) fn is_here(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || is_own(address))
}

/// Whether an address is this machine's. The kernel knows: it reaches its own addresses from themselves. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let route = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    !address.is_unspecified() && route().is_ok_and(|from| from.ip() == address)
}

/// What the server on this machine has left in its data directory for who can read it there.
pub(super) fn local_credential(path: PathBuf) -> Result<Credential, ClientError> {
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(Credential::Local(token.trim().to_owned(), path)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Credential::NoFile(path)),
        Err(cause) => Err(ClientError::LocalToken { path, cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_machine_is_shown_its_token() {
        for (url, here) in [
            ("http://127.0.0.1:8067", true),
            ("http://127.8.9.10", true),
            ("https://[::1]:1", true),
            ("http://localhost:8067", true),
            ("http://192.0.2.1:8067", false),
            ("http://localhost.example.net", false),
            ("http://127.0.0.1.example.net", false),
            ("http://127.0.0.1@example.net", false),
        ] {
            assert_eq!(is_here(&url.parse().unwrap()), here, "{url}");
        }
    }

    #[test]
    fn the_server_on_this_machine_is_asked_where_it_listens() {
        let asked = |listen: &[&str]| {
            let listen: Vec<_> = listen.iter().map(|address| (address.parse().unwrap(), false)).collect();
            reached(&listen).map(url)
        };
        assert_eq!(asked(&["192.0.2.1:80", "127.0.0.1:8067"]).as_deref(), Some("http://127.0.0.1:8067"));
        assert_eq!(asked(&["192.0.2.1:80"]).as_deref(), Some("http://192.0.2.1:80"));
        assert_eq!(asked(&["[::]:80"]).as_deref(), Some("http://[::1]:80"));
        assert_eq!(asked(&["0.0.0.0:81"]).as_deref(), Some("http://127.0.0.1:81"));
        assert_eq!(asked(&["127.0.0.1:0"]), None);
    }

    #[test]
    fn a_server_that_chose_its_port_is_where_it_is_wanted() {
        let of = |listen: &[&str]| listen.iter().map(|one| (one.parse().unwrap(), false)).collect::<Vec<_>>();
        let there = of(&["127.0.0.1:40000", "192.0.2.1:80"]);
        assert!(is_as_wanted(&there, &of(&["127.0.0.1:0", "192.0.2.1:80"])));
        assert!(is_as_wanted(&there, &of(&["192.0.2.1:80"])));
        assert!(!is_as_wanted(&there, &of(&["192.0.2.1:81"])));
        assert!(!is_as_wanted(&there, &[("192.0.2.1:80".parse().unwrap(), true)]));
    }

    #[test]
    fn who_is_not_let_in_is_told_what_would_help() {
        let path = || PathBuf::from("/var/lib/outwork/admin.token");
        for (credential, expected) in [
            (Credential::Given("x".into()), "OUTWORK_TOKEN"),
            (Credential::Local("x".into(), path()), "/var/lib/outwork/admin.token is not this server's"),
            (Credential::NoFile(path()), "there is no /var/lib/outwork/admin.token"),
            (Credential::Nobody, "outwork token create NAME"),
        ] {
            let help = credential.help(401).unwrap();
            assert!(help.contains(expected) && help.contains("token"), "{help}");
            let from_a_folder = matches!(credential, Credential::Local(..) | Credential::NoFile(_));
            assert_eq!(help.contains("--set store.data_dir="), from_a_folder, "{help}");
            assert_eq!(credential.help(409), None);
        }
    }
}
