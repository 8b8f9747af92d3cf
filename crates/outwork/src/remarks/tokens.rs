//! What is said of tokens: where they can be sent, who sees them on their way, and secrets that can be guessed.

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};
use outwork_front::filter::short_secret;

use crate::routes::FrontSettings;
use crate::settings::Settings;

/// Remarks on tokens that nobody can send, and on those that a log would have.
pub(super) fn can_be_sent(front: &FrontSettings, at: &mut At<'_>) {
    let routes = front.route.iter().enumerate();
    let routes = routes.map(|(index, route)| (format!("route[{index}]."), route.shared()));
    for (place, own) in [(String::new(), front.shared())].into_iter().chain(routes) {
        // What a route does not say is said where it is written.
        let shared = own.over(front.shared());
        let Some(jwt) = shared.jwt.filter(|jwt| jwt.enabled && (own.jwt.is_some() || own.basic_auth.is_some())) else {
            continue;
        };
        let key = if own.jwt.is_some() { "jwt" } else { "basic_auth" };
        let password = shared.basic_auth.is_some_and(|auth| auth.enabled);
        let only_there = *jwt.header.name() == "authorization" && jwt.cookie.is_none() && jwt.query.is_none();
        if password && only_there && !jwt.optional {
            let found =
                "every request is answered 401: a name and password and a token cannot both stand in Authorization";
            let warning = Fault::new(found).expected("one of basic_auth and jwt, or another place for tokens");
            let help =
                "turn one of them off here (basic_auth = { enabled = false }), or name a cookie or a header in jwt";
            at.warn(&format!("{place}{key}"), warning.help(help));
        }
        let Some((query, log)) = jwt.query.as_ref().zip(front.access_log.as_ref()).filter(|_| own.jwt.is_some()) else {
            continue;
        };
        if !log.leaves_out(query) {
            let found = format!("the access log has the tokens that come as {query}=: it does not mask them");
            let warning = Fault::new(found).expected("its name in access_log.mask");
            at.warn(&format!("{place}jwt.query"), warning.help(format!("add {query:?} to front.access_log.mask")));
        }
    }
}

/// Remarks on secrets that are shorter than what is made with them. They are looked at.
pub(super) fn of_secrets(settings: &Settings) -> Vec<(String, Fault)> {
    let remark = |(name, issuer): (&String, _)| {
        let short = short_secret(issuer)?;
        let found = format!(
            "the secret has {} bytes, and {} is as hard to forge as one with {} (RFC 7518 section 3.2)",
            short.bytes, short.algorithm, short.wanted
        );
        let fault = Fault::new(found).expected(format!("a secret of {} random bytes or more", short.wanted));
        let help = format!("make another one, with `openssl rand -hex {}` say", short.wanted);
        Some((format!("front.{}.secret_file", join_key("jwt_issuer", name)), fault.help(help)))
    };
    settings.front.jwt_issuer.iter().filter_map(remark).collect()
}
