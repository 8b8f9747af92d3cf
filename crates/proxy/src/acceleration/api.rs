//! The routes of acceleration under `/api/v1/proxy`, and what they tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use outwork_fastpath::Tier;
use outwork_fastpath::machine::interface::{Interface, Works};
use outwork_fastpath::machine::sriov::{Functions, SriovError};
use outwork_fastpath::machine::tiers::{Kind, assess};
use outwork_fastpath::machine::{Answers, Machine, Roots};
use outwork_front::api::{Admin, Json, Path, Problem, Viewer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::held::{Got, Taken};
use super::plan::Plan;
use super::rules::Rule;
use super::{Accelerator, Current, Status, missing_file_system};
use crate::config::Pins;

/// The routes, to be nested under `/api/v1/proxy`.
pub fn router(accelerator: Arc<Accelerator>) -> OpenApiRouter {
    let router = OpenApiRouter::new().routes(routes!(acceleration)).routes(routes!(classification));
    router.routes(routes!(functions)).routes(routes!(set_functions)).with_state(accelerator)
}

/// What accelerates, and what could.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccelerationView {
    /// The release of the kernel.
    kernel: String,
    /// The seven tiers, the fastest first.
    tiers: Vec<TierView>,
    /// The interfaces of this machine.
    interfaces: Vec<InterfaceView>,
    /// Huge pages.
    huge_pages: Vec<HugePagesView>,
    /// Why no tier passes anything on though the configuration wants it.
    problem: Option<String>,
    /// Flows that the kernel passes on and that end with this process, at an upgrade too, for nothing keeps its programs.
    ending_flows: u64,
    /// Why it does not, and what keeps them; `null` where no flow of the kernel ends so.
    ending_because: Option<String>,
}

/// A tier.
#[derive(Debug, Serialize, ToSchema)]
pub struct TierView {
    /// Its name: `dpdk`, `xdp`, `af_xdp`, `sr-iov`, `tc`, `application` or `sockets`.
    tier: &'static str,
    /// Whether it could be used here.
    available: bool,
    /// Whether it is used.
    in_use: bool,
    /// Interfaces that it is used on, as far as it is one of interfaces.
    interfaces: Vec<String>,
    /// Why it cannot be used, and what to do about it.
    why_not: Option<String>,
    /// What else is to be known of it.
    remark: Option<String>,
}

/// An interface.
#[derive(Debug, Serialize, ToSchema)]
pub struct InterfaceView {
    /// Its name.
    name: String,
    /// Its driver.
    driver: Option<String>,
    /// The address of its card on the bus.
    bus: Option<String>,
    /// Octets of the longest packet.
    mtu: u32,
    /// Whether it is switched on.
    up: bool,
    /// Queues in.
    receive_queues: usize,
    /// Queues out.
    transmit_queues: usize,
    /// Whether runs of segments are joined on the way in.
    gro: Option<bool>,
    /// Whether checksums are left to the card on the way out.
    tx_checksums: Option<bool>,
    /// Modes of XDP that work here: `hw`, `native`, `skb`.
    xdp: Vec<ModeView>,
    /// Virtual functions that its card has.
    vfs: Option<u32>,
    /// Virtual functions that it could have.
    vfs_total: Option<u32>,
    /// The tier that it has: `xdp-native`, `tc`, `af_xdp-native` and so on.
    tier: Option<String>,
    /// Its queues whose frames come into user space; `null` where none do.
    queues: Option<Vec<u32>>,
    /// Whether frames are copied on the way into user space; `null` where none come there.
    copied: Option<bool>,
    /// Why they are, where nobody has asked for it.
    copied_because: Option<String>,
    /// What was tried before that, or in vain, and why it failed.
    tried: Vec<String>,
    /// Whether the program there outlives this process.
    stays: bool,
    /// What is in the way of forwarding, and what to do about it.
    concerns: Vec<String>,
}

/// A mode of XDP.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModeView {
    /// `hw`, `native` or `skb`.
    mode: &'static str,
    /// Whether it works; `null` where only trying tells.
    works: Option<bool>,
    /// Why not, or why nobody knows.
    why: Option<String>,
}

/// Huge pages of a size.
#[derive(Debug, Serialize, ToSchema)]
pub struct HugePagesView {
    /// Kibibytes of one.
    kibibytes: u64,
    /// How many there are.
    total: u64,
    /// How many are free.
    free: u64,
}

