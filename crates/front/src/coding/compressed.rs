//! A handler whose responses are compressed.

use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::compressor::OpenStream;
use super::encoder::Encoder;
use super::{Accepted, Choice, Coding, Compression, Compressor, Patience, Uncompressed};
use crate::message::{Answer, Body, BodyError, Handler, Local, Request, Response, Streamed};

/// Contents and parts of contents up to this size are compressed where they are: to hand them over would take longer.
const SMALL: usize = 4 << 10;
/// What has come out of an encoder is sent when it is so much.
const PIECE: usize = 16 << 10;

/// Digests of a content that another coding would belie (RFC 9530, RFC 3230).
const DIGESTS: [&str; 3] = ["content-digest", "repr-digest", "digest"];

/// Compresses what another handler answers, where the client takes that and it is worth it.
///
/// It leaves alone what is encoded already, parts of contents, what must not be transformed, what is too small or too large, and media types
/// that are not listed. A strong entity tag becomes a weak one, for the bytes are no longer those that it was made of.
pub struct Compressed {
    inner: Arc<dyn Handler>,
    shared: Arc<Shared>,
}

struct Shared {
    settings: Compression,
    compressor: Arc<Compressor>,
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Nothing.
    Leave,
    /// It is sent as it is, and says that others may get something else.
    Vary,
    Encode(Coding),
    /// 406: the client takes no form that there is.
    Refuse,
}

impl Compressed {
    /// Around another handler.
    pub fn new(inner: Arc<dyn Handler>, settings: Compression, compressor: Arc<Compressor>) -> Self {
        Self { inner, shared: Arc::new(Shared { settings, compressor }) }
    }
}

impl Handler for Compressed {
    fn handle(&self, request: Request) -> Answer {
        let asked =
            Asked { accepted: Accepted::of(&request.head.headers), is_head: request.head.method == Method::HEAD };
        match self.inner.handle(request) {
            Answer::Now(response) => self.shared.pass(response, asked),
            Answer::Later(response) => {
                let shared = Arc::clone(&self.shared);
                Answer::Later(Box::pin(async move {
                    match shared.pass(response.await, asked) {
                        Answer::Now(response) => response,
                        Answer::Later(response) => response.await,
                    }
                }))
            }
        }
    }
}

/// What of a request its response depends on.
#[derive(Debug, Clone, Copy)]
struct Asked {
    accepted: Accepted,
    is_head: bool,
}

/// The first field of that name, wherever it is kept.
fn field<'r>(response: &'r Response, name: &HeaderName) -> Option<&'r str> {
    let ready = || response.ready.as_ref().and_then(|ready| ready.fields.get(name));
    response.headers.get(name).or_else(ready)?.to_str().ok()
}

fn has(response: &Response, name: &str) -> bool {
    response.headers.contains_key(name) || response.ready.as_ref().is_some_and(|ready| ready.fields.contains_key(name))
}

/// Bytes of the content that a GET would get, where they are known.
fn length(response: &Response, is_head: bool) -> Option<u64> {
    match response.body.length() {
        Some(0) if is_head => field(response, &CONTENT_LENGTH)?.parse().ok(),
        length => length,
    }
}

fn plan(response: &Response, asked: Asked, settings: &Compression) -> Plan {
    let status = response.status;
    if status == StatusCode::NOT_MODIFIED {
        // It says what a 200 would have said (RFC 9110 section 15.4.5).
        return if settings.enabled { Plan::Vary } else { Plan::Leave };
    }
    let partial = status == StatusCode::PARTIAL_CONTENT || has(response, CONTENT_RANGE.as_str());
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
        || response.upgrade.is_some();
    let transformable =
        !field(response, &CACHE_CONTROL).is_some_and(|control| control.to_ascii_lowercase().contains("no-transform"));
    let fixed = has(response, CONTENT_ENCODING.as_str()) || DIGESTS.iter().any(|digest| has(response, digest));
    let length = length(response, asked.is_head);
    if partial || bodiless || fixed || !transformable || length == Some(0) || !settings.enabled {
        return Plan::Leave;
    }
    let listed = field(response, &CONTENT_TYPE).is_some_and(|kind| settings.covers(kind));
    let worthwhile = listed && length.is_none_or(|length| settings.fits(length));
    // A client that does not take the content as it is gets it compressed even where that is not worth it.
    let possible = length.is_none_or(|length| length <= settings.max_size.get());
    if !worthwhile && (asked.accepted.takes_identity() || !possible) {
        return if asked.accepted.takes_identity() { Plan::Leave } else { Plan::Refuse };
    }
    match asked.accepted.choose(settings.algorithms.iter().copied()) {
        Choice::Coded(coding) => Plan::Encode(coding),
        Choice::Identity => Plan::Vary,
        Choice::NotAcceptable => Plan::Refuse,
    }
}

