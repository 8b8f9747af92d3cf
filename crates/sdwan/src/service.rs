//! Devices, sockets, keys and threads: the shell.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use outwork_net::carrier::{self, Socket};
use outwork_net::netlink::{Connection, LinkSettings, Prefix as Net, Uniqueness};
use outwork_net::poll::Waker;
use outwork_net::thread::{processors, spawn_vital};
use outwork_net::tun::{self, Queue, Tun};
use outwork_store::file::{create_private, create_private_dir};
use outwork_wireguard::entropy::System;
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table;
use outwork_wireguard::keys::KeyError;
use outwork_wireguard::{Entropy, PrivateKey, PublicKey};

use crate::config::policy::PolicySettings;
use crate::config::{Sdwan, Uplink};
use crate::control::carriers::Carriers;
use crate::control::explain::{Explained, Question};
use crate::control::peers::Peers;
use crate::control::told::Paths;
use crate::control::{Control, Order, Plan, Told};
use crate::engine::class::Class;
use crate::engine::policy::PolicyError;
use crate::kernel::{Carried, Kernel, KernelError, lead};
use crate::plan::Numbers;
use crate::plane::join::Offload;
use crate::plane::outbound::Posts;
use crate::plane::shared::{NOTICES, Shared};
use crate::plane::tunnel::UplinkIndex;
use crate::plane::view::View;
use crate::plane::worker::Worker;
use crate::qos::{Qos, QosError, Undone};

