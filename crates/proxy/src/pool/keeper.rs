//! Looks after pools: names are looked up, backends are checked, those that fail more than others are left out, and who has left goes.
//!
//! It runs on a thread of its own, so that nothing of it waits for requests, nor they for it.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use outwork_balance::health::{Step, Ticket};
use outwork_balance::{Checker, Health, MemberId, Standing};
use outwork_engine::{Rng, Time};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::lookups::Lookups;
use super::names::Question;
use super::resolver::{Answer, ResolveError};
use super::watch::Check as Found;
use super::{Pool, Pools, Snapshot};
use crate::check;
use crate::metrics::Checked;

/// Looks after things no less often than this.
const NAP: Duration = Duration::from_millis(500);

/// How often another process is asked what it has said of backends.
const HEARING: Duration = Duration::from_secs(1);

/// The thread that looks after pools. It ends with this.
#[derive(Debug)]
pub struct Keeper {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Keeper {
    /// Begins to look after these.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(pools: &Arc<Pools>) -> std::io::Result<Self> {
        let pools = Arc::clone(pools);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
        let thread = std::thread::Builder::new().name("proxy-keeper".to_owned()).spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async {
                tokio::select! {
                    () = run(&pools) => {}
                    _ = stopped => {}
                }
            });
            // A look-up that hangs is nobody's to wait for.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Has somebody look after each pool that there is.
async fn run(pools: &Arc<Pools>) {
    let mut kept: HashMap<u64, (Weak<Pool>, JoinHandle<()>)> = HashMap::new();
    loop {
        let current = pools.all();
        kept.retain(|number, (_, task)| {
            let stays = current.values().any(|pool| pool.number == *number);
            if !stays {
                task.abort();
            }
            stays
        });
        for pool in current.values() {
            kept.entry(pool.number).or_insert_with(|| {
                let weak = Arc::downgrade(pool);
                (weak.clone(), tokio::task::spawn_local(keep(weak)))
            });
        }
        let changed = pools.shared().changed.notified();
        if !pools.shared().orders.are_followed() {
            changed.await;
        } else if timeout(HEARING, changed).await.is_err() {
            pools.hear_orders();
        }
    }
}

/// A check that is under way.
type Check = Pin<Box<dyn Future<Output = (MemberId, Ticket, Checking)>>>;

/// What has come of a check, and how long it took.
struct Checking {
    took: Duration,
    result: Result<(), String>,
}

/// What is known of a pool beside what it knows itself.
struct Care {
    rng: Rng,
    checkers: HashMap<MemberId, Checker>,
    checks: FuturesUnordered<Check>,
    lookups: Lookups,
    sweep: Time,
}

/// What has come of something that was begun.
enum Done {
    Check(MemberId, Ticket, Checking),
    Lookup(Question, Result<Answer, ResolveError>),
}

async fn keep(pool: Weak<Pool>) {
    let mut care = Care {
        rng: Rng::new(getrandom::u64().unwrap_or(1)),
        checkers: HashMap::new(),
        checks: FuturesUnordered::new(),
        lookups: Lookups::default(),
        sweep: Time::ZERO,
    };
    loop {
        let Some(pool) = pool.upgrade() else { return };
        let pause = care.turn(&pool);
        let done = poll_fn(|context| care.poll(context));
        tokio::select! {
            done = timeout(pause, done) => match done {
                Ok(Done::Check(id, ticket, checking)) => care.conclude(&pool, id, ticket, checking),
                Ok(Done::Lookup(question, found)) => care.lookups.conclude(&pool, question, found),
                Err(_) => {}
            },
            () = pool.renewed.notified() => {}
        }
    }
}

impl Care {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Done> {
        if let Poll::Ready(Some((id, ticket, checking))) = self.checks.poll_next_unpin(context) {
            return Poll::Ready(Done::Check(id, ticket, checking));
        }
        self.lookups.poll(context).map(|(question, found)| Done::Lookup(question, found))
    }

    /// Does what is due, and says how long nothing is.
    fn turn(&mut self, pool: &Arc<Pool>) -> Duration {
        let mut snapshot = pool.snapshot();
        let now = pool.now();
        let names = self.lookups.begin(pool, &snapshot, now);
        if snapshot.balance.next_departure().is_some_and(|at| at <= now) {
            if let Err(error) = pool.refresh() {
                tracing::warn!(pool = pool.name, %error, "who has left a pool stays in it");
            }
            snapshot = pool.snapshot();
        }
        if let Some(outlier) = &snapshot.balance.settings().outlier
            && self.sweep <= now
        {
            snapshot.balance.sweep(now).iter().for_each(|ejection| pool.told(ejection));
            self.sweep = now + outlier.interval;
        }
        pool.look(&snapshot, now);
        self.count(pool, &snapshot, now);
        let due = self.check(pool, &snapshot, now);
        due.min(names).min(self.sweep.max(now)).since(now).clamp(Duration::from_millis(1), NAP)
    }

