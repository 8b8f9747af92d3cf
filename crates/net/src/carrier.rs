//! UDP sockets that carry tunnels, over IPv4 and IPv6.
//!
//! Datagrams of one length that go one way pass through the kernel as one *run*, both ways (`UDP_SEGMENT`, `UDP_GRO`: see `udp(7)`):
//! one behind the other in the caller's memory, with no gap, the last one perhaps shorter. Nothing is copied or allocated here.
//!
//! Absent on purpose: finding the path MTU. The kernel only tells what it is told ([`Socket::failures`]); whoever holds the tunnel probes.

use std::io;
use std::iter::once;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::sys::message::{self, Slot};
use crate::sys::socket;
use crate::{Context, Result};

mod failure;
mod run;

pub use failure::{FAILURES, Failure, Reason};
use run::Outgoing;
pub use run::{Received, Sent, Way};

/// Datagrams of the longest run that leaves: what every kernel that knows runs takes as one.
pub const RUN: usize = 64;
/// Octets of the longest run that leaves: what a UDP datagram over IPv4 can hold.
pub const RUN_OCTETS: usize = 65_507;
/// Runs that [`Socket::receive_batch`] takes at most.
pub const BATCH: usize = 16;
/// How often a call is made while the kernel tells of earlier datagrams instead.
const TRIES: usize = 8;

/// What is asked of the kernel for each datagram that comes: where it was sent to, its traffic class, and why one that was sent has not arrived.
const ASKED_V4: &[(i32, i32)] =
    &[(libc::SOL_IP, libc::IP_PKTINFO), (libc::SOL_IP, libc::IP_RECVTOS), (libc::SOL_IP, libc::IP_RECVERR)];
/// The same of IPv6; and IPv4 is left to a socket of its own.
const ASKED_V6: &[(i32, i32)] = &[
    (libc::SOL_IPV6, libc::IPV6_V6ONLY),
    (libc::SOL_IPV6, libc::IPV6_RECVPKTINFO),
    (libc::SOL_IPV6, libc::IPV6_RECVTCLASS),
    (libc::SOL_IPV6, libc::IPV6_RECVERR),
];

/// What becomes of a datagram that is too long for its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMtu {
    /// It leaves if its interface takes it, and is never fragmented on its way (DF); what the kernel has learnt of the path is not
    /// followed. For whoever probes (RFC 8899).
    Probe,
    /// It is refused if the kernel knows that it is too long, and never fragmented.
    Follow,
    /// It is fragmented here, or over IPv4 on its way.
    Fragment,
}

/// How a socket is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Local address and port; an unspecified address for every one of this host of that family, port 0 for one of the kernel's choosing.
    pub address: SocketAddr,
    /// Takes only what comes by this interface, and sends by it.
    pub device: Option<String>,
    /// Octets that may wait to be received; 0 for the kernel's default. Beyond `rmem_max` where this process may.
    pub receive_buffer: usize,
    /// Octets that may wait to be sent; 0 for the kernel's default. Beyond `wmem_max` where this process may.
    pub send_buffer: usize,
    /// Datagrams come and go in runs.
    pub offload: bool,
    /// What becomes of datagrams that are too long.
    pub path_mtu: PathMtu,
}

impl Options {
    /// Bound to `address`, in runs, for whoever probes, with the kernel's defaults.
    pub fn new(address: SocketAddr) -> Options {
        let path_mtu = PathMtu::Probe;
        Options { address, device: None, receive_buffer: 0, send_buffer: 0, offload: true, path_mtu }
    }
}

/// Octets that may wait at a socket. The kernel counts its own keeping of them as well, and so reckons with twice as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// To be received.
    pub receive: usize,
    /// To be sent.
    pub send: usize,
}

/// What a socket has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages that were longer than the room for them.
    pub truncated: u64,
    /// Runs that were refused as such, and left as single datagrams.
    pub runs_refused: u64,
}

/// A non-blocking UDP socket over IPv4 or IPv6. It may be used by several threads at a time.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    local: SocketAddr,
    interface: Option<u32>,
    buffers: Buffers,
    /// Whether datagrams leave in runs: not any longer once the kernel or the device has refused.
    offload: AtomicBool,
    truncated: AtomicU64,
    runs_refused: AtomicU64,
}

