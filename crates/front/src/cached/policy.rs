//! What becomes of a request: served from what is stored, sent on, or both (RFC 9111 section 4).

use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use outwork_cache::UnixMillis;

use super::Personal;
use super::config::Obeyed;
use super::control::ClientControl;
use super::stored::Stored;

/// What of a request counts, found in one pass over its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Facts {
    /// `Authorization`.
    pub(crate) authorized: bool,
    /// `Cookie`.
    pub(crate) cookies: bool,
    /// `Cache-Control` or `Pragma`.
    pub(crate) controlled: bool,
    /// `Range`, or a field that begins with `If-`.
    pub(crate) conditional: bool,
    /// `Upgrade`: what follows is no HTTP.
    pub(crate) upgrade: bool,
}

impl Facts {
    /// What a request says by its fields, and what is known of it beside them.
    pub(crate) fn of_request(head: &Parts) -> Self {
        let mut facts = Self::of(&head.headers);
        facts.authorized |= head.extensions.get::<Personal>().is_some();
        facts
    }

    pub(crate) fn of(fields: &HeaderMap) -> Self {
        let mut facts = Self::default();
        for name in fields.keys() {
            match name.as_str() {
                "authorization" => facts.authorized = true,
                "cookie" => facts.cookies = true,
                "cache-control" | "pragma" => facts.controlled = true,
                "upgrade" => facts.upgrade = true,
                "range" => facts.conditional = true,
                name if name.starts_with("if-") => facts.conditional = true,
                _ => {}
            }
        }
        facts
    }

    /// What the client asks of the cache, as far as that is obeyed.
    pub(crate) fn control(self, fields: &HeaderMap, obeyed: Obeyed) -> ClientControl {
        if !self.controlled || obeyed == Obeyed::None {
            return ClientControl::default();
        }
        let control = ClientControl::of_request(fields);
        match obeyed {
            Obeyed::All => control,
            Obeyed::Lenient | Obeyed::None => ClientControl {
                max_stale: control.max_stale,
                only_if_cached: control.only_if_cached,
                ..ClientControl::default()
            },
        }
    }
}

/// Why a request is sent on (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forward {
    /// A rule says so.
    Bypass,
    /// Its method is none that is cached.
    Method,
    /// Nothing is stored for its target.
    UriMiss,
    /// Nothing is stored for what `Vary` names.
    VaryMiss,
    /// What is stored cannot be used, or cannot be stored.
    Miss,
    /// What is stored is fresh, but the client wants it newer.
    Request,
    /// What is stored is stale.
    Stale,
}

impl Forward {
    /// The value of `fwd`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is answered with what is stored.
    Serve,
    /// It is answered with what is stored, and that is asked for again behind the answer.
    ServeStale,
    /// What is stored is asked for again, by its validators where it has some.
    Revalidate(Forward),
    /// It is asked for.
    Fetch(Forward),
    /// 504: only what is stored would do, and there is nothing (RFC 9111 section 5.2.1.7).
    GatewayTimeout,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    pub(crate) control: ClientControl,
    pub(crate) authorized: bool,
    /// Its only purpose is to have what is stored made fresh.
    pub(crate) refresh: bool,
}

/// Decides, for a GET or HEAD; without anything stored, `miss` says what is missing.
pub(crate) fn plan(asked: &Asked, stored: Option<&Stored>, miss: Forward, now: UnixMillis) -> Plan {
    let sent_on = |plan: Plan| if asked.control.only_if_cached { Plan::GatewayTimeout } else { plan };
    let Some(stored) = stored else { return sent_on(Plan::Fetch(miss)) };
    // RFC 9111 section 3.5.
    if asked.authorized && !stored.life.for_authorized {
        return sent_on(Plan::Fetch(Forward::Bypass));
    }
    let (age, life, control) = (stored.age(now), &stored.life, &asked.control);
    let is_fresh = age < life.fresh;
    // Section 5.2.1.4, and what amounts to it.
    if control.no_cache || asked.refresh {
        return sent_on(Plan::Revalidate(if is_fresh { Forward::Request } else { Forward::Stale }));
    }
    let stale_for = age.saturating_sub(life.fresh);
    // Section 5.2.1.2. No number means any staleness.
    let takes_stale = !life.forbids_stale && control.max_stale.is_some_and(|most| stale_for <= most);
    // Section 5.2.1.1: it is not unwilling to take what is stale if it says so as well.
    let too_old = control.max_age.is_some_and(|most| age > most) && !takes_stale;
    // Section 5.2.1.3.
    let ends_soon = control.min_fresh.is_some_and(|least| life.fresh.saturating_sub(age) < least);
    if is_fresh {
        return match too_old || ends_soon {
            true => sent_on(Plan::Revalidate(Forward::Request)),
            false => Plan::Serve,
        };
    }
    if too_old || ends_soon {
        return sent_on(Plan::Revalidate(Forward::Stale));
    }
    if takes_stale {
        return Plan::Serve;
    }
    // RFC 5861 section 3.
    if stale_for < life.while_revalidate {
        return Plan::ServeStale;
    }
    sent_on(Plan::Revalidate(Forward::Stale))
}

/// Whether what is stored may be given when asking for it again has failed (RFC 5861 section 4).
pub(crate) fn may_stand_in(asked: &Asked, stored: &Stored, now: UnixMillis) -> bool {
    let stale_for = stored.age(now).saturating_sub(stored.life.fresh);
    let is_allowed = (!asked.authorized || stored.life.for_authorized) && !asked.control.no_cache;
    is_allowed && stale_for < stored.life.while_revalidate.max(stored.life.if_error)
}

/// How long it is still fresh; negative seconds for how long it is not (RFC 9211 section 2.3).
pub(crate) fn time_to_live(stored: &Stored, now: UnixMillis) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let (age, fresh) = (stored.age(now), stored.life.fresh);
    match age <= fresh {
        true => seconds(fresh - age),
        false => -seconds(age - fresh),
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