impl Shared {
    fn pass(self: &Arc<Self>, mut response: Response, asked: Asked) -> Answer {
        match plan(&response, asked, &self.settings) {
            Plan::Leave => response.into(),
            Plan::Vary => {
                vary(&mut response);
                response.into()
            }
            Plan::Refuse => refusal(&self.settings).into(),
            Plan::Encode(coding) if asked.is_head => {
                // How long it would be is not known without compressing it.
                declare(&mut response, coding);
                response.body = Body::Empty;
                response.into()
            }
            Plan::Encode(coding) => self.encode(response, coding, asked),
        }
    }

    fn encode(self: &Arc<Self>, mut response: Response, coding: Coding, asked: Asked) -> Answer {
        let content = match std::mem::replace(&mut response.body, Body::Empty) {
            Body::Stream(stream) => return self.encode_stream(response, stream, coding, asked),
            Body::Full(content) if content.len() <= SMALL => {
                let encoded = self.compressor.compress_here(coding, &self.settings.level, &content);
                response.body = Body::Full(content);
                return self.settle(response, coding, asked, encoded.ok()).into();
            }
            body => body,
        };
        let parts = Part::of(&content);
        response.body = content;
        let patience = if asked.accepted.takes_identity() { Patience::None } else { Patience::Endless };
        let shared = Arc::clone(self);
        Answer::Later(Box::pin(async move {
            let (compressor, level) = (&shared.compressor, &shared.settings.level);
            let encoded = compressor.compress(coding, level, patience, move || Part::gather(parts)).await;
            shared.settle(response, coding, asked, encoded.ok())
        }))
    }

    /// The response with what was made of its content, or as it is where that is nothing, or more than it was.
    fn settle(&self, mut response: Response, coding: Coding, asked: Asked, encoded: Option<Bytes>) -> Response {
        let needed = !asked.accepted.takes_identity();
        match encoded {
            Some(encoded) if needed || (encoded.len() as u64) < response.body.length().unwrap_or(u64::MAX) => {
                declare(&mut response, coding);
                response.body = Body::Full(encoded);
            }
            None if needed => return refusal(&self.settings),
            other => {
                if other.is_some() {
                    self.compressor.metrics().uncompressed.of(Uncompressed::Larger).inc();
                }
                vary(&mut response);
            }
        }
        response
    }

    fn encode_stream(
        self: &Arc<Self>,
        mut response: Response,
        stream: Streamed,
        coding: Coding,
        asked: Asked,
    ) -> Answer {
        let encoder = match self.compressor.stream(coding) {
            Some(place) => Encoder::new(coding, &self.settings.level).ok().map(|encoder| (encoder, place)),
            None => None,
        };
        let Some((encoder, place)) = encoder else {
            if !asked.accepted.takes_identity() {
                return refusal(&self.settings).into();
            }
            vary(&mut response);
            response.body = Body::Stream(stream);
            return response.into();
        };
        // Each event is for the client to see when it happens.
        let events = field(&response, &CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream"));
        declare(&mut response, coding);
        let trailers = stream.trailers;
        let parts = Encoding {
            parts: Some(stream.parts),
            encoder: Some(encoder),
            work: None,
            unflushed: false,
            eager: events,
            place,
        };
        response.body = Body::Stream(Streamed { length: None, parts: Box::pin(parts), trailers });
        response.into()
    }
}

/// A part of a content that can be read in another thread.
enum Part {
    Memory(Bytes),
    File(crate::message::FilePart),
}

impl Part {
    fn of(body: &Body) -> Vec<Self> {
        match body {
            Body::Empty | Body::Stream(_) => Vec::new(),
            Body::Full(content) => vec![Self::Memory(content.clone())],
            Body::File(part) => vec![Self::File(part.clone())],
            Body::Pieces(pieces) => pieces.iter().flat_map(Self::of).collect(),
        }
    }

