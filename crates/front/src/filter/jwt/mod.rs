//! Bearer tokens (RFC 6750) that are JSON Web Tokens (RFC 7519).
//!
//! - `carried`: where requests have them. `token`: a token, taken apart. `key`: what verifies it. `claims`: what it claims.
//! - `issuer`: who issues tokens, with all keys. `fetch`: keys that are published. `known`: tokens that were verified a moment ago.
//!
//! A token chooses its issuer by what it claims, and a key by its id; the key says what can be done with it. Whoever sends nonsense has cost one
//! verification at most of each key that fits, tens of microseconds on the thread of its connection: less than most answers, so nobody is made to
//! wait for a turn.
//!
//! Deliberately absent: tokens that are encrypted (RFC 7516), questions to issuers about single tokens (RFC 7662), and signing in.

mod carried;
mod claims;
mod fetch;
mod issuer;
mod key;
mod known;
mod token;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};

use super::config::Jwt as Settings;
use super::fields;
use super::metrics::{FilterMetrics, Refused, TokenOutcome as Outcome};
use super::rate;
use crate::api::Fault;
use crate::cached::Personal;
use crate::message::{Local, Response};
use crate::problem::Problem;
use carried::Carried;
use claims::Unfit;
use issuer::Failure;
pub(crate) use issuer::{Issuer, missing};
pub use issuer::{JwtError, ShortSecret, short_secret};
pub use key::KeyError;
use token::{Claims, Token};

/// Asks for tokens.
#[derive(Debug)]
pub(crate) struct Bearer {
    settings: Settings,
    issuers: Vec<Arc<Issuer>>,
    /// What each refusal begins with in `WWW-Authenticate`.
    realm: String,
    /// Fields that are made of claims.
    handed: Vec<(HeaderName, String)>,
    metrics: Arc<FilterMetrics>,
}

/// A point in time, on two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// Nanoseconds of one that never goes back.
    pub(crate) clock: u64,
    /// Seconds since 1970.
    pub(crate) unix: u64,
}

/// What is made of a request's token: it is good or not needed, or it is refused.
pub(crate) type Checked = Result<Passed, Box<Refusal>>;

/// What is known of who may pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) user: Option<Box<str>>,
    /// Whether others could see the token, so that no answer is for others to keep (RFC 6750 section 2.3).
    pub(crate) in_query: bool,
}

/// What is told to who may not.
pub(crate) struct Refusal {
    pub(crate) response: Response,
    pub(crate) why: Refused,
    /// Who it is, where that is known.
    pub(crate) user: Option<Box<str>>,
}

/// What a request's token is.
enum Judged<'b> {
    Good(Good),
    /// There is none, and none is needed.
    Nothing,
    Bad(Outcome),
    /// It may be good with keys that its issuer has by now.
    Unknown(&'b Issuer, Failure),
}

/// A token that was verified.
struct Good {
    claims: Arc<Claims>,
    is_known: bool,
    in_query: bool,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { clock: rate::clock(), unix }
    }
}

impl Bearer {
    /// As configured, with these issuers.
    pub(crate) fn new(settings: Settings, issuers: Vec<Arc<Issuer>>, metrics: &Arc<FilterMetrics>) -> Self {
        let realm = settings.realm.as_ref().map_or("Bearer".to_owned(), |realm| format!("Bearer realm=\"{realm}\""));
        // Checked when the configuration was read.
        let field = |(name, claim): (&String, &String)| Some((HeaderName::try_from(name).ok()?, claim.clone()));
        let handed = settings.claim_headers.iter().filter_map(field).collect();
        Self { settings, issuers, realm, handed, metrics: Arc::clone(metrics) }
    }

