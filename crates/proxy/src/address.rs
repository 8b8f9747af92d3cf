//! Where a backend is: `http://HOST:PORT`, `https://HOST`, `h2c://HOST:PORT`, of layer 4 `tcp://`, `tls://` and `udp://HOST:PORT`, or a socket of this machine,
//! `unix:/PATH`. Each of those with `://` may name a service instead, whose records say which hosts and ports give it (RFC 2782): `http+srv://NAME`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use outwork_config::{Fault, Faults, HostPort, HostPortError, Node, Setting, is_host_name};

/// Where a backend is, and what is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUrl {
    /// What is spoken.
    pub speech: Speech,
    /// Where.
    pub place: Place,
}

/// What is spoken with a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speech {
    /// HTTP/1.1 in clear text.
    Http1,
    /// HTTP/2 in clear text, from the first byte on (RFC 9113 section 3.3).
    Http2,
    /// TLS, and inside it what is agreed on there: HTTP/2 or HTTP/1.1.
    Https,
    /// Whatever clients speak over TCP.
    Tcp,
    /// The same within TLS.
    Tls,
    /// Datagrams.
    Udp,
}

/// What can be passed on to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cargo {
    /// Requests.
    Requests,
    /// Connections.
    Connections,
    /// Datagrams.
    Datagrams,
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At an address.
    Address(SocketAddr),
    /// At all addresses that a name has.
    Name {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// Wherever the records of a service say.
    Service(String),
    /// At a socket of this machine.
    Unix(PathBuf),
}

/// What a scheme ends in where the rest names a service.
const SERVICE: &str = "+srv";

/// Why a text does not say where a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BackendUrlError {
    /// It begins with something else.
    #[error("it begins with none of http://, https://, h2c://, tcp://, tls://, udp:// and unix:/")]
    Scheme,
    /// It says more than where the backend is.
    #[error("something follows the host and the port")]
    Path,
    /// There is a name or a password in it.
    #[error("there are credentials in it")]
    Credentials,
    /// The host is missing, or is neither a name nor an address.
    #[error("it names no host")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// There is none, where no port is the usual one.
    #[error("it has no port")]
    NoPort,
    /// A service has one that its records say.
    #[error("the records of a service say its ports")]
    ServicePort,
    /// The path of the socket is not from the root on.
    #[error("the path of the socket does not begin at /")]
    Socket,
}

impl Speech {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "h2c",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    /// The port that is meant where none is named.
    const fn port(self) -> Option<u16> {
        match self {
            Self::Http1 | Self::Http2 => Some(80),
            Self::Https => Some(443),
            Self::Tcp | Self::Tls | Self::Udp => None,
        }
    }

    /// Whether it is spoken within TLS.
    pub(crate) const fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

impl BackendUrl {
    /// Whether this can be passed on to it. A socket of this machine takes requests and connections alike.
    pub fn takes(&self, cargo: Cargo) -> bool {
        match cargo {
            Cargo::Requests => matches!(self.speech, Speech::Http1 | Speech::Http2 | Speech::Https),
            Cargo::Connections => {
                let of_unix = matches!(self.place, Place::Unix(_)) && self.speech == Speech::Http1;
                of_unix || matches!(self.speech, Speech::Tcp | Speech::Tls)
            }
            Cargo::Datagrams => self.speech == Speech::Udp,
        }
    }

