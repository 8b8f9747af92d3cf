//! What requests are told apart by, where the same has to go to the same backend.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

/// What goes to the same backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    Client,
    /// The path, without the query string.
    Path,
    /// The path with the query string.
    Target,
    /// The host.
    Host,
    /// The value of a header field; where there is none, the client chooses among backends, and chance among pools.
    Field(HeaderName),
    /// The value of a cookie; where there is none, as of a field.
    Cookie(String),
}

/// Why a text does not say what requests are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashKeyError {
    /// It is none of the words.
    #[error("it is none of client, path, target, host, header:NAME and cookie:NAME")]
    Word,
    /// What follows `header:` is no name.
    #[error("it names no header field")]
    Field,
    /// What follows `cookie:` is no name.
    #[error("it names no cookie")]
    Cookie,
}

impl FromStr for HashKey {
    type Err = HashKeyError;

    fn from_str(text: &str) -> Result<Self, HashKeyError> {
        match text.split_once(':') {
            Some(("header", name)) => super::field(name).map(Self::Field).ok_or(HashKeyError::Field),
            Some(("cookie", name)) => match name.is_empty() || name.contains([' ', ';', '=', ',']) {
                true => Err(HashKeyError::Cookie),
                false => Ok(Self::Cookie(name.to_owned())),
            },
            _ => match text {
                "client" => Ok(Self::Client),
                "path" => Ok(Self::Path),
                "target" => Ok(Self::Target),
                "host" => Ok(Self::Host),
                _ => Err(HashKeyError::Word),
            },
        }
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client"),
            Self::Path => f.write_str("path"),
            Self::Target => f.write_str("target"),
            Self::Host => f.write_str("host"),
            Self::Field(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

outwork_config::text_setting!(
    HashKey,
    "client, path, target, host, header:NAME or cookie:NAME, such as",
    "header:x-user"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_word_or_names_a_field_or_a_cookie() {
        for text in ["client", "path", "target", "host", "header:x-user", "cookie:session"] {
            assert_eq!(text.parse::<HashKey>().unwrap().to_string(), text);
        }
        let wrong = [("", HashKeyError::Word), ("ip", HashKeyError::Word), ("header:", HashKeyError::Field)];
        for (text, error) in
            wrong.into_iter().chain([("header:a b", HashKeyError::Field), ("cookie:a=b", HashKeyError::Cookie)])
        {
            assert_eq!(text.parse::<HashKey>(), Err(error), "{text}");
        }
    }
}