    /// Fields of requests that are made of claims, or that tokens are taken out of.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        let carrying = (!self.settings.forward).then(|| self.settings.header.name());
        self.handed.iter().map(|(name, _)| name).chain(carrying)
    }

    /// What is made of a request's token, or the end of a fetch of keys, after which that can be said. Where it is good, the request gets what is made
    /// of its claims.
    pub(crate) fn check(&self, head: &mut Parts, now: Moment) -> Result<Checked, Local<()>> {
        let judged = self.judge(head, now);
        let wait = match &judged {
            Judged::Unknown(issuer, _) => issuer.fetch_again(now),
            _ => None,
        };
        wait.map_or_else(|| Ok(self.conclude(judged, head)), Err)
    }

    /// The same, when that has ended.
    pub(crate) fn check_again(&self, head: &mut Parts, now: Moment) -> Checked {
        self.conclude(self.judge(head, now), head)
    }

    fn conclude(&self, judged: Judged<'_>, head: &mut Parts) -> Checked {
        let good = match judged {
            Judged::Good(good) => good,
            Judged::Nothing => {
                self.count(Outcome::Anonymous);
                self.hand_on(head, None);
                return Ok(Passed::default());
            }
            Judged::Bad(outcome) => return Err(Box::new(self.refusal(outcome, head, None))),
            Judged::Unknown(_, failure) => return Err(Box::new(self.refusal(outcome(failure), head, None))),
        };
        let user = self.user(&good.claims);
        if !self.allows(&good.claims) {
            return Err(Box::new(self.refusal(Outcome::Lacking, head, user)));
        }
        self.count(if good.is_known { Outcome::Remembered } else { Outcome::Verified });
        self.hand_on(head, Some(&good.claims));
        head.extensions.insert(Personal);
        Ok(Passed { user, in_query: good.in_query })
    }

    fn count(&self, outcome: Outcome) {
        self.metrics.tokens.of(outcome).inc();
    }

    fn judge(&self, head: &Parts, now: Moment) -> Judged<'_> {
        let (text, in_query) = match carried::find(head, &self.settings) {
            Carried::Token(text) => (text, false),
            Carried::InQuery(text) => (text, true),
            Carried::Several => return Judged::Bad(Outcome::Several),
            Carried::Nothing if self.settings.optional => return Judged::Nothing,
            Carried::Nothing => return Judged::Bad(Outcome::Missing),
        };
        let mut digests = Vec::with_capacity(self.issuers.len());
        for issuer in &self.issuers {
            issuer.look(now);
            match issuer.recall(&text, now) {
                (_, Some(claims)) => return Judged::Good(Good { claims, is_known: true, in_query }),
                (digest, None) => digests.push(digest),
            }
        }
        let Ok(token) = Token::read(&text) else { return Judged::Bad(Outcome::Malformed) };
        let mut issuers = self.issuers.iter().zip(digests);
        let Some((issuer, digest)) = issuers.find(|(issuer, _)| issuer.has_issued(&token.claims)) else {
            return Judged::Bad(Outcome::Issuer);
        };
        match issuer.verify(token, text.len(), digest, now) {
            Ok(claims) => Judged::Good(Good { claims, is_known: false, in_query }),
            Err(failure @ (Failure::UnknownKey | Failure::NoKeys)) => Judged::Unknown(issuer, failure),
            Err(failure) => Judged::Bad(outcome(failure)),
        }
    }

    /// Whether a token has what is asked of it here.
    fn allows(&self, claims: &Claims) -> bool {
        let Settings { scopes, claims: wanted, .. } = &self.settings;
        scopes.iter().all(|scope| claims::has_scope(claims, scope))
            && wanted.iter().all(|(name, values)| claims::has(claims, name, values))
    }

    fn user(&self, claims: &Claims) -> Option<Box<str>> {
        claims::find(claims, &self.settings.user).and_then(claims::as_text).map(String::into_boxed_str)
    }

    /// Gives what answers the fields that are made of claims. Nobody else can have given them: those of the client are taken out, also where they
    /// are spelled as programs may take them for the same.
    fn hand_on(&self, head: &mut Parts, claims: Option<&Claims>) {
        if !self.settings.forward {
            carried::take_out(head, &self.settings);
        }
        self.handed.iter().for_each(|(name, _)| fields::take_out(&mut head.headers, name));
        for (name, claim) in &self.handed {
            let text = claims.and_then(|claims| claims::find(claims, claim)).and_then(claims::as_text);
            let value = text.and_then(|text| HeaderValue::from_bytes(text.as_bytes()).ok());
            head.headers.extend(value.map(|value| (name.clone(), value)));
        }
    }

    fn refusal(&self, outcome: Outcome, head: &Parts, user: Option<Box<str>>) -> Refusal {
        self.count(outcome);
        let (status, error, detail) = told(outcome);
        let problem = Problem::new(status, detail);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let mut response = problem.fault(Fault::Upstream).answer(head);
            response.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return Refusal { response, why: Refused::Token, user };
        }
        let mut parts = Vec::with_capacity(3);
        parts.extend(error.map(|error| format!("error=\"{error}\", error_description=\"{detail}\"")));
        if outcome == Outcome::Lacking && !self.settings.scopes.is_empty() {
            parts.push(format!("scope=\"{}\"", self.settings.scopes.join(" ")));
        }
        let comma = if self.settings.realm.is_some() && !parts.is_empty() { "," } else { "" };
        let space = if parts.is_empty() { "" } else { " " };
        let challenge = format!("{}{comma}{space}{}", self.realm, parts.join(", "));
        let mut response = problem.answer(head);
        // Checked when the configuration was read.
        response.headers.extend(HeaderValue::try_from(challenge).ok().map(|challenge| (WWW_AUTHENTICATE, challenge)));
        let why = if status == StatusCode::FORBIDDEN { Refused::Claims } else { Refused::Token };
        Refusal { response, why, user }
    }
}

