//! Whose request it is where a proxy of our own passes it on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use outwork_config::choice;

use super::networks::{Network, Networks};
use crate::message::Origin;

choice! {
    /// The field in which trusted proxies tell whose request it is. Only the one that they write can be trusted: they pass others on as
    /// clients made them up.
    pub enum ClientField {
        /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
        XForwardedFor = "x-forwarded-for",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Proxies whose word is taken for where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    trusted: Networks,
    field: ClientField,
}

impl Proxies {
    /// Trusts these; `None` where there are none.
    pub fn new(trusted: &[Network], field: ClientField) -> Option<Self> {
        Some(Self { trusted: Networks::of(trusted), field }).filter(|proxies| !proxies.trusted.is_empty())
    }

    /// Whether an address is one of them.
    pub fn trust(&self, address: IpAddr) -> bool {
        self.trusted.contains(address)
    }

    /// Where a request really comes from: of the addresses that it came through, the last that is not trusted. `None` where
    /// the connection itself says it.
    pub fn origin(&self, headers: &HeaderMap, connection: &Origin) -> Option<Origin> {
        if !self.trust(connection.peer.ip()) {
            return None;
        }
        let mut found = None;
        let mut https = None;
        for hop in self.hops(headers) {
            // Whoever hides its name is not known, and neither is what it says of others.
            let Some(end) = hop.end else { break };
            found = Some(end);
            https = hop.https.or(https);
            if !self.trust(end.ip()) {
                break;
            }
        }
        if self.field == ClientField::XForwardedFor {
            let said = headers.get_all(X_FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
            https = said.and_then(|said| said.rsplit(',').next()).and_then(is_https);
        }
        let tls = https.unwrap_or(connection.tls);
        let peer = found.unwrap_or(connection.peer);
        (peer != connection.peer || tls != connection.tls).then_some(Origin {
            peer,
            local: connection.local,
            to: connection.to,
            tls,
            session: connection.session.clone(),
        })
    }

    /// What the fields tell, the nearest hop first.
    fn hops<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = Hop> + use<'h> {
        let (name, forwarded) = match self.field {
            ClientField::XForwardedFor => (X_FORWARDED_FOR, false),
            ClientField::Forwarded => (FORWARDED, true),
        };
        let elements = headers.get_all(name).into_iter().rev().flat_map(|value| {
            // What is no text ends what is known.
            value.to_str().unwrap_or("?").rsplit(',')
        });
        elements.map(move |element| match forwarded {
            true => Hop::forwarded(element),
            false => Hop { end: end(element.trim()), https: None },
        })
    }
}

/// What a proxy says of where it has a request from.
struct Hop {
    end: Option<SocketAddr>,
    https: Option<bool>,
}

impl Hop {
    /// An element of `Forwarded`: `for=192.0.2.1;proto=https` (RFC 7239 section 4). A comma within quotes ends it, too: no address has one.
    fn forwarded(element: &str) -> Self {
        let mut hop = Self { end: None, https: None };
        for pair in element.split(';') {
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            if name.eq_ignore_ascii_case("for") {
                hop.end = end(value);
            } else if name.eq_ignore_ascii_case("proto") {
                hop.https = is_https(value);
            }
        }
        hop
    }
}

fn is_https(scheme: &str) -> Option<bool> {
    match scheme.trim() {
        scheme if scheme.eq_ignore_ascii_case("https") => Some(true),
        scheme if scheme.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn end(text: &str) -> Option<SocketAddr> {
    if let Ok(end) = text.parse::<SocketAddr>() {
        return Some(canonical(end));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.map(|address| canonical(SocketAddr::new(address, 0)))
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxies(field: ClientField) -> Proxies {
        Proxies::new(&["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()], field).unwrap()
    }

    /// The client's address, and whether it came over TLS.
    fn seen(field: ClientField, peer: &str, fields: &[(&'static str, &'static str)]) -> (String, bool) {
        let connection = Origin {
            peer: SocketAddr::new(peer.parse().unwrap(), 5),
            local: ([10, 0, 0, 1], 80).into(),
            to: None,
            tls: false,
            session: None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let origin = proxies(field).origin(&headers, &connection).unwrap_or(connection);
        (origin.peer.ip().to_string(), origin.tls)
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let by = |peer, list| seen(ClientField::XForwardedFor, peer, &[("x-forwarded-for", list)]).0;
        assert_eq!(by("10.1.1.1", "192.0.2.1"), "192.0.2.1");
        assert_eq!(by("10.1.1.1", "203.0.113.9, 192.0.2.1"), "192.0.2.1", "what the client made up stands before it");
        assert_eq!(by("10.1.1.1", "203.0.113.9, 192.0.2.1, 10.9.9.9"), "192.0.2.1");
        assert_eq!(by("10.1.1.1", "10.2.2.2, 10.3.3.3"), "10.2.2.2", "where all are trusted, the first");
        assert_eq!(by("198.51.100.1", "192.0.2.1"), "198.51.100.1", "nobody else is believed");
        assert_eq!(by("10.1.1.1", "192.0.2.1, unknown"), "10.1.1.1");
        assert_eq!(by("10.1.1.1", "192.0.2.1:443"), "192.0.2.1");
        assert_eq!(by("10.1.1.1", "2001:db8::1"), "2001:db8::1");
        assert_eq!(by("::1", "::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn several_lines_of_a_field_are_one_list() {
        let lines =
            [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "10.5.5.5")];
        assert_eq!(seen(ClientField::XForwardedFor, "10.1.1.1", &lines).0, "192.0.2.1");
    }

    #[test]
    fn the_scheme_is_the_one_that_the_nearest_proxy_saw() {
        let x = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "http, https")];
        assert_eq!(seen(ClientField::XForwardedFor, "10.1.1.1", &x), ("192.0.2.1".to_owned(), true));
        assert!(!seen(ClientField::XForwardedFor, "192.0.2.7", &x).1);
        let forwarded =
            [("forwarded", "for=203.0.113.9;proto=https, For=\"[2001:db8::7]:4711\"; Proto=https;by=10.0.0.1")];
        assert_eq!(seen(ClientField::Forwarded, "10.1.1.1", &forwarded), ("2001:db8::7".to_owned(), true));
    }

    #[test]
    fn a_field_that_the_proxies_do_not_write_is_not_read() {
        let made_up = [("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(seen(ClientField::XForwardedFor, "10.1.1.1", &made_up).0, "192.0.2.1");
        assert_eq!(seen(ClientField::Forwarded, "10.1.1.1", &[("forwarded", "for=_hidden;proto=https")]).0, "10.1.1.1");
    }
}
