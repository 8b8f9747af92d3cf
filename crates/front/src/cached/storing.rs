//! Whether a response is stored, and for how long it is of use (RFC 9111 sections 3 and 4.2).

use std::time::{Duration, UNIX_EPOCH};

use http::header::{
    ACCEPT_RANGES, AGE, CONNECTION, CONTENT_LENGTH, DATE, ETAG, EXPIRES, LAST_MODIFIED, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use outwork_cache::UnixMillis;

use super::config::{Cookies, SetCookie};
use super::control::{Control, Scope};
use super::edge::EdgeFields;
use super::rules::{Rules, TAGS};
use super::stored::Stored;

/// Tags that one response can have, and the bytes that each can have.
pub(crate) const MOST_TAGS: usize = 128;
pub(crate) const TAG_BYTES: usize = 256;
/// Fields that one response may depend on.
const MOST_VARY: usize = 16;

/// What of a request counts for storing its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asker {
    /// It has `Authorization`.
    pub(crate) authorized: bool,
    /// It has cookies.
    pub(crate) cookies: bool,
    /// It says `no-store`, and that is obeyed.
    pub(crate) no_store: bool,
}

/// When a response was asked for, and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) asked: UnixMillis,
    pub(crate) came: UnixMillis,
}

/// What is stored.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) stored: Stored,
    /// Request fields that it depends on, in order and each once.
    pub(crate) vary: Vec<HeaderName>,
    pub(crate) tags: Box<[Box<str>]>,
    /// From then on it is of no use.
    pub(crate) expires: UnixMillis,
}

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// It was asked for by somebody in particular (RFC 9111 section 3.5).
    Authorization,
    /// It was asked for with cookies, and nothing says that it does not depend on them.
    Cookie,
    SetCookie,
    /// It depends on more than header fields, or on too many of them.
    Vary,
    /// A status, or a part, that is not stored.
    Status,
    /// It is stale at once and cannot be asked for again by validators.
    Stale,
    /// The client forbids it.
    Client,
    TooLarge,
}

impl Pass {
    /// For `Cache-Status`.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::Status => "status",
            Self::Stale => "no-lifetime",
            Self::Client => "client-no-store",
            Self::TooLarge => "too-large",
        }
    }

    /// Of which requests the next response to the same URL is likely to be none that is stored either.
    pub(crate) fn lasts(self) -> Option<Lasting> {
        match self {
            Self::NoStore | Self::Private | Self::SetCookie | Self::Vary | Self::Stale | Self::TooLarge => {
                Some(Lasting::All)
            }
            Self::Authorization => Some(Lasting::Authorized),
            Self::Cookie => Some(Lasting::Cookies),
            Self::Status | Self::Client => None,
        }
    }
}

/// Requests whose responses are not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    All,
    /// Those with `Authorization`.
    Authorized,
    /// Those with cookies.
    Cookies,
}

/// Decides about a response with these fields, all of them.
pub(crate) fn judge(
    asker: Asker,
    status: StatusCode,
    fields: &HeaderMap,
    times: Times,
    rules: &Rules,
) -> Result<Keep, Pass> {
    let control = Control::of_response(fields, &rules.targets);
    allowed(asker, status, fields, &control, rules)?;
    let vary = vary(fields, rules)?;
    let date = date(fields, DATE).unwrap_or(times.came);
    let life = Life::of(&control, fields, status, date, rules).ok_or(Pass::Stale)?;
    if asker.cookies && !life.explicit && rules.cookies != Cookies::Ignore {
        let counts = !rules.key.cookies.is_empty() || vary.contains(&http::header::COOKIE);
        if !counts && !control.public {
            return Err(Pass::Cookie);
        }
    }
    let can_validate = fields.contains_key(ETAG) || fields.contains_key(LAST_MODIFIED);
    if life.fresh.is_zero() && life.while_revalidate.is_zero() && !can_validate {
        return Err(Pass::Stale);
    }
    let tags = tags(fields, rules);
    let born = born(fields, date, times);
    let mut fields = fields.clone();
    clean(&mut fields, &control, date, rules);
    if let Some(edge) = &rules.edge {
        tell_edge(&mut fields, edge, &tags);
    }
    if status == StatusCode::OK {
        fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    let of_use = life.fresh
        + life.while_revalidate.max(life.if_error).max(if can_validate { rules.keep } else { Duration::ZERO });
    let stored = Stored::new(status, fields, born, life.stored(&control));
    Ok(Keep { stored, vary, tags, expires: born.after(of_use) })
}

/// Whether it may be stored at all (RFC 9111 section 3).
fn allowed(asker: Asker, status: StatusCode, fields: &HeaderMap, control: &Control, rules: &Rules) -> Result<(), Pass> {
    // A part of a response, and word that another has not changed, are no responses of their own.
    if status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return Err(Pass::Status);
    }
    // Section 5.2.2.3: who says `must-understand` knows why `no-store` stands beside it.
    let understood = is_understood(status);
    if control.must_understand && !understood {
        return Err(Pass::Status);
    }
    if control.no_store && !(control.must_understand && understood) {
        return Err(Pass::NoStore);
    }
    if asker.no_store {
        return Err(Pass::Client);
    }
    if control.private == Scope::Whole {
        return Err(Pass::Private);
    }
    // Section 3.5.
    if asker.authorized && !for_authorized(control) {
        return Err(Pass::Authorization);
    }
    if rules.set_cookie == SetCookie::Pass && fields.contains_key(SET_COOKIE) && !names(control, &SET_COOKIE) {
        return Err(Pass::SetCookie);
    }
    let said = control.public || control.max_age.is_some() || control.s_maxage.is_some();
    let expires = !control.targeted && fields.contains_key(EXPIRES);
    let is_guessed = is_heuristic(status) && (!is_error(status) || rules.ttl.is_some());
    match said || expires || is_guessed || rules.status_ttl.contains_key(&status) {
        true => Ok(()),
        false => Err(Pass::Status),
    }
}

