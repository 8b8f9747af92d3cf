//! Packets that the kernel passes on, or user space: which listeners that is for, and what has tables follow the pools.
//!
//! - [`rules`]: what is for the fast path, and what keeps the others from it.
//! - `plan`: what a configuration wants, made ready.
//! - `work`: the thread that owns programs and ports; `held`: what it holds; `outlets`: backends that no port leads to.
//! - `cables`: interfaces of veth, and what is lost there.
//! - `ports`: interfaces whose frames come into user space; `pump`: the thread that forwards them.
//! - [`metrics`]: what it counts; `figures`, of that what is told of listeners and backends. [`api`]: its routes under the admin API.
//!
//! Sockets listen beside it in any case, and serve whatever programs leave to the kernel.

pub mod api;
mod cables;
pub(crate) mod figures;
mod held;
pub mod metrics;
mod outlets;
mod plan;
mod ports;
mod pump;
pub mod rules;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use outwork_fastpath::Vip;
use outwork_fastpath::kernel::{self, attach};
pub use outwork_fastpath::kernel::{USUAL as BPF_FILE_SYSTEM, missing_file_system};
use outwork_fastpath::machine::{Answers, Machine};
pub use outwork_fastpath::machine::{Roots, SynCookies};
use outwork_fastpath::port::steering::Hold;
use parking_lot::Mutex;

use crate::config::{Pins, Proxy};
use crate::pool::Pools;
use held::{Got, Taken};
use metrics::FastpathMetrics;
use plan::{Made, Plan};
use rules::Rule;
use work::Work;

/// How long a start or a reload waits until programs are where they are to be. Loading them takes a part of a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long what was found of the machine is told again: to look has the kernel check programs.
const FRESH: Duration = Duration::from_secs(5);

/// What the thread is told.
enum Order {
    /// To do as this says from now on, and to say when that is done.
    Plan(Arc<Plan>, Sender<()>),
    /// To go, and leave programs and tables to another process.
    Leave,
    /// To take them away and go.
    Stop,
}

/// What has come of the plan.
#[derive(Debug, Default)]
struct Status {
    /// Why there is no tier at all.
    unavailable: Option<String>,
    attached: Vec<Taken>,
    /// Interfaces that no tier has, and why.
    failed: BTreeMap<String, String>,
    /// Tiers that came first and could not be had, and why.
    skipped: Vec<(&'static str, String)>,
    /// What the tier serves.
    served: BTreeSet<Vip>,
    /// What it does not, and why.
    refused: BTreeMap<Vip, String>,
    /// What it does not, for the kernel does not route what comes in, and what to do about it.
    unrouted: BTreeMap<Vip, String>,
    /// What it serves but for some backends, and why.
    partly: BTreeMap<Vip, String>,
}

/// What the thread and those who ask have in common.
struct Shared {
    pools: Arc<Pools>,
    metrics: Arc<FastpathMetrics>,
    orders: Mutex<Vec<Order>>,
    status: Mutex<Status>,
    /// Programs on interfaces that go from process to process: what the one before has left, and what is left to the next.
    holds: Mutex<Vec<Hold>>,
    /// Where programs and tables of the kernel are kept where that is asked for and no place is named.
    pins: Option<PathBuf>,
}

impl Shared {
    /// Takes off what nobody takes over: it would be in the way of every other program.
    fn end_holds(&self) {
        for hold in self.holds.lock().drain(..) {
            if let Err(error) = hold.end() {
                tracing::debug!(%error, "a program of the process before this one is gone already");
            }
        }
    }

    /// Where a plan keeps what is the kernel's.
    fn kept_by<'a>(&'a self, plan: &'a Plan) -> Option<&'a Path> {
        match &plan.pins {
            Pins::Nowhere => None,
            Pins::At(directory) => Some(directory),
            Pins::Usual => self.pins.as_deref(),
        }
    }

    /// Takes away what the kernel has kept of a process before this one, wherever that may have been and a tier of the kernel will not take it over.
    fn discard_left(&self, plan: &Plan) {
        let taken_over = self.kept_by(plan).filter(|_| plan.has_kernel());
        let places = [self.pins.as_deref(), self.kept_by(plan)];
        places.into_iter().flatten().filter(|one| Some(*one) != taken_over).for_each(discard);
    }

