//! Somebody who is asked about each request before it is answered.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, IF_RANGE, LOCATION, RANGE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use super::config::ForwardAuth as Settings;
use super::fields;
use super::metrics::{Asked, FilterMetrics};
use crate::api::Fault;
use crate::ask::{Ask, AskError, Question, Reply};
use crate::cached::Personal;
use crate::message::{Body, Origin, Request, Response, Subject};
use crate::problem::Problem;

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Fields of a connection, of how a message is framed, and of what is not asked for: an answer to the question is none to the request.
const NOT_ASKED: [HeaderName; 16] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("http2-settings"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    RANGE,
    IF_RANGE,
    ACCEPT_ENCODING,
    ACCEPT_RANGES,
];

/// Asks about requests.
pub(crate) struct Forward {
    settings: Settings,
    url: Uri,
    asker: Arc<dyn Ask>,
    metrics: Arc<FilterMetrics>,
}

/// What is known of who may pass.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    pub(crate) user: Option<Box<str>>,
    /// Fields that the client gets.
    pub(crate) fields: HeaderMap,
}

/// What becomes of a request.
enum Verdict {
    Pass(Reply),
    /// The client gets this answer.
    Give(Asked, Response),
    /// Nobody knows, with the status and the words for that.
    Failed(Asked, StatusCode, Cow<'static, str>),
}

impl Forward {
    /// As configured. `None` where nobody could be asked.
    pub(crate) fn new(settings: Settings, asker: &Arc<dyn Ask>, metrics: &Arc<FilterMetrics>) -> Option<Self> {
        let url = settings.target()?;
        Some(Self { settings, url, asker: Arc::clone(asker), metrics: Arc::clone(metrics) })
    }

    /// Fields of requests that whoever is asked gives, and nobody else.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.settings.answer_fields.iter().map(|field| field.name())
    }

    /// Asks about a request, and gives it what whoever answers it is to know; else what the client gets in place of an answer.
    pub(crate) async fn check(&self, request: &mut Request) -> Result<Passed, Response> {
        let asked = self.asker.ask(self.question(request));
        let verdict = match tokio::time::timeout(self.settings.timeout, asked).await {
            Ok(Ok(reply)) => judge(reply),
            Ok(Err(AskError::Unreachable(error))) => {
                tracing::debug!(%error, url = %self.url, "who is asked about requests does not answer");
                Verdict::Failed(Asked::Unreachable, StatusCode::SERVICE_UNAVAILABLE, "does not answer".into())
            }
            Ok(Err(AskError::TooLarge(_))) => {
                Verdict::Failed(Asked::Wrong, StatusCode::BAD_GATEWAY, "says too much".into())
            }
            Err(_) => Verdict::Failed(Asked::Late, StatusCode::GATEWAY_TIMEOUT, "does not answer in time".into()),
        };
        let count = |outcome| self.metrics.forward_auth.of(outcome).inc();
        match verdict {
            Verdict::Pass(reply) => {
                count(Asked::Passed);
                Ok(self.pass(&reply.headers, request))
            }
            Verdict::Give(outcome, mut response) => {
                count(outcome);
                response.note_mut().about = Some(Box::new(Subject::of(&request.head)));
                Err(response)
            }
            Verdict::Failed(outcome, status, why) => {
                count(outcome);
                let problem = Problem::new(status, format!("whoever is asked about requests {why}"));
                Err(problem.fault(Fault::Upstream).answer(&request.head))
            }
        }
    }

    fn question(&self, request: &Request) -> Question {
        let own = &request.head.headers;
        let wanted = &self.settings.request_fields;
        let goes_along = |name: &HeaderName| match wanted.is_empty() {
            true => {
                !NOT_ASKED.contains(name) && !name.as_str().starts_with("content-") && !name.as_str().starts_with("if-")
            }
            false => wanted.iter().any(|wanted| wanted.name() == name) && *name != HOST,
        };
        let mut headers = HeaderMap::with_capacity(own.len() + 5);
        for (name, value) in own.iter().filter(|(name, _)| goes_along(name)) {
            headers.append(name.clone(), value.clone());
        }
        let Origin { peer, tls, .. } = &*request.origin;
        let target = request.head.uri.path_and_query().map_or("/", |target| target.as_str());
        let told = [
            (X_FORWARDED_METHOD, HeaderValue::from_str(request.head.method.as_str()).ok()),
            (X_FORWARDED_PROTO, Some(HeaderValue::from_static(if *tls { "https" } else { "http" }))),
            (X_FORWARDED_HOST, own.get(HOST).cloned()),
            (X_FORWARDED_URI, HeaderValue::from_str(target).ok()),
            (X_FORWARDED_FOR, HeaderValue::try_from(peer.ip().to_string()).ok()),
        ];
        for (name, value) in told {
            // What the client has made up of these is gone, also where there is nothing to be said.
            headers.remove(&name);
            headers.extend(value.map(|value| (name, value)));
        }
        Question { method: Method::GET, url: self.url.clone(), headers, most: self.settings.max_answer.as_usize() }
    }

    /// The request goes on, with what the fields of the answer say.
    fn pass(&self, told: &HeaderMap, request: &mut Request) -> Passed {
        let headers = &mut request.head.headers;
        for field in &self.settings.answer_fields {
            fields::take_out(headers, field.name());
            for value in told.get_all(field.name()) {
                headers.append(field.name().clone(), value.clone());
            }
        }
        request.head.extensions.insert(Personal);
        let mut passed = Passed::default();
        for field in &self.settings.client_fields {
            for value in told.get_all(field.name()) {
                passed.fields.append(field.name().clone(), value.clone());
            }
        }
        let user = self.settings.user.as_ref().and_then(|user| told.get(user.name()));
        passed.user = user.and_then(|user| user.to_str().ok()).map(Into::into);
        passed
    }
}

/// What an answer says of the request that it is about.
fn judge(reply: Reply) -> Verdict {
    let status = reply.status;
    let outcome = match status {
        _ if status.is_success() => return Verdict::Pass(reply),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Asked::Refused,
        _ if status.is_redirection() && reply.headers.contains_key(LOCATION) => Asked::Redirected,
        _ => {
            let why = format!("answers {}, which says neither yes nor no", status.as_u16());
            return Verdict::Failed(Asked::Wrong, StatusCode::BAD_GATEWAY, why.into());
        }
    };
    let mut response = Response::new(status);
    let named = connection_fields(&reply.headers);
    for (name, value) in reply.headers.iter().filter(|(name, _)| !NOT_ASKED.contains(name) && !named.contains(name)) {
        response.headers.append(name.clone(), value.clone());
    }
    response.body = if reply.content.is_empty() { Body::Empty } else { Body::Full(reply.content) };
    Verdict::Give(outcome, response)
}

/// Fields that are about the connection, as it says itself (RFC 9110 section 7.6.1).
fn connection_fields(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok()).collect()
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
