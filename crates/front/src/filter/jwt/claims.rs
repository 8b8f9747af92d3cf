//! What tokens claim: of themselves, which their issuer is asked for, and of whom they are for, which routes ask for.

use serde_json::Value as Json;

use super::token::Claims;
use crate::filter::config::{ClaimValues, JwtIssuer};

/// How deep names lead into objects.
const DEPTH: usize = 8;

/// Claims whose text is a list of words (RFC 8693 section 4.2; `scp` is what some call it).
const WORDS: [&str; 2] = ["scope", "scp"];

/// Why a token is not taken that has a good signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is for somebody else, or does not say whom it is for.
    Audience,
    /// Its time is over.
    Expired,
    /// It does not say when that is.
    Endless,
    /// Its time has not come.
    Early,
    /// A time in it is none.
    Malformed,
}

/// Until when, in seconds, a token may be taken by its times and by whom it is for (RFC 7519 section 4.1), at `now`.
pub(super) fn judge(claims: &Claims, issuer: &JwtIssuer, now: u64) -> Result<u64, Unfit> {
    let leeway = issuer.leeway.as_secs();
    let mut until = match seconds(claims, "exp")? {
        Some(expires) => expires.saturating_add(leeway),
        None if issuer.endless => u64::MAX,
        None => return Err(Unfit::Endless),
    };
    let issued = seconds(claims, "iat")?;
    for since in [seconds(claims, "nbf")?, issued].into_iter().flatten() {
        if since > now.saturating_add(leeway) {
            return Err(Unfit::Early);
        }
    }
    if let Some(age) = issuer.max_age {
        let issued = issued.ok_or(Unfit::Endless)?;
        until = until.min(issued.saturating_add(age.as_secs()).saturating_add(leeway));
    }
    if now >= until {
        return Err(Unfit::Expired);
    }
    match is_for(claims.get("aud"), issuer) {
        true => Ok(until),
        false => Err(Unfit::Audience),
    }
}

/// A `NumericDate` in whole seconds.
fn seconds(claims: &Claims, name: &str) -> Result<Option<u64>, Unfit> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_u64();
    // One with a fraction is allowed; a cast takes what lies outside to the nearest that does not.
    whole.or_else(|| value.as_f64().map(|seconds| seconds as u64)).map(Some).ok_or(Unfit::Malformed)
}

fn is_for(audience: Option<&Json>, issuer: &JwtIssuer) -> bool {
    if issuer.takes_any_audience() {
        return true;
    }
    let is_ours = |one: &Json| one.as_str().is_some_and(|one| issuer.audiences.iter().any(|own| own == one));
    match audience {
        Some(Json::Array(several)) => several.iter().any(is_ours),
        Some(one) => is_ours(one),
        None => issuer.audiences.is_empty(),
    }
}

/// The claim of this name: itself, or what its dots lead to.
pub(super) fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Json> {
    within(claims, name, DEPTH)
}

fn within<'c>(claims: &'c Claims, name: &str, depth: usize) -> Option<&'c Json> {
    if let Some(claim) = claims.get(name) {
        return Some(claim);
    }
    // Names have dots themselves where they are URLs.
    let dots = name.char_indices().filter(|(_, c)| *c == '.').map(|(at, _)| at);
    let mut steps = dots.filter_map(|at| Some((claims.get(name.get(..at)?)?.as_object()?, name.get(at + 1..)?)));
    steps.find_map(|(inner, rest)| within(inner, rest, depth.checked_sub(1)?))
}

/// Whether a token has a claim with one of these values.
pub(super) fn has(claims: &Claims, name: &str, wanted: &ClaimValues) -> bool {
    let Some(claim) = find(claims, name).filter(|claim| !claim.is_null()) else { return false };
    let values = wanted.values();
    let last = name.rsplit('.').next().unwrap_or(name);
    match claim {
        _ if values.is_empty() => true,
        Json::Array(several) => several.iter().any(|one| values.contains(one)),
        Json::String(text) if WORDS.contains(&last) => {
            let mut words = text.split(' ');
            words.any(|word| values.iter().any(|value| value == word))
        }
        one => values.contains(one),
    }
}

/// Whether a token has a scope.
pub(super) fn has_scope(claims: &Claims, scope: &str) -> bool {
    WORDS.iter().any(|name| match claims.get(*name) {
        Some(Json::String(text)) => text.split(' ').any(|word| word == scope),
        Some(Json::Array(several)) => several.iter().any(|one| one == scope),
        _ => false,
    })
}

/// A claim as the value of a header field: texts and numbers as they are, of lists one after another, objects as JSON. `None` for what no field
/// could have, or could be read as something else: a list with a comma in one of its texts would have more of them.
pub(super) fn as_text(claim: &Json) -> Option<String> {
    let text = match claim {
        Json::Null => return None,
        Json::Array(several) => {
            let is_one = |one: &String| !one.contains(',');
            let each: Option<Vec<_>> = several.iter().map(|one| as_text(one).filter(is_one)).collect();
            each?.join(",")
        }
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(text)
}
