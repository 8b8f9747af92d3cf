//! A worker: receives a batch, decodes it, decides it under one hold of the engine, encodes, and sends what the disk allows.

use super::parked::{Next, Queue};
use super::port::{Ingress, Ports, Route, SERVER_PORT};
use super::prober::{Medium, Prober, Question};
use super::service::Service;
use super::unserved::Unserved;
use super::{Mailbox, Options};
use crate::codec::Message;
use crate::config::WhenFull;
use crate::engine::{self, Answer, Decision, Silence};
use crate::metrics::{DhcpMetrics, Dropped, ReplyType, RequestType};
use crate::policy::{Policy, Request, Via};
use outwork_net::{Interface, PacketSocket, UdpSocket, packet, poll, udp};
use outwork_store::log::{AppendError, Lsn};
use outwork_wire::MacAddr;
use outwork_wire::frame;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Octets of the longest message taken: no client or relay agent sends more than an Ethernet frame holds.
const MESSAGE: usize = 2048;
/// Runs of messages received at a time, at most: each needs 64 KiB of room.
const RUNS: usize = 16;
/// Octets of the headers before it in a frame: Ethernet, IPv4 with all options, UDP.
const HEADERS: usize = 14 + 60 + 8;
/// Hardware type Ethernet.
const ETHERNET: u8 = 1;

/// Interfaces of this host, ascending by index.
pub(crate) type Interfaces = Arc<[Arc<Interface>]>;

/// What others ask of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Interfaces or their addresses have changed.
    Interfaces(Interfaces),
    /// Serve an interface.
    AddLink(Arc<PacketSocket>, Arc<Interface>),
    /// The interface of this index is no longer served.
    DropLink(u32),
    /// Its address was probed: decide again.
    Again(Box<Again>),
    /// Read nothing more; leave once nothing waits, or at this time.
    Stop(Instant),
}

/// A request that is decided again.
#[derive(Debug)]
pub(crate) struct Again {
    pub(super) bytes: Box<[u8]>,
    pub(super) source: SocketAddrV4,
    pub(super) destination: Ipv4Addr,
    pub(super) route: Route,
    pub(super) received: Instant,
    /// Addresses probed for it so far.
    pub(super) probes: u8,
}

/// A datagram as it came.
struct Incoming<'a> {
    bytes: &'a [u8],
    source: SocketAddrV4,
    destination: Ipv4Addr,
    route: Route,
    received: Instant,
    probes: u8,
}

/// What is kept of a datagram beside the request in it.
#[derive(Clone, Copy)]
struct Context {
    route: Route,
    received: Instant,
    probes: u8,
}