/// Whether a directive takes this field out of what is stored.
fn names(control: &Control, name: &HeaderName) -> bool {
    control.private.fields().contains(name) || control.no_cache.fields().contains(name)
}

fn for_authorized(control: &Control) -> bool {
    control.public || control.must_revalidate || control.s_maxage.is_some()
}

/// Statuses that may be stored though nothing says so (RFC 9110 section 15.1). A part is one of them, and not stored here.
fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// What is missing may come, and what failed may work again: nobody guesses for how long it does not.
fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// Statuses of RFC 9110 whose caching is that of any other.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505)
}

/// For how long a response is of use, from its birth on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Life {
    fresh: Duration,
    while_revalidate: Duration,
    if_error: Duration,
    /// The response says so itself, or the route does for all of them.
    explicit: bool,
}

impl Life {
    /// `None` where nothing says how long, and nothing can be guessed (RFC 9111 section 4.2).
    fn of(control: &Control, fields: &HeaderMap, status: StatusCode, date: UnixMillis, rules: &Rules) -> Option<Self> {
        let expires = || {
            let field = fields.get(EXPIRES).filter(|_| !control.targeted)?;
            // Section 5.3: what is no date, such as `0`, lies in the past.
            let at = field.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok()).map(UnixMillis::from);
            Some(at.map_or(Duration::ZERO, |at| at.left(date)))
        };
        let said = control.s_maxage.or(control.max_age).or_else(expires);
        let ruled = rules.ttl.filter(|_| is_heuristic(status) || status.is_redirection());
        let (fresh, explicit) = match ruled.or(said) {
            Some(time) => (time, true),
            None => (guessed(control, fields, status, date, rules)?, false),
        };
        if control.no_cache == Scope::Whole {
            // Section 5.2.2.4: it is used only once it was asked for again.
            return Some(Self {
                fresh: Duration::ZERO,
                while_revalidate: Duration::ZERO,
                if_error: Duration::ZERO,
                explicit,
            });
        }
        let grace = |said: Option<Duration>, rule: Duration| match said {
            _ if control.must_revalidate || control.proxy_revalidate => Duration::ZERO,
            Some(said) => said,
            // Section 5.2.2.10: `s-maxage` means `proxy-revalidate`, too. Where the response allows more itself, that says more.
            None if control.s_maxage.is_some() => Duration::ZERO,
            None => rule,
        };
        Some(Self {
            fresh,
            // What was fresh to nobody is given stale to nobody, unless it says so itself: there is no lifetime that this would lengthen.
            while_revalidate: match explicit || !fresh.is_zero() {
                true => grace(control.stale_while_revalidate, rules.stale_while_revalidate),
                false => grace(control.stale_while_revalidate, Duration::ZERO),
            },
            if_error: grace(control.stale_if_error, rules.stale_if_error),
            explicit,
        })
    }

    fn stored(self, control: &Control) -> super::stored::Life {
        let strict = control.must_revalidate || control.proxy_revalidate || control.no_cache == Scope::Whole;
        super::stored::Life {
            fresh: self.fresh,
            while_revalidate: self.while_revalidate,
            if_error: self.if_error,
            forbids_stale: strict || control.s_maxage.is_some(),
            for_authorized: for_authorized(control),
        }
    }
}

