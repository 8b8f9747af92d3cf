//! One session's keys at work (5.4.6): sealing and opening packets where they lie, by as many threads as there are.
//!
//! A [`Sealer`] and an [`Opener`] are shared by [`std::sync::Arc`]; nothing is allocated or copied, and only the replay window is behind a lock.
//! What goes or has come together is sealed and opened as a run: threads that have one session in common then write what they share once for all of it.
//! What they do is noted in the path's [`Activity`], by which [`crate::Peer`] knows what its timers need. Both refuse by themselves what the limits of section 6.1 forbid.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{Aad, LessSafeKey};
use outwork_engine::Time;

use crate::Index;
use crate::message::{HEADER, Message, TAG, Transport};
use crate::peer::{KEEPALIVE_TIMEOUT, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT};
use crate::primitives::{cipher, nonce};
use crate::window::{Stale, Window};

/// After so many messages the initiator makes new keys (6.1).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// No message has this counter, or a greater one (6.1).
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// What is sealed is filled up with zeroes to a multiple of this (5.4.6).
pub const PADDING: usize = 16;
/// Octets that a datagram has more than what is sealed in it.
pub const OVERHEAD: usize = HEADER + TAG;

/// On lines of a processor's cache that nothing else is on: what one thread writes does not take from others what they read.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Signs of life that are closer together than this are one: timers count in seconds, and a line that nobody writes is in every core's cache.
const FINE: Duration = Duration::from_millis(1);

/// When packets of a path came and went. Nanoseconds; [`u64::MAX`] is never.
#[derive(Debug)]
pub struct Activity {
    /// Anything that was sent, to within [`FINE`].
    sent: Apart<AtomicU64>,
    /// Anything authenticated that was received, to within [`FINE`].
    received: Apart<AtomicU64>,
    /// What both directions write, where it changes something.
    between: Apart<Between>,
}

#[derive(Debug)]
struct Between {
    /// The first data that nothing was received after.
    waiting: AtomicU64,
    /// The first data received that nothing was sent after.
    owing: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        let between = Between { waiting: never(), owing: never() };
        Activity { sent: Apart(never()), received: Apart(never()), between: Apart(between) }
    }
}

fn read(at: &AtomicU64) -> Option<Time> {
    Some(at.load(Relaxed)).filter(|nanos| *nanos != u64::MAX).map(Time::from_nanos)
}

/// Written only where it changes something: the line stays in every core's cache.
fn clear(at: &AtomicU64) {
    if at.load(Relaxed) != u64::MAX {
        at.store(u64::MAX, Relaxed);
    }
}

fn first(at: &AtomicU64, now: Time) {
    if at.load(Relaxed) == u64::MAX {
        at.store(now.as_nanos(), Relaxed);
    }
}

fn last(at: &AtomicU64, now: Time) {
    if read(at).is_none_or(|before| now >= before + FINE) {
        at.store(now.as_nanos(), Relaxed);
    }
}

impl Activity {
    pub(crate) fn sent(&self, now: Time, data: bool) {
        last(&self.sent.0, now);
        clear(&self.between.0.owing);
        if data {
            first(&self.between.0.waiting, now);
        }
    }

    pub(crate) fn heard(&self, now: Time, data: bool) {
        last(&self.received.0, now);
        clear(&self.between.0.waiting);
        if data {
            first(&self.between.0.owing, now);
        }
    }

    /// Nothing is waited for any more: a handshake asks in its place.
    pub(crate) fn stop_waiting(&self) {
        clear(&self.between.0.waiting);
    }

    /// When anything authenticated last passed.
    pub fn passed(&self) -> Option<Time> {
        read(&self.sent.0).max(read(&self.received.0))
    }

    /// When anything authenticated was last received: the path lived then.
    pub fn received(&self) -> Option<Time> {
        read(&self.received.0)
    }

    /// Since when data that was sent waits for a sign of life.
    pub fn waiting(&self) -> Option<Time> {
        read(&self.between.0.waiting)
    }

    /// Since when data that was received waits for one of ours.
    pub fn owing(&self) -> Option<Time> {
        read(&self.between.0.owing)
    }
}

/// Why nothing was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// The session is older than [`REJECT_AFTER_TIME`], or has sent all messages that it may.
    #[error("the session is at its end, and there is no newer one yet")]
    Expired,
    /// The buffer has no room for the header before the payload, or the padding and tag behind it.
    #[error("the buffer has no room around the payload")]
    NoRoom,
}