    /// Counts interfaces by the tier that they have.
    fn count_interfaces(&self, attached: &[Taken]) {
        for tier in Got::WORDS {
            let count = attached.iter().filter(|one| one.got.to_string() == tier).count();
            self.metrics.interfaces.cell([tier]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Takes away what the kernel has kept in a directory of ours, where there is any.
fn discard(directory: &Path) {
    match kernel::discard(directory) {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!(directory = %directory.display(), "programs of an earlier process are taken off: they are not those that are wanted")
        }
        Err(error) => {
            tracing::warn!(error = %attach::reasons(&error), "what an earlier process has left for the kernel stays there");
        }
    }
}

/// What is in force.
#[derive(Default)]
struct Current {
    plan: Arc<Plan>,
    routes: Vec<Rule>,
}

/// What a configuration wants, ready to be taken up.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    routes: Vec<Rule>,
    made: Made,
}

/// Has tiers pass packets on. One of it outlives every configuration.
pub struct Accelerator {
    shared: Arc<Shared>,
    roots: Roots,
    current: Mutex<Current>,
    machine: Mutex<Option<(Instant, Arc<Machine>)>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Makes the virtual functions that a configuration wants, for a process that will not be allowed to later.
///
/// # Errors
/// The key of what cannot be, and why.
pub fn make_functions(proxy: &Proxy) -> Result<(), String> {
    Made::of(proxy, &Roots::default()).map(|mut made| made.keep())
}

/// The directory for what the kernel keeps of a server. The file system takes no names with dots.
fn usual_pins(roots: &Roots, data: &Path) -> Option<PathBuf> {
    let found = std::fs::metadata(data).ok()?;
    Some(roots.sysfs.join("fs/bpf").join(format!("outwork-{:x}-{:x}", found.dev(), found.ino())))
}

impl Accelerator {
    /// Nothing is passed on yet. What the kernel keeps is told apart from that of other servers by the data directory.
    pub fn new(pools: &Arc<Pools>, data: &Path) -> Arc<Accelerator> {
        let roots = Roots::default();
        let shared = Shared {
            pools: Arc::clone(pools),
            metrics: Arc::default(),
            orders: Mutex::default(),
            status: Mutex::default(),
            holds: Mutex::default(),
            pins: usual_pins(&roots, data),
        };
        Arc::new(Accelerator {
            shared: Arc::new(shared),
            roots,
            current: Mutex::default(),
            machine: Mutex::default(),
            thread: Mutex::default(),
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<FastpathMetrics> {
        &self.shared.metrics
    }

    /// Makes everything ready that a configuration wants. `routes` are the rules of the front door, which are told beside its own.
    ///
    /// # Errors
    /// The key of what cannot be, and why.
    pub fn prepare(&self, proxy: &Proxy, routes: Vec<Rule>) -> Result<Prepared, String> {
        let made = Made::of(proxy, &self.roots)?;
        Ok(Prepared { plan: Plan::of(proxy, &made.functions), routes, made })
    }

    /// Takes up what was made ready, and waits until it is in force. What cannot be had is logged, and sockets serve.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn commit(&self, mut prepared: Prepared) -> std::io::Result<()> {
        prepared.made.keep();
        let plan = Arc::new(prepared.plan);
        *self.current.lock() = Current { plan: Arc::clone(&plan), routes: prepared.routes };
        let mut thread = self.thread.lock();
        if thread.is_none() {
            self.shared.discard_left(&plan);
            if !plan.is_wanted() {
                self.shared.end_holds();
                return Ok(());
            }
            let work = Work::new(Arc::clone(&self.shared));
            *thread = Some(std::thread::Builder::new().name("proxy-fastpath".to_owned()).spawn(move || work.run())?);
        }
        drop(thread);
        let (done, is_done) = channel();
        self.order(Order::Plan(plan, done));
        if is_done.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("tiers take long to be taken up; sockets serve until they are");
        }
        Ok(())
    }

    fn order(&self, order: Order) {
        self.shared.orders.lock().push(order);
        self.shared.pools.shared().pulse.beat();
    }

    /// Takes what another process has left, before the first configuration is taken up.
    pub fn inherit(&self, left: Vec<OwnedFd>) {
        *self.shared.holds.lock() = left.into_iter().filter_map(|file| Hold::of(file).ok()).collect();
    }

    /// Goes, and leaves programs and tables of the kernel to the process that comes next. Ports of user space close; what gave them frames is for that process, too, and
    /// drops those until it has it. Who keeps it from being dropped meanwhile lets go once the other serves.
    pub fn leave(&self) -> Vec<OwnedFd> {
        self.end(Order::Leave);
        self.shared.holds.lock().drain(..).map(Hold::into_file).collect()
    }

    /// Takes programs off the interfaces.
    pub fn stop(&self) {
        self.end(Order::Stop);
        let keeps = self.current.lock().plan.pins == Pins::Usual;
        if let Some(pins) = self.shared.pins.as_ref().filter(|_| keeps) {
            // Where something of another process is in it, it stays.
            let _ = std::fs::remove_dir(pins);
        }
    }

    fn end(&self, order: Order) {
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            self.order(order);
            // What it panicked of was told by then.
            let _ = thread.join();
        }
        *self.shared.status.lock() = Status::default();
    }

    /// What this machine can do. It may have the kernel check programs, which takes a while.
    fn machine(&self) -> Arc<Machine> {
        let mut known = self.machine.lock();
        if let Some((_, machine)) = known.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Arc::clone(machine);
        }
        let machine = Arc::new(Machine::look(&self.roots, &Answers::ask()));
        *known = Some((Instant::now(), Arc::clone(&machine)));
        machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_keeps_is_told_apart_by_the_data_directory() {
        let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let usual = |data: &Path| usual_pins(&Roots::default(), data);
        let pins = usual(one.path()).unwrap();
        assert_eq!(usual(&one.path().join("../").join(one.path().file_name().unwrap())).unwrap(), pins);
        assert_ne!(usual(other.path()).unwrap(), pins);
        assert!(pins.starts_with(BPF_FILE_SYSTEM) && !pins.to_string_lossy().contains('.'), "{pins:?}");
        assert_eq!(usual(&one.path().join("gone")), None);
    }
}
