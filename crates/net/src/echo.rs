//! ICMP echo (RFC 792) by the kernel's routes: asking whether a distant address is in use.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use outwork_wire::icmp::Echo;
use outwork_wire::ipv4;

use crate::sys::batch::{self, Envelope};
use crate::sys::message::Controls;
use crate::sys::socket;
use crate::{Context, Result, SendReport};

/// `SOL_RAW` and its option `ICMP_FILTER` (`raw(7)`): a bit for each ICMP type that is not wanted.
const SOL_RAW: i32 = 255;
const ICMP_FILTER: i32 = 1;
/// Octets of the longest reply looked at; a longer one is cut, and the cut fails its checksum.
const SIZE: usize = 128;

/// A non-blocking raw socket that sends echo requests and takes echo replies, those to others on this host included.
#[derive(Debug)]
pub struct EchoSocket(OwnedFd);

impl EchoSocket {
    /// Opens one; needs `CAP_NET_RAW`.
    pub fn open() -> Result<EchoSocket> {
        let attempt = || {
            let fd = socket::open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
            // Everything but echo replies, type 0, is filtered.
            socket::set(fd.as_fd(), SOL_RAW, ICMP_FILTER, !1)?;
            Ok(EchoSocket(fd))
        };
        attempt().context(|| "open an ICMP socket".to_owned())
    }

    /// Asks one address, without blocking.
    pub fn ask(&self, to: Ipv4Addr, identifier: u16, sequence: u16) -> SendReport {
        let address = SocketAddr::from((to, 0)).into();
        let mut outbox = batch::Outbox::new(1);
        // An empty outbox has room for one, and writing to memory does not fail.
        let _ = outbox.push(Envelope { address, control: Controls::NONE }, |out| {
            Echo { reply: false, identifier, sequence, data: &[] }.write(out);
            Ok::<_, std::convert::Infallible>(())
        });
        outbox.send(self.as_fd(), false)
    }

    /// Replaces the batch in `inbox` by the replies that wait, without blocking.
    pub fn receive(&self, inbox: &mut Inbox) -> Result<usize> {
        inbox.0.receive(self.as_fd()).context(|| "receive ICMP echo replies".to_owned())
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for a batch of replies.
pub struct Inbox(batch::Inbox);

impl Inbox {
    /// Room for so many replies.
    pub fn new(messages: usize) -> Inbox {
        Inbox(batch::Inbox::new(messages, SIZE))
    }

    /// Well-formed replies of the last batch: who answered, and the echo's identifier.
    pub fn replies(&self) -> impl Iterator<Item = (Ipv4Addr, u16)> {
        self.0.iter().filter_map(|received| {
            let packet = ipv4::Packet::parse(received.payload).ok()?;
            let echo = Echo::parse(packet.payload).ok()?;
            echo.reply.then_some((packet.source, echo.identifier))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll;
    use crate::testing::Lab;

    #[test]
    fn an_address_that_is_there_answers_and_one_that_is_not_does_not() {
        let lab = Lab::new();
        let (host, peer) = (lab.namespace("host"), lab.namespace("peer"));
        lab.veth((&host, "eth0"), (&peer, "eth0"));
        host.ip("addr add 10.1.0.1/24 dev eth0");
        peer.ip("addr add 10.1.0.2/24 dev eth0");
        let socket = host.run(|| EchoSocket::open().unwrap());
        assert_eq!(socket.ask(Ipv4Addr::new(10, 1, 0, 3), 7, 1).sent, 1);
        assert_eq!(socket.ask(Ipv4Addr::new(10, 1, 0, 2), 7, 1).sent, 1);
        poll::wait(&mut [poll::Entry::readable(&socket)], None).unwrap();
        let mut inbox = Inbox::new(8);
        socket.receive(&mut inbox).unwrap();
        assert_eq!(inbox.replies().collect::<Vec<_>>(), [(Ipv4Addr::new(10, 1, 0, 2), 7)]);
    }
}
