//! The thread that owns programs and ports: it has their tables follow the pools, and sees to what they cannot.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_balance::Standing;
use outwork_fastpath::kernel::{AttachError, attach};
use outwork_fastpath::layout::Link;
use outwork_fastpath::registry::plane::ChangeError;
use outwork_fastpath::{ControlPlane as _, Fastpath, Found, Vip};

use super::held::{Held, Taken};
use super::metrics::Readings;
use super::plan::{Plan, Step};
use super::ports::{Ports, Refusal};
use super::{Order, Shared, Status};
use crate::pool::endpoint::Target;
use crate::pool::{Pool, Snapshot};

/// Looks after things so often while there are services: next hops are asked for that packets wait for.
const ATTENTIVE: Duration = Duration::from_millis(5);
/// The same while there are none.
const IDLE: Duration = Duration::from_secs(1);
/// Pools are looked at so often though nobody says that they have changed: ejections and departures end by themselves.
const LOOK: Duration = Duration::from_millis(200);
/// From one slice of the table of flows to the next.
const SWEEP: Duration = Duration::from_millis(50);
/// From one look at what was counted to the next.
const COUNT: Duration = Duration::from_secs(1);
/// An interface that was not there is looked for again so often.
const AGAIN: Duration = Duration::from_secs(3);

/// Something that is due now and then.
#[derive(Debug)]
struct Due(Instant);

impl Due {
    fn is_now(&mut self, now: Instant, every: Duration) -> bool {
        let due = now >= self.0;
        if due {
            self.0 = now + every;
        }
        due
    }
}

/// What a service was told of its pool.
struct Told {
    snapshot: Arc<Snapshot>,
    standings: Vec<Standing>,
}

pub(super) struct Work {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    /// The side that was taken, and which step of the plan it is.
    held: Option<Held>,
    at: usize,
    told: HashMap<Vip, Told>,
    readings: Readings,
}

/// What comes of a look at the orders.
enum Next {
    GoOn {
        /// A plan was taken up.
        planned: bool,
    },
    End,
}

impl Work {
    pub(super) fn new(shared: Arc<Shared>) -> Work {
        Work { shared, plan: Arc::default(), held: None, at: 0, told: HashMap::new(), readings: Readings::default() }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        let start = Instant::now();
        let [mut look, mut sweep, mut count, mut again] = [(); 4].map(|()| Due(start));
        loop {
            let attends = self.held.is_some() && !self.plan.services.is_empty();
            let changed = self.shared.pools.shared().pulse.wait(if attends { ATTENTIVE } else { IDLE });
            let planned = match self.obey() {
                Next::End => return,
                Next::GoOn { planned } => planned,
            };
            let now = Instant::now();
            if self.held.is_none() {
                continue;
            }
            if changed.is_some() || look.is_now(now, LOOK) {
                self.follow();
                // What a plan takes, programs to load among it, is not what a change of a pool takes.
                if let Some(since) = changed.filter(|_| !planned) {
                    self.shared.metrics.update_time.record(since.elapsed());
                }
            }
            self.attend();
            if sweep.is_now(now, SWEEP) {
                self.sweep();
            }
            if count.is_now(now, COUNT) {
                self.count();
            }
            if again.is_now(now, AGAIN) {
                // The last of all steps does not fail.
                let _ = self.attach(true);
            }
        }
    }

    /// Does what was ordered since the last look.
    fn obey(&mut self) -> Next {
        let orders = std::mem::take(&mut *self.shared.orders.lock());
        let mut planned = false;
        for order in orders {
            match order {
                Order::Plan(plan, done) => {
                    self.take_up(plan);
                    planned = true;
                    // Who has gone does not wait.
                    let _ = done.send(());
                }
                Order::Leave => {
                    // Ports close: the next process has its own.
                    if let Some(Held::Kernel(fastpath)) = self.held.take() {
                        fastpath.leave();
                    }
                    return Next::End;
                }
                Order::Stop => return Next::End,
            }
        }
        Next::GoOn { planned }
    }

    fn take_up(&mut self, plan: Arc<Plan>) {
        let before = std::mem::replace(&mut self.plan, plan);
        if !self.plan.is_wanted() {
            self.let_go();
            return;
        }
        if !self.stays(&before) {
            self.let_go();
        }
        let (plan, steps) = (Arc::clone(&self.plan), self.plan.steps.len());
        if self.held.is_some() {
            self.adjust(&before);
            self.fill();
            let _ = self.attach(true);
        }
        while self.held.is_none() && self.at < steps {
            let is_last = self.at + 1 == steps;
            let outcome = self.open().and_then(|()| {
                self.fill();
                self.attach(is_last)
            });
            let Err(why) = outcome else { break };
            let Some(step) = plan.steps.get(self.at) else { break };
            self.held = None;
            self.told.clear();
            let mut status = self.shared.status.lock();
            if is_last {
                tracing::warn!(tier = step.word(), why, "no tier can be had; sockets serve");
                let skipped = std::mem::take(&mut status.skipped);
                *status = Status { unavailable: Some(why), skipped, ..Status::default() };
                return;
            }
            self.shared.metrics.fallbacks.inc();
            tracing::warn!(tried = step.word(), why, "a tier cannot be had here; the next one is taken");
            status.skipped.push((step.word(), why));
            self.at += 1;
        }
        self.count();
    }

