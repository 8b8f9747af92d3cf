//! Another target for a request.

use std::sync::Arc;
use std::sync::{OnceLock, Weak};

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode, Uri};

use super::config::Rewrite as Settings;
use super::metrics::{FilterMetrics, Refused};
use crate::answer::Routed;
use crate::message::{Answer, Handler, Request};
use crate::problem::Problem;
use crate::route::path::{NormalPath, PathError};

/// How often a request may be routed anew.
const HOPS: u8 = 10;

/// The target that a client asked for, of a request that has another by now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original(pub Uri);

/// What is done to the target of a request.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    settings: Settings,
    host: Option<HeaderValue>,
}

/// Why a target cannot be rewritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the new target is none")]
    Target,
}

impl Rewrite {
    pub(crate) fn new(settings: &Settings) -> Self {
        // Checked when the configuration was read.
        let host = settings.host.as_ref().and_then(|host| HeaderValue::try_from(host).ok());
        Self { settings: settings.clone(), host }
    }

    /// Gives a request its new target.
    pub(crate) fn apply(&self, head: &mut Parts) -> Result<(), RewriteError> {
        if let Some(host) = &self.host {
            head.headers.insert(HOST, host.clone());
        }
        let uri = &head.uri;
        if let Some(target) = self.target(uri.path(), uri.query())? {
            let target: PathAndQuery = target.parse().map_err(|_| RewriteError::Target)?;
            let before = std::mem::replace(&mut head.uri, Uri::from(target));
            // The first of several is the client's.
            let original = head.extensions.remove().unwrap_or(Original(before));
            head.extensions.insert(original);
        }
        Ok(())
    }

    /// The new target; `None` where it stays. It is made from the path in the form that routes see, so that no way to write a path
    /// gets around it.
    fn target(&self, path: &str, query: Option<&str>) -> Result<Option<String>, RewriteError> {
        let Settings { strip_prefix, pattern, replacement, add_prefix, query: new_query, .. } = &self.settings;
        let normal = NormalPath::new(path)?;
        let mut new = normal.as_str().to_owned();
        if let Some(rest) = strip_prefix.as_ref().and_then(|prefix| stripped(&new, prefix)) {
            new = rest;
        }
        if let Some(pattern) = pattern {
            new = pattern.regex().replace(&new, replacement).into_owned();
        }
        if let Some(prefix) = add_prefix {
            new.insert_str(0, prefix.trim_end_matches('/'));
        }
        if !new.starts_with('/') {
            new.insert(0, '/');
        }
        // What was put in may lead elsewhere than it seems.
        let new = NormalPath::new(&new)?.as_str().to_owned();
        let new_query = match new_query {
            None => query.map(str::to_owned),
            Some(template) => {
                let filled = template.replace("{query}", query.unwrap_or_default());
                Some(filled.trim_matches('&').to_owned()).filter(|query| !query.is_empty())
            }
        };
        if new == normal.as_str() && new_query.as_deref() == query {
            return Ok(None);
        }
        let mut target = escaped(&new);
        if let Some(query) = new_query {
            target.push('?');
            target.push_str(&query);
        }
        Ok(Some(target))
    }
}

/// What is left of a path without a prefix of whole segments.
fn stripped(path: &str, prefix: &str) -> Option<String> {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'))?;
    match rest {
        "" => Some("/".to_owned()),
        rest => rest.starts_with('/').then(|| rest.to_owned()),
    }
}

