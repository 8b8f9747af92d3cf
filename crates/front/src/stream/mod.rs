//! What HTTP/2 and HTTP/3 have in common: connections of many streams, each with a request and its response.
//!
//! - `incoming`: the content of a request.
//! - `outgoing`: the content of a response.
//! - `switch`: streams that become something else.

mod incoming;
mod outgoing;
pub(crate) mod switch;

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ALT_SVC, CONNECTION, CONTENT_LENGTH, DATE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::door::pace::Pace;
use crate::door::pulse::Pulse;
use crate::door::worker::Worker;
use crate::door::{Options, Serving};
use crate::filter::Visit;
use crate::h1::head::{FIELDS, is_host};
use crate::message::{Origin, ReadyHead, Response};
use crate::problem::Problem;

pub(crate) use incoming::{Incoming, Source};
pub(crate) use outgoing::{PIECE, SendError, Sink};

/// Streams of a connection that are open.
pub(crate) struct Open {
    count: Rc<Cell<u32>>,
    pulse: Rc<Pulse>,
}

impl Open {
    /// Counts a stream of its connection; the last to end leaves the connection idle.
    pub(crate) fn new(count: &Rc<Cell<u32>>, pulse: &Rc<Pulse>) -> Self {
        count.set(count.get() + 1);
        Self { count: Rc::clone(count), pulse: Rc::clone(pulse) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.set(self.count.get().saturating_sub(1));
        if self.count.get() == 0 {
            // The connection sets its new deadline.
            self.pulse.wake();
        }
    }
}

/// A request and its response.
pub(crate) struct Exchange {
    pub(crate) worker: Rc<Worker>,
    pub(crate) serving: Arc<Serving>,
    pub(crate) origin: Rc<Origin>,
    /// Where the same is served over HTTP/3.
    pub(crate) alt_svc: Option<HeaderValue>,
    /// Bytes of the response's content that were handed over.
    sent: Cell<u64>,
    /// Its deadlines, once there is something to wait for.
    pace: OnceCell<Rc<Pace>>,
    _open: Open,
}

impl Exchange {
    pub(crate) fn new(worker: &Rc<Worker>, origin: &Rc<Origin>, alt_svc: Option<HeaderValue>, open: Open) -> Self {
        let (worker, serving) = (Rc::clone(worker), worker.serving());
        Self {
            worker,
            serving,
            origin: Rc::clone(origin),
            alt_svc,
            sent: Cell::new(0),
            pace: OnceCell::new(),
            _open: open,
        }
    }

    /// Its deadlines.
    pub(crate) fn pace(&self) -> &Rc<Pace> {
        self.pace.get_or_init(|| Pace::begin(&self.worker, &self.serving.options))
    }

    /// Brings a head into the form that handlers know: what these versions call authority is `Host`. Gives the length of the content where the
    /// head says it, or why no handler is to have the request.
    pub(crate) fn settle(&self, head: &mut Parts, authority: Option<HeaderValue>) -> Result<Option<u64>, Problem> {
        settle(&self.serving.options, head, authority)
    }

    /// There is a response: it gets what every response gets.
    pub(crate) fn answered(&self, mut response: Response, mut visit: Visit, started: Instant) -> (Response, Visit) {
        let took = started.elapsed();
        self.worker.metrics.answered(response.status, took);
        visit.answered(&self.serving.entry, &mut response, took);
        (response, visit)
    }

    /// The head of a response as these versions have it, and whether content follows.
    pub(crate) fn head(&self, response: &Response, is_head: bool) -> (HeaderMap, bool) {
        let status = response.status;
        let mut ready = response.ready_heads();
        let mut said = None;
        let mut fields = match (response.headers.is_empty(), ready.next()) {
            // Mostly all fields were made ready before, in one map.
            (true, Some(ready)) => ready.fields.clone(),
            (_, first) => {
                let mut fields = response.headers.clone();
                said = fields.remove(CONTENT_LENGTH);
                [CONNECTION, TRANSFER_ENCODING, HeaderName::from_static("keep-alive")].iter().for_each(|name| {
                    fields.remove(name);
                });
                add(&mut fields, first);
                fields
            }
        };
        ready.for_each(|ready| add(&mut fields, Some(ready)));
        if let Some(hit) = response.hit {
            fields.extend(hit.fields());
        }
        if !fields.contains_key(DATE) {
            fields.insert(DATE, self.worker.date_value());
        }
        if let Some(alt_svc) = &self.alt_svc {
            fields.entry(ALT_SVC).or_insert_with(|| alt_svc.clone());
        }
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let length = match response.body.length() {
            Some(0) if bodiless || is_head => said,
            Some(length) => Some(HeaderValue::from(length)),
            None => None,
        };
        if let Some(length) = length.filter(|_| status != StatusCode::NO_CONTENT) {
            fields.insert(CONTENT_LENGTH, length);
        }
        (fields, !bodiless && !is_head && !response.body.is_empty())
    }

    /// So many bytes of content were handed over.
    pub(crate) fn count(&self, bytes: usize) {
        if let Some(pace) = self.pace.get() {
            pace.sent(bytes);
        }
        self.sent.set(self.sent.get() + bytes as u64);
        self.worker.metrics.sent.add(bytes as u64);
    }

