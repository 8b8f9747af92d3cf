//! Fetches under way: one asks the handler, and whoever asks for the same meanwhile gets what comes, while it comes where that is safe.
//!
//! The leader's content is gathered for the cache at the pace of the handler, and readers follow at theirs. Should it turn out larger than what is cached,
//! the leader alone goes on reading, and the fetch at its pace. Followers only read along where the length is known to fit; otherwise they wait for the end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use outwork_cache::Key;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::key::variant;
use super::serve::Held;
use super::stored::{Stored, Varies};
use crate::message::BodyError;

/// Requests that may wait for one fetch.
const FOLLOWERS: usize = 10_000;
/// Bytes that lie ready for the leader of a response that is too large to be cached.
const WINDOW: usize = 1 << 20;

/// All fetches under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    by_key: Mutex<HashMap<Key, Arc<Flight>>>,
}

/// What there is to do for a request.
pub(crate) enum Role {
    Lead(Lead),
    Follow(Follower),
    /// Too many wait already.
    Full,
}

/// A fetch.
#[derive(Debug)]
pub(crate) struct Flight {
    /// The key without what `Vary` names.
    primary: Key,
    state: Mutex<State>,
    changed: Notify,
    followers: AtomicUsize,
    /// What it brings was made invalid meanwhile.
    doomed: AtomicBool,
}

#[derive(Debug)]
struct State {
    head: Head,
    /// The content that somebody may still want, and the number of its first part.
    parts: VecDeque<Bytes>,
    first: usize,
    /// Bytes of it.
    bytes: usize,
    /// Only the leader reads on.
    relay: bool,
    leader: Leader,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    /// It has read up to this part.
    At(usize),
    Gone,
}

#[derive(Debug, Clone)]
enum Head {
    Waiting,
    /// It will be stored.
    Here(Arc<Announced>),
    /// It cannot be shared.
    Released,
}

#[derive(Debug, Clone)]
enum End {
    Whole(Held),
    /// It failed, or is too large.
    Cut(Arc<str>),
}

/// The head of a response that will be stored.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) stored: Arc<Stored>,
    pub(crate) key: Key,
    /// What it depends on.
    pub(crate) varies: Option<Arc<Varies>>,
    /// Its bytes, where they are known before.
    pub(crate) length: Option<u64>,
}

impl Flights {
    /// Leads the fetch of a key, or follows the one that is under way.
    pub(crate) fn join(self: &Arc<Self>, key: Key, primary: Key) -> Role {
        let mut by_key = self.by_key.lock();
        if let Some(flight) = by_key.get(&key) {
            if flight.followers.fetch_add(1, Ordering::Relaxed) >= FOLLOWERS {
                flight.followers.fetch_sub(1, Ordering::Relaxed);
                return Role::Full;
            }
            return Role::Follow(Follower(Arc::clone(flight)));
        }
        let flight = Arc::new(Flight {
            primary,
            state: Mutex::new(State {
                head: Head::Waiting,
                parts: VecDeque::new(),
                first: 0,
                bytes: 0,
                relay: false,
                leader: Leader::Gone,
                end: None,
            }),
            changed: Notify::new(),
            followers: AtomicUsize::new(0),
            doomed: AtomicBool::new(false),
        });
        by_key.insert(key, Arc::clone(&flight));
        Role::Lead(Lead { flights: Arc::clone(self), key, flight })
    }

    /// What is fetched for this key, or a variant of it, is not stored; and who asks from now on does not wait for it.
    pub(crate) fn doom(&self, primary: &Key) {
        self.by_key.lock().retain(|_, flight| {
            let hit = flight.primary == *primary;
            if hit {
                flight.doomed.store(true, Ordering::SeqCst);
            }
            !hit
        });
    }

    /// Who asks from now on waits for nothing that is under way.
    pub(crate) fn leave_alone(&self) {
        self.by_key.lock().clear();
    }
}

/// The duty to fetch. However it ends, nobody is left waiting.
#[derive(Debug)]
pub(crate) struct Lead {
    flights: Arc<Flights>,
    key: Key,
    flight: Arc<Flight>,
}

