//! What is stored, found and given.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use outwork_cache::{Decoded, Entry, Key, UnixMillis};

use super::Route;
use super::key::variant;
use super::policy::{Facts, Forward, time_to_live};
use super::status::{CACHE_STATUS, Forwarded, hit};
use super::stored::{Record, Stored, Varies};
use crate::conditional::{Representation, Validators, answer};
use crate::message::{Body, FilePart, Hit, ReadyHead, Response};

/// A response that is stored.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) entry: Arc<Entry>,
    pub(crate) stored: Arc<Stored>,
    /// Where it lies.
    pub(crate) key: Key,
    /// What it depends on.
    pub(crate) varies: Option<Arc<Varies>>,
}

/// What is stored for a request.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where its response lies, or would.
    pub(crate) key: Key,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Held(Held),
    /// Word that responses cannot be stored.
    Pass,
    Nothing(Forward),
}

/// The decoded form of an entry.
pub(crate) fn record(entry: &Entry) -> Option<&Record> {
    entry.decoded.get_or_make(|| Record::decode(&entry.meta))?.as_ref()
}

/// An entry of a record.
pub(crate) fn entry(name: &str, record: Record, expires: UnixMillis) -> Entry {
    let meta = record.encode();
    Entry {
        name: name.into(),
        meta,
        body: Default::default(),
        tags: Default::default(),
        expires,
        decoded: Decoded::of(Some(record)),
    }
}

impl Route {
    /// What an entry is for who looked under its key.
    fn look(&self, key: Key, entry: Option<Arc<Entry>>, varies: Option<Arc<Varies>>) -> Result<Found, Arc<Varies>> {
        let missing = if varies.is_some() { Forward::VaryMiss } else { Forward::UriMiss };
        let Some(entry) = entry else { return Ok(Found { key, what: What::Nothing(missing) }) };
        let what = match record(&entry) {
            Some(Record::Response(stored)) => What::Held(Held { stored: Arc::clone(stored), key, varies, entry }),
            Some(record) if self.is_pass(record) => What::Pass,
            Some(Record::Varies(names)) if varies.is_none() => return Err(Arc::clone(names)),
            Some(Record::Varies(_) | Record::Pass(_)) | None => What::Nothing(missing),
        };
        Ok(Found { key, what })
    }

    /// Whether it is word that responses cannot be stored, by the rules as they are now.
    pub(crate) fn is_pass(&self, record: &Record) -> bool {
        matches!(record, Record::Pass(rules) if *rules == self.rules.stamp)
    }

    /// What memory has for a request.
    pub(crate) fn peek(&self, primary: &Key, fields: &HeaderMap) -> Found {
        let tiers = &self.store.tiers;
        match self.look(*primary, tiers.peek(primary), None) {
            Ok(found) => found,
            Err(varies) => {
                let key = variant(primary, &varies, fields);
                let nothing = |_| Found { key, what: What::Nothing(Forward::VaryMiss) };
                self.look(key, tiers.peek(&key), Some(varies)).unwrap_or_else(nothing)
            }
        }
    }

    /// What any tier has for a request.
    pub(crate) async fn find(&self, primary: &Key, fields: &HeaderMap) -> Found {
        let tiers = &self.store.tiers;
        let entry = async |key: &Key| tiers.get(key).await.map(|(entry, _)| entry);
        match self.look(*primary, entry(primary).await, None) {
            Ok(found) => found,
            Err(varies) => {
                let key = variant(primary, &varies, fields);
                let nothing = |_| Found { key, what: What::Nothing(Forward::VaryMiss) };
                self.look(key, entry(&key).await, Some(varies)).unwrap_or_else(nothing)
            }
        }
    }