fn outcome(failure: Failure) -> Outcome {
    match failure {
        Failure::Algorithm => Outcome::Algorithm,
        Failure::UnknownKey => Outcome::UnknownKey,
        Failure::NoKeys => Outcome::NoKeys,
        Failure::Signature => Outcome::Signature,
        Failure::Kind => Outcome::Kind,
        Failure::Unfit(Unfit::Audience) => Outcome::Audience,
        Failure::Unfit(Unfit::Expired) => Outcome::Expired,
        Failure::Unfit(Unfit::Endless) => Outcome::Endless,
        Failure::Unfit(Unfit::Early) => Outcome::Early,
        Failure::Unfit(Unfit::Malformed) => Outcome::Malformed,
    }
}

/// The status, the error of RFC 6750 section 3.1, and what is said.
fn told(outcome: Outcome) -> (StatusCode, Option<&'static str>, &'static str) {
    let detail = match outcome {
        Outcome::Verified | Outcome::Remembered | Outcome::Anonymous | Outcome::Missing => {
            return (StatusCode::UNAUTHORIZED, None, "a token is needed");
        }
        Outcome::Several => {
            let detail = "there are several tokens: only one may be sent";
            return (StatusCode::BAD_REQUEST, Some("invalid_request"), detail);
        }
        Outcome::Lacking => {
            return (StatusCode::FORBIDDEN, Some("insufficient_scope"), "the token does not allow this");
        }
        Outcome::NoKeys => {
            let detail = "the keys that tokens are verified with are not there yet";
            return (StatusCode::SERVICE_UNAVAILABLE, None, detail);
        }
        Outcome::Malformed => "the token is malformed",
        Outcome::Algorithm => "the token is signed in a way that is not taken",
        Outcome::UnknownKey => "the key of the token is not known",
        Outcome::Signature => "the signature of the token is wrong",
        Outcome::Kind => "the token is of another type",
        Outcome::Issuer => "the token is from another issuer",
        Outcome::Audience => "the token is not for this site",
        Outcome::Expired => "the token has expired",
        Outcome::Endless => "the token does not say how long it is good",
        Outcome::Early => "the token is not good yet",
    };
    (StatusCode::UNAUTHORIZED, Some("invalid_token"), detail)
}

#[cfg(test)]
mod tests;
