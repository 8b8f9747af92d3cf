//! What is not a client's doing: interfaces that come and go, leases that end, figures.

use super::port::SERVER_PORT;
use super::prober::Prober;
use super::service::{InterfaceStatus, Service};
use super::worker::{Command, Interfaces};
use super::{MAX_SOCKETS, Mailbox, Options};
use crate::config::InterfaceRule;
use crate::metrics::{DhcpMetrics, SocketKind};
use outwork_net::bpf::Capture;
use outwork_net::{Interface, PacketSocket, UdpSocket, Waker, Watch, interfaces, poll};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_secs(1);
/// Pause between two slices of expiry, for the workers.
const BREATH: Duration = Duration::from_micros(100);
/// Leases looked at in one hold of the engine for whether they ended too long ago to keep.
const SWEEP: usize = 1024;
/// Pools that have gauges of their own, as many as the metrics take.
const POOLS: usize = 4096;

/// Wakes the housekeeper's thread for the last time.
#[derive(Debug)]
pub(super) struct Bell {
    waker: Waker,
    stop: AtomicBool,
}

impl Bell {
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }
}

/// An interface that is served, or would be if it were there.
#[derive(Debug)]
struct Served {
    name: String,
    /// The configuration names it; otherwise it fits a rule with a star, and is forgotten when it goes.
    named: bool,
    open: Option<Group>,
    problem: Option<String>,
}

/// Its sockets, one a worker.
#[derive(Debug)]
struct Group {
    index: u32,
    capture: Capture,
    sockets: Vec<Counted<PacketSocket>>,
}

/// A socket and what the kernel had dropped of it when last asked.
#[derive(Debug)]
struct Counted<S> {
    socket: Arc<S>,
    drops: u32,
}

impl<S> Counted<S> {
    fn new(socket: Arc<S>) -> Self {
        Self { socket, drops: 0 }
    }

    fn count(&mut self, kind: SocketKind, now: outwork_net::Result<u32>, metrics: &DhcpMetrics) {
        match now {
            Ok(now) => {
                metrics.kernel_drops.of(kind).add(now.wrapping_sub(self.drops).into());
                self.drops = now;
            }
            Err(error) => tracing::debug!(%error, "the drops of a socket are not known"),
        }
    }
}

/// The housekeeper's thread.
pub(super) struct Housekeeper {
    service: Arc<Service>,
    mailboxes: Vec<Arc<Mailbox>>,
    prober: Arc<Prober>,
    bell: Arc<Bell>,
    watch: Watch,
    listening: Vec<SocketAddrV4>,
    udp: Vec<Counted<UdpSocket>>,
    rules: Vec<InterfaceRule>,
    served: Vec<Served>,
    receive_buffer: usize,
    expiry_slice: usize,
    /// The configuration whose pools have gauges.
    generation: Option<u64>,
}

