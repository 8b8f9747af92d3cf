//! Packet sockets: whole frames on one interface, for clients that have no address yet and for asking who has one.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outwork_wire::ethernet::VlanTag;
use outwork_wire::udp::Checksum;

use crate::bpf::{self, Capture};
use crate::sys::address::Address;
use crate::sys::batch::{self, Envelope};
use crate::sys::message::{self, Controls};
use crate::sys::socket;
use crate::{Context, Interface, Refused, Result, SendReport};

/// The checksum is still to be filled in by the hardware: the packet comes from this host (`TP_STATUS_CSUMNOTREADY`).
const CHECKSUM_NOT_READY: u32 = 1 << 3;
/// The kernel or the hardware has verified the checksum (`TP_STATUS_CSUM_VALID`).
const CHECKSUM_VALID: u32 = 1 << 7;

/// A non-blocking packet socket on one interface. It may be used by several threads at a time.
///
/// When its interface goes down it stays open and is silent; it works again when the interface comes up. An interface that is removed and made anew
/// has another index and needs another socket.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    interface: String,
}

impl PacketSocket {
    /// Opens a socket that takes what `capture` says. `receive_buffer` is in octets by the kernel's reckoning; 0 for its default.
    pub fn open(interface: &Interface, capture: Capture, receive_buffer: usize) -> Result<PacketSocket> {
        let attempt = || {
            let socket = deaf(interface, capture, receive_buffer)?;
            socket.listen(&capture.program(interface.index))?;
            Ok(socket)
        };
        attempt().context(|| format!("open a packet socket on {}", interface.name))
    }

    /// Opens `count` sockets (at least one) that share the interface's packets: each DHCP client is steered to one of them by its hardware address.
    pub fn open_group(
        interface: &Interface,
        capture: Capture,
        receive_buffer: usize,
        count: usize,
    ) -> Result<Vec<PacketSocket>> {
        if count <= 1 {
            return Ok(vec![PacketSocket::open(interface, capture, receive_buffer)?]);
        }
        let attempt = || {
            let mut group: Vec<PacketSocket> = Vec::new();
            while group.len() < count {
                let socket = deaf(interface, capture, receive_buffer)?;
                join(socket.as_fd(), group.first(), count as u32)?;
                group.push(socket);
            }
            let program = capture.program(interface.index);
            group.iter().try_for_each(|socket| socket.listen(&program))?;
            Ok(group)
        };
        attempt().context(|| format!("open {count} packet sockets on {}", interface.name))
    }

    fn listen(&self, filter: &bpf::Program) -> std::io::Result<()> {
        socket::attach(self.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter.0)
    }

    /// Replaces the batch in `inbox` by the frames that wait, without blocking. Says how many there are; 0 when none waits or the interface is down.
    pub fn receive(&self, inbox: &mut Inbox) -> Result<usize> {
        match inbox.0.receive(self.as_fd()) {
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => Ok(0),
            result => result.context(|| format!("receive on {}", self.interface)),
        }
    }

    /// Sends what is in `outbox`, without blocking.
    pub fn send(&self, outbox: &mut Outbox) -> SendReport {
        outbox.0.send(self.as_fd(), false)
    }

    /// Frames that the kernel had for this socket and dropped, its buffer being full. Wraps at 2^32.
    pub fn drops(&self) -> Result<u32> {
        socket::drops(self.as_fd()).context(|| format!("read the drops of the packet socket on {}", self.interface))
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A bound socket that takes nothing yet: until it has joined its group it would get the packets of the others too.
fn deaf(interface: &Interface, capture: Capture, receive_buffer: usize) -> std::io::Result<PacketSocket> {
    let fd = socket::open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let socket = PacketSocket { fd, interface: interface.name.clone() };
    socket::set(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    if receive_buffer > 0 {
        socket::set_receive_buffer(socket.as_fd(), receive_buffer)?;
    }
    socket.listen(&bpf::nothing())?;
    socket::bind_packet(socket.as_fd(), interface.index, capture.ethertype())?;
    Ok(socket)
}

/// Joins the fanout group of `leader`, or founds one under a number that the kernel finds free.
fn join(socket: BorrowedFd<'_>, leader: Option<&PacketSocket>, count: u32) -> std::io::Result<()> {
    let mode = libc::PACKET_FANOUT_CBPF << 16;
    let Some(leader) = leader else {
        let unique = libc::PACKET_FANOUT_FLAG_UNIQUEID << 16;
        socket::set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, (mode | unique) as i32)?;
        return socket::attach(socket, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &bpf::packet_steering(count).0);
    };
    let [group] = socket::get::<1>(leader.as_fd(), libc::SOL_PACKET, libc::PACKET_FANOUT)?;
    socket::set(socket, libc::SOL_PACKET, libc::PACKET_FANOUT, (mode | (group & 0xffff)) as i32)
}

/// Room for a batch of frames.
pub struct Inbox(batch::Inbox);

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The whole frame, without its VLAN tag.
    pub bytes: &'a [u8],
    /// The tag that the kernel took off: of a frame with a priority and no VLAN.
    pub vlan: Option<VlanTag>,
    /// Whether the UDP checksum means anything.
    pub checksum: Checksum,
    /// Whether it was longer than the room for it.
    pub truncated: bool,
}

impl Inbox {
    /// Room for `messages` frames of at most `size` octets each.
    pub fn new(messages: usize, size: usize) -> Inbox {
        Inbox(batch::Inbox::new(messages, size))
    }

    /// The frames of the last batch.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        self.0.iter().map(|received| {
            // `tpacket_auxdata`: status, length, captured length (32 bits each), two offsets and the tag (16 bits each).
            let auxiliary = message::controls(received.control)
                .find(|(level, kind, _)| (*level, *kind) == (libc::SOL_PACKET, libc::PACKET_AUXDATA))
                .and_then(|(_, _, data)| data.first_chunk::<20>());
            let (status, tag) = auxiliary.map_or((0, 0), |data| {
                let [s0, s1, s2, s3, _, _, _, _, _, _, _, _, _, _, _, _, t0, t1, _, _] = *data;
                (u32::from_ne_bytes([s0, s1, s2, s3]), u16::from_ne_bytes([t0, t1]))
            });
            let trusted = status & (CHECKSUM_NOT_READY | CHECKSUM_VALID) != 0;
            Frame {
                bytes: received.payload,
                vlan: (status & libc::TP_STATUS_VLAN_VALID != 0).then_some(VlanTag(tag)),
                checksum: if trusted { Checksum::Trust } else { Checksum::Verify },
                truncated: received.truncated,
            }
        })
    }
}

/// Frames that wait to be sent.
pub struct Outbox(batch::Outbox);

impl Outbox {
    /// An empty outbox for at most `capacity` frames.
    pub fn new(capacity: usize) -> Outbox {
        Outbox(batch::Outbox::new(capacity))
    }

    /// Adds a frame, which `write` appends to the buffer it is given: the builders of [`outwork_wire::frame`] do.
    pub fn push<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), Refused<E>> {
        self.0.push(Envelope { address: Address::NONE, control: Controls::NONE }, write)
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Drops every frame.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests;
