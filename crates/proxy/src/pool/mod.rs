//! Pools at work: what the configuration says of them, who is in them now, and what is known of that.
//!
//! A [`Pool`] lives as long as its name is in the configuration. What it is at a moment is a [`Snapshot`], which nobody changes: threads that serve pick
//! from it without a lock, and whoever changes something puts another in its place.
//!
//! - `endpoint`: where members are. `tls`: what encrypts connections to them.
//! - `queue`: requests that wait for room. `sticky`: cookies that name a backend.
//! - `orders`: what was said of backends by hand, which outlives the process.
//! - `gone`: members that may not go on with what they have.
//! - `pulse`: who follows pools is told of changes.
//! - `keeper`: the thread that looks after all pools: names, checks, ejections. `watch`: what is seen of members over time.
//! - `gauges`: what is read of backends when metrics are asked for.
//! - `names`: what names stand for. `lookups`: when they are looked up. `resolver`: who is asked.

pub(crate) mod endpoint;
pub mod gauges;
pub(crate) mod gone;
pub mod keeper;
pub(crate) mod lookups;
pub(crate) mod names;
pub mod orders;
pub(crate) mod pulse;
pub(crate) mod queue;
mod resolver;
pub(crate) mod sticky;
#[cfg(test)]
mod tests;
mod tls;
pub(crate) mod watch;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::fast::FixedState;
use outwork_balance::{self as balance, Ejection, Lease, Member, MemberId, Outcome, PoolError, Resource, Slot};
use outwork_engine::Time;
use outwork_telemetry::{Counter, Gauge};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::acceleration::figures::Passes;
use crate::address::BackendUrl;
use crate::clock::Clock;
use crate::config::{GlobalLimits, Pool as Settings, Proxy, Resolver};
use crate::limits::{Everywhere, Eviction, Left, Rate, Room, Seat};
use crate::metrics::{Absent, Ejected, Ended, Endings, ProxyMetrics};
use endpoint::Endpoint;
use lookups::Look;
use names::{Question, Spot};
use orders::{ByHand, Orders};
use pulse::Pulse;
use queue::Queue;
use sticky::Sticky;
use tls::Encryption;
pub use tls::UpstreamTlsError;
use watch::{Glance, Watch};

/// What the name of a pool begins with that is of one server, which is asked by its URL. No name in the configuration is taken for one.
const ASKED: &str = "asked: ";

/// Every pool there is. One of it outlives every configuration.
#[derive(Debug)]
pub struct Pools {
    shared: Arc<Shared>,
    pools: ArcSwap<BTreeMap<String, Arc<Pool>>>,
}

/// What pools have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<ProxyMetrics>,
    /// What signs cookies.
    secret: [u8; 16],
    /// What was said of backends by hand.
    pub(crate) orders: Orders,
    /// Tells the keeper that there is something new.
    pub(crate) changed: Notify,
    /// Tells who follows pools.
    pub(crate) pulse: Pulse,
    /// What tiers of acceleration pass on.
    pub(crate) passed: Passes,
    /// What is under way of all of them.
    pub(crate) everywhere: Arc<Everywhere>,
    /// Who knows names, where the configuration says so.
    resolver: ArcSwapOption<Resolver>,
    numbers: AtomicU64,
    /// Tells those who wait for names that some were looked up.
    looked_up: Mutex<()>,
    resolved: Condvar,
}

/// A pool, whatever is in it.
#[derive(Debug)]
pub struct Pool {
    /// Which no other pool of this process has had.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) shared: Arc<Shared>,
    snapshot: ArcSwap<Snapshot>,
    /// Held by who makes another snapshot of the one that is there, until that is in force.
    making: Mutex<()>,
    /// What names stand for, as they were last looked up.
    names: Mutex<BTreeMap<Question, Vec<Spot>>>,
    /// How it goes with looking them up.
    pub(crate) looks: Mutex<BTreeMap<Question, Look>>,
    /// All names were looked up once.
    is_resolved: AtomicBool,
    /// Tells the keeper that its settings are others.
    renewed: Notify,
    /// When it left the configuration, in nanoseconds; 0 as long as it is there.
    left: AtomicU64,
    pub(crate) queue: Queue,
    rate: Rate,
    pub(crate) eviction: Arc<Eviction>,
    census: Census,
    pub(crate) figures: Figures,
    pub(crate) watch: Mutex<Watch>,
}

