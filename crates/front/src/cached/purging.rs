//! What is purged. It is said by URL, and kept under names that leave out what made no difference to the route that kept it: one URL may have several.

use std::str::FromStr;

use outwork_cache::Purge;

use super::config::Query;
use super::rules::KeyRules;
use super::warm::{Address, AddressError};

/// What somebody wants thrown out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// What was answered to a URL.
    Url(Address),
    /// What was answered to URLs that begin so.
    Prefix(Prefix),
    /// What has this tag.
    Tag(Box<str>),
    /// Everything.
    All,
}

/// The beginning of URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prefix {
    /// It goes as far as their path.
    Path(Address),
    /// It ends within their host.
    Host {
        /// `http` or `https`.
        scheme: &'static str,
        /// The beginning of the host, in small letters.
        host: Box<str>,
    },
}

/// A text that no URL of ours begins with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the beginning of an http or https URL, such as https://www.example.org/blog/")]
pub struct NoPrefix(Box<str>);

impl FromStr for Prefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let wrong = || NoPrefix(text.into());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let scheme =
            ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)).ok_or_else(wrong)?;
        match rest.contains(['/', '?']) {
            true => text.parse().map(Self::Path).map_err(|_: AddressError| wrong()),
            false => Ok(Self::Host { scheme, host: rest.to_ascii_lowercase().into() }),
        }
    }
}

impl Meant {
    /// In terms of URLs, as other caches know it.
    pub(crate) fn as_said(&self) -> Purge {
        match self {
            Self::Url(address) => Purge::Name(address.target(&KeyRules::URL).name(&KeyRules::URL)),
            Self::Prefix(Prefix::Path(address)) => Purge::Prefix(address.target(&KeyRules::URL).name(&KeyRules::URL)),
            Self::Prefix(Prefix::Host { scheme, host }) => Purge::Prefix(format!("{scheme}://{host}").into()),
            Self::Tag(tag) => Purge::Tag(tag.clone()),
            Self::All => Purge::All,
        }
    }

    /// In terms of the names that it is kept under by these rules.
    pub(crate) fn as_kept(&self, rules: &[KeyRules]) -> Vec<Purge> {
        let mut purges = vec![self.as_said()];
        let mut add = |purge: Purge| {
            if !purges.contains(&purge) {
                purges.push(purge);
            }
        };
        for rules in rules {
            match self {
                Self::Url(address) => add(Purge::Name(address.target(rules).name(rules))),
                Self::Prefix(Prefix::Path(address)) => {
                    let is_whole = rules.query == Query::All && rules.ignore.is_empty() && !rules.sort;
                    if is_whole || !address.has_query() {
                        add(Purge::Prefix(address.target(rules).name(rules)));
                    } else {
                        // What a query began with cannot be told from what is left of it: all of that path.
                        let path = address.without_query().target(rules).name(rules);
                        add(Purge::Prefix(format!("{path}?").into()));
                        add(Purge::Name(path));
                    }
                }
                Self::Prefix(Prefix::Host { scheme, host }) => {
                    let scheme = if rules.scheme { scheme } else { "*" };
                    let host = if rules.host { host } else { "*" };
                    add(Purge::Prefix(format!("{scheme}://{host}").into()));
                }
                Self::Tag(_) | Self::All => {}
            }
        }
        purges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Meant {
        Meant::Url(text.parse().unwrap())
    }

    fn prefix(text: &str) -> Meant {
        Meant::Prefix(text.parse().unwrap())
    }

    fn name(text: &str) -> Purge {
        Purge::Name(text.into())
    }

    fn beginning(text: &str) -> Purge {
        Purge::Prefix(text.into())
    }

    #[test]
    fn all_spellings_of_a_url_are_one_name() {
        for text in [
            "https://WWW.example.org:443/A?b=%7e",
            "https://www.example.org/%41?b=~",
            "https://www.example.org//x/../A?b=%7E",
        ] {
            assert_eq!(url(text).as_said(), name("https://www.example.org/A?b=~"), "{text}");
        }
        assert_eq!(url("http://www.example.org:443").as_said(), name("http://www.example.org:443/"));
        // What stands for itself stays apart from what it escapes.
        assert_eq!(url("http://a/b%2fc%25d%20e?f=%2f%zz%").as_said(), name("http://a/b%2Fc%25d%20e?f=%2F%zz%"));
    }

    #[test]
    fn a_url_is_purged_under_the_names_that_the_rules_of_routes_give_it() {
        let rules = [
            KeyRules::URL,
            KeyRules { host: false, ..KeyRules::URL },
            KeyRules { scheme: false, query: Query::None, ..KeyRules::URL },
            KeyRules { sort: true, ..KeyRules::URL },
        ];
        let meant = url("https://a.example/b?d=1&c=2");
        let names =
            ["https://a.example/b?d=1&c=2", "https://*/b?d=1&c=2", "*://a.example/b", "https://a.example/b?c=2&d=1"];
        assert_eq!(meant.as_kept(&rules), names.map(name));
        let meant = prefix("https://A.example/%62/");
        assert_eq!(meant.as_kept(&rules), ["https://a.example/b/", "https://*/b/", "*://a.example/b/"].map(beginning));
        let meant = prefix("https://a.example/b?d");
        assert_eq!(
            meant.as_kept(&rules[2..]),
            [
                beginning("https://a.example/b?d"),
                beginning("*://a.example/b?"),
                name("*://a.example/b"),
                beginning("https://a.example/b?"),
                name("https://a.example/b")
            ]
        );
        assert_eq!(prefix("https://A.ex").as_kept(&rules), ["https://a.ex", "https://*", "*://a.ex"].map(beginning));
        assert_eq!(Meant::Tag("t".into()).as_kept(&rules), [Purge::Tag("t".into())]);
    }

    #[test]
    fn what_no_url_begins_with_is_refused() {
        for text in ["/blog/", "blog", "ftp://a/", "http:/", ""] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