/// A path in the form that routes see, as a request has it (RFC 3986 section 3.3). Escapes that are left in it stay.
fn escaped(path: &str) -> String {
    let mut text = String::with_capacity(path.len() + 8);
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte);
        match plain {
            true => text.push(char::from(byte)),
            false => {
                use std::fmt::Write;
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Gives a request its new target, for the handler alone.
pub struct Rewritten {
    rewrite: Rewrite,
    inner: Arc<dyn Handler>,
    metrics: Arc<FilterMetrics>,
}

impl Rewritten {
    /// Before this handler.
    pub fn new(rewrite: &Settings, inner: Arc<dyn Handler>, metrics: &Arc<FilterMetrics>) -> Self {
        Self { rewrite: Rewrite::new(rewrite), inner, metrics: Arc::clone(metrics) }
    }
}

impl Handler for Rewritten {
    fn handle(&self, mut request: Request) -> Answer {
        match self.rewrite.apply(&mut request.head) {
            Ok(()) => self.inner.handle(request),
            Err(error) => refused(&error, &request.head, &self.metrics),
        }
    }
}

fn refused(error: &RewriteError, head: &Parts, metrics: &FilterMetrics) -> Answer {
    metrics.refused.of(Refused::Rewrite).inc();
    Problem::new(StatusCode::BAD_REQUEST, error.to_string()).answer(head).into()
}

/// Gives a request its new target and has it routed anew.
pub struct Reroute {
    rewrite: Rewrite,
    routes: Arc<OnceLock<Weak<Routed>>>,
    metrics: Arc<FilterMetrics>,
}

/// How often a request was routed anew.
#[derive(Debug, Clone, Copy)]
struct Hops(u8);

impl Reroute {
    /// With the routes that will lie in `routes` once they are all there.
    pub fn new(rewrite: &Settings, routes: &Arc<OnceLock<Weak<Routed>>>, metrics: &Arc<FilterMetrics>) -> Self {
        Self { rewrite: Rewrite::new(rewrite), routes: Arc::clone(routes), metrics: Arc::clone(metrics) }
    }
}

impl Handler for Reroute {
    fn handle(&self, mut request: Request) -> Answer {
        let hops = request.head.extensions.get::<Hops>().map_or(0, |hops| hops.0);
        let Some(routes) = self.routes.get().and_then(Weak::upgrade).filter(|_| hops < HOPS) else {
            self.metrics.refused.of(Refused::Loop).inc();
            tracing::warn!(target = %request.head.uri.path(), "routes send a request around in a circle");
            return Problem::new(StatusCode::LOOP_DETECTED, "the routes of this server lead around in a circle")
                .answer(&request.head)
                .into();
        };
        if let Err(error) = self.rewrite.apply(&mut request.head) {
            return refused(&error, &request.head, &self.metrics);
        }
        request.head.extensions.insert(Hops(hops + 1));
        routes.handle(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(settings: Settings, target: &str) -> Result<String, RewriteError> {
        let (mut head, ()) =
            http::Request::builder().uri(target).header(HOST, "a.example").body(()).unwrap().into_parts();
        Rewrite::new(&settings).apply(&mut head)?;
        Ok(head.uri.to_string())
    }

    fn prefixes(strip: &str, add: &str) -> Settings {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Settings { strip_prefix: given(strip), add_prefix: given(add), ..Settings::default() }
    }

    #[test]
    fn prefixes_are_whole_segments_however_the_path_is_written() {
        for (strip, add, target, new) in [
            ("/api", "", "/api/users?x=1", "/users?x=1"),
            ("/api/", "", "/api", "/"),
            ("/api", "", "/apical", "/apical"),
            ("/api", "", "/%61pi//users", "/users"),
            ("/api", "", "/x/../api/u", "/u"),
            ("", "/v1", "/users", "/v1/users"),
            ("", "/v1/", "/", "/v1/"),
            ("/a", "/b", "/a/c%2Fd/%C3%A4%20", "/b/c%2Fd/%C3%A4%20"),
            ("/other", "", "/a%20b", "/a%20b"),
        ] {
            assert_eq!(rewritten(prefixes(strip, add), target), Ok(new.to_owned()), "{strip} {add} {target}");
        }
    }

    #[test]
    fn a_pattern_is_replaced_once_and_its_groups_put_in() {
        let settings = |pattern: &str, replacement: &str| Settings {
            pattern: Some(pattern.parse().unwrap()),
            replacement: replacement.to_owned(),
            ..Settings::default()
        };
        assert_eq!(rewritten(settings("^/users/([0-9]+)$", "/u?${1}"), "/users/7?a"), Ok("/u%3F7?a".to_owned()));
        assert_eq!(rewritten(settings("/old", "/new"), "/old/old"), Ok("/new/old".to_owned()));
        assert_eq!(rewritten(settings("^/", ""), "/x"), Ok("/x".to_owned()));
        assert_eq!(rewritten(settings("^/(.*)", "/../$1"), "/x"), Err(RewriteError::Path(PathError::AboveRoot)));
    }

    #[test]
    fn a_query_stays_goes_or_is_put_into_another() {
        let with = |query: Option<&str>, target| {
            rewritten(Settings { query: query.map(str::to_owned), ..Settings::default() }, target).unwrap()
        };
        assert_eq!(with(None, "/a?x=1"), "/a?x=1");
        assert_eq!(with(Some(""), "/a?x=1"), "/a");
        assert_eq!(with(Some("v=2&{query}"), "/a?x=1"), "/a?v=2&x=1");
        assert_eq!(with(Some("v=2&{query}"), "/a"), "/a?v=2");
    }

    #[test]
    fn the_host_is_another_one_for_whoever_answers() {
        let (mut head, ()) =
            http::Request::builder().uri("/x").header(HOST, "a.example").body(()).unwrap().into_parts();
        let settings = Settings { host: Some("b.internal:8080".to_owned()), ..Settings::default() };
        Rewrite::new(&settings).apply(&mut head).unwrap();
        assert!(head.headers[HOST] == "b.internal:8080" && head.uri.path() == "/x");
    }
}
