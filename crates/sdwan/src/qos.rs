//! The shaping of this host's uplinks: a tree of classes at the root of each one's interface.
//!
//! - `tree`: as it is wanted, as it is, and the steps between: pure.
//! - `memory`: where trees of ours are, and what was there before.
//! - `report`: what has passed.
//!
//! What is changed is remembered on the disk before it is changed. At the end it is taken back; after a crash the next start goes on from what it finds, and takes away
//! what is not wanted any longer. What somebody else has put there is touched only where the configuration says so.

mod memory;
pub mod report;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outwork_net::netlink::{self, Connection};
use serde::Serialize;
use utoipa::ToSchema;

use crate::config::Sdwan;
use crate::config::qos::{Foreign, QueueKind};
use crate::plane::marking::Marking;
use memory::{Before, Memory};
use report::UplinkReport;
use tree::{Step, TREE, There, Wanted, Whose, steps};

/// Why uplinks are not shaped as they should be.
#[derive(Debug, thiserror::Error)]
pub enum QosError {
    /// What the kernel says.
    #[error("sdwan.qos: {0}")]
    Kernel(#[from] netlink::Error),
    /// Somebody else shapes it.
    #[error(
        "sdwan.qos: {interface} has a queueing discipline that is not ours, {kind} {handle}\n  = expected: one that the kernel has put there by itself\n  = help: {advice}"
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// What is there.
        kind: String,
        /// What it is called.
        handle: String,
        /// What to do.
        advice: String,
    },
    /// What is remembered cannot be read or kept.
    #[error("sdwan.qos: {path}: {source}")]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is remembered makes no sense.
    #[error(
        "sdwan.qos: {path} says which interfaces have been shaped, and line {line} of it cannot be read\n  = help: remove it, and the trees by hand: `tc qdisc show`, `tc qdisc del dev INTERFACE root` where it says htb 6f57:"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which.
        line: usize,
    },
}

/// What became of an interface that was shaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Undone {
    /// The interface.
    pub interface: String,
    /// `removed` where the kernel's own discipline is back, `restored` where one that was there before is, `gone` where there was no tree of ours any longer, `failed` where the kernel refuses.
    pub outcome: &'static str,
    /// Why, or what is there now.
    pub detail: String,
}

/// How uplinks are shaped, or are not, to go back to.
#[derive(Debug, Clone)]
pub struct Shape {
    wanted: Vec<Wanted>,
    foreign: Foreign,
    marking: Marking,
    idle: bool,
}

struct State {
    kernel: Connection,
    wanted: Vec<Wanted>,
    foreign: Foreign,
    marking: Marking,
    /// Whether the kernel has queues that are fair among flows; unknown until one was asked for.
    fair: Option<bool>,
    /// It was taken back by hand.
    idle: bool,
}

/// The shaping of uplinks.
pub struct Qos {
    dir: PathBuf,
    state: Mutex<State>,
}