    /// Whether what is held can become what the plan wants. What the last plan fell back to stays, until the tiers are others.
    fn stays(&mut self, before: &Plan) -> bool {
        let Some(held) = self.plan.steps.first().filter(|_| self.held.is_some()) else { return false };
        let (new, old) = (&self.plan.steps, &before.steps);
        if new.len() == old.len() && new.iter().zip(old).all(|(new, old)| new.is_like(old)) {
            return true;
        }
        let stays = old.get(self.at).is_some_and(|old| old.is_like(held));
        if stays {
            self.at = 0;
            self.shared.status.lock().skipped.clear();
        }
        stays
    }

    /// Says to what is held what the step is from now on.
    fn adjust(&mut self, before: &Plan) {
        let plan = Arc::clone(&self.plan);
        match (&mut self.held, plan.steps.get(self.at)) {
            (Some(Held::Kernel(fastpath)), Some(Step::Kernel(interfaces))) => {
                let old = before.steps.iter().find_map(|step| match step {
                    Step::Kernel(interfaces) => Some(interfaces),
                    _ => None,
                });
                let held: Vec<String> = fastpath.attached().map(|one| one.interface.clone()).collect();
                for name in held.iter().filter(|name| interfaces.get(*name) != old.and_then(|old| old.get(*name))) {
                    match interfaces.get(name).and_then(|ways| ways.split_first()) {
                        // What comes of it is looked at below, and tried again where it failed.
                        Some((first, rest)) => match fastpath.attach_anew(name, *first, rest) {
                            Ok(attached) => tell(&self.shared, &Taken::from(&attached)),
                            Err(error) => {
                                tracing::warn!(interface = name, %error, "a program was taken off an interface, and no other is on it")
                            }
                        },
                        None => drop(fastpath.detach(name)),
                    }
                }
            }
            (Some(Held::Ports(ports)), Some(Step::AfXdp { interfaces, modes, settings })) => {
                ports.set(settings, modes, |name| interfaces.iter().any(|one| one == name));
            }
            (Some(Held::Ports(ports)), Some(Step::Dpdk(dpdk))) => ports.set_dpdk(dpdk),
            _ => {}
        }
    }

    /// Has the tables say what the plan does.
    fn fill(&mut self) {
        let plan = Arc::clone(&self.plan);
        let Some(held) = &mut self.held else { return };
        let told = |what: &str, outcome: Result<(), ChangeError>| {
            if let Err(error) = outcome {
                tracing::warn!(%error, what, "tables are not as they are to be");
            }
        };
        let sink = held.sink();
        told("settings", sink.set(plan.settings));
        told("denied networks", sink.deny(plan.denied.iter().copied()));
        told("services", sink.retain(|vip| plan.services.contains_key(vip)));
        // Their settings may be others.
        self.told.clear();
        self.follow();
    }

    /// Gets hold of the side of a step.
    fn open(&mut self) -> Result<(), String> {
        let plan = Arc::clone(&self.plan);
        let held = match plan.steps.get(self.at) {
            Some(Step::Kernel(_)) => Held::Kernel(Box::new(self.open_kernel()?)),
            Some(Step::AfXdp { modes, settings, .. }) => {
                let ports = Ports::of_af_xdp(plan.settings, settings, modes)?;
                tracing::info!("tables of user space are ready");
                Held::Ports(Box::new(ports))
            }
            Some(Step::Dpdk(dpdk)) => {
                let ports = Ports::of_dpdk(plan.settings, dpdk)?;
                ports.taken().for_each(|taken| tell(&self.shared, taken));
                Held::Ports(Box::new(ports))
            }
            None => return Err("no tier is named".to_owned()),
        };
        self.held = Some(held);
        self.shared.status.lock().unavailable = None;
        Ok(())
    }

    /// Loads the programs.
    fn open_kernel(&self) -> Result<Fastpath, String> {
        let (fastpath, found) =
            Fastpath::open(self.plan.settings, self.plan.pins.as_deref()).map_err(|error| attach::reasons(&error))?;
        match &found {
            Found::Nothing => tracing::info!("programs for the kernel are loaded"),
            Found::Left { services } => {
                tracing::info!(services, "tables of an earlier process are taken over, and its flows go on");
            }
            Found::Replaced { why } => {
                tracing::warn!(why, "tables of an earlier process were of no use, and its flows are forgotten")
            }
        }
        Ok(fastpath)
    }

