//! Asking the handler: what comes is stored if it may be, and handed to whoever waits for it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{
    COOKIE, ETAG, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use outwork_cache::{Decoded, Entry, Era, Key, UnixMillis};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::flight::{Announced, Lead, RELAYED, Reader};
use super::key::{Target, cookie, variant, word};
use super::metrics::{CachedMetrics, Limit};
use super::policy::{Asked, Facts, may_stand_in};
use super::popular::Repeat;
use super::serve::{Held, entry, record};
use super::status::Forwarded;
use super::stored::{Record, Stored, Varies};
use super::storing::{Asker, Keep, Lasting, Pass, Times, consume, judge};
use super::{Route, Store, plain};
use crate::message::{Answer, Body, BodyError, FilePart, Origin, Request, RequestBody, Response, Streamed};

/// Bytes of a file that are read at once.
const PIECE: u64 = 256 << 10;

/// A fetch that is to be made.
pub(crate) struct Fetch {
    route: Arc<Route>,
    /// The request, without what its client alone wants.
    head: Parts,
    origin: Rc<Origin>,
    asked: Asked,
    asker: Asker,
    lead: Lead,
    /// What is stored already, to be asked for again.
    held: Option<Held>,
    /// Something is stored that what comes is to take the place of.
    replaces: bool,
    name: Box<str>,
    /// Who made it waits here.
    pub(crate) answer: Option<oneshot::Sender<Fetched>>,
    /// A client asked for it.
    pub(crate) asked_for: bool,
    _seat: Seat,
}

/// What comes of a fetch for whoever made it.
pub(crate) enum Fetched {
    /// It is nobody else's, because of this.
    Own(Response, Option<&'static str>),
    Held(Held, How),
    Flowing(Arc<Announced>, Reader),
}

/// How a response came to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Fetched,
    /// The handler says that what was stored has not changed.
    Unchanged,
    /// The handler failed with this status, and what was stored stands in.
    StoodIn(StatusCode),
}

/// A place among the fetches of a route.
pub(crate) struct Seat {
    fetches: Arc<AtomicUsize>,
    metrics: Arc<CachedMetrics>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fetches.fetch_sub(1, Ordering::Relaxed);
        self.metrics.fetches.dec();
    }
}

impl Route {
    /// A place for another fetch, if there is one.
    pub(crate) fn seat(&self) -> Option<Seat> {
        let metrics = &self.store.metrics;
        if self.fetches.fetch_add(1, Ordering::Relaxed) >= self.rules.max_fetches {
            self.fetches.fetch_sub(1, Ordering::Relaxed);
            metrics.limited.of(Limit::Fetches).inc();
            return None;
        }
        metrics.fetches.inc();
        Some(Seat { fetches: Arc::clone(&self.fetches), metrics: Arc::clone(metrics) })
    }

    /// A response whose content is still coming.
    pub(crate) fn flow(&self, announced: &Announced, reader: Reader, forwarded: Forwarded) -> Response {
        let mut response = Response::new(announced.stored.status);
        response.ready = Some(Arc::clone(&announced.stored.ready));
        let parts = futures_util::stream::unfold(reader, async |mut reader| Some((reader.next().await?, reader)));
        response.body = Body::Stream(Streamed { length: announced.length, parts: Box::pin(parts), trailers: None });
        self.tell(&mut response, forwarded, &announced.key);
        response
    }
}

/// Bytes on their way into the cache.
struct Gathering<'s> {
    store: &'s Store,
    bytes: usize,
}

