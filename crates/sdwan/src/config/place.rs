//! Where somebody can be dialled: an address or a name, and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use outwork_config::text_setting;

/// It.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// An address.
    Address(SocketAddr),
    /// A name, which is looked up.
    Name {
        /// The name of the host.
        host: String,
        /// The port there.
        port: u16,
    },
}

/// Why a text does not say where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Neither an address nor a name is in front of the port.
    #[error("it names no host")]
    Host,
    /// There is none; as it would be with one.
    #[error("it has no port")]
    NoPort(String),
    /// It is no number, or 0.
    #[error("the port is no number from 1 to 65535")]
    Port,
}

impl PlaceError {
    /// What to do about it.
    fn advice(&self) -> Option<String> {
        match self {
            PlaceError::NoPort(with) => Some(format!("add a port: {with:?}")),
            PlaceError::Host => {
                Some("write \"192.0.2.1:PORT\", \"[2001:db8::1]:PORT\" or \"vpn.example.org:PORT\"".to_owned())
            }
            PlaceError::Port => None,
        }
    }
}

impl Place {
    /// The address, where it is one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Place::Address(address) => Some(*address),
            Place::Name { .. } => None,
        }
    }

    /// The address or the name, without the port.
    pub fn host(&self) -> String {
        match self {
            Place::Address(address) => address.ip().to_string(),
            Place::Name { host, .. } => host.clone(),
        }
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Place::Address(address)
    }
}

/// Whether a text is the name of a host (RFC 1123 section 2.1): what ends in a number alone is a bad address.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(fits);
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(is_label) && text.rsplit('.').next().is_some_and(|last| !is_number(last))
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Place::Address(address));
        }
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => return Err(PlaceError::NoPort(format!("[{address}]:PORT"))),
            Ok(IpAddr::V4(address)) => return Err(PlaceError::NoPort(format!("{address}:PORT"))),
            Err(_) => {}
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(if is_name(text) { PlaceError::NoPort(format!("{text}:PORT")) } else { PlaceError::Host });
        };
        if !is_name(host) {
            return Err(PlaceError::Host);
        }
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| *port > 0 && is_number).ok_or(PlaceError::Port)?;
        Ok(Place::Name { host: host.to_owned(), port })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => address.fmt(f),
            Place::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

text_setting!(
    Place,
    "an address or the name of a host, and a port, such as",
    "192.0.2.1:51820",
    advice PlaceError::advice
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_or_a_name_with_a_port() {
        for text in ["192.0.2.1:51820", "[2001:db8::1]:51820"] {
            assert_eq!(text.parse::<Place>().unwrap().address().unwrap().to_string(), text);
        }
        for text in ["vpn.example.org:51820", "localhost:1", "hub_1.lan.:443", "9.example:9"] {
            let place: Place = text.parse().unwrap();
            assert_eq!((place.address(), place.to_string().as_str()), (None, text));
        }
    }

    #[test]
    fn what_says_no_place_says_why() {
        for (text, why) in [
            ("vpn.example.org", PlaceError::NoPort("vpn.example.org:PORT".to_owned())),
            ("192.0.2.1", PlaceError::NoPort("192.0.2.1:PORT".to_owned())),
            ("2001:db8::1", PlaceError::NoPort("[2001:db8::1]:PORT".to_owned())),
            (":51820", PlaceError::Host),
            ("", PlaceError::Host),
            ("300.0.2.1:51820", PlaceError::Host),
            ("two words:51820", PlaceError::Host),
            ("vpn.example.org:0", PlaceError::Port),
            ("vpn.example.org:+1", PlaceError::Port),
            ("vpn.example.org:99999", PlaceError::Port),
        ] {
            assert_eq!(text.parse::<Place>(), Err(why), "{text}");
        }
    }
}