    /// The response has come to its end, or will not.
    pub(crate) fn ended(&self, mut visit: Visit, sent: Result<(), SendError>) {
        visit.sent(&self.serving.entry, self.sent.get(), sent.is_ok());
        self.worker.content_sent(self.sent.get());
        if let Err(error) = sent {
            tracing::debug!(peer = %self.origin.peer, %error, "a stream ended before its response did");
        }
    }
}

fn add(fields: &mut HeaderMap, ready: Option<&Arc<ReadyHead>>) {
    let ready = ready.into_iter().flat_map(|ready| &ready.fields);
    fields.extend(ready.map(|(name, value)| (name.clone(), value.clone())));
}

/// What clients have taken apart to compress it better (RFC 9113 section 8.2.3, RFC 9114 section 4.2.1).
pub(crate) fn joined(mut cookies: Vec<HeaderValue>) -> Option<HeaderValue> {
    if cookies.len() < 2 {
        return cookies.pop();
    }
    let cookies: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::try_from(cookies.join(&b"; "[..])).ok()
}

fn settle(options: &Options, head: &mut Parts, authority: Option<HeaderValue>) -> Result<Option<u64>, Problem> {
    let bad = |why| Problem::new(StatusCode::BAD_REQUEST, why);
    let host = {
        let mut hosts = head.headers.get_all(HOST).iter();
        // Both say the same, or nobody knows who is meant (RFC 9114 section 4.3.1, RFC 9113 section 8.3.1).
        match (authority, hosts.next(), hosts.next()) {
            (Some(authority), Some(host), None) if authority != host => Err(bad("authority and Host are not the same")),
            (Some(authority), _, None) => Ok(authority),
            (None, Some(host), None) => Ok(host.clone()),
            (None, None, _) => Err(bad("there is no authority")),
            _ => Err(bad("there is more than one Host")),
        }
    }?;
    if !is_host(host.as_bytes()) {
        return Err(bad("the authority is malformed"));
    }
    head.headers.insert(HOST, host);
    if head.headers.len() > FIELDS {
        return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "there are too many header fields"));
    }
    // What surrounds a value in HTTP/1 is no part of it here, and would not survive there (RFC 9113 section 8.2.1).
    let blank = |octet: Option<&u8>| matches!(octet, Some(b' ' | b'\t'));
    if head.headers.values().map(HeaderValue::as_bytes).any(|value| blank(value.first()) || blank(value.last())) {
        return Err(bad("a field value begins or ends with a blank"));
    }
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > options.max_target) {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "the request target is too long"));
    }
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let announced = match (lengths.next(), lengths.next()) {
        (None, _) => None,
        (Some(length), None) => Some(digits(length).ok_or_else(|| bad("Content-Length is malformed"))?),
        _ => return Err(bad("there is more than one Content-Length")),
    };
    match announced {
        Some(length) if length > options.max_body => Err(Problem::too_large(options.max_body)),
        announced => Ok(announced),
    }
}

fn digits(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn settled(
        authority: Option<&'static str>,
        fields: &[(&'static str, &'static str)],
    ) -> Result<Option<u64>, StatusCode> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.uri = "/a-target".parse().unwrap();
        for (name, value) in fields {
            head.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let options = Options { max_body: 100, max_target: 9, ..Options::default() };
        let status = |problem: Problem| problem.into_response().status;
        let announced = settle(&options, &mut head, authority.map(HeaderValue::from_static)).map_err(status)?;
        assert_eq!(head.headers.get_all(HOST).iter().collect::<Vec<_>>(), ["a.test"]);
        head.uri = "/a-target!".parse().unwrap();
        let too_long = settle(&options, &mut head, None).map_err(status);
        assert_eq!(too_long, Err(StatusCode::URI_TOO_LONG));
        Ok(announced)
    }

    #[test]
    fn the_authority_is_the_host_and_there_is_exactly_one() {
        assert_eq!(settled(Some("a.test"), &[]), Ok(None));
        assert_eq!(settled(None, &[("host", "a.test")]), Ok(None));
        assert_eq!(settled(Some("a.test"), &[("host", "a.test")]), Ok(None));
        for (authority, hosts) in [
            (None, &[][..]),
            (Some("a.test"), &[("host", "b.test")]),
            (None, &[("host", "a.test"), ("host", "a.test")]),
            (Some("a.test/x"), &[]),
            (None, &[("host", "a@b")]),
        ] {
            assert_eq!(settled(authority, hosts), Err(StatusCode::BAD_REQUEST), "{authority:?} {hosts:?}");
        }
    }

    #[test]
    fn a_length_is_one_number_and_within_the_limit() {
        let length = |values: &[&'static str]| {
            settled(Some("a.test"), &values.iter().map(|value| ("content-length", *value)).collect::<Vec<_>>())
        };
        assert_eq!(length(&["100"]), Ok(Some(100)));
        assert_eq!(length(&["101"]), Err(StatusCode::PAYLOAD_TOO_LARGE));
        for wrong in [&["1", "1"][..], &["+1"], &["1, 1"], &[""], &["99999999999999999999"]] {
            assert_eq!(length(wrong), Err(StatusCode::BAD_REQUEST), "{wrong:?}");
        }
    }
}
