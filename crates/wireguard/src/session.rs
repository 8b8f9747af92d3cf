//! One session's keys at work (5.4.6): sealing and opening packets where they lie, by as many threads as there are.
//!
//! A [`Sealer`] and an [`Opener`] are shared by [`std::sync::Arc`]; nothing is allocated or copied, and only the replay window is behind a lock.
//! What they do is noted in the path's [`Activity`], by which [`crate::Peer`] knows what its timers need. Both refuse by themselves what the limits of section 6.1 forbid.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

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

/// When packets of a path came and went. Nanoseconds; [`u64::MAX`] is never.
#[derive(Debug)]
pub struct Activity {
    /// Anything authenticated, in either direction.
    passed: AtomicU64,
    /// Anything authenticated that was received.
    received: AtomicU64,
    /// The first data that nothing was received after.
    waiting: AtomicU64,
    /// The first data received that nothing was sent after.
    owing: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Activity { passed: never(), received: never(), waiting: never(), owing: never() }
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

impl Activity {
    pub(crate) fn sent(&self, now: Time, data: bool) {
        self.passed.store(now.as_nanos(), Relaxed);
        clear(&self.owing);
        if data {
            first(&self.waiting, now);
        }
    }

    pub(crate) fn heard(&self, now: Time, data: bool) {
        self.passed.store(now.as_nanos(), Relaxed);
        self.received.store(now.as_nanos(), Relaxed);
        clear(&self.waiting);
        if data {
            first(&self.owing, now);
        }
    }

    /// Nothing is waited for any more: a handshake asks in its place.
    pub(crate) fn stop_waiting(&self) {
        clear(&self.waiting);
    }

    /// When anything authenticated last passed.
    pub fn passed(&self) -> Option<Time> {
        read(&self.passed)
    }

    /// When anything authenticated was last received: the path lived then.
    pub fn received(&self) -> Option<Time> {
        read(&self.received)
    }

    /// Since when data that was sent waits for a sign of life.
    pub fn waiting(&self) -> Option<Time> {
        read(&self.waiting)
    }

    /// Since when data that was received waits for one of ours.
    pub fn owing(&self) -> Option<Time> {
        read(&self.owing)
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
    counter: AtomicU64,
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
            counter: AtomicU64::new(0),
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
        // What is in the buffer is short enough for every sum below.
        let length = buffer.get(payload.clone()).ok_or(SealError::NoRoom)?.len();
        let padded = length.next_multiple_of(PADDING).min(mtu.max(length));
        let start = payload.start.checked_sub(HEADER).ok_or(SealError::NoRoom)?;
        let end = payload.start + padded + TAG;
        let datagram = buffer.get_mut(start..end).ok_or(SealError::NoRoom)?;
        let counter = self.take(now)?;
        let (header, rest) = datagram.split_at_mut(HEADER);
        let (text, tag) = rest.split_at_mut(padded);
        header.copy_from_slice(&Transport { receiver: self.remote, counter }.write());
        text.iter_mut().skip(length).for_each(|octet| *octet = 0);
        // The counter was taken by nobody else, so the nonce is this message's own.
        let sealed = self.key.seal_in_place_separate_tag(nonce(counter), Aad::empty(), text);
        tag.copy_from_slice(sealed.map_err(|_| SealError::NoRoom)?.as_ref());
        self.activity.sent(now, length > 0);
        let old = self.life.initiator && now.since(self.life.born) >= REKEY_AFTER_TIME;
        let rekey = self.life.ask(old || counter >= REKEY_AFTER_MESSAGES);
        Ok(Sealed { datagram: start..end, counter, rekey })
    }

    /// The next counter. Looked at before it is taken, so that no number of refused calls makes it wrap around: between the look and the taking there is at
    /// most one call a thread, and 2^13 numbers are left.
    fn take(&self, now: Time) -> Result<u64, SealError> {
        if self.life.over(now) || self.counter.load(Relaxed) >= REJECT_AFTER_MESSAGES {
            return Err(SealError::Expired);
        }
        let counter = self.counter.fetch_add(1, Relaxed);
        if counter < REJECT_AFTER_MESSAGES { Ok(counter) } else { Err(SealError::Expired) }
    }

    /// Messages sealed.
    pub fn sent(&self) -> u64 {
        self.counter.load(Relaxed)
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
        self.counter.store(counter, Relaxed);
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("remote", &self.remote).field("life", &self.life).finish_non_exhaustive()
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
    window: Mutex<Window>,
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
            window: Mutex::new(Window::default()),
            confirmed: AtomicBool::new(false),
            life: Life::new(born, initiator),
            activity,
        })
    }

    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a datagram where it lies.
    ///
    /// # Errors
    /// When it is not a new one of this session. What was forged is overwritten then, and nothing else has changed.
    pub fn open(&self, now: Time, datagram: &mut [u8]) -> Result<Opened, OpenError> {
        let Ok(Message::Transport(Transport { receiver, counter })) = Message::read(datagram) else {
            return Err(OpenError::NotOurs);
        };
        if receiver != self.local {
            return Err(OpenError::NotOurs);
        }
        if self.life.over(now) || counter >= REJECT_AFTER_MESSAGES {
            return Err(OpenError::Expired);
        }
        // A replay is told without the cost of decryption, and again after: two threads may hold the same one.
        self.window().check(counter)?;
        let sealed = datagram.get_mut(HEADER..).ok_or(OpenError::NotOurs)?;
        let text = self.key.open_in_place(nonce(counter), Aad::empty(), sealed).map_err(|_| OpenError::Forged)?;
        self.window().accept(counter)?;
        let (inner, length) = parse(text);
        self.activity.heard(now, inner != Inner::Keepalive);
        // (6.2) Who only receives makes new keys before these end, with time for one retry.
        let age = now.since(self.life.born) + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT;
        let rekey = self.life.ask(self.life.initiator && age >= REJECT_AFTER_TIME);
        let confirms = !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed);
        Ok(Opened { packet: HEADER..HEADER + length, inner, counter, confirms, rekey })
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