impl Housekeeper {
    pub(super) fn new(
        service: Arc<Service>,
        options: &Options,
        listening: &[SocketAddrV4],
        udp: Vec<Arc<UdpSocket>>,
        mailboxes: Vec<Arc<Mailbox>>,
        prober: Arc<Prober>,
    ) -> outwork_net::Result<Self> {
        let named = options.interfaces.iter().filter_map(InterfaceRule::named);
        let served = |name: &str| Served { name: name.to_owned(), named: true, open: None, problem: None };
        Ok(Self {
            service,
            mailboxes,
            prober,
            bell: Arc::new(Bell { waker: Waker::new()?, stop: AtomicBool::new(false) }),
            watch: Watch::new()?,
            listening: listening.to_vec(),
            udp: udp.into_iter().map(Counted::new).collect(),
            served: named.map(served).collect(),
            rules: options.interfaces.clone(),
            receive_buffer: options.receive_buffer,
            expiry_slice: options.expiry_slice.max(1),
            generation: None,
        })
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    pub(super) fn run(mut self) {
        let mut next = Instant::now();
        while !self.bell.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            if now >= next {
                next = now + TICK;
                self.tick();
            }
            let mut entries = [poll::Entry::readable(&self.bell.waker), poll::Entry::readable(&self.watch)];
            let waited = poll::wait(&mut entries, Some(next.saturating_duration_since(Instant::now())));
            let changed = waited.and_then(|_| self.watch.drain());
            match changed {
                Ok(true) => self.sync_interfaces(),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the DHCP housekeeper looks at the interfaces every second only");
                    std::thread::sleep(TICK);
                    self.sync_interfaces();
                }
            }
        }
    }

    fn tick(&mut self) {
        if self.served.iter().any(|served| served.open.is_none()) {
            self.sync_interfaces();
        }
        self.expire();
        self.forget();
        self.warn();
        self.measure();
    }

    /// Opens what is there and not open, closes what is gone, and tells everybody the addresses.
    pub(super) fn sync_interfaces(&mut self) {
        let list: Interfaces = match interfaces() {
            Ok(list) => list.into_iter().map(Arc::new).collect(),
            Err(error) => {
                tracing::warn!(%error, "interfaces that change now are not noticed");
                return;
            }
        };
        self.mailboxes.iter().for_each(|mailbox| mailbox.send(Command::Interfaces(Arc::clone(&list))));
        self.prober.refresh(Arc::clone(&list));
        let mut served = std::mem::take(&mut self.served);
        self.close(&mut served, &list);
        for interface in list.iter().filter(|interface| self.fits(interface)) {
            if !served.iter().any(|one| one.name == interface.name) {
                served.push(Served { name: interface.name.clone(), named: false, open: None, problem: None });
            }
        }
        let mut sockets = self.listening.len() + served.iter().filter(|one| one.open.is_some()).count();
        for one in served.iter_mut().filter(|one| one.open.is_none()) {
            let found = list.iter().find(|interface| interface.name == one.name);
            self.try_open(one, found, sockets);
            sockets += usize::from(one.open.is_some());
        }
        self.served = served;
        self.service.board.lock().interfaces = self.status();
    }

    /// True if a rule with a star serves the interface: Ethernet, up, with an address to be the server's.
    fn fits(&self, interface: &Interface) -> bool {
        let able = interface.up && interface.mac.is_some() && !interface.loopback && !interface.addresses.is_empty();
        able && self.rules.iter().any(InterfaceRule::is_open) && InterfaceRule::choose(&self.rules, &interface.name)
    }

    /// Closes what is gone or is another now, and forgets what only a rule with a star asked for.
    fn close(&self, served: &mut Vec<Served>, list: &Interfaces) {
        for one in served.iter_mut() {
            let Some(group) = &one.open else { continue };
            let found = list.iter().find(|interface| interface.name == one.name);
            let stays = |interface: &&Arc<Interface>| {
                (interface.index, self.capture(interface)) == (group.index, group.capture)
                    && (one.named || self.fits(interface))
            };
            if found.filter(stays).is_none() {
                self.mailboxes.iter().for_each(|mailbox| mailbox.send(Command::DropLink(group.index)));
                one.open = None;
                tracing::info!(interface = one.name, "clients on this interface are no longer heard");
            }
        }
        let fits = |one: &Served| list.iter().any(|interface| interface.name == one.name && self.fits(interface));
        served.retain(|one| one.named || fits(one));
    }

    fn try_open(&self, served: &mut Served, found: Option<&Arc<Interface>>, sockets: usize) {
        let opened = match found {
            None => Err("it does not exist; it is picked up when it appears".to_owned()),
            Some(interface) if interface.mac.is_none() => Err("it is not an Ethernet interface".to_owned()),
            Some(_) if sockets >= MAX_SOCKETS => {
                Err(format!("{MAX_SOCKETS} addresses and interfaces are served already, the most there may be"))
            }
            Some(interface) => self.open(interface),
        };
        match opened {
            Ok(group) => {
                served.open = Some(group);
                served.problem = None;
                tracing::info!(interface = served.name, "clients on this interface are heard");
            }
            Err(problem) => {
                if served.problem.as_ref() != Some(&problem) {
                    tracing::warn!(interface = served.name, problem, "clients on this interface are not heard");
                }
                served.problem = Some(problem);
            }
        }
    }

    fn status(&self) -> Vec<InterfaceStatus> {
        let status = |served: &Served| InterfaceStatus {
            name: served.name.clone(),
            open: served.open.is_some(),
            problem: served.problem.clone(),
        };
        let mut all: Vec<_> = self.served.iter().map(status).collect();
        for rule in self.rules.iter().filter(|rule| rule.is_open()) {
            if !self.served.iter().any(|served| InterfaceRule::choose(std::slice::from_ref(rule), &served.name)) {
                let problem =
                    "no Ethernet interface that fits is up and has an IPv4 address; one that does is picked up";
                all.push(InterfaceStatus { name: rule.to_string(), open: false, problem: Some(problem.to_owned()) });
            }
        }
        all
    }

    /// What the packet sockets take: all that a UDP socket of the server port does not.
    fn capture(&self, interface: &Interface) -> Capture {
        let heard = self.listening.iter().any(|listen| {
            listen.port() == SERVER_PORT
                && (listen.ip().is_unspecified() || interface.addresses.iter().any(|own| own.address == *listen.ip()))
        });
        match heard {
            true => Capture::Broadcasts { port: SERVER_PORT },
            false => Capture::Datagrams { port: SERVER_PORT },
        }
    }

    fn open(&self, interface: &Arc<Interface>) -> Result<Group, String> {
        let capture = self.capture(interface);
        let sockets = PacketSocket::open_group(interface, capture, self.receive_buffer, self.mailboxes.len())
            .map_err(|error| error.to_string())?;
        let sockets: Vec<_> = sockets.into_iter().map(|socket| Counted::new(Arc::new(socket))).collect();
        for (mailbox, counted) in self.mailboxes.iter().zip(&sockets) {
            mailbox.send(Command::AddLink(Arc::clone(&counted.socket), Arc::clone(interface)));
        }
        Ok(Group { index: interface.index, capture, sockets })
    }

    /// Ends what has run out, a slice at a time.
    fn expire(&self) {
        loop {
            let slice = self.expiry_slice;
            let run = |engine: &mut crate::engine::Engine, now: crate::engine::Now| {
                let before = engine.expired();
                (engine.handle_timeout(now.unix, slice), engine.expired() - before)
            };
            match self.service.decide(run) {
                Ok(((handled, expired), _)) => {
                    self.service.metrics().expirations.add(expired);
                    if handled < slice || self.bell.stop.load(Ordering::Acquire) {
                        return;
                    }
                    std::thread::sleep(BREATH);
                }
                // Nothing ends while the disk fails: what ended would not be known after a restart.
                Err(error) => {
                    tracing::debug!(%error, "leases that have run out wait for the disk");
                    return;
                }
            }
        }
    }

    /// Looks at a slice of all leases a second for those that ended long ago.
    fn forget(&self) {
        if let Ok((forgotten, _)) = self.service.decide(|engine, now| engine.forget_ended(now.unix, SWEEP)) {
            self.service.metrics().forgotten.add(forgotten as u64);
        }
    }

    fn warn(&self) {
        let Ok((warnings, _)) = self.service.decide(|engine, _| engine.pool_warnings()) else { return };
        for warning in warnings {
            let crate::engine::PoolWarning { subnet, first, last, held, total, high } = warning;
            let pool = format!("{first}-{last}");
            match high {
                true => tracing::warn!(subnet, pool, held, total, "the pool is running out of addresses"),
                false => tracing::info!(subnet, pool, held, total, "the pool has addresses again"),
            }
        }
    }

    fn measure(&mut self) {
        let metrics = Arc::clone(self.service.metrics());
        let look =
            |engine: &crate::engine::Engine| (engine.totals(), engine.leases().len(), Arc::clone(engine.policy()));
        let (totals, known, policy) = self.service.read(look);
        metrics.leases_active.set(totals.active as i64);
        metrics.leases_offered.set(totals.offered as i64);
        metrics.leases_declined.set(totals.declined as i64);
        metrics.leases_known.set(known as i64);
        self.udp.iter_mut().for_each(|udp| udp.count(SocketKind::Udp, udp.socket.drops(), &metrics));
        for counted in self.served.iter_mut().filter_map(|served| served.open.as_mut()).flat_map(|g| &mut g.sockets) {
            counted.count(SocketKind::Packet, counted.socket.drops(), &metrics);
        }
        if self.generation != Some(policy.generation) {
            self.generation = Some(policy.generation);
            let gauges = [&metrics.pool_addresses, &metrics.pool_active, &metrics.pool_offered, &metrics.pool_declined];
            gauges.iter().for_each(|gauge| gauge.retain(|_| false));
        }
        let mut room = POOLS;
        for (index, subnet) in policy.subnets.iter().enumerate() {
            if room < subnet.pools.len() {
                break;
            }
            room -= subnet.pools.len();
            // A lock for each subnet: with many of them the workers get in between.
            for pool in self.service.read(|engine| engine.pool_use(index)) {
                let (id, range) = (subnet.id.to_string(), format!("{}-{}", pool.first, pool.last));
                let labels = [id.as_str(), range.as_str()];
                metrics.pool_addresses.cell(labels).set(pool.total as i64);
                metrics.pool_active.cell(labels).set(pool.active.into());
                metrics.pool_offered.cell(labels).set(pool.offered.into());
                metrics.pool_declined.cell(labels).set(pool.declined.into());
            }
        }
    }
}