impl Lead {
    pub(crate) fn primary(&self) -> &Key {
        &self.flight.primary
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn is_doomed(&self) -> bool {
        self.flight.doomed.load(Ordering::SeqCst)
    }

    /// The head is there. The reader is the leader's, and where it `alone` may read, nobody else is told.
    pub(crate) fn announce(&self, announced: Arc<Announced>, alone: bool) -> Reader {
        let mut state = self.flight.state.lock();
        if !alone {
            state.head = Head::Here(announced);
        }
        state.leader = Leader::At(0);
        drop(state);
        self.flight.changed.notify_waiters();
        Reader { flight: Arc::clone(&self.flight), next: 0, leads: true }
    }

    /// More of the content. Where only the leader reads on, this waits for it; false where nobody wants more.
    pub(crate) async fn push(&self, part: Bytes) -> bool {
        {
            let mut state = self.flight.state.lock();
            state.bytes += part.len();
            state.parts.push_back(part);
            self.flight.changed.notify_waiters();
            if !state.relay {
                return true;
            }
        }
        loop {
            let mut changed = std::pin::pin!(self.flight.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.flight.state.lock();
                match state.leader {
                    Leader::Gone => return false,
                    Leader::At(_) if state.bytes <= WINDOW => return true,
                    Leader::At(_) => {}
                }
            }
            changed.await;
        }
    }

    /// It is too large: who waits is released, and the leader reads on alone. False where there is none.
    pub(crate) fn relay(&self) -> bool {
        self.leave();
        let mut state = self.flight.state.lock();
        state.relay = true;
        state.head = Head::Released;
        let read = match state.leader {
            Leader::At(read) => read,
            Leader::Gone => return false,
        };
        state.let_go(read);
        drop(state);
        self.flight.changed.notify_waiters();
        true
    }

    /// The end of a response that is not stored.
    pub(crate) fn cut(self, why: &str) {
        self.end(End::Cut(why.into()));
    }

    /// All of it is there.
    pub(crate) fn finish(self, held: Held) {
        self.end(End::Whole(held));
    }

    /// It cannot be shared: who waits goes on alone.
    pub(crate) fn release(self) {
        self.cut("released");
    }

    fn end(&self, end: End) {
        self.leave();
        let mut state = self.flight.state.lock();
        if matches!((&state.head, &end), (Head::Waiting, End::Cut(_))) {
            state.head = Head::Released;
        }
        state.end.get_or_insert(end);
        drop(state);
        self.flight.changed.notify_waiters();
    }

    /// Who comes from here on leads.
    fn leave(&self) {
        let mut by_key = self.flights.by_key.lock();
        if by_key.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            by_key.remove(&self.key);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(End::Cut("the fetch has ended early".into()));
    }
}

impl State {
    /// Lets go of the parts before this one.
    fn let_go(&mut self, next: usize) {
        while self.first < next {
            let Some(part) = self.parts.pop_front() else { break };
            self.first += 1;
            self.bytes -= part.len();
        }
    }
}

/// A place among those who wait.
#[derive(Debug)]
pub(crate) struct Follower(Arc<Flight>);

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What came for who waited.
pub(crate) enum Followed {
    Whole(Held),
    /// It is coming.
    Flowing(Arc<Announced>, Reader),
    /// It depends on a field that this request has otherwise.
    Other,
    /// It cannot be shared.
    Released,
}

impl Follower {
    /// What comes for a request with these fields. It reads along where the length is known, unless it needs `all` first.
    pub(crate) async fn follow(&self, fields: &HeaderMap, all: bool) -> Followed {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(followed) = self.look(fields, all) {
                return followed;
            }
            changed.await;
        }
    }

    fn look(&self, fields: &HeaderMap, all: bool) -> Option<Followed> {
        let state = self.0.state.lock();
        let fits = |varies: &Option<Arc<Varies>>, key: &Key| {
            varies.as_ref().is_none_or(|varies| variant(&self.0.primary, varies, fields) == *key)
        };
        match (&state.head, &state.end) {
            (_, Some(End::Whole(held))) => match fits(&held.varies, &held.key) {
                true => Some(Followed::Whole(held.clone())),
                false => Some(Followed::Other),
            },
            (Head::Released, _) | (_, Some(End::Cut(_))) => Some(Followed::Released),
            (Head::Waiting, None) => None,
            (Head::Here(announced), None) => match fits(&announced.varies, &announced.key) {
                false => Some(Followed::Other),
                true if all || announced.length.is_none() => None,
                true => {
                    let reader = Reader { flight: Arc::clone(&self.0), next: 0, leads: false };
                    Some(Followed::Flowing(Arc::clone(announced), reader))
                }
            },
        }
    }
}

/// Reads the content of a fetch.
#[derive(Debug)]
pub(crate) struct Reader {
    flight: Arc<Flight>,
    next: usize,
    leads: bool,
}

impl Reader {
    /// The next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let flight = Arc::clone(&self.flight);
        loop {
            let mut changed = std::pin::pin!(flight.changed.notified());
            changed.as_mut().enable();
            if let Some(next) = self.look() {
                return next;
            }
            changed.await;
        }
    }

    fn look(&mut self) -> Option<Option<Result<Bytes, BodyError>>> {
        let mut state = self.flight.state.lock();
        if let Some(part) = self.next.checked_sub(state.first).and_then(|at| state.parts.get(at)).cloned() {
            self.next += 1;
            if self.leads {
                state.leader = Leader::At(self.next);
            }
            if state.relay {
                state.let_go(self.next);
                self.flight.changed.notify_waiters();
            }
            return Some(Some(Ok(part)));
        }
        match &state.end {
            Some(End::Whole(_)) => Some(None),
            // Of what is relayed, this is the end.
            Some(End::Cut(why)) if &**why == RELAYED => Some(None),
            Some(End::Cut(why)) => Some(Some(Err(BodyError::Source(why.to_string().into())))),
            None => None,
        }
    }

    /// All of it, once it is stored; `None` where it is not.
    pub(crate) async fn whole(self) -> Option<Held> {
        loop {
            let mut changed = std::pin::pin!(self.flight.changed.notified());
            changed.as_mut().enable();
            {
                let state = self.flight.state.lock();
                match (&state.end, &state.head) {
                    (Some(End::Whole(held)), _) => return Some(held.clone()),
                    (Some(End::Cut(_)), _) | (None, Head::Released) => return None,
                    (None, _) => {}
                }
            }
            changed.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.leads {
            self.flight.state.lock().leader = Leader::Gone;
            self.flight.changed.notify_waiters();
        }
    }
}

/// Why a response that the leader has read to its end is not stored.
pub(crate) const RELAYED: &str = "relayed";

#[cfg(test)]
#[path = "flight_tests.rs"]
mod tests;