/// What is counted of a pool beside its members.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Attempts beyond the first.
    pub(crate) retries: Arc<Counter>,
    /// Members that were ejected because they failed requests.
    pub(crate) ejections: Arc<Counter>,
    /// Requests that wait for room.
    pub(crate) waiting: Arc<Gauge>,
    /// Requests, by how they ended.
    pub(crate) requests: Endings,
}

/// How many of its backends are what.
#[derive(Debug)]
struct Census {
    usable: Arc<Gauge>,
    unhealthy: Arc<Gauge>,
    ejected: Arc<Gauge>,
    draining: Arc<Gauge>,
    panics: Arc<Gauge>,
}

/// What a pool is at a moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) settings: Arc<Settings>,
    zone: Option<Arc<str>>,
    pub(crate) balance: balance::Pool,
    endpoints: HashMap<MemberId, Arc<Endpoint>, FixedState>,
    encryption: Option<Encryption>,
    pub(crate) sticky: Option<Sticky>,
}

/// Why a pool cannot be as the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub enum PoolsError {
    /// Its members.
    #[error("proxy.pool.{pool}: {source}")]
    Members {
        /// The pool.
        pool: String,
        /// Why.
        source: PoolError,
    },
    /// Its encryption.
    #[error("proxy.pool.{pool}.tls.{source}")]
    Tls {
        /// The pool.
        pool: String,
        /// Why.
        source: UpstreamTlsError,
    },
}

/// Pools of a configuration that is not in force yet.
#[derive(Debug)]
pub struct PreparedPools {
    pools: BTreeMap<String, Arc<Pool>>,
    /// What those that were there before are to be.
    snapshots: Vec<PreparedPool>,
    resolver: Option<Arc<Resolver>>,
    limits: GlobalLimits,
}

/// What a pool is to be that is there.
#[derive(Debug)]
struct PreparedPool {
    pool: Arc<Pool>,
    /// What it was when this was made.
    before: Arc<Snapshot>,
    made: Snapshot,
}

impl PreparedPools {
    /// The pool with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.get(name)
    }

    /// The pools of servers that are asked by their URLs.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (&str, &Arc<Pool>)> {
        self.pools.iter().filter_map(|(name, pool)| Some((name.strip_prefix(ASKED)?, pool)))
    }
}

impl Pools {
    /// There are none yet. `secret` signs cookies that name backends, and of backends there will be what `orders` say.
    pub fn new(secret: [u8; 16], orders: Orders) -> Arc<Self> {
        let shared = Shared {
            clock: Clock::start(),
            metrics: Arc::default(),
            secret,
            orders,
            changed: Notify::new(),
            passed: Passes::default(),
            everywhere: Arc::default(),
            resolver: ArcSwapOption::empty(),
            pulse: Pulse::default(),
            numbers: AtomicU64::new(0),
            looked_up: Mutex::new(()),
            resolved: Condvar::new(),
        };
        Arc::new(Self { shared: Arc::new(shared), pools: ArcSwap::default() })
    }

