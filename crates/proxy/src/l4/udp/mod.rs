//! Datagrams and their sessions: what comes from one address of a client goes to one backend, for as long as there is something.
//!
//! - this file: the sockets, and the datagrams that go through them.
//! - `session`: a session on the thread that it belongs to.
//! - `ids`: sessions of QUIC by connection id.
//!
//! Each session has a socket of its own, connected to its backend, so that the kernel finds the session of an answer and tells of a port that nobody
//! listens at. Sessions belong to the thread that their first datagram came to; a client of QUIC that has moved may come to another thread, which then
//! sends what it receives by the session's socket. Where nobody listens here any longer, each session has a second socket, connected to its client, by which it goes
//! on: the kernel gives what comes from that client to this one, whoever listens at the address then.

mod ids;
mod session;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use outwork_balance::Ask;
use outwork_front::door::Buffers;
use outwork_net::transparent;
use outwork_wire::proxy::{Ends, Extras, Transport, write_v2};
use parking_lot::Mutex;
use quinn::udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::limits::Seat;
use super::metrics::Refused;
use super::post::Key;
use super::rule::Rule;
use super::thread::Worker;
use crate::pick::Asking;
use crate::pool::endpoint::Target;

use crate::upstream::local::Local;
use ids::Ids;
use session::{Follows, Open};

/// Octets of one receive: a run of datagrams that the kernel gives as one.
const RUN: usize = 64 << 10;

/// Octets of a run that every kernel takes as one.
const MOST: usize = 60_000;
/// What the kernel says to runs that it cannot send as one.
const EIO: i32 = Errno::IO.raw_os_error();
const EINVAL: i32 = Errno::INVAL.raw_os_error();
const EMSGSIZE: i32 = Errno::MSGSIZE.raw_os_error();

/// What a socket waits for: datagrams, and what ICMP says of those that it has sent.
const COMING: Interest = Interest::READABLE.add(Interest::ERROR);

/// Sessions at an address that get a socket of their own when nobody listens there any longer: the kernel looks through all of them for each datagram.
const FOLLOWED: usize = 4096;

/// The sessions of QUIC at an address, of all threads.
pub(super) type Moved = Mutex<Ids<Arc<Session>>>;

/// A socket that takes datagrams beside others at the same address; the kernel shares clients out between them.
pub(super) fn bind(address: SocketAddr, options: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<OwnedFd> {
    let socket = open(address)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    sockopt::set_socket_reuseport(&socket, true)?;
    options(socket.as_fd())?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?)
}

/// A socket, and what the kernel can do with it.
#[derive(Debug)]
struct Wire {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Wire {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // What is said here is for QUIC, which looks for the longest datagram by itself; others rely on fragments.
        outwork_net::udp::allow_fragments(&socket, socket.local_addr()?.is_ipv4()).map_err(|error| error.source)?;
        Ok(Self { socket, state })
    }