    fn gather(mut parts: Vec<Self>) -> io::Result<Bytes> {
        if let [Self::Memory(content)] = &mut *parts {
            return Ok(std::mem::take(content));
        }
        let mut whole = BytesMut::new();
        for part in parts {
            match part {
                Self::Memory(content) => whole.extend_from_slice(&content),
                Self::File(part) => {
                    let mut content = vec![0; usize::try_from(part.length).map_err(io::Error::other)?];
                    part.file.read_exact_at(&mut content, part.offset)?;
                    whole.extend_from_slice(&content);
                }
            }
        }
        Ok(whole.freeze())
    }
}

/// Says that a response depends on what its client accepts, if it does not say so yet.
fn vary(response: &mut Response) {
    let named = |fields: &HeaderMap| {
        let lists = fields.get_all(VARY).into_iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|name| {
            let name = name.trim();
            name == "*" || name.eq_ignore_ascii_case("accept-encoding")
        })
    };
    if !named(&response.headers) && !response.ready.as_ref().is_some_and(|ready| named(&ready.fields)) {
        response.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Says that the content is in a coding, and takes back what is true only of the content as it was.
fn declare(response: &mut Response, coding: Coding) {
    vary(response);
    if let Some(ready) = response.ready.take() {
        for (name, value) in &ready.fields {
            response.headers.append(name, value.clone());
        }
    }
    let fields = &mut response.headers;
    fields.insert(CONTENT_ENCODING, coding.value());
    for name in [ACCEPT_RANGES, CONTENT_LENGTH] {
        fields.remove(name);
    }
    let strong = fields.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    if let Some(Ok(weak)) = strong.map(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())) {
        fields.insert(ETAG, weak);
    }
}

/// 406, with the codings that there are (RFC 9110 section 15.5.7).
fn refusal(settings: &Compression) -> Response {
    let codings: Vec<&str> = settings.algorithms.iter().map(|coding| coding.token()).collect();
    let text =
        format!("there is no form of this that the client accepts; there are: identity, {}\n", codings.join(", "));
    let mut response = Response::full(StatusCode::NOT_ACCEPTABLE, "text/plain; charset=utf-8", text);
    vary(&mut response);
    response
}

/// A content as it comes.
type Parts = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>>>>;
type Work = Local<io::Result<Encoder>>;

/// A content that is compressed as it comes. What has been taken is flushed as soon as nothing more is there at once.
struct Encoding {
    parts: Option<Parts>,
    /// Gone while it works elsewhere, and at the end.
    encoder: Option<Encoder>,
    work: Option<Work>,
    unflushed: bool,
    /// Flushes after each part.
    eager: bool,
    place: OpenStream,
}

impl Encoding {
    fn take(&mut self, part: Bytes) -> io::Result<()> {
        self.place.compressor.metrics().read.add(part.len() as u64);
        self.unflushed = true;
        if part.len() <= SMALL {
            return self.encoder.as_mut().map_or(Ok(()), |encoder| encoder.write(&part));
        }
        let compressor = Arc::clone(&self.place.compressor);
        self.work = self.encoder.take().map(|mut encoder| -> Work {
            Box::pin(async move {
                let work = move || encoder.write(&part).map(|()| encoder);
                let done = compressor.run(Patience::Endless, work).await;
                done.unwrap_or_else(|| Err(io::ErrorKind::Interrupted.into())).and_then(|done| done)
            })
        });
        Ok(())
    }

    fn emit(&mut self, bytes: Bytes) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.place.compressor.metrics().written.add(bytes.len() as u64);
        Poll::Ready(Some(Ok(bytes)))
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Bytes, BodyError>>> {
        (self.encoder, self.work, self.parts) = (None, None, None);
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Encoding {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(work) = &mut this.work {
                match ready!(work.as_mut().poll(context)) {
                    Ok(encoder) => (this.encoder, this.work) = (Some(encoder), None),
                    Err(error) => return this.fail(BodyError::Source(Box::new(error))),
                }
            }
            let eager = this.eager && this.unflushed;
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if encoder.ready() >= PIECE && !eager {
                let piece = encoder.take();
                return this.emit(piece);
            }
            let polled = match &mut this.parts {
                _ if eager => Poll::Pending,
                Some(parts) => parts.poll_next_unpin(context),
                None => Poll::Ready(None),
            };
            match polled {
                Poll::Ready(Some(Ok(part))) => {
                    if let Err(error) = this.take(part) {
                        return this.fail(BodyError::Source(Box::new(error)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return this.fail(error),
                Poll::Ready(None) => {
                    this.parts = None;
                    return match this.encoder.take().map(Encoder::finish) {
                        Some(Ok(rest)) if rest.is_empty() => Poll::Ready(None),
                        Some(Ok(rest)) => this.emit(rest),
                        Some(Err(error)) => this.fail(BodyError::Source(Box::new(error))),
                        None => Poll::Ready(None),
                    };
                }
                Poll::Pending if this.unflushed => {
                    this.unflushed = false;
                    if let Err(error) = encoder.flush() {
                        return this.fail(BodyError::Source(Box::new(error)));
                    }
                    let piece = encoder.take();
                    if !piece.is_empty() {
                        return this.emit(piece);
                    }
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
#[path = "compressed_tests.rs"]
mod tests;