    /// What they count.
    pub fn metrics(&self) -> &Arc<ProxyMetrics> {
        &self.shared.metrics
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Those that are in force, by name.
    pub fn all(&self) -> Arc<BTreeMap<String, Arc<Pool>>> {
        self.pools.load_full()
    }

    /// Those none of whose backends is usable, by name, with what that comes to; servers that are asked by their URLs, by those.
    pub fn dead(&self) -> Vec<String> {
        let all = self.all();
        let dead = |pool: &Arc<Pool>| {
            let plight = pool.plight()?;
            let name = pool.name.trim_start_matches(ASKED);
            Some(if plight.is_empty() { name.to_owned() } else { format!("{name} ({plight})") })
        };
        all.values().filter_map(dead).collect()
    }

    /// Waits until every name of a backend has been looked up, or for so long.
    pub fn wait_for_names(&self, patience: Duration) {
        let until = std::time::Instant::now() + patience;
        let mut looked_up = self.shared.looked_up.lock();
        let waits = |pool: &Arc<Pool>| !pool.snapshot.load().questions().is_empty() && !pool.is_resolved.load(Relaxed);
        while self.all().values().any(waits) {
            if self.shared.resolved.wait_until(&mut looked_up, until).timed_out() {
                return;
            }
        }
    }

    /// Makes ready what a configuration says, and a pool for each of the servers that are asked by their URLs. Nothing changes by it.
    ///
    /// # Errors
    /// When a pool cannot be as it says.
    pub fn prepare(&self, settings: &Proxy, servers: &[BackendUrl]) -> Result<PreparedPools, PoolsError> {
        let zone: Option<Arc<str>> = settings.zone.as_deref().map(Arc::from);
        let current = self.pools.load();
        let (mut pools, mut snapshots) = (BTreeMap::new(), Vec::new());
        let named = settings.pool.iter().map(|(name, settings)| (name.clone(), settings.clone()));
        let asked = servers.iter().map(|url| (format!("{ASKED}{url}"), Settings::of(url.clone())));
        for (name, settings) in named.chain(asked) {
            let (name, settings) = (&name, Arc::new(settings));
            let pool = match current.get(name) {
                Some(pool) => {
                    let before = pool.snapshot();
                    let made = pool.snapshot_of(settings, zone.clone(), [&before, &before])?;
                    snapshots.push(PreparedPool { pool: Arc::clone(pool), before, made });
                    Arc::clone(pool)
                }
                None => Arc::new(Pool::new(name, settings, zone.clone(), &self.shared)?),
            };
            pools.insert(name.clone(), pool);
        }
        let resolver = settings.resolver.clone().map(Arc::new);
        Ok(PreparedPools { pools, snapshots, resolver, limits: settings.limits.clone() })
    }

    /// Puts what was made ready in force.
    pub fn commit(&self, prepared: PreparedPools) {
        self.shared.everywhere.set(prepared.limits);
        if *self.shared.resolver.load() != prepared.resolver {
            self.shared.resolver.store(prepared.resolver);
        }
        for PreparedPool { pool, before, made } in prepared.snapshots {
            pool.become_what_was_made(&before, made);
            pool.renewed.notify_one();
        }
        let known = self.pools.load();
        prepared.pools.values().filter(|pool| !known.contains_key(&pool.name)).for_each(|pool| pool.begin());
        let before = self.pools.swap(Arc::new(prepared.pools));
        let current = self.pools.load();
        for pool in before.values().filter(|pool| !current.contains_key(&pool.name)) {
            pool.leave();
        }
        self.shared.metrics.keep_pools(|pool| current.contains_key(pool));
        self.shared.changed.notify_one();
        self.shared.pulse.beat();
    }

    /// Another process has taken the place of this one: what is said there of backends by hand holds of those that go on here with what they have, too.
    pub fn follow_orders(&self) {
        self.shared.orders.follow(true);
        self.shared.changed.notify_one();
    }

    /// Does what another process has said of backends since it was last asked.
    fn hear_orders(&self) {
        let all = self.all();
        let weighed = RefCell::<BTreeMap<&str, &Pool>>::default();
        let heard = self.shared.orders.hear(|pool, backend, by_hand| {
            let Some(pool) = all.get(pool) else { return };
            orders::obey(pool, backend, by_hand);
            if let ByHand::Weight(_) = by_hand {
                weighed.borrow_mut().insert(&*pool.name, &**pool);
            } else {
                pool.changed();
            }
            tracing::info!(pool = pool.name, backend, ?by_hand, "a backend was changed by hand, at another process");
        });
        if let Err(error) = heard {
            tracing::warn!(%error, "what is said of backends by hand from now on does not hold of what goes on here");
            self.shared.orders.follow(false);
        }
        for pool in weighed.into_inner().into_values() {
            if let Err(error) = pool.refresh() {
                let pool = &*pool.name;
                tracing::warn!(pool, %error, "what its backends weigh by hand holds from its next change on");
            }
        }
    }

    /// Backends that somebody has taken out, each with its pool and how, whether they are there or not.
    pub fn by_hand(&self) -> Vec<String> {
        self.ordered(|order| match (order.drains, order.ejected) {
            (Some(_), _) => Some("drained".to_owned()),
            (None, Some(_)) => Some("left out".to_owned()),
            (None, None) => None,
        })
    }

    /// Backends that weigh what somebody has said, each with its pool and that, whether they are there or not.
    pub fn weighed_by_hand(&self) -> Vec<String> {
        self.ordered(|order| Some(format!("weight {}", order.weight?)))
    }

    /// Backends of which something holds by hand that is told so, each with its pool.
    fn ordered(&self, how: impl Fn(&orders::Standing) -> Option<String>) -> Vec<String> {
        let of_pool = |pool: &Arc<Pool>| {
            let snapshot = pool.snapshot();
            let told = |order: orders::Standing| {
                let how = how(&order)?;
                let absent = if snapshot.balance.find(&order.backend).is_some() { "" } else { ", absent" };
                Some(format!("{} of {} ({how}{absent})", order.backend, pool.name))
            };
            self.shared.orders.of(&pool.name).into_iter().filter_map(told).collect::<Vec<_>>()
        };
        self.all().values().flat_map(of_pool).collect()
    }
}

impl Pool {
    fn new(
        name: &str,
        settings: Arc<Settings>,
        zone: Option<Arc<str>>,
        shared: &Arc<Shared>,
    ) -> Result<Self, PoolsError> {
        let names = BTreeMap::new();
        let made = Making { name, shared, names: &names, before: None, read: None };
        let snapshot = made.snapshot(settings, zone)?;
        Ok(Self {
            number: shared.numbers.fetch_add(1, Relaxed),
            name: name.to_owned(),
            shared: Arc::clone(shared),
            snapshot: ArcSwap::from_pointee(snapshot),
            making: Mutex::default(),
            names: Mutex::new(names),
            looks: Mutex::default(),
            is_resolved: AtomicBool::new(false),
            renewed: Notify::new(),
            left: AtomicU64::new(0),
            queue: Queue::default(),
            rate: Rate::default(),
            eviction: Arc::default(),
            census: Census {
                usable: shared.metrics.usable.cell([name]),
                unhealthy: shared.metrics.unhealthy.cell([name]),
                ejected: shared.metrics.ejected.cell([name]),
                draining: shared.metrics.draining.cell([name]),
                panics: shared.metrics.panics.cell([name]),
            },
            figures: Figures {
                retries: shared.metrics.pool_retries.cell([name]),
                ejections: shared.metrics.pool_ejections.cell([name]),
                waiting: shared.metrics.pool_waiting.cell([name]),
                requests: Endings::new(&shared.metrics, name),
            },
            watch: Mutex::default(),
        })
    }