/// Sessions of all tunnels, and handshakes under way.
const SESSIONS: u32 = 1 << 16;
/// As many workers as processors, but no more than these.
const WORKERS: usize = 8;
/// How long is waited for an answer of control.
const PATIENCE: Duration = Duration::from_secs(10);

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
    /// A key that cannot be used.
    #[error("the private key of the uplink {uplink}: {why}")]
    Key {
        /// Whose.
        uplink: String,
        /// What is wrong.
        why: KeyError,
    },
    /// A file with a key.
    #[error("the private key of the uplink {uplink}, in {path}: {why}")]
    KeyFile {
        /// Whose.
        uplink: String,
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        why: std::io::Error,
    },
    /// Policies that cannot be compiled.
    #[error("sdwan.policy: {0}")]
    Policy(#[from] PolicyError),
    /// Uplinks cannot be shaped.
    #[error("{0}")]
    Qos(#[from] QosError),
    /// The kernel does not carry what it is to.
    #[error("{0}")]
    Carrier(#[from] KernelError),
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
    /// Who we are there.
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
    orders: SyncSender<Order>,
    control: Arc<Waker>,
    said: ArcSwap<Said>,
    qos: Qos,
    kernel: Kernel,
    threads: Mutex<Vec<JoinHandle<()>>>,
    numbers: Mutex<Numbers>,
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
        let (uplinks, identities) = bind(settings, keys, count, &kernel)?;
        kernel.begin(&identities)?;
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
        let sessions = Arc::new(Table::new(SESSIONS));
        let control = Arc::new(Waker::new()?);
        let wakers = (0..count).map(|_| Waker::new()).collect::<Result<_, _>>()?;
        let view = View::empty();
        let seed = seed();
        let shared = Shared::new(view, Arc::clone(&sessions), notices, Arc::clone(&control), wakers, seed);
        let shared = Arc::new(shared);
        let now = shared.clock.now();
        // Before 1970 stamps could not grow.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut peers = Peers::new(sessions, (now, unix), Box::<System>::default(), seed);
        for (key, uplink) in identities.iter().zip(0..) {
            peers.be(now, UplinkIndex(uplink), key, Limits::default());
        }
        let bound = uplinks.iter().zip(&identities).map(|((uplink, groups), key)| Bound {
            name: uplink.name.clone(),
            public_key: *key.public(),
            listens: match groups.is_empty() {
                // The kernel listens.
                true => uplink.listen.clone(),
                false => groups.iter().filter_map(|group| group.first()).map(|socket| socket.local()).collect(),
            },
        });
        let bound = bound.collect();
        let posts = |worker: usize| {
            let of = |(place, groups): (u16, &Vec<Vec<Arc<Socket>>>)| {
                let sockets = groups.iter().filter_map(|group| group.get(worker).cloned());
                sockets.map(|socket| (UplinkIndex(place), socket)).collect::<Vec<_>>()
            };
            Posts((0..).zip(uplinks.iter().map(|(_, groups)| groups)).flat_map(of).collect())
        };
        let (said, qos) = (ArcSwap::default(), Qos::new(keys)?);
        let service = Service {
            shared,
            device,
            uplinks: bound,
            orders,
            control,
            said,
            qos,
            kernel,
            threads: Mutex::default(),
            numbers: Mutex::default(),
            queues: Mutex::new(shares),
        };
        let devices = settings
            .uplink
            .iter()
            .zip(0..)
            .filter_map(|(uplink, place)| Some((uplink.interface.as_ref()?.to_string(), UplinkIndex(place))));
        let carriers = Carriers::watch(devices.collect())?;
        service.begin(queues, posts, (heard, ordered), peers, carriers)?;
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
    }

    /// Starts the threads.
    fn begin(
        &self,
        queues: Vec<Queue>,
        posts: impl Fn(usize) -> Posts,
        (heard, ordered): (Receiver<crate::plane::shared::Notice>, Receiver<Order>),
        peers: Peers,
        carriers: Carriers,
    ) -> Result<(), ServiceError> {
        let offloads = self.device.offloads();
        let offload = Offload { tcp: offloads.tcp, udp: offloads.udp };
        let spawn = |name: String, body: Box<dyn FnOnce() + Send>| {
            let thread = spawn_vital(Builder::new().name(name), body).map_err(ServiceError::Thread)?;
            lock(&self.threads).push(thread);
            Ok::<_, ServiceError>(())
        };
        let (shared, waker) = (Arc::clone(&self.shared), Arc::clone(&self.control));
        let control = Control::new(shared, peers, posts(0), (heard, ordered), (waker, carriers));
        spawn("sdwan-control".to_owned(), Box::new(move || control.run()))?;
        for (number, queue) in queues.into_iter().enumerate() {
            let worker = Worker::new(number, queue, posts(number), offload, Arc::clone(&self.shared));
            spawn(format!("sdwan-{number}"), Box::new(move || worker.run()))?;
        }
        Ok(())
    }

    /// Does what the settings say, as far as that can be done while it runs: how uplinks are shaped, who is joined to, addresses and routes.
    ///
    /// # Errors
    /// When something stands in the way of shaping, and then nothing has changed; when the kernel refuses an address or a route, and what came before that is done.
    pub fn apply(&self, settings: &Sdwan) -> Result<(), ServiceError> {
        // The first, for it is what may well be refused.
        self.shared.marking.store(Arc::new(self.qos.apply(settings)?));
        let (done, answer) = sync_channel(1);
        let left = self.kernel.left_to_us(settings);
        self.ask(Order::Join(Box::new(Plan::of(&left, &mut lock(&self.numbers))), done))?;
        answer.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)??;
        self.said.store(Arc::new(Said::of(settings)));
        let mut kernel = Connection::open()?;
        let link = self.device.index();
        let mtu = Some(u32::from(settings.tunnel.mtu));
        kernel.set_link(link, &LinkSettings { mtu, up: Some(true), ..LinkSettings::default() })?;
        let wanted = settings.tunnel.addresses.iter().map(|own| Net { address: own.address, length: own.length });
        let wanted: Vec<_> = wanted.collect();
        let there: Vec<_> = kernel.addresses(Some(link))?.into_iter().map(|address| address.prefix).collect();
        let is_own = |address: IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        for prefix in there.iter().filter(|net| !wanted.contains(net) && !is_own(net.address)) {
            kernel.remove_address(link, *prefix)?;
        }
        for prefix in wanted.iter().filter(|net| !there.contains(net)) {
            kernel.add_address(link, *prefix, Uniqueness::Known)?;
        }
        self.route(&mut kernel, &left)?;
        Ok(self.kernel.apply(settings)?)
    }

    /// Tells the kernel the ways to what is behind peers.
    fn route(&self, kernel: &mut Connection, settings: &Sdwan) -> Result<(), ServiceError> {
        let networks = settings.peer.iter().flat_map(|peer| &peer.allowed_ips);
        let networks = networks.chain(settings.site.iter().flat_map(|site| &site.subnets));
        let networks = networks.filter(|_| settings.tunnel.routes);
        let wanted: Vec<_> = networks.map(|net| Net { address: net.address(), length: net.length() }).collect();
        Ok(lead(kernel, self.device.index(), &wanted, &[])?)
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

    /// How paths to sites are, and what has happened to them.
    ///
    /// # Errors
    /// When control does not answer.
    pub fn paths(&self) -> Result<Paths, ServiceError> {
        let (to, told) = sync_channel(1);
        self.ask(Order::Paths(to))?;
        told.recv_timeout(PATIENCE).map_err(|_| ServiceError::Silent)
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

    /// What workers know and count.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The device.
    pub fn device(&self) -> &Tun {
        &self.device
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.halt();
    }
}

/// What a thread that fell while it held it has left is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many threads that carry packets.
fn workers(settings: &Sdwan) -> Result<usize, ServiceError> {
    Ok(match settings.tunnel.workers {
        0 => processors()?.len().clamp(1, WORKERS),
        said => usize::from(said),
    })
}

/// An uplink, and of each address that it listens at a socket for each worker.
type Sockets<'a> = (&'a Uplink, Vec<Vec<Arc<Socket>>>);

/// The sockets and the keys of all uplinks.
fn bind<'a>(
    settings: &'a Sdwan,
    keys: &Path,
    count: usize,
    kernel: &Kernel,
) -> Result<(Vec<Sockets<'a>>, Vec<PrivateKey>), ServiceError> {
    let (mut uplinks, mut identities) = (vec![], vec![]);
    for (place, uplink) in settings.uplink.iter().enumerate() {
        identities.push(identity(uplink, keys)?);
        let mut groups = vec![];
        for address in uplink.listen.iter().filter(|_| !kernel.carries(place)) {
            let options = carrier::Options {
                device: uplink.interface.as_ref().map(ToString::to_string),
                receive_buffer: settings.tunnel.receive_buffer.as_usize(),
                send_buffer: settings.tunnel.send_buffer.as_usize(),
                ..carrier::Options::new(*address)
            };
            let group = Socket::bind_group(&options, count)?;
            groups.push(group.into_iter().map(Arc::new).collect());
        }
        uplinks.push((uplink, groups));
    }
    Ok((uplinks, identities))
}

