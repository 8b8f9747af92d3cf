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

/// Sockets that a worker waits at, at most: it waits for its queue and to be woken as well.
pub const SOCKETS: usize = poll::MAX_ENTRIES - 2;
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
    /// The last question of [`Shared::knock`] that was answered.
    answered: u64,
    shared: Arc<Shared>,
    outbound: Outbound,
    inbound: Inbound,
    piece: Box<[u8]>,
}

impl Worker {
    /// The worker of this number, whose queue takes `offload`.
    pub fn new(number: usize, queue: Queue, offload: Offload, shared: Arc<Shared>) -> Worker {
        let (outbound, inbound) = (Outbound::new(shared.seed, number), Inbound::new(offload));
        let (posts, round, resting, piece) = (Posts::default(), None, vec![], vec![0; ROOM].into());
        Worker { number, queue, posts, round, resting, answered: 0, shared, outbound, inbound, piece }
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

    /// Waits, and does what there is. No allocation, but where sockets are others or cannot be read, for what is told to control, and for what waits for a session.
    ///
    /// # Errors
    /// What the kernel says of the queue.
    pub fn turn(&mut self) -> outwork_net::Result<()> {
        self.look_for_sockets();
        let Worker { number, queue, posts, resting, answered, shared, outbound, inbound, piece, .. } = self;
        let (queue, posts, shared): (&Queue, &Posts, &Shared) = (queue, posts, shared);
        let Some(waker) = shared.waker(*number) else { return Ok(()) };
        let due = outbound.due().map(|due| due.since(shared.clock.now()));
        let rest = (!resting.is_empty()).then_some(PAUSE);
        // Before sockets are looked at: what comes between that look and a question would be missed by the answer. One that comes later ends the wait, and is of the next turn.
        let asked = shared.knocked();
        let question = (asked != *answered).then_some(Duration::ZERO);
        let timeout = [outbound.waits().then_some(LOOK), due, rest, question].into_iter().flatten().min();
        let mut entries = [const { Entry::NOTHING }; poll::MAX_ENTRIES];
        let rests = |place: usize| resting.iter().any(|(resting, _)| *resting == place);
        let sockets = posts.0.iter().enumerate().map(|(place, (_, socket))| match rests(place) {
            true => Entry::NOTHING,
            false => Entry::readable(&**socket),
        });
        let sources = [Entry::readable(waker), Entry::readable(queue)].into_iter().chain(sockets);
        let mut count = 0;
        for (slot, source) in entries.iter_mut().zip(sources) {
            (*slot, count) = (source, count + 1);
        }
        poll::wait(entries.get_mut(..count).unwrap_or_default(), timeout)?;
        // What lies in a socket that rests is not known.
        let mut is_empty = resting.is_empty();
        let [woken, device, sockets @ ..] = &entries;
        if woken.is_readable() {
            waker.drain();
        }
        for (place, ((uplink, socket), entry)) in posts.0.iter().zip(sockets).enumerate() {
            let mut done = if entry.has_errors() { inbound.failures(shared, *uplink, socket) } else { Ok(()) };
            if entry.is_readable() {
                let received = inbound.receive(shared, (*uplink, socket), posts, (queue, outbound));
                is_empty &= received.as_ref().is_ok_and(|is_empty| *is_empty);
                done = done.and(received.map(drop));
            }
            if let Err(error) = done {
                // What can be read elsewhere goes on.
                tracing::warn!(worker = *number, uplink = uplink.0, %error, "a socket of an uplink is left alone for a moment");
                resting.push((place, shared.clock.now() + PAUSE));
                is_empty = false;
            }
        }
        if is_empty {
            *answered = asked;
            shared.looked(*number, asked);
        }
        // What has waited goes before what the device has now.
        outbound.look_again(shared, posts, queue, shared.clock.now());
        if device.is_readable() {
            take((shared, posts), queue, outbound, piece)?;
        }
        outbound.close(shared, posts, shared.clock.now());
        Ok(())
    }

    /// Takes the sockets that there are now.
    fn look_for_sockets(&mut self) {
        let round = Some(self.shared.lines.round());
        if self.round != round {
            // Before they are looked at: should they change meanwhile, they are looked at again.
            self.round = round;
            self.posts = self.shared.lines.posts(self.number);
            self.resting.clear();
        }
        if !self.resting.is_empty() {
            let now = self.shared.clock.now();
            self.resting.retain(|(_, until)| now < *until);
        }
    }
}

/// Takes what the device has, for a while.
fn take(
    (shared, posts): (&Shared, &Posts),
    queue: &Queue,
    outbound: &mut Outbound,
    piece: &mut [u8],
) -> outwork_net::Result<()> {
    let now = shared.clock.now();
    for _ in 0..TURN {
        let Some(length) = queue.receive(piece)? else { break };
        outbound.piece(shared, posts, queue, now, piece.get(..length).unwrap_or_default());
    }
    outbound.flush(shared, posts);
    Ok(())
}
