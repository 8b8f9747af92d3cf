//! Values of settings that are written as one text.

use std::fmt;
use std::str::FromStr;

use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
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

/// Fields that are of a connection and of how messages are framed on it (RFC 9110 section 7.6.1).
const FRAMING: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

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
        match FRAMING.contains(&name) {
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

    /// What a replacement first names that is no group, such as `$2` or `${name}`, and where that stands.
    pub(super) fn unknown_group<'r>(&self, replacement: &'r str) -> Option<(usize, &'r str)> {
        let mut from = 0;
        while let Some(at) = replacement.get(from..)?.find('$').map(|found| from + found) {
            let rest = replacement.get(at + 1..)?;
            let word = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let plain = rest.find(|character| !word(character)).unwrap_or(rest.len());
            let (name, length) = match rest.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
                Some((name, _)) => (name, name.len() + 2),
                None => (rest.get(..plain)?, plain),
            };
            // Two dollar signs stand for one; one before anything else is text.
            from = at + 1 + length.max(usize::from(rest.starts_with('$')));
            if !name.is_empty() && !self.has_group(name) {
                return Some((at, replacement.get(at..from)?));
            }
        }
        None
    }

    fn has_group(&self, name: &str) -> bool {
        match name.parse::<usize>() {
            Ok(number) => number < self.0.captures_len(),
            Err(_) => self.0.capture_names().flatten().any(|known| known == name),
        }
    }

    /// What replacements may name of it, in words.
    pub(super) fn groups(&self) -> String {
        let names = self.0.capture_names().flatten().map(|name| format!("${{{name}}}"));
        let last = self.0.captures_len() - 1;
        let numbers = if last == 0 { "$0".to_owned() } else { format!("$0 to ${last}") };
        std::iter::once(numbers).chain(names).collect::<Vec<_>>().join(", ")
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
        for name in ["Content-Length", "transfer-encoding", "Connection", "upgrade", "Keep-Alive", "TE", "trailer"] {
            assert!(matches!(name.parse::<FieldName>(), Err(NameError::Framing(_))), "{name}");
        }
        assert!(matches!("a b".parse::<FieldName>(), Err(NameError::Field(_))));
    }

    #[test]
    fn a_replacement_names_groups_that_are_there() {
        let pattern: Pattern = "^/(?<user>[a-z]+)/([0-9]+)".parse().unwrap();
        for fine in ["/$1/$2", "/${user}/${2}", "/$$9", "/$0", "/a$", "/$-", "$user/", "$$${1}"] {
            assert_eq!(pattern.unknown_group(fine), None, "{fine}");
        }
        for (wrong, at, group) in [("/$3", 1, "$3"), ("/$1/${4}x", 4, "${4}"), ("$1a", 0, "$1a"), ("$$$uri", 2, "$uri")]
        {
            assert_eq!(pattern.unknown_group(wrong), Some((at, group)), "{wrong}");
        }
        assert_eq!(pattern.groups(), "$0 to $2, ${user}");
    }

    #[test]
    fn requests_are_counted_by_client_host_route_or_header_field() {
        for text in ["client", "host", "route", "header:x-api-key"] {
            assert_eq!(text.parse::<RateKey>().unwrap().to_string(), text);
        }
        assert!("header:a b".parse::<RateKey>().is_err() && "address".parse::<RateKey>().is_err());
    }
}
