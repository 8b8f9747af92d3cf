//! The kernel's networking by netlink (RFC 3549, `rtnetlink(7)`), without a runtime: each question waits for its answer.
//!
//! - [`link`]: the links of this host, what is set of them.
//! - [`address`]: their addresses. [`route`]: routes. [`rule`]: which packets are routed by which table.
//! - [`event`]: what the kernel tells of them when they change.
//! - [`shaping`]: classes of traffic with rates (HTB), their leaves, and which packets belong to them.
//! - [`wireguard`]: WireGuard in the kernel.
//!
//! Our own, and small: `netlink-packet-route` 0.34 knows links, addresses, routes and filters, but not HTB, so that the most delicate part would be written
//! by hand all the same; with `netlink-packet-core`, `netlink-sys` and `zerocopy` it is five packages and some 50,000 lines that nothing else here needs,
//! and each of its releases breaks its interface. `rtnetlink` wants a runtime on top.
//!
//! Absent on purpose: routes of several next hops, neighbours, and making links that need to be told more than their kind ([`tun`](crate::tun) makes its own).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use crate::sys;

pub mod address;
pub mod event;
pub mod link;
pub(crate) mod message;
pub mod route;
pub mod rule;
pub mod shaping;
pub mod wireguard;

pub use address::{Address, Prefix, Uniqueness};
pub use event::{Event, Events};
pub use link::{Link, LinkSettings};
pub use route::{Route, RouteQuery};
pub use rule::{Mark, Rule};

use message::{Message, Request, attributes, next_message};

/// Octets of the largest netlink message read at once; the kernel's dumps use at most 32 KiB.
pub(crate) const BUFFER: usize = 64 * 1024;
/// Datagrams of one answer, and of one drained burst of changes. At some 30 interfaces or 100 routes each this is more than any host has.
pub(crate) const MESSAGES: usize = 10_000;
/// Things of one list at most: a table of the whole Internet is read by who asks for less of it.
pub(crate) const LISTED: usize = 1 << 17;
/// How often a list is begun anew because what is listed changed meanwhile.
const ATTEMPTS: usize = 5;
/// How long the kernel may take to answer: it does so at once, but for a list, and another program may hold the lock of its tables.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel's words, in what it says of a request (`NLMSGERR_ATTR_MSG`).
const WORDS: u16 = 1;
/// Octets of the kernel's verdict before its attributes: a code, and the header of the request (`nlmsgerr`).
const VERDICT: usize = 20;

/// A request that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}{}", beside(.source, .words))]
pub struct Error {
    /// What was asked, as the end of "cannot ...".
    pub action: String,
    /// The kernel's code.
    pub source: io::Error,
    /// The kernel's words on it; often there are none.
    pub words: String,
}

/// What is said beside the kernel's code.
fn beside(source: &io::Error, words: &str) -> String {
    let words = if words.is_empty() { String::new() } else { format!(": the kernel says \"{words}\"") };
    let advice = match source.raw_os_error() {
        Some(libc::EPERM) => "; it takes the capability CAP_NET_ADMIN",
        _ => "",
    };
    words + advice
}

impl Error {
    /// Whether what was asked about is not there.
    pub fn is_missing(&self) -> bool {
        let code = self.source.raw_os_error();
        code.is_some_and(|code| [libc::ENODEV, libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL].contains(&code))
    }

    /// Whether the kernel has no such kind of thing: a module is missing.
    pub fn is_unknown(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EOPNOTSUPP)
    }

    /// Whether what was to be added is there already.
    pub fn is_present(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }
}

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A request that was not done: the code, and the kernel's words.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) source: io::Error,
    words: String,
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Refusal {
        Refusal { source, words: String::new() }
    }
}