impl Qos {
    /// Of the network namespace of this thread, with its memory in `dir`. Nothing is shaped yet.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn new(dir: &Path) -> Result<Qos, QosError> {
        let kernel = Connection::open()?;
        let (wanted, marking) = (vec![], Marking::default());
        let state = State { kernel, wanted, foreign: Foreign::Refuse, marking, fair: None, idle: false };
        Ok(Qos { dir: dir.to_owned(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that has panicked left is looked at anew anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shapes what the settings say, and no more; an interface that is not there is passed over until it comes ([`Qos::plant_again`]). Says what datagrams are to bear.
    ///
    /// # Errors
    /// When something stands in the way of any uplink: nothing has changed then, unless the kernel itself refuses.
    pub fn apply(&self, settings: &Sdwan) -> Result<Marking, QosError> {
        let wanted = Wanted::of(settings);
        let mut state = self.state();
        let marking = tree::marking(settings, &wanted);
        state.shape(&self.dir, &wanted, settings.qos.foreign)?;
        let foreign = settings.qos.foreign;
        (state.wanted, state.foreign, state.marking, state.idle) = (wanted, foreign, marking.clone(), false);
        Ok(marking)
    }

    /// Shapes again what was taken back by hand, or by others. Says what datagrams are to bear.
    ///
    /// # Errors
    /// As those of [`Qos::apply`].
    pub fn apply_again(&self) -> Result<Marking, QosError> {
        let mut state = self.state();
        let (wanted, foreign) = (state.wanted.clone(), state.foreign);
        state.shape(&self.dir, &wanted, foreign)?;
        state.idle = false;
        Ok(state.marking.clone())
    }

    /// Shapes interfaces that have come, or were made anew, as they are to be; nothing where that was taken back by hand.
    ///
    /// # Errors
    /// As those of [`Qos::apply`].
    pub fn plant_again(&self) -> Result<(), QosError> {
        let mut state = self.state();
        if state.idle || state.wanted.is_empty() {
            return Ok(());
        }
        let (wanted, foreign) = (state.wanted.clone(), state.foreign);
        state.shape(&self.dir, &wanted, foreign)
    }

    /// Takes everything back until it is asked for again.
    ///
    /// # Errors
    /// When it is not known what there is to be taken back.
    pub fn roll_back(&self) -> Result<Vec<Undone>, QosError> {
        let mut state = self.state();
        state.idle = true;
        take_all_back(&mut state.kernel, Memory::read(&self.dir)?)
    }

    /// What is in force.
    pub fn shape(&self) -> Shape {
        let State { wanted, foreign, marking, idle, .. } = &*self.state();
        Shape { wanted: wanted.clone(), foreign: *foreign, marking: marking.clone(), idle: *idle }
    }

    /// Goes back to what was in force, as far as it is not. Says what datagrams are to bear.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn restore(&self, shape: Shape) -> Result<Marking, QosError> {
        let mut state = self.state();
        let Shape { wanted, foreign, marking, idle } = shape;
        state.shape(&self.dir, if idle { &[] } else { &wanted }, foreign)?;
        let bear = if idle { Marking::default() } else { marking.clone() };
        (state.wanted, state.foreign, state.marking, state.idle) = (wanted, foreign, marking, idle);
        Ok(bear)
    }

    /// Whether any uplink is to be shaped.
    pub fn is_on(&self) -> bool {
        !self.state().wanted.is_empty()
    }

    /// What there is now, and what has passed.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn report(&self) -> Result<Vec<UplinkReport>, QosError> {
        let mut state = self.state();
        let State { kernel, wanted, idle, .. } = &mut *state;
        wanted.iter().map(|wanted| Ok(UplinkReport::look(kernel, wanted, *idle)?)).collect()
    }

    /// Takes back what this process has changed, unless another goes on with it. What fails is logged.
    pub fn end(&self) {
        let mut state = self.state();
        let undone = Memory::read(&self.dir).and_then(|memory| match memory.process == std::process::id() {
            true => take_all_back(&mut state.kernel, memory),
            // Another process goes on with it.
            false => Ok(vec![]),
        });
        match undone {
            Ok(undone) => {
                for Undone { interface, detail, .. } in undone.iter().filter(|one| one.outcome == FAILED) {
                    tracing::warn!(interface, detail, "an uplink stays shaped: `outwork qos rollback` tries again");
                }
            }
            Err(error) => tracing::warn!(%error, "uplinks stay shaped: `outwork qos rollback` tries again"),
        }
    }
}

impl Drop for Qos {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes back what a process that is gone has left; where it has left nothing, the kernel is not asked.
///
/// # Errors
/// When it is not known what there is to be taken back, or the kernel cannot be asked.
pub fn roll_back(dir: &Path) -> Result<Vec<Undone>, QosError> {
    let memory = Memory::read(dir)?;
    match memory.entries.is_empty() {
        true => Ok(vec![]),
        false => take_all_back(&mut Connection::open()?, memory),
    }
}

/// What became of what could not be taken back.
pub const FAILED: &str = "failed";

/// Takes back all that is remembered, and forgets what needs no remembering any longer.
fn take_all_back(kernel: &mut Connection, mut memory: Memory) -> Result<Vec<Undone>, QosError> {
    if memory.entries.is_empty() {
        return Ok(vec![]);
    }
    let mut all = vec![];
    for (interface, before) in std::mem::take(&mut memory.entries) {
        let undone = take_back(kernel, &interface, before.as_ref());
        if undone.outcome == FAILED {
            memory.entries.insert(interface, before);
        }
        all.push(undone);
    }
    memory.keep()?;
    Ok(all)
}

/// Takes the tree of one interface away, and puts back what was there before.
fn take_back(kernel: &mut Connection, interface: &str, before: Option<&Before>) -> Undone {
    let undone = |outcome, detail: String| Undone { interface: interface.to_owned(), outcome, detail };
    let mut attempt = || -> netlink::Result<Undone> {
        let Some(link) = kernel.link(interface)? else {
            return Ok(undone("gone", "this machine has no such interface any longer".to_owned()));
        };
        if !kernel.remove_tree(link.index, tree::MAJOR)? {
            return Ok(undone("gone", "there is no tree of ours: what is there stays".to_owned()));
        }
        let Some(Before { kind, handle, options }) = before else {
            return Ok(undone("removed", "the kernel's own discipline is back".to_owned()));
        };
        kernel.restore_root(link.index, kind, *handle, options)?;
        Ok(undone("restored", format!("{kind} {handle} is back")))
    };
    attempt().unwrap_or_else(|error| undone(FAILED, error.to_string()))
}

impl State {
    /// Makes what there is what is wanted.
    fn shape(&mut self, dir: &Path, wanted: &[Wanted], foreign: Foreign) -> Result<(), QosError> {
        let mut memory = Memory::read(dir)?;
        if wanted.is_empty() && memory.entries.is_empty() {
            return Ok(());
        }
        // All are looked at before any is changed.
        let mut links = vec![];
        for one in wanted {
            let Some((link, there)) = self.look(one)? else {
                let (uplink, interface) = (&one.uplink, &one.interface);
                tracing::warn!(uplink, interface, "this machine has no such interface: it is shaped when it comes");
                continue;
            };
            let before = match there.whose() {
                Whose::Ours => memory.entries.get(&one.interface).cloned().flatten(),
                Whose::Kernel => None,
                Whose::Foreign(root) => Some(may_replace(&one.interface, root, foreign)?),
            };
            memory.entries.insert(one.interface.clone(), before);
            links.push((one, link));
        }
        memory.keep()?;
        let is_wanted = |interface: &str| wanted.iter().any(|one| one.interface == *interface);
        let old: BTreeMap<_, _> = memory.entries.iter().filter(|(interface, _)| !is_wanted(interface)).collect();
        let mut forgotten = vec![];
        for (interface, before) in old {
            let undone = take_back(&mut self.kernel, interface, before.as_ref());
            match undone.outcome == FAILED {
                true => tracing::warn!(
                    interface,
                    detail = undone.detail,
                    "an uplink stays shaped: `outwork qos rollback` tries again"
                ),
                false => forgotten.push(interface.clone()),
            }
        }
        memory.entries.retain(|interface, _| !forgotten.contains(interface));
        for (one, link) in links {
            self.shape_one(one, link)?;
        }
        memory.keep()
    }

