//! Which requests get the same response: keys, and the fields that `Vary` names (RFC 9111 sections 2 and 4.1).
//!
//! A key is of a target as it was spelled: two spellings may be the same to us and not to what answers, and then one could be had to stand for the other.
//! What answers are purged by is a name that all spellings share.

use std::borrow::Cow;

use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use outwork_cache::Key;

use super::config::Query;
use super::rules::{KeyRules, Rules};
use super::stored::Varies;
use super::storing::Lasting;
use crate::route::path::NormalPath;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'r> {
    scheme: &'static str,
    /// In small letters, without the port that the scheme means anyway.
    host: Cow<'r, str>,
    path: &'r str,
    /// With its question mark, as far as it counts.
    query: Cow<'r, str>,
}

impl<'r> Target<'r> {
    /// Of a request in origin form.
    pub(crate) fn new(head: &'r Parts, tls: bool, rules: &KeyRules) -> Self {
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        Self::of(host, head.uri.path(), head.uri.query(), tls, rules)
    }

    /// Of its parts.
    pub(crate) fn of(host: &'r str, path: &'r str, query: Option<&'r str>, tls: bool, rules: &KeyRules) -> Self {
        let host = host.strip_suffix(if tls { ":443" } else { ":80" }).unwrap_or(host);
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        Self { scheme: if tls { "https" } else { "http" }, host, path, query: counted(query, rules) }
    }

    /// Whether it is of the same origin as another (RFC 9110 section 4.3.1).
    pub(crate) fn is_of_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host == other.host
    }

    /// What it is purged by: one text for every spelling, with a `*` for what makes no difference.
    pub(crate) fn name(&self, rules: &KeyRules) -> Box<str> {
        let scheme = if rules.scheme { self.scheme } else { "*" };
        let host = if rules.host { &self.host } else { "*" };
        let path = NormalPath::new(self.path);
        let path = path.as_ref().map_or(Cow::Borrowed(self.path), NormalPath::escaped);
        let question = if self.query.is_empty() { "" } else { "?" };
        format!("{scheme}://{host}{path}{question}{}", plain_escapes(&self.query)).into()
    }

    /// The key of its response, or of what that depends on.
    pub(crate) fn key(&self, fields: &HeaderMap, rules: &Rules) -> Key {
        let scheme = if rules.key.scheme { self.scheme } else { "" };
        let host = if rules.key.host { &*self.host } else { "" };
        let parts: [&[u8]; 5] =
            [rules.space.as_bytes(), scheme.as_bytes(), host.as_bytes(), self.path.as_bytes(), self.query.as_bytes()];
        if rules.key.headers.is_empty() && rules.key.cookies.is_empty() {
            return Key::of(&parts);
        }
        let mut texts: Vec<Cow<'_, [u8]>> = parts.map(Cow::Borrowed).into();
        texts.extend(rules.key.headers.iter().map(|name| Cow::Owned(presented(fields, name))));
        texts.extend(rules.key.cookies.iter().map(|name| Cow::Borrowed(cookie(fields, name).unwrap_or_default())));
        Key::of(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
    }
}

/// The key of the variant that a request gets.
pub(crate) fn variant(primary: &Key, varies: &Varies, fields: &HeaderMap) -> Key {
    let nonce = varies.nonce.to_be_bytes();
    let mut texts: Vec<Cow<'_, [u8]>> = vec![Cow::Borrowed(primary.bytes()), Cow::Borrowed(&nonce)];
    for name in &varies.names {
        texts.push(Cow::Borrowed(name.as_str().as_bytes()));
        // A field that is not there is another case than one that is empty.
        texts.push(match fields.contains_key(name) {
            true => Cow::Owned([b"=", &*presented(fields, name)].concat()),
            false => Cow::Borrowed(b""),
        });
    }
    Key::of(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
}

/// Where word lies that responses to some requests are not stored.
pub(crate) fn word(primary: &Key, lasting: Lasting) -> Key {
    let kind: &[u8] = match lasting {
        Lasting::All => b"all",
        Lasting::Authorized => b"authorized",
        Lasting::Cookies => b"cookies",
    };
    Key::of(&[primary.bytes(), kind])
}

/// What counts of a query.
fn counted<'q>(query: Option<&'q str>, rules: &KeyRules) -> Cow<'q, str> {
    let Some(query) = query.filter(|_| rules.query != Query::None) else { return Cow::Borrowed("") };
    if rules.query == Query::All && rules.ignore.is_empty() && !rules.sort {
        return Cow::Borrowed(query);
    }
    let name = |parameter: &str| parameter.split('=').next().unwrap_or_default().as_bytes().to_vec();
    let counts = |parameter: &&str| {
        let name = name(parameter);
        let listed = rules.query == Query::All || rules.params.iter().any(|pattern| pattern.fits(&name));
        listed && !rules.ignore.iter().any(|pattern| pattern.fits(&name))
    };
    let mut parameters: Vec<&str> = query.split('&').filter(counts).collect();
    if rules.sort {
        // Those of one name keep their order: to many applications it means something.
        parameters.sort_by_key(|parameter| name(parameter));
    }
    Cow::Owned(parameters.join("&"))
}

