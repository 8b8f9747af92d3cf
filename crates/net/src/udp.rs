//! UDP sockets that receive and send in batches.
//!
//! With [`Options::offload`], neighbours of the same way and length pass through the kernel as one run: it is asked for them
//! (`UDP_GRO`), and given them (`UDP_SEGMENT`). A device takes a run apart before the wire; a virtual one hands it on whole.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::batch::{self, Envelope};
use crate::sys::message::{self, Controls};
use crate::sys::socket;
use crate::{Context, Refused, Result, SendReport, bpf};

/// Octets of the longest run of datagrams that the kernel gives as one; the odd rest keeps the beginnings of neighbours out of
/// the same sets of a processor's cache.
const RUN: usize = (1 << 16) + 192;

/// How a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Local address and port; 0.0.0.0 for every address of this host, port 0 for one of the kernel's choosing.
    pub address: SocketAddrV4,
    /// Takes only what comes by this interface.
    pub device: Option<String>,
    /// Octets, by the kernel's reckoning, that may wait to be received; 0 for the kernel's default. Beyond `rmem_max` where this process may.
    pub receive_buffer: usize,
    /// Packet sockets take the broadcasts: pass over those that this socket gets too.
    pub unicasts_only: bool,
    /// Datagrams come and go in runs. Not where a packet socket listens at the other end of a virtual link: it would be given
    /// a run as one frame. For the same reason the runs that come are not asked for beside packet sockets here.
    pub offload: bool,
}

impl Options {
    /// Bound to `address`, with the kernel's defaults.
    pub fn new(address: SocketAddrV4) -> Options {
        Options { address, device: None, receive_buffer: 0, unicasts_only: false, offload: false }
    }
}

/// A non-blocking UDP socket over IPv4. It may be used by several threads at a time.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddrV4,
    offload: bool,
}

impl UdpSocket {
    /// Binds one socket.
    pub fn bind(options: &Options) -> Result<UdpSocket> {
        bind(options, false)
    }

    /// Binds `count` sockets (at least one) to the same address, and steers each DHCP client to one of them by its hardware address,
    /// which keeps a client's messages in order. A socket of a group must stay open as long as the group is used.
    pub fn bind_group(options: &Options, count: usize) -> Result<Vec<UdpSocket>> {
        let first = bind(options, count > 1)?;
        let options = Options { address: first.local, ..options.clone() };
        let mut group = vec![first];
        while group.len() < count {
            group.push(bind(&options, true)?);
        }
        if let [first, _, ..] = group.as_slice() {
            let program = bpf::udp_steering(count as u32);
            socket::attach(first.as_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program.0)
                .context(|| format!("steer clients among the sockets of {}", first.local))?;
        }
        Ok(group)
    }

    /// The address and port that the socket is bound to.
    pub fn local(&self) -> SocketAddrV4 {
        self.local
    }

    /// Replaces the batch in `inbox` by the datagrams that wait, without blocking. Says how many there are, each run counting as
    /// one; 0 when none waits.
    pub fn receive(&self, inbox: &mut Inbox) -> Result<usize> {
        inbox.runs.receive(self.as_fd()).context(|| format!("receive at {}", self.local))
    }

    /// Sends what is in `outbox`, without blocking.
    pub fn send(&self, outbox: &mut Outbox) -> SendReport {
        outbox.0.send(self.as_fd(), self.offload)
    }

