//! What backends are told of whose a connection is, in front of everything else that is said on it: the PROXY protocol.

use std::net::SocketAddr;

use outwork_front::message::Origin;
use outwork_wire::proxy::{Ends, Extras, Transport, write_v1, write_v2};

use crate::config::ProxyVersion;

/// Whose a connection is, as a backend is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Announced {
    pub(crate) version: ProxyVersion,
    /// The client's end.
    pub(crate) source: SocketAddr,
    /// The end that the client has connected to.
    pub(crate) destination: SocketAddr,
    /// It has come by TLS that ended here, and has asked for this name.
    pub(crate) tls: Option<Option<String>>,
}

impl Announced {
    /// That of a request.
    pub(crate) fn of(version: ProxyVersion, origin: &Origin) -> Self {
        let name = || origin.session.as_ref().and_then(|session| session.server_name.as_deref().map(str::to_owned));
        Self { version, source: origin.peer, destination: origin.destination(), tls: origin.tls.then(name) }
    }

    /// As it is written.
    pub(crate) fn header(&self) -> Vec<u8> {
        let ends = Ends::Internet { transport: Transport::Stream, source: self.source, destination: self.destination };
        let name = self.tls.as_ref().and_then(|name| name.as_deref());
        write(
            self.version,
            &ends,
            &Extras { authority: name.map(str::as_bytes), tls: self.tls.as_ref().map(|_| true), ..Extras::default() },
        )
    }
}

/// What is said on a connection that is nobody's but ours, as that of a check.
pub(crate) fn own(version: ProxyVersion) -> Vec<u8> {
    write(version, &Ends::Own, &Extras::default())
}

fn write(version: ProxyVersion, ends: &Ends<'_>, extras: &Extras<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    match version {
        ProxyVersion::V1 => write_v1(ends, &mut said),
        ProxyVersion::V2 => {
            if let Err(error) = write_v2(ends, extras, &mut said) {
                // A name too long to be told. Without it, there is nothing that could be.
                tracing::warn!(%error, "a backend is not told all of a connection");
                let _ = write_v2(ends, &Extras::default(), &mut said);
            }
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(version: ProxyVersion) -> Announced {
        let [source, destination] = ["192.0.2.7:4711", "[2001:db8::1]:443"].map(|end| end.parse().unwrap());
        Announced { version, source, destination, tls: Some(Some("a.test".to_owned())) }
    }

    #[test]
    fn a_line_has_both_ends_in_one_family_and_a_check_is_nobody_s() {
        let line = String::from_utf8(announced(ProxyVersion::V1).header()).unwrap();
        assert_eq!(line, "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 4711 443\r\n");
        assert_eq!(own(ProxyVersion::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(own(ProxyVersion::V2)[12..], [0x20, 0, 0, 0]);
    }

    #[test]
    fn a_name_that_is_too_long_is_left_out_and_the_ends_are_told() {
        use outwork_wire::proxy::Header;
        let told = |name: String| {
            let said = Announced { tls: Some(Some(name)), ..announced(ProxyVersion::V2) }.header();
            let (header, _) = Header::read(&said).unwrap().unwrap();
            (matches!(header.ends, Ends::Internet { .. }), header.extras.authority.map(<[u8]>::len))
        };
        assert_eq!(told("a.test".to_owned()), (true, Some(6)));
        assert_eq!(told("x".repeat(70_000)), (true, None));
    }
}