/// Who we are at an uplink. A key that nobody gives is made once, and kept.
fn identity(uplink: &Uplink, keys: &Path) -> Result<PrivateKey, ServiceError> {
    let wrong = |why| ServiceError::Key { uplink: uplink.name.clone(), why };
    if let Some(key) = &uplink.private_key {
        return PrivateKey::parse(key.expose()).map_err(wrong);
    }
    let own = || keys.join(format!("{}.key", uplink.name));
    let path = uplink.private_key_file.clone().unwrap_or_else(own);
    let failed = |why| ServiceError::KeyFile { uplink: uplink.name.clone(), path: path.clone(), why };
    match std::fs::read_to_string(&path) {
        Ok(text) => PrivateKey::parse(&text).map_err(wrong),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && uplink.private_key_file.is_none() => {
            let key = PrivateKey::generate(&mut System::default()).map_err(wrong)?;
            keys.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
            match create_private_dir(keys) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            let mut file = create_private(&path).map_err(failed)?;
            writeln!(file, "{}", key.reveal().as_str()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Who we are at each uplink, by its name. Keys that nobody gives are made and kept, as a start does.
///
/// # Errors
/// When a key cannot be read or made.
pub fn public_keys(settings: &Sdwan, keys: &Path) -> Result<Vec<(String, PublicKey)>, ServiceError> {
    let of = |uplink: &Uplink| Ok((uplink.name.clone(), *identity(uplink, keys)?.public()));
    settings.uplink.iter().map(of).collect()
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
