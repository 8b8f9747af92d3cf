//! What a line of the access log may say.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogField {
    /// When the answer was sent, in UTC.
    Time,
    /// The request's id.
    Id,
    /// The client's address.
    Client,
    /// The other end of the connection: a proxy's, where one is trusted.
    Peer,
    /// Who asked, as its credentials say.
    User,
    /// The method.
    Method,
    /// The host that was asked for.
    Host,
    /// The path and, unless it is left out, the query.
    Target,
    /// The version of HTTP.
    Protocol,
    /// Whether the connection, or that to the proxy, was encrypted.
    Tls,
    /// The subject of the certificate that the client has shown, as RFC 4514 writes it.
    ClientSubject,
    /// Who signed that certificate, likewise.
    ClientIssuer,
    /// Its serial number in hexadecimal.
    ClientSerial,
    /// SHA-256 of it in hexadecimal.
    ClientFingerprint,
    /// The status.
    Status,
    /// Bytes of the answer's content that were sent.
    Bytes,
    /// Seconds from the request's head to the end of the answer.
    Duration,
    /// Seconds from the request's head to the answer's head.
    Wait,
    /// The pool that the request was for, where it was passed on.
    Pool,
    /// The backend that was asked last.
    Backend,
    /// How many backends were asked, one that was asked twice counted twice.
    Attempts,
    /// Seconds until the last of them began to answer.
    BackendTime,
    /// Whether the answer did not reach its end.
    Aborted,
    /// `Referer`.
    Referer,
    /// `User-Agent`.
    UserAgent,
    /// A field of the request.
    Request(HeaderName),
    /// A field of the answer.
    Response(HeaderName),
}

/// Why a text names no part of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFieldError {
    /// There is no such part.
    #[error("the access log knows no {0:?}")]
    Unknown(String),
    /// It would put a secret into the log.
    #[error("{0} holds secrets, which the access log never has")]
    Secret(HeaderName),
}

impl LogFieldError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => {
                let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                Some(format!("it knows {}, `request:NAME` and `response:NAME` for header fields", words.join(", ")))
            }
            Self::Secret(_) => Some("leave it out".to_owned()),
        }
    }
}

const WORDS: [(&str, LogField); 25] = [
    ("time", LogField::Time),
    ("id", LogField::Id),
    ("client", LogField::Client),
    ("peer", LogField::Peer),
    ("user", LogField::User),
    ("method", LogField::Method),
    ("host", LogField::Host),
    ("target", LogField::Target),
    ("protocol", LogField::Protocol),
    ("tls", LogField::Tls),
    ("client_subject", LogField::ClientSubject),
    ("client_issuer", LogField::ClientIssuer),
    ("client_serial", LogField::ClientSerial),
    ("client_fingerprint", LogField::ClientFingerprint),
    ("status", LogField::Status),
    ("bytes", LogField::Bytes),
    ("duration", LogField::Duration),
    ("wait", LogField::Wait),
    ("aborted", LogField::Aborted),
    ("pool", LogField::Pool),
    ("backend", LogField::Backend),
    ("attempts", LogField::Attempts),
    ("backend_time", LogField::BackendTime),
    ("referer", LogField::Referer),
    ("user_agent", LogField::UserAgent),
];

/// Header fields that carry credentials.
const SECRET: [&str; 6] =
    ["authorization", "cookie", "proxy-authorization", "set-cookie", "www-authenticate", "authentication-info"];

impl LogField {
    /// Whether it is a header field by name.
    pub(super) fn is_header(&self) -> bool {
        matches!(self, Self::Request(_) | Self::Response(_))
    }

    /// What a line of JSON has where nothing else is chosen.
    pub fn usual() -> Vec<Self> {
        let of_certificate = |field: &Self| {
            matches!(field, Self::ClientSubject | Self::ClientIssuer | Self::ClientSerial | Self::ClientFingerprint)
        };
        let left_out = |field: &Self| matches!(field, Self::Peer | Self::Tls) || of_certificate(field);
        WORDS.into_iter().map(|(_, field)| field).filter(|field| !left_out(field)).collect()
    }
}

impl FromStr for LogField {
    type Err = LogFieldError;

    fn from_str(text: &str) -> Result<Self, LogFieldError> {
        if let Some((_, field)) = WORDS.into_iter().find(|(word, _)| *word == text) {
            return Ok(field);
        }
        let unknown = || LogFieldError::Unknown(text.to_owned());
        let (side, name) = text.split_once(':').ok_or_else(unknown)?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unknown())?;
        if SECRET.contains(&name.as_str()) {
            return Err(LogFieldError::Secret(name));
        }
        match side {
            "request" => Ok(Self::Request(name)),
            "response" => Ok(Self::Response(name)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for LogField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(name) => write!(f, "request:{name}"),
            Self::Response(name) => write!(f, "response:{name}"),
            word => f.write_str(WORDS.iter().find(|(_, field)| field == word).map_or("", |(word, _)| word)),
        }
    }
}

outwork_config::text_setting!(LogField, "a part of a line such as", "request:accept-language", advice LogFieldError::advice);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_word_and_credentials_have_none() {
        for (word, field) in WORDS {
            assert_eq!((word.parse(), field.to_string()), (Ok(field), word.to_owned()));
        }
        let accept: LogField = "request:accept".parse().unwrap();
        assert_eq!(
            (&accept, accept.to_string()),
            (&LogField::Request(http::header::ACCEPT), "request:accept".to_owned())
        );
        for secret in ["request:Authorization", "request:cookie", "response:set-cookie"] {
            assert!(matches!(secret.parse::<LogField>(), Err(LogFieldError::Secret(_))), "{secret}");
        }
        assert!(matches!("colour".parse::<LogField>(), Err(LogFieldError::Unknown(_))));
    }
}
