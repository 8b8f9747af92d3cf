//! Devices, sockets, keys and threads: the shell.
//!
//! - `change`: another configuration in the place of the one in force, wholly or not at all.
//! - `memory`: where its memory is.

mod change;
mod memory;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use outwork_net::poll::Waker;
use outwork_net::thread::{self, Precedence, spawn_vital};
use outwork_net::tun::{self, Queue, Tun};
use outwork_wireguard::entropy::System;
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table;
use outwork_wireguard::{Entropy, PublicKey};

use crate::config::policy::PolicySettings;
use crate::config::{PriorityKind, Sdwan, TunnelSettings};
use crate::control::carriers::Carriers;
use crate::control::explain::{Explained, Question};
use crate::control::peers::Peers;
use crate::control::told::Paths;
use crate::control::{Control, Order, Told};
use crate::engine::class::Class;
use crate::engine::policy::PolicyError;
use crate::kernel::{Carried, Kernel, KernelError};
use crate::keys::rotation::State;
use crate::keys::{self, Be, KeyTold, Keys, KeysError};
use crate::plan::Numbers;
use crate::plane::gauge;
use crate::plane::join::Offload;
use crate::plane::shared::{NOTICES, Shared};
use crate::plane::tunnel::UplinkIndex;
use crate::plane::view::View;
use crate::plane::worker::Worker;
use crate::qos::{Qos, QosError, Undone};
use crate::resolve::{self, Names};
use crate::routing::{Hidden, RoutingError};
use crate::uplinks::Uplinks;
use change::InForce;

/// As many workers as processors, but no more than these.
const WORKERS: usize = 8;
/// How long is waited for an answer of control.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether uplinks have other addresses.
const TEND: Duration = Duration::from_secs(1);