    fn let_go(&mut self) {
        if self.held.take().is_some() {
            tracing::info!("interfaces are left to the kernel");
        }
        self.at = 0;
        self.told.clear();
        *self.shared.status.lock() = Status::default();
        self.shared.count_interfaces(&[]);
    }

    /// Gets hold of interfaces that there is no hold of, and says which are VLANs of others. Where `is_last` is not so, it fails with the first interface that
    /// takes nothing, for another step is to be tried.
    fn attach(&mut self, is_last: bool) -> Result<(), String> {
        let plan = Arc::clone(&self.plan);
        let (Some(held), Some(step)) = (&mut self.held, plan.steps.get(self.at)) else { return Ok(()) };
        let mut failed: BTreeMap<String, String> = BTreeMap::new();
        let mut refuse = |name: &str, refusal: Refusal| {
            failed.insert(name.to_owned(), refusal.why().to_owned());
            match refusal {
                Refusal::Failed(why) if !is_last => Err(why),
                _ => Ok(()),
            }
        };
        match (&mut *held, step) {
            (Held::Kernel(fastpath), Step::Kernel(interfaces)) => {
                for (name, ways) in interfaces {
                    if fastpath.attached().any(|one| one.interface == *name) {
                        continue;
                    }
                    let Some((first, rest)) = ways.split_first() else { continue };
                    match fastpath.attach_by(name, *first, rest) {
                        Ok(attached) => tell(&self.shared, &Taken::from(&attached)),
                        Err(error @ AttachError::Unknown(_)) => refuse(name, Refusal::Absent(error.to_string()))?,
                        Err(error) => refuse(name, Refusal::Failed(error.to_string()))?,
                    }
                }
            }
            (Held::Ports(ports), Step::AfXdp { interfaces, .. }) => {
                ports.drop_gone();
                for name in interfaces {
                    if ports.holds(name) {
                        continue;
                    }
                    match ports.take(name) {
                        Ok(taken) => tell(&self.shared, taken),
                        Err(refusal) => refuse(name, refusal)?,
                    }
                }
            }
            _ => {}
        }
        let taken = held.taken();
        let names = |index: &str| taken.iter().any(|one| one.interface == index);
        let text = std::fs::read_to_string("/proc/net/vlan/config").unwrap_or_default();
        let links = vlans(&text, names);
        let links = links.into_iter().filter_map(|(own, of, vlan)| {
            let (own, of) = (attach::index_of(&own)?, attach::index_of(&of)?);
            Some((own, Link { parent: of, vlan, zero: 0 }))
        });
        if let Err(error) = held.sink().link(links) {
            tracing::warn!(%error, "tables do not know of VLANs");
        }
        self.shared.count_interfaces(&taken);
        let mut status = self.shared.status.lock();
        for (name, why) in failed.iter().filter(|(name, why)| status.failed.get(*name) != Some(*why)) {
            tracing::warn!(interface = name, why, "no tier has this interface; sockets serve what comes in there");
        }
        (status.attached, status.failed) = (taken, failed);
        Ok(())
    }

    /// Has the tables say what the pools do.
    fn follow(&mut self) {
        let (plan, pools) = (Arc::clone(&self.plan), self.shared.pools.all());
        let Some(held) = &mut self.held else { return };
        let sink = held.sink();
        let mut changed = Vec::new();
        for (vip, service) in &plan.services {
            let Some(pool) = pools.get(&service.pool) else { continue };
            let snapshot = pool.snapshot();
            let standings = standings(pool, &snapshot);
            let is_known = self
                .told
                .get(vip)
                .is_some_and(|told| Arc::ptr_eq(&told.snapshot, &snapshot) && told.standings == standings);
            if !is_known {
                changed.push((*vip, service, pool, snapshot, standings));
            }
        }
        // Those that fail first: it takes a store each, and a table far more.
        for (vip, _, _, snapshot, standings) in &changed {
            for (slot, _) in snapshot
                .balance
                .slots()
                .iter()
                .zip(standings)
                .filter(|(_, standing)| matches!(standing, Standing::Unhealthy | Standing::Ejected))
            {
                if let Some(at) = place(snapshot, slot) {
                    let _ = sink.fail(vip, at);
                }
            }
        }
        for (vip, service, pool, snapshot, standings) in changed {
            let places: HashMap<&str, SocketAddr> = snapshot
                .balance
                .slots()
                .iter()
                .filter_map(|slot| Some((slot.member().key(), place(&snapshot, slot)?)))
                .collect();
            let address = |key: &str| places.get(key).copied();
            let served = sink.serve(vip, service.settings, &snapshot.balance, address, pool.now());
            let mut status = self.shared.status.lock();
            match served {
                Ok(()) => {
                    status.refused.remove(&vip);
                    drop(status);
                    self.told.insert(vip, Told { snapshot, standings });
                }
                Err(error) => {
                    let why = error.to_string();
                    if status.refused.get(&vip) != Some(&why) {
                        tracing::warn!(listener = service.listener, at = %vip.socket(), why, "a listener is served by no tier; its sockets serve");
                    }
                    status.refused.insert(vip, why);
                    // What the tables said of it before may be false by now.
                    if let ChangeError::Refused(_) = error {
                        let _ = sink.withdraw(&vip);
                        self.told.insert(vip, Told { snapshot, standings });
                    }
                }
            }
        }
        let mut status = self.shared.status.lock();
        status.refused.retain(|vip, _| plan.services.contains_key(vip));
        status.served = sink.registry().services().map(|(vip, _)| *vip).collect();
    }

