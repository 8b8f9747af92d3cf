//! Batches of messages, and runs of UDP datagrams that pass through the kernel as one (`UDP_SEGMENT`, see `udp(7)`).

use std::io;
use std::os::fd::BorrowedFd;

use super::address::{self, Address};
use super::message::{self, Controls, Message, Slot};
use crate::{Refused, SendReport};

/// Messages a system call. The headers for so many are laid out on the stack for each call.
const CHUNK: usize = 64;
/// Datagrams of a run, and octets of all of them: what every kernel that knows runs takes as one.
const RUN: usize = 64;
const RUN_OCTETS: usize = 60_000;
/// Octets of the longest datagram of a run. One that a link would have to fragment can't be part of any.
const RUN_DATAGRAM: usize = 1400;

/// Room for a batch of received messages.
pub(crate) struct Inbox {
    slots: Box<[Slot]>,
    bytes: Box<[u8]>,
    size: usize,
    received: usize,
}

/// A received message.
pub(crate) struct Received<'a> {
    /// As much of it as there was room for.
    pub(crate) payload: &'a [u8],
    /// The sender's socket address.
    pub(crate) address: &'a [u8; address::LENGTH],
    /// Control messages.
    pub(crate) control: &'a [u8],
    /// Whether it was longer than the room for it.
    pub(crate) truncated: bool,
}

impl Inbox {
    /// Room for `messages` of at most `size` octets each; at least one of each.
    pub(crate) fn new(messages: usize, size: usize) -> Inbox {
        let (messages, size) = (messages.max(1), size.max(1));
        Inbox {
            slots: vec![Slot::EMPTY; messages].into(),
            bytes: vec![0; messages.saturating_mul(size)].into(),
            size,
            received: 0,
        }
    }

    /// The messages of the last batch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.slots.iter().zip(self.bytes.chunks(self.size)).take(self.received).map(|(slot, bytes)| Received {
            payload: bytes.get(..slot.length).unwrap_or(bytes),
            address: &slot.address,
            control: slot.control(),
            truncated: slot.truncated,
        })
    }

    /// Replaces the batch by what waits in the socket, without blocking. Says how many messages that is.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        while self.received < self.slots.len() {
            let slots = self.slots.get_mut(self.received..).unwrap_or_default();
            let bytes = self.bytes.get_mut(self.received * self.size..).unwrap_or_default();
            let wanted = slots.len().min(CHUNK);
            match message::receive::<CHUNK>(fd, slots, bytes.chunks_mut(self.size), 0) {
                Ok(count) => {
                    self.received += count;
                    if count < wanted {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The messages at hand are delivered; an error that lasts comes again with the next call.
                Err(_) if self.received > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.received)
    }
}

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The socket address; none when the socket itself knows.
    pub(crate) address: Address,
    /// Control messages; none, or where it comes from (`in_pktinfo`).
    pub(crate) control: Controls<32>,
}

/// Messages that wait to be sent, their payloads one after the other in one buffer.
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    messages: Vec<(Envelope, std::ops::Range<usize>)>,
    capacity: usize,
    /// Messages already dealt with, at the front.
    done: usize,
}

impl Outbox {
    /// An empty outbox for at most `capacity` messages.
    pub(crate) fn new(capacity: usize) -> Outbox {
        Outbox { bytes: Vec::new(), messages: Vec::with_capacity(capacity), capacity, done: 0 }
    }

    /// Adds a message that `write` appends to the buffer it is given.
    pub(crate) fn push<E>(
        &mut self,
        envelope: Envelope,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), Refused<E>> {
        if self.messages.len() >= self.capacity {
            return Err(Refused::Full);
        }
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        match written {
            Ok(()) => self.messages.push((envelope, start..self.bytes.len())),
            Err(error) => {
                self.bytes.truncate(start);
                return Err(Refused::Message(error));
            }
        }
        Ok(())
    }

    /// Messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() - self.done
    }

    /// Sends without blocking. Messages that the kernel refuses are dropped and reported; when the socket is full the rest stays.
    /// With `runs`, for UDP: neighbours of the same way and length leave as one.
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, mut runs: bool) -> SendReport {
        let mut report = SendReport::default();
        while let Some(waiting) = self.messages.get(self.done..).filter(|waiting| !waiting.is_empty()) {
            match send_chunk(fd, waiting, &self.bytes, runs) {
                Ok(count) => {
                    report.sent += count;
                    self.done += count;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        report.blocked = true;
                        return report;
                    }
                    Some(libc::EINTR) => {}
                    // The device can't do runs, or the datagrams are too long for the way: one by one, then.
                    Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE | libc::EOPNOTSUPP) if runs => runs = false,
                    code => {
                        // The error is that of the first message of the chunk, and of those that would have left with it.
                        let refused = if runs { run(waiting) } else { 1 };
                        let counter =
                            if code == Some(libc::ENOBUFS) { &mut report.no_buffers } else { &mut report.failed };
                        *counter += refused;
                        let dealt_with = report.sent + report.refused.len();
                        let places = dealt_with..dealt_with + refused;
                        report.refused.extend(places.map(|place| (place, code.unwrap_or_default())));
                        report.last_error = Some(error);
                        self.done += refused;
                    }
                },
            }
        }
        self.clear();
        report
    }

    /// Drops every message.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.messages.clear();
        self.done = 0;
    }
}

/// A message that waits, and where its payload lies.
type Waiting = (Envelope, std::ops::Range<usize>);

/// How many messages at the front may leave as one: same way, same length, but for the last which may be shorter.
fn run(messages: &[Waiting]) -> usize {
    let Some((envelope, first)) = messages.first().filter(|(_, range)| (1..=RUN_DATAGRAM).contains(&range.len()))
    else {
        return messages.len().min(1);
    };
    let mut count = 1;
    for (other, range) in messages.iter().take(RUN).skip(1) {
        let fits =
            other == envelope && (1..=first.len()).contains(&range.len()) && range.end - first.start <= RUN_OCTETS;
        if !fits {
            break;
        }
        count += 1;
        if range.len() < first.len() {
            break;
        }
    }
    count
}

fn send_chunk(fd: BorrowedFd<'_>, messages: &[Waiting], bytes: &[u8], runs: bool) -> io::Result<usize> {
    let mut controls = [Controls::<64>::NONE; CHUNK];
    let mut lengths = [0; CHUNK];
    let mut left = messages;
    for (length, control) in lengths.iter_mut().zip(&mut controls) {
        *length = if runs { run(left) } else { left.len().min(1) };
        let Some(((together, rest), (envelope, range))) = left.split_at_checked(*length).zip(left.first()) else {
            break;
        };
        for (level, kind, data) in message::controls(envelope.control.octets()) {
            control.add(level, kind, data);
        }
        if together.len() > 1 {
            control.add(libc::SOL_UDP, libc::UDP_SEGMENT, &(range.len() as u16).to_ne_bytes());
        }
        left = rest;
    }
    let mut left = messages;
    let outgoing = lengths.iter().zip(&controls).map_while(|(length, control)| {
        let (together, rest) = left.split_at_checked(*length)?;
        let ((envelope, first), (_, last)) = together.first().zip(together.last())?;
        left = rest;
        let payload = bytes.get(first.start..last.end).unwrap_or_default();
        Some(Message { address: envelope.address.octets(), control: control.octets(), payload })
    });
    let sent = message::send::<CHUNK>(fd, outgoing, 0)?;
    Ok(lengths.iter().take(sent).sum())
}
