//! A QUIC socket of one thread beside those of others on the same address.
//!
//! The kernel shares datagrams out by the addresses of both ends, so that a connection stays with its thread until its client moves to another
//! address (RFC 9000 section 9). From then on its datagrams arrive anywhere. Connection ids therefore say whose they are, and a thread that is given
//! another's datagram passes it on.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::door::metrics::DoorMetrics;

/// Bytes of a connection id: whose it is, masked, and what nobody can guess.
const ID: usize = 2 + GUESS;
const GUESS: usize = 8;
/// Datagrams that may wait for a thread that others have received them for.
const PASSED_ON: usize = 512;
/// Room for what arrives while a thread is busy.
const BUFFER: usize = 2 << 20;

/// A UDP socket that shares its address with those of other threads.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // The kernel gives as much of it as it allows.
    sockopt::set_socket_recv_buffer_size(&socket, BUFFER)?;
    sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Whose a connection id is, for all threads of a listener. The key is of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ids(RandomState);

impl Ids {
    /// Hides the thread in the id: to who has not the key, it says nothing that would tell ids of one thread from those of another.
    fn mask(&self, guess: &[u8]) -> u16 {
        (self.0.hash_one(guess) & 0xffff) as u16
    }

    fn id(&self, thread: u16, guess: [u8; GUESS]) -> [u8; ID] {
        let mut id = [0; ID];
        let (whose, rest) = id.split_at_mut(2);
        whose.copy_from_slice(&(thread ^ self.mask(&guess)).to_be_bytes());
        rest.copy_from_slice(&guess);
        id
    }

    /// The thread whose connection a datagram belongs to; `None` where it does not say, as at the beginning of one, when the id is still
    /// the client's (RFC 9000 section 7.2).
    fn thread(&self, datagram: &[u8]) -> Option<u16> {
        let id = match datagram.first()? {
            // A long header: version, then the length of the id. Of these only Handshake packets always carry ours.
            first if first & 0x80 != 0 => {
                let is_handshake = first & 0x30 == 0x20;
                datagram.get(6..).filter(|_| is_handshake && datagram.get(5) == Some(&(ID as u8)))?
            }
            _ => datagram.get(1..)?,
        };
        let (whose, guess) = (id.first_chunk::<2>()?, id.get(2..ID)?);
        Some(u16::from_be_bytes(*whose) ^ self.mask(guess))
    }
}

/// Makes the ids of one thread.
pub(crate) struct OwnIds {
    pub(crate) ids: Ids,
    pub(crate) thread: u16,
}

impl ConnectionIdGenerator for OwnIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut guess = [0; GUESS];
        if let Err(error) = getrandom::fill(&mut guess) {
            // Ids only have to differ; who guesses one still has no keys.
            tracing::error!(%error, "no randomness for a connection id");
        }
        ConnectionId::new(&self.ids.id(self.thread, guess))
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A datagram that another thread has received.
#[derive(Debug)]
struct Passed {
    meta: RecvMeta,
    content: Bytes,
}

/// Where the threads of a listener leave datagrams for one another.
pub(crate) fn mailboxes(threads: u16) -> Vec<Mailbox> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| channel(PASSED_ON)).unzip();
    let senders: Arc<[_]> = senders.into();
    (0..).zip(receivers).map(|(thread, found)| Mailbox { thread, found, others: Arc::clone(&senders) }).collect()
}

/// What a thread needs to listen.
pub(crate) struct Place {
    pub(crate) socket: UdpSocket,
    pub(crate) ids: Ids,
    pub(crate) mailbox: Mailbox,
}

/// What a thread finds, and where it leaves what is others'.
pub(crate) struct Mailbox {
    pub(crate) thread: u16,
    found: Receiver<Passed>,
    others: Arc<[Sender<Passed>]>,
}

/// What others have received, which takes turns with what arrives here.
struct Found {
    found: Receiver<Passed>,
    is_next: bool,
}

/// The socket of one thread.
pub(crate) struct Steered {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
    ids: Ids,
    thread: u16,
    /// Only the endpoint's driver polls it.
    found: Mutex<Found>,
    others: Arc<[Sender<Passed>]>,
    metrics: Arc<DoorMetrics>,
}