/// A rule: a listener of layer 4, or a route that passes requests on.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleView {
    /// What it is called.
    rule: String,
    /// `listener` or `route`.
    kind: &'static str,
    /// `tcp`, `udp` or `http`.
    protocol: &'static str,
    /// Where it listens.
    addresses: Vec<String>,
    /// The pools that it passes on to.
    pools: Vec<String>,
    /// `fast` where it is for the fast path, else `slow`, as it is where forwarding of the kernel is off.
    path: &'static str,
    /// The tier that it has now: `xdp-native`, `tc` and so on, or `application`.
    tier: String,
    /// What keeps it from the fast path; of one that is for it, why it is not on it now, not by the tier that comes first, or not to all of its backends.
    reasons: Vec<ReasonView>,
}

/// What keeps a rule from the fast path.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReasonView {
    /// A short stable word.
    reason: &'static str,
    /// What it is about.
    detail: String,
}

/// The tiers of acceleration: which are available, which are in use, and why not; and the interfaces of this machine.
#[utoipa::path(get, path = "/acceleration", tag = "proxy",
    responses((status = 200, body = AccelerationView), (status = 401, body = Problem)))]
async fn acceleration(
    _: Viewer,
    State(accelerator): State<Arc<Accelerator>>,
) -> Result<Json<AccelerationView>, Problem> {
    blocking(move || {
        let machine = accelerator.machine();
        let current = accelerator.current.lock();
        let status = accelerator.shared.status.lock();
        let flows = u64::try_from(accelerator.shared.metrics.flows.get()).unwrap_or_default();
        let because = why_ending(&current.plan, &status, &accelerator.roots);
        let mut view = AccelerationView::of(&machine, &current, &status);
        view.ending_flows = if because.is_some() { flows } else { 0 };
        view.ending_because = because;
        Ok(Json(view))
    })
    .await
}

/// Why flows of the kernel end with this process, and what keeps them when there is another upgrade.
fn why_ending(plan: &Plan, status: &Status, roots: &Roots) -> Option<String> {
    let one = status.attached.iter().find(|one| matches!(one.got, Got::Kernel(_)) && !one.stays)?;
    if plan.pins != Pins::Nowhere {
        return Some(format!(
            "what holds `{}` ({}) cannot outlive a process here: tc can from Linux 6.6 on, XDP from 5.9 on, and on cards (`hw`) it cannot",
            one.interface, one.got
        ));
    }
    let mount = missing_file_system(&roots.sysfs.join("fs/bpf"));
    let mount = mount.map(|mount| format!(" and `mount -t bpf -o mode=0700 bpf {}`", mount.display()));
    Some(format!(
        "nothing keeps them, for proxy.acceleration.pins is not said: with `pins = true`{} upgrades after the next start do",
        mount.unwrap_or_default()
    ))
}

/// Which rules are for the fast path, and why others are not.
#[utoipa::path(get, path = "/rules/classification", tag = "proxy",
    responses((status = 200, body = Vec<RuleView>), (status = 401, body = Problem)))]
async fn classification(_: Viewer, State(accelerator): State<Arc<Accelerator>>) -> Json<Vec<RuleView>> {
    let (current, status) = (accelerator.current.lock(), accelerator.shared.status.lock());
    let rules = current.plan.listeners.iter().chain(&current.routes);
    Json(rules.map(|rule| RuleView::of(rule, &current, &status)).collect())
}

/// A card with virtual functions.
#[derive(Debug, Serialize, ToSchema)]
pub struct CardView {
    /// An interface of it.
    device: String,
    /// How many virtual functions it can have.
    total: u32,
    /// Those that it has.
    vfs: Vec<FunctionView>,
}

/// A virtual function.
#[derive(Debug, Serialize, ToSchema)]
pub struct FunctionView {
    /// Its number.
    number: u32,
    /// Its address on the bus.
    bus: String,
    /// Its driver.
    driver: Option<String>,
    /// Its interface.
    interface: Option<String>,
}

/// How many virtual functions a card is to have.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionsChange {
    /// How many; with 0, those that it has are removed.
    count: u32,
}

/// Cards that can have virtual functions (SR-IOV), and those that they have.
#[utoipa::path(get, path = "/acceleration/vfs", tag = "proxy",
    responses((status = 200, body = Vec<CardView>), (status = 401, body = Problem)))]
async fn functions(_: Viewer, State(accelerator): State<Arc<Accelerator>>) -> Result<Json<Vec<CardView>>, Problem> {
    blocking(move || {
        let machine = Machine::look(&accelerator.roots, &Answers::of_files());
        let cards = machine.interfaces.iter().filter_map(|one| Some(CardView::of(&one.name, one.functions.as_ref()?)));
        Ok(Json(cards.collect()))
    })
    .await
}