/// Why the service does not start, or does not do what a reload asks for.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The device.
    #[error("sdwan.tunnel: {0}")]
    Device(#[from] tun::Error),
    /// What the kernel says.
    #[error("{0}")]
    Net(#[from] outwork_net::Error),
    /// What the kernel says of links, addresses and routes.
    #[error("{0}")]
    Kernel(#[from] outwork_net::netlink::Error),
    /// A key that cannot be used, read or kept.
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// Policies that cannot be compiled.
    #[error("sdwan.policy: {0}")]
    Policy(#[from] PolicyError),
    /// Uplinks cannot be shaped.
    #[error("{0}")]
    Qos(#[from] QosError),
    /// The kernel does not carry what it is to.
    #[error("{0}")]
    Carrier(#[from] KernelError),
    /// Packets do not come to the tunnels.
    #[error("{0}")]
    Routing(#[from] RoutingError),
    /// No thread.
    #[error("no thread for tunnels: {0}")]
    Thread(std::io::Error),
    /// Control does not answer.
    #[error("the thread that controls the tunnels does not answer")]
    Silent,
}

/// An uplink at work.
#[derive(Debug, Clone)]
pub struct Bound {
    /// What it is called.
    pub name: String,
    /// Who we were there at the start: [`Service::keys`] says who we are.
    pub public_key: PublicKey,
    /// Where it listens.
    pub listens: Vec<SocketAddr>,
}

/// What is said of traffic to sites.
#[derive(Debug, Default)]
pub struct Said {
    /// Classes with their names, the default one last.
    pub classes: Vec<(String, Class)>,
    /// Policies, in the order in which they are asked.
    pub policies: Vec<PolicySettings>,
}

impl Said {
    fn of(settings: &Sdwan) -> Said {
        let classes = settings.classes().into_iter().map(|(name, class)| (name.to_owned(), class)).collect();
        let mut policies = settings.policy.clone();
        for policy in &mut policies {
            policy.class.get_or_insert_with(|| settings.default_class.clone());
        }
        policies.sort_by_key(|policy| policy.priority);
        Said { classes, policies }
    }
}

/// What another process goes on with.
#[derive(Debug, Default)]
pub struct Handed {
    /// What the device is called.
    pub device: String,
    /// Its queues. As long as one of them is open, it stays as it is, and what is sent meanwhile waits in it.
    pub queues: Vec<OwnedFd>,
    /// Where everybody is: the name of an uplink, who is there, and where. Sessions are made anew: keys stay in the process that made them.
    pub endpoints: Vec<(String, PublicKey, SocketAddr)>,
}

/// The service at work.
pub struct Service {
    shared: Arc<Shared>,
    device: Tun,
    uplinks: Vec<Bound>,
    keys: Keys,
    orders: SyncSender<Order>,
    control: Arc<Waker>,
    said: ArcSwap<Said>,
    qos: Arc<Qos>,
    kernel: Kernel,
    threads: Mutex<Vec<JoinHandle<()>>>,
    numbers: Mutex<Numbers>,
    names: Names,
    /// What this machine keeps to itself of what is behind others.
    hidden: ArcSwap<Vec<Hidden>>,
    /// What was taken up last.
    in_force: Mutex<InForce>,
    /// Other descriptors of the queues, for who comes after.
    queues: Mutex<Vec<OwnedFd>>,
}

impl Service {
    /// Starts what is wanted; `keys` is the directory of keys that are made here, and of what is remembered of shaping.
    ///
    /// # Errors
    /// When something that it needs is not to be had. Nothing is left then.
    pub fn start(settings: &Sdwan, keys: &Path) -> Result<Service, ServiceError> {
        Service::succeed(settings, keys, None)
    }

    /// The same in the place of another process, from which there is this.
    ///
    /// # Errors
    /// As above.
    pub fn succeed(settings: &Sdwan, keys: &Path, handed: Option<Handed>) -> Result<Service, ServiceError> {
        let count = workers(settings)?;
        let kernel = Kernel::find(settings)?;
        let dir = keys;
        let keys = Keys::load(settings, dir)?;
        let identities = keys.identities();
        let uplinks = Uplinks::bind(settings, count, |place| !kernel.carries(place))?;
        kernel.begin(&identities.iter().map(|own| own.oldest().clone()).collect::<Vec<_>>())?;
        // As long as the kernel has them: what others send by this machine is of any length, and would be cut into packets before it comes if it had to be shorter.
        let options = tun::Options { queues: count, ..tun::Options::new(&settings.tunnel.name.to_string()) };
        let (before, endpoints) = handed.map(|handed| (handed.queues, handed.endpoints)).unwrap_or_default();
        let (device, queues) = match Tun::adopt(&options, before) {
            Ok(adopted) => adopted,
            // Another device is wanted than there was, or there was none.
            Err(tun::Error::Foreign { .. }) => Tun::open(&options)?,
            Err(error) => return Err(error.into()),
        };
        let shares = queues.iter().map(Queue::share).collect::<Result<_, _>>().map_err(ServiceError::Thread)?;
        let (notices, heard) = sync_channel(NOTICES);
        let (orders, ordered) = sync_channel(16);
        // Tunnels bring room for theirs.
        let sessions = Arc::new(Table::new(0));
        let control = Arc::new(Waker::new()?);
        let wakers = (0..count).map(|_| Waker::new()).collect::<Result<_, _>>()?;
        let view = View::empty();
        let seed = seed();
        let shared = Shared::new(view, Arc::clone(&sessions), notices, Arc::clone(&control), wakers, seed);
        let shared = Arc::new(shared);
        let now = shared.clock.now();
        let mut peers = Peers::new(sessions, (now, shared.clock.unix()), Box::<System>::default(), seed);
        for ((own, first), uplink) in identities.iter().zip(keys.first()).zip(0..) {
            peers.be(now, UplinkIndex(uplink), own, Limits::default());
            peers.call(UplinkIndex(uplink), first);
        }
        let bound = settings.uplink.iter().zip(&identities).zip(0..).map(|((uplink, own), place)| Bound {
            name: uplink.name.clone(),
            public_key: *own.oldest().public(),
            // Else the kernel listens.
            listens: uplinks.get(UplinkIndex(place)).map_or(uplink.listen.clone(), |line| line.listens().collect()),
        });
        let bound = bound.collect();
        uplinks.put(&shared.lines);
        let (said, qos) = (ArcSwap::default(), Arc::new(Qos::new(dir)?));
        let carriers = Carriers::watch(uplinks, Arc::clone(&qos))?;
        let service = Service {
            shared,
            device,
            uplinks: bound,
            keys,
            orders,
            control,
            said,
            qos,
            kernel,
            threads: Mutex::default(),
            numbers: Mutex::default(),
            names: Names::default(),
            hidden: ArcSwap::default(),
            in_force: Mutex::new(InForce::nothing()?),
            queues: Mutex::new(shares),
        };
        service.begin(queues, (heard, ordered), peers, (carriers, &settings.tunnel))?;
        service.apply(settings)?;
        let place = |name: &str| service.uplinks.iter().position(|uplink| uplink.name == name);
        let known = |(uplink, key, at): (String, PublicKey, SocketAddr)| {
            Some((UplinkIndex(u16::try_from(place(&uplink)?).ok()?), key, at))
        };
        service.ask(Order::Meet(endpoints.into_iter().filter_map(known).collect()))?;
        Ok(service)
    }

    /// Ends, and gives what another process goes on with.
    pub fn release(&self) -> Handed {
        let (to, told) = sync_channel(1);
        let asked = self.ask(Order::Endpoints(to)).ok();
        let known = asked.and_then(|()| told.recv_timeout(PATIENCE).ok()).unwrap_or_default();
        self.halt();
        // It is the other's from now on.
        lock(&self.in_force).routing = None;
        let name = |uplink: UplinkIndex| self.uplinks.get(usize::from(uplink.0)).map(|bound| bound.name.clone());
        let endpoints = known.into_iter().filter_map(|(uplink, key, at)| Some((name(uplink)?, key, at)));
        let queues = std::mem::take(&mut *lock(&self.queues));
        Handed { device: self.device.name().to_owned(), queues, endpoints: endpoints.collect() }
    }

    /// Has all threads end, and with them queues and sockets.
    fn halt(&self) {
        self.shared.stop();
        for thread in lock(&self.threads).drain(..) {
            // One that has panicked has ended the process.
            let _ = thread.join();
        }
        self.shared.lines.close();
    }

    /// Starts the threads.
    fn begin(
        &self,
        queues: Vec<Queue>,
        (heard, ordered): (Receiver<crate::plane::shared::Notice>, Receiver<Order>),
        peers: Peers,
        (carriers, tunnel): (Carriers, &TunnelSettings),
    ) -> Result<(), ServiceError> {
        let (priority, usable) = (tunnel.priority, thread::all_processors()?);
        let offloads = self.device.offloads();
        let offload = Offload { tcp: offloads.tcp, udp: offloads.udp };
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            let thread = spawn_vital(Builder::new().name(name), body).map_err(ServiceError::Thread)?;
            lock(&self.threads).push(thread);
            Ok::<_, ServiceError>(())
        };
        let (shared, waker) = (Arc::clone(&self.shared), Arc::clone(&self.control));
        let control = Control::new(shared, peers, (heard, ordered), (waker, carriers));
        let run = move || {
            if priority == PriorityKind::Auto {
                take_precedence();
            }
            control.run();
        };
        spawn("sdwan-control".to_owned(), Box::new(run))?;
        for (number, queue) in queues.into_iter().enumerate() {
            let worker = Worker::new(number, queue, offload, Arc::clone(&self.shared));
            let processor = tunnel.affinity.of_thread(number, &usable);
            let run = move || {
                if let Some(processor) = processor
                    && let Err(error) = thread::pin(processor)
                {
                    tracing::warn!(worker = number, processor, %error, "packets of tunnels are carried on any processor");
                }
                if priority == PriorityKind::Auto
                    && let Err(error) = thread::take_short_turns()
                {
                    tracing::warn!(worker = number, %error, "packets of tunnels may wait longer than they would have to");
                }
                worker.run();
            };
            spawn(format!("sdwan-{number}"), Box::new(run))?;
        }
        Ok(())
    }

    /// Who there is, and how it is.
    ///
    /// # Errors
    /// When control does not answer.
    pub fn tell(&self) -> Result<Vec<Told>, ServiceError> {
        let (to, told) = sync_channel(1);
        self.ask(Order::Tell(to))?;
        told.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)
    }

    /// Whom the kernel is joined to, where it carries tunnels.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn carried(&self) -> Result<Vec<Carried>, KernelError> {
        self.kernel.tell()
    }

    /// How paths to sites are, what has happened to them, and what policies have carried.
    ///
    /// # Errors
    /// When control does not answer.
    pub fn paths(&self) -> Result<Paths, ServiceError> {
        let (to, told) = sync_channel(1);
        self.ask(Order::Paths(to))?;
        let told = told.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)?;
        Ok(Paths { policies: self.shared.accounts.load().told(), ..told })
    }

    /// What the sites are called to which there are paths and none works.
    pub fn cut_off(&self) -> Vec<String> {
        gauge::cut_off(&self.shared.gauges.load())
    }

    /// What becomes of a flow, and why.
    ///
    /// # Errors
    /// When control does not answer.
    pub fn explain(&self, question: Question) -> Result<Explained, ServiceError> {
        let (to, explained) = sync_channel(1);
        self.ask(Order::Explain(Box::new(question), to))?;
        explained.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)
    }

    /// Takes back what was changed of this host and would outlive this process.
    pub fn end(&self) {
        self.qos.end();
        lock(&self.in_force).withdraw(&self.links());
        self.kernel.end();
    }

    /// How uplinks are shaped.
    pub fn qos(&self) -> &Qos {
        &self.qos
    }

    /// Shapes uplinks again, after that was taken back.
    ///
    /// # Errors
    /// When something stands in the way.
    pub fn shape_again(&self) -> Result<(), QosError> {
        self.shared.marking.store(Arc::new(self.qos.apply_again()?));
        Ok(())
    }

    /// Shapes uplinks no longer, until that is asked for again or a reload changes what is said of tunnels.
    ///
    /// # Errors
    /// When it is not known what there is to be taken back.
    pub fn shape_no_longer(&self) -> Result<Vec<Undone>, QosError> {
        self.shared.marking.store(Arc::default());
        self.qos.roll_back()
    }

    /// What is said of traffic to sites.
    pub fn said(&self) -> Arc<Said> {
        self.said.load_full()
    }

    fn ask(&self, order: Order) -> Result<(), ServiceError> {
        self.orders.send(order).map_err(|_| ServiceError::Silent)?;
        self.control.wake();
        Ok(())
    }

    /// Its uplinks.
    pub fn uplinks(&self) -> &[Bound] {
        &self.uplinks
    }

    /// Where endpoints are that have names.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Looks at what was taken up last; at nothing before the first.
    pub(crate) fn look_at_settings<T>(&self, look: impl FnOnce(&Sdwan) -> T) -> Option<T> {
        lock(&self.in_force).settings().map(look)
    }

    /// Who we are at them.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Makes a key that takes over from that of an uplink, or from those of all whose keys are kept here.
    ///
    /// # Errors
    /// When there is no such uplink, its key is not kept here, one takes over already, or it cannot be kept.
    pub fn rotate_key(&self, uplink: Option<&str>) -> Result<Vec<KeyTold>, KeysError> {
        self.keys.begin(uplink, SystemTime::now(), self)
    }

    /// Gives the key up that takes over from that of an uplink, or from those of all.
    ///
    /// # Errors
    /// When there is no such uplink, none takes over there, or that cannot be kept.
    pub fn abandon_key(&self, uplink: Option<&str>) -> Result<Vec<KeyTold>, KeysError> {
        self.keys.abandon(uplink, self)
    }

    /// Does what is due with keys.
    ///
    /// # Errors
    /// When something cannot be kept, or control does not answer. It is tried again the next time.
    pub fn tend_keys(&self, now: SystemTime) -> Result<(), KeysError> {
        self.keys.tend(now, self)
    }

    /// What workers know and count.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The device.
    pub fn device(&self) -> &Tun {
        &self.device
    }
}

impl Be for &Service {
    fn be(&self, place: usize, state: &State) -> Result<(), KeysError> {
        let (done, answer) = sync_channel(1);
        self.of_control(place, |uplink| Order::Be(uplink, Box::new(state.identity()), done), answer)
    }

    fn knows(&self, place: usize, key: &PublicKey) -> Result<BTreeMap<String, bool>, KeysError> {
        let (to, told) = sync_channel(1);
        self.of_control(place, |uplink| Order::Knows(uplink, *key, to), told)
    }
}

impl Service {
    fn of_control<T>(
        &self,
        place: usize,
        order: impl FnOnce(UplinkIndex) -> Order,
        answer: Receiver<T>,
    ) -> Result<T, KeysError> {
        let uplink = UplinkIndex(u16::try_from(place).map_err(|_| KeysError::Silent)?);
        self.ask(order(uplink)).map_err(|_| KeysError::Silent)?;
        answer.recv_timeout(PATIENCE).map_err(|_| KeysError::Silent)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        lock(&self.in_force).withdraw(&self.links());
        self.halt();
    }
}

/// Has the calling thread, that of control, run before others, and says what it was given.
fn take_precedence() {
    match thread::take_precedence() {
        Precedence::RealTime => {
            tracing::info!("hellos to other sites are said before all usual threads have their turn")
        }
        Precedence::Nice(nice) => tracing::info!(
            nice,
            "hellos to other sites come before most of what this machine does: this process may not ask for more"
        ),
        Precedence::Usual(error) => tracing::info!(
            %error,
            "hellos to other sites wait for their turn as everything does: this process may not ask for more, which takes CAP_SYS_NICE"
        ),
    }
}

/// What a thread that fell while it held it has left is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what is due with the keys, the names and the routes of a service, for as long as it is awaited.
pub async fn tend(service: Arc<Service>) {
    tokio::join!(keys::tend(Arc::clone(&service)), resolve::tend(Arc::clone(&service)), tend_routes(service));
}

/// Sees to what this machine answers by from the addresses of its uplinks.
async fn tend_routes(service: Arc<Service>) {
    let (mut seen, mut told) = (0, String::new());
    loop {
        tokio::time::sleep(TEND).await;
        let tended = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || (tended.tend_routes(&mut seen), seen)).await;
        let why = match done {
            Ok((done, now)) => {
                seen = now;
                done.err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        let why = why.unwrap_or_default();
        // Once, and not each time that it is tried again.
        if !why.is_empty() && why != told {
            tracing::warn!(error = why, "what this machine answers from addresses of uplinks may go by tunnels");
        }
        told = why;
    }
}

/// So many threads that carry packets.
fn workers(settings: &Sdwan) -> Result<usize, ServiceError> {
    Ok(match settings.tunnel.workers {
        0 => settings.tunnel.affinity.count(thread::all_processors()?.len()).clamp(1, WORKERS),
        said => usize::from(said),
    })
}

/// For jitter.
fn seed() -> u64 {
    let mut octets = [0; 8];
    // Without randomness all tries come at the same distance, and no key is made anyway.
    let _ = System::default().fill(&mut octets);
    u64::from_ne_bytes(octets)
}

#[cfg(test)]
mod tests;
