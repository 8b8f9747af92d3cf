//! Layer 4: listeners that pass connections and datagrams on as they come.
//!
//! - this file: all listeners at work, from one configuration to the next.
//! - `rule`: one listener, as a configuration has it. `limits`: how many there may be, and how fast they may begin.
//! - `guard`: who may come at all.
//! - `post`: the sockets of every thread. `thread`: one thread. `crowd`: what is open on it.
//! - `connection`: from a client to a backend. `relay`: bytes on their way.
//! - `udp`: datagrams and their sessions.
//! - [`metrics`]: what all of it counts.

mod connection;
mod crowd;
mod guard;
mod limits;
pub mod metrics;
mod post;
mod relay;
mod rule;
mod thread;
mod udp;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use outwork_config::Affinity;
use outwork_front::Tls;
use outwork_front::door::Episode;
use outwork_front::filter::Networks;
use outwork_net::descriptors;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::config::{GlobalLimits, Proxy};
use crate::limits::Rate;
use crate::pool::PreparedPools;
use guard::Guard;
use limits::Open;
use metrics::{Cells, L4Metrics};
pub use post::Handed;
use post::{Change, Posts};
use rule::{Live, Pools, Rule};
use thread::Order;

/// Why listeners cannot be as the configuration wants them.
#[derive(Debug, thiserror::Error)]
pub enum L4Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        /// Its name.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pool is not there.
    #[error("proxy.listener: there is no pool {0:?}")]
    Pool(String),
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    metrics: Arc<L4Metrics>,
    open: Open,
    guard: Guard,
    limits: ArcSwap<GlobalLimits>,
    unaccepted: Episode,
    /// Numbers of sessions.
    sessions: AtomicU64,
}

impl Shared {
    /// Milliseconds since it began.
    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

type Thread = (UnboundedSender<Order>, std::thread::JoinHandle<()>);

/// Every listener there is, and the threads that serve them, which are there as long as there is one.
pub struct Layer4 {
    workers: usize,
    affinity: Affinity,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: Vec<Thread>,
    /// Threads that end with what they have.
    retired: Vec<Thread>,
    posts: Posts,
    live: BTreeMap<String, Arc<Live>>,
}

/// Listeners of a configuration that is not in force yet. Dropped, nothing has changed.
pub struct Prepared {
    change: Change,
    threads: Vec<Thread>,
    live: BTreeMap<String, Arc<Live>>,
    limits: GlobalLimits,
    guard: guard::Rules,
}

/// A listener, as the API shows it.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Its address.
    pub address: SocketAddr,
    /// What the configuration says of it.
    pub settings: crate::config::Listener,
    /// Connections, or sessions, that are open.
    pub active: usize,
    /// All that were accepted.
    pub opened: u64,
    /// All that came to nothing.
    pub refused: u64,
    /// Bytes of clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
}

