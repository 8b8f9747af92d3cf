//! Fetches under way: who asks for what another is fetching already waits for that one (request coalescing).
//!
//! The first is the leader. It may hand what it fetched to those who wait, or only tell them that it is through. A leader that is dropped,
//! for whatever reason, leaves nobody waiting: the others are told that nothing came, and join again, and the first of them leads.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use outwork_telemetry::Counter;
use parking_lot::Mutex;
use slab::Slab;

use crate::entry::Key;

/// A key is a hash already.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.0 = self.0.rotate_left(5) ^ u64::from_le_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    /// Of an array, its length comes first.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A map by key.
pub(crate) type KeyMap<T> = HashMap<Key, T, BuildHasherDefault<AsIs>>;

const SHARDS: usize = 16;

type Shards<T> = Arc<[Mutex<KeyMap<Arc<Mutex<Flight<T>>>>>]>;

/// The fetches under way. `T` is what a leader hands over.
#[derive(Debug)]
pub struct Flights<T = ()> {
    shards: Shards<T>,
    followers: usize,
    alone: Counter,
}

#[derive(Debug)]
struct Flight<T> {
    /// What came, once it is over.
    landed: Option<Option<T>>,
    /// Who waits; `None` until first asked.
    waiting: Slab<Option<Waker>>,
}

/// What there is to do for whoever wants something.
#[derive(Debug)]
pub enum Role<T = ()> {
    /// Fetch it.
    Lead(LeadGuard<T>),
    /// Wait for it.
    Follow(Follower<T>),
}

/// The duty to fetch. However it ends, those who wait are told.
#[derive(Debug)]
pub struct LeadGuard<T = ()> {
    /// `None` where as many wait already as may: then nobody waits for this one.
    flight: Option<(Key, Arc<Mutex<Flight<T>>>)>,
    shards: Shards<T>,
}

/// A wait for what another fetches: what the leader handed over, or `None` when it ended without.
#[derive(Debug)]
pub struct Follower<T = ()> {
    flight: Arc<Mutex<Flight<T>>>,
    place: usize,
}

impl<T: Clone> Flights<T> {
    /// None under way. So many may wait for one leader; who comes beyond them fetches for itself.
    pub fn new(followers: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), followers, alone: Counter::default() }
    }

    /// Leads the fetch of a key, or follows the one under way.
    pub fn join(&self, key: Key) -> Role<T> {
        let mut shard = shard(&self.shards, &key).lock();
        if let Some(flight) = shard.get(&key) {
            let mut state = flight.lock();
            if state.waiting.len() >= self.followers {
                self.alone.inc();
                return Role::Lead(LeadGuard { flight: None, shards: Arc::clone(&self.shards) });
            }
            let place = state.waiting.insert(None);
            return Role::Follow(Follower { flight: Arc::clone(flight), place });
        }
        let flight = Arc::new(Mutex::new(Flight { landed: None, waiting: Slab::new() }));
        shard.insert(key, Arc::clone(&flight));
        Role::Lead(LeadGuard { flight: Some((key, flight)), shards: Arc::clone(&self.shards) })
    }

    /// How many fetched for themselves because as many waited as may.
    pub fn alone(&self) -> u64 {
        self.alone.get()
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// There are 16, and a remainder is below that.
fn shard<'a, M>(shards: &'a Arc<[M]>, key: &Key) -> &'a M {
    &shards[key.high() as usize % SHARDS]
}

impl<T> LeadGuard<T> {
    /// Hands over what came, to everyone who waits.
    pub fn land(mut self, what: T) {
        self.end(Some(what));
    }

    /// Whether somebody waits: bytes that nobody waits for need not be gathered.
    pub fn followed(&self) -> bool {
        self.flight.as_ref().is_some_and(|(_, flight)| !flight.lock().waiting.is_empty())
    }

