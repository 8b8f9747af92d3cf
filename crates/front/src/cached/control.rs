//! Cache directives: of requests, of responses (RFC 9111 section 5.2), and those that a response directs at some caches only (RFC 9213).

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use super::structured::{Item, dictionary};

/// The longest time that is counted, in seconds (RFC 9111 section 1.2.2).
const LONGEST: u64 = 1 << 31;

/// What a response allows caches to do with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Control {
    pub(crate) no_store: bool,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    /// RFC 5861 section 3.
    pub(crate) stale_while_revalidate: Option<Duration>,
    /// RFC 5861 section 4.
    pub(crate) stale_if_error: Option<Duration>,
    /// It comes of a field directed at this cache: `Cache-Control` and `Expires` do not count then (RFC 9213 section 2.2).
    pub(crate) targeted: bool,
}

/// What of a response a directive is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// The directive is not there.
    #[default]
    Nothing,
    /// These fields.
    Fields(Vec<HeaderName>),
    /// All of it.
    Whole,
}

impl Scope {
    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(fields) => fields,
            Self::Nothing | Self::Whole => &[],
        }
    }

    /// Of a list of field names; one that names nothing is about everything.
    fn of(list: &[u8]) -> Self {
        let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        match names.map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>() {
            Ok(fields) if !fields.is_empty() => Self::Fields(fields),
            _ => Self::Whole,
        }
    }
}

impl Control {
    /// What a response says: the first of the `targets` that is there and well formed, or else `Cache-Control`.
    pub(crate) fn of_response(fields: &HeaderMap, targets: &[HeaderName]) -> Self {
        let targeted = targets.iter().find_map(|target| match target == "surrogate-control" {
            true => Self::surrogate(fields, target),
            false => Self::targeted(fields, target),
        });
        targeted.unwrap_or_else(|| {
            let mut control = Self::default();
            each(fields, &CACHE_CONTROL, |directive| control.take(directive));
            control
        })
    }

    /// A field of RFC 9213; `None` where it is missing, empty or malformed (section 2.1).
    fn targeted(fields: &HeaderMap, target: &HeaderName) -> Option<Self> {
        let mut control = Self { targeted: true, ..Self::default() };
        let members = dictionary(fields.get_all(target).iter().map(http::HeaderValue::as_bytes))?;
        for (name, item) in &members {
            // An item of another type than the directive has is passed over, and is not bent into it (section 2.1).
            match item {
                Item::Boolean(true) if !is_number(name) => control.take(Directive { name, argument: None }),
                Item::Integer(digits) => control.take_number(name, digits),
                Item::String(text) => control.take_list(name, text),
                Item::Boolean(_) | Item::Other => {}
            }
        }
        (!members.is_empty()).then_some(control)
    }

    fn take_number(&mut self, name: &[u8], digits: &[u8]) {
        if is_number(name) && !digits.starts_with(b"-") {
            self.take(Directive { name, argument: Some(digits) });
        }
    }

    fn take_list(&mut self, name: &[u8], list: &[u8]) {
        if matches!(name, b"no-cache" | b"private") {
            self.take(Directive { name, argument: Some(list) });
        }
    }

    /// The field of the Edge Architecture Specification: `max-age=60+30` is a minute of life and half of one beyond it.
    fn surrogate(fields: &HeaderMap, target: &HeaderName) -> Option<Self> {
        let mut control = Self { targeted: true, ..Self::default() };
        let mut any = false;
        each(fields, target, |directive| {
            any = true;
            let grace = directive.argument.and_then(|text| text.iter().position(|byte| *byte == b'+'));
            match (directive.name.eq_ignore_ascii_case(b"max-age"), directive.argument, grace) {
                (true, Some(text), Some(plus)) => {
                    let (life, grace) = text.split_at(plus);
                    control.take(Directive { argument: Some(life), ..directive });
                    control.stale_while_revalidate = Some(seconds(grace.get(1..)).unwrap_or_default());
                }
                _ => control.take(directive),
            }
        });
        any.then_some(control)
    }

