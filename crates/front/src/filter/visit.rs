//! What is done with every request before it is routed and after it is answered: whose it is, its id, its line in the access log.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::CONTENT_ENCODING;
use http::{HeaderName, HeaderValue};

use super::config::Trust;
use super::id;
use super::log::{AccessLog, Line};
use super::proxies::Proxies;
use crate::message::{Body, Origin, Request, Response};
use crate::traffic::Counted;

/// The field of an error answer's id, where requests have none.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is done with every request. By default nothing, which costs nothing.
#[derive(Debug, Default, Clone)]
pub struct Entry {
    /// Proxies whose word is taken for whose request it is.
    pub proxies: Option<Arc<Proxies>>,
    /// Ids of requests.
    pub id: Option<Ids>,
    /// The access log.
    pub log: Option<Arc<AccessLog>>,
    /// What is counted of each route.
    pub traffic: Option<Counted>,
}

impl Entry {
    /// Whether nothing is done with a request that its head alone does not decide.
    pub(crate) fn has_no_eye_for_requests(&self) -> bool {
        self.proxies.is_none() && self.id.is_none() && self.log.is_none()
    }
}

/// How requests get their ids.
#[derive(Debug, Clone)]
pub struct Ids {
    /// The field of request and answer.
    pub field: HeaderName,
    /// Whose ids are taken over.
    pub trust: Trust,
}

/// A request between its head and the end of its answer.
pub(crate) struct Visit {
    id: Option<HeaderValue>,
    line: Option<Box<Line>>,
    route: Option<u16>,
}

impl Visit {
    /// Begins with a request, of whose connection it has its origin.
    pub(crate) fn begin(entry: &Entry, request: &mut Request, started: Instant) -> Self {
        let connection = match &entry.proxies {
            Some(proxies) => {
                let origin = proxies.origin(&request.head.headers, &request.origin);
                origin.map(|origin| std::mem::replace(&mut request.origin, Rc::new(origin)))
            }
            None => None,
        };
        let connection = connection.as_deref().unwrap_or(&request.origin);
        let id = entry.id.as_ref().map(|ids| {
            let trusted = match ids.trust {
                Trust::Nobody => false,
                Trust::Everybody => true,
                Trust::Proxies => entry.proxies.as_ref().is_some_and(|proxies| proxies.trust(connection.peer.ip())),
            };
            let given = request.head.headers.get(&ids.field).filter(|given| trusted && id::is_sound(given)).cloned();
            given.unwrap_or_else(|| {
                let fresh = id::fresh();
                request.head.headers.insert(ids.field.clone(), fresh.clone());
                fresh
            })
        });
        let line = entry.log.as_ref().map(|log| Line::begin(log, request, connection, started));
        Self { id, line, route: None }
    }

    /// Begins with what could not be understood as a request.
    pub(crate) fn misunderstood(entry: &Entry, origin: &Origin, started: Instant) -> Self {
        let line = entry.log.as_ref().map(|log| Line::empty(log, origin, started));
        Self { id: None, line, route: None }
    }

    /// There is an answer, so long after the request's head: it gets the id, and tells what is counted and logged.
    pub(crate) fn answered(&mut self, entry: &Entry, response: &mut Response, took: Duration) {
        let problem = response.note.as_mut().and_then(|note| note.problem.take());
        if let Some(problem) = problem {
            // Whoever asks about an error needs something to ask with.
            let id = self.id.get_or_insert_with(id::fresh);
            // What somebody has encoded meanwhile stays as it is.
            let as_written = problem.is_shown() && response.field(&CONTENT_ENCODING).is_none();
            if as_written && matches!(response.body, Body::Full(_)) {
                response.body = Body::Full(problem.content(id.to_str().ok()));
            }
        }
        if let Some(id) = &self.id {
            let field = entry.id.as_ref().map_or(X_REQUEST_ID, |ids| ids.field.clone());
            response.headers.insert(field, id.clone());
        }
        self.route = response.route;
        if let Some(traffic) = &entry.traffic {
            traffic.answered(response, took, self.id.as_ref());
        }
        if let Some(line) = &mut self.line {
            line.answered(response, self.id.as_ref());
        }
    }

    /// The client has gone before there was an answer: nobody gets one.
    pub(crate) fn abandoned(mut self) {
        if let Some(line) = &mut self.line {
            line.abandoned(self.id.as_ref());
        }
    }

