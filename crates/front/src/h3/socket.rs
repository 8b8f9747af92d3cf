//! A QUIC socket of one thread beside those of others on the same address.
//!
//! The kernel shares datagrams out by the addresses of both ends, so that a connection stays with its thread until its client moves to another
//! address (RFC 9000 section 9). From then on its datagrams arrive anywhere. Connection ids therefore say whose they are, and a thread that is given
//! another's datagram passes it on. When another process takes the sockets over, it does the same with what is ours for as long as we last.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, UdpPoller};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use siphasher::sip::SipHasher13;
use tokio::io::{Interest, ReadBuf};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::door::Buffers;
use crate::door::metrics::DoorMetrics;

/// Bytes of a connection id: whose it is, masked, and what nobody can guess.
const ID: usize = 2 + GUESS;
const GUESS: usize = 8;
/// Datagrams that may wait for a thread that others have received them for.
const PASSED_ON: usize = 512;
/// Room for what arrives while a thread is busy, where nothing is said of it.
const BUFFER: usize = 2 << 20;

/// A UDP socket that shares its address with those of other threads.
pub(crate) fn bind(address: SocketAddr, buffers: Buffers) -> io::Result<UdpSocket> {
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
    buffers.set(&socket)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket.into())
}

/// Bits of the thread in a connection id; those above say which of the processes that share a key it is.
const THREAD_BITS: u32 = 10;
const GENERATIONS: u8 = 1 << (u16::BITS - THREAD_BITS);

/// Whose a connection id is, for all threads of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    /// Of this process, and of those that have taken its sockets over.
    key: [u64; 2],
    generation: u8,
}

/// Who has made a connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    generation: u8,
    thread: u16,
}

impl Ids {
    pub(crate) fn random() -> io::Result<Self> {
        let mut key = [[0; 8]; 2];
        key.iter_mut().try_for_each(|half| getrandom::fill(half)).map_err(io::Error::other)?;
        Ok(Self { key: key.map(u64::from_ne_bytes), generation: 0 })
    }

    /// Those of the process that comes after another.
    pub(crate) fn after(key: [u64; 2], generation: u8) -> Self {
        Self { key, generation: generation.wrapping_add(1) % GENERATIONS }
    }

    pub(crate) fn key(&self) -> [u64; 2] {
        self.key
    }

    pub(crate) fn generation(&self) -> u8 {
        self.generation
    }

    /// Hides the owner in the id: to who has not the key, it says nothing that would tell ids of one thread from those of another.
    fn mask(&self, guess: &[u8]) -> u16 {
        (SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(guess) & 0xffff) as u16
    }

    fn id(&self, thread: u16, guess: [u8; GUESS]) -> [u8; ID] {
        let owner = u16::from(self.generation) << THREAD_BITS | thread;
        let mut id = [0; ID];
        let (whose, rest) = id.split_at_mut(2);
        whose.copy_from_slice(&(owner ^ self.mask(&guess)).to_be_bytes());
        rest.copy_from_slice(&guess);
        id
    }

    /// Whose connection a datagram belongs to; `None` where it does not say, as at the beginning of one, when the id is still
    /// the client's (RFC 9000 section 7.2).
    fn owner(&self, datagram: &[u8]) -> Option<Owner> {
        let id = match datagram.first()? {
            // A long header: version, then the length of the id. Of these only Handshake packets always carry ours.
            first if first & 0x80 != 0 => {
                let is_handshake = first & 0x30 == 0x20;
                datagram.get(6..).filter(|_| is_handshake && datagram.get(5) == Some(&(ID as u8)))?
            }
            _ => datagram.get(1..)?,
        };
        let (whose, guess) = (id.first_chunk::<2>()?, id.get(2..ID)?);
        let owner = u16::from_be_bytes(*whose) ^ self.mask(guess);
        Some(Owner { generation: (owner >> THREAD_BITS) as u8, thread: owner & ((1 << THREAD_BITS) - 1) })
    }
}

/// The process that had the sockets before, for as long as it has connections.
#[derive(Debug)]
pub(crate) struct Before {
    generation: u8,
    /// The way back to each of its threads.
    back: Vec<UnixDatagram>,
}

