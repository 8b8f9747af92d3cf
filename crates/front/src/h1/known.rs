//! Answers known by heart: a head that comes again, byte for byte, gets the bytes that it got before.
//!
//! Clients that keep a connection open mostly ask with the same bytes again, and a handler can say of an answer that it stands
//! ([`Standing`]): nothing but the head had a part in it, and it can tell whether it would be the same now. Such an answer needs no parsing, no
//! route and no head to be written; it is counted like any other. A head is remembered by its hash when it comes, by its answer when it comes
//! again, so that heads that come once take nothing; and one whose answer does not stand is left alone for a while. Each thread has its own, and
//! forgets them with the configuration that they were made by.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use http::StatusCode;

use crate::door::DoorMetrics;
use crate::door::worker::DATE;
use crate::message::{Origin, Standing};

/// Heads that are remembered. A power of two.
const SLOTS: usize = 1024;
/// Bytes of a head that is remembered.
const HEAD: usize = 4 << 10;
/// Bytes of an answer that is.
const MESSAGE: usize = 64 << 10;
/// Bytes of all of them.
const ALL: usize = 8 << 20;

/// How often a head comes until it is tried again whether its answer stands.
const LEFT_ALONE: u16 = 512;

/// What a thread knows by heart.
pub(crate) struct Known {
    slots: Vec<Slot>,
    bytes: usize,
    hasher: RandomState,
    metrics: Arc<DoorMetrics>,
}

#[derive(Default)]
struct Slot {
    hash: u64,
    /// So often more it is left alone.
    alone: u16,
    answer: Option<Box<Answer>>,
}

/// What becomes of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has not come lately.
    New,
    /// It has, and its answer is not known.
    Again,
    /// It has the answer at this place, which still stands.
    Known(usize),
}

/// Where a request came to: what its answer depends on beside the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place<'a> {
    local: SocketAddr,
    tls: bool,
    alt_svc: &'a [u8],
}

impl<'a> Place<'a> {
    pub(crate) fn new(origin: &Origin, alt_svc: &'a [u8]) -> Self {
        Self { local: origin.local, tls: origin.tls, alt_svc }
    }
}

/// An answer as it is sent.
pub(crate) struct Answer {
    head: Box<[u8]>,
    local: SocketAddr,
    tls: bool,
    alt_svc: Box<[u8]>,
    message: Box<[u8]>,
    /// Where the value of `Date` is.
    date: Option<usize>,
    pub(crate) status: StatusCode,
    pub(crate) route: Option<u16>,
    /// Bytes of the message that are its head.
    pub(crate) head_bytes: usize,
    standing: Standing,
    /// Asked for since another head wanted its place.
    used: bool,
}

impl Answer {
    /// To `head`, of `place`: a message of which the first `head_bytes` are its head, with its date at `date`.
    pub(crate) fn new(
        (head, place): (Box<[u8]>, &Place<'_>),
        (message, head_bytes, date): (Vec<u8>, usize, Option<usize>),
        (status, route): (StatusCode, Option<u16>),
        standing: Standing,
    ) -> Self {
        let (local, tls, alt_svc) = (place.local, place.tls, place.alt_svc.into());
        let message = message.into();
        Self { head, local, tls, alt_svc, message, date, status, route, head_bytes, standing, used: true }
    }

    /// The bytes to send, as of this date.
    pub(crate) fn message(&mut self, date: &[u8; DATE]) -> &[u8] {
        let place = self.date.and_then(|at| self.message.get_mut(at..at + DATE));
        place.into_iter().for_each(|place| place.copy_from_slice(date));
        &self.message
    }

    fn is_to(&self, head: &[u8], place: &Place<'_>) -> bool {
        *self.head == *head && (self.local, self.tls) == (place.local, place.tls) && *self.alt_svc == *place.alt_svc
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.alt_svc.len() + self.message.len()
    }
}

impl Known {
    pub(crate) fn new(metrics: &Arc<DoorMetrics>) -> Self {
        Self { slots: Vec::new(), bytes: 0, hasher: RandomState::default(), metrics: Arc::clone(metrics) }
    }

