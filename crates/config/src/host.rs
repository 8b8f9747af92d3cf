//! Where somebody can be dialled: an address or the name of a host, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::text_setting;

/// It.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPort {
    /// An address.
    Address(SocketAddr),
    /// A name, which is looked up.
    Name {
        /// The name of the host, as it was written.
        host: String,
        /// The port there.
        port: u16,
    },
}

/// Why a text does not say where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// Neither an address nor a name is in front of the port.
    #[error("it names no host")]
    Host,
    /// It is an IPv6 address without brackets: nobody knows where that ends. As it would be with them.
    #[error("it has no port")]
    Bare(String),
    /// There is none; as it would be with one.
    #[error("it has no port")]
    NoPort(String),
    /// It is no number, or 0.
    #[error("the port is no number from 1 to 65535")]
    Port,
}

impl HostPortError {
    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Bare(with) | Self::NoPort(with) => Some(format!("add a port: {with:?}")),
            Self::Host => {
                Some("write \"192.0.2.1:PORT\", \"[2001:db8::1]:PORT\" or \"vpn.example.org:PORT\"".to_owned())
            }
            Self::Port => None,
        }
    }
}

impl HostPort {
    /// Reads one; where it has no port, that is the usual one, if there is such.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, usual: Option<u16>) -> Result<Self, HostPortError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() > 0 { Ok(Self::Address(address)) } else { Err(HostPortError::Port) };
        }
        if let Ok(IpAddr::V6(address)) = text.parse() {
            return Err(HostPortError::Bare(format!("[{address}]:PORT")));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, rest)) => {
                let Ok(address @ IpAddr::V6(_)) = address.parse::<IpAddr>() else { return Err(HostPortError::Host) };
                // With a port that is one, it was read above.
                return match (rest, usual) {
                    ("", Some(port)) => Ok(Self::Address((address, port).into())),
                    ("", None) => Err(HostPortError::NoPort(format!("[{address}]:PORT"))),
                    _ => Err(HostPortError::Port),
                };
            }
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let address = host.parse::<IpAddr>().ok();
        if address.is_none() && !is_host_name(host) {
            return Err(HostPortError::Host);
        }
        let is_number = |port: &&str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => usual.ok_or_else(|| HostPortError::NoPort(format!("{host}:PORT")))?,
            Some(port) => {
                let port = Some(port).filter(is_number).and_then(|port| port.parse().ok());
                port.filter(|port| *port > 0).ok_or(HostPortError::Port)?
            }
        };
        Ok(match address {
            Some(address) => Self::Address((address, port).into()),
            None => Self::Name { host: host.to_owned(), port },
        })
    }

    /// The address, where it is one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name { .. } => None,
        }
    }

    /// The address or the name, without the port.
    pub fn host(&self) -> String {
        match self {
            Self::Address(address) => address.ip().to_string(),
            Self::Name { host, .. } => host.clone(),
        }
    }
}

/// Whether a text could be the name of a host (RFC 1123 section 2.1), or of a service of one (RFC 2782), which begins with underscores. What ends in a number alone is a bad
/// address.
pub fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(fits) && !ends
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number)
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        Self::parse(text, None)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

text_setting!(
    HostPort,
    "an address or the name of a host, and a port, such as",
    "192.0.2.1:51820",
    advice HostPortError::advice
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_name_with_a_port() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820", "[fe80::1%3]:51820"] {
            assert_eq!(text.parse::<HostPort>().unwrap().address().unwrap().to_string(), text);
        }
        for text in ["vpn.example.org:51820", "localhost:1", "hub_1.lan.:443", "9.example:9", "VPN.example:1"] {
            let place: HostPort = text.parse().unwrap();
            assert_eq!((place.address(), place.to_string().as_str()), (None, text));
        }
    }

    #[test]
    fn the_usual_port_is_meant_where_there_is_one_and_none_is_written() {
        let read = |text: &str| HostPort::parse(text, Some(443)).map(|place| place.to_string());
        for (text, whole) in [
            ("192.0.2.1", "192.0.2.1:443"),
            ("[2001:db8::1]", "[2001:db8::1]:443"),
            ("vpn.example.org", "vpn.example.org:443"),
            ("vpn.example.org:80", "vpn.example.org:80"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(whole));
        }
        let bare = HostPortError::Bare("[2001:db8::1]:PORT".to_owned());
        assert_eq!(read("2001:db8::1"), Err(bare), "where it ends nobody knows");
        for text in ["[192.0.2.1]", "[vpn.example.org]", "", "a b", "-a", "a-", "192.0.2.256", "vpn.7"] {
            assert_eq!(read(text), Err(HostPortError::Host), "{text}");
        }
    }

    #[test]
    fn what_says_no_place_says_why() {
        for (text, why) in [
            ("vpn.example.org", HostPortError::NoPort("vpn.example.org:PORT".to_owned())),
            ("192.0.2.1", HostPortError::NoPort("192.0.2.1:PORT".to_owned())),
            ("2001:db8::1", HostPortError::Bare("[2001:db8::1]:PORT".to_owned())),
            ("[2001:db8::1]", HostPortError::NoPort("[2001:db8::1]:PORT".to_owned())),
            (":51820", HostPortError::Host),
            ("", HostPortError::Host),
            ("300.0.2.1:51820", HostPortError::Host),
            ("two words:51820", HostPortError::Host),
            ("[192.0.2.1]:51820", HostPortError::Host),
            ("vpn.example.org:0", HostPortError::Port),
            ("192.0.2.1:0", HostPortError::Port),
            ("[2001:db8::1]:0", HostPortError::Port),
            ("[2001:db8::1]51820", HostPortError::Port),
            ("[2001:db8::1]:", HostPortError::Port),
            ("vpn.example.org:+1", HostPortError::Port),
            ("vpn.example.org:99999", HostPortError::Port),
            ("vpn.example.org:1:2", HostPortError::Port),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(why), "{text}");
        }
    }

    #[test]
    fn a_name_is_of_labels_that_are_no_number_at_the_end() {
        for text in ["a", "9.example", "_http._tcp.app.example.org.", "hub_1.lan", "xn--e1afmkfd.example"] {
            assert!(is_host_name(text), "{text}");
        }
        let (label, whole) = ("a".repeat(64), ["a".repeat(63).as_str(); 4].join("."));
        for text in ["", ".", "a..b", "-a.example", "a-.example", "10.0.0.1", "example.7", "a b", &label, &whole] {
            assert!(!is_host_name(text), "{text}");
        }
    }
}