/// A datagram that was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Where it lies in the buffer.
    pub datagram: Range<usize>,
    /// Its number.
    pub counter: u64,
    /// New keys should be made: tell the peer. Said once a session.
    pub rekey: bool,
}

/// Seals what is sent.
pub struct Sealer {
    key: LessSafeKey,
    remote: Index,
    counter: Apart<AtomicU64>,
    life: Life,
    activity: Arc<Activity>,
}

/// What the two halves of a session have in common.
#[derive(Debug)]
struct Life {
    born: Time,
    /// Only who began the handshake begins the next one by age (6.2): else both would at once.
    initiator: bool,
    /// Whether a new handshake was asked for.
    rekey: AtomicBool,
}

impl Life {
    fn new(born: Time, initiator: bool) -> Life {
        Life { born, initiator, rekey: AtomicBool::new(false) }
    }

    /// Asks for new keys; true for who asks first.
    fn ask(&self, wanted: bool) -> bool {
        wanted && !self.rekey.load(Relaxed) && !self.rekey.swap(true, Relaxed)
    }

    fn over(&self, now: Time) -> bool {
        now.since(self.born) >= REJECT_AFTER_TIME
    }
}

impl Sealer {
    pub(crate) fn new(
        key: &[u8; 32],
        remote: Index,
        born: Time,
        initiator: bool,
        activity: Arc<Activity>,
    ) -> Option<Sealer> {
        Some(Sealer {
            key: cipher(key)?,
            remote,
            counter: Apart::default(),
            life: Life::new(born, initiator),
            activity,
        })
    }

    /// Seals `buffer[payload]` where it lies: 16 octets before it become the header, up to 15 behind it zeroes, and 16 more the tag.
    /// Padding does not make the packet longer than `mtu`, so that a full packet fits its path. An empty payload is a keepalive.
    ///
    /// # Errors
    /// When there is no room, or the session is over. The buffer is as it was.
    pub fn seal(&self, now: Time, buffer: &mut [u8], payload: Range<usize>, mtu: usize) -> Result<Sealed, SealError> {
        self.run(now, 1)?.seal(buffer, payload, mtu)
    }

    /// Takes numbers for `count` messages at once, all of which are sealed now. Those that are not used are given back, unless somebody has taken others meanwhile; then they are of nobody.
    ///
    /// # Errors
    /// When the session is over.
    pub fn run(&self, now: Time, count: usize) -> Result<Run<'_>, SealError> {
        let numbers = self.take(now, count as u64)?;
        let old = self.life.initiator && now.since(self.life.born) >= REKEY_AFTER_TIME;
        Ok(Run { sealer: self, now, numbers, old, passed: None })
    }

    /// The next counters. They are looked at and taken in one step, so that no number of calls makes them wrap around.
    fn take(&self, now: Time, count: u64) -> Result<Range<u64>, SealError> {
        let end = |first: u64| first.saturating_add(count.max(1)).min(REJECT_AFTER_MESSAGES);
        if self.life.over(now) {
            return Err(SealError::Expired);
        }
        let next = |first: u64| (first < REJECT_AFTER_MESSAGES).then(|| end(first));
        let first = self.counter.0.fetch_update(Relaxed, Relaxed, next).map_err(|_| SealError::Expired)?;
        Ok(first..end(first))
    }

    /// Messages sealed, those among them that a run has yet to seal.
    pub fn sent(&self) -> u64 {
        self.counter.0.load(Relaxed)
    }

    /// What the other end calls the session.
    pub fn remote(&self) -> Index {
        self.remote
    }

    pub(crate) fn wants_rekey(&self) -> bool {
        self.life.rekey.load(Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn set_counter(&self, counter: u64) {
        self.counter.0.store(counter, Relaxed);
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("remote", &self.remote).field("life", &self.life).finish_non_exhaustive()
    }
}

/// Seals messages that go together: what is common to them is done once.
#[derive(Debug)]
pub struct Run<'a> {
    sealer: &'a Sealer,
    now: Time,
    /// Those that nothing has been sealed with.
    numbers: Range<u64>,
    /// New keys should be made by age.
    old: bool,
    /// What was sealed: whether data was among it.
    passed: Option<bool>,
}

