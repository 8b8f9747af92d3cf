//! Runs as they come and go: where from, where to, and what is said beside.

use std::io;
use std::iter::once;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::BorrowedFd;

use super::Reason;
use crate::sys::address::{self, Address};
use crate::sys::message::{self, Controls, Message, Slot};

/// Octets of the control messages of a run that leaves: its source, its traffic class, its mark and the length of its datagrams.
const CONTROLS: usize = 112;

/// A run that has come, in the caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Octets of all its datagrams. What did not fit is missing as whole datagrams.
    pub length: usize,
    /// Octets of each datagram but the last, which may be shorter. At least 1.
    pub segment: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// The address of this host that it was sent to: where an answer comes from.
    pub to: IpAddr,
    /// Index of the interface it came by.
    pub interface: u32,
    /// The octet of its traffic class: DSCP, and ECN in the two low bits.
    pub tos: u8,
}

impl Received {
    /// Nothing: what fills the room for [`Socket::receive_batch`](super::Socket::receive_batch) before it is used.
    pub const NOTHING: Received = Received {
        length: 0,
        segment: 1,
        from: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        to: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        interface: 0,
        tos: 0,
    };

    pub(super) fn read(slot: &Slot, room: usize) -> Received {
        let from = address::parse(&slot.address).unwrap_or(Received::NOTHING.from);
        let mut received = Received { from, ..Received::NOTHING };
        let mut segment = None;
        for control in message::controls(slot.control()) {
            match control {
                // `in_pktinfo`: the interface, our address that was reached, and the address in the header.
                (libc::SOL_IP, libc::IP_PKTINFO, [i0, i1, i2, i3, a, b, c, d, ..]) => {
                    received.interface = u32::from_ne_bytes([*i0, *i1, *i2, *i3]);
                    received.to = Ipv4Addr::new(*a, *b, *c, *d).into();
                }
                (libc::SOL_IPV6, libc::IPV6_PKTINFO, info) => {
                    if let Some((to, [i0, i1, i2, i3, ..])) = info.split_first_chunk::<16>() {
                        received.interface = u32::from_ne_bytes([*i0, *i1, *i2, *i3]);
                        received.to = (*to).into();
                    }
                }
                (libc::SOL_IP, libc::IP_TOS, [tos, ..]) => received.tos = *tos,
                (libc::SOL_IPV6, libc::IPV6_TCLASS, [t0, t1, t2, t3, ..]) => {
                    received.tos = u32::from_ne_bytes([*t0, *t1, *t2, *t3]) as u8;
                }
                (libc::SOL_UDP, libc::UDP_GRO, [s0, s1, s2, s3, ..]) => {
                    segment = Some(u32::from_ne_bytes([*s0, *s1, *s2, *s3]) as usize);
                }
                _ => {}
            }
        }
        let length = slot.length.min(room);
        received.length = match (slot.truncated, segment) {
            (false, _) => length,
            (true, Some(segment)) if segment > 0 => length - length % segment,
            (true, _) => 0,
        };
        received.segment = segment.unwrap_or(received.length).max(1);
        received
    }
}

/// The way of a run that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Whom it goes to.
    pub to: SocketAddr,
    /// The source address; the kernel's choice without one. Of the family of `to`.
    pub from: Option<IpAddr>,
    /// The octet of its traffic class: DSCP, and ECN in the two low bits.
    pub tos: u8,
    /// The mark that its datagrams bear on this host (`SO_MARK`), for filters and rules; 0 for none. Others take `CAP_NET_ADMIN`.
    pub mark: u32,
}

impl Way {
    fn controls(&self) -> Controls<CONTROLS> {
        let mut controls = Controls::NONE;
        if let Some(from) = self.from {
            controls.add_source(from, 0);
        }
        if self.tos > 0 {
            let (level, kind) = match self.to {
                SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_TOS),
                SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TCLASS),
            };
            controls.add(level, kind, &i32::from(self.tos).to_ne_bytes());
        }
        if self.mark > 0 {
            controls.add(libc::SOL_SOCKET, libc::SO_MARK, &self.mark.to_ne_bytes());
        }
        controls
    }
}

/// What became of the datagrams that were to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Octets that the kernel has taken, from the front: whole datagrams.
    pub octets: usize,
    /// Why not all of them. It is true of the datagram behind those that went, and of those that would have left with it.
    pub stopped: Option<Reason>,
}

/// Where a run goes, as the kernel takes it.
pub(super) struct Outgoing {
    address: Address,
    controls: Controls<CONTROLS>,
}

impl Outgoing {
    pub(super) fn new(way: &Way) -> Outgoing {
        Outgoing { address: way.to.into(), controls: way.controls() }
    }

    /// The datagrams of a run, each by itself.
    pub(super) fn messages<'a>(&'a self, run: &'a [u8], segment: usize) -> impl Iterator<Item = Message<'a>> {
        let (address, control) = (self.address.octets(), self.controls.octets());
        run.chunks(segment).map(move |payload| Message { address, control, payload })
    }

    /// Sends a run of two datagrams at least.
    pub(super) fn send_run(&self, fd: BorrowedFd<'_>, run: &[u8], segment: usize) -> io::Result<usize> {
        let mut controls = self.controls;
        // Of two datagrams none is longer than 16 bits say.
        controls.add(libc::SOL_UDP, libc::UDP_SEGMENT, &(segment as u16).to_ne_bytes());
        let message = Message { address: self.address.octets(), control: controls.octets(), payload: run };
        message::send::<1>(fd, once(message), 0)
    }

    /// Asks this host whether a way leads there, by its routes and from the source that was asked for. Nothing is sent, and no error of an earlier datagram is met:
    /// those are met where memory is taken for one.
    pub(super) fn ask(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let message = Message { address: self.address.octets(), control: self.controls.octets(), payload: &[] };
        message::send::<1>(fd, once(message), message::PROBE).map(drop)
    }
}