/// Make or remove the virtual functions of a card. Whoever uses those that it has loses them.
#[utoipa::path(put, path = "/acceleration/vfs/{device}", tag = "proxy", params(("device" = String, Path,)), request_body = FunctionsChange,
    responses((status = 200, body = CardView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn set_functions(
    Admin(caller): Admin,
    State(accelerator): State<Arc<Accelerator>>,
    Path(device): Path<String>,
    Json(change): Json<FunctionsChange>,
) -> Result<Json<CardView>, Problem> {
    caller.does("vfs.set", &device, format!("count {}", change.count));
    let wanted = accelerator.current.lock().plan.functions.get(&device).copied();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != change.count) {
        let told =
            format!("the configuration says {wanted} for {device:?}: change proxy.acceleration.sriov, and reload");
        return Err(Problem::conflict(Some("proxy.acceleration.sriov".to_owned()), told));
    }
    blocking(move || set(&accelerator.roots, &device, change.count).map(Json)).await
}

fn set(roots: &Roots, device: &str, count: u32) -> Result<CardView, Problem> {
    let functions = Functions::set(roots, device, count).map_err(|error| match error {
        SriovError::Unknown(_) | SriovError::None(_) => Problem::not_found(error),
        SriovError::TooMany { .. } => Problem::invalid("count", error),
        SriovError::Refused { .. } | SriovError::Missing { .. } => Problem::conflict(None, error),
    })?;
    tracing::info!(device, count, "a card has other virtual functions");
    Ok(CardView::of(device, &functions))
}

/// Does what may take a while where nobody waits for the thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Problem::internal(error)))
}

impl CardView {
    fn of(device: &str, functions: &Functions) -> CardView {
        let vfs = functions.made.iter().map(|one| FunctionView {
            number: one.number,
            bus: one.bus.clone(),
            driver: one.driver.clone(),
            interface: one.interface.clone(),
        });
        CardView { device: device.to_owned(), total: functions.total, vfs: vfs.collect() }
    }
}

impl AccelerationView {
    fn of(machine: &Machine, current: &Current, status: &Status) -> AccelerationView {
        let in_use = |kind: Kind| -> (bool, Vec<String>) {
            let by = |fits: fn(Got) -> bool| {
                let names: Vec<String> =
                    status.attached.iter().filter(|one| fits(one.got)).map(|one| one.interface.clone()).collect();
                (!names.is_empty(), names)
            };
            match kind {
                Kind::Xdp => by(|got| matches!(got, Got::Kernel(Tier::Xdp(_)))),
                Kind::Tc => by(|got| got == Got::Kernel(Tier::Tc)),
                Kind::SrIov => {
                    let made = machine.interfaces.iter().filter_map(|one| one.functions.as_ref());
                    let names =
                        made.flat_map(|functions| functions.made.iter().filter_map(|one| one.interface.clone()));
                    let names: Vec<String> =
                        names.filter(|name| status.attached.iter().any(|one| one.interface == *name)).collect();
                    (!names.is_empty(), names)
                }
                Kind::Application => (!current.plan.listeners.is_empty() || !current.routes.is_empty(), Vec::new()),
                // Whoever reads this came by one.
                Kind::Sockets => (true, Vec::new()),
                Kind::AfXdp => by(|got| matches!(got, Got::AfXdp(_))),
                Kind::Dpdk => by(|got| got == Got::Dpdk),
            }
        };
        let tiers = assess(machine).into_iter().map(|assessed| {
            let (in_use, interfaces) = in_use(assessed.kind);
            TierView {
                tier: assessed.kind.word(),
                available: assessed.why_not.is_none(),
                in_use,
                interfaces,
                why_not: assessed.why_not,
                remark: assessed.remark,
            }
        });
        let huge_pages = machine.huge_pages.iter().map(|pages| HugePagesView {
            kibibytes: pages.kibibytes,
            total: pages.total,
            free: pages.free,
        });
        AccelerationView {
            kernel: machine.kernel.clone(),
            tiers: tiers.collect(),
            interfaces: machine.interfaces.iter().map(|one| InterfaceView::of(one, status)).collect(),
            huge_pages: huge_pages.collect(),
            problem: status.unavailable.clone(),
            ending_flows: 0,
            ending_because: None,
        }
    }