impl Run<'_> {
    /// As [`Sealer::seal`]; beyond those that there are numbers for, another is taken for each.
    ///
    /// # Errors
    /// As there.
    pub fn seal(&mut self, buffer: &mut [u8], payload: Range<usize>, mtu: usize) -> Result<Sealed, SealError> {
        // What is in the buffer is short enough for every sum below.
        let length = buffer.get(payload.clone()).ok_or(SealError::NoRoom)?.len();
        let padded = length.next_multiple_of(PADDING).min(mtu.max(length));
        let start = payload.start.checked_sub(HEADER).ok_or(SealError::NoRoom)?;
        let end = payload.start + padded + TAG;
        let datagram = buffer.get_mut(start..end).ok_or(SealError::NoRoom)?;
        let sealer = self.sealer;
        if self.numbers.is_empty() {
            self.numbers = sealer.take(self.now, 1)?;
        }
        let counter = self.numbers.next().ok_or(SealError::Expired)?;
        let (header, rest) = datagram.split_at_mut(HEADER);
        let (text, tag) = rest.split_at_mut(padded);
        header.copy_from_slice(&Transport { receiver: sealer.remote, counter }.write());
        text.iter_mut().skip(length).for_each(|octet| *octet = 0);
        // The counter was taken by nobody else, so the nonce is this message's own.
        let sealed = sealer.key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), text);
        tag.copy_from_slice(sealed.map_err(|_| SealError::NoRoom)?.as_ref());
        self.passed = Some(self.passed == Some(true) || length > 0);
        let rekey = sealer.life.ask(self.old || counter >= REKEY_AFTER_MESSAGES);
        Ok(Sealed { datagram: start..end, counter, rekey })
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(data) = self.passed {
            self.sealer.activity.sent(self.now, data);
        }
        if !self.numbers.is_empty() {
            let Range { start, end } = self.numbers;
            // Where others were taken behind them these stay unused: the other end takes them for lost ones.
            let _ = self.sealer.counter.0.compare_exchange(end, start, Relaxed, Relaxed);
        }
    }
}

/// Why a datagram was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// No transport message of this session.
    #[error("no transport message of this session")]
    NotOurs,
    /// The session is older than [`REJECT_AFTER_TIME`], or the counter greater than any may be.
    #[error("the session is at its end")]
    Expired,
    /// It was received before.
    #[error("received before")]
    Replayed,
    /// So far behind the newest that nobody knows.
    #[error("too far behind the newest to tell whether it was received before")]
    Behind,
    /// It was not sealed with this session's key, or was altered.
    #[error("forged or altered")]
    Forged,
}

impl From<Stale> for OpenError {
    fn from(stale: Stale) -> Self {
        match stale {
            Stale::Replayed => OpenError::Replayed,
            Stale::Behind => OpenError::Behind,
        }
    }
}

/// What a datagram had inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inner {
    /// Nothing: a keepalive.
    Keepalive,
    /// An IPv4 packet.
    V4,
    /// An IPv6 packet.
    V6,
    /// Something of version 0: between ourselves, padding included.
    Control,
    /// None of these, or an IP packet that says that it is longer than it is.
    Malformed,
}

/// A datagram that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Where the inner packet lies in the datagram, without padding.
    pub packet: Range<usize>,
    /// What it is.
    pub inner: Inner,
    /// Its number.
    pub counter: u64,
    /// The first of its session: the other end has the keys. Tell the peer ([`crate::peer::Input::Confirmed`]).
    pub confirms: bool,
    /// New keys should be made: tell the peer. Said once a session.
    pub rekey: bool,
}

/// Opens what is received.
pub struct Opener {
    key: LessSafeKey,
    local: Index,
    window: Apart<Mutex<Window>>,
    /// One more than the greatest counter in the window, or than a lesser one: what is not below this is new to it.
    next: AtomicU64,
    confirmed: AtomicBool,
    life: Life,
    activity: Arc<Activity>,
}

