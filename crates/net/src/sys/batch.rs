//! `recvmmsg` and `sendmmsg`: many messages a system call, addresses and control messages as plain bytes; and runs of UDP
//! datagrams that pass through the kernel as one (`UDP_SEGMENT`, see `udp(7)`).

use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Refused, SendReport};

/// Messages a system call. The headers for so many are laid out on the stack for each call.
const CHUNK: usize = 64;
/// Octets of the longest socket address used here (`sockaddr_ll`).
const ADDRESS: usize = 20;
/// Octets of control messages that a message may bring or take along.
const CONTROL: usize = 64;
/// Datagrams of a run, and octets of all of them: what every kernel that knows runs takes as one.
const RUN: usize = 64;
const RUN_OCTETS: usize = 60_000;
/// Octets of the longest datagram of a run. One that a link would have to fragment can't be part of any.
const RUN_DATAGRAM: usize = 1400;

/// What came beside the payload of a received message.
#[derive(Clone, Copy)]
struct Slot {
    address: [u8; ADDRESS],
    control: [u8; CONTROL],
    control_length: usize,
    length: usize,
    truncated: bool,
}

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
    pub(crate) address: &'a [u8; ADDRESS],
    /// Control messages.
    pub(crate) control: &'a [u8],
    /// Whether it was longer than the room for it.
    pub(crate) truncated: bool,
}

impl Inbox {
    /// Room for `messages` of at most `size` octets each; at least one of each.
    pub(crate) fn new(messages: usize, size: usize) -> Inbox {
        let (messages, size) = (messages.max(1), size.max(1));
        let slot =
            Slot { address: [0; ADDRESS], control: [0; CONTROL], control_length: 0, length: 0, truncated: false };
        Inbox {
            slots: vec![slot; messages].into(),
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
            control: slot.control.get(..slot.control_length).unwrap_or(&slot.control),
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
            match receive_chunk(fd, slots, bytes, self.size) {
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

fn receive_chunk(fd: BorrowedFd<'_>, slots: &mut [Slot], bytes: &mut [u8], size: usize) -> io::Result<usize> {
    // SAFETY: both are plain C structures for which all zeroes is a valid value.
    let (mut headers, mut vectors): ([libc::mmsghdr; CHUNK], [libc::iovec; CHUNK]) = unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for (((header, vector), slot), room) in
        headers.iter_mut().zip(&mut vectors).zip(&mut *slots).zip(bytes.chunks_mut(size))
    {
        vector.iov_base = room.as_mut_ptr().cast();
        vector.iov_len = room.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = slot.address.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = ADDRESS as libc::socklen_t;
        header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL;
        count += 1;
    }
    // SAFETY: the first `count` headers point to distinct payload rooms, addresses and control buffers of the stated lengths.
    // All of them outlive the call: `slots` and `bytes` are borrowed mutably, `vectors` is a local.
    let received = unsafe {
        libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, std::ptr::null_mut())
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (header, slot) in headers.iter().zip(slots).take(received) {
        slot.length = header.msg_len as usize;
        slot.control_length = header.msg_hdr.msg_controllen;
        slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(received)
}

/// The control messages in `control`: level, type and data (`cmsg(3)`, laid out by hand).
pub(crate) fn controls(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(WORD + 4..)?.first_chunk()?);
        let data = control.get(HEADER..length)?;
        control = control.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// A control message for sending, of at most 16 octets of data on a 64-bit machine (`cmsg(3)`, laid out by hand).
pub(crate) fn control(level: i32, kind: i32, data: &[u8]) -> ([u8; 32], u8) {
    const WORD: usize = size_of::<usize>();
    let length = (WORD + 8 + data.len()).min(32);
    let fields = length.to_ne_bytes().into_iter().chain(level.to_ne_bytes()).chain(kind.to_ne_bytes());
    let mut message = [0; 32];
    message.iter_mut().zip(fields.chain(data.iter().copied())).for_each(|(to, from)| *to = from);
    (message, length.next_multiple_of(WORD) as u8)
}

/// Where a message goes: a socket address and a control message, as bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// The socket address; empty when the socket itself knows.
    pub(crate) address: ([u8; 16], u8),
    /// Control messages; empty for none.
    pub(crate) control: ([u8; 32], u8),
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
    // SAFETY: both are plain C structures for which all zeroes is a valid value.
    let (mut headers, mut vectors): ([libc::mmsghdr; CHUNK], [libc::iovec; CHUNK]) = unsafe { (zeroed(), zeroed()) };
    let mut controls = [[0u8; CONTROL]; CHUNK];
    let mut lengths = [0usize; CHUNK];
    let (mut left, mut count) = (messages, 0);
    for (((header, vector), room), length) in headers.iter_mut().zip(&mut vectors).zip(&mut controls).zip(&mut lengths)
    {
        *length = if runs { run(left) } else { left.len().min(1) };
        let Some(((together, rest), (envelope, range))) = left.split_at_checked(*length).zip(left.first()) else {
            break;
        };
        let end = together.last().map_or(range.end, |(_, last)| last.end);
        let payload = bytes.get(range.start..end).unwrap_or_default();
        vector.iov_base = payload.as_ptr().cast_mut().cast();
        vector.iov_len = payload.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        let (address, octets) = &envelope.address;
        if *octets > 0 {
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = libc::socklen_t::from(*octets);
        }
        let segment = match together.len() {
            0 | 1 => ([0; 32], 0),
            _ => control(libc::SOL_UDP, libc::UDP_SEGMENT, &(range.len() as u16).to_ne_bytes()),
        };
        let parts = [&envelope.control, &segment];
        let octets = parts.iter().flat_map(|(octets, length)| octets.iter().take(usize::from(*length)));
        let mut used = 0;
        room.iter_mut().zip(octets).for_each(|(to, from)| (*to, used) = (*from, used + 1));
        if used > 0 {
            header.msg_hdr.msg_control = room.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = used;
        }
        left = rest;
        count += 1;
    }
    // SAFETY: the first `count` headers point to payloads, addresses and control messages of the stated lengths (an envelope's length never
    // exceeds its array: `udp` makes them), all alive during the call. The kernel reads them; of the headers it writes `msg_len` only.
    let sent =
        unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    Ok(lengths.iter().take(sent).sum())
}

#[cfg(test)]
mod tests {
    use super::controls;

    #[test]
    fn malformed_control_messages_end_the_walk() {
        let mut bytes = Vec::new();
        for (length, data) in [(20usize, 7u32), (20, 8)] {
            bytes.extend_from_slice(&length.to_ne_bytes());
            bytes.extend_from_slice(&1i32.to_ne_bytes());
            bytes.extend_from_slice(&2i32.to_ne_bytes());
            bytes.extend_from_slice(&data.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
        }
        let found: Vec<_> = controls(&bytes).collect();
        assert_eq!(found, [(1, 2, &7u32.to_ne_bytes()[..]), (1, 2, &8u32.to_ne_bytes()[..])]);
        for cut in 0..bytes.len() {
            assert!(controls(&bytes[..cut]).count() <= 2);
        }
        for length in [0usize, 15, 1000, usize::MAX] {
            bytes[..8].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(controls(&bytes).count(), 0, "{length}");
        }
    }
}
