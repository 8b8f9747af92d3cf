//! The tree of an uplink as it is wanted, as it is, and what makes the one of the other. Nothing here asks the kernel.

use std::time::Duration;

use outwork_net::netlink::shaping::{Class, Filter, Handle, Leaf, Match, Qdisc, Tree};

use crate::config::Sdwan;
use crate::config::qos::{CONTROL, QueueKind, Shaped, ShapedUplink};
use crate::plane::marking::Marking;

/// The first number of all that is ours.
pub(super) const MAJOR: u16 = 0x6f57;
/// What is at the root of a link that is shaped. Packets that no filter takes are of the default class, whichever that is: the kernel does not let it be changed.
pub(super) const TREE: Tree = Tree { major: MAJOR, default_class: DEFAULT };
/// The second numbers: of the class that has all others below it, of `control`, of others from this one on, and of the default one.
const ALL: u16 = 1;
const FIRST: u16 = 0x10;
const DEFAULT: u16 = 0xff;
/// Filters have places from this one on.
const FILTERS: u16 = 100;
/// What a run takes at most, for what is urgent waits behind it.
const RUN: Duration = Duration::from_millis(2);
/// Octets that may wait in a queue, however slow the uplink is.
const LEAST_QUEUE: u32 = 16_000;
/// Octets a second of the slowest class.
const LEAST_RATE: u64 = 1_000;

/// The name of something in a tree of ours.
pub(super) fn handle(minor: u16) -> Handle {
    Handle { major: MAJOR, minor }
}

/// What leaves by an uplink, as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The place of the uplink.
    pub(super) place: usize,
    /// What it is called.
    pub(super) uplink: String,
    /// Its interface.
    pub(super) interface: String,
    /// Bits a second.
    pub(super) rate: u64,
    /// Its classes, `control` first.
    pub(super) branches: Vec<Branch>,
    /// Their queues.
    pub(super) queue: QueueKind,
}

/// A class, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Branch {
    /// What it is called.
    pub(super) name: String,
    /// It.
    pub(super) class: Class,
    /// Octets that wait in it at most, where its queue is first in, first out.
    pub(super) queue: u32,
    /// The mark of what is said to be of it.
    pub(super) mark: u32,
    /// Other marks.
    pub(super) marks: Vec<Match>,
    /// Traffic classes of other packets.
    pub(super) dscp: Vec<u8>,
}

/// Of so many bits as many octets.
fn octets(bits: u64) -> u64 {
    (bits / 8).max(LEAST_RATE)
}

/// As much as passes in such a time.
fn within(time: Duration, octets: u64) -> u32 {
    u32::try_from(u128::from(octets) * time.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}

/// The second number of a class, by its place.
fn minor(settings: &Sdwan, place: usize, class: &Shaped) -> u16 {
    if class.name == settings.qos.default_class { DEFAULT } else { FIRST + place as u16 }
}

/// The mark of a class.
fn mark(settings: &Sdwan, minor: u16) -> u32 {
    settings.qos.first_mark.value.saturating_add(minor.into())
}

impl Wanted {
    /// All uplinks that are to be shaped.
    pub(super) fn of(settings: &Sdwan) -> Vec<Wanted> {
        let classes = settings.shaped_classes();
        settings.shaped_uplinks().iter().map(|uplink| Wanted::one(settings, uplink, &classes)).collect()
    }

    fn one(settings: &Sdwan, uplink: &ShapedUplink<'_>, classes: &[Shaped]) -> Wanted {
        let branch = |(place, class): (usize, &Shaped)| {
            let minor = minor(settings, place, class);
            let ceil = octets((uplink.rate as f64 * class.ceiling) as u64);
            let rate = octets(class.rate.of(uplink.rate)).min(ceil);
            let queue = within(settings.qos.queue_time, ceil).max(LEAST_QUEUE);
            Branch {
                name: class.name.clone(),
                class: Class {
                    parent: Some(handle(ALL)),
                    ceil,
                    // For what is borrowed as well.
                    burst: Class::burst_for(ceil),
                    priority: class.priority.into(),
                    ..Class::new(handle(minor), rate)
                },
                queue,
                mark: mark(settings, minor),
                marks: class.marks.iter().map(|mark| Match::Mark { value: mark.value, mask: mark.mask }).collect(),
                dscp: class.dscp.clone(),
            }
        };
        Wanted {
            place: uplink.place,
            uplink: uplink.name.to_owned(),
            interface: uplink.interface.to_string(),
            rate: uplink.rate,
            branches: classes.iter().enumerate().map(branch).collect(),
            queue: settings.qos.queue,
        }
    }

    /// The class that has all others below it.
    fn all(&self) -> Class {
        Class::new(handle(ALL), octets(self.rate))
    }

    /// The longest run.
    fn run(&self) -> usize {
        within(RUN, octets(self.rate)) as usize
    }

    /// Which packets are of which class, the first that takes one decides: what says its class itself first. What would come to the default class anyway needs no filter.
    fn filters(&self) -> Vec<(u16, Match, Handle)> {
        let own = |branch: &Branch| (Match::Mark { value: branch.mark, mask: u32::MAX }, branch.class.handle);
        let others = |branch: &Branch| {
            let handle = branch.class.handle;
            branch.marks.iter().map(move |matching| (*matching, handle)).collect::<Vec<_>>()
        };
        let dscp = |branch: &Branch| {
            let handle = branch.class.handle;
            branch.dscp.iter().map(move |number| (Match::Dscp(*number), handle)).collect::<Vec<_>>()
        };
        let rest = self.branches.iter().filter(|branch| branch.class.handle != handle(DEFAULT));
        let all = self.branches.iter().map(own).chain(self.branches.iter().flat_map(others)).chain(rest.flat_map(dscp));
        (FILTERS..).zip(all).map(|(place, (matching, class))| (place, matching, class)).collect()
    }
}

/// What datagrams bear where uplinks are shaped so.
pub(super) fn marking(settings: &Sdwan, wanted: &[Wanted]) -> Marking {
    let Some(first) = wanted.first() else { return Marking::default() };
    let of = |name: &str| first.branches.iter().find(|branch| branch.name == name).map(|branch| branch.mark);
    let default = of(&settings.qos.default_class).unwrap_or_default();
    let run = |place| wanted.iter().find(|one| one.place == place).map(Wanted::run);
    Marking {
        control: of(CONTROL).unwrap_or_default(),
        classes: settings.classes().into_iter().map(|(name, _)| of(name).unwrap_or(default)).collect(),
        runs: (0..settings.uplink.len()).map(run).collect(),
    }
}

/// What there is at a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct There {
    /// Disciplines, the root first.
    pub(super) qdiscs: Vec<Qdisc>,
    /// Classes of the tree.
    pub(super) classes: Vec<Class>,
    /// Filters at the root of a tree of ours.
    pub(super) filters: Vec<Filter>,
}