/// A lifetime for a response that does not say one.
fn guessed(
    control: &Control,
    fields: &HeaderMap,
    status: StatusCode,
    date: UnixMillis,
    rules: &Rules,
) -> Option<Duration> {
    if let Some(ttl) = rules.status_ttl.get(&status) {
        return Some(*ttl);
    }
    if is_error(status) || (!is_heuristic(status) && !control.public) {
        return None;
    }
    if !rules.default_ttl.is_zero() {
        return Some(rules.default_ttl);
    }
    if !rules.guesses {
        return None;
    }
    // Section 4.2.2: a tenth of the time since it was changed.
    let unchanged = self::date(fields, LAST_MODIFIED).map(|modified| date.left(modified));
    Some(unchanged.map_or(Duration::ZERO, |unchanged| (unchanged / 10).min(rules.heuristic_max)))
}

/// When the response was made, as far as can be told (RFC 9111 section 4.2.3): what has passed since is its age.
fn born(fields: &HeaderMap, date: UnixMillis, times: Times) -> UnixMillis {
    let apparent = times.came.left(date);
    let first = fields.get(AGE).and_then(|age| age.to_str().ok()?.split(',').next()?.trim().parse().ok());
    // A field that is no number is as good as none (section 5.1).
    let corrected = Duration::from_secs(first.unwrap_or(0u64).min(1 << 31)) + times.came.left(times.asked);
    let age = apparent.max(corrected);
    UnixMillis(times.came.0.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
}

/// The request fields that it depends on (RFC 9110 section 12.5.5).
fn vary(fields: &HeaderMap, rules: &Rules) -> Result<Vec<HeaderName>, Pass> {
    if let Some(vary) = &rules.vary {
        return Ok(sorted(vary.clone()));
    }
    let mut names = Vec::new();
    for line in fields.get_all(VARY) {
        for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
        {
            names.push(HeaderName::from_bytes(name).ok().filter(|name| name != "*").ok_or(Pass::Vary)?);
        }
    }
    let names = sorted(names);
    if names.len() > MOST_VARY { Err(Pass::Vary) } else { Ok(names) }
}

fn sorted(mut names: Vec<HeaderName>) -> Vec<HeaderName> {
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    names
}

fn tags(fields: &HeaderMap, rules: &Rules) -> Box<[Box<str>]> {
    let [by_space, by_comma] = &TAGS;
    let texts = |name| fields.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let keys = texts(by_space).flat_map(str::split_ascii_whitespace);
    let tags = texts(by_comma).flat_map(|text| text.split(',').map(str::trim));
    let mut all: Vec<Box<str>> = Vec::new();
    let own = rules.tags.iter().map(|tag| &**tag);
    for tag in own.chain(keys).chain(tags).filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES).take(MOST_TAGS) {
        if !all.iter().any(|known| **known == *tag) {
            all.push(tag.into());
        }
    }
    all.into()
}

/// Takes out what is not stored (RFC 9111 section 3.1) or not passed on, and puts in what every stored response has.
fn clean(fields: &mut HeaderMap, control: &Control, date: UnixMillis, rules: &Rules) {
    let listed: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    let single = [
        CONNECTION,
        CONTENT_LENGTH,
        AGE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authentication-info"),
    ];
    let named = control.private.fields().iter().chain(control.no_cache.fields());
    for name in listed.iter().chain(&single).chain(named) {
        fields.remove(name);
    }
    if rules.set_cookie == SetCookie::Strip {
        fields.remove(SET_COOKIE);
    }
    consume(fields, rules);
    // RFC 9110 section 6.6.1: a response without one gets the time at which it came.
    if self::date(fields, DATE).is_none() {
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(date.0));
        fields.remove(DATE);
        fields.extend(HeaderValue::try_from(text).ok().map(|date| (DATE, date)));
    }
}

/// Says what the cache before this one is told: how long it may keep the response, unless that says so itself, and its tags as it knows them.
fn tell_edge(fields: &mut HeaderMap, edge: &EdgeFields, tags: &[Box<str>]) {
    if let Some((name, value)) = edge.lifetime.as_ref().filter(|(name, _)| !fields.contains_key(name)) {
        fields.insert(name, value.clone());
    }
    TAGS.iter().for_each(|name| drop(fields.remove(name)));
    let (name, between) = &edge.tags;
    let value = HeaderValue::try_from(tags.join(between)).ok().filter(|value| !value.is_empty());
    fields.extend(value.map(|value| (name.clone(), value)));
}

/// Takes out what is meant for this cache alone.
pub(crate) fn consume(fields: &mut HeaderMap, rules: &Rules) {
    for name in &rules.consumed {
        fields.remove(name);
    }
}

fn date(fields: &HeaderMap, name: HeaderName) -> Option<UnixMillis> {
    Some(httpdate::parse_http_date(fields.get(name)?.to_str().ok()?).ok()?.into())
}

#[cfg(test)]
#[path = "storing_tests.rs"]
mod tests;
