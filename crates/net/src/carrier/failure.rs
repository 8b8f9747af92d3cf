//! Why datagrams do not go or have not arrived: the kernel's codes, and the error queue (`ip(7)`: `IP_RECVERR`).

use std::io;
use std::iter::once;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use crate::sys::address;
use crate::sys::message::{self, Slot};

/// Failures that are told at once.
pub const FAILURES: usize = 64;
/// Octets of a datagram that are quoted.
const QUOTE: usize = 64;

/// Why a datagram does not go, or has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The socket's buffer is full: again once it is writable (`EAGAIN`).
    #[error("the socket's buffer is full")]
    Blocked,
    /// It is longer than the path takes (`EMSGSIZE`).
    #[error("it is longer than the path takes")]
    TooLong,
    /// No route leads there (`ENETUNREACH`); over IPv4 newer kernels say so as well where the source address is not of this host.
    #[error("the network cannot be reached")]
    NetworkUnreachable,
    /// Nobody has that address, or the way there is closed (`EHOSTUNREACH`).
    #[error("the host cannot be reached")]
    HostUnreachable,
    /// Nobody listens there (`ECONNREFUSED`).
    #[error("nobody listens there")]
    PortUnreachable,
    /// A rule forbids it: of the firewall here, or on the way (`EPERM`, `EACCES`).
    #[error("a rule forbids it")]
    Forbidden,
    /// The queue of the interface is full, or the kernel has no memory: it is lost, and the next one may go (`ENOBUFS`).
    #[error("the interface's queue is full")]
    NoBuffers,
    /// This host has not (any longer) the source address that was asked for (`EINVAL`).
    #[error("the source address is not of this host")]
    NoSource,
    /// The interface is down or gone (`ENETDOWN`, `ENODEV`).
    #[error("the interface is down or gone")]
    InterfaceDown,
    /// Another reason, by the kernel's number (`errno`).
    #[error("{}", io::Error::from_raw_os_error(*.0))]
    Other(i32),
}

impl Reason {
    pub(super) fn of(error: &io::Error) -> Reason {
        Reason::of_code(error.raw_os_error().unwrap_or_default())
    }

    fn of_code(code: i32) -> Reason {
        match code {
            libc::EAGAIN => Reason::Blocked,
            libc::EMSGSIZE => Reason::TooLong,
            libc::ENETUNREACH => Reason::NetworkUnreachable,
            libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENONET => Reason::HostUnreachable,
            libc::ECONNREFUSED => Reason::PortUnreachable,
            libc::EPERM | libc::EACCES => Reason::Forbidden,
            libc::ENOBUFS | libc::ENOMEM => Reason::NoBuffers,
            libc::EINVAL | libc::EADDRNOTAVAIL => Reason::NoSource,
            libc::ENETDOWN | libc::ENODEV | libc::ENXIO => Reason::InterfaceDown,
            code => Reason::Other(code),
        }
    }
}

/// Whether this may be what the kernel has heard of a datagram sent before (the codes of ICMP, `icmp_err_convert` in the kernel).
pub(super) fn is_of_earlier(error: &io::Error) -> bool {
    let own = matches!(
        error.raw_os_error(),
        Some(libc::EMSGSIZE | libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EHOSTDOWN | libc::ENONET | libc::EACCES)
    );
    own || is_never_own(error)
}

/// Whether this can be of a datagram sent before only.
pub(super) fn is_never_own(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNREFUSED | libc::EPROTO | libc::ENOPROTOOPT | libc::EOPNOTSUPP))
}

/// Whether this is how a kernel or a device says that it takes no runs: nothing that ICMP could make it say.
pub(super) fn refuses_runs(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

/// A datagram that was sent and has not arrived. Whoever is on the way, or can guess the ports, can make one up: what follows from it
/// must be harmless, or be asked of `quote` first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure<'a> {
    /// Whom it was sent to. The port is 0 where this host refused it itself over IPv4: the kernel does not tell.
    pub to: SocketAddr,
    /// Who says so; nobody where it is this host itself.
    pub told_by: Option<IpAddr>,
    /// What is said.
    pub reason: Reason,
    /// Octets of the longest IP packet that passes, where the reason is [`Reason::TooLong`]; 0 where that is not said.
    pub mtu: usize,
    /// How the datagram began, as far as that is told: perhaps not at all.
    pub quote: &'a [u8],
}

/// Hands to `each` what is in the error queue, up to [`FAILURES`]. Says how many that was.
pub(super) fn drain(fd: BorrowedFd<'_>, mut each: impl FnMut(Failure<'_>)) -> io::Result<usize> {
    let mut quote = [0; QUOTE];
    for told in 0..FAILURES {
        let mut slots = [Slot::EMPTY];
        match message::receive::<1>(fd, &mut slots, once(&mut quote[..]), libc::MSG_ERRQUEUE) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(told),
            received => drop(received?),
        }
        let [slot] = &slots;
        if let Some(failure) = read(slot, &quote) {
            each(failure);
        }
    }
    Ok(FAILURES)
}

fn read<'a>(slot: &Slot, quote: &'a [u8]) -> Option<Failure<'a>> {
    let (_, _, data) = message::controls(slot.control()).find(|(level, kind, _)| {
        matches!((*level, *kind), (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR))
    })?;
    // `sock_extended_err`: the code, four octets of ICMP, what ICMP says beside and four more octets; then who tells.
    let reason = Reason::of_code(i32::from_ne_bytes(*data.first_chunk()?));
    let beside = u32::from_ne_bytes(*data.get(8..)?.first_chunk()?) as usize;
    Some(Failure {
        to: address::parse(&slot.address)?,
        told_by: address::parse(data.get(16..)?).map(|address| address.ip()),
        reason,
        mtu: if reason == Reason::TooLong { beside } else { 0 },
        quote: quote.get(..slot.length)?,
    })
}