    /// What can be said of this machine where no server runs: nothing is in use.
    pub fn of_this_machine() -> AccelerationView {
        let machine = Machine::look(&Roots::default(), &Answers::ask());
        let mut view = AccelerationView::of(&machine, &Current::default(), &Status::default());
        view.tiers.iter_mut().for_each(|tier| tier.in_use = false);
        view
    }
}

/// What an interface says of itself, and what is so of how it is held. What holds it has looked at the driver by itself, sooner or later than the machine was looked at:
/// what was in the way of XDP is among what it has tried.
fn concerns(interface: &Interface, attached: Option<&Taken>) -> Vec<String> {
    let mut concerns = if interface.is_loopback { Vec::new() } else { interface.concerns() };
    concerns.extend(interface.loses_frames().filter(|_| attached.is_none()));
    let further = attached.iter().flat_map(|one| &one.concerns);
    let further: Vec<String> = further.filter(|concern| !concerns.contains(concern)).cloned().collect();
    concerns.extend(further);
    concerns
}

impl InterfaceView {
    fn of(interface: &Interface, status: &Status) -> InterfaceView {
        let attached: Option<&Taken> = status.attached.iter().find(|one| one.interface == interface.name);
        let failed = status.failed.get(&interface.name).cloned();
        let is_concerned = attached.is_some() || failed.is_some();
        let skipped = status.skipped.iter().filter(|_| is_concerned).map(|(tier, why)| format!("{tier}: {why}"));
        let tried = attached.iter().flat_map(|one| one.tried.iter().map(|(tier, why)| format!("{tier}: {why}")));
        let queues = attached.and_then(|one| one.queues.as_ref());
        let modes = interface.modes().into_iter().map(|(mode, works)| {
            let mode = match mode {
                outwork_fastpath::Mode::Hardware => "hw",
                outwork_fastpath::Mode::Native => "native",
                outwork_fastpath::Mode::Skb => "skb",
            };
            match works {
                Works::Yes => ModeView { mode, works: Some(true), why: None },
                Works::No(why) => ModeView { mode, works: Some(false), why: Some(why) },
                Works::Perhaps(why) => ModeView { mode, works: None, why: Some(why) },
            }
        });
        let count = |functions: &Functions| u32::try_from(functions.made.len()).unwrap_or(u32::MAX);
        InterfaceView {
            name: interface.name.clone(),
            driver: interface.device.driver.clone(),
            bus: interface.bus.clone(),
            mtu: interface.mtu,
            up: interface.is_up,
            receive_queues: interface.receive_queues,
            transmit_queues: interface.transmit_queues,
            gro: interface.device.gro,
            tx_checksums: interface.device.tx_checksums,
            xdp: modes.collect(),
            vfs: interface.functions.as_ref().map(count),
            vfs_total: interface.functions.as_ref().map(|functions| functions.total),
            tier: attached.map(|one| one.got.to_string()),
            queues: queues.map(|queues| queues.numbers.clone()),
            copied: queues.map(|queues| queues.copied),
            copied_because: queues.and_then(|queues| queues.because.clone()),
            tried: skipped.chain(tried).chain(failed).collect(),
            stays: attached.is_some_and(|one| one.stays),
            concerns: concerns(interface, attached),
        }
    }
}