    /// The host and, where it is not the usual one, the port, as `Host` has them; `localhost` for a socket.
    pub fn authority(&self) -> String {
        let usual = self.speech.port();
        match &self.place {
            Place::Address(address) if Some(address.port()) == usual => bracketed(address.ip()),
            Place::Address(address) => address.to_string(),
            Place::Name { host, port } if Some(*port) == usual => host.clone(),
            Place::Name { host, port } => format!("{host}:{port}"),
            Place::Service(name) => domain(name).to_owned(),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// The domain that a service is one of: its name without `_SERVICE._PROTOCOL`.
pub(crate) fn domain(service: &str) -> &str {
    let mut rest = service;
    while rest.starts_with('_')
        && let Some((_, after)) = rest.split_once('.')
    {
        rest = after;
    }
    rest.trim_end_matches('.')
}

fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

impl FromStr for BackendUrl {
    type Err = BackendUrlError;

    fn from_str(text: &str) -> Result<Self, BackendUrlError> {
        for (prefix, speech) in [("unix:", Speech::Http1), ("h2c+unix:", Speech::Http2)] {
            if let Some(path) = text.strip_prefix(prefix) {
                let whole = path.starts_with('/') && !path.ends_with('/') && !path.contains('\0');
                return match whole {
                    true => Ok(Self { speech, place: Place::Unix(path.into()) }),
                    false => Err(BackendUrlError::Socket),
                };
            }
        }
        let (scheme, rest) = text.split_once("://").ok_or(BackendUrlError::Scheme)?;
        let (scheme, is_service) = scheme.strip_suffix(SERVICE).map_or((scheme, false), |scheme| (scheme, true));
        let speech = [Speech::Http1, Speech::Http2, Speech::Https, Speech::Tcp, Speech::Tls, Speech::Udp];
        let speech = speech.into_iter().find(|speech| speech.scheme() == scheme).ok_or(BackendUrlError::Scheme)?;
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(BackendUrlError::Path);
        }
        if authority.contains('@') {
            return Err(BackendUrlError::Credentials);
        }
        let place = if is_service { service(authority)? } else { place(authority, speech.port())? };
        Ok(Self { speech, place })
    }
}

/// A host and perhaps a port.
fn place(authority: &str, usual: Option<u16>) -> Result<Place, BackendUrlError> {
    match HostPort::parse(authority, usual) {
        // An address of one link alone is none that `Host` could name.
        Ok(HostPort::Address(SocketAddr::V6(address))) if address.scope_id() > 0 => Err(BackendUrlError::Host),
        Ok(HostPort::Address(address)) => Ok(Place::Address(address)),
        Ok(HostPort::Name { host, port }) => Ok(Place::Name { host: host.to_ascii_lowercase(), port }),
        Err(HostPortError::Host | HostPortError::Bare(_)) => Err(BackendUrlError::Host),
        Err(HostPortError::NoPort(_)) => Err(BackendUrlError::NoPort),
        Err(HostPortError::Port) => Err(BackendUrlError::Port),
    }
}

/// A service, by the name of its records.
fn service(name: &str) -> Result<Place, BackendUrlError> {
    match name.rsplit_once(':') {
        Some((before, _)) if is_host_name(before) => Err(BackendUrlError::ServicePort),
        _ if is_host_name(name) && !domain(name).is_empty() => Ok(Place::Service(name.to_ascii_lowercase())),
        _ => Err(BackendUrlError::Host),
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.speech) {
            (Place::Unix(path), Speech::Http2) => write!(f, "h2c+unix:{}", path.display()),
            (Place::Unix(path), _) => write!(f, "unix:{}", path.display()),
            (Place::Service(name), speech) => write!(f, "{}{SERVICE}://{name}", speech.scheme()),
            (_, speech) => write!(f, "{}://{}", speech.scheme(), self.authority()),
        }
    }
}

impl Setting for BackendUrl {
    fn expected() -> String {
        "http://HOST:PORT, https://HOST, h2c://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:/PATH, or a service such as http+srv://NAME".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let Some(text) = node.text() else { return faults.wrong(node) };
        match text.parse() {
            Ok(url) => Some(url),
            Err(error) => {
                let fault = Fault::new(error.to_string()).expected(Self::expected());
                faults.on(node, fault.help(help(text, error)));
                None
            }
        }
    }

    fn write(&self) -> serde_json::Value {
        self.to_string().into()
    }

