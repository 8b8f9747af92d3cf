//! The thread that owns programs and ports: it has their tables follow the pools, and sees to what they cannot.
//!
//! - `steps`: which side it gets hold of, and what is tried where one cannot be had.
//! - `failing`: what fails again and again is told once.
//! - `leaving`: services that no plan names any longer keep the flows that they have for a while.
//! - `routing`: whether the kernel routes what comes in.

mod failing;
mod leaving;
mod routing;
mod steps;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_balance::Standing;
use outwork_fastpath::kernel::attach::Families;
use outwork_fastpath::kernel::{AttachError, attach};
use outwork_fastpath::layout::Link;
use outwork_fastpath::port::steering::Hold;
use outwork_fastpath::port::ways::Ways;
use outwork_fastpath::registry::plane::ChangeError;
use outwork_fastpath::{ControlPlane as _, Fastpath, Mode, Sink as _, Tier, Vip, Way};

use super::cables::{Barred, Cables};
use super::held::{Got, Held, Taken};
use super::metrics::Readings;
use super::outlets::{self, Outlets};
use super::plan::{Plan, Service, Step};
use super::ports::Refusal;
use super::{Order, Shared};
use crate::pool::endpoint::Target;
use crate::pool::{Pool, Snapshot};
use failing::Failing;
use leaving::Leaving;
use steps::Wait;

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
    leaving: Leaving,
    readings: Readings,
    cables: Cables,
    outlets: Outlets,
    /// Who knows where backends are that programs of the kernel send to.
    ways_of_kernel: Option<Ways>,
    /// Services that the kernel knows no ways for, because it does not route.
    unrouted: BTreeMap<Vip, String>,
    /// Interfaces that gave no frames.
    waits: BTreeMap<String, Wait>,
    /// Where there is no tier at all.
    wait: Option<Wait>,
    /// Why steps could not be had, as it was told.
    complaints: BTreeMap<&'static str, String>,
    /// What of looking at tables fails.
    failing: Failing,
    /// When the thread that forwards has ended.
    died: Option<Instant>,
    /// What interfaces were told to be held by, the best first.
    ways: BTreeMap<String, Vec<Tier>>,
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
        Work {
            shared,
            plan: Arc::default(),
            held: None,
            at: 0,
            told: HashMap::new(),
            leaving: Leaving::default(),
            readings: Readings::default(),
            cables: Cables::default(),
            outlets: Outlets::default(),
            ways_of_kernel: None,
            unrouted: BTreeMap::new(),
            waits: BTreeMap::new(),
            wait: None,
            complaints: BTreeMap::new(),
            failing: Failing::default(),
            died: None,
            ways: BTreeMap::new(),
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        let start = Instant::now();
        let [mut look, mut sweep, mut count, mut again] = [(); 4].map(|()| Due(start));
        loop {
            let attends = self.held.is_some() && !(self.plan.services.is_empty() && self.leaving.is_empty());
            let changed = self.shared.pools.shared().pulse.wait(if attends { ATTENTIVE } else { IDLE });
            let planned = match self.obey() {
                Next::End => return,
                Next::GoOn { planned } => planned,
            };
            let now = Instant::now();
            if matches!(&self.held, Some(Held::Ports(ports)) if ports.has_ended()) {
                self.begin_anew();
            }
            if self.held.is_none() {
                if self.wait.as_ref().is_some_and(Wait::is_over) {
                    self.try_again();
                }
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
                self.part(now);
            }
            if count.is_now(now, COUNT) {
                self.count();
            }
            if again.is_now(now, AGAIN) {
                self.look_at_cables();
                // The last of all steps does not fail.
                let _ = self.attach(true, Duration::ZERO);
                self.look_at_routing();
                self.look_out();
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
                    // What leaves has no successor.
                    match self.held.take().filter(|_| !self.leaving.is_all()) {
                        Some(Held::Kernel(fastpath)) => fastpath.leave(),
                        Some(Held::Ports(ports)) => {
                            let left = ports.leave().into_iter().filter_map(|file| Hold::of(file).ok());
                            *self.shared.holds.lock() = left.collect();
                        }
                        None => {}
                    }
                    return Next::End;
                }
                Order::Stop => return Next::End,
            }
        }
        Next::GoOn { planned }
    }

    /// Says to what is held what the step is from now on.
    fn adjust(&mut self) {
        let plan = Arc::clone(&self.plan);
        match (&mut self.held, plan.steps.get(self.at)) {
            (Some(Held::Kernel(fastpath)), Some(Step::Kernel(interfaces))) => {
                let held: Vec<String> = fastpath.attached().map(|one| one.interface.clone()).collect();
                for name in held {
                    let all = interfaces.get(&name).map(Vec::as_slice).unwrap_or_default();
                    let (ways, _) = self.cables.allow(&name, all);
                    if self.ways.get(&name) == Some(&ways) {
                        continue;
                    }
                    match ways.split_first() {
                        // What comes of it is looked at below, and tried again where it failed.
                        Some((first, rest)) => match fastpath.attach_anew(&name, *first, rest) {
                            Ok(attached) => {
                                let taken = Taken::from(&attached);
                                tell(&self.shared, &told_of(&self.cables, plan.families, taken, all));
                            }
                            Err(error) => {
                                tracing::warn!(interface = name, %error, "a program was taken off an interface, and no other is on it")
                            }
                        },
                        None if fastpath.detach(&name) => {
                            tracing::warn!(
                                interface = name,
                                "an interface is the kernel's; flows that a tier has passed on there are cut"
                            );
                        }
                        None => {}
                    }
                    self.ways.insert(name, ways);
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
        let (plan, settings) = (Arc::clone(&self.plan), self.settings());
        drop(self.see_routing());
        self.retire();
        let Some(held) = &mut self.held else { return };
        let told = |what: &str, outcome: Result<(), ChangeError>| {
            if let Err(error) = outcome {
                tracing::warn!(%error, what, "tables are not as they are to be");
            }
        };
        let sink = held.sink();
        told("settings", sink.set(settings));
        told("denied networks", sink.deny(plan.denied.iter().copied()));
        told("services", sink.retain(|vip| plan.services.contains_key(vip) || self.leaving.contains(vip)));
        // Their settings may be others.
        self.told.clear();
        self.follow();
    }

    /// Gets hold of interfaces that there is no hold of, and says which are VLANs of others. Where `is_last` is not so, it fails with the first interface that
    /// takes nothing, for another step is to be tried. A queue that is not free is waited for so long.
    fn attach(&mut self, is_last: bool, patience: Duration) -> Result<(), String> {
        let plan = Arc::clone(&self.plan);
        if let Some(Held::Kernel(fastpath)) = &mut self.held {
            fastpath.drop_gone();
            // Nobody is sent where no program is yet, nor where there is none any more; those of an earlier process are there still.
            if fastpath.attached_to().next().is_some() || !fastpath.registry().knows_outlets() {
                self.open_outlets();
            }
        }
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
                    let all = ways;
                    let (ways, barred) = self.cables.allow(name, all);
                    self.ways.insert(name.clone(), ways.clone());
                    let Some((first, rest)) = ways.split_first() else {
                        if let Some(why) = why_none(barred) {
                            refuse(name, Refusal::Failed(why))?;
                        }
                        continue;
                    };
                    match fastpath.attach_by(name, *first, rest) {
                        Ok(attached) => {
                            let taken = Taken::from(&attached);
                            tell(&self.shared, &told_of(&self.cables, plan.families, taken, all));
                        }
                        Err(error @ AttachError::Unknown(_)) => refuse(name, Refusal::Absent(error.to_string()))?,
                        Err(error) => refuse(name, Refusal::Failed(error.to_string()))?,
                    }
                }
            }
            (Held::Ports(ports), Step::AfXdp { interfaces, modes, .. }) => {
                ports.drop_gone();
                ports.expect(interfaces.iter().map(String::as_str));
                for name in interfaces {
                    if ports.holds(name) {
                        continue;
                    }
                    let wait = self.waits.get(name);
                    if let Some(wait) = wait.filter(|wait| !wait.is_over()) {
                        refuse(name, Refusal::Failed(wait.why.clone()))?;
                        continue;
                    }
                    match ports.take(name, &self.cables.allow_modes(name, modes), patience) {
                        Ok(taken) => {
                            tell(&self.shared, &told_of(&self.cables, plan.families, taken.clone(), &[]));
                            self.waits.remove(name);
                        }
                        Err(refusal) => {
                            if let Refusal::Failed(why) = &refusal {
                                let wait = Wait::after(wait, why.clone());
                                self.waits.insert(name.clone(), wait);
                            }
                            refuse(name, refusal)?;
                        }
                    }
                }
            }
            _ => {}
        }
        if let Held::Ports(ports) = &*held {
            ports.expect(std::iter::empty());
        }
        let told = |one: Taken| {
            let ways = match step {
                Step::Kernel(interfaces) => interfaces.get(&one.interface).map(Vec::as_slice),
                _ => None,
            };
            told_of(&self.cables, plan.families, one, ways.unwrap_or_default())
        };
        let taken: Vec<Taken> = held.taken().into_iter().map(told).collect();
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
        drop(status);
        self.open_outlets();
        Ok(())
    }

    /// Has the tables say what the pools do.
    fn follow(&mut self) {
        let (plan, pools) = (Arc::clone(&self.plan), self.shared.pools.all());
        let Some(held) = &mut self.held else { return };
        let is_kernel = matches!(held, Held::Kernel(_));
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
            let unrouted = self.unrouted.get(&vip).map(String::as_str);
            let served = match unrouted.or_else(|| self.outlets.obstacle(&vip)) {
                None => {
                    sink.serve(vip, service.settings, &snapshot.balance, address, pool.now()).map_err(Unserved::from)
                }
                Some(why) => Err(Unserved { why: why.to_owned(), is_refused: true, keeps: is_kernel }),
            };
            let mut status = self.shared.status.lock();
            match served {
                Ok(()) => {
                    if status.refused.remove(&vip).is_some() {
                        tracing::info!(listener = service.listener, at = %vip.socket(), "a listener is served by a tier now");
                    }
                    drop(status);
                    self.told.insert(vip, Told { snapshot, standings });
                }
                Err(Unserved { why, is_refused, keeps }) => {
                    if status.refused.get(&vip) != Some(&why) {
                        tracing::warn!(listener = service.listener, at = %vip.socket(), why, "a listener is served by no tier; its sockets serve");
                    }
                    status.refused.insert(vip, why);
                    // What the tables said of it before may be false by now.
                    if is_refused {
                        // There may be none yet; and what is only cut off for a while goes on with what it has.
                        let _ = if keeps { sink.retire(&vip) } else { sink.withdraw(&vip) };
                        self.told.insert(vip, Told { snapshot, standings });
                    }
                }
            }
        }
        let mut status = self.shared.status.lock();
        status.refused.retain(|vip, _| plan.services.contains_key(vip));
        status.unrouted.clone_from(&self.unrouted);
        status.partly = self.outlets.partly();
        let registry = sink.registry();
        let is_served = |vip: &Vip| !registry.is_retired(vip);
        status.served = registry.services().map(|(vip, _)| *vip).filter(is_served).collect();
    }

    /// Looks which backends no interface leads to that is held. A service that has no others is for sockets.
    fn look_out(&mut self) {
        let (plan, pools) = (Arc::clone(&self.plan), self.shared.pools.all());
        let backends = |service: &Service| pools.get(&service.pool).map(|pool| places(pool)).unwrap_or_default();
        let services = plan.services.iter().map(|(vip, service)| (*vip, &*service.listener, backends(service)));
        let changed = match &self.held {
            None => {
                self.outlets = Outlets::default();
                return;
            }
            Some(Held::Ports(ports)) => {
                self.outlets.look("port", services, |vip, at| ports.beside(vip.socket().ip(), at.ip()))
            }
            Some(Held::Kernel(fastpath)) => {
                // By the other ways, nobody answers by this machine.
                let is_nat = |service: &Service| service.settings.way == Way::Nat;
                let asked = services.filter(|(vip, ..)| plan.services.get(vip).is_some_and(is_nat));
                let (held, registry) = (fastpath.attached_to().collect::<Vec<u32>>(), fastpath.registry());
                let Some(ways) = &self.ways_of_kernel else { return };
                let ends = |vip: &Vip, at: SocketAddr| (vip.socket().ip(), at.ip());
                let wire = |ifindex| registry.wire(ifindex);
                self.outlets.look("program", asked, |vip, at| outlets::beside(ways, &held, wire, ends(vip, at)))
            }
        };
        if !changed.is_empty() {
            changed.iter().for_each(|vip| drop(self.told.remove(vip)));
            self.follow();
        }
    }

    /// Says to programs by which interfaces answers come to one.
    fn open_outlets(&mut self) {
        if let Some(Held::Kernel(fastpath)) = &mut self.held {
            let held: Vec<u32> = fastpath.attached_to().collect();
            if let Err(error) = fastpath.open_outlets(held) {
                tracing::warn!(%error, "programs do not know by which interfaces answers come");
            }
        }
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
        let swept = self.failing.look("flows", held.sink().sweep(Fastpath::kernel_time()));
        if let Some(swept) = swept.filter(|swept| swept.whole) {
            self.shared.metrics.flows.set(i64::try_from(swept.flows).unwrap_or(i64::MAX));
            self.leaving.swept(swept.flows - swept.ending);
        }
    }

    fn count(&mut self) {
        let (metrics, plan) = (&self.shared.metrics, &self.plan);
        let figures = &self.shared.pools.shared().passed;
        let Some(held) = &mut self.held else { return figures.set(&[], &plan.services) };
        if let Some(tallies) = self.failing.look("packets", held.sink().tallies()) {
            self.readings.reasons(metrics, tallies);
        }
        if let Some(statistics) = self.failing.look("listeners", held.sink().statistics()) {
            let name = |vip: &Vip| plan.services.get(vip).map(|service| service.listener.clone());
            self.readings.services(metrics, &statistics, name);
            figures.set(&statistics, &plan.services);
        }
        match held {
            Held::Ports(ports) => self.readings.ports(metrics, ports.pumped()),
            Held::Kernel(_) => self.readings.ports(metrics, std::iter::empty()),
        }
    }
}

