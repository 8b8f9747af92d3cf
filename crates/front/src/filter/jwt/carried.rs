//! Where requests have their tokens, and how they lose them.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

use crate::filter::config::Jwt;

/// The scheme in `Authorization` (RFC 6750 section 2.1).
const SCHEME: &str = "bearer";

/// A request's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried<'r> {
    /// It has none.
    Nothing,
    /// It has several, of which nobody knows which one is meant (RFC 6750 section 2).
    Several,
    /// This one, in a header field or a cookie.
    Token(Cow<'r, str>),
    /// This one, in the query, which others may see.
    InQuery(Cow<'r, str>),
}

/// Looks for it in all places where it may be. A cookie, which browsers send by themselves, counts where there is nothing else.
pub(super) fn find<'r>(head: &'r Parts, settings: &Jwt) -> Carried<'r> {
    let mut of_field = in_field(&head.headers, settings);
    let query = settings.query.as_deref().zip(head.uri.query());
    let mut of_query = query.into_iter().flat_map(|(name, query)| {
        let pairs = form_urlencoded::parse(query.as_bytes());
        pairs.filter(move |(key, _)| key == name).map(|(_, value)| value)
    });
    match (of_field.next(), of_query.next()) {
        (Some(_), Some(_)) => Carried::Several,
        (Some(token), None) if of_field.next().is_none() => Carried::Token(token.into()),
        (None, Some(token)) if of_query.next().is_none() => Carried::InQuery(token),
        (None, None) => match settings.cookie.as_deref().and_then(|name| cookie(&head.headers, name)) {
            Some(token) => Carried::Token(token.into()),
            None => Carried::Nothing,
        },
        _ => Carried::Several,
    }
}

fn in_field<'r>(headers: &'r HeaderMap, settings: &Jwt) -> impl Iterator<Item = &'r str> + use<'r> {
    let name = settings.header.name();
    let is_authorization = *name == AUTHORIZATION;
    headers.get_all(name).into_iter().filter_map(move |value| {
        // What is no text is no token either.
        let value = value.to_str().unwrap_or("?").trim();
        let bare = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
        match bare {
            Some((_, token)) => Some(token.trim_start()),
            None if is_authorization => None,
            None => Some(value),
        }
    })
}

/// The parts of all `Cookie` fields, of which HTTP/2 may have several.
fn crumbs(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(';')).map(str::trim).filter(|crumb| !crumb.is_empty())
}

fn named<'c>(crumb: &'c str, name: &str) -> Option<&'c str> {
    crumb.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.trim_matches('"'))
}

fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    crumbs(headers).find_map(|crumb| named(crumb, name))
}

/// Takes tokens out of all places where they may be.
pub(super) fn take_out(head: &mut Parts, settings: &Jwt) {
    let name = settings.header.name();
    let is_bearer = |value: &HeaderValue| {
        let scheme = value.as_bytes().get(..SCHEME.len());
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME.as_bytes()))
    };
    if *name != AUTHORIZATION || head.headers.get_all(name).iter().any(is_bearer) {
        head.headers.remove(name);
    }
    if let Some(name) = &settings.cookie
        && cookie(&head.headers, name).is_some()
    {
        let left: Vec<&str> = crumbs(&head.headers).filter(|crumb| named(crumb, name).is_none()).collect();
        let left = HeaderValue::try_from(left.join("; ")).ok().filter(|left| !left.is_empty());
        head.headers.remove(COOKIE);
        head.headers.extend(left.map(|left| (COOKIE, left)));
    }
    if let Some(name) = &settings.query
        && let Some(uri) = without(&head.uri, name)
    {
        head.uri = uri;
    }
}

/// The target without a parameter of its query; `None` where it does not have it.
fn without(uri: &Uri, name: &str) -> Option<Uri> {
    let query = uri.query()?;
    let is_it = |pair: &&str| form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == name);
    if !query.split('&').any(|pair| is_it(&pair)) {
        return None;
    }
    // What is left stays as it was spelled.
    let left: Vec<&str> = query.split('&').filter(|pair| !is_it(pair)).collect();
    let target = match left.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), left.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}