impl Before {
    pub(crate) fn new(generation: u8, back: Vec<OwnedFd>) -> io::Result<Self> {
        let back: Vec<UnixDatagram> = back.into_iter().map(UnixDatagram::from).collect();
        back.iter().try_for_each(|way| way.set_nonblocking(true))?;
        Ok(Self { generation, back })
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

/// What stands before a datagram that goes from one process to another: both addresses, the sender's port, and a byte with the congestion mark and
/// whether our own address is known.
const LABEL: usize = 16 + 16 + 2 + 1;
const KNOWN: u8 = 4;

fn label(meta: &RecvMeta) -> [u8; LABEL] {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let mut label = [0; LABEL];
    let (peer, rest) = label.split_at_mut(16);
    let (own, rest) = rest.split_at_mut(16);
    let (port, marks) = rest.split_at_mut(2);
    peer.copy_from_slice(&octets(meta.addr.ip()));
    own.copy_from_slice(&octets(meta.dst_ip.unwrap_or(Ipv6Addr::UNSPECIFIED.into())));
    port.copy_from_slice(&meta.addr.port().to_be_bytes());
    let known = if meta.dst_ip.is_some() { KNOWN } else { 0 };
    marks.fill(known | meta.ecn.map_or(0, |ecn| ecn as u8));
    label
}

fn labelled(bytes: &[u8]) -> Option<RecvMeta> {
    let (peer, rest) = bytes.split_first_chunk::<16>()?;
    let (own, rest) = rest.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (marks, content) = rest.split_first()?;
    let address = |octets: &[u8; 16]| Ipv6Addr::from(*octets).to_canonical();
    Some(RecvMeta {
        addr: SocketAddr::new(address(peer), u16::from_be_bytes(*port)),
        len: content.len(),
        stride: content.len(),
        ecn: EcnCodepoint::from_bits(marks & 3),
        dst_ip: (marks & KNOWN != 0).then(|| address(own)),
    })
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
    pub(crate) before: Option<Arc<Before>>,
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
    /// What the process that comes after this one sends back.
    successor: Option<tokio::net::UnixDatagram>,
    /// Only that one reads the socket any longer.
    has_left: bool,
}

/// Whose a datagram is.
enum Destination<'a> {
    Here,
    Thread(&'a Sender<Passed>),
    Before(&'a UnixDatagram),
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
    before: Option<Arc<Before>>,
    metrics: Arc<DoorMetrics>,
}

impl std::fmt::Debug for Steered {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Steered").field("socket", &self.socket).field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Steered {
    pub(crate) fn new(place: Place, metrics: Arc<DoorMetrics>) -> io::Result<Arc<Self>> {
        let Place { socket, ids, mailbox: Mailbox { thread, found, others }, before } = place;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let found = Mutex::new(Found { found, is_next: true, successor: None, has_left: false });
        Ok(Arc::new(Self { socket, state, ids, thread, found, others, before, metrics }))
    }

    /// Takes what another process finds for this thread, too.
    pub(crate) fn succeed_by(&self, way: UnixDatagram) {
        match tokio::net::UnixDatagram::from_std(way) {
            Ok(way) => self.found.lock().successor = Some(way),
            Err(error) => tracing::error!(%error, "what arrives elsewhere for connections of HTTP/3 is lost"),
        }
        self.look_again();
    }

    /// Leaves the socket to that process.
    pub(crate) fn leave(&self) {
        self.found.lock().has_left = true;
        self.look_again();
    }

    /// Has who reads look at all that there is to be read from.
    fn look_again(&self) {
        if let Some(own) = self.others.get(usize::from(self.thread)) {
            // A full mailbox is looked into anyway.
            let _ = own.try_send(Passed { meta: RecvMeta::default(), content: Bytes::new() });
        }
    }

    fn destination(&self, datagram: &[u8]) -> Destination<'_> {
        let Some(Owner { generation, thread }) = self.ids.owner(datagram) else { return Destination::Here };
        let thread_of = |threads: usize| usize::from(thread).min(threads);
        if generation == self.ids.generation {
            let other = self.others.get(thread_of(self.others.len())).filter(|_| thread != self.thread);
            return other.map_or(Destination::Here, Destination::Thread);
        }
        let before = self.before.as_ref().filter(|before| before.generation == generation);
        before
            .and_then(|before| before.back.get(thread_of(before.back.len())))
            .map_or(Destination::Here, Destination::Before)
    }

    /// Passes on what is another's of a run of datagrams; what stays has its length in `meta`.
    fn sort(&self, content: &mut [u8], meta: &mut RecvMeta) {
        let run = content.get(..meta.len).unwrap_or_default();
        let stride = meta.stride.max(1);
        if run.chunks(stride).all(|datagram| matches!(self.destination(datagram), Destination::Here)) {
            return;
        }
        let mut kept = Vec::with_capacity(run.len());
        for datagram in run.chunks(stride) {
            let meta = RecvMeta { len: datagram.len(), stride: datagram.len(), ..*meta };
            let passed_on = match self.destination(datagram) {
                Destination::Here => {
                    kept.extend_from_slice(datagram);
                    continue;
                }
                Destination::Thread(other) => {
                    other.try_send(Passed { meta, content: Bytes::copy_from_slice(datagram) }).is_ok()
                }
                Destination::Before(way) => way.send(&[&label(&meta), datagram].concat()).is_ok(),
            };
            match passed_on {
                true => self.metrics.quic_passed_on.inc(),
                // As lost on the way: the client sends it again.
                false => self.metrics.quic_dropped.inc(),
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
            // Without content, it is only there to have us look.
            count = usize::from(!passed.content.is_empty());
        }
        Poll::Ready(Ok(count))
    }

    /// What the process that comes after this one has received for this thread.
    fn poll_successor(
        successor: &tokio::net::UnixDatagram,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let (Some(buffer), Some(meta)) = (buffers.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        ready!(successor.poll_recv_ready(context))?;
        let mut both = vec![0; LABEL + buffer.len()];
        let mut read = ReadBuf::new(&mut both);
        ready!(successor.poll_recv(context, &mut read))?;
        let (Some(found), Some((_, content))) = (labelled(read.filled()), read.filled().split_at_checked(LABEL)) else {
            return Poll::Ready(Ok(0));
        };
        if let Some(room) = buffer.get_mut(..content.len()) {
            room.copy_from_slice(content);
        }
        *meta = found;
        Poll::Ready(Ok(1))
    }

    /// What arrives from outside of this process.
    fn poll_outside(
        &self,
        found: &Found,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if let Some(successor) = &found.successor
            && let Poll::Ready(received) = Self::poll_successor(successor, context, buffers, meta)
        {
            return Poll::Ready(received.or(Ok(0)));
        }
        match found.has_left {
            true => Poll::Pending,
            false => self.poll_socket(context, buffers, meta),
        }
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
            if self.others.len() > 1 || self.before.is_some() {
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
                Poll::Pending => self.poll_outside(&found, context, buffers, meta),
                ready => ready,
            };
        }
        match self.poll_outside(&found, context, buffers, meta) {
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
        let ids = Ids::random().unwrap();
        for thread in [0, 1, 300, 1023] {
            let owner = ids.owner(&short(&ids.id(thread, [5; GUESS])));
            assert_eq!(owner, Some(Owner { generation: 0, thread }));
        }
        let shown = |guess: u8| ids.id(1, [guess; GUESS])[..2].to_vec();
        assert!((1..9).any(|guess| shown(guess) != shown(0)), "ids of one thread are not alike");
    }

    #[test]
    fn a_process_knows_the_ids_of_the_one_before_it() {
        let mut ids = Ids::random().unwrap();
        for generation in (1..GENERATIONS).chain([0, 1]) {
            let after = Ids::after(ids.key(), ids.generation());
            let owner = after.owner(&short(&ids.id(7, [5; GUESS])));
            assert_eq!(owner, Some(Owner { generation: ids.generation(), thread: 7 }));
            assert_eq!(after.generation(), generation);
            ids = after;
        }
    }

    #[test]
    fn a_datagram_keeps_on_its_way_to_another_process_what_is_known_of_it() {
        for (peer, own) in
            [("192.0.2.1:443", Some("192.0.2.2")), ("[2001:db8::1]:1", Some("2001:db8::2")), ("[::1]:9", None)]
        {
            for ecn in [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ect1), Some(EcnCodepoint::Ce)] {
                let meta = RecvMeta {
                    addr: peer.parse().unwrap(),
                    dst_ip: own.map(|own| own.parse().unwrap()),
                    ecn,
                    ..RecvMeta::default()
                };
                let read = labelled(&[&label(&meta)[..], b"content"].concat()).unwrap();
                assert_eq!((read.addr, read.dst_ip, read.ecn), (meta.addr, meta.dst_ip, meta.ecn));
                assert_eq!((read.len, read.stride), (7, 7));
            }
        }
        assert!(labelled(&[0; LABEL - 1]).is_none());
    }

    #[test]
    fn of_long_headers_only_a_handshake_with_an_id_of_ours_says_whose_it_is() {
        let ids = Ids::random().unwrap();
        let long = |first: u8, id: &[u8]| [&[first, 0, 0, 0, 1, id.len() as u8], id, b"the rest"].concat();
        let id = ids.id(3, [9; GUESS]);
        assert_eq!(ids.owner(&long(0xe0, &id)).map(|owner| owner.thread), Some(3));
        for (first, id) in [(0xc0, &id[..]), (0xd0, &id[..]), (0xf0, &id[..]), (0xe0, &id[..8])] {
            assert_eq!(ids.owner(&long(first, id)), None);
        }
        for length in 0..=ID {
            assert_eq!(ids.owner(&short(&id)[..length]), None, "{length}");
        }
    }
}