/// Why a service is not served.
struct Unserved {
    why: String,
    /// That it cannot be, and not that something has failed.
    is_refused: bool,
    /// Whether its flows may go on.
    keeps: bool,
}

impl From<ChangeError> for Unserved {
    fn from(error: ChangeError) -> Unserved {
        Unserved { why: error.to_string(), is_refused: matches!(error, ChangeError::Refused(_)), keeps: false }
    }
}

/// Why there is no way at all to hold an interface.
fn why_none(barred: Barred) -> Option<String> {
    let each: Vec<String> = barred.into_iter().map(|(tier, why)| format!("{tier}: {why}")).collect();
    (!each.is_empty()).then(|| each.join("; "))
}

/// How an interface is held, with those of these ways that were not tried before for what they would lose, and what is lost all the same.
fn told_of(cables: &Cables, families: Families, mut taken: Taken, ways: &[Tier]) -> Taken {
    let off = attach::concerns(Path::new("/proc"), &taken.interface, families);
    taken.concerns.extend(off);
    let words: Vec<String> = ways.iter().map(Tier::to_string).collect();
    let place = |word: &str| words.iter().position(|one| one == word);
    let got = place(&taken.got.to_string());
    let (_, barred) = cables.allow(&taken.interface, ways);
    taken.tried.extend(barred.into_iter().filter(|(word, _)| place(word) < got));
    taken.tried.sort_by_key(|(word, _)| place(word));
    if let Got::Kernel(Tier::Xdp(Mode::Skb)) | Got::AfXdp(Mode::Skb) = taken.got {
        taken.concerns.extend(cables.joined(&taken.interface));
    }
    taken
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

/// Where the backends of a pool are, as far as packets can be sent there.
fn places(pool: &Pool) -> Vec<SocketAddr> {
    let snapshot = pool.snapshot();
    snapshot.balance.slots().iter().filter_map(|slot| place(&snapshot, slot)).collect()
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
