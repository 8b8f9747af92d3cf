//! Values of settings that are written as one text.

use std::fmt;
use std::str::FromStr;

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, Uri};
use regex::{Regex, RegexBuilder};

/// What a text that is no such value is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No field name.
    #[error("{0:?} is no field name")]
    Field(String),
    /// A field that says how messages are framed, which is the connection's to say.
    #[error("{0} is what the connection says, and nobody else")]
    Framing(HeaderName),
    /// No origin.
    #[error("{0:?} is no origin: a scheme, a host and perhaps a port")]
    Origin(String),
    /// No key of a limit.
    #[error("{0:?} is nothing that requests could be counted by")]
    RateKey(String),
    /// No regular expression.
    #[error("{0}")]
    Pattern(String),
}

/// The name of a header field that may be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(HeaderName);

impl FieldName {
    /// This one.
    pub const fn of(name: HeaderName) -> Self {
        Self(name)
    }

    /// The name.
    pub fn name(&self) -> &HeaderName {
        &self.0
    }
}

impl FromStr for FieldName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| NameError::Field(text.to_owned()))?;
        match [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE].contains(&name) {
            true => Err(NameError::Framing(name)),
            false => Ok(Self(name)),
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

outwork_config::text_setting!(FieldName, "a field name such as", "x-version");

/// Origins of pages (RFC 6454 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigin {
    /// Any.
    Any,
    /// This one.
    Exactly(Box<str>),
    /// Those whose host has more labels before this one: scheme with its slashes, and the rest from the dot on.
    Below(Box<str>, Box<str>),
}

impl FromStr for CorsOrigin {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Origin(text.to_owned());
        if text == "*" {
            return Ok(Self::Any);
        }
        let small = text.to_ascii_lowercase();
        let plain = small.replacen("://*.", "://", 1);
        let uri: Uri = plain.parse().map_err(|_| wrong())?;
        let (Some(_), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(wrong()) };
        if plain.split_once("://").is_none_or(|(_, rest)| rest != authority.as_str()) || plain.contains(['@', '*']) {
            return Err(wrong());
        }
        Ok(match small.split_once("*") {
            Some((scheme, below)) => Self::Below(scheme.into(), below.into()),
            None => Self::Exactly(small.into()),
        })
    }
}

impl fmt::Display for CorsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exactly(origin) => f.write_str(origin),
            Self::Below(scheme, below) => write!(f, "{scheme}*{below}"),
        }
    }
}

outwork_config::text_setting!(CorsOrigin, "an origin such as", "https://*.example.org");

/// What requests are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// The client: an IPv4 address, or an IPv6 /64.
    Client,
    /// The host that is asked for.
    Host,
    /// The route.
    Route,
    /// A header field, such as one with an API key.
    Header(HeaderName),
}

impl FromStr for RateKey {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "client" => Ok(Self::Client),
            "host" => Ok(Self::Host),
            "route" => Ok(Self::Route),
            _ => {
                let name = text.strip_prefix("header:").and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
                name.map(Self::Header).ok_or_else(|| NameError::RateKey(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Host => f.write_str("host"),
            Self::Route => f.write_str("route"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

outwork_config::text_setting!(RateKey, "client, host, route, or a header field such as", "header:x-api-key");

/// A regular expression. It takes time in proportion to what it looks through, whatever it says.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// The expression.
    pub fn regex(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromStr for Pattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let built = RegexBuilder::new(text).size_limit(1 << 20).build();
        built.map(Self).map_err(|error| NameError::Pattern(error.to_string()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

outwork_config::text_setting!(Pattern, "a regular expression such as", "^/users/([0-9]+)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_a_scheme_and_a_host_and_nothing_more() {
        for text in ["*", "https://a.example", "http://localhost:8080", "https://*.example.org", "http://[::1]:3000"] {
            assert_eq!(text.parse::<CorsOrigin>().unwrap().to_string(), text);
        }
        for text in [
            "a.example",
            "https://a.example/",
            "https://a.*.example",
            "https://",
            "https://u@a.example",
            "null",
            "https://*.*.a",
        ] {
            assert!(text.parse::<CorsOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn fields_that_frame_messages_are_not_to_be_changed() {
        assert!("x-a".parse::<FieldName>().is_ok());
        assert!(matches!("Content-Length".parse::<FieldName>(), Err(NameError::Framing(_))));
        assert!(matches!("a b".parse::<FieldName>(), Err(NameError::Field(_))));
    }

    #[test]
    fn requests_are_counted_by_client_host_route_or_header_field() {
        for text in ["client", "host", "route", "header:x-api-key"] {
            assert_eq!(text.parse::<RateKey>().unwrap().to_string(), text);
        }
        assert!("header:a b".parse::<RateKey>().is_err() && "address".parse::<RateKey>().is_err());
    }
}
