//! The thread that owns the programs: it has the kernel's tables follow the pools, and sees to what the programs cannot.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_balance::Standing;
use outwork_fastpath::kernel::{ChangeError, attach};
use outwork_fastpath::layout::Link;
use outwork_fastpath::{Attached, Fastpath, Found, Vip};

use super::metrics::Readings;
use super::plan::Plan;
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
    fastpath: Option<Fastpath>,
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
        Work { shared, plan: Arc::default(), fastpath: None, told: HashMap::new(), readings: Readings::default() }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        let start = Instant::now();
        let [mut look, mut sweep, mut count, mut again] = [(); 4].map(|()| Due(start));
        loop {
            let attends = self.fastpath.is_some() && !self.plan.services.is_empty();
            let changed = self.shared.pools.shared().pulse.wait(if attends { ATTENTIVE } else { IDLE });
            let planned = match self.obey() {
                Next::End => return,
                Next::GoOn { planned } => planned,
            };
            let now = Instant::now();
            if self.fastpath.is_none() {
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
                self.attach();
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
                    if let Some(fastpath) = self.fastpath.take() {
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
        if self.fastpath.is_none() && !self.open() {
            return;
        }
        let plan = Arc::clone(&self.plan);
        let Some(fastpath) = &mut self.fastpath else { return };
        let held: Vec<String> = fastpath.attached().map(|one| one.interface.clone()).collect();
        for name in held.iter().filter(|name| plan.interfaces.get(*name) != before.interfaces.get(*name)) {
            match plan.interfaces.get(name).and_then(|ways| ways.split_first()) {
                // What comes of it is looked at below, and tried again where it failed.
                Some((first, rest)) => match fastpath.attach_anew(name, *first, rest) {
                    Ok(attached) => tell(&self.shared, &attached),
                    Err(error) => {
                        tracing::warn!(interface = name, %error, "a program was taken off an interface, and no other is on it")
                    }
                },
                None => drop(fastpath.detach(name)),
            }
        }
        let told = |what: &str, outcome: Result<(), ChangeError>| {
            if let Err(error) = outcome {
                tracing::warn!(%error, what, "the kernel's tables are not as they are to be");
            }
        };
        told("settings", fastpath.set(plan.settings));
        told("denied networks", fastpath.deny(plan.denied.iter().copied()));
        told("services", fastpath.retain(|vip| plan.services.contains_key(vip)));
        // Their settings may be others.
        self.told.clear();
        self.follow();
        self.attach();
        self.count();
    }

    /// Loads the programs. Whether there are any.
    fn open(&mut self) -> bool {
        match Fastpath::open(self.plan.settings, self.plan.pins.as_deref()) {
            Ok((fastpath, found)) => {
                match &found {
                    Found::Nothing => tracing::info!("programs for the kernel are loaded"),
                    Found::Left { services } => {
                        tracing::info!(services, "tables of an earlier process are taken over, and its flows go on");
                    }
                    Found::Replaced { why } => {
                        tracing::warn!(why, "tables of an earlier process were of no use, and its flows are forgotten")
                    }
                }
                self.fastpath = Some(fastpath);
                self.shared.status.lock().unavailable = None;
                true
            }
            Err(error) => {
                let why = attach::reasons(&error);
                tracing::warn!(why, "no tier of the kernel can be had; sockets serve");
                let mut status = self.shared.status.lock();
                *status = Status { unavailable: Some(why), ..Status::default() };
                false
            }
        }
    }

    fn let_go(&mut self) {
        if self.fastpath.take().is_some() {
            tracing::info!("programs are taken off the interfaces");
        }
        self.told.clear();
        *self.shared.status.lock() = Status::default();
        self.shared.count_interfaces(&[]);
    }

    /// Gets hold of interfaces that there is no hold of, and says which are VLANs of others.
    fn attach(&mut self) {
        let plan = Arc::clone(&self.plan);
        let Some(fastpath) = &mut self.fastpath else { return };
        let mut failed: BTreeMap<String, String> = BTreeMap::new();
        for (name, ways) in &plan.interfaces {
            if fastpath.attached().any(|one| one.interface == *name) {
                continue;
            }
            let Some((first, rest)) = ways.split_first() else { continue };
            match fastpath.attach_by(name, *first, rest) {
                Ok(attached) => tell(&self.shared, &attached),
                Err(error) => {
                    failed.insert(name.clone(), error.to_string());
                }
            }
        }
        let attached: Vec<_> = fastpath.attached().cloned().collect();
        let names = |index: &str| attached.iter().any(|one| one.interface == index);
        let text = std::fs::read_to_string("/proc/net/vlan/config").unwrap_or_default();
        let links = vlans(&text, names);
        let links = links.into_iter().filter_map(|(own, of, vlan)| {
            let (own, of) = (attach::index_of(&own)?, attach::index_of(&of)?);
            Some((own, Link { parent: of, vlan, zero: 0 }))
        });
        if let Err(error) = fastpath.link(links) {
            tracing::warn!(%error, "programs do not know of VLANs");
        }
        self.shared.count_interfaces(&attached);
        let mut status = self.shared.status.lock();
        for (name, why) in failed.iter().filter(|(name, why)| status.failed.get(*name) != Some(*why)) {
            tracing::warn!(interface = name, why, "no program is on this interface; sockets serve what comes in there");
        }
        (status.attached, status.failed) = (attached, failed);
    }

    /// Has the tables say what the pools do.
    fn follow(&mut self) {
        let (plan, pools) = (Arc::clone(&self.plan), self.shared.pools.all());
        let Some(fastpath) = &mut self.fastpath else { return };
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
                    let _ = fastpath.fail(vip, at);
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
            let served = fastpath.serve(vip, service.settings, &snapshot.balance, address, pool.now());
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
                        tracing::warn!(listener = service.listener, at = %vip.socket(), why, "a listener is not served by the kernel; its sockets serve");
                    }
                    status.refused.insert(vip, why);
                    // What the tables said of it before may be false by now.
                    if let ChangeError::Refused(_) = error {
                        let _ = fastpath.withdraw(&vip);
                        self.told.insert(vip, Told { snapshot, standings });
                    }
                }
            }
        }
        let mut status = self.shared.status.lock();
        status.refused.retain(|vip, _| plan.services.contains_key(vip));
        status.served = fastpath.registry().services().map(|(vip, _)| *vip).collect();
    }

    fn attend(&self) {
        if let Some(fastpath) = &self.fastpath
            && let Err(error) = fastpath.resolve_neighbours()
        {
            tracing::debug!(%error, "the kernel was not told to ask for next hops");
        }
    }

    fn sweep(&mut self) {
        let Some(fastpath) = &mut self.fastpath else { return };
        match fastpath.sweep(Fastpath::kernel_time()) {
            Ok(swept) if swept.whole => self.shared.metrics.flows.set(i64::try_from(swept.flows).unwrap_or(i64::MAX)),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the table of flows was not looked through"),
        }
    }

    fn count(&mut self) {
        let Some(fastpath) = &self.fastpath else { return };
        let (metrics, plan) = (&self.shared.metrics, &self.plan);
        match fastpath.tallies() {
            Ok(tallies) => self.readings.reasons(metrics, tallies),
            Err(error) => tracing::debug!(%error, "what the programs have counted was not read"),
        }
        if let Ok(statistics) = fastpath.statistics() {
            let name = |vip: &Vip| plan.services.get(vip).map(|service| service.listener.clone());
            self.readings.services(metrics, &statistics, name);
        }
    }
}

/// Says how a program got hold of an interface, and what is in the way.
fn tell(shared: &Shared, attached: &Attached) {
    let (interface, tier) = (&*attached.interface, attached.got.to_string());
    tracing::info!(interface, tier, replaced = attached.replaced, "a program is on an interface");
    for (tried, why) in &attached.tried {
        shared.metrics.fallbacks.inc();
        tracing::warn!(interface, tried = %tried, why, tier, "a tier cannot be had here; the next one is taken");
    }
    for concern in &attached.concerns {
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