impl Socket {
    /// Binds one socket.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind(options: &Options) -> Result<Socket> {
        open(options, false)
    }

    /// Binds `count` sockets (at least one) to the same address. What comes from one address and port to one of this host always
    /// reaches the same of them; a socket of a group must stay open as long as the group is used.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind_group(options: &Options, count: usize) -> Result<Vec<Socket>> {
        let first = open(options, count > 1)?;
        let options = Options { address: first.local, ..options.clone() };
        let mut group = vec![first];
        while group.len() < count {
            group.push(open(&options, true)?);
        }
        Ok(group)
    }

    /// The address and port that the socket is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The index of the interface that the socket is bound to, if it is to one. Another of the same name is another interface.
    pub fn interface(&self) -> Option<u32> {
        self.interface
    }

    /// The buffers that the kernel gave: perhaps smaller ones than were asked for.
    pub fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// What the socket has counted since it was bound.
    pub fn counters(&self) -> Counters {
        Counters {
            truncated: self.truncated.load(Ordering::Relaxed),
            runs_refused: self.runs_refused.load(Ordering::Relaxed),
        }
    }

    /// Messages that the kernel had for this socket and dropped, its buffer being full; a run counts as one. Wraps at 2^32.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn drops(&self) -> Result<u32> {
        socket::drops(self.as_fd()).context(|| format!("read the drops of the socket at {}", self.local))
    }

    /// Whether datagrams leave in runs.
    pub fn sends_runs(&self) -> bool {
        self.offload.load(Ordering::Relaxed)
    }

    /// Why nothing leaves for an address, by what this host itself knows of routes and of addresses of its own; none where a way leads there. Nothing is sent, and
    /// nothing that ICMP says counts, for anybody can send that.
    pub fn blocked(&self, to: SocketAddr) -> Option<Reason> {
        let way = Way { to, from: None, tos: 0, mark: 0 };
        Outgoing::new(&way).ask(self.as_fd()).err().map(|error| Reason::of(&error))
    }

    /// Changes what becomes of datagrams that are too long, from the next one on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_path_mtu(&self, path_mtu: PathMtu) -> Result<()> {
        set_path_mtu(self.as_fd(), self.local.is_ipv4(), path_mtu)
            .context(|| format!("set what becomes of long datagrams at {}", self.local))
    }

    /// Takes one run into `room`, without blocking; `None` when none waits. 64 KiB hold any.
    ///
    /// # Errors
    /// What the kernel says of the socket itself; what it says of datagrams that were sent is left to [`Socket::failures`].
    pub fn receive(&self, room: &mut [u8]) -> Result<Option<Received>> {
        let (mut slots, size) = ([Slot::EMPTY], room.len());
        let count = self.take(|| message::receive::<1>(self.as_fd(), &mut slots, once(&mut *room), 0))?;
        let received = slots.iter().take(count).map(|slot| self.read(slot, size)).next();
        Ok(received)
    }

    /// Takes up to [`BATCH`] runs, without blocking, each into a room of its own, and writes into `found` what each room then holds. Says
    /// how many there are, from the front; 0 when none waits.
    ///
    /// # Errors
    /// As those of [`Socket::receive`].
    pub fn receive_batch<R: AsMut<[u8]>>(&self, rooms: &mut [R], found: &mut [Received]) -> Result<usize> {
        let mut slots = [Slot::EMPTY; BATCH];
        let slots = slots.get_mut(..found.len().min(BATCH)).unwrap_or_default();
        let count = self.take(|| {
            let rooms = rooms.iter_mut().map(|room| room.as_mut());
            message::receive::<BATCH>(self.as_fd(), slots, rooms, 0)
        })?;
        for ((slot, room), found) in slots.iter().zip(rooms).zip(found).take(count) {
            *found = self.read(slot, room.as_mut().len());
        }
        Ok(count)
    }

    /// What is received by a call. Nothing that ICMP could say is an error of it.
    fn take(&self, mut call: impl FnMut() -> io::Result<usize>) -> Result<usize> {
        for _ in 0..TRIES {
            match call() {
                Err(error) if failure::is_of_earlier(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                result => return result.context(|| format!("receive at {}", self.local)),
            }
        }
        // What there is still waits, and is told of again.
        Ok(0)
    }

    fn read(&self, slot: &Slot, room: usize) -> Received {
        if slot.truncated {
            self.truncated.fetch_add(1, Ordering::Relaxed);
        }
        Received::read(slot, room)
    }

    /// Sends datagrams of `segment` octets each, which lie one behind the other in `octets` (the last may be shorter), without blocking: as
    /// many at a time as a run holds. Where the kernel or the device takes no runs, they leave one by one from then on. What stops them is true of this host: ICMP,
    /// which anybody can send, is told by [`Socket::failures`] alone.
    pub fn send(&self, way: &Way, octets: &[u8], segment: usize) -> Sent {
        let outgoing = Outgoing::new(way);
        let segment = if segment == 0 { octets.len() } else { segment };
        let mut sent = Sent { octets: 0, stopped: None };
        while let Some(rest) = octets.get(sent.octets..).filter(|rest| !rest.is_empty()) {
            match self.send_some(&outgoing, rest, segment) {
                Ok(octets) => sent.octets += octets,
                Err(error) => return Sent { stopped: Some(Reason::of(&error)), ..sent },
            }
        }
        sent
    }

    /// Sends what leaves by one system call, and says how many octets that is.
    fn send_some(&self, outgoing: &Outgoing, octets: &[u8], segment: usize) -> io::Result<usize> {
        let longest = (RUN_OCTETS / segment).clamp(1, RUN).saturating_mul(segment);
        let run = octets.get(..longest).unwrap_or(octets);
        let ask = || outgoing.ask(self.as_fd());
        if run.len() <= segment {
            let send = || message::send::<1>(self.as_fd(), outgoing.messages(run, segment), 0);
            return patiently(send, ask).map(|_| run.len());
        }
        let single = || {
            let count = patiently(|| message::send::<RUN>(self.as_fd(), outgoing.messages(run, segment), 0), ask)?;
            Ok(count.saturating_mul(segment).min(run.len()))
        };
        if !self.sends_runs() {
            return single();
        }
        match patiently(|| outgoing.send_run(self.as_fd(), run, segment), ask) {
            // Too long for a run, its datagrams may still leave as fragments; if not, the error queue tells the MTU for single ones only.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => single(),
            // Older kernels say EINVAL as well where datagrams are too long or the source is wrong: single ones then fail alike.
            Err(error) if failure::refuses_runs(&error) => {
                let sent = single()?;
                self.offload.store(false, Ordering::Relaxed);
                self.runs_refused.fetch_add(1, Ordering::Relaxed);
                Ok(sent)
            }
            result => result.map(|_| run.len()),
        }
    }

    /// Tells `each` why datagrams that were sent have not arrived, as far as the kernel has heard. Says how many it told of; there may be
    /// more after [`FAILURES`]. While some wait, the socket [has errors](crate::poll::Entry::has_errors).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn failures(&self, each: impl FnMut(Failure<'_>)) -> Result<usize> {
        failure::drain(self.as_fd(), each).context(|| format!("read what became of datagrams from {}", self.local))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends until the answer is of this call: the kernel answers any call at a socket by what ICMP has said of a datagram sent before, perhaps to somebody else, once
/// for each. Anybody can make such messages up, so whatever they could say is asked of this host itself by `ask`.
fn patiently(
    mut send: impl FnMut() -> io::Result<usize>,
    mut ask: impl FnMut() -> io::Result<()>,
) -> io::Result<usize> {
    let mut is_too_long = false;
    for _ in 0..TRIES {
        match send() {
            Err(error) if failure::is_never_own(&error) => {}
            // Nobody can be asked. If it is made up twice in a row, no more than these datagrams are lost.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                if std::mem::replace(&mut is_too_long, true) {
                    return Err(error);
                }
            }
            Err(error) if failure::is_of_earlier(&error) => ask()?,
            result => return result,
        }
    }
    // So many messages came between: these datagrams are lost, and the next may go.
    Err(io::Error::from_raw_os_error(libc::ENOBUFS))
}

