//! Answers that wait for the disk: first in, first out, bounded, their buffers used again.

use super::port::Way;
use crate::metrics::ReplyType;
use outwork_store::log::Lsn;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long an answer waits at most. Its client has asked again by then (RFC 2131 section 4.1: after 4, 8 and 16 seconds).
const PATIENCE: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Debug)]
pub(super) struct Parked {
    lsn: Lsn,
    since: Instant,
    pub(super) received: Instant,
    pub(super) kind: ReplyType,
    pub(super) way: Way,
    pub(super) bytes: Vec<u8>,
}

/// What the front of the queue may do.
#[derive(Debug)]
pub(super) enum Next {
    /// Leave; it waited so long.
    Ready(Parked, Duration),
    /// Be dropped: it waited too long.
    Late(Parked),
}

/// The queue of one worker.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Parked>,
    spare: Vec<Vec<u8>>,
    capacity: usize,
    /// Memory of the buffers in both.
    buffers: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), spare: Vec::new(), capacity, buffers: 0 }
    }

    /// Answers that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Answers that may be added.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.waiting.len())
    }

    /// An empty buffer for the next answer.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        let spare = self.spare.pop().inspect(|spare| self.buffers -= spare.capacity());
        spare.unwrap_or_else(|| Vec::with_capacity(576))
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < self.capacity {
            self.buffers += buffer.capacity();
            self.spare.push(buffer);
        }
    }

    /// Adds an answer that waits for `lsn`. Numbers never go back: they are given out under the engine's lock, which a
    /// worker takes once a batch.
    pub(super) fn push(&mut self, lsn: Lsn, received: Instant, kind: ReplyType, way: Way, bytes: Vec<u8>) {
        self.buffers += bytes.capacity();
        self.waiting.push_back(Parked { lsn, since: Instant::now(), received, kind, way, bytes });
    }

    /// Takes the next answer that need not wait any more.
    pub(super) fn next(&mut self, durable: Lsn, now: Instant) -> Option<Next> {
        let front = self.waiting.front()?;
        let waited = now.saturating_duration_since(front.since);
        if front.lsn <= durable {
            self.pop().map(|parked| Next::Ready(parked, waited))
        } else if waited >= PATIENCE {
            self.pop().map(Next::Late)
        } else {
            None
        }
    }

    fn pop(&mut self) -> Option<Parked> {
        self.waiting.pop_front().inspect(|parked| self.buffers -= parked.bytes.capacity())
    }

    /// Bytes of memory behind it.
    pub(super) fn memory(&self) -> usize {
        self.buffers + self.waiting.capacity() * size_of::<Parked>() + self.spare.capacity() * size_of::<Vec<u8>>()
    }

    /// True if the front need not wait for the disk any more.
    pub(super) fn is_ready(&self, durable: Lsn) -> bool {
        self.waiting.front().is_some_and(|front| front.lsn <= durable)
    }

    /// How long until the front has waited too long.
    pub(super) fn patience(&self, now: Instant) -> Option<Duration> {
        self.waiting.front().map(|front| PATIENCE.saturating_sub(now.saturating_duration_since(front.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outwork_net::udp::Path;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn queue(lsns: &[u64]) -> Queue {
        let mut queue = Queue::new(4);
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 67);
        let way = Way::Udp { port: 0, path: Path { to, from: Ipv4Addr::UNSPECIFIED, interface: 0 } };
        for lsn in lsns {
            let bytes = queue.buffer();
            queue.push(Lsn(*lsn), Instant::now(), ReplyType::Ack, way, bytes);
        }
        queue
    }

    #[test]
    fn answers_leave_in_order_as_their_records_become_durable() {
        let (mut queue, now) = (queue(&[3, 3, 5]), Instant::now());
        assert!(queue.next(Lsn(2), now).is_none());
        for _ in 0..2 {
            assert!(matches!(queue.next(Lsn(4), now), Some(Next::Ready(parked, _)) if parked.lsn == Lsn(3)));
        }
        assert!(queue.next(Lsn(4), now).is_none());
        assert_eq!((queue.len(), queue.room()), (1, 3));
    }

    #[test]
    fn the_memory_of_buffers_is_counted_while_they_wait_and_while_they_are_kept() {
        let mut queue = queue(&[1, 2]);
        let own = |queue: &Queue| {
            let waiting: usize = queue.waiting.iter().map(|parked| parked.bytes.capacity()).sum();
            waiting + queue.spare.iter().map(Vec::capacity).sum::<usize>()
        };
        assert!(queue.memory() > 2 * 576 && queue.buffers == own(&queue));
        let Some(Next::Ready(parked, _)) = queue.next(Lsn(1), Instant::now()) else { panic!("it is durable") };
        assert_eq!(queue.buffers, own(&queue));
        queue.recycle(parked.bytes);
        assert_eq!(queue.buffers, own(&queue));
        let mut buffer = queue.buffer();
        buffer.reserve(5000);
        queue.recycle(buffer);
        assert!(queue.buffers == own(&queue) && queue.buffers > 5000, "one that grew is counted as it is");
    }

    #[test]
    fn an_answer_whose_client_has_given_up_is_let_go() {
        let mut queue = queue(&[1, 2]);
        let later = Instant::now() + PATIENCE;
        assert!(matches!(queue.next(Lsn(1), later), Some(Next::Ready(..))), "what is durable still leaves");
        assert!(matches!(queue.next(Lsn(1), later), Some(Next::Late(_))));
        assert!(queue.patience(later).is_none());
    }
}