    /// What it is now.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Where none of its backends is usable: what comes of that, or why it is so, as far as there is more to say.
    fn plight(&self) -> Option<String> {
        let (snapshot, now) = (self.snapshot(), self.now());
        if snapshot.balance.census(now).usable > 0 {
            return None;
        }
        if snapshot.balance.panics(now) {
            let least = snapshot.settings.panic_threshold;
            return Some(format!(
                "requests go to its backends all the same, for fewer than {least} % of them are well"
            ));
        }
        let looks = self.looks.lock();
        let unknown = looks.iter().find_map(|(question, look)| Some((question.name(), look.problem.as_ref()?)));
        let unknown = unknown.filter(|_| snapshot.balance.slots().iter().all(|slot| slot.leaving().is_some()));
        Some(unknown.map_or_else(String::new, |(name, why)| format!("the name {name} cannot be looked up: {why}")))
    }

    /// A place for a request that begins now, or why there is none.
    pub(crate) fn admit(&self, snapshot: &Snapshot) -> Result<Option<Seat>, Absent> {
        let (now, limits) = (Duration::from_nanos(self.now().as_nanos()), &snapshot.settings.limits);
        if !self.rate.admits(now, limits.rate, limits.burst.unwrap_or(limits.rate)) {
            return Err(Absent::Rate);
        }
        // Who is turned away by what holds of all pools takes nothing from those of this one.
        self.shared.everywhere.request(now).inspect_err(|_| self.rate.give_back(limits.rate))
    }