fn open(options: &Options, shared: bool) -> Result<Socket> {
    let Options { address, device, receive_buffer, send_buffer, offload, path_mtu } = options;
    let attempt = || {
        let (domain, asked) = match address {
            SocketAddr::V4(_) => (libc::AF_INET, ASKED_V4),
            SocketAddr::V6(_) => (libc::AF_INET6, ASKED_V6),
        };
        let fd = socket::open(domain, libc::SOCK_DGRAM, 0)?;
        let socket = fd.as_fd();
        asked.iter().try_for_each(|(level, name)| socket::set(socket, *level, *name, 1))?;
        set_path_mtu(socket, address.is_ipv4(), *path_mtu)?;
        if *offload {
            socket::set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
        }
        if shared {
            socket::set(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        }
        let interface = match device {
            Some(device) => {
                socket::bind_to_device(socket, device)?;
                // Older kernels do not say.
                socket::get::<1>(socket, libc::SOL_SOCKET, socket::SO_BINDTOIFINDEX).ok().map(|[index]| index)
            }
            None => None,
        };
        if *receive_buffer > 0 {
            socket::set_receive_buffer(socket, *receive_buffer)?;
        }
        if *send_buffer > 0 {
            socket::set_send_buffer(socket, *send_buffer)?;
        }
        socket::bind_ip(socket, *address)?;
        let size = |name| socket::get::<1>(socket, libc::SOL_SOCKET, name).map(|[octets]| octets as usize / 2);
        let buffers = Buffers { receive: size(libc::SO_RCVBUF)?, send: size(libc::SO_SNDBUF)? };
        let local = socket::local(socket)?;
        let (truncated, runs_refused) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Socket { fd, local, interface, buffers, offload: AtomicBool::new(*offload), truncated, runs_refused })
    };
    attempt().context(|| match device {
        Some(device) => format!("carry tunnels at UDP {address} on {device}"),
        None => format!("carry tunnels at UDP {address}"),
    })
}

fn set_path_mtu(fd: BorrowedFd<'_>, is_ipv4: bool, path_mtu: PathMtu) -> io::Result<()> {
    let (level, name) = match is_ipv4 {
        true => (libc::SOL_IP, libc::IP_MTU_DISCOVER),
        false => (libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    // The values of IPv6 are the same.
    let value = match path_mtu {
        PathMtu::Probe => libc::IP_PMTUDISC_PROBE,
        PathMtu::Follow => libc::IP_PMTUDISC_DO,
        PathMtu::Fragment => libc::IP_PMTUDISC_DONT,
    };
    socket::set(fd, level, name, value)
}

#[cfg(test)]
mod tests;