    /// Takes in what waits, of whom the runtime has said this; `WouldBlock` where nothing does.
    fn receive(&self, room: &mut Room, told: Interest) -> io::Result<usize> {
        let mut slices = room.octets.chunks_mut(RUN).map(IoSliceMut::new).collect::<Vec<_>>();
        let receive = || self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut room.found);
        self.socket.try_io(told, receive)
    }

    /// Sends a run of datagrams, all of the length `stride` but for the last; what finds no room is lost, as on any road.
    fn send(&self, to: SocketAddr, from: Option<IpAddr>, run: &[u8], stride: usize) -> io::Result<()> {
        if run.is_empty() {
            return self.send_part(to, from, run, None);
        }
        let stride = stride.max(1);
        let together = self.state.max_gso_segments().min(MOST / stride).max(1);
        for part in run.chunks(together * stride) {
            let several = (part.len() > stride).then_some(stride);
            match (self.send_part(to, from, part, several), several) {
                // They are too long for the way, or its device does not part runs.
                (Err(error), Some(_)) if matches!(error.raw_os_error(), Some(EIO | EINVAL | EMSGSIZE)) => {
                    part.chunks(stride).try_for_each(|one| self.send_part(to, from, one, None))?;
                }
                (sent, _) => sent?,
            }
        }
        Ok(())
    }

    fn send_part(&self, to: SocketAddr, from: Option<IpAddr>, part: &[u8], several: Option<usize>) -> io::Result<()> {
        let transmit = Transmit { destination: to, ecn: None, contents: part, segment_size: several, src_ip: from };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

/// Where a thread receives.
struct Room {
    octets: Box<[u8]>,
    found: [RecvMeta; BATCH_SIZE],
}

impl Default for Room {
    fn default() -> Self {
        Self { octets: vec![0; BATCH_SIZE * RUN].into_boxed_slice(), found: [RecvMeta::default(); BATCH_SIZE] }
    }
}

impl Room {
    /// What was received: from where, to where, and the run with the length of its datagrams. Of one that is empty the run is empty (RFC 768 allows it).
    fn runs(&self, count: usize) -> impl Iterator<Item = (&RecvMeta, &[u8])> {
        let found = self.found.iter().zip(self.octets.chunks(RUN)).take(count);
        found.filter_map(|(meta, octets)| Some((meta, octets.get(..meta.len)?)))
    }
}

/// What of a thread all of its sockets share.
#[derive(Default)]
pub(super) struct Desk(RefCell<Option<Room>>);

/// Whose a session is: the client, and which of our addresses it has asked.
type Ends4 = (SocketAddr, Option<IpAddr>);

/// A session, as all threads know it.
#[derive(Debug)]
pub(super) struct Session {
    number: u64,
    backend: Wire,
    target: SocketAddr,
    client: Ends4,
    /// Its backend, as its pool calls it.
    member: String,
    /// When something came last, in milliseconds since this process began to count.
    used: AtomicU64,
    rule: Arc<Rule>,
    /// The backend was told what it is told before the first datagram.
    is_announced: AtomicBool,
    /// Tells that nobody listens there: the kernel says so once, to whoever sends or receives next.
    unreachable: Notify,
}

/// A socket that clients send to.
pub(super) struct Face {
    /// Until nobody listens here any longer.
    wire: RefCell<Option<Rc<Wire>>>,
    left: Notify,
    /// Sessions that have followed their clients since then.
    followed: Cell<usize>,
    local: SocketAddr,
    key: Key,
    rule: Arc<ArcSwap<Rule>>,
    worker: Rc<Worker>,
    sessions: RefCell<HashMap<Ends4, Arc<Session>, RandomState>>,
    moved: Arc<Moved>,
}

impl Face {
    pub(super) fn new(
        socket: OwnedFd,
        key: Key,
        rule: Arc<ArcSwap<Rule>>,
        moved: Arc<Moved>,
        worker: &Rc<Worker>,
    ) -> io::Result<Rc<Self>> {
        let wire = Wire::new(socket)?;
        let local = wire.socket.local_addr()?;
        Ok(Rc::new(Self {
            wire: RefCell::new(Some(Rc::new(wire))),
            left: Notify::new(),
            followed: Cell::new(0),
            local,
            key,
            rule,
            worker: Rc::clone(worker),
            sessions: RefCell::default(),
            moved,
        }))
    }

    /// Listens no longer. The sessions go on, each by itself.
    pub(super) fn leave(&self) {
        self.wire.take();
        self.left.notify_waiters();
    }

    /// Takes what clients send, for as long as anybody waits for this.
    pub(super) async fn run(self: Rc<Self>) {
        let _vital = outwork_net::thread::Vital;
        let Some(wire) = self.wire.borrow().clone() else { return };
        loop {
            if wire.socket.readable().await.is_err() {
                continue;
            }
            let mut room = self.worker.datagrams.0.borrow_mut().take().unwrap_or_default();
            // What ICMP says of one client is no matter of the others.
            if let Ok(count) = wire.receive(&mut room, Interest::READABLE) {
                for (meta, run) in room.runs(count) {
                    self.take(&wire, meta, run);
                }
            }
            self.worker.datagrams.0.replace(Some(room));
            // However much comes, others have their turns, too.
            tokio::task::yield_now().await;
        }
    }

    /// Passes on what came from a client at once.
    fn take(self: &Rc<Self>, wire: &Rc<Wire>, meta: &RecvMeta, run: &[u8]) {
        let rule = self.rule.load();
        let whose = (meta.addr, meta.dst_ip);
        let (stride, shared) = (stride(meta, run), &self.worker.shared);
        let taken = shared.guard.take(whose.0.ip(), run, stride, shared.began.elapsed(), &rule.live.cells);
        let Some(run) = taken else { return };
        if rule.settings.quic && !run.is_empty() {
            // Of one address may come what is of several connections.
            for datagram in run.chunks(stride) {
                self.pass(&rule, wire, whose, datagram, stride);
            }
        } else {
            self.pass(&rule, wire, whose, run, stride);
        }
    }

    fn pass(self: &Rc<Self>, rule: &Arc<Rule>, wire: &Rc<Wire>, whose: Ends4, run: &[u8], stride: usize) {
        let Some(session) = self.session(rule, wire, whose, run) else { return };
        let mut rest = run;
        if rule.settings.send_proxy.is_some() && !session.is_announced.swap(true, Relaxed) {
            let (first, others) = run.split_at(stride.min(run.len()));
            let mut said = self.announced(whose);
            said.extend_from_slice(first);
            session.pass(&self.worker, &said, said.len());
            if others.is_empty() {
                return;
            }
            rest = others;
        }
        session.pass(&self.worker, rest, stride);
    }

    /// The session of a client's datagrams.
    fn session(self: &Rc<Self>, rule: &Arc<Rule>, wire: &Rc<Wire>, whose: Ends4, run: &[u8]) -> Option<Arc<Session>> {
        let known = || self.sessions.borrow().get(&whose).cloned();
        let named = if rule.settings.quic { self.moved.lock().find(run).cloned() } else { None };
        let begun = match named {
            None => known().map_or_else(|| self.begin(rule, wire, whose, None), Ok),
            Some(named) if named.client == whose => Ok(named),
            // It comes from elsewhere. Another socket to the same backend has that see for itself that its client has moved, and make sure of it before it sends much
            // there; who only says whose the datagram is gets nothing that goes to others.
            Some(named) => known().filter(|known| known.target == named.target).map_or_else(
                || {
                    let session = self.begin(rule, wire, whose, Some(&named.member))?;
                    self.moved.lock().give(run, named.number, session.number, &session);
                    Ok(session)
                },
                Ok,
            ),
        };
        begun.inspect_err(|why| rule.live.cells.refused(*why)).ok()
    }

    /// Begins a session with a backend: this one, if it may still have what it had.
    fn begin(
        self: &Rc<Self>,
        rule: &Arc<Rule>,
        wire: &Rc<Wire>,
        whose: Ends4,
        with: Option<&str>,
    ) -> Result<Arc<Session>, Refused> {
        let shared = &self.worker.shared;
        let seat = Seat::take(shared, rule)?.of_client(self.local, whose.0.ip())?;
        let pool = rule.pools.of(None).ok_or(Refused::Name)?;
        let (snapshot, local) = (pool.snapshot(), Local::of(pool));
        let ask = Ask { client: Some(whose.0.ip()), sticky: with, established: with.is_some(), ..Ask::default() };
        let picked = Asking { pool, snapshot: &snapshot, local: &local }.attempt(&ask);
        let (taken, endpoint) = picked.map_err(|reason| {
            pool.metrics().refused.of(reason.into()).inc();
            Refused::Backend
        })?;
        endpoint.cells.requests.inc();
        let Target::Address(target) = endpoint.target else { return Err(Refused::Backend) };
        let source = rule.settings.transparent.then_some(whose.0.ip());
        let backend = connect(target, source, rule.settings.buffers().or(snapshot.settings.connections.buffers()))
            .map_err(|error| {
                tracing::debug!(%error, %target, "a session of UDP does not begin");
                Refused::Backend
            })?;
        endpoint.cells.opened.inc();
        rule.live.cells.opened.inc();
        let session = Arc::new(Session {
            number: shared.sessions.fetch_add(1, Relaxed),
            backend,
            target,
            client: whose,
            member: endpoint.key.clone(),
            used: AtomicU64::new(shared.millis()),
            rule: Arc::clone(rule),
            is_announced: AtomicBool::new(false),
            unreachable: Notify::new(),
        });
        self.sessions.borrow_mut().insert(whose, Arc::clone(&session));
        let present = self.worker.crowd.enter(self.key, rule, whose.0.ip());
        present.has(pool, taken.id());
        let key = present.key();
        let open = Open {
            face: Rc::clone(self),
            whose,
            session: Arc::clone(&session),
            way: Rc::clone(wire),
            follows: Follows::NotYet,
            present,
            _seat: seat,
            taken,
            pool: Arc::clone(pool),
            snapshot,
            has_answered: false,
        };
        let task = tokio::task::spawn_local(open.run());
        self.worker.crowd.runs(key, task.abort_handle());
        Ok(session)
    }

    /// What a backend is told in front of the first datagram.
    fn announced(&self, (client, asked): Ends4) -> Vec<u8> {
        let mut said = Vec::new();
        let destination = asked.map_or(self.local, |address| SocketAddr::new(address, self.local.port()));
        let ends = Ends::Internet { transport: Transport::Datagram, source: client, destination };
        if let Err(error) = write_v2(&ends, &Extras::default(), &mut said) {
            tracing::warn!(%error, "a backend is not told whose a session is");
        }
        said
    }
}

impl Session {
    /// Passes on what its client says.
    fn pass(&self, worker: &Worker, run: &[u8], stride: usize) {
        self.used.store(worker.shared.millis(), Relaxed);
        self.rule.live.cells.received.add(run.len() as u64);
        match self.backend.send(self.target, None, run, stride) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.unreachable.notify_one(),
            Err(_) => self.rule.live.cells.dropped.inc(),
        }
    }
}

/// Octets of each datagram of a run; never none, for by them it is parted.
fn stride(meta: &RecvMeta, run: &[u8]) -> usize {
    if meta.stride == 0 { run.len().max(1) } else { meta.stride }
}

fn connect(target: SocketAddr, source: Option<IpAddr>, buffers: Buffers) -> io::Result<Wire> {
    let socket = open(target)?;
    buffers.set(&socket)?;
    if let Some(source) = source.filter(|source| source.is_ipv4() == target.is_ipv4()) {
        transparent::allow(&socket, target.is_ipv4()).map_err(|error| error.source)?;
        rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    } else {
        let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        rustix::net::bind(&socket, &SocketAddr::new(any, 0))?;
    }
    rustix::net::connect(&socket, &target)?;
    Wire::new(socket)
}
