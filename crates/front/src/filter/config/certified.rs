//! What the configuration says of the certificates of clients.

use std::fmt;
use std::str::FromStr;

use outwork_config::section;
use regex::{Regex, RegexBuilder};

section! {
    /// Whose requests are answered, by the certificate that the client has shown and that `tls.client_auth` of the listener has verified. All
    /// others are answered 403. An entry of either list is enough; where both are empty, any such certificate is. It is the certificate of the
    /// connection: where that is a trusted proxy's, the proxy's.
    pub struct Certified {
        /// False in a route that everybody may ask, though `[front]` says otherwise.
        pub enabled: bool = true,
        /// Subjects as RFC 4514 writes them, the last part first, and as `client_subject` in the access log has them: `CN=ann,O=Example`. `*`
        /// stands for any text within a part.
        pub subjects: Vec<Subject>,
        /// SHA-256 fingerprints of certificates in hexadecimal, as `openssl x509 -fingerprint -sha256` shows them.
        pub fingerprints: Vec<Fingerprint>,
    }
}

/// Why a text names no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertifiedError {
    /// It is no name.
    #[error("{0:?} is no name of a certificate's subject: each of its parts is TYPE=VALUE")]
    Subject(String),
    /// It is no fingerprint.
    #[error("{0:?} is no SHA-256 fingerprint: that has 64 hexadecimal digits")]
    Fingerprint(String),
}

/// The subject of certificates, or a pattern of some.
#[derive(Debug, Clone)]
pub struct Subject {
    text: String,
    pattern: Regex,
}

impl Subject {
    /// Whether this is one.
    pub fn is(&self, subject: &str) -> bool {
        self.pattern.is_match(subject)
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for Subject {
    type Err = CertifiedError;

    fn from_str(text: &str) -> Result<Self, CertifiedError> {
        let wrong = || CertifiedError::Subject(text.to_owned());
        if !text.contains('=') {
            return Err(wrong());
        }
        // A part ends with a comma or, where it has several attributes, with a plus; within it both are escaped.
        let literals: Vec<String> = text.split('*').map(regex::escape).collect();
        let pattern = format!("^{}$", literals.join(r"(?:\\.|[^,+\\])*"));
        let pattern = RegexBuilder::new(&pattern).dot_matches_new_line(true).size_limit(1 << 20).build();
        Ok(Self { text: text.to_owned(), pattern: pattern.map_err(|_| wrong())? })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

outwork_config::text_setting!(Subject, "the subject of a certificate such as", "CN=*.clients.example.org,O=Example");

/// A fingerprint, in small hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = CertifiedError;

    fn from_str(text: &str) -> Result<Self, CertifiedError> {
        let digits = text.replace(':', "").to_ascii_lowercase();
        match digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => Ok(Self(digits)),
            false => Err(CertifiedError::Fingerprint(text.to_owned())),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

outwork_config::text_setting!(
    Fingerprint,
    "a SHA-256 fingerprint such as",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_within_a_part_and_no_more() {
        let is = |pattern: &str, subject: &str| pattern.parse::<Subject>().unwrap().is(subject);
        assert!(is("CN=ann,O=Example", "CN=ann,O=Example") && !is("CN=ann,O=Example", "CN=anna,O=Example"));
        assert!(!is("CN=ann", "CN=ann,O=Example") && !is("O=Example", "CN=ann,O=Example") && !is("CN=ann", "cn=ann"));
        assert!(is("CN=*.a.test,O=Example", "CN=x.y.a.test,O=Example") && is("CN=*,O=*", "CN=,O=Smith\\, Jones"));
        assert!(!is("CN=*,O=Example", "CN=eve,OU=x,O=Example") && !is("CN=*", "CN=eve+OU=x"));
        assert!(!is("CN=*", "CN=eve\\\\,OU=x"), "what is escaped there is the backslash");
        assert!(is("CN=a.b", "CN=a.b") && !is("CN=a.b", "CN=axb"));
        assert!("ann".parse::<Subject>().is_err() && "".parse::<Subject>().is_err());
    }

    #[test]
    fn a_fingerprint_is_taken_with_colons_and_without() {
        let colons = ["AB"; 32].join(":");
        assert_eq!(colons.parse::<Fingerprint>().unwrap().as_str(), "ab".repeat(32));
        for wrong in ["ab", "", &"xy".repeat(32), &"ab".repeat(33)] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
