//! Simulation for tests: many seeds, a clock that only the test moves, and a network that behaves badly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use crate::{Rng, Time};

/// The environment variable that replays one seed alone.
pub const SEED_VARIABLE: &str = "OUTWORK_SEED";

/// Runs `test` with the generators of `count` seeds. When one fails, its seed is printed, and `OUTWORK_SEED=<seed>` runs that one alone.
///
/// # Panics
/// When the test does, and when the variable is not a number.
#[allow(clippy::panic, clippy::print_stderr)] // Failing loudly is what a test harness is for.
pub fn seeds(count: u64, test: impl Fn(&mut Rng)) {
    let replayed = std::env::var(SEED_VARIABLE).ok().map(|text| match text.parse::<u64>() {
        Ok(seed) => seed,
        Err(error) => panic!("{SEED_VARIABLE}=`{text}` is not a seed: {error}"),
    });
    let range = replayed.map_or(0..count, |seed| seed..seed.saturating_add(1));
    for seed in range {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| test(&mut Rng::new(seed)))) {
            eprintln!("failed with seed {seed}; replay with {SEED_VARIABLE}={seed}");
            resume_unwind(cause);
        }
    }
}

/// How badly a link behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Probability that a message is lost.
    pub loss: f64,
    /// Probability that a message arrives twice.
    pub duplication: f64,
    /// The shortest time that a message takes.
    pub delay: Duration,
    /// By how much it may take longer; more than the time between two messages makes them overtake each other.
    pub jitter: Duration,
}

impl Quality {
    /// Nothing is lost, doubled or reordered; a message takes a millisecond.
    pub const PERFECT: Quality =
        Quality { loss: 0.0, duplication: 0.0, delay: Duration::from_millis(1), jitter: Duration::ZERO };
    /// A fifth is lost, a tenth doubled, and half a second of jitter.
    pub const BAD: Quality =
        Quality { loss: 0.2, duplication: 0.1, delay: Duration::from_millis(1), jitter: Duration::from_millis(500) };
}

/// A node of the simulated network, numbered by the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u32);

/// A message that arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<M> {
    /// Who sent it.
    pub from: Node,
    /// Who gets it.
    pub to: Node,
    /// What was sent.
    pub message: M,
}

/// What happens next in a [`World`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<M> {
    /// A message arrives.
    Arrival(Arrival<M>),
    /// The deadline that the test gave is reached.
    Deadline,
    /// Nothing is under way and there is no deadline.
    Quiet,
}

/// A virtual clock and a network under one seed.
#[derive(Debug)]
pub struct World<M> {
    now: Time,
    rng: Rng,
    quality: Quality,
    under_way: BinaryHeap<Reverse<Envelope<M>>>,
    sent: u64,
}

#[derive(Debug)]
struct Envelope<M> {
    at: Time,
    /// Settles ties in the order of sending, which keeps a run repeatable.
    order: u64,
    arrival: Arrival<M>,
}

impl<M> PartialEq for Envelope<M> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<M> Eq for Envelope<M> {}

impl<M> PartialOrd for Envelope<M> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Envelope<M> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

impl<M: Clone> World<M> {
    /// A world that starts at [`Time::ZERO`], its accidents drawn from a generator of its own split off `rng`.
    pub fn new(rng: &mut Rng, quality: Quality) -> Self {
        World { now: Time::ZERO, rng: Rng::new(rng.next_u64()), quality, under_way: BinaryHeap::new(), sent: 0 }
    }

    /// The virtual time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// Changes how the network behaves from here on.
    pub fn set_quality(&mut self, quality: Quality) {
        self.quality = quality;
    }

    /// Sends a message, which the network may lose or double.
    pub fn send(&mut self, from: Node, to: Node, message: M) {
        if self.rng.chance(self.quality.loss) {
            return;
        }
        if self.rng.chance(self.quality.duplication) {
            self.post(Arrival { from, to, message: message.clone() });
        }
        self.post(Arrival { from, to, message });
    }

    fn post(&mut self, arrival: Arrival<M>) {
        let jitter = self.rng.below(self.quality.jitter.as_nanos() as u64 + 1);
        let at = self.now + self.quality.delay + Duration::from_nanos(jitter);
        self.sent += 1;
        self.under_way.push(Reverse(Envelope { at, order: self.sent, arrival }));
    }

    /// Moves the clock to what comes first: the next arrival or `deadline`, the arrival when they coincide. The clock never goes back.
    pub fn step(&mut self, deadline: Option<Time>) -> Event<M> {
        let arrives = self.under_way.peek().map(|next| next.0.at);
        match (arrives, deadline) {
            (Some(at), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                self.now = self.now.max(at);
                match self.under_way.pop() {
                    Some(Reverse(envelope)) => Event::Arrival(envelope.arrival),
                    None => Event::Quiet,
                }
            }
            (_, Some(deadline)) => {
                self.now = self.now.max(deadline);
                Event::Deadline
            }
            (_, None) => Event::Quiet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(rng: &mut Rng, quality: Quality, messages: u32) -> Vec<u32> {
        let mut world = World::new(rng, quality);
        for message in 0..messages {
            world.send(Node(1), Node(2), message);
        }
        let mut received = Vec::new();
        while let Event::Arrival(arrival) = world.step(None) {
            assert_eq!((arrival.from, arrival.to), (Node(1), Node(2)));
            received.push(arrival.message);
        }
        received
    }

    #[test]
    fn a_perfect_link_delivers_everything_once_and_in_order() {
        seeds(5, |rng| assert_eq!(received(rng, Quality::PERFECT, 100), (0..100).collect::<Vec<_>>()));
    }

    #[test]
    fn a_bad_link_loses_doubles_and_reorders() {
        seeds(20, |rng| {
            let got = received(rng, Quality::BAD, 1000);
            let mut distinct = got.clone();
            distinct.sort_unstable();
            let (sorted, total) = (distinct.clone(), got.len());
            distinct.dedup();
            assert!((650..950).contains(&distinct.len()), "lost: {}", 1000 - distinct.len());
            assert!(total > distinct.len(), "none doubled");
            assert_ne!(got, sorted, "none overtaken");
        });
    }

    #[test]
    fn the_same_seed_gives_the_same_world() {
        let run = |seed| received(&mut Rng::new(seed), Quality::BAD, 200);
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
    }

    #[test]
    fn the_clock_moves_to_the_earlier_of_arrival_and_deadline() {
        let mut world = World::new(&mut Rng::new(1), Quality::PERFECT);
        world.send(Node(1), Node(2), "hello");
        assert_eq!(world.step(Some(Time::from_nanos(10))), Event::Deadline);
        assert_eq!(world.now(), Time::from_nanos(10));
        assert!(matches!(world.step(Some(Time::from_secs(1))), Event::Arrival(_)));
        assert_eq!(world.now(), Time::from_millis(1));
        assert_eq!(world.step(Some(Time::ZERO)), Event::Deadline);
        assert_eq!(world.now(), Time::from_millis(1), "a deadline in the past does not turn the clock back");
        assert_eq!(world.step(None), Event::Quiet);
    }

    #[test]
    fn a_failing_seed_stops_the_run_with_its_own_panic() {
        let tried = std::cell::RefCell::new(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            seeds(10, |_| {
                *tried.borrow_mut() += 1;
                assert!(*tried.borrow() < 3, "the third");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(*tried.borrow(), 3);
    }
}