/// A query whose escapes are in one form (RFC 3986 section 6.2.2): none of what needs none, and capital letters.
fn plain_escapes(query: &str) -> Cow<'_, str> {
    if !query.contains('%') {
        return Cow::Borrowed(query);
    }
    let mut plain = String::with_capacity(query.len());
    let mut parts = query.split('%');
    plain.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let escape = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (escape, part.get(2..)) {
            (Some(byte), Some(rest)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            (Some(byte), Some(rest)) => {
                plain.push_str(&format!("%{byte:02X}"));
                plain.push_str(rest);
            }
            _ => {
                plain.push('%');
                plain.push_str(part);
            }
        }
    }
    Cow::Owned(plain)
}

/// The value of a cookie.
pub(crate) fn cookie<'f>(fields: &'f HeaderMap, wanted: &str) -> Option<&'f [u8]> {
    cookies(fields).find(|(name, _)| *name == wanted.as_bytes()).map(|(_, value)| value)
}

/// The cookies of a request, with their names.
pub(crate) fn cookies(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = fields.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(|pair| {
        let pair = pair.trim_ascii();
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(equals);
        (name, value.get(1..).unwrap_or_default())
    })
}

/// What a request says in a field, in one form for all ways to say the same (RFC 9111 section 4.1).
fn presented(fields: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines = fields.get_all(name).iter().map(|line| line.as_bytes().trim_ascii());
    let joined = lines.collect::<Vec<_>>().join(&b", "[..]);
    match [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE].contains(name) {
        true => preferences(&joined).unwrap_or(joined),
        false => joined,
    }
}

/// A list of what is preferred (RFC 9110 section 12.4.2): without regard to case, order among equals, and how weights are written. `None` where something
/// is quoted, which is left as it is.
fn preferences(list: &[u8]) -> Option<Vec<u8>> {
    if list.contains(&b'"') {
        return None;
    }
    let mut wishes: Vec<Vec<u8>> = Vec::new();
    for wish in list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|wish| !wish.is_empty()) {
        let mut parts = wish.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let mut canonical = parts.next().unwrap_or_default().to_ascii_lowercase();
        for part in parts {
            let part = part.to_ascii_lowercase();
            let weight = part.strip_prefix(b"q=").map(|weight| match weight.iter().position(|byte| *byte == b'.') {
                // Zeros behind the point mean nothing, and neither does the point then.
                Some(_) => weight
                    .trim_ascii_end()
                    .iter()
                    .rposition(|byte| *byte != b'0')
                    .map_or(&weight[..0], |end| weight.get(..=end).unwrap_or_default()),
                None => weight,
            });
            match weight {
                Some(b"1" | b"1.") => {}
                Some(weight) => {
                    canonical.extend_from_slice(b";q=");
                    canonical.extend_from_slice(weight.strip_suffix(b".").unwrap_or(weight));
                }
                None => {
                    canonical.push(b';');
                    canonical.extend_from_slice(&part);
                }
            }
        }
        wishes.push(canonical);
    }
    wishes.sort();
    wishes.dedup();
    Some(wishes.join(&b","[..]))
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