/// Whose the root of a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// The kernel has put it there by itself.
    Kernel,
    /// We have.
    Ours,
    /// Somebody else has.
    Foreign(&'a Qdisc),
}

impl There {
    /// Whose the root is.
    pub(super) fn whose(&self) -> Whose<'_> {
        match self.qdiscs.iter().find(|qdisc| qdisc.parent.is_none()) {
            Some(root) if root.kind == "htb" && root.handle == handle(0) => Whose::Ours,
            Some(root) if root.handle.major != 0 => Whose::Foreign(root),
            _ => Whose::Kernel,
        }
    }
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The tree is made.
    Plant,
    /// A class is added, or has other rates.
    Set(Class),
    /// A filter goes.
    RemoveFilter(u16),
    /// A class goes, to which no filter leads.
    RemoveClass(Handle),
    /// A class has another queue.
    Queue(Handle, Leaf),
    /// A filter comes.
    AddFilter(u16, Match, Handle),
}

/// Whether the kernel has made of a class what was wanted: bursts come back a little rounded.
fn is_met(wanted: &Class, there: &Class) -> bool {
    let near = wanted.burst.abs_diff(there.burst) <= 1 + wanted.burst / 1000;
    near && *wanted == Class { burst: wanted.burst, ..*there }
}

/// What is to be done, in order. `fair` is whether the kernel has queues that are fair among flows.
pub(super) fn steps(wanted: &Wanted, there: &There, fair: bool) -> Vec<Step> {
    let nothing = There::default();
    let is_ours = there.whose() == Whose::Ours;
    let there = if is_ours { there } else { &nothing };
    let mut steps = if is_ours { vec![] } else { vec![Step::Plant] };
    let all = wanted.all();
    let classes: Vec<Class> = std::iter::once(all).chain(wanted.branches.iter().map(|branch| branch.class)).collect();
    let is_there =
        |class: &&Class| there.classes.iter().any(|known| known.handle == class.handle && is_met(class, known));
    steps.extend(classes.iter().filter(|class| !is_there(class)).map(|class| Step::Set(*class)));
    let filters = wanted.filters();
    let is_wanted = |filter: &&Filter| {
        filters.iter().any(|(place, matching, class)| {
            filter.priority == *place && filter.matching == Some(*matching) && filter.class == Some(*class)
        })
    };
    // What was not made here stays.
    let ours = |filter: &&Filter| filter.matching.is_some();
    let old = there.filters.iter().filter(ours).filter(|filter| !is_wanted(filter));
    steps.extend(old.map(|filter| Step::RemoveFilter(filter.priority)));
    let gone = there.classes.iter().filter(|known| !classes.iter().any(|class| class.handle == known.handle));
    steps.extend(gone.map(|class| Step::RemoveClass(class.handle)));
    for branch in &wanted.branches {
        let leaf = if fair { Leaf::FqCodel } else { Leaf::Octets { octets: branch.queue } };
        let known = there.qdiscs.iter().find(|qdisc| qdisc.parent == Some(branch.class.handle)).and_then(Leaf::of);
        if known != Some(leaf) {
            steps.push(Step::Queue(branch.class.handle, leaf));
        }
    }
    let is_new = |(place, matching, class): &&(u16, Match, Handle)| {
        let same = |filter: &Filter| {
            filter.priority == *place && filter.matching == Some(*matching) && filter.class == Some(*class)
        };
        !there.filters.iter().any(same)
    };
    steps.extend(
        filters.iter().filter(is_new).map(|(place, matching, class)| Step::AddFilter(*place, *matching, *class)),
    );
    steps
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
