//! Requests in their order, and what is here of their answers: a plain function of the bytes that come.
//!
//! Answers come in the order of the requests (RFC 9112 section 9.3.2), and nothing else says whose one is. So whatever cannot be read in one way alone ends
//! all of it: what comes after that could be anybody's.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Waker};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode};
use outwork_front::h1::{Decoder, Framing, Piece};
use slab::Slab;

use super::super::head::{self, Frame};
use super::super::{Early, ExchangeError, READ, Reply, SMALL};

/// Bytes of an answer that lie here until its client takes them, beyond which no more are read.
const LYING: usize = 64 << 10;
/// Parts that do.
const PARTS: usize = 256;
/// Bytes of an answer that are read away where its client has left. Another connection costs less than more of them.
const AWAY: u64 = 64 << 10;
/// Answers by which a backend has shown that it takes requests in a line, whatever ends that one.
const PROVEN: u64 = 64;

/// A connection's requests, and their answers.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Heads that are to be written.
    out: BytesMut,
    /// Bytes that were put there, and those that are written, of all requests so far.
    queued: u64,
    written: u64,
    slots: Slab<Slot>,
    /// Those whose answers have not ended.
    order: VecDeque<usize>,
    /// What is still to come of the answer of the first of them, once its head is here.
    content: Option<Content>,
    /// Nothing more is read until its client has taken what is here.
    full: bool,
    /// It takes no more requests.
    closing: bool,
    /// The backend is to be left alone with lines for a while.
    spoilt: bool,
    answered: u64,
    /// Who reads and writes, while it waits.
    driver: Option<Waker>,
}

/// A request, and what is here of its answer.
#[derive(Debug)]
struct Slot {
    method: Method,
    /// Bytes that are written once all of it is.
    end: u64,
    /// Its answer has not ended.
    queued: bool,
    /// Somebody wants it.
    held: bool,
    waker: Option<Waker>,
    early: Early,
    reply: Option<Reply>,
    length: Option<u64>,
    parts: VecDeque<Bytes>,
    lying: usize,
    /// Fields that came after its content.
    trailers: Option<HeaderMap>,
    /// Bytes that are still read away.
    away: u64,
    failed: Option<ExchangeError>,
}

/// Where the content of an answer ends.
#[derive(Debug)]
enum Content {
    Framed(Decoder),
    UntilClose,
}

/// What is to be done about bytes that come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// All that can be understood is.
    More,
    /// The client of the first answer is to take what is here before that.
    Full,
}

/// Why a connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    Malformed(&'static str),
    /// Something came before anybody had asked for it: it is no answer to what is asked next.
    Unasked,
    /// Nobody wants what comes, and it is too much to be read away.
    Unwanted,
}

impl From<Broken> for Option<ExchangeError> {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Malformed(why) => Some(ExchangeError::Malformed(why)),
            Broken::Unasked | Broken::Unwanted => None,
        }
    }
}

/// The head of an answer, and as much as there is to say of its content.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) reply: Reply,
    /// Bytes of content, where that is known.
    pub(super) length: Option<u64>,
    /// All of the content, where it is here and in one piece.
    pub(super) whole: Option<Bytes>,
}

impl Slot {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }

    fn is_full(&self) -> bool {
        self.held && (self.lying >= LYING || self.parts.len() >= PARTS)
    }

    /// Takes in a part of its content, or does without it.
    fn take_in(&mut self, input: &mut impl Buf, length: usize) -> Result<(), Broken> {
        if !self.held {
            self.away = self.away.checked_sub(length as u64).ok_or(Broken::Unwanted)?;
            input.advance(length);
            return Ok(());
        }
        // What is small keeps nothing else alive.
        let part = match input.chunk().get(..length) {
            Some(part) if length <= SMALL => {
                let part = Bytes::copy_from_slice(part);
                input.advance(length);
                part
            }
            _ => input.copy_to_bytes(length),
        };
        self.lying += length;
        self.parts.push_back(part);
        self.wake();
        Ok(())
    }
}

