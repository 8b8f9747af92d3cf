//! Messages to and from the kernel, several a system call (`recvmmsg`, `sendmmsg`). Payloads stay in the caller's memory; addresses
//! and control messages are plain bytes.

use std::io;
use std::mem::zeroed;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address;

/// Octets of control messages that a message may bring along. The most are those of an ICMPv6 error: 128.
const CONTROL: usize = 160;
const WORD: usize = size_of::<usize>();
/// Octets of a control message before its data.
const HEADER: usize = WORD + 8;

/// What came beside the payload of a received message.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    /// The sender's socket address.
    pub(crate) address: [u8; address::LENGTH],
    control: [u8; CONTROL],
    control_length: usize,
    /// Octets of the payload, as far as there was room.
    pub(crate) length: usize,
    /// Whether the payload was longer than the room for it.
    pub(crate) truncated: bool,
}

impl Slot {
    /// Nothing has come yet.
    pub(crate) const EMPTY: Slot =
        Slot { address: [0; address::LENGTH], control: [0; CONTROL], control_length: 0, length: 0, truncated: false };

    /// The control messages, as bytes.
    pub(crate) fn control(&self) -> &[u8] {
        self.control.get(..self.control_length).unwrap_or(&self.control)
    }
}

/// Receives up to `N` messages without blocking, as many as there are slots and rooms for. Says how many have come.
pub(crate) fn receive<'a, const N: usize>(
    fd: BorrowedFd<'_>,
    slots: &mut [Slot],
    rooms: impl Iterator<Item = &'a mut [u8]>,
    flags: i32,
) -> io::Result<usize> {
    // SAFETY: both are plain C structures for which all zeroes is a valid value.
    let (mut headers, mut vectors): ([libc::mmsghdr; N], [libc::iovec; N]) = unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for (((header, vector), slot), room) in headers.iter_mut().zip(&mut vectors).zip(&mut *slots).zip(rooms) {
        vector.iov_base = room.as_mut_ptr().cast();
        vector.iov_len = room.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = slot.address.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = slot.address.len() as libc::socklen_t;
        header.msg_hdr.msg_control = slot.control.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = slot.control.len();
        count += 1;
    }
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the first `count` headers point to distinct payload rooms, addresses and control buffers of the stated lengths.
    // All of them outlive the call: `slots` and what `rooms` gives are borrowed mutably for longer, `vectors` is a local.
    let received = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, flags, std::ptr::null_mut()) };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (header, slot) in headers.iter().zip(slots).take(received) {
        slot.length = header.msg_len as usize;
        slot.control_length = header.msg_hdr.msg_controllen;
        slot.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
    }
    Ok(received)
}

/// A message to be sent.
pub(crate) struct Message<'a> {
    /// The socket address that it goes to; empty where the socket itself knows.
    pub(crate) address: &'a [u8],
    /// Control messages; empty for none.
    pub(crate) control: &'a [u8],
    /// What it says.
    pub(crate) payload: &'a [u8],
}

/// Has the way of a message looked for, and the message not sent (`MSG_PROBE` of `linux/socket.h`).
pub(crate) const PROBE: i32 = 0x10;

/// Sends up to `N` messages without blocking. Says how many went; an error is that of the first of them.
pub(crate) fn send<'a, const N: usize>(
    fd: BorrowedFd<'_>,
    messages: impl Iterator<Item = Message<'a>>,
    flags: i32,
) -> io::Result<usize> {
    // SAFETY: both are plain C structures for which all zeroes is a valid value.
    let (mut headers, mut vectors): ([libc::mmsghdr; N], [libc::iovec; N]) = unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for ((header, vector), Message { address, control, payload }) in headers.iter_mut().zip(&mut vectors).zip(messages)
    {
        vector.iov_base = payload.as_ptr().cast_mut().cast();
        vector.iov_len = payload.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if !address.is_empty() {
            header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = address.len() as libc::socklen_t;
        }
        if !control.is_empty() {
            header.msg_hdr.msg_control = control.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_controllen = control.len();
        }
        count += 1;
    }
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers point to payloads, addresses and control messages of the stated lengths, all borrowed for longer than
    // the call; `vectors` is a local. The kernel reads them; of the headers it writes `msg_len` only.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// The control messages in `control`: level, type and data (`cmsg(3)`, laid out by hand).
pub(crate) fn controls(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(WORD + 4..)?.first_chunk()?);
        let data = control.get(HEADER..length)?;
        control = control.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// Control messages to be sent (`cmsg(3)`, laid out by hand), of at most `N` octets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Controls<const N: usize> {
    octets: [u8; N],
    used: usize,
}

impl<const N: usize> Controls<N> {
    /// None.
    pub(crate) const NONE: Self = Controls { octets: [0; N], used: 0 };

    /// As the kernel takes them; empty for none.
    pub(crate) fn octets(&self) -> &[u8] {
        self.octets.get(..self.used).unwrap_or_default()
    }

    /// Adds one. It is left out where it has no room: `N` is chosen for all that may come together.
    pub(crate) fn add(&mut self, level: i32, kind: i32, data: &[u8]) {
        let length = HEADER + data.len();
        let end = self.used + length.next_multiple_of(WORD);
        if let Some(room) = self.octets.get_mut(self.used..end) {
            let fields = length.to_ne_bytes().into_iter().chain(level.to_ne_bytes()).chain(kind.to_ne_bytes());
            room.iter_mut().zip(fields.chain(data.iter().copied())).for_each(|(to, from)| *to = from);
            self.used = end;
        }
    }

    /// Adds the address that the message leaves from (unspecified: the kernel's choice), and the index of the interface that it leaves by
    /// (0: the kernel's choice).
    pub(crate) fn add_source(&mut self, from: IpAddr, interface: u32) {
        let interface = interface.to_ne_bytes();
        let mut info = [0; 20];
        let mut put = |first: &[u8], second: &[u8]| {
            info.iter_mut().zip(first.iter().chain(second)).for_each(|(to, from)| *to = *from);
        };
        match from {
            // `in_pktinfo`: behind the two stands a header address that only matters on receiving.
            IpAddr::V4(from) => {
                put(&interface, &from.octets());
                self.add(libc::SOL_IP, libc::IP_PKTINFO, info.get(..12).unwrap_or_default());
            }
            // `in6_pktinfo`
            IpAddr::V6(from) => {
                put(&from.octets(), &interface);
                self.add(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_control_messages_end_the_walk() {
        let mut written = Controls::<48>::NONE;
        (7..9u32).for_each(|data| written.add(1, 2, &data.to_ne_bytes()));
        let mut bytes = written.octets().to_vec();
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

    #[test]
    fn a_control_message_without_room_is_left_out() {
        let mut written = Controls::<40>::NONE;
        written.add(1, 2, &[3; 4]);
        written.add(4, 5, &[6; 4]);
        assert_eq!(controls(written.octets()).collect::<Vec<_>>(), [(1, 2, &[3; 4][..])]);
    }
}