    /// Answers with what is stored.
    pub(crate) fn serve(&self, held: &Held, head: &Parts, facts: Facts, now: UnixMillis) -> Response {
        if self.predicts() {
            held.stored.hits.fetch_add(1, Ordering::Relaxed);
        }
        let mut response = held.answer(head, facts);
        let ttl = time_to_live(&held.stored, now);
        response.hit = Some(Hit { age: held.stored.age(now).as_secs(), ttl: (!self.rules.debug).then_some(ttl) });
        if self.rules.debug {
            response.headers.extend(hit(ttl, None, Some(&held.key)).map(|value| (CACHE_STATUS, value)));
        }
        response
    }

    /// Answers with what is stored since just now, or was asked for again.
    pub(crate) fn serve_fetched(&self, held: &Held, head: &Parts, facts: Facts, forwarded: Forwarded) -> Response {
        let mut response = held.answer(head, facts);
        let age = held.stored.age((self.store.clock)()).as_secs();
        response.hit = Some(Hit { age, ttl: None }).filter(|_| age > 0);
        self.tell(&mut response, forwarded, &held.key);
        response
    }

    /// Says what was done with the request.
    pub(crate) fn tell(&self, response: &mut Response, forwarded: Forwarded, key: &Key) {
        let value = forwarded.value(self.rules.debug.then_some(key));
        if let Some(value) = value {
            response.headers.append(CACHE_STATUS, value);
        }
    }
}

impl Held {
    fn answer(&self, head: &Parts, facts: Facts) -> Response {
        if facts.conditional && self.stored.status == StatusCode::OK {
            return answer(&head.method, &head.headers, self);
        }
        let mut response = Response::new(self.stored.status);
        response.ready = Some(Arc::clone(&self.stored.ready));
        response.body = Body::Full(self.entry.body.clone());
        response
    }
}

impl Representation for Held {
    fn validators(&self) -> Validators<'_> {
        self.stored.validators(self.entry.body.len() as u64)
    }

    fn ready(&self) -> &Arc<ReadyHead> {
        &self.stored.ready
    }

    fn again(&self) -> &Arc<ReadyHead> {
        self.stored.again()
    }

    fn part(&self, range: Range<u64>) -> Body {
        slice(&self.entry.body, range)
    }

    /// Its key and age are in no content but by an accident that has 128 bits.
    fn boundary(&self) -> Option<String> {
        Some(Key::of(&[self.key.bytes(), &self.stored.born.0.to_be_bytes()]).to_string())
    }
}

/// A 200 that is nobody else's, as the conditions of its request have it; `None` where they cannot be held against it.
pub(crate) fn conditioned(mut response: Response, head: &Parts) -> Option<Response> {
    let length = match &response.body {
        Body::Empty => 0,
        Body::Full(content) => content.len() as u64,
        Body::File(part) => part.length,
        Body::Pieces(_) | Body::Stream(_) => return None,
    };
    let stored =
        Stored::new(response.status, std::mem::take(&mut response.headers), UnixMillis::default(), Default::default());
    Some(answer(&head.method, &head.headers, &Own { stored, body: response.body, length }))
}

/// A response that is not stored.
struct Own {
    stored: Stored,
    body: Body,
    length: u64,
}

impl Representation for Own {
    fn validators(&self) -> Validators<'_> {
        self.stored.validators(self.length)
    }

    fn ready(&self) -> &Arc<ReadyHead> {
        &self.stored.ready
    }

    fn again(&self) -> &Arc<ReadyHead> {
        self.stored.again()
    }

    fn part(&self, range: Range<u64>) -> Body {
        match &self.body {
            Body::Full(content) => slice(content, range),
            Body::File(part) => Body::File(FilePart {
                file: Arc::clone(&part.file),
                offset: part.offset + range.start,
                length: range.end - range.start,
                transfer: part.transfer.clone(),
            }),
            Body::Empty | Body::Pieces(_) | Body::Stream(_) => Body::Empty,
        }
    }

    fn boundary(&self) -> Option<String> {
        Some(Key::of(&[&self.stored.ready.lines, &self.length.to_be_bytes()]).to_string())
    }
}

fn slice(content: &Bytes, range: Range<u64>) -> Body {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    Body::Full(content.slice(at(range.start)..at(range.end)))
}