/// For requests.
impl Line {
    /// A request without content, whose head is written by this. Its number, by which it is asked for.
    pub(super) fn join(&mut self, method: Method, write: impl FnOnce(&mut BytesMut)) -> usize {
        let failed = self.closing.then_some(ExchangeError::BeforeItsTurn);
        if failed.is_none() {
            let before = self.out.len();
            write(&mut self.out);
            self.queued += (self.out.len() - before) as u64;
        }
        let queued = failed.is_none();
        let number = self.slots.insert(Slot {
            method,
            end: self.queued,
            queued,
            held: true,
            waker: None,
            early: Early::default(),
            reply: None,
            length: None,
            parts: VecDeque::new(),
            lying: 0,
            trailers: None,
            away: AWAY,
            failed,
        });
        if queued {
            self.order.push_back(number);
            self.wake_driver();
        }
        number
    }

    /// Takes what was answered before the answer, if anything was.
    pub(super) fn take_early(&mut self, number: usize) -> Option<Early> {
        let early = &mut self.slots.get_mut(number)?.early;
        (!early.waiting.is_empty()).then(|| std::mem::take(early))
    }

    /// Takes the head of its answer; `None` where that is not here yet, and then it is told.
    pub(super) fn take_head(&mut self, number: usize, context: &Context<'_>) -> Option<Result<Begun, ExchangeError>> {
        let Some(slot) = self.slots.get_mut(number) else { return Some(Err(ExchangeError::BeforeItsTurn)) };
        if let Some(error) = slot.failed.take() {
            return Some(Err(error));
        }
        let Some(reply) = slot.reply.take() else {
            slot.wait(context);
            return None;
        };
        let is_whole = !slot.queued && slot.parts.len() <= 1 && slot.trailers.is_none();
        let whole = is_whole.then(|| slot.parts.pop_front().unwrap_or_default());
        Some(Ok(Begun { reply, length: slot.length, whole }))
    }

    /// Takes a part of its content; the outer `None` where none is here yet, and then it is told, and the inner one at its end.
    pub(super) fn take_part(
        &mut self,
        number: usize,
        context: &Context<'_>,
    ) -> Option<Option<Result<Bytes, ExchangeError>>> {
        let Some(slot) = self.slots.get_mut(number) else { return Some(None) };
        let Some(part) = slot.parts.pop_front() else {
            if let Some(error) = slot.failed.take() {
                return Some(Some(Err(error)));
            }
            if !slot.queued {
                return Some(None);
            }
            slot.wait(context);
            return None;
        };
        slot.lying -= part.len();
        if self.full && !slot.is_full() && self.order.front() == Some(&number) {
            self.wake_driver();
        }
        Some(Some(Ok(part)))
    }

    /// Takes the fields that came after its content.
    pub(super) fn take_trailers(&mut self, number: usize) -> Option<HeaderMap> {
        self.slots.get_mut(number)?.trailers.take()
    }

    /// Nobody wants it any more.
    pub(super) fn leave(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        if !slot.queued {
            self.slots.remove(number);
            return;
        }
        slot.held = false;
        (slot.waker, slot.reply, slot.parts) = (None, None, VecDeque::new());
        if self.order.front() != Some(&number) {
            return;
        }
        let is_far = match &self.content {
            Some(Content::Framed(decoder)) => decoder.remaining().is_some_and(|left| left > AWAY),
            Some(Content::UntilClose) => true,
            None => false,
        };
        if is_far {
            self.fail(None);
        }
        self.wake_driver();
    }

    /// It has waited for too long, which it is told. Nobody waits behind one that is late.
    pub(super) fn late(&mut self, number: usize) -> ExchangeError {
        if !self.slots.get(number).is_some_and(|slot| slot.queued) {
            return ExchangeError::Late;
        }
        let is_first = self.order.front() == Some(&number);
        self.spoilt = true;
        match &self.content {
            Some(_) if !is_first => self.disband(),
            _ => self.fail(None),
        }
        self.wake_driver();
        if is_first { ExchangeError::Late } else { ExchangeError::BeforeItsTurn }
    }