    /// Room for one more connection to a backend, or why there is none.
    pub(crate) fn room(&self, snapshot: &Snapshot) -> Result<Room, Absent> {
        let everywhere = self.shared.everywhere.connection()?;
        let of_pool = snapshot.balance.hold(Resource::Connections, None).map_err(|_| Absent::Connections)?;
        let left = Left { everywhere: Arc::clone(&self.shared.everywhere), of_pool: Arc::clone(&self.eviction) };
        Ok(Room { _everywhere: everywhere, _of_pool: of_pool, _left: left })
    }

    /// The same where there was none for this reason, and other threads may have connections that wait.
    pub(crate) async fn make_room(&self, snapshot: &Snapshot, refused: Absent) -> Result<Room, Absent> {
        let now = Duration::from_nanos(self.now().as_nanos());
        self.eviction(refused).make_room(now, || self.room(snapshot).ok()).await.ok_or(refused)
    }

    /// Whose connections make room where there was none for this reason.
    pub(crate) fn eviction(&self, refused: Absent) -> &Eviction {
        match refused {
            Absent::ConnectionsEverywhere => &self.shared.everywhere.eviction,
            _ => &self.eviction,
        }
    }

    /// It is in the configuration no more.
    fn leave(&self) {
        self.left.store(self.now().as_nanos().max(1), Relaxed);
    }

    /// Whether it left the configuration so long ago that nobody may go on with what it had.
    pub(crate) fn is_over(&self) -> bool {
        let left = self.left.load(Relaxed);
        left > 0 && Time::from_nanos(left) + self.snapshot.load().settings.drain <= self.now()
    }

    pub(crate) fn metrics(&self) -> &ProxyMetrics {
        &self.shared.metrics
    }

    pub(crate) fn shared_metrics(&self) -> &Arc<ProxyMetrics> {
        &self.shared.metrics
    }

    /// Of the names as they are known now, the members of one snapshot, and what another has read, if that is of these settings.
    fn snapshot_of(
        &self,
        settings: Arc<Settings>,
        zone: Option<Arc<str>>,
        [before, read]: [&Snapshot; 2],
    ) -> Result<Snapshot, PoolsError> {
        let names = self.names.lock();
        let made =
            Making { name: &self.name, shared: &self.shared, names: &names, before: Some(before), read: Some(read) };
        made.snapshot(settings, zone)
    }

    /// Takes up what was made ready while it was like `before`.
    fn become_what_was_made(&self, before: &Arc<Snapshot>, made: Snapshot) {
        let _making = self.making.lock();
        let now = self.snapshot();
        if Arc::ptr_eq(before, &now) {
            return self.put(made);
        }
        // Names stand for something else since, or members have left.
        match self.snapshot_of(Arc::clone(&made.settings), made.zone.clone(), [&now, &made]) {
            Ok(anew) => self.put(anew),
            Err(error) => {
                let pool = &*self.name;
                tracing::warn!(pool, %error, "names that were looked up during a reload hold from the next look on");
                self.names.lock().clear();
                self.put(made);
            }
        }
    }

    /// Takes another snapshot up: of members that it brings, what was said by hand holds.
    fn put(&self, snapshot: Snapshot) {
        let (before, snapshot) = (self.snapshot.load_full(), Arc::new(snapshot));
        let fresh = snapshot.members().filter(|member| before.endpoint(member.id()).is_none());
        self.shared.orders.apply(&self.name, fresh, self.now(), || self.snapshot.store(Arc::clone(&snapshot)));
        if snapshot.balance.is_weightless() && !before.balance.is_weightless() {
            let pool = &*self.name;
            tracing::warn!(pool, "no backend of the pool has any weight now: none is given anything new");
        }
        let there: HashSet<&str> = snapshot.members().map(|member| member.key()).collect();
        self.metrics().keep_backends(|pool, backend| pool != self.name || there.contains(backend));
        self.changed();
    }

