//! Which coding a client gets (RFC 9110 section 12.5.3).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::Coding;

/// What a client accepts, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    weights: [Option<u16>; Coding::COUNT],
    identity: Option<u16>,
    /// What `*` stands for.
    others: Option<u16>,
}

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The content in a coding.
    Coded(Coding),
    /// The content as it is.
    Identity,
    /// Nothing that there is.
    NotAcceptable,
}

impl Accepted {
    /// Reads what a request says. Without the field, or where it is empty, the content as it is; what is malformed in it says nothing.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        for list in fields.get_all(ACCEPT_ENCODING) {
            let Ok(list) = list.to_str() else { continue };
            for member in list.split(',') {
                accepted.take(member);
            }
        }
        accepted
    }

    fn take(&mut self, member: &str) {
        let (token, parameters) = member.split_once(';').unwrap_or((member, ""));
        let token = token.trim_matches([' ', '\t']);
        let Some(weight) = weight(parameters) else { return };
        let is = |name: &str| token.eq_ignore_ascii_case(name);
        let known = Coding::ALL.iter().find(|coding| is(coding.token()));
        // RFC 9110 section 8.4.1.3: an old name of it.
        let known = known.copied().or_else(|| is("x-gzip").then_some(Coding::Gzip));
        let slot = match known {
            Some(coding) => self.weights.get_mut(coding.index()),
            None if is("identity") => Some(&mut self.identity),
            None if token == "*" => Some(&mut self.others),
            None => None,
        };
        if let Some(slot) = slot {
            *slot = Some(weight);
        }
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.weights.get(coding.index()).copied().flatten().or(self.others).unwrap_or(0)
    }

    /// Whether the content may be sent as it is: always, unless that is ruled out by its name or by `*`.
    pub fn takes_identity(&self) -> bool {
        self.identity.or(self.others) != Some(0)
    }

    /// The choice among codings that there are, the preferred one first: what the client prefers, and of what it likes equally well the first.
    pub fn choose(&self, offered: impl IntoIterator<Item = Coding>) -> Choice {
        let mut best: Option<(Coding, u16)> = None;
        for coding in offered {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, best)| best) {
                best = Some((coding, weight));
            }
        }
        match best {
            Some((_, weight)) if self.identity.is_some_and(|identity| identity > weight) => Choice::Identity,
            Some((coding, _)) => Choice::Coded(coding),
            None if self.takes_identity() => Choice::Identity,
            None => Choice::NotAcceptable,
        }
    }
}

/// The weight among parameters, 1000 where there is none; `None` where it is malformed (RFC 9110 section 12.4.2).
fn weight(parameters: &str) -> Option<u16> {
    for parameter in parameters.split(';') {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        if !name.trim_matches([' ', '\t']).eq_ignore_ascii_case("q") {
            continue;
        }
        let value = value.trim_matches([' ', '\t']);
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let thousandths =
            fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        return match (whole, thousandths) {
            ("0", thousandths) => Some(thousandths),
            ("1", 0) => Some(1000),
            _ => None,
        };
    }
    Some(1000)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use Coding::{Brotli, Gzip, Zstd};

    fn accepted(value: &str) -> Accepted {
        Accepted::of(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())]))
    }

    fn choose(value: &str) -> Choice {
        accepted(value).choose([Zstd, Brotli, Gzip])
    }

    #[test]
    fn the_client_prefers_first_and_then_the_server() {
        assert_eq!(choose("gzip, deflate, br, zstd"), Choice::Coded(Zstd));
        assert_eq!(accepted("gzip, deflate, br, zstd").choose([Gzip, Zstd]), Choice::Coded(Gzip));
        assert_eq!(choose("gzip;q=1.0, br;q=0.9, zstd;q=0.8"), Choice::Coded(Gzip));
        assert_eq!(choose("gzip;q=0.001, br;q=0.002"), Choice::Coded(Brotli));
        assert_eq!(choose("GZIP ; Q=0.5"), Choice::Coded(Gzip));
        assert_eq!(choose("x-gzip"), Choice::Coded(Gzip));
    }

    #[test]
    fn without_a_word_of_it_nothing_is_coded() {
        assert_eq!(Accepted::of(&HeaderMap::new()).choose([Zstd, Brotli, Gzip]), Choice::Identity);
        for value in ["", "deflate", "identity", "gzip;q=0", "gzip;q=0.0, br;q=0.000", "*;q=0, identity"] {
            assert_eq!(choose(value), Choice::Identity, "{value}");
        }
    }

    #[test]
    fn a_star_stands_for_what_is_not_named() {
        assert_eq!(choose("*"), Choice::Coded(Zstd));
        assert_eq!(choose("zstd;q=0, *"), Choice::Coded(Brotli));
        assert_eq!(choose("gzip, *;q=0"), Choice::Coded(Gzip));
        assert_eq!(choose("gzip;q=0.5, *;q=0.8"), Choice::Coded(Zstd));
    }

    #[test]
    fn the_content_as_it_is_may_be_preferred_or_ruled_out() {
        assert_eq!(choose("identity, gzip;q=0.5"), Choice::Identity);
        assert_eq!(choose("identity;q=0.5, gzip;q=0.5"), Choice::Coded(Gzip));
        assert_eq!(choose("identity;q=0"), Choice::NotAcceptable);
        assert_eq!(choose("*;q=0"), Choice::NotAcceptable);
        assert_eq!(choose("identity;q=0, deflate"), Choice::NotAcceptable);
        assert_eq!(choose("identity;q=0, br"), Choice::Coded(Brotli));
        assert_eq!(accepted("identity;q=0, br").choose([]), Choice::NotAcceptable);
        assert_eq!(accepted("identity;q=0, *").choose([]), Choice::NotAcceptable);
    }

    #[test]
    fn what_is_malformed_says_nothing() {
        for value in
            ["gzip;q=2", "gzip;q=1.001", "gzip;q=0.1234", "gzip;q=-1", "gzip;q=", "gzip;q=a", ";;,=", "gzip;q=.5"]
        {
            assert_eq!(choose(value), Choice::Identity, "{value}");
        }
        assert_eq!(choose("gzip;q=7, br"), Choice::Coded(Brotli));
        assert_eq!(choose("gzip;level=9"), Choice::Coded(Gzip));
    }
}