impl Gathering<'_> {
    /// Makes room for so many bytes more; false where there is none.
    fn grow(&mut self, bytes: usize) -> bool {
        let store = self.store;
        if store.gathering.fetch_add(bytes, Ordering::Relaxed) + bytes > store.most {
            store.gathering.fetch_sub(bytes, Ordering::Relaxed);
            store.metrics.limited.of(Limit::Bytes).inc();
            return false;
        }
        store.metrics.gathering.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.bytes += bytes;
        true
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.store.gathering.fetch_sub(self.bytes, Ordering::Relaxed);
        self.store.metrics.gathering.add(-i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

impl Fetch {
    pub(crate) fn new(
        route: Arc<Route>,
        head: &Parts,
        origin: &Rc<Origin>,
        asked: Asked,
        lead: Lead,
        seat: Seat,
        held: Option<Held>,
    ) -> Self {
        let mut head = head.clone();
        let name = Target::new(&head, origin.tls, &route.rules.key).name(&route.rules.key);
        let facts = Facts::of_request(&head);
        let asker = Asker { authorized: facts.authorized, cookies: facts.cookies, no_store: asked.control.no_store };
        // What is stored is whole, and answers HEAD, ranges and conditions.
        head.method = Method::GET;
        for name in [RANGE, IF_RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
            head.headers.remove(name);
        }
        let origin = Rc::clone(origin);
        let replaces = held.is_some();
        Self {
            route,
            head,
            origin,
            asked,
            asker,
            lead,
            held,
            replaces,
            name,
            answer: None,
            asked_for: false,
            _seat: seat,
        }
    }

    pub(crate) fn key(&self) -> Key {
        *self.lead.key()
    }

    fn now(&self) -> UnixMillis {
        (self.route.store.clock)()
    }

    /// Makes the fetch.
    pub(crate) async fn run(mut self) {
        let era = self.route.store.tiers.era();
        let mut times = Times { asked: self.now(), came: self.now() };
        let mut response = self.ask(self.held.as_ref()).await;
        if let Some(held) = self.held.take() {
            let is_error = matches!(response.status.as_u16(), 500 | 502 | 503 | 504);
            if is_error && may_stand_in(&self.asked, &held.stored, self.now()) {
                return self.hold(held, How::StoodIn(response.status));
            }
            if response.status == StatusCode::NOT_MODIFIED {
                let newer = all_fields(&mut response);
                times.came = self.now();
                if is_of(&held.stored, &newer) {
                    return self.unchanged(held, &newer, times, era).await;
                }
                // It speaks of another response than the one that we have (RFC 9111 section 4.3.4).
                times.asked = self.now();
                response = self.ask(None).await;
            }
        }
        times.came = self.now();
        self.took(response, times, era).await;
    }

    /// Asks the handler, for what is held only if that has changed (RFC 9111 section 4.3.1).
    async fn ask(&self, held: Option<&Held>) -> Response {
        let mut head = self.head.clone();
        if let Some(held) = held {
            let fields = held.stored.fields();
            head.headers.extend(fields.get(ETAG).map(|etag| (IF_NONE_MATCH, etag.clone())));
            head.headers.extend(fields.get(LAST_MODIFIED).map(|date| (IF_MODIFIED_SINCE, date.clone())));
        }
        match self.route.inner.handle(Request { head, body: RequestBody::Empty, origin: Rc::clone(&self.origin) }) {
            Answer::Now(response) => response,
            Answer::Later(response) => match timeout(self.route.rules.fetch_timeout, response).await {
                Ok(response) => response,
                Err(_) => {
                    self.route.store.metrics.limited.of(Limit::Timeout).inc();
                    plain(StatusCode::GATEWAY_TIMEOUT)
                }
            },
        }
    }

    /// What is held has not changed: its fields are brought up to date (RFC 9111 section 4.3.4).
    async fn unchanged(self, held: Held, newer: &HeaderMap, times: Times, era: Era) {
        let fields = held.stored.freshened(newer);
        match judge(self.asker, held.stored.status, &fields, times, &self.route.rules) {
            Ok(keep) => {
                let (key, varies) = self.place(&keep, era).await;
                let held = self.store(
                    keep.stored.into(),
                    &keep.tags,
                    keep.expires,
                    held.entry.body.clone(),
                    (key, varies),
                    era,
                );
                self.hold(held, How::Unchanged);
            }
            Err(pass) => {
                let mut response = Response::new(held.stored.status);
                response.body = Body::Full(held.entry.body.clone());
                self.own(response, fields, pass, era);
            }
        }
    }

    /// A response has come.
    async fn took(self, mut response: Response, times: Times, era: Era) {
        let fields = all_fields(&mut response);
        let length = response.body.length();
        let fits = |length: u64| usize::try_from(length).is_ok_and(|length| length <= self.route.rules.max_entry);
        let judged = match length {
            Some(length) if !fits(length) => Err(Pass::TooLarge),
            _ if response.upgrade.is_some() => Err(Pass::Status),
            _ => judge(self.asker, response.status, &fields, times, &self.route.rules),
        };
        let keep = match judged {
            Ok(keep) => keep,
            Err(pass) => {
                // What is gone, or is elsewhere, is not given any more out of what was there before.
                if self.replaces && pass == Pass::Status && !response.status.is_server_error() {
                    self.route.store.tiers.remove(self.lead.key());
                }
                return self.own(response, fields, pass, era);
            }
        };
        let place = self.place(&keep, era).await;
        let Keep { stored, tags, expires, .. } = keep;
        let stored = Arc::new(stored);
        let body = match response.body {
            Body::Empty => Bytes::new(),
            Body::Full(content) => content,
            body => return self.gather(Content::from(body), stored, (&tags, expires), place, length, era).await,
        };
        let held = self.store(stored, &tags, expires, body, place, era);
        self.hold(held, How::Fetched);
    }

    /// Takes in content that comes in parts.
    async fn gather(
        mut self,
        mut content: Content,
        stored: Arc<Stored>,
        (tags, expires): (&[Box<str>], UnixMillis),
        place: (Key, Option<Arc<Varies>>),
        length: Option<u64>,
        era: Era,
    ) {
        let route = Arc::clone(&self.route);
        let mut gathering = Gathering { store: &route.store, bytes: 0 };
        let known = length.and_then(|length| usize::try_from(length).ok());
        let announced = Announced { stored: Arc::clone(&stored), key: place.0, varies: place.1.clone(), length };
        let announced = Arc::new(announced);
        // Where the length is known all of the room is made before: others read along then, and must not be let down.
        let mut relay = known.is_some_and(|known| !gathering.grow(known));
        if relay {
            self.lead.relay();
        }
        let reader = self.lead.announce(Arc::clone(&announced), relay);
        self.tell(Fetched::Flowing(announced, reader));
        let mut parts = BytesMut::with_capacity(known.filter(|_| !relay).unwrap_or_default());
        let mut total = 0;
        loop {
            let part = match timeout(route.rules.fetch_timeout, content.next()).await {
                Ok(None) => break,
                Ok(Some(Ok(part))) => part,
                Ok(Some(Err(error))) => return self.lead.cut(&error.to_string()),
                Err(_) => {
                    route.store.metrics.limited.of(Limit::Timeout).inc();
                    return self.lead.cut("the content took too long");
                }
            };
            if part.is_empty() {
                continue;
            }
            total += part.len();
            if !relay {
                let is_large = total > route.rules.max_entry;
                if known.is_none() && (is_large || !gathering.grow(part.len())) {
                    relay = true;
                    parts = BytesMut::new();
                    if is_large {
                        self.unstored(Pass::TooLarge, Pass::TooLarge.lasts(), era);
                    }
                    if !self.lead.relay() {
                        return;
                    }
                } else if known.is_some_and(|known| total > known) {
                    return self.lead.cut("the content is longer than it said");
                } else {
                    parts.extend_from_slice(&part);
                }
            }
            if !self.lead.push(part).await {
                return;
            }
        }
        match (relay, known) {
            (true, _) => self.lead.cut(RELAYED),
            (false, Some(known)) if total < known => self.lead.cut("the content is shorter than it said"),
            (false, _) => {
                let held = self.store(stored, tags, expires, parts.freeze(), place, era);
                self.hold(held, How::Fetched);
            }
        }
    }

    /// Where a response will lie. What it depends on is noted at once, so that others do not wait for the wrong one.
    async fn place(&self, keep: &Keep, era: Era) -> (Key, Option<Arc<Varies>>) {
        let store = &self.route.store;
        let primary = *self.lead.primary();
        if keep.vary.is_empty() {
            return (primary, None);
        }
        let known = store.tiers.get(&primary).await.map(|(entry, _)| entry);
        let known = known.as_ref().and_then(|entry| match record(entry) {
            Some(Record::Varies(varies)) if varies.names == keep.vary => Some((Arc::clone(varies), entry.expires)),
            _ => None,
        });
        let (varies, until) = known.unwrap_or_else(|| {
            let varies = Varies { nonce: store.nonce(), names: keep.vary.clone() };
            (Arc::new(varies), UnixMillis::default())
        });
        // It has to be there for as long as any of its variants.
        if until < keep.expires && !self.lead.is_doomed() {
            let entry = entry(&self.name, Record::Varies(Arc::clone(&varies)), keep.expires);
            store.tiers.put_since(primary, entry, era);
        }
        (variant(&primary, &varies, &self.head.headers), Some(varies))
    }

    fn store(
        &self,
        stored: Arc<Stored>,
        tags: &[Box<str>],
        expires: UnixMillis,
        body: Bytes,
        (key, varies): (Key, Option<Arc<Varies>>),
        era: Era,
    ) -> Held {
        let store = &self.route.store;
        let record = Record::Response(Arc::clone(&stored));
        let meta = record.encode();
        let name = self.name.clone();
        let entry = Entry { name, meta, body, tags: tags.into(), expires, decoded: Decoded::of(Some(record)) };
        let entry = match self.lead.is_doomed() {
            true => Arc::new(entry),
            false => store.tiers.put_since(key, entry, era),
        };
        if self.lead.is_doomed() {
            // It was made invalid while it was being stored.
            store.tiers.remove(&key);
        } else {
            store.metrics.stored.inc();
            if self.route.predicts() && !self.asker.authorized {
                let repeat = || self.repeat(varies.as_deref());
                store.popular.lock().stored(key, &stored, self.asked_for, self.now(), repeat);
            }
        }
        Held { entry, stored, key, varies }
    }

    /// What of the request makes it this one, to be made again.
    fn repeat(&self, varies: Option<&Varies>) -> Repeat {
        let key = &self.route.rules.key;
        let mut fields = HeaderMap::new();
        let names = varies.iter().flat_map(|varies| &varies.names).chain(&key.headers).chain([&HOST]);
        for name in names.filter(|name| **name != COOKIE) {
            fields.remove(name);
            fields.extend(self.head.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
        let cookies = key.cookies.iter().filter_map(|name| {
            let value = cookie(&self.head.headers, name)?;
            Some([name.as_bytes(), b"=", value].concat())
        });
        let cookies = cookies.collect::<Vec<_>>().join(&b"; "[..]);
        fields
            .extend(HeaderValue::try_from(cookies).ok().filter(|value| !value.is_empty()).map(|value| (COOKIE, value)));
        Repeat { target: self.head.uri.clone(), tls: self.origin.tls, fields }
    }

    /// A response that is not stored: whoever made the fetch gets it, and nobody else.
    fn own(mut self, mut response: Response, mut fields: HeaderMap, pass: Pass, era: Era) {
        // An error says nothing of the answer after it.
        let is_error = response.status.is_client_error() || response.status.is_server_error();
        self.unstored(pass, pass.lasts().filter(|_| !is_error), era);
        consume(&mut fields, &self.route.rules);
        response.headers = fields;
        self.tell(Fetched::Own(response, Some(pass.detail())));
        self.lead.release();
    }

    /// A response is not stored; where the next will not be either, that is remembered.
    fn unstored(&self, pass: Pass, lasting: Option<Lasting>, era: Era) {
        let store = &self.route.store;
        store.metrics.unstored.of(pass.into()).inc();
        let ttl = self.route.rules.pass_ttl;
        if let Some(lasting) = lasting.filter(|_| !ttl.is_zero() && !self.lead.is_doomed()) {
            let key = match lasting {
                Lasting::All => *self.lead.key(),
                lasting => word(self.lead.primary(), lasting),
            };
            let entry = entry(&self.name, Record::Pass(self.route.rules.stamp), self.now().after(ttl));
            store.tiers.put_since(key, entry, era);
        }
    }

    fn hold(mut self, held: Held, how: How) {
        self.tell(Fetched::Held(held.clone(), how));
        self.lead.finish(held);
    }

    /// Who made the fetch may have gone away.
    fn tell(&mut self, fetched: Fetched) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(fetched);
        }
    }
}

/// Whether a 304 with these fields speaks of what is stored: it does unless it names another entity tag (RFC 9111 section 4.3.4).
fn is_of(stored: &Stored, newer: &HeaderMap) -> bool {
    let opaque = |tag: &HeaderValue| tag.as_bytes().strip_prefix(b"W/").unwrap_or(tag.as_bytes()).to_vec();
    match (newer.get(ETAG), stored.fields().get(ETAG)) {
        (Some(newer), Some(own)) => opaque(newer) == opaque(own),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// All fields of a response, taken out of it.
fn all_fields(response: &mut Response) -> HeaderMap {
    let mut fields = std::mem::take(&mut response.headers);
    if let Some(ready) = response.ready.take() {
        fields.extend(ready.fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    fields
}

/// A body that is read part by part, wherever it comes from.
pub(super) struct Content(VecDeque<Body>);

impl From<Body> for Content {
    fn from(body: Body) -> Self {
        Self(VecDeque::from([body]))
    }
}

impl Content {
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        loop {
            match self.0.pop_front()? {
                Body::Empty => {}
                Body::Full(content) => return Some(Ok(content)),
                Body::Pieces(pieces) => pieces.into_iter().rev().for_each(|piece| self.0.push_front(piece)),
                Body::Stream(mut stream) => {
                    if let Some(part) = stream.parts.next().await {
                        self.0.push_front(Body::Stream(stream));
                        return Some(part);
                    }
                }
                Body::File(part) if part.length == 0 => {}
                Body::File(part) => {
                    let length = part.length.min(PIECE);
                    let rest = FilePart {
                        file: Arc::clone(&part.file),
                        offset: part.offset + length,
                        length: part.length - length,
                        transfer: part.transfer,
                    };
                    self.0.push_front(Body::File(rest));
                    let read = crate::file::read(&part.file, part.offset..part.offset + length, PIECE as usize).await;
                    return Some(read.map_err(|error| BodyError::Source(Box::new(error))));
                }
            }
        }
    }
}

/// All of a body.
#[cfg(test)]
pub(super) async fn whole(body: Body) -> Result<Bytes, BodyError> {
    let (mut content, mut whole) = (Content::from(body), BytesMut::new());
    while let Some(part) = content.next().await {
        whole.extend_from_slice(&part?);
    }
    Ok(whole.freeze())
}