impl RuleView {
    fn of(rule: &Rule, current: &Current, status: &Status) -> RuleView {
        let is_fast = rule.obstacles.is_empty();
        let mut reasons: Vec<ReasonView> = rule
            .obstacles
            .iter()
            .map(|obstacle| ReasonView { reason: obstacle.word, detail: obstacle.text.clone() })
            .collect();
        let own: Vec<_> = current
            .plan
            .services
            .iter()
            .filter(|(_, service)| rule.is_listener && service.listener == rule.name)
            .collect();
        let served = !own.is_empty()
            && own.iter().all(|(vip, _)| status.served.contains(vip) && !status.refused.contains_key(vip));
        let mut tiers: Vec<String> = status.attached.iter().map(|one| one.got.to_string()).collect();
        tiers.sort();
        tiers.dedup();
        let is_on_it = is_fast && served && !tiers.is_empty();
        let unrouted = own.iter().find_map(|(vip, _)| status.unrouted.get(vip)).filter(|_| is_fast);
        if let Some(detail) = unrouted {
            reasons.push(ReasonView { reason: "no_forwarding", detail: detail.clone() });
        } else if is_fast && !is_on_it {
            let refused = own.iter().find_map(|(vip, _)| status.refused.get(vip)).cloned();
            let failed = || status.failed.values().next().cloned();
            let detail = match current.plan.is_wanted() {
                false => "proxy.acceleration.tiers names none".to_owned(),
                true => refused
                    .or_else(|| status.unavailable.clone())
                    .or_else(failed)
                    .unwrap_or_else(|| "no program is on an interface yet".to_owned()),
            };
            reasons.push(ReasonView { reason: "tier", detail });
        }
        if is_on_it {
            let skipped = status.skipped.iter().map(|(tier, why)| format!("{tier}: {why}"));
            let mut tried: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
            for one in &status.attached {
                one.tried.iter().for_each(|(tier, why)| tried.entry((tier, why)).or_default().push(&one.interface));
            }
            let tried = tried.into_iter().map(|((tier, why), names)| format!("{tier} on {}: {why}", names.join(", ")));
            let failed = status.failed.iter().map(|(name, why)| format!("{name}: {why}"));
            let reason = |reason| move |detail| ReasonView { reason, detail };
            reasons.extend(skipped.chain(tried).map(reason("fallback")));
            reasons.extend(failed.map(reason("interface")));
            let partly = own.iter().filter_map(|(vip, _)| status.partly.get(vip));
            reasons.extend(partly.cloned().map(reason("port")));
        }
        RuleView {
            rule: rule.name.clone(),
            kind: if rule.is_listener { "listener" } else { "route" },
            protocol: rule.protocol,
            addresses: rule.addresses.iter().map(ToString::to_string).collect(),
            pools: rule.pools.clone(),
            path: if is_fast && unrouted.is_none() { "fast" } else { "slow" },
            tier: if is_on_it { tiers.join(", ") } else { "application".to_owned() },
            reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_fastpath::Mode;
    use outwork_fastpath::machine::features::Features;
    use outwork_fastpath::machine::interface::Device;

    use super::*;

    /// An interface that a program has hold of, which ends with the process.
    fn taken(tier: Tier) -> Taken {
        Taken {
            interface: "c0".to_owned(),
            got: Got::Kernel(tier),
            tried: Vec::new(),
            replaced: false,
            stays: false,
            concerns: Vec::new(),
            queues: None,
        }
    }

    #[test]
    fn why_flows_end_goes_by_what_was_asked_for_and_by_what_this_machine_has() {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { sysfs: directory.path().to_owned(), procfs: directory.path().to_owned() };
        let why = |pins: Pins, attached: Vec<Taken>| {
            let status = Status { attached, ..Status::default() };
            why_ending(&Plan { pins, ..Plan::default() }, &status, &roots)
        };
        let unasked = why(Pins::Nowhere, vec![taken(Tier::Tc)]).unwrap();
        let mount = format!("`mount -t bpf -o mode=0700 bpf {}`", directory.path().join("fs/bpf").display());
        assert!(unasked.contains("`pins = true`") && unasked.contains(&mount), "{unasked}");
        let old = why(Pins::Usual, vec![taken(Tier::Tc)]).unwrap();
        assert!(old.starts_with("what holds `c0` (tc) cannot outlive a process here"), "{old}");
        let kept = Taken { stays: true, ..taken(Tier::Tc) };
        let by_user_space = Taken { got: Got::AfXdp(Mode::Native), ..taken(Tier::Tc) };
        assert_eq!(why(Pins::Usual, vec![kept, by_user_space]), None);
    }

    #[test]
    fn what_is_held_by_xdp_is_not_said_to_lose_frames_though_the_machine_was_looked_at_before() {
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { sysfs: directory.path().join("sys"), procfs: directory.path().join("proc") };
        let own = roots.sysfs.join("class/net/c0");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("ifindex"), "7\n").unwrap();
        let features = Some(BTreeMap::from([(7, Features(0b11))]));
        let device = Box::new(|_: &str| Device { driver: Some("veth".to_owned()), ..Device::default() });
        let machine = Machine::look(&roots, &Answers { features, device, ..Answers::of_files() });
        let [interface] = machine.interfaces.as_slice() else { panic!("{machine:?}") };
        let free = InterfaceView::of(interface, &Status::default());
        assert!(free.concerns.iter().any(|said| said.contains("XDP in the driver is not used here")));
        let taken = taken(Tier::Xdp(Mode::Native));
        let held = InterfaceView::of(interface, &Status { attached: vec![taken], ..Status::default() });
        assert_eq!((held.tier.as_deref(), held.concerns.len()), (Some("xdp-native"), 0));
    }
}