    /// Looks for what `head` was answered, and remembers that it came.
    pub(crate) fn find(&mut self, head: &[u8], place: &Place<'_>) -> Seen {
        if head.len() > HEAD {
            return Seen::New;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Slot::default);
        }
        let (at, hash) = self.place(head);
        let Some(slot) = self.slots.get_mut(at) else { return Seen::New };
        match &mut slot.answer {
            Some(answer) if slot.hash == hash && answer.is_to(head, place) => {
                if answer.standing.stands() {
                    answer.used = true;
                    return Seen::Known(at);
                }
                self.forget(at);
                Seen::Again
            }
            // Who has the place keeps it once more, if it was asked for meanwhile.
            Some(answer) if answer.used => {
                answer.used = false;
                Seen::New
            }
            Some(_) => {
                self.forget(at);
                self.remember(at, hash);
                Seen::New
            }
            None if slot.hash == hash && slot.alone == 0 => Seen::Again,
            None if slot.hash == hash => {
                slot.alone -= 1;
                Seen::New
            }
            None => {
                self.remember(at, hash);
                Seen::New
            }
        }
    }

    /// The answer at a place.
    pub(crate) fn answer(&mut self, at: usize) -> Option<&mut Answer> {
        self.slots.get_mut(at)?.answer.as_deref_mut()
    }

