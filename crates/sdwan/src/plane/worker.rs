//! A worker: one queue of the device, a socket of each uplink, both directions.

use std::sync::Arc;
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::poll::{self, Entry};
use outwork_net::tun::{Queue, ROOM};

use super::inbound::Inbound;
use super::join::Offload;
use super::outbound::{Outbound, Posts};
use super::shared::Shared;

/// Pieces that are taken from the device before what came has its turn.
const TURN: usize = 32;
/// How often what waits for a session is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a worker is away from what it cannot read for reasons of the machine.
const PAUSE: Duration = Duration::from_millis(100);

/// A worker.
pub struct Worker {
    number: usize,
    queue: Queue,
    posts: Posts,
    /// Of which [`super::lines::Lines::round`] those are.
    round: Option<u64>,
    /// The places of sockets that cannot be read for reasons of the machine, and until when they are left alone.
    resting: Vec<(usize, Time)>,
    shared: Arc<Shared>,
    outbound: Outbound,
    inbound: Inbound,
    piece: Box<[u8]>,
}

impl Worker {
    /// The worker of this number, whose queue takes `offload`.
    pub fn new(number: usize, queue: Queue, offload: Offload, shared: Arc<Shared>) -> Worker {
        let (outbound, inbound) = (Outbound::new(shared.seed, number), Inbound::new(offload));
        let (posts, round, resting) = Default::default();
        Worker { number, queue, posts, round, resting, shared, outbound, inbound, piece: vec![0; ROOM].into() }
    }

    /// Works until it is to stop.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            if let Err(error) = self.turn() {
                // The device is in a state that no waiting here mends; what can be read goes on.
                tracing::warn!(worker = self.number, %error, "packets of tunnels stand still for a moment");
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Waits, and does what there is.
    fn turn(&mut self) -> outwork_net::Result<()> {
        let shared = Arc::clone(&self.shared);
        let Some(waker) = shared.waker(self.number) else { return Ok(()) };
        self.look_for_sockets(&shared);
        let due = self.outbound.due().map(|due| due.since(shared.clock.now()));
        let rest = (!self.resting.is_empty()).then_some(PAUSE);
        let timeout = [self.outbound.waits().then_some(LOOK), due, rest].into_iter().flatten().min();
        let mut entries: Vec<Entry<'_>> = Vec::with_capacity(2 + self.posts.0.len());
        entries.extend([Entry::readable(waker), Entry::readable(&self.queue)]);
        // In the place of one that rests, something that is waited for anyway.
        let rests = |place: usize| self.resting.iter().any(|(resting, _)| *resting == place);
        entries.extend(self.posts.0.iter().enumerate().map(|(place, (_, socket))| match rests(place) {
            true => Entry::readable(waker),
            false => Entry::readable(&**socket),
        }));
        poll::wait(&mut entries, timeout)?;
        let (asked, mut is_empty) = (shared.knocked(), true);
        let ready = |place: usize, entries: &[Entry<'_>]| entries.get(place).is_some_and(Entry::is_readable);
        if ready(0, &entries) {
            waker.drain();
        }
        let device = ready(1, &entries);
        let posts: Vec<bool> = entries.iter().skip(2).map(Entry::is_readable).collect();
        let failed: Vec<bool> = entries.iter().skip(2).map(Entry::has_errors).collect();
        drop(entries);
        for (place, (((uplink, socket), is_ready), has_failed)) in
            self.posts.0.iter().zip(posts).zip(failed).enumerate()
        {
            if self.resting.iter().any(|(resting, _)| *resting == place) {
                is_empty = false;
                continue;
            }
            let mut done = if has_failed { self.inbound.failures(&shared, *uplink, socket) } else { Ok(()) };
            if is_ready {
                let rest = (&self.queue, &mut self.outbound);
                let received = self.inbound.receive(&shared, (*uplink, socket), &self.posts, rest);
                is_empty &= received.as_ref().is_ok_and(|is_empty| *is_empty);
                done = done.and(received.map(drop));
            }
            if let Err(error) = done {
                // What can be read elsewhere goes on.
                tracing::warn!(worker = self.number, uplink = uplink.0, %error, "a socket of an uplink is left alone for a moment");
                self.resting.push((place, shared.clock.now() + PAUSE));
                is_empty = false;
            }
        }
        if is_empty {
            shared.looked(self.number, asked);
        }
        if device {
            self.device(&shared)?;
        }
        let now = shared.clock.now();
        self.outbound.close(&shared, &self.posts, now);
        self.outbound.look_again(&shared, &self.posts, now);
        Ok(())
    }

    /// Takes the sockets that there are now.
    fn look_for_sockets(&mut self, shared: &Shared) {
        let round = Some(shared.lines.round());
        if self.round != round {
            // Before they are looked at: should they change meanwhile, they are looked at again.
            self.round = round;
            self.posts = shared.lines.posts(self.number);
            self.resting.clear();
        }
        if !self.resting.is_empty() {
            let now = shared.clock.now();
            self.resting.retain(|(_, until)| now < *until);
        }
    }

    /// Takes what the device has, for a while.
    fn device(&mut self, shared: &Shared) -> outwork_net::Result<()> {
        let now = shared.clock.now();
        for _ in 0..TURN {
            let Some(length) = self.queue.receive(&mut self.piece)? else { break };
            let piece = self.piece.get(..length).unwrap_or_default();
            self.outbound.piece(shared, &self.posts, &self.queue, now, piece);
        }
        self.outbound.flush(shared, &self.posts);
        Ok(())
    }
}