/// Says what was asked when a request is refused.
trait Asked<T> {
    fn asked(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Asked<T> for std::result::Result<T, Refusal> {
    fn asked(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|Refusal { source, words }| Error { action: action(), source, words })
    }
}

/// A line to the kernel's tables of one network namespace.
#[derive(Debug)]
pub struct Connection {
    fd: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Connection {
    /// Opens a line, in the network namespace of this thread.
    pub fn open() -> Result<Connection> {
        Connection::begin().map_err(Refusal::from).asked(|| "ask the kernel by netlink".to_owned())
    }

    pub(crate) fn begin() -> io::Result<Connection> {
        Connection::begin_with(libc::NETLINK_ROUTE)
    }

    /// The same to other tables.
    fn begin_with(protocol: i32) -> io::Result<Connection> {
        let fd = sys::socket::open(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
        // Words beside codes, verdicts that do not repeat the request, and lists of no more than was asked for (Linux 4.20).
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK, libc::NETLINK_GET_STRICT_CHK] {
            sys::socket::set(fd.as_fd(), libc::SOL_NETLINK, option, 1)?;
        }
        Ok(Connection { fd, sequence: 0, buffer: vec![0; BUFFER].into() })
    }

    /// Has something done.
    fn ask(&mut self, request: Request) -> std::result::Result<(), Refusal> {
        self.exchange(request, |_| ()).map(drop)
    }

    /// Asks for one thing.
    fn get<T>(
        &mut self,
        request: Request,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> std::result::Result<Option<T>, Refusal> {
        let mut found = None;
        self.exchange(request, |body| found = read(body))?;
        Ok(found)
    }

    /// Asks for all things of a kind that `read` makes something of, as long as those are no more than [`LISTED`].
    pub(crate) fn list<T>(
        &mut self,
        request: &Request,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> std::result::Result<Vec<T>, Refusal> {
        self.list_at_most(LISTED, request, read)
    }

    /// The same of any number.
    fn list_at_most<T>(
        &mut self,
        most: usize,
        request: &Request,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> std::result::Result<Vec<T>, Refusal> {
        for _ in 0..ATTEMPTS {
            let (mut found, mut more) = (Vec::new(), false);
            // The answer is heard to its end in any case: the line is good for another question then.
            let heard = self.exchange(request.clone(), |body| match found.len() < most {
                true => found.extend(read(body)),
                false => more |= read(body).is_some(),
            })?;
            if more {
                return Err(io::Error::other(format!("there are more than {most}")).into());
            }
            if heard {
                return Ok(found);
            }
        }
        Err(io::Error::other("it changes faster than it can be read").into())
    }

    /// Sends a request and hands on each message of its answer; `false` when the answer was interrupted by a change (`NLM_F_DUMP_INTR`).
    fn exchange(&mut self, request: Request, mut each: impl FnMut(&[u8])) -> std::result::Result<bool, Refusal> {
        let Connection { fd, sequence, buffer } = self;
        // What is left of an answer that was given up bears another number.
        *sequence = sequence.wrapping_add(1);
        sys::socket::send(fd.as_fd(), &request.finish(*sequence))?;
        let mut consistent = true;
        for _ in 0..MESSAGES {
            let length = match sys::socket::receive(fd.as_fd(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    await_answer(fd)?;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                length => length?,
            };
            let Some(mut rest) = buffer.get(..length) else { return Err(malformed().into()) };
            while let Some(message) = next_message(&mut rest) {
                if message.sequence != *sequence {
                    continue;
                }
                consistent &= message.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return verdict(&message, 4).map(|()| consistent),
                    libc::NLMSG_ERROR => return verdict(&message, VERDICT).map(|()| consistent),
                    _ => each(message.body),
                }
            }
        }
        Err(malformed().into())
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be read")
}

/// Reads how a request went. Its attributes begin after so many octets.
fn verdict(message: &Message<'_>, start: usize) -> std::result::Result<(), Refusal> {
    let code = message::number(message.body, 0).map_or(-libc::EIO, |code| code as i32);
    if code >= 0 {
        return Ok(());
    }
    let told = message.flags & libc::NLM_F_ACK_TLVS as u16 != 0;
    let beside = message.body.get(start..).filter(|_| told).unwrap_or_default();
    let words = attributes(beside).find(|(kind, _)| *kind == WORDS).map(|(_, words)| message::text(words));
    Err(Refusal { source: io::Error::from_raw_os_error(-code), words: words.unwrap_or_default() })
}

/// Waits for the kernel to answer.
fn await_answer(fd: &OwnedFd) -> io::Result<()> {
    let mut entries = [libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
    match sys::event::poll(&mut entries, Some(PATIENCE))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// An acknowledged request that changes something.
fn change(kind: u16, flags: i32, structure: &[u8]) -> Request {
    Request::new(kind, libc::NLM_F_ACK | flags, structure)
}

/// A question for everything of a kind.
pub(crate) fn question(kind: u16, structure: &[u8]) -> Request {
    Request::new(kind, libc::NLM_F_DUMP, structure)
}

#[cfg(test)]
mod tests;