    /// Whether an answer of so many bytes can be kept. Where there is no room, those go that nobody has asked for since the last time.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        if bytes > MESSAGE {
            return false;
        }
        let room = |known: &Self| known.bytes + bytes + HEAD <= ALL;
        if room(self) {
            return true;
        }
        for at in 0..self.slots.len() {
            let answer = self.answer(at);
            if answer.is_some_and(|answer| !std::mem::take(&mut answer.used)) {
                self.metrics.known_crowded.inc();
                self.forget(at);
            }
        }
        let has_room = room(self);
        self.metrics.known_crowded.add((!has_room).into());
        has_room
    }

    /// Keeps an answer, for which there is room.
    pub(crate) fn keep(&mut self, answer: Answer) {
        let (at, hash) = self.place(&answer.head);
        let weight = answer.weight();
        self.forget(at);
        self.remember(at, hash);
        if let Some(slot) = self.slots.get_mut(at) {
            self.bytes += weight;
            self.metrics.known.add(weight as i64);
            slot.answer = Some(Box::new(answer));
        }
    }

    /// Leaves a head alone, whose answer cannot be kept.
    pub(crate) fn leave_alone(&mut self, head: &[u8]) {
        let (at, hash) = self.place(head);
        let slot = self.slots.get_mut(at).filter(|slot| slot.hash == hash);
        slot.into_iter().for_each(|slot| slot.alone = LEFT_ALONE);
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.metrics.known.add(-(self.bytes as i64));
        (self.slots, self.bytes) = (Vec::new(), 0);
    }

    fn place(&self, head: &[u8]) -> (usize, u64) {
        let hash = self.hasher.hash_one(head);
        (hash as usize & (SLOTS - 1), hash)
    }

    fn remember(&mut self, at: usize, hash: u64) {
        self.slots.get_mut(at).into_iter().for_each(|slot| (slot.hash, slot.alone) = (hash, 0));
    }

    fn forget(&mut self, at: usize) {
        let answer = self.slots.get_mut(at).and_then(|slot| slot.answer.take());
        let weight = answer.map_or(0, |answer| answer.weight());
        self.bytes -= weight;
        self.metrics.known.add(-(weight as i64));
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn origin(port: u16) -> Origin {
        Origin {
            peer: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], port).into(),
            to: None,
            tls: false,
            session: None,
        }
    }

    fn answer(head: &[u8], place: &Place<'_>, message: &[u8], standing: Standing) -> Answer {
        Answer::new((head.into(), place), (message.to_vec(), 0, None), (StatusCode::OK, None), standing)
    }

    fn message(known: &mut Known, seen: Seen) -> Option<Vec<u8>> {
        let Seen::Known(at) = seen else { return None };
        known.answer(at).map(|answer| answer.message(&[b'0'; DATE]).to_vec())
    }

    #[test]
    fn a_head_is_known_from_its_third_time_on_where_it_came_to() {
        let (mut known, here, there) = (Known::new(&Arc::default()), origin(80), origin(81));
        let (here, there) = (Place::new(&here, b""), Place::new(&there, b""));
        assert_eq!([known.find(b"a", &here), known.find(b"a", &here)], [Seen::New, Seen::Again]);
        known.keep(answer(b"a", &here, b"answer", Standing::always()));
        let seen = known.find(b"a", &here);
        assert_eq!(message(&mut known, seen).as_deref(), Some(&b"answer"[..]));
        assert_eq!(known.find(b"a", &there), Seen::New);
        assert_eq!(known.find(b"a", &Place { alt_svc: b"h3", ..here.clone() }), Seen::New);
        known.clear();
        assert_eq!(known.find(b"a", &here), Seen::New);
    }

    #[test]
    fn an_answer_that_no_longer_stands_is_forgotten() {
        let (mut known, here) = (Known::new(&Arc::default()), origin(80));
        let here = Place::new(&here, b"");
        let stands = Arc::new(AtomicBool::new(true));
        let standing = Standing::new({
            let stands = Arc::clone(&stands);
            move || stands.load(Ordering::Relaxed)
        });
        known.find(b"a", &here);
        known.keep(answer(b"a", &here, b"answer", standing));
        assert!(matches!(known.find(b"a", &here), Seen::Known(_)));
        stands.store(false, Ordering::Relaxed);
        assert_eq!((known.find(b"a", &here), known.bytes), (Seen::Again, 0));
    }

    #[test]
    fn what_is_asked_for_keeps_its_place_against_what_comes_once_and_nothing_grows_without_end() {
        let (mut known, here) = (Known::new(&Arc::default()), origin(80));
        let here = Place::new(&here, b"");
        known.find(b"a", &here);
        known.keep(answer(b"a", &here, b"answer", Standing::always()));
        let rival = |number: &u32| known.place(&number.to_be_bytes()).0 == known.place(b"a").0;
        let [first, second] = *(0u32..).filter(rival).take(2).map(u32::to_be_bytes).collect::<Vec<_>>() else {
            panic!()
        };
        for _ in 0..3 {
            assert_eq!(known.find(&first, &here), Seen::New);
            assert!(matches!(known.find(b"a", &here), Seen::Known(_)), "it was asked for in between");
        }
        assert_eq!([&first, &second, &second].map(|head| known.find(head, &here)), [Seen::New, Seen::New, Seen::Again]);
        assert_eq!(known.find(b"a", &here), Seen::New, "it was not");
        let mut most = 0;
        for number in 0..1000u32 {
            let head = number.to_be_bytes();
            known.find(&head, &here);
            if known.has_room(MESSAGE) {
                known.keep(answer(&head, &here, &vec![0; MESSAGE], Standing::always()));
            }
            most = most.max(known.bytes);
        }
        assert!((ALL / 2..=ALL).contains(&most), "{most}");
        let kept: usize =
            known.slots.iter().filter_map(|slot| slot.answer.as_ref()).map(|answer| answer.weight()).sum();
        assert_eq!((known.bytes, known.metrics.known.get()), (kept, kept as i64));
        assert!(known.metrics.known_crowded.get() > 0 && !known.has_room(MESSAGE + 1));
        assert_eq!(known.find(&[0; HEAD + 1], &here), Seen::New);
        assert_eq!(known.find(&[0; HEAD + 1], &here), Seen::New, "what is too long is not remembered");
        let metrics = Arc::clone(&known.metrics);
        drop(known);
        assert_eq!(metrics.known.get(), 0);
    }

    #[test]
    fn a_head_whose_answer_does_not_stand_is_left_alone_for_a_while() {
        let (mut known, here) = (Known::new(&Arc::default()), origin(80));
        let here = Place::new(&here, b"");
        assert_eq!([known.find(b"a", &here), known.find(b"a", &here)], [Seen::New, Seen::Again]);
        known.leave_alone(b"a");
        let again = (0..3 * LEFT_ALONE).filter(|_| known.find(b"a", &here) == Seen::Again).count();
        assert_eq!(again, 2 * usize::from(LEFT_ALONE), "it is tried again after that");
        known.leave_alone(b"another");
    }

    #[test]
    fn a_message_says_the_date_of_when_it_is_sent() {
        let (mut known, here) = (Known::new(&Arc::default()), origin(80));
        let here = Place::new(&here, b"");
        known.find(b"a", &here);
        let text = [&b"date: "[..], &[b'x'; DATE], b"\r\n"].concat();
        known.keep(Answer::new(
            (b"a"[..].into(), &here),
            (text, 0, Some(6)),
            (StatusCode::OK, None),
            Standing::always(),
        ));
        let seen = known.find(b"a", &here);
        assert_eq!(message(&mut known, seen), Some([&b"date: "[..], &[b'0'; DATE], b"\r\n"].concat()));
    }
}