    /// Begins checks that are due; when the next one is.
    fn check(&mut self, pool: &Pool, snapshot: &Arc<Snapshot>, now: Time) -> Time {
        let Some(settings) = &snapshot.settings.health_check else {
            self.checkers.clear();
            pool.watch.lock().unchecked();
            // Who failed checks that nobody makes any more has failed nothing.
            for slot in snapshot.balance.slots().iter().filter(|slot| slot.member().health() != Health::Unknown) {
                slot.member().set_health(Health::Unknown, now);
                pool.changed();
            }
            return Time::MAX;
        };
        self.checkers.retain(|id, _| snapshot.endpoint(*id).is_some());
        let mut due = Time::MAX;
        for slot in snapshot.balance.slots() {
            let (member, id) = (slot.member(), slot.member().id());
            let Some(endpoint) = snapshot.endpoint(id) else { continue };
            let schedule = settings.schedule();
            let rng = &mut self.rng;
            let checker = self.checkers.entry(id).or_insert_with(|| Checker::new(schedule, member.health(), now, rng));
            checker.set_settings(schedule, now);
            loop {
                match checker.poll(now, rng) {
                    Step::Wait(until) => {
                        due = due.min(until);
                        break;
                    }
                    Step::Expired(changed) => {
                        if let Some(health) = changed {
                            member.set_health(health, now);
                            pool.changed();
                        }
                    }
                    Step::Begin { ticket, deadline } => {
                        due = due.min(deadline);
                        let (snapshot, endpoint) = (Arc::clone(snapshot), Arc::clone(endpoint));
                        self.checks.push(Box::pin(async move {
                            let Some(settings) = &snapshot.settings.health_check else {
                                return (id, ticket, Checking { took: Duration::ZERO, result: Ok(()) });
                            };
                            let (kind, send_proxy) = (snapshot.settings.check_kind(), snapshot.settings.send_proxy);
                            let began = Instant::now();
                            let result = check::check(kind, settings, &endpoint, send_proxy).await;
                            (id, ticket, Checking { took: began.elapsed(), result })
                        }));
                        break;
                    }
                }
            }
        }
        due
    }

    /// Takes in what a check has found.
    fn conclude(&mut self, pool: &Arc<Pool>, id: MemberId, ticket: Ticket, checking: Checking) {
        let Checking { took, result } = checking;
        let outcome = if result.is_ok() { Checked::Passed } else { Checked::Failed };
        pool.metrics().checks.of(outcome).inc();
        let snapshot = pool.snapshot();
        let slot = snapshot.balance.slots().iter().find(|slot| slot.member().id() == id);
        if let (Err(_), Some(endpoint)) = (&result, snapshot.endpoint(id)) {
            endpoint.cells.check_failures.inc();
        }
        let (Some(slot), Some(checker)) = (slot, self.checkers.get_mut(&id)) else { return };
        let (member, now) = (slot.member(), pool.now());
        let changed = checker.result(ticket, result.is_ok(), now, &mut self.rng);
        let (name, backend) = (&*pool.name, member.key());
        pool.watch.lock().checked(id, Found { at: now, took, problem: result.clone().err() });
        let Some(health) = changed else { return };
        // What it failed requests for is over: it would be left out for nothing. Who was left out by hand stays out.
        if health == Health::Healthy && now < member.ejected_until() && !pool.watch.lock().is_by_hand(id) {
            member.eject_until(now);
        }
        member.set_health(health, now);
        pool.changed();
        match &result {
            Ok(()) => tracing::info!(pool = name, backend, "a backend is healthy"),
            Err(error) if snapshot.balance.panics(now) => {
                tracing::warn!(
                    pool = name,
                    backend,
                    error,
                    "a backend is not healthy, and gets requests all the same: too few of its pool are"
                );
            }
            Err(error) => tracing::warn!(pool = name, backend, error, "a backend is not healthy, and gets no requests"),
        }
    }

    fn count(&self, pool: &Pool, snapshot: &Snapshot, now: Time) {
        let census = snapshot.balance.census(now);
        let gauges = &pool.census;
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        gauges.usable.set(count(census.usable));
        gauges.unhealthy.set(count(census.unhealthy));
        gauges.ejected.set(count(census.ejected));
        gauges.draining.set(count(census.draining));
        gauges.panics.set(snapshot.balance.panics(now).into());
        let trusting = snapshot.balance.settings().trust_unknown;
        for slot in snapshot.balance.slots() {
            let Some(endpoint) = snapshot.endpoint(slot.member().id()) else { continue };
            endpoint.cells.state.set(match slot.standing(now, trusting) {
                Standing::Usable => 1,
                Standing::Draining => 2,
                Standing::Ejected => 3,
                Standing::Unhealthy => 4,
                Standing::Drained => 5,
            });
        }
    }
}