    fn take(&mut self, Directive { name, argument }: Directive<'_>) {
        let name = name.to_ascii_lowercase();
        let scope = || argument.map_or(Scope::Whole, Scope::of);
        // Of a directive that is there twice the first counts; what is no number makes a response stale (RFC 9111 section 4.2.1).
        let time = |known: Option<Duration>| known.or_else(|| Some(seconds(argument).unwrap_or_default()));
        match &*name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = scope().or(std::mem::take(&mut self.no_cache)),
            b"private" => self.private = scope().or(std::mem::take(&mut self.private)),
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"must-understand" => self.must_understand = true,
            b"max-age" => self.max_age = time(self.max_age),
            b"s-maxage" => self.s_maxage = time(self.s_maxage),
            b"stale-while-revalidate" => self.stale_while_revalidate = time(self.stale_while_revalidate),
            b"stale-if-error" => self.stale_if_error = time(self.stale_if_error),
            // RFC 9111 section 5.2.3: what is not known is passed over.
            _ => {}
        }
    }
}

impl Scope {
    /// What either is about.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::Nothing, scope) | (scope, Self::Nothing) => scope,
            (Self::Fields(mut fields), Self::Fields(more)) => {
                fields.extend(more);
                Self::Fields(fields)
            }
        }
    }
}

fn is_number(name: &[u8]) -> bool {
    matches!(name, b"max-age" | b"s-maxage" | b"stale-while-revalidate" | b"stale-if-error")
}

/// What a client asks of caches (RFC 9111 section 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientControl {
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    /// How stale a response may be; [`Duration::MAX`] stands for any staleness.
    pub(crate) max_stale: Option<Duration>,
}

impl ClientControl {
    /// What a request says.
    pub(crate) fn of_request(fields: &HeaderMap) -> Self {
        let mut control = Self::default();
        each(fields, &CACHE_CONTROL, |directive| control.take(directive));
        // RFC 9111 section 5.4: `Pragma` counts only for want of the other.
        if !fields.contains_key(CACHE_CONTROL) {
            each(fields, &PRAGMA, |directive| control.no_cache |= directive.name.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn take(&mut self, Directive { name, argument }: Directive<'_>) {
        let name = name.to_ascii_lowercase();
        // What is no number asks for the freshest.
        match &*name {
            b"no-cache" => self.no_cache = true,
            b"no-store" => self.no_store = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"max-age" => self.max_age = Some(seconds(argument).unwrap_or_default()),
            b"min-fresh" => self.min_fresh = seconds(argument),
            b"max-stale" => {
                self.max_stale = match argument {
                    None => Some(Duration::MAX),
                    Some(_) => seconds(argument),
                }
            }
            _ => {}
        }
    }
}

/// A directive, and what stands behind its equals sign, without quotes.
#[derive(Debug, Clone, Copy)]
struct Directive<'a> {
    name: &'a [u8],
    argument: Option<&'a [u8]>,
}

/// Goes through the directives of a field, all of its lines.
fn each<'a>(fields: &'a HeaderMap, name: &HeaderName, mut take: impl FnMut(Directive<'a>)) {
    for line in fields.get_all(name) {
        let mut rest = line.as_bytes();
        while let Some(directive) = next(&mut rest) {
            if !directive.name.is_empty() {
                take(directive);
            }
        }
    }
}

/// The next directive of a list; its name is empty where the list has an empty element.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Directive<'a>> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let name = name.trim_ascii();
    let Some(argument) = after.strip_prefix(b"=") else {
        *rest = after.get(1..).unwrap_or_default();
        return Some(Directive { name, argument: None });
    };
    let (argument, after) = match argument.trim_ascii_start().strip_prefix(b"\"") {
        Some(quoted) => {
            let mut escaped = false;
            let close = quoted.iter().position(|byte| {
                let closes = *byte == b'"' && !escaped;
                escaped = *byte == b'\\' && !escaped;
                closes
            });
            quoted.split_at(close.unwrap_or(quoted.len()))
        }
        None => argument.split_at(argument.iter().position(|byte| *byte == b',').unwrap_or(argument.len())),
    };
    let comma = after.iter().position(|byte| *byte == b',').map_or(after.len(), |comma| comma + 1);
    *rest = after.get(comma..).unwrap_or_default();
    Some(Directive { name, argument: Some(argument.trim_ascii()) })
}

/// A number of seconds.
fn seconds(argument: Option<&[u8]>) -> Option<Duration> {
    let digits = argument.filter(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit))?;
    let number = std::str::from_utf8(digits).ok()?.parse().unwrap_or(LONGEST);
    Some(Duration::from_secs(number.min(LONGEST)))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