    /// Datagrams that the kernel had for this socket and dropped, its buffer being full; a run that came as one counts as one.
    /// Wraps at 2^32.
    pub fn drops(&self) -> Result<u32> {
        socket::drops(self.as_fd()).context(|| format!("read the drops of the socket at {}", self.local))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Lets datagrams that are longer than the way allows be sent as fragments, as they are where nobody says otherwise.
///
/// # Errors
/// What the kernel says.
pub fn allow_fragments(socket: impl AsFd, is_ipv4: bool) -> Result<()> {
    let options = match is_ipv4 {
        true => &[(libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT)][..],
        false => &[
            (libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT),
            (libc::SOL_IPV6, libc::IPV6_DONTFRAG, 0),
        ],
    };
    let set = |(level, name, value): &(i32, i32, i32)| socket::set(socket.as_fd(), *level, *name, *value);
    options.iter().try_for_each(set).context(|| "have long datagrams sent as fragments".to_owned())
}

fn bind(options: &Options, shared: bool) -> Result<UdpSocket> {
    let Options { address, device, receive_buffer, unicasts_only, offload } = options;
    let attempt = || {
        let fd = socket::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        let socket = fd.as_fd();
        socket::set(socket, libc::SOL_SOCKET, libc::SO_BROADCAST, 1)?;
        socket::set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        if *offload && !*unicasts_only {
            socket::set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
        }
        if shared {
            socket::set(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        if let Some(device) = device {
            socket::bind_to_device(socket, device)?;
        }
        if *receive_buffer > 0 {
            socket::set_receive_buffer(socket, *receive_buffer)?;
        }
        if *unicasts_only {
            socket::attach(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &bpf::unicasts_only().0)?;
        }
        socket::bind_ip(socket, (*address).into())?;
        let SocketAddr::V4(local) = socket::local(socket)? else { return Err(std::io::ErrorKind::Unsupported.into()) };
        Ok(UdpSocket { fd, local, offload: *offload })
    };
    attempt().context(|| match device {
        Some(device) => format!("listen at UDP {address} on {device}"),
        None => format!("listen at UDP {address}"),
    })
}

/// Room for a batch of datagrams.
pub struct Inbox {
    runs: batch::Inbox,
    size: usize,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// What it carries; nothing, if it is empty.
    pub payload: &'a [u8],
    /// Who sent it.
    pub source: SocketAddrV4,
    /// The address it was sent to.
    pub destination: Ipv4Addr,
    /// Index of the interface it came by.
    pub interface: u32,
    /// Whether it was longer than the room for it.
    pub truncated: bool,
}

impl Inbox {
    /// Room for `messages` datagrams of at most `size` octets each.
    pub fn new(messages: usize, size: usize) -> Inbox {
        Inbox { runs: batch::Inbox::new(messages, size), size }
    }

    /// Room for `runs` runs, of datagrams of at most `size` octets each: for a socket with [`Options::offload`]. Whoever sends
    /// decides how many datagrams are in a run: one, or as many as fit into 64 KiB.
    pub fn of_runs(runs: usize, size: usize) -> Inbox {
        Inbox { runs: batch::Inbox::new(runs, RUN), size }
    }

    /// The datagrams of the last batch. Empty ones that were broadcast are passed over.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.runs.iter().flat_map(move |run| {
            let [_, _, p0, p1, a, b, c, d, ..] = *run.address;
            let source = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1]));
            let (mut interface, mut segment) = (0, usize::MAX);
            // Where it was sent to, and our address that it reached: of a broadcast they differ.
            let (mut destination, mut local) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
            for control in message::controls(run.control) {
                match control {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO, [i0, i1, i2, i3, l0, l1, l2, l3, a, b, c, d, ..]) => {
                        interface = u32::from_ne_bytes([*i0, *i1, *i2, *i3]);
                        local = Ipv4Addr::new(*l0, *l1, *l2, *l3);
                        destination = Ipv4Addr::new(*a, *b, *c, *d);
                    }
                    (libc::SOL_UDP, libc::UDP_GRO, [s0, s1, s2, s3, ..]) => {
                        segment = u32::from_ne_bytes([*s0, *s1, *s2, *s3]).max(1) as usize;
                    }
                    _ => {}
                }
            }
            // The filter of a socket for unicasts empties what it leaves to packet sockets: dropped, it would count as lost.
            let left = destination != local;
            let empty = Some(run.payload).filter(|payload| payload.is_empty() && !left);
            run.payload.chunks(segment).chain(empty).map(move |bytes| Datagram {
                payload: bytes.get(..self.size).unwrap_or(bytes),
                source,
                destination,
                interface,
                truncated: bytes.len() > self.size || run.truncated,
            })
        })
    }
}

/// The way of a datagram that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Whom it goes to.
    pub to: SocketAddrV4,
    /// The source address; 0.0.0.0 for the kernel's choice.
    pub from: Ipv4Addr,
    /// Index of the interface it leaves by; 0 for the kernel's choice.
    pub interface: u32,
}

/// Datagrams that wait to be sent.
pub struct Outbox(batch::Outbox);

impl Outbox {
    /// An empty outbox for at most `capacity` datagrams.
    pub fn new(capacity: usize) -> Outbox {
        Outbox(batch::Outbox::new(capacity))
    }

    /// Adds a datagram, whose payload `write` appends to the buffer it is given.
    pub fn push<E>(
        &mut self,
        path: Path,
        write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), Refused<E>> {
        let mut control = Controls::NONE;
        if path.interface != 0 || !path.from.is_unspecified() {
            control.add_source(path.from.into(), path.interface);
        }
        self.0.push(Envelope { address: SocketAddr::from(path.to).into(), control }, write)
    }

    /// Datagrams that wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Drops every datagram.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests;