impl Layer4 {
    /// Without a listener yet. Those that come have so many threads, on these processors; 0 is one a core.
    pub fn new(workers: u16, affinity: &Affinity) -> Self {
        let workers = match workers {
            0 => affinity.count(std::thread::available_parallelism().map_or(1, usize::from)),
            workers => workers.into(),
        };
        let shared = Shared {
            began: Instant::now(),
            metrics: Arc::default(),
            open: Open::default(),
            guard: Guard::default(),
            limits: ArcSwap::default(),
            unaccepted: Episode::default(),
            sessions: AtomicU64::new(0),
        };
        let state = State { posts: Posts::new(workers), ..State::default() };
        Self { workers, affinity: affinity.clone(), shared: Arc::new(shared), state: Mutex::new(state) }
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<L4Metrics> {
        &self.shared.metrics
    }

    /// Makes ready what a configuration says: with the sockets that there are, with those `handed` over, and with new ones. `tls` is that of each
    /// listener.
    ///
    /// # Errors
    /// When a listener cannot be as it says.
    pub fn prepare(
        &self,
        proxy: &Proxy,
        pools: &PreparedPools,
        tls: &[Option<Arc<Tls>>],
        handed: Vec<Handed>,
    ) -> Result<Prepared, L4Error> {
        let state = self.state.lock();
        let (mut rules, mut live) = (Vec::with_capacity(proxy.listener.len()), BTreeMap::new());
        for (index, listener) in proxy.listener.iter().enumerate() {
            let label = listener.label();
            let known = state.live.get(&label).cloned();
            let known = known.unwrap_or_else(|| Arc::new(Live::new(&self.shared.metrics, &label)));
            live.insert(label, Arc::clone(&known));
            rules.push(Arc::new(Rule {
                tls: tls.get(index).cloned().flatten(),
                proxies: Networks::of(listener.proxy_protocol.as_ref().map_or(&[], |proxies| &proxies.from)),
                pools: Pools::new(listener, pools).map_err(L4Error::Pool)?,
                live: known,
                settings: listener.clone(),
            }));
        }
        let change = state.posts.change(&rules, handed)?;
        let threads = match state.threads.is_empty() && !change.after.is_empty() {
            true => self.start()?,
            false => Vec::new(),
        };
        // A connection takes two files, and so does each pipe that a thread may have.
        let pipes = 2 * relay::PIPES * self.workers;
        let room = descriptors::room_for_connections().saturating_sub(pipes) / 2;
        let room = u32::try_from(room).unwrap_or(u32::MAX).max(1);
        let limits = GlobalLimits { max_connections: proxy.limits.max_connections.min(room), ..proxy.limits.clone() };
        let guard = guard::Rules::new(&proxy.acceleration);
        Ok(Prepared { change, threads, live, limits, guard })
    }

    fn start(&self) -> Result<Vec<Thread>, L4Error> {
        // Where that cannot be asked, nobody is pinned.
        let processors = outwork_net::thread::all_processors().unwrap_or_default();
        let start = |index| {
            let name = format!("l4-{index}");
            let (sender, orders) = unbounded_channel();
            let shared = Arc::clone(&self.shared);
            let processor = self.affinity.of_thread(index, &processors);
            let builder = std::thread::Builder::new().name(name.clone());
            let thread = outwork_net::thread::spawn_vital(builder, move || thread::run(shared, orders, processor));
            Ok((sender, thread.map_err(|source| L4Error::Thread { name, source })?))
        };
        (0..self.workers).map(start).collect()
    }

    /// Puts what was made ready in force. Connections go on as they were; those of listeners that are gone, for as long as their pools let what leaves.
    pub fn commit(&self, prepared: Prepared) {
        let Prepared { mut change, threads, live, limits, guard } = prepared;
        let mut state = self.state.lock();
        self.shared.limits.store(Arc::new(limits));
        self.shared.guard.set(guard);
        if state.threads.is_empty() {
            state.threads = threads;
        }
        change.take_up();
        let Change { after, mut open, close, .. } = change;
        let stays = !after.is_empty();
        for (orders, _) in &state.threads {
            let open = if open.is_empty() { Vec::new() } else { open.remove(0) };
            // A thread that is gone serves nothing.
            let _ = orders.send(Order::Change { open, close: close.clone(), stays });
        }
        if !stays {
            let gone = std::mem::take(&mut state.threads);
            state.retired.extend(gone);
        }
        state.retired.retain(|(_, thread)| !thread.is_finished());
        state.posts = after;
        state.live = live;
        self.shared.metrics.retain(|label| state.live.contains_key(label));
    }

    /// Copies of its sockets, for a process that is to take them over.
    ///
    /// # Errors
    /// When the process has too many open files.
    pub fn hand_over(&self) -> io::Result<Vec<Handed>> {
        self.state.lock().posts.hand_over()
    }

    /// Every listener, by address.
    pub fn listening(&self) -> Vec<Listening> {
        let state = self.state.lock();
        let listening = state.posts.rules().map(|(address, rule)| {
            let (live, cells) = (&rule.live, &rule.live.cells);
            Listening {
                address,
                settings: rule.settings.clone(),
                active: live.active.load(Relaxed),
                opened: cells.opened.get(),
                refused: cells.all_refused(),
                received: cells.received.get(),
                sent: cells.sent.get(),
            }
        });
        listening.collect()
    }

    /// Accepts no more, and lets what is open end within `patience`.
    pub fn stop(&self, patience: Duration) {
        let (threads, posts) = {
            let mut state = self.state.lock();
            let mut threads = std::mem::take(&mut state.threads);
            threads.extend(std::mem::take(&mut state.retired));
            (threads, std::mem::take(&mut state.posts))
        };
        for (orders, _) in &threads {
            let _ = orders.send(Order::Stop(patience));
        }
        drop(posts);
        for (_, thread) in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of layer 4 has panicked");
            }
        }
    }
}

impl Live {
    fn new(metrics: &L4Metrics, label: &str) -> Self {
        Self { active: AtomicUsize::new(0), rate: Rate::default(), cells: Cells::new(metrics, label) }
    }
}
