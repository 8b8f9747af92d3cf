//! L2: Redis, or what speaks its protocol.
//!
//! One thread keeps the connections: one that lookups of all threads share, one for writes, and one that hears what other instances tell.
//! It connects when the cache opens and whenever a connection ends, and is the only one to wait for that: a lookup that finds no connection
//! goes on without, and one that Redis does not answer in time counts towards the breaker, which takes the connection away.
//!
//! A key is the prefix and the entry's key in hexadecimal; its value is a [record](crate::codec) whose era is an *epoch* (see `telling`). Where
//! Redis has to be told of a purge or a removal and cannot be, that waits here, and until it is told no entry is taken from Redis.
//!
//! Not done: clusters, whose keys one command cannot reach, and bounding the size of Redis, which is its own affair (`maxmemory`); it is asked for it.

mod session;
mod size;
pub(crate) mod telling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, oneshot};

use crate::behind::{Behind, Op};
use crate::breaker::{Circuit, Fuse};
use crate::codec;
use crate::config::L2;
use crate::disk::Disk;
use crate::entry::{Entry, Key};
use crate::local::Local;
use crate::metrics::{Behind as Below, Tier};
use crate::purge::{Epoch, Era, Purge};
use crate::server::ServerError;
use size::Size;
use telling::{Heard, Origin, Told};

/// What may wait to be told. Beyond it, it is told that everything is purged, or that Redis is to forget.
const WAITING: usize = 1024;
/// A purge waits for Redis as many times longer than a lookup.
const PATIENCE: u32 = 20;

/// Why the tier in Redis could not be set up. That it cannot be reached is no reason.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address or the certificates cannot be used.
    #[error("cache.l2: {0}")]
    Server(#[from] ServerError),
    /// A thread could not be started.
    #[error("cannot start the thread that keeps the connections to Redis: {0}")]
    Thread(std::io::Error),
}

/// What waits to be told, and who waits for that.
struct Untold {
    told: Told,
    waiting: Vec<oneshot::Sender<()>>,
}

/// What lookups, writes and the thread share.
struct Shared {
    client: redis::Client,
    local: Arc<Local>,
    disk: Option<Arc<Disk>>,
    behind: Behind,
    fuse: Fuse,
    heard: RwLock<Heard>,
    /// The connection of lookups, while everything that was told is known.
    lookups: RwLock<Option<MultiplexedConnection>>,
    untold: Mutex<VecDeque<Untold>>,
    /// How many these are, to be asked without the lock.
    untold_count: AtomicUsize,
    /// Whether Redis should be asked for what was told: somebody has seen a later epoch, or an earlier one.
    ask: AtomicBool,
    /// What Redis last said of its size, while it is connected.
    size: Mutex<Option<Size>>,
    /// Wakes the thread.
    wake: Notify,
    closed: AtomicBool,
    origin: Origin,
    prefix: String,
    epoch_key: String,
    ttl: Duration,
    timeout: Duration,
    retry: Duration,
}

/// The tier.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    max_entry: usize,
}

impl Shared {
    fn key(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Counts a failure. The connection is given up when it is one too many.
    fn failed(&self, action: &str, error: &dyn std::fmt::Display) {
        self.local.metrics.errors.of(Tier::L2).inc();
        if self.fuse.failed() {
            tracing::warn!(%error, "cannot {action} Redis; the cache goes on without for a while");
            *self.lookups.write() = None;
            self.wake.notify_one();
        } else {
            tracing::debug!(%error, "cannot {action} Redis");
        }
    }

    /// Has Redis told of something, soon. Until then, nothing is taken from it.
    fn tell(&self, told: Told) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut untold = self.untold.lock();
        if untold.len() >= WAITING {
            let purges = untold.iter().map(|one| &one.told).chain([&told]).any(|told| matches!(told, Told::Purge(_)));
            let all = if purges { Told::Purge(Purge::All) } else { Told::Forget };
            let waiting = untold.drain(..).flat_map(|one| one.waiting).chain([sender]).collect();
            untold.push_back(Untold { told: all, waiting });
        } else {
            untold.push_back(Untold { told, waiting: vec![sender] });
        }
        self.untold_count.store(untold.len(), Ordering::Release);
        drop(untold);
        self.wake.notify_one();
        receiver
    }

    /// The connection of lookups, if what comes from it can be trusted.
    fn connection(&self) -> Option<MultiplexedConnection> {
        if self.untold_count.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.lookups.read().clone()
    }
}