    fn attend(&mut self) {
        if let Some(held) = &mut self.held
            && let Err(error) = held.sink().resolve_neighbours()
        {
            tracing::debug!(%error, "the kernel was not told to ask for next hops");
        }
    }

    fn sweep(&mut self) {
        let Some(held) = &mut self.held else { return };
        match held.sink().sweep(Fastpath::kernel_time()) {
            Ok(swept) if swept.whole => self.shared.metrics.flows.set(i64::try_from(swept.flows).unwrap_or(i64::MAX)),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the table of flows was not looked through"),
        }
    }

    fn count(&mut self) {
        let Some(held) = &mut self.held else { return };
        let (metrics, plan) = (&self.shared.metrics, &self.plan);
        match held.sink().tallies() {
            Ok(tallies) => self.readings.reasons(metrics, tallies),
            Err(error) => tracing::debug!(%error, "what was counted was not read"),
        }
        if let Ok(statistics) = held.sink().statistics() {
            let name = |vip: &Vip| plan.services.get(vip).map(|service| service.listener.clone());
            self.readings.services(metrics, &statistics, name);
        }
        match held {
            Held::Ports(ports) => self.readings.ports(metrics, ports.pumped()),
            Held::Kernel(_) => self.readings.ports(metrics, std::iter::empty()),
        }
    }
}

/// Says how an interface is held, and what is in the way.
fn tell(shared: &Shared, taken: &Taken) {
    let (interface, tier) = (&*taken.interface, taken.got.to_string());
    match &taken.queues {
        None => tracing::info!(interface, tier, replaced = taken.replaced, "a program is on an interface"),
        Some(queues) => {
            let (numbers, copied, because) = (queues.numbers.len(), queues.copied, queues.because.as_deref());
            tracing::info!(
                interface,
                tier,
                queues = numbers,
                copied,
                because,
                "frames of an interface come into user space"
            );
        }
    }
    for (tried, why) in &taken.tried {
        shared.metrics.fallbacks.inc();
        tracing::warn!(interface, tried, why, tier, "a tier cannot be had here; the next one is taken");
    }
    for concern in &taken.concerns {
        tracing::warn!(interface, concern, "something is in the way of forwarding");
    }
}

/// What backends may be used for now.
fn standings(pool: &Pool, snapshot: &Snapshot) -> Vec<Standing> {
    let (now, trust_unknown) = (pool.now(), snapshot.balance.settings().trust_unknown);
    snapshot.balance.slots().iter().map(|slot| slot.standing(now, trust_unknown)).collect()
}

/// Where a backend is, as far as packets can be sent there.
fn place(snapshot: &Snapshot, slot: &outwork_balance::Slot) -> Option<SocketAddr> {
    match &snapshot.endpoint(slot.member().id())?.target {
        Target::Address(address) => Some(*address),
        Target::Unix(_) => None,
    }
}

/// The VLANs of `/proc/net/vlan/config` whose frames come in by interfaces of ours: the name of each, of which interface it is, and its number.
fn vlans(text: &str, is_ours: impl Fn(&str) -> bool) -> Vec<(String, String, u16)> {
    let lines = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let vlan = |fields: Vec<&str>| match fields.as_slice() {
        [own, number, of] if is_ours(of) => Some(((*own).to_owned(), (*of).to_owned(), number.parse().ok()?)),
        _ => None,
    };
    lines.filter_map(vlan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_of_our_interfaces_are_read_from_the_kernels_list() {
        let text = "VLAN Dev name    | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\neth0.10        | 10  | eth0\nguests         | 20  | eth1\n";
        let found = vlans(text, |name| name == "eth0");
        assert_eq!(found, [("eth0.10".to_owned(), "eth0".to_owned(), 10)]);
    }
}