impl Opener {
    pub(crate) fn new(
        key: &[u8; 32],
        local: Index,
        born: Time,
        initiator: bool,
        activity: Arc<Activity>,
    ) -> Option<Opener> {
        Some(Opener {
            key: cipher(key)?,
            local,
            window: Apart::default(),
            next: AtomicU64::new(0),
            confirmed: AtomicBool::new(false),
            life: Life::new(born, initiator),
            activity,
        })
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a datagram where it lies.
    ///
    /// # Errors
    /// When it is not a new one of this session. What was forged is overwritten then, and nothing else has changed.
    pub fn open(&self, now: Time, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let mut opened = [const { None }];
        self.open_run(now, datagram, datagram.len(), &mut opened);
        let [opened] = opened;
        opened.unwrap_or(Err(OpenError::NotOurs))
    }

    /// Opens datagrams of `segment` octets each, which lie one behind the other in `octets` (the last may be shorter), up to the first that is no transport message of this
    /// session, and as many as `found` has places. Says of how many it wrote there what became of them, each as by [`Opener::open`].
    ///
    /// The window is asked and told of all of them at once.
    pub fn open_run(
        &self,
        now: Time,
        octets: &mut [u8],
        segment: usize,
        found: &mut [Option<Result<Opened, OpenError>>],
    ) -> usize {
        let segment = segment.max(1);
        let (over, next) = (self.life.over(now), self.next.load(Relaxed));
        let (mut count, mut window) = (0, None);
        for (datagram, found) in octets.chunks(segment).zip(found.iter_mut()) {
            let Ok(Message::Transport(Transport { receiver, counter })) = Message::read(datagram) else { break };
            if receiver != self.local {
                break;
            }
            // A replay is told without the cost of decryption, and again after: it may be in here twice, and other threads may hold it.
            let checked = match over || counter >= REJECT_AFTER_MESSAGES {
                true => Err(OpenError::Expired),
                false if counter >= next => Ok(()),
                false => window.get_or_insert_with(|| self.window()).check(counter).map_err(OpenError::from),
            };
            let opened = |()| Opened { packet: 0..0, inner: Inner::Keepalive, counter, confirms: false, rekey: false };
            (*found, count) = (Some(checked.map(opened)), count + 1);
        }
        drop(window);
        let found = found.get_mut(..count).unwrap_or_default();
        let mut any = false;
        for (datagram, slot) in octets.chunks_mut(segment).zip(found.iter_mut()) {
            let Some(Ok(opened)) = slot else { continue };
            let sealed = datagram.get_mut(HEADER..).unwrap_or_default();
            match self.key.open_in_place(nonce(opened.counter), Aad::empty(), sealed) {
                Ok(text) => {
                    let (inner, length) = parse(text);
                    (opened.inner, opened.packet, any) = (inner, HEADER..HEADER + length, true);
                }
                Err(_) => *slot = Some(Err(OpenError::Forged)),
            }
        }
        if any {
            self.accept(now, found);
        }
        count
    }

    /// Takes what was authentic, unless it came before, and notes that.
    fn accept(&self, now: Time, found: &mut [Option<Result<Opened, OpenError>>]) {
        let (mut first, mut data) = (None, false);
        let mut window = self.window();
        for (slot, place) in found.iter_mut().zip(0..) {
            let Some(Ok(opened)) = slot else { continue };
            match window.accept(opened.counter) {
                Ok(()) => {
                    first = first.or(Some(place));
                    data |= opened.inner != Inner::Keepalive;
                }
                Err(stale) => *slot = Some(Err(stale.into())),
            }
        }
        let next = window.next();
        drop(window);
        self.next.fetch_max(next, Relaxed);
        let Some(Some(Ok(first))) = first.and_then(|first: usize| found.get_mut(first)) else { return };
        self.activity.heard(now, data);
        // (6.2) Who only receives makes new keys before these end, with time for one retry.
        let age = now.since(self.life.born) + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT;
        first.rekey = self.life.ask(self.life.initiator && age >= REJECT_AFTER_TIME);
        first.confirms = !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed);
    }

    /// What we call the session.
    pub fn local(&self) -> Index {
        self.local
    }

    pub(crate) fn wants_rekey(&self) -> bool {
        self.life.rekey.load(Relaxed)
    }

    pub(crate) fn confirmed(&self) -> bool {
        self.confirmed.load(Relaxed)
    }

    pub(crate) fn ends(&self) -> Time {
        self.life.born + REJECT_AFTER_TIME
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("local", &self.local).field("life", &self.life).finish_non_exhaustive()
    }
}

/// What was sealed, and how long it is without its padding. The IP header says so.
fn parse(text: &[u8]) -> (Inner, usize) {
    let word = |at: usize| {
        text.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| usize::from(u16::from_be_bytes(*word)))
    };
    let (inner, least, length) = match text.first().map(|first| first >> 4) {
        None => return (Inner::Keepalive, 0),
        Some(0) => return (Inner::Control, text.len()),
        Some(4) => (Inner::V4, 20, word(2)),
        Some(6) => (Inner::V6, 40, 40 + word(4)),
        Some(_) => return (Inner::Malformed, text.len()),
    };
    if (least..=text.len()).contains(&length) { (inner, length) } else { (Inner::Malformed, text.len()) }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