    /// Nobody has used it yet: what was said by hand holds of all of its members from the first moment on.
    fn begin(&self) {
        let snapshot = self.snapshot.load();
        self.shared.orders.apply(&self.name, snapshot.members(), self.now(), || ());
    }

    /// Tells everybody whom it concerns that backends may be used for other things than before: those that wait may have room.
    pub(crate) fn changed(&self) {
        self.queue.wake_all();
        self.shared.pulse.beat();
    }

    /// Takes in what a name stands for. Whether anything has changed.
    fn found(&self, question: Question, spots: Vec<Spot>) -> Result<bool, PoolsError> {
        let asked = self.snapshot.load().questions();
        {
            let mut names = self.names.lock();
            names.retain(|known, _| asked.contains(known));
            if names.get(&question) == Some(&spots) {
                return Ok(false);
            }
            names.insert(question, spots);
        }
        self.refresh().map(|()| true)
    }

    /// How many addresses a name stands for.
    pub(crate) fn stands_for(&self, question: &Question) -> usize {
        self.names.lock().get(question).map_or(0, Vec::len)
    }

    /// All names were looked up once.
    fn resolved(&self) {
        let _waiting = self.shared.looked_up.lock();
        self.is_resolved.store(true, Relaxed);
        self.shared.resolved.notify_all();
    }

    /// Makes the snapshot anew, as the settings are: of other addresses, of what was said by hand that they weigh, and without those that have left.
    pub(crate) fn refresh(&self) -> Result<(), PoolsError> {
        let _making = self.making.lock();
        let before = self.snapshot();
        self.put(self.snapshot_of(Arc::clone(&before.settings), before.zone.clone(), [&before, &before])?);
        Ok(())
    }

    /// What a request, or an attempt at one, was like for the member.
    pub(crate) fn observe(&self, snapshot: &Snapshot, lease: Option<&mut Lease>, outcome: Outcome) {
        self.metrics().requests.of(outcome.into()).inc();
        self.figures.requests.count(outcome.into());
        self.ended(snapshot, lease, outcome);
    }

    /// The time was over that a client gave a call which the member had, and what that was like for it.
    pub(crate) fn expired(&self, snapshot: &Snapshot, lease: Option<&mut Lease>, outcome: Outcome) {
        self.metrics().requests.of(Ended::Deadline).inc();
        self.figures.requests.count(Ended::Deadline);
        self.ended(snapshot, lease, outcome);
    }

    /// A member has begun to answer, well so far. What becomes of the answer is said by `ended`.
    pub(crate) fn begun(&self, snapshot: &Snapshot, lease: Option<&mut Lease>) {
        self.metrics().requests.of(Outcome::Answered.into()).inc();
        self.figures.requests.count(Outcome::Answered.into());
        if let Some(lease) = lease {
            lease.begin(&snapshot.balance, self.now());
        }
    }

    /// What a request was like in the end that was counted when its answer began.
    pub(crate) fn ended(&self, snapshot: &Snapshot, lease: Option<&mut Lease>, outcome: Outcome) {
        let ejection = lease.and_then(|lease| lease.observe(&snapshot.balance, outcome, self.now()));
        if let Some(ejection) = ejection {
            self.told(&ejection);
        }
    }

    /// Sees what all members are now.
    fn look(&self, snapshot: &Snapshot, now: Time) {
        let trusting = snapshot.balance.settings().trust_unknown;
        let glances = snapshot.balance.slots().iter().map(|slot| {
            let id = slot.member().id();
            let cells = snapshot.endpoint(id).map(|endpoint| &endpoint.cells);
            Glance {
                id,
                standing: slot.standing(now, trusting),
                requests: cells.map_or(0, |cells| cells.requests.get()),
                failures: cells.map_or(0, |cells| cells.failures.get()),
            }
        });
        self.watch.lock().look(glances, now);
    }