impl std::fmt::Debug for Steered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Steered").field("socket", &self.socket).field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Steered {
    pub(crate) fn new(place: Place, metrics: Arc<DoorMetrics>) -> io::Result<Arc<Self>> {
        let Place { socket, ids, mailbox: Mailbox { thread, found, others } } = place;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let found = Mutex::new(Found { found, is_next: true });
        Ok(Arc::new(Self { socket, state, ids, thread, found, others, metrics }))
    }

    /// Whose a datagram is, if another thread's.
    fn other(&self, datagram: &[u8]) -> Option<&Sender<Passed>> {
        let thread = self.ids.thread(datagram).filter(|thread| *thread != self.thread)?;
        self.others.get(usize::from(thread))
    }

    /// Passes on what is another's of a run of datagrams; what stays has its length in `meta`.
    fn sort(&self, content: &mut [u8], meta: &mut RecvMeta) {
        let run = content.get(..meta.len).unwrap_or_default();
        let stride = meta.stride.max(1);
        if !run.chunks(stride).any(|datagram| self.other(datagram).is_some()) {
            return;
        }
        let mut kept = Vec::with_capacity(run.len());
        for datagram in run.chunks(stride) {
            let Some(other) = self.other(datagram) else {
                kept.extend_from_slice(datagram);
                continue;
            };
            let meta = RecvMeta { len: datagram.len(), stride: datagram.len(), ..*meta };
            match other.try_send(Passed { meta, content: Bytes::copy_from_slice(datagram) }) {
                Ok(()) => self.metrics.quic_passed_on.inc(),
                // As lost on the way: the client sends it again.
                Err(_) => self.metrics.quic_dropped.inc(),
            }
        }
        if let Some(room) = content.get_mut(..kept.len()) {
            room.copy_from_slice(&kept);
        }
        meta.len = kept.len();
    }
}

impl Steered {
    /// What others have received for this thread.
    fn poll_found(
        &self,
        found: &mut Receiver<Passed>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Whoever could close it is this socket itself.
        let Some(passed) = ready!(found.poll_recv(context)) else { return Poll::Pending };
        let mut count = 0;
        if let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut())
            && let Some(room) = buffer.get_mut(..passed.content.len())
        {
            room.copy_from_slice(&passed.content);
            *meta = passed.meta;
            count = 1;
        }
        Poll::Ready(Ok(count))
    }

    /// What arrives here.
    fn poll_socket(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_recv_ready(context))?;
            let received =
                self.socket.try_io(Interest::READABLE, || self.state.recv((&self.socket).into(), buffers, meta));
            let count = match received {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Poll::Ready(Err(error)),
            };
            if self.others.len() > 1 {
                for (buffer, meta) in buffers.iter_mut().zip(meta).take(count) {
                    self.sort(buffer, meta);
                }
            }
            return Poll::Ready(Ok(count));
        }
    }
}

impl AsyncUdpSocket for Steered {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_io(Interest::WRITABLE, || self.state.send((&self.socket).into(), transmit))
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut found = self.found.lock();
        found.is_next = !found.is_next;
        if !found.is_next {
            return match self.poll_found(&mut found.found, context, buffers, meta) {
                Poll::Pending => self.poll_socket(context, buffers, meta),
                ready => ready,
            };
        }
        match self.poll_socket(context, buffers, meta) {
            Poll::Pending => self.poll_found(&mut found.found, context, buffers, meta),
            ready => ready,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits for room in a socket's buffer, beside others that wait for the same.
struct Writable {
    socket: Arc<Steered>,
    waiting: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>>,
}

impl std::fmt::Debug for Writable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Writable").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = Arc::clone(&self.socket);
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(async move { socket.socket.writable().await }));
        let ready = ready!(waiting.as_mut().poll(context));
        self.waiting = None;
        Poll::Ready(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, b"the rest"].concat()
    }

    #[test]
    fn a_connection_id_says_whose_it_is_and_hides_it() {
        let ids = Ids::default();
        for thread in [0, 1, 300] {
            assert_eq!(ids.thread(&short(&ids.id(thread, [5; GUESS]))), Some(thread));
        }
        let shown = |guess: u8| ids.id(1, [guess; GUESS])[..2].to_vec();
        assert!((1..9).any(|guess| shown(guess) != shown(0)), "ids of one thread are not alike");
    }

    #[test]
    fn of_long_headers_only_a_handshake_with_an_id_of_ours_says_whose_it_is() {
        let ids = Ids::default();
        let long = |first: u8, id: &[u8]| [&[first, 0, 0, 0, 1, id.len() as u8], id, b"the rest"].concat();
        let id = ids.id(3, [9; GUESS]);
        assert_eq!(ids.thread(&long(0xe0, &id)), Some(3));
        for (first, id) in [(0xc0, &id[..]), (0xd0, &id[..]), (0xf0, &id[..]), (0xe0, &id[..8])] {
            assert_eq!(ids.thread(&long(first, id)), None);
        }
        for length in 0..=ID {
            assert_eq!(ids.thread(&short(&id)[..length]), None, "{length}");
        }
    }
}