/// One worker thread's state.
pub(super) struct Worker {
    index: usize,
    service: Arc<Service>,
    metrics: Arc<DhcpMetrics>,
    mailbox: Arc<Mailbox>,
    prober: Arc<Prober>,
    ports: Ports,
    interfaces: Interfaces,
    policy: Arc<Policy>,
    parked: Queue,
    scratch: Vec<u8>,
    batch: usize,
    /// Whether datagrams come in runs.
    offload: bool,
    when_full: WhenFull,
    stop: Option<Instant>,
    complained: Option<Instant>,
    /// Memory of `parked`, as the gauge of all workers has it.
    buffers: i64,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        service: Arc<Service>,
        mailbox: Arc<Mailbox>,
        udp: Vec<Arc<UdpSocket>>,
        prober: Arc<Prober>,
        options: &Options,
    ) -> Self {
        let batch = options.batch.max(1);
        let metrics = Arc::clone(service.metrics());
        Self {
            index,
            policy: service.read(|engine| Arc::clone(engine.policy())),
            ports: Ports::new(udp, batch.max(64), Arc::clone(&service)),
            metrics,
            service,
            mailbox,
            prober,
            interfaces: Arc::new([]),
            parked: Queue::new(options.queue_size.max(batch)),
            scratch: Vec::new(),
            batch,
            offload: options.offload,
            when_full: options.when_full,
            stop: None,
            complained: None,
            buffers: 0,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut datagrams = match self.offload {
            true => udp::Inbox::of_runs(self.batch.min(RUNS), MESSAGE),
            false => udp::Inbox::new(self.batch, MESSAGE),
        };
        let mut frames = packet::Inbox::new(self.batch, HEADERS + MESSAGE);
        let mut busy = false;
        while !self.done() {
            // Sockets by bit: UDP first, then links.
            let ready = if busy { u64::MAX } else { self.wait() };
            self.obey();
            self.release();
            busy = self.receive(ready, &mut datagrams, &mut frames);
            self.release();
            self.ports.flush();
            self.count_buffers(self.parked.memory() as i64);
        }
        self.count_buffers(0);
        let left = (self.parked.len() + self.ports.unsent()) as u64;
        self.metrics.dropped.of(Dropped::Stopping).add(left);
        self.metrics.parked.add(-(self.parked.len() as i64));
    }

    fn count_buffers(&mut self, bytes: i64) {
        if bytes != self.buffers {
            self.metrics.answer_buffers.add(bytes - self.buffers);
            self.buffers = bytes;
        }
    }

    fn done(&self) -> bool {
        let nothing_waits = self.parked.len() + self.ports.unsent() == 0;
        self.stop.is_some_and(|deadline| nothing_waits || Instant::now() >= deadline)
    }

    /// Whether another batch may be read.
    fn reads(&self) -> bool {
        self.stop.is_none() && (self.when_full == WhenFull::Drop || self.parked.room() >= self.batch)
    }

    /// Waits until there is something to do; which sockets are ready.
    fn wait(&mut self) -> u64 {
        self.mailbox.wait_for_disk(self.parked.len() > 0);
        let now = Instant::now();
        if self.parked.is_ready(self.service.log().durable()) {
            return 0;
        }
        let mut timeout = self.parked.patience(now);
        if let Some(deadline) = self.stop {
            let left = deadline.saturating_duration_since(now);
            timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
        }
        let reads = self.reads();
        if !reads && self.ports.unsent() > 0 {
            timeout = Some(Duration::from_millis(1));
        }
        let mut entries = Vec::with_capacity(1 + self.ports.udp.len() + self.ports.links.len());
        entries.push(poll::Entry::readable(&self.mailbox.waker));
        if reads {
            entries.extend(
                self.ports.udp.iter().map(|port| poll::Entry::readable(&*port.socket).or_writable(port.blocked())),
            );
            entries.extend(
                self.ports.links.iter().map(|link| poll::Entry::readable(&*link.socket).or_writable(link.blocked())),
            );
        }
        if let Err(error) = poll::wait(&mut entries, timeout) {
            drop(entries);
            self.complain(&error);
            return 0;
        }
        let mut sockets = entries.iter();
        let woken = sockets.next().is_some_and(poll::Entry::is_readable);
        let ready = sockets.enumerate().filter(|(_, entry)| entry.is_readable());
        let ready = ready.fold(0, |ready, (index, _)| ready | 1 << index);
        if woken {
            self.mailbox.waker.drain();
        }
        ready
    }

    /// A system call failed that should not: tells of it once a second, and keeps the thread from spinning.
    fn complain(&mut self, error: &outwork_net::Error) {
        if self.complained.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
            self.complained = Some(Instant::now());
            tracing::warn!(worker = self.index, %error, "a DHCP socket fails");
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    /// Does what others have asked for.
    fn obey(&mut self) {
        let mut commands = self.mailbox.commands.lock();
        if commands.is_empty() {
            return;
        }
        let taken = std::mem::take(&mut *commands);
        drop(commands);
        let mut again = Vec::new();
        for command in taken {
            match command {
                Command::Interfaces(interfaces) => {
                    self.ports.refresh(&interfaces);
                    self.interfaces = interfaces;
                }
                Command::AddLink(socket, interface) => self.ports.add_link(socket, interface),
                Command::DropLink(index) => self.ports.drop_link(index),
                Command::Again(request) => again.push(request),
                Command::Stop(deadline) => self.stop = Some(deadline),
            }
        }
        if !again.is_empty() {
            self.process(again.iter().map(|again| Incoming {
                bytes: &again.bytes,
                source: again.source,
                destination: again.destination,
                route: again.route,
                received: again.received,
                probes: again.probes,
            }));
        }
    }

    /// Takes one batch of every socket that is ready. True if there is more.
    fn receive(&mut self, ready: u64, datagrams: &mut udp::Inbox, frames: &mut packet::Inbox) -> bool {
        let mut more = false;
        for index in 0..self.ports.udp.len() {
            let Some(socket) = self.ports.udp.get(index).map(|port| Arc::clone(&port.socket)) else { continue };
            if ready & 1 << index == 0 || !self.reads() {
                continue;
            }
            match socket.receive(datagrams) {
                Ok(0) => {}
                Ok(count) => {
                    more |= count == self.batch || self.offload && count == RUNS;
                    self.process_datagrams(index, datagrams);
                }
                Err(error) => self.complain(&error),
            }
        }
        for index in 0..self.ports.links.len() {
            let Some(link) = self.ports.links.get(index) else { continue };
            let (socket, interface) = (Arc::clone(&link.socket), Arc::clone(&link.interface));
            if ready & 1 << (self.ports.udp.len() + index) == 0 || !self.reads() {
                continue;
            }
            match socket.receive(frames) {
                Ok(0) => {}
                Ok(count) => {
                    more |= count == self.batch;
                    self.process_frames(&interface, frames);
                }
                Err(error) => self.complain(&error),
            }
        }
        more
    }

    fn process_datagrams(&mut self, port: usize, inbox: &udp::Inbox) {
        let (interfaces, metrics) = (Arc::clone(&self.interfaces), Arc::clone(&self.metrics));
        let service = Arc::clone(&self.service);
        let received = Instant::now();
        let mut incoming = inbox.datagrams().filter_map(|datagram| {
            if datagram.truncated {
                metrics.dropped.of(Dropped::TooLong).inc();
                return None;
            }
            let interface = find(&interfaces, datagram.interface);
            let Some(server) = server_address(interface, datagram.destination) else {
                metrics.dropped.of(Dropped::NoServerAddress).inc();
                no_address(&service, interface);
                return None;
            };
            let route = Route { ingress: Ingress::Udp(port), interface: datagram.interface, server };
            let (source, destination) = (datagram.source, datagram.destination);
            Some(Incoming { bytes: datagram.payload, source, destination, route, received, probes: 0 })
        });
        if !self.offload {
            return self.process(incoming);
        }
        // Runs hold more than a batch.
        let mut incoming = incoming.by_ref().peekable();
        while incoming.peek().is_some() {
            self.make_room();
            let batch = self.batch;
            self.process(incoming.by_ref().take(batch));
        }
    }

    /// Waits until a batch of answers may wait for the disk, where nothing may be dropped instead.
    fn make_room(&mut self) {
        while self.when_full == WhenFull::Wait && self.parked.room() < self.batch && self.parked.len() > 0 {
            self.ports.flush();
            self.mailbox.wait_for_disk(true);
            let timeout = self.parked.patience(Instant::now());
            if !self.parked.is_ready(self.service.log().durable()) {
                let mut waker = [poll::Entry::readable(&self.mailbox.waker)];
                match poll::wait(&mut waker, timeout) {
                    Ok(_) => self.mailbox.waker.drain(),
                    Err(error) => self.complain(&error),
                }
            }
            self.release();
        }
    }

    fn process_frames(&mut self, interface: &Interface, inbox: &packet::Inbox) {
        let (service, metrics) = (Arc::clone(&self.service), Arc::clone(&self.metrics));
        let received = Instant::now();
        self.process(inbox.frames().filter_map(|frame| {
            if frame.truncated {
                metrics.dropped.of(Dropped::TooLong).inc();
                return None;
            }
            let parsed = frame::parse_udp(frame.bytes, frame.checksum).ok();
            let ours = parsed.filter(|(_, datagram)| {
                datagram.destination.port() == SERVER_PORT && is_ours(interface, *datagram.destination.ip())
            });
            let Some((ethernet, datagram)) = ours else {
                metrics.dropped.of(Dropped::BadFrame).inc();
                return None;
            };
            let destination = *datagram.destination.ip();
            let Some(server) = server_address(Some(interface), destination) else {
                metrics.dropped.of(Dropped::NoServerAddress).inc();
                no_address(&service, Some(interface));
                return None;
            };
            let route = Route { ingress: Ingress::Link(ethernet.source), interface: interface.index, server };
            Some(Incoming { bytes: datagram.payload, source: datagram.source, destination, route, received, probes: 0 })
        }));
    }

    /// Decodes, decides and answers a batch.
    fn process<'a>(&mut self, incoming: impl Iterator<Item = Incoming<'a>>) {
        let interfaces = Arc::clone(&self.interfaces);
        let mut room = self.parked.room();
        let mut requests: Vec<Request<'_>> = Vec::with_capacity(self.batch);
        let mut contexts: Vec<Context> = Vec::with_capacity(self.batch);
        let mut octets = 0;
        for incoming in incoming {
            if incoming.probes == 0 {
                octets += incoming.bytes.len() as u64;
            }
            let message = match Message::decode(incoming.bytes) {
                Ok(message) => message,
                Err(reason) => {
                    self.metrics.malformed.of(reason).inc();
                    continue;
                }
            };
            if let Some(kind) = RequestType::of(message.kind()).filter(|_| incoming.probes == 0) {
                self.metrics.requests.of(kind).inc();
            }
            if room == 0 {
                self.metrics.dropped.of(Dropped::QueueFull).inc();
                continue;
            }
            room -= 1;
            let Incoming { source, destination, route, received, probes, .. } = incoming;
            let interface = find(&interfaces, route.interface).map_or("", |interface| &interface.name);
            let link = matches!(route.ingress, Ingress::Link(_));
            requests.push(Request { message, via: Via { interface, server: route.server, source, destination, link } });
            contexts.push(Context { route, received, probes });
        }
        self.metrics.received.add(octets);
        if requests.is_empty() {
            return;
        }
        self.metrics.batch_size.record_value(requests.len() as u64);
        match self.decide(&requests, &contexts) {
            Ok((decisions, lsn)) => {
                for ((request, context), decision) in requests.iter().zip(&contexts).zip(decisions) {
                    self.perform(request, context, decision, &lsn);
                }
            }
            // No offers that could not be bound, and no word on leases that the disk does not know.
            Err(reason) => self.metrics.dropped.of(reason).add(requests.len() as u64),
        }
    }

    #[allow(clippy::type_complexity)]
    fn decide(
        &mut self,
        requests: &[Request<'_>],
        contexts: &[Context],
    ) -> Result<(Vec<Decision>, Result<Lsn, AppendError>), Dropped> {
        let policy = &mut self.policy;
        let mut facts: Vec<_> = requests.iter().map(|request| policy.facts(request)).collect();
        let decided = self.service.decide(|engine, now| {
            if !Arc::ptr_eq(engine.policy(), policy) {
                *policy = Arc::clone(engine.policy());
                facts = requests.iter().map(|request| policy.facts(request)).collect();
            }
            let each = requests.iter().zip(&facts).zip(contexts);
            each.map(|((request, facts), context)| match context.probes {
                0 => engine.handle(now, request, facts),
                _ => engine.handle_again(now, request, facts),
            })
            .collect()
        });
        decided.map_err(|error| error.dropped())
    }

    fn perform(
        &mut self,
        request: &Request<'_>,
        context: &Context,
        decision: Decision,
        lsn: &Result<Lsn, AppendError>,
    ) {
        match decision {
            Decision::Silent(reason) => {
                self.metrics.silent.of(reason).inc();
                if reason == Silence::NoSubnet {
                    self.service.note_unserved(&request.locator().into());
                }
            }
            Decision::Answer(answer) => self.answer(request, context, &answer, lsn),
            Decision::Probe(address) => self.probe(request, context, address),
        }
    }

    fn answer(&mut self, request: &Request<'_>, context: &Context, answer: &Answer, lsn: &Result<Lsn, AppendError>) {
        let waits_for = match (answer.durable, lsn) {
            (false, _) => None,
            (true, Ok(lsn)) => Some(*lsn).filter(|lsn| *lsn > self.service.log().durable()),
            // What it says is not in the log. The client asks again.
            (true, Err(_)) => return self.metrics.dropped.of(Dropped::StoreFull).inc(),
        };
        let Some(kind) = ReplyType::of(answer.kind) else { return };
        let mut bytes = match waits_for {
            Some(_) => self.parked.buffer(),
            None => std::mem::take(&mut self.scratch),
        };
        let (destination, left_out) = engine::encode(&self.policy, request, answer, &mut bytes);
        if left_out > 0 {
            self.metrics.options_no_room.add(u64::from(left_out));
        }
        let way = self.ports.way(context.route, destination, ethernet_address(&request.message));
        match (way, waits_for) {
            (Some(way), Some(lsn)) => {
                self.parked.push(lsn, context.received, kind, way, bytes);
                self.metrics.parked.inc();
                return;
            }
            (Some(way), None) => self.ports.push(&way, &bytes, kind, context.received),
            (None, _) => self.metrics.dropped.of(Dropped::NoWay).inc(),
        }
        match waits_for {
            Some(_) => self.parked.recycle(bytes),
            None => self.scratch = bytes,
        }
    }

    fn probe(&self, request: &Request<'_>, context: &Context, address: Ipv4Addr) {
        if context.probes >= self.policy.rules.probe_attempts {
            return self.metrics.dropped.of(Dropped::ProbeAttempts).inc();
        }
        let medium = match context.route.ingress {
            Ingress::Link(_) => Medium::Arp { interface: context.route.interface },
            Ingress::Udp(_) => Medium::Echo,
        };
        let again = Again {
            bytes: request.message.bytes().into(),
            source: request.via.source,
            destination: request.via.destination,
            route: context.route,
            received: context.received,
            probes: context.probes,
        };
        let client = ethernet_address(&request.message);
        if !self.prober.ask(Question { address, medium, client, worker: self.index, again }) {
            self.metrics.dropped.of(Dropped::ProbeTableFull).inc();
        }
    }

    /// Sends the answers whose records are durable by now, and lets go of those that waited too long.
    fn release(&mut self) {
        if self.parked.len() == 0 {
            return;
        }
        let (durable, now) = (self.service.log().durable(), Instant::now());
        let mut left = 0;
        while let Some(next) = self.parked.next(durable, now) {
            let parked = match next {
                Next::Ready(parked, waited) => {
                    self.metrics.commit_wait.record(waited);
                    self.ports.push(&parked.way, &parked.bytes, parked.kind, parked.received);
                    parked
                }
                Next::Late(parked) => {
                    self.metrics.dropped.of(Dropped::StoreSlow).inc();
                    parked
                }
            };
            self.parked.recycle(parked.bytes);
            left -= 1;
        }
        self.metrics.parked.add(left);
    }
}

/// Clients on an interface that has no address can't be answered.
fn no_address(service: &Service, interface: Option<&Interface>) {
    if let Some(interface) = interface {
        service.note_unserved(&Unserved::NoAddress(interface.name.clone()));
    }
}

fn find(interfaces: &[Arc<Interface>], index: u32) -> Option<&Interface> {
    let at = interfaces.binary_search_by_key(&index, |interface| interface.index).ok()?;
    interfaces.get(at).map(|interface| &**interface)
}

/// True if the address reaches everybody on a link of this interface.
fn is_broadcast(interface: Option<&Interface>, address: Ipv4Addr) -> bool {
    address.is_broadcast()
        || interface.into_iter().flat_map(|interface| &interface.addresses).any(|own| {
            let host = u32::MAX.checked_shr(own.prefix_length.into()).unwrap_or(0);
            host > 1 && u32::from(own.address) | host == u32::from(address)
        })
}

/// Our address for a client that sent to `destination`: that one, if it is an address of ours.
fn server_address(interface: Option<&Interface>, destination: Ipv4Addr) -> Option<Ipv4Addr> {
    if destination.is_multicast() || destination.is_unspecified() || is_broadcast(interface, destination) {
        return interface?.addresses.first().map(|own| own.address);
    }
    Some(destination)
}

/// True if what a packet socket saw is for us, and not a datagram that this host only passes on.
fn is_ours(interface: &Interface, destination: Ipv4Addr) -> bool {
    is_broadcast(Some(interface), destination) || interface.addresses.iter().any(|own| own.address == destination)
}

fn ethernet_address(message: &Message<'_>) -> Option<MacAddr> {
    let octets = <[u8; 6]>::try_from(message.chaddr()).ok()?;
    (message.htype() == ETHERNET).then_some(MacAddr(octets))
}
