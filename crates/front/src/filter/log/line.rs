//! A request, from its head to the end of its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use super::{AccessLog, LogField, format};
use crate::filter::config::LogFormat;
use crate::message::{Asked, Origin, Request, Response};
use crate::tls::{ClientCertificate, Session};

/// What stands in the place of a status where the client has gone before there was one. No answer has it; logs are read with it since nginx.
const CLIENT_GONE: u16 = 499;

/// What the log will say of a request. Dropped, it is written, however the request has ended.
pub(crate) struct Line {
    log: Arc<AccessLog>,
    started: Instant,
    pub(super) peer: SocketAddr,
    pub(super) client: SocketAddr,
    pub(super) tls: bool,
    pub(super) session: Option<Arc<Session>>,
    pub(super) request: Option<RequestLine>,
    pub(super) host: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
    pub(super) user_agent: Option<HeaderValue>,
    /// Fields of the request and of the answer, in the order in which they were chosen.
    pub(super) more: Vec<Option<HeaderValue>>,
    pub(super) id: Option<HeaderValue>,
    pub(super) user: Option<Box<str>>,
    pub(super) status: Option<StatusCode>,
    pub(super) asked: Option<Asked>,
    pub(super) wait: Duration,
    pub(super) took: Duration,
    pub(super) bytes: u64,
    pub(super) whole: bool,
    unlogged: bool,
}

/// The first line of a request. A request without one could not be understood.
pub(super) struct RequestLine {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) version: Version,
}

impl Line {
    /// Begins with the head. `origin` is the connection's; the request's own says who the client is.
    pub(crate) fn begin(log: &Arc<AccessLog>, request: &Request, origin: &Origin, started: Instant) -> Box<Self> {
        let mut line = Self::empty(log, origin, started);
        let head = &request.head;
        let field = |name: &HeaderName| head.headers.get(name).cloned();
        line.client = request.origin.peer;
        line.tls = request.origin.tls;
        line.request = Some(RequestLine { method: head.method.clone(), uri: head.uri.clone(), version: head.version });
        let mut slots = line.more.iter_mut();
        for wanted in &log.fields {
            let slot = if wanted.is_header() { slots.next() } else { None };
            match wanted {
                LogField::Host => line.host = field(&HOST),
                LogField::Referer => line.referer = field(&REFERER),
                LogField::UserAgent => line.user_agent = field(&USER_AGENT),
                LogField::Request(name) => slot.into_iter().for_each(|slot| *slot = field(name)),
                _ => {}
            }
        }
        match log.settings.format {
            LogFormat::Json => {}
            LogFormat::Combined => (line.referer, line.user_agent) = (field(&REFERER), field(&USER_AGENT)),
            LogFormat::VhostCombined => {
                (line.host, line.referer, line.user_agent) = (field(&HOST), field(&REFERER), field(&USER_AGENT));
            }
        }
        line
    }

    /// Begins with a head that could not be understood.
    pub(crate) fn empty(log: &Arc<AccessLog>, origin: &Origin, started: Instant) -> Box<Self> {
        Box::new(Self {
            log: Arc::clone(log),
            started,
            peer: origin.peer,
            client: origin.peer,
            tls: origin.tls,
            session: origin.session.clone(),
            request: None,
            host: None,
            referer: None,
            user_agent: None,
            more: vec![None; log.fields.iter().filter(|field| field.is_header()).count()],
            id: None,
            user: None,
            status: None,
            asked: None,
            wait: Duration::ZERO,
            took: Duration::ZERO,
            bytes: 0,
            whole: false,
            unlogged: false,
        })
    }

    /// Takes down what the answer is.
    pub(crate) fn answered(&mut self, response: &mut Response, id: Option<&HeaderValue>) {
        self.status = Some(response.status);
        self.asked = response.asked.take();
        self.wait = self.started.elapsed();
        self.id = id.cloned();
        if let Some(note) = &mut response.note {
            self.user = note.user.take();
            self.unlogged = note.unlogged;
        }
        let named = self.log.fields.iter().filter(|field| field.is_header());
        for (field, slot) in named.zip(&mut self.more) {
            if let LogField::Response(name) = field {
                let hit = || response.hit.and_then(|hit| hit.fields().find(|(of, _)| of == name));
                *slot = response.field(name).cloned().or_else(|| hit().map(|(_, value)| value));
            }
        }
    }

    /// Takes down that the client did not wait for an answer.
    pub(crate) fn abandoned(&mut self, id: Option<&HeaderValue>) {
        self.status = StatusCode::from_u16(CLIENT_GONE).ok();
        self.wait = self.started.elapsed();
        self.id = id.cloned();
    }

    /// Takes down how much of the answer's content was sent, and whether that was all of it.
    pub(crate) fn sent(&mut self, bytes: u64, whole: bool) {
        (self.bytes, self.whole) = (bytes, whole);
    }

    /// The certificate that the client has shown.
    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        self.session.as_ref()?.client.as_ref()
    }

    /// Whether it is written at all.
    fn is_wanted(&self) -> bool {
        let settings = &self.log.settings;
        let status = self.status.map_or(0, |status| status.as_u16());
        let failed = status >= 400 || !self.whole;
        !self.unlogged && (failed || chosen(settings.sample)) && (status >= settings.min_status || !self.whole)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_wanted() {
            return;
        }
        self.took = self.started.elapsed();
        let (line, log, now) = (&*self, &self.log, SystemTime::now());
        log.add(|text, clock| match log.settings.format {
            LogFormat::Json => format::json(text, line, &log.fields, &log.settings, clock.at(now)),
            LogFormat::Combined => format::combined(text, line, &log.fields, &log.settings, clock.at(now)),
            LogFormat::VhostCombined => {
                format::host(text, line);
                format::combined(text, line, &log.fields, &log.settings, clock.at(now));
            }
        });
    }
}

/// Whether one of many is among this share of them.
fn chosen(share: f64) -> bool {
    use std::cell::Cell;
    thread_local! {
        static OWED: Cell<u32> = const { Cell::new(0) };
    }
    const WHOLE: u32 = 1_000_000;
    let share = (share * f64::from(WHOLE)).round() as u32;
    if share >= WHOLE {
        return true;
    }
    // Every tenth, rather than each with the chance of a tenth: what is counted in the log can be multiplied.
    OWED.with(|owed| {
        let due = owed.get() + share;
        owed.set(if due >= WHOLE { due - WHOLE } else { due });
        due >= WHOLE
    })
}