    /// What there is where something is wanted; none where the interface is not.
    fn look(&mut self, wanted: &Wanted) -> Result<Option<(u32, There)>, QosError> {
        let Some(link) = self.kernel.link(&wanted.interface)? else { return Ok(None) };
        Ok(Some((link.index, look(&mut self.kernel, link.index)?)))
    }

    fn shape_one(&mut self, wanted: &Wanted, link: u32) -> Result<(), QosError> {
        let there = look(&mut self.kernel, link)?;
        if let Whose::Foreign(root) = there.whose() {
            self.kernel.remove_root(link, root.handle)?;
        }
        let fair = match wanted.queue {
            QueueKind::Auto => self.fair.unwrap_or(true),
            QueueKind::FqCodel => true,
            QueueKind::Fifo => false,
        };
        match self.perform(link, &steps(wanted, &there, fair)) {
            Err(error) if fair && wanted.queue == QueueKind::Auto && error.is_missing() => {
                let there = look(&mut self.kernel, link)?;
                if there.whose() != Whose::Ours {
                    return Err(error.into());
                }
                tracing::info!("the kernel has no fq_codel: queues of shaped uplinks are first in, first out");
                self.fair = Some(false);
                Ok(self.perform(link, &steps(wanted, &there, false))?)
            }
            done => {
                done?;
                self.fair = Some(fair).filter(|_| wanted.queue == QueueKind::Auto).or(self.fair);
                Ok(())
            }
        }
    }

    fn perform(&mut self, link: u32, steps: &[Step]) -> netlink::Result<()> {
        let kernel = &mut self.kernel;
        steps.iter().try_for_each(|step| match *step {
            Step::Plant => kernel.add_tree(link, TREE),
            Step::Set(class) => kernel.set_class(link, &class),
            Step::RemoveFilter(place) => kernel.remove_filter(link, tree::MAJOR, place),
            Step::RemoveClass(class) => kernel.remove_class(link, class),
            Step::Queue(class, leaf) => kernel.set_leaf(link, class, leaf),
            Step::AddFilter(place, matching, class) => kernel.add_filter(link, place, matching, class),
        })
    }
}

/// What there is at a link.
fn look(kernel: &mut Connection, link: u32) -> netlink::Result<There> {
    let mut there = There { qdiscs: kernel.qdiscs(link)?, ..There::default() };
    if there.whose() == Whose::Ours {
        there.classes = kernel.classes(link)?.into_iter().map(|report| report.class).collect();
        there.filters = kernel.filters(link, tree::MAJOR)?;
    }
    Ok(there)
}

/// What is remembered of somebody else's discipline, if it may be replaced.
fn may_replace(interface: &str, root: &netlink::shaping::Qdisc, foreign: Foreign) -> Result<Before, QosError> {
    let refused = |advice: String| QosError::Foreign {
        interface: interface.to_owned(),
        kind: root.kind.clone(),
        handle: root.handle.to_string(),
        advice,
    };
    let by_hand = format!("take it away where it is set up, or by `tc qdisc del dev {interface} root`");
    let leave = "or leave that interface alone: [sdwan.qos.uplink.NAME] shaped = false";
    match (foreign, Before::of(root)) {
        (Foreign::Replace, Some(before)) => Ok(before),
        (Foreign::Replace, None) => Err(refused(format!(
            "foreign = \"replace\" does not hold for {}, which could not be put back at the end; {by_hand}; {leave}",
            root.kind
        ))),
        (Foreign::Refuse, before) => {
            let replace = before
                .map_or("", |_| "; or have it replaced, and put back at the end: [sdwan.qos] foreign = \"replace\"");
            Err(refused(format!("{by_hand}{replace}; {leave}")))
        }
    }
}

#[cfg(test)]
mod tests;
