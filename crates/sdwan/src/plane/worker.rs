//! A worker: one queue of the device, a socket of each uplink, both directions.

use std::sync::Arc;
use std::time::Duration;

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
    shared: Arc<Shared>,
    outbound: Outbound,
    inbound: Inbound,
    piece: Box<[u8]>,
}

impl Worker {
    /// The worker of this number, whose queue takes `offload`.
    pub fn new(number: usize, queue: Queue, posts: Posts, offload: Offload, shared: Arc<Shared>) -> Worker {
        let (outbound, inbound) = (Outbound::new(shared.seed, number), Inbound::new(offload));
        Worker { number, queue, posts, shared, outbound, inbound, piece: vec![0; ROOM].into() }
    }

    /// Works until it is to stop.
    pub fn run(mut self) {
        while !self.shared.is_stopping() {
            if let Err(error) = self.turn() {
                // The device or a socket is in a state that no waiting here mends; what can be read goes on.
                tracing::warn!(worker = self.number, %error, "packets of tunnels stand still for a moment");
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Waits, and does what there is. No allocation, but for what is told to control and what waits for a session.
    ///
    /// # Errors
    /// What the kernel says of the queue or of a socket.
    pub fn turn(&mut self) -> outwork_net::Result<()> {
        let Worker { number, queue, posts, shared, outbound, inbound, piece } = self;
        let (queue, posts, shared): (&Queue, &Posts, &Shared) = (queue, posts, shared);
        let Some(waker) = shared.waker(*number) else { return Ok(()) };
        let due = outbound.due().map(|due| due.since(shared.clock.now()));
        let timeout = [outbound.waits().then_some(LOOK), due].into_iter().flatten().min();
        let mut entries = [const { Entry::NOTHING }; poll::MAX_ENTRIES];
        let sources = [Entry::readable(waker), Entry::readable(queue)].into_iter();
        let sources = sources.chain(posts.0.iter().map(|(_, socket)| Entry::readable(&**socket)));
        let mut count = 0;
        for (slot, source) in entries.iter_mut().zip(sources) {
            (*slot, count) = (source, count + 1);
        }
        poll::wait(entries.get_mut(..count).unwrap_or_default(), timeout)?;
        let [woken, device, sockets @ ..] = &entries;
        if woken.is_readable() {
            waker.drain();
        }
        for ((uplink, socket), entry) in posts.0.iter().zip(sockets) {
            if entry.has_errors() {
                inbound.failures(shared, *uplink, socket)?;
            }
            if entry.is_readable() {
                inbound.receive(shared, (*uplink, socket), posts, (queue, outbound))?;
            }
        }
        // What has waited goes before what the device has now.
        outbound.look_again(shared, posts, queue, shared.clock.now());
        if device.is_readable() {
            take((shared, posts), queue, outbound, piece)?;
        }
        outbound.close(shared, posts, shared.clock.now());
        Ok(())
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