    /// So many bytes of the answer's content were sent; `whole` says whether that was all of it.
    pub(crate) fn sent(&mut self, entry: &Entry, bytes: u64, whole: bool) {
        if let Some(traffic) = &entry.traffic {
            traffic.sent(self.route, bytes);
        }
        if let Some(line) = &mut self.line {
            line.sent(bytes, whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::super::proxies::ClientField;
    use super::*;
    use crate::message::RequestBody;
    use crate::problem::Problem;

    fn request(fields: &[(&str, &str)]) -> Request {
        let mut builder = http::Request::builder();
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (head, ()) = builder.body(()).unwrap().into_parts();
        let origin = Origin {
            peer: ([10, 0, 0, 1], 1).into(),
            local: ([10, 0, 0, 2], 80).into(),
            to: None,
            tls: false,
            session: None,
        };
        Request { head, body: RequestBody::Empty, origin: Rc::new(origin) }
    }

    fn entry(trust: Trust) -> Entry {
        let proxies = Proxies::new(&["10.0.0.1".parse().unwrap()], ClientField::XForwardedFor).map(Arc::new);
        Entry { proxies, id: Some(Ids { field: X_REQUEST_ID, trust }), ..Entry::default() }
    }

    fn id_of(entry: &Entry, given: &str) -> String {
        let mut request = request(&[("x-request-id", given)]);
        let mut visit = Visit::begin(entry, &mut request, Instant::now());
        let mut response = Response::new(StatusCode::OK);
        visit.answered(entry, &mut response, Duration::ZERO);
        let id = &response.headers[X_REQUEST_ID];
        assert_eq!(id, request.head.headers[X_REQUEST_ID], "handlers see the id that the client gets");
        id.to_str().unwrap().to_owned()
    }

    #[test]
    fn an_id_is_taken_over_from_who_is_trusted_and_made_for_others() {
        assert_eq!(id_of(&entry(Trust::Everybody), "mine"), "mine");
        assert_eq!(id_of(&entry(Trust::Proxies), "mine"), "mine");
        assert_eq!(id_of(&Entry { proxies: None, ..entry(Trust::Proxies) }, "mine").len(), 32);
        assert_eq!(id_of(&entry(Trust::Nobody), "mine").len(), 32);
        assert_eq!(id_of(&entry(Trust::Everybody), "not\" mine").len(), 32);
    }

    #[test]
    fn a_request_through_a_trusted_proxy_is_its_client_s() {
        let mut request = request(&[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")]);
        Visit::begin(&entry(Trust::Nobody), &mut request, Instant::now());
        assert_eq!((request.origin.peer.ip().to_string().as_str(), request.origin.tls), ("192.0.2.7", true));
    }

    #[test]
    fn behind_a_trusted_proxy_the_certificate_is_that_of_the_connection() {
        let mut request = request(&[("x-forwarded-for", "192.0.2.7")]);
        let session = crate::filter::tests::session(Some(("CN=proxy", "00")));
        request.origin = Rc::new(Origin { session: Some(Arc::clone(&session)), ..(*request.origin).clone() });
        Visit::begin(&entry(Trust::Nobody), &mut request, Instant::now());
        assert_eq!(request.origin.peer.ip().to_string(), "192.0.2.7");
        assert_eq!(request.origin.session, Some(session));
    }

    #[test]
    fn an_error_has_an_id_though_requests_have_none() {
        let (entry, mut request) = (Entry::default(), request(&[]));
        let mut visit = Visit::begin(&entry, &mut request, Instant::now());
        let mut response = Problem::new(StatusCode::NOT_FOUND, "nothing is here").answer(&request.head);
        visit.answered(&entry, &mut response, Duration::ZERO);
        let id = response.headers[X_REQUEST_ID].to_str().unwrap().to_owned();
        let Body::Full(body) = response.body else { panic!("it has a body") };
        assert!(std::str::from_utf8(&body).unwrap().contains(&id));
        let mut encoded = Problem::new(StatusCode::NOT_FOUND, "nothing is here").answer(&request.head);
        encoded.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        encoded.body = Body::Full("brotli".into());
        Visit::begin(&entry, &mut request, Instant::now()).answered(&entry, &mut encoded, Duration::ZERO);
        assert!(
            matches!(&encoded.body, Body::Full(body) if body == "brotli") && encoded.headers.contains_key(X_REQUEST_ID)
        );
        let mut page = Problem::new(StatusCode::NOT_FOUND, "nothing is here").answer(&request.head);
        page.note_mut().problem.as_mut().unwrap().hide();
        page.body = Body::Full("a page".into());
        Visit::begin(&entry, &mut request, Instant::now()).answered(&entry, &mut page, Duration::ZERO);
        assert!(matches!(&page.body, Body::Full(body) if body == "a page") && page.headers.contains_key(X_REQUEST_ID));
        let mut fine = Response::new(StatusCode::OK);
        Visit::begin(&entry, &mut request, Instant::now()).answered(&entry, &mut fine, Duration::ZERO);
        assert!(fine.headers.is_empty());
    }
}