    /// How many there are, those included whose answers are here and were not taken yet.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Answers so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered
    }

    /// Whether no answer is to come.
    pub(super) fn is_idle(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether it takes no more requests.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the backend is to be left alone with lines for a while.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// Whether the first answer is one that others would wait for: a good part of it, nobody knows how much, is still to come.
    pub(super) fn is_held_up(&self) -> bool {
        match &self.content {
            Some(Content::Framed(decoder)) => decoder.remaining().is_none_or(|left| left > READ as u64),
            Some(Content::UntilClose) => true,
            None => false,
        }
    }

    /// An answer that has begun, and takes long, holds up nobody: those behind it are asked elsewhere, and it has the connection for itself.
    pub(super) fn spare_those_behind(&mut self) {
        if self.content.is_some() && self.order.len() > 1 {
            self.spoilt = true;
            self.disband();
        }
    }
}

/// For who reads and writes.
impl Line {
    pub(super) fn wait(&mut self, context: &Context<'_>) {
        self.driver = Some(context.waker().clone());
    }

    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// What is to be written.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.out
    }

    /// So much of it is written.
    pub(super) fn wrote(&mut self, length: usize) {
        self.out.advance(length);
        self.written += length as u64;
    }

    /// Whether what was read waits for a client to take what came before it.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Whether an answer has begun and not ended.
    pub(super) fn is_within_content(&self) -> bool {
        self.content.is_some()
    }

    /// Whether there is nothing more to be done.
    pub(super) fn is_over(&self) -> bool {
        self.closing && self.order.is_empty()
    }

    /// Takes in what was read, as far as it can be understood and there is room for it.
    pub(super) fn understand(&mut self, input: &mut impl Buf) -> Result<Flow, Broken> {
        self.full = false;
        loop {
            let first = self.order.front().copied();
            let Some((number, slot)) = first.and_then(|number| Some((number, self.slots.get_mut(number)?))) else {
                let is_unasked = input.has_remaining() && !self.closing;
                self.spoilt |= is_unasked;
                return if is_unasked { Err(Broken::Unasked) } else { Ok(Flow::More) };
            };
            let Some(content) = &mut self.content else {
                if !input.has_remaining() || !self.head(number, input)? {
                    return Ok(Flow::More);
                }
                continue;
            };
            if let Content::Framed(decoder) = content
                && decoder.is_done()
            {
                slot.trailers = decoder.take_trailers();
                self.end(number);
                continue;
            }
            if slot.is_full() {
                self.full = true;
                return Ok(Flow::Full);
            }
            if !input.has_remaining() {
                return Ok(Flow::More);
            }
            let piece = match content {
                Content::Framed(decoder) => decoder.decode(input.chunk()),
                Content::UntilClose => Ok(Piece::Content(input.remaining())),
            };
            match piece {
                Ok(Piece::End) => self.end(number),
                Ok(Piece::Framing(length)) => input.advance(length),
                Ok(Piece::Content(length)) => slot.take_in(input, length)?,
                Err(_) => return Err(Broken::Malformed("the framing of the answer's body is malformed")),
            }
        }
    }

    /// Reads a head for the first request. Whether there was a whole one.
    fn head(&mut self, number: usize, input: &mut impl Buf) -> Result<bool, Broken> {
        let Some(slot) = self.slots.get_mut(number) else { return Ok(false) };
        if slot.end > self.written {
            self.spoilt = true;
            return Err(Broken::Unasked);
        }
        let text = input.chunk();
        let is_head = slot.method == Method::HEAD;
        // One piece of memory has the fields and all of a small content, and nothing of the answers behind it.
        let own = |length: usize, fields: &[httparse::Header<'_>]| {
            let announced = if is_head { 0 } else { announced(fields) };
            let end = length.checked_add(announced).filter(|end| *end <= text.len()).unwrap_or(length);
            Bytes::copy_from_slice(text.get(..end).unwrap_or(text))
        };
        let parsed = head::parse(text, &slot.method, own).map_err(Broken::Malformed)?;
        let Some((head, length, own)) = parsed else { return Ok(false) };
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Broken::Malformed("the backend switches to another protocol, which nobody has asked for"));
        }
        if head.status.is_informational() {
            input.advance(length);
            if slot.held && head.status != StatusCode::CONTINUE {
                slot.early.put(head.status, head.headers);
                slot.wake();
            }
            return Ok(true);
        }
        let (mut ended, mut taken) = (false, length);
        let is_far = match head.framing {
            Frame::UntilClose => true,
            Frame::Framed(framing) => matches!(framing, Framing::Length(content) if content > AWAY),
        };
        if is_far && !slot.held {
            return Err(Broken::Unwanted);
        }
        match head.framing {
            Frame::UntilClose => self.content = Some(Content::UntilClose),
            Frame::Framed(Framing::None | Framing::Length(0)) => (slot.length, ended) = (Some(0), true),
            Frame::Framed(Framing::Length(content)) => {
                slot.length = Some(content);
                let behind = own.slice(length.min(own.len())..);
                if behind.len() as u64 == content {
                    (ended, taken) = (true, own.len());
                    slot.parts.push_back(behind);
                } else {
                    self.content = Some(Content::Framed(Decoder::new(Framing::Length(content))));
                }
            }
            Frame::Framed(framing) => self.content = Some(Content::Framed(Decoder::new(framing))),
        }
        input.advance(taken);
        if slot.held {
            slot.reply = Some(Reply { status: head.status, headers: head.headers });
            slot.wake();
        }
        if !head.keep_alive {
            self.disband();
        }
        if ended {
            self.end(number);
        }
        Ok(true)
    }

    /// The first answer has ended.
    fn end(&mut self, number: usize) {
        self.order.pop_front();
        self.content = None;
        self.answered += 1;
        if let Some(slot) = self.slots.get_mut(number) {
            slot.queued = false;
            match slot.held {
                true => slot.wake(),
                false => drop(self.slots.remove(number)),
            }
        }
    }

    /// The backend has ended the connection; `within` something that it says. What becomes of the first answer, unless it has ended by that or not begun.
    pub(super) fn ended(&mut self, within: bool) -> Option<ExchangeError> {
        match (&self.content, self.order.front().copied()) {
            (Some(Content::UntilClose), Some(number)) => {
                self.end(number);
                None
            }
            (Some(_), _) => Some(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            (None, _) => within.then(|| io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// All but the first are asked again elsewhere, and no more are taken.
    fn disband(&mut self) {
        self.close();
        for number in self.order.split_off(1.min(self.order.len())) {
            self.give_up(number, ExchangeError::BeforeItsTurn);
        }
    }

    /// All are asked again elsewhere, but for the first, if there is something to say of that.
    pub(super) fn fail(&mut self, mut first: Option<ExchangeError>) {
        self.spoilt |= matches!(first, Some(ExchangeError::Malformed(_)));
        self.close();
        self.content = None;
        for number in std::mem::take(&mut self.order) {
            self.give_up(number, first.take().unwrap_or(ExchangeError::BeforeItsTurn));
        }
    }

    fn close(&mut self) {
        // Who ends a connection soon does so each time; one that has lasted has to end sometime.
        self.spoilt |= self.order.len() > 1 && self.answered < PROVEN;
        self.closing = true;
        self.out.clear();
    }

    fn give_up(&mut self, number: usize, error: ExchangeError) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        slot.queued = false;
        match slot.held {
            true => {
                slot.failed = Some(error);
                slot.wake();
            }
            false => drop(self.slots.remove(number)),
        }
    }
}

/// The content that fields announce, for what that is worth: framing is decided by all of them.
fn announced(fields: &[httparse::Header<'_>]) -> usize {
    let length = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    length.and_then(|field| std::str::from_utf8(field.value).ok()?.parse().ok()).unwrap_or_default()
}