impl Remote {
    /// Begins to connect. `applied`: what other instances told up to that epoch holds already.
    pub(crate) fn open(
        settings: &L2,
        queue: usize,
        local: Arc<Local>,
        disk: Option<Arc<Disk>>,
        (origin, applied): (u64, Option<Epoch>),
    ) -> Result<Self, RemoteError> {
        let shared = Arc::new(Shared {
            client: settings.server().client()?,
            local,
            disk,
            behind: Behind::new(queue),
            fuse: Fuse::new(settings.failures, settings.retry),
            heard: RwLock::new(Heard::new(applied)),
            lookups: RwLock::default(),
            untold: Mutex::default(),
            untold_count: AtomicUsize::new(0),
            ask: AtomicBool::new(false),
            size: Mutex::default(),
            wake: Notify::new(),
            closed: AtomicBool::new(false),
            origin: Origin(origin),
            prefix: settings.prefix.clone(),
            epoch_key: format!("{}epoch", settings.prefix),
            ttl: settings.ttl,
            timeout: settings.timeout,
            retry: settings.retry,
        });
        let thread = session::start(Arc::clone(&shared)).map_err(RemoteError::Thread)?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), max_entry: settings.max_entry.as_usize() })
    }

    /// Looks for an entry. Requires the timer of a tokio runtime.
    pub(crate) async fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        let metrics = &self.shared.local.metrics;
        let found = match self.shared.behind.look(key) {
            Some(Op::Store(entry, era)) => Some(entry).filter(|entry| {
                let local = &self.shared.local;
                entry.expires > (local.clock)() && !local.bans.bars(era, key, entry)
            }),
            Some(Op::Remove) => None,
            None => self.ask(key).await,
        };
        let counter = if found.is_some() { &metrics.hits } else { &metrics.misses };
        counter.of(Tier::L2).inc();
        found
    }

    async fn ask(&self, key: &Key) -> Option<Arc<Entry>> {
        let shared = &self.shared;
        let metrics = &shared.local.metrics;
        let Some(mut connection) = shared.connection() else {
            metrics.skipped.of(Below::L2).inc();
            return None;
        };
        let known = shared.heard.read().epoch()?;
        let mut command = redis::cmd("MGET");
        command.arg(&shared.epoch_key).arg(shared.key(key));
        let began = Instant::now();
        let answer = command.query_async::<(Option<String>, Option<Vec<u8>>)>(&mut connection);
        let answer = tokio::time::timeout(shared.timeout, answer).await;
        metrics.lookup_time.of(Below::L2).record(began.elapsed());
        let (epoch, value) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                shared.failed("read from", &error);
                return None;
            }
            Err(_) => {
                shared.failed("read from", &"it does not answer in time");
                return None;
            }
        };
        shared.fuse.succeeded();
        // What is no epoch is one that nobody knows.
        let epoch = epoch.map_or_else(Epoch::default, |text| text.parse().unwrap_or(Epoch { count: 0, mark: 1 }));
        if epoch != known {
            let lost = epoch.count <= known.count;
            if lost {
                // What it holds may have been meant by a purge that it does not know any more.
                *shared.lookups.write() = None;
            }
            shared.ask.store(true, Ordering::Release);
            shared.wake.notify_one();
            if lost {
                return None;
            }
        }
        self.judge(key, epoch, value?.into())
    }

    /// An entry that Redis has, if nothing speaks against it: no purge up to the epoch that Redis had then.
    fn judge(&self, key: &Key, epoch: Epoch, value: Bytes) -> Option<Arc<Entry>> {
        let shared = &self.shared;
        let (header, entry) = match codec::decode(&value) {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(%error, "an entry of the cache in Redis is damaged");
                shared.local.metrics.damaged.of(Below::L2).inc();
                self.remove(key);
                return None;
            }
        };
        let heard = shared.heard.read();
        let history = heard.history()?;
        // Unless it has passed every purge, all of them have to be known.
        let passed =
            header.era == epoch.stamp() || (history.epoch() == epoch && history.admits(header.era, key, &entry));
        let good = header.key == *key && entry.expires > (shared.local.clock)() && passed;
        good.then(|| Arc::new(entry))
    }

    /// Has an entry written soon, which has passed every ban of this instance up to `era`.
    pub(crate) fn put(&self, key: Key, entry: &Arc<Entry>, era: Era) {
        let fits = entry.len() <= self.max_entry;
        let op = if fits { Op::Store(Arc::clone(entry), era) } else { Op::Remove };
        if !self.shared.behind.add(key, op) {
            self.shared.local.metrics.dropped.of(Below::L2).inc();
        }
    }

    /// Has an entry removed soon. It is not found from now on.
    pub(crate) fn remove(&self, key: &Key) {
        if !self.shared.behind.add(*key, Op::Remove) {
            // Nobody waits for it.
            drop(self.shared.tell(Told::Key(*key)));
        }
    }

    /// Has the other instances told of a purge. From here on, nothing is taken from Redis until that is done.
    pub(crate) fn tell(&self, purge: &Purge) -> oneshot::Receiver<()> {
        self.shared.tell(Told::Purge(purge.clone()))
    }

    /// Waits for that, as long as there is hope. Whether it is done.
    pub(crate) async fn told(&self, told: oneshot::Receiver<()>) -> bool {
        if self.shared.fuse.circuit() != Circuit::Closed {
            return false;
        }
        tokio::time::timeout(self.shared.timeout * PATIENCE, told).await.is_ok_and(|told| told.is_ok())
    }

    /// Whether it can be asked.
    pub(crate) fn is_connected(&self) -> bool {
        self.shared.connection().is_some()
    }

    /// Comes back once all that was put so far is written, or given up.
    pub(crate) async fn settled(&self) {
        self.shared.behind.settled().await;
    }

    pub(crate) fn queued(&self) -> usize {
        self.shared.behind.len()
    }

    /// Purges that other instances were not told of yet.
    pub(crate) fn untold(&self) -> usize {
        self.shared.untold_count.load(Ordering::Acquire)
    }

    /// What Redis holds, as it last said; `None` where it is not connected or does not say.
    pub(crate) fn size(&self) -> Option<Size> {
        *self.shared.size.lock()
    }

    pub(crate) fn circuit(&self) -> Circuit {
        self.shared.fuse.circuit()
    }

    /// Writes what waits, if Redis takes it, and ends the thread.
    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.behind.close();
        self.shared.wake.notify_one();
        if self.thread.lock().take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that keeps the connections to Redis has panicked");
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.close();
    }
}