    fn schema() -> serde_json::Value {
        let examples = [
            "http://10.0.0.7:8080",
            "https://app.example.org",
            "tcp://10.0.0.8:5432",
            "unix:/run/app.sock",
            "http+srv://_http._tcp.app.example.org",
        ];
        serde_json::json!({"type": "string", "pattern": "^((https?|h2c|tcp|tls|udp)(\\+srv)?://|(h2c\\+)?unix:/)", "examples": examples})
    }
}

fn help(text: &str, error: BackendUrlError) -> String {
    match error {
        BackendUrlError::NoPort => format!("write {}:PORT", text.trim_end_matches('/')),
        BackendUrlError::ServicePort => "leave the port out, or write http://HOST:PORT for a host".to_owned(),
        BackendUrlError::Scheme if place(text, Some(80)).is_ok() => format!("write http://{text}"),
        BackendUrlError::Path => {
            "a backend is a server; to put a path before that of requests, write rewrite = { add_prefix = \"/PATH\" } in the route".to_owned()
        }
        BackendUrlError::Credentials => {
            "write request_headers = { set = { authorization = \"...\" } } in the route".to_owned()
        }
        BackendUrlError::Host => "an IPv6 address stands in brackets: http://[2001:db8::1]:8080".to_owned(),
        _ => "for example http://10.0.0.7:8080, or unix:/run/app.sock".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_a_server_or_a_socket_and_what_is_spoken_there() {
        let read = |text: &str| text.parse::<BackendUrl>().unwrap();
        let named = |host: &str, port| Place::Name { host: host.into(), port };
        assert_eq!(read("http://10.0.0.1:8080").place, Place::Address("10.0.0.1:8080".parse().unwrap()));
        assert_eq!(read("https://[2001:db8::1]/").place, Place::Address("[2001:db8::1]:443".parse().unwrap()));
        assert_eq!(
            read("h2c://App.example:50051"),
            BackendUrl { speech: Speech::Http2, place: named("app.example", 50_051) }
        );
        assert_eq!(read("http://app").place, named("app", 80));
        assert_eq!(
            read("unix:/run/app.sock"),
            BackendUrl { speech: Speech::Http1, place: Place::Unix("/run/app.sock".into()) }
        );
        assert_eq!(read("h2c+unix:/run/app.sock").speech, Speech::Http2);
        let same =
            ["http://10.0.0.1:8080", "https://[2001:db8::1]", "h2c://app:50051", "unix:/run/a", "h2c+unix:/run/a"];
        let others = ["tcp://10.0.0.1:5432", "tls://db.example:443", "udp://[::1]:80", "h2c+srv://_a._tcp.example"];
        for text in same.into_iter().chain(others) {
            assert_eq!(read(text).to_string(), text);
        }
    }

    #[test]
    fn what_a_backend_takes_follows_from_what_is_spoken_there() {
        use Cargo::{Connections, Datagrams, Requests};
        let takes = |text: &str| {
            let url: BackendUrl = text.parse().unwrap();
            [Requests, Connections, Datagrams].map(|cargo| url.takes(cargo))
        };
        assert_eq!(takes("http://a"), [true, false, false]);
        assert_eq!(takes("https://a"), [true, false, false]);
        assert_eq!(takes("h2c+unix:/run/a"), [true, false, false]);
        assert_eq!(takes("unix:/run/a"), [true, true, false]);
        assert_eq!(takes("tcp://a:1"), [false, true, false]);
        assert_eq!(takes("tls://a:1"), [false, true, false]);
        assert_eq!(takes("udp://a:1"), [false, false, true]);
        assert_eq!(takes("tls+srv://_a._tcp.b"), [false, true, false]);
    }

    #[test]
    fn a_service_is_a_name_without_a_port_and_is_of_a_domain() {
        let read = |text: &str| text.parse::<BackendUrl>();
        let url = read("https+srv://_HTTP._tcp.app.Example.org.").unwrap();
        assert_eq!(url.place, Place::Service("_http._tcp.app.example.org.".into()));
        assert_eq!(url.authority(), "app.example.org");
        assert_eq!(read("http+srv://web.service.consul").unwrap().authority(), "web.service.consul");
        assert_eq!(read("http+srv://_http._tcp.app:80"), Err(BackendUrlError::ServicePort));
        assert_eq!(read("http+srv://10.0.0.1"), Err(BackendUrlError::Host));
        assert_eq!(read("unix+srv://app"), Err(BackendUrlError::Scheme));
    }

    #[test]
    fn the_usual_port_is_left_out_of_the_authority() {
        let authority = |text: &str| text.parse::<BackendUrl>().unwrap().authority();
        assert_eq!(authority("https://app.example:443"), "app.example");
        assert_eq!(authority("http://[::1]:80"), "[::1]");
        assert_eq!(authority("http://app:443"), "app:443");
        assert_eq!(authority("unix:/run/app.sock"), "localhost");
    }

    #[test]
    fn what_is_no_server_is_refused_by_what_is_wrong_with_it() {
        use BackendUrlError::{Credentials, Host, NoPort, Path, Port, Scheme, Socket};
        let refused = [
            ("10.0.0.1:8080", Scheme),
            ("ftp://app", Scheme),
            ("http://app/path", Path),
            ("http://app?x", Path),
            ("http://me:secret@app", Credentials),
            ("http://", Host),
            ("http://::1", Host),
            ("http://[fe80::1%3]:80", Host),
            ("http://10.0.0.256", Host),
            ("http://a b", Host),
            ("http://-a", Host),
            ("http://[10.0.0.1]", Host),
            ("http://app:0", Port),
            ("http://app:", Port),
            ("tcp://10.0.0.1", NoPort),
            ("udp://app/", NoPort),
            ("tls://[::1]", NoPort),
            ("http://[::1]8080", Port),
            ("unix:run/app.sock", Socket),
        ];
        for (text, error) in refused {
            assert_eq!(text.parse::<BackendUrl>(), Err(error), "{text}");
        }
    }
}