    /// Says that a member was ejected.
    pub(crate) fn told(&self, ejection: &Ejection) {
        self.shared.pulse.beat();
        let (detector, why) = (Ejected::from(ejection.detector), watch::why(ejection.detector, ejection.row));
        self.metrics().ejections.of(detector).inc();
        self.figures.ejections.inc();
        if let Some(slot) = self.snapshot().balance.find(&ejection.key) {
            self.watch.lock().ejected(slot.member().id(), Some((ejection.detector, ejection.row)));
        }
        // To whole seconds, as it was meant.
        let lasts = ejection.until.since(self.now()).as_secs_f64().round();
        let (pool, backend, detector) = (&*self.name, &*ejection.key, detector.as_str());
        if self.snapshot().balance.panics(self.now()) {
            tracing::warn!(
                pool,
                backend,
                detector,
                %why,
                seconds = lasts,
                "a backend fails, and gets requests all the same: too few of its pool are well"
            );
        } else {
            tracing::warn!(pool, backend, detector, %why, seconds = lasts, "a backend fails and is left out for a while");
        }
    }
}

impl Snapshot {
    /// Where a member is.
    pub(crate) fn endpoint(&self, id: MemberId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.balance.slots().iter().map(Slot::member)
    }

    /// The names that are to be looked up.
    pub(crate) fn questions(&self) -> BTreeSet<Question> {
        self.settings.backend.iter().filter_map(|backend| Question::of(&backend.url.place)).collect()
    }
}

/// What a snapshot is made of beside its settings.
struct Making<'a> {
    name: &'a str,
    shared: &'a Shared,
    names: &'a BTreeMap<Question, Vec<Spot>>,
    /// What it comes after.
    before: Option<&'a Snapshot>,
    /// What may have read the files of these settings.
    read: Option<&'a Snapshot>,
}

impl Making<'_> {
    fn snapshot(&self, settings: Arc<Settings>, zone: Option<Arc<str>>) -> Result<Snapshot, PoolsError> {
        let wrong = |source| PoolsError::Tls { pool: self.name.to_owned(), source };
        // Files are read anew with each configuration, and not with each change of an address.
        let known = self.read.filter(|read| Arc::ptr_eq(&read.settings, &settings));
        let encrypted = settings.backend.iter().any(|backend| backend.url.speech.is_encrypted());
        let encryption = match known {
            Some(known) => known.encryption.clone(),
            None if encrypted => Some(Encryption::new(&settings.tls).map_err(wrong)?),
            None => None,
        };
        let mut endpoints = Vec::with_capacity(settings.backend.len());
        for backend in &settings.backend {
            let question = Question::of(&backend.url.place);
            let spots = question.and_then(|question| self.names.get(&question)).map_or(&[][..], Vec::as_slice);
            let counted = (&*self.shared.metrics, self.name);
            endpoints.extend(Endpoint::of(backend, spots, encryption.as_ref(), counted).map_err(wrong)?);
        }
        let mut balanced = settings.balanced(zone.as_deref());
        let weights = self.shared.orders.weights(self.name);
        let weighed = |endpoint: &Endpoint| match weights.get(&endpoint.key) {
            Some(weight) => endpoint.member().weight(*weight),
            None => endpoint.member(),
        };
        balanced.members = endpoints.iter().map(weighed).collect();
        let now = self.shared.clock.now();
        let pool = match self.before {
            Some(before) => before.balance.rebuild(balanced, now),
            None => balance::Pool::new(balanced),
        };
        let pool = pool.map_err(|source| PoolsError::Members { pool: self.name.to_owned(), source })?;
        let mut fresh: HashMap<String, Endpoint> =
            endpoints.into_iter().map(|endpoint| (endpoint.key.clone(), endpoint)).collect();
        let mut placed = HashMap::with_capacity_and_hasher(pool.slots().len(), FixedState::default());
        for slot in pool.slots() {
            let id = slot.member().id();
            let known = || self.before.and_then(|before| before.endpoint(id)).cloned();
            // Who has left the settings is where it was.
            if let Some(endpoint) = fresh.remove(slot.member().key()).map(Arc::new).or_else(known) {
                placed.insert(id, endpoint);
            }
        }
        let members = pool.slots().iter().map(|slot| slot.member().key());
        let sticky = settings.sticky.as_ref().map(|sticky| Sticky::new(sticky, self.name, self.shared.secret, members));
        Ok(Snapshot { settings, zone, balance: pool, endpoints: placed, encryption, sticky })
    }
}