    fn end(&mut self, what: Option<T>) {
        let Some((key, flight)) = self.flight.take() else { return };
        // Who joins from here on leads.
        shard(&self.shards, &key).lock().remove(&key);
        let wakers: Vec<_> = {
            let mut flight = flight.lock();
            flight.landed = Some(what);
            flight.waiting.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for LeadGuard<T> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl<T: Clone> Future for Follower<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let place = self.place;
        let mut flight = self.flight.lock();
        if let Some(landed) = &flight.landed {
            return Poll::Ready(landed.clone());
        }
        if let Some(waker) = flight.waiting.get_mut(place) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        Poll::Pending
    }
}

impl<T> Drop for Follower<T> {
    fn drop(&mut self) {
        // Its place is its own.
        self.flight.lock().waiting.try_remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key::from_bytes([1; 16]);

    fn lead<T: Clone>(flights: &Flights<T>) -> LeadGuard<T> {
        match flights.join(KEY) {
            Role::Lead(guard) => guard,
            Role::Follow(_) => panic!("somebody leads already"),
        }
    }

    fn follow<T: Clone>(flights: &Flights<T>) -> Follower<T> {
        match flights.join(KEY) {
            Role::Follow(follower) => follower,
            Role::Lead(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn who_comes_second_waits_for_the_first_and_gets_what_it_fetched() {
        let flights = Flights::new(10);
        let leader = lead(&flights);
        assert!(!leader.followed());
        let followers = [follow(&flights), follow(&flights)];
        assert!(leader.followed());
        assert!(matches!(flights.join(Key::from_bytes([2; 16])), Role::Lead(_)), "another key is another fetch");
        leader.land("body");
        for follower in followers {
            assert_eq!(follower.await, Some("body"));
        }
        lead(&flights);
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_leaves_its_place_to_one_of_those_who_wait() {
        let flights = Flights::<()>::new(10);
        let leader = lead(&flights);
        let (first, second) = (follow(&flights), follow(&flights));
        drop(leader);
        assert_eq!(first.await, None);
        let leader = lead(&flights);
        assert_eq!(second.await, None, "told though another leads by now");
        let second = follow(&flights);
        leader.land(());
        assert_eq!(second.await, Some(()));
    }

    #[tokio::test]
    async fn no_more_wait_than_may_and_who_gives_up_makes_room() {
        let flights = Flights::new(2);
        let leader = lead(&flights);
        let (first, second) = (follow(&flights), follow(&flights));
        let alone = lead(&flights);
        assert!(!alone.followed() && flights.alone() == 1);
        alone.land("its own");
        drop(first);
        let third = follow(&flights);
        leader.land("the leader's");
        assert_eq!((second.await, third.await), (Some("the leader's"), Some("the leader's")));
        assert!(flights.is_empty());
    }

    #[test]
    fn those_who_wait_may_be_on_any_thread() {
        let flights = Arc::new(Flights::new(100));
        let leader = lead(&flights);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let follower = follow(&flights);
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    runtime.block_on(follower)
                })
            })
            .collect();
        leader.land(7);
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == Some(7)));
    }

    #[tokio::test]
    async fn one_of_many_at_once_leads() {
        let flights = Arc::new(Flights::new(1000));
        let start = Arc::new(std::sync::Barrier::new(8));
        let (mut leaders, mut followers) = (vec![], vec![]);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (flights, start) = (Arc::clone(&flights), Arc::clone(&start));
                std::thread::spawn(move || {
                    start.wait();
                    flights.join(KEY)
                })
            })
            .collect();
        for thread in threads {
            match thread.join().unwrap() {
                Role::Lead(guard) => leaders.push(guard),
                Role::Follow(follower) => followers.push(follower),
            }
        }
        assert_eq!((leaders.len(), followers.len()), (1, 7));
        leaders.into_iter().for_each(|leader| leader.land(()));
        for follower in followers {
            assert_eq!(follower.await, Some(()));
        }
    }
}
