//! The tree: its root, its classes, the queues at its leaves, and what they have seen.

use super::super::message::{Request, attributes, long_number, number};
use super::super::{Asked, Connection, Result, change, question};
use super::{Handle, ROOT, STRUCTURE, above, kind, structure};

/// The discipline, its version, and its attributes (`linux/pkt_sched.h`).
const DISCIPLINE: &str = "htb";
const VERSION: u32 = 3;
const PARAMETERS: u16 = 1;
const START: u16 = 2;
const RATE64: u16 = 6;
const CEIL64: u16 = 7;
/// Of what a class's rate is, this part may be sent at a turn, between limits that the kernel finds sound.
const QUANTUM_PART: u32 = 10;
const QUANTUM: std::ops::RangeInclusive<u32> = 1_514..=200_000;
/// Nanoseconds of the unit that bursts are told in: how long they take at the rate.
const TICK: u64 = 64;
/// A burst by default: what is sent in so many parts of a second, the time between two interrupts of a slow clock; and at least a few packets.
const BURST_PART: u64 = 250;
const LEAST_BURST: u32 = 6_000;
/// Octets of a `tc_htb_opt`, and where its numbers stand.
const CEIL: usize = 12;
const BUFFER: usize = 24;
const PRIORITY: usize = 40;
/// Lengths of packets are those of frames on Ethernet (`TC_LINKLAYER_ETHERNET`): the kernel reckons, and needs no table of ours.
const ETHERNET: u8 = 1;
/// Statistics, in `TCA_STATS2` (`linux/gen_stats.h`).
const BASIC: u16 = 1;
const QUEUE: u16 = 3;
const PACKETS64: u16 = 8;

/// The root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    /// The first number of the names of all in it, 1 to 0x7fff.
    pub major: u16,
    /// The class that packets belong to for which no filter says another; 0 for none: they are not held up at all.
    pub default_class: u16,
}

/// A class of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub handle: Handle,
    /// The class that it is a part of; `None` for one below the root.
    pub parent: Option<Handle>,
    /// Octets a second that it may always send.
    pub rate: u64,
    /// Octets a second that it sends at most, with what others leave unused.
    pub ceil: u64,
    /// Octets that it may send at once, at either rate; told by the kernel as a time, so that it comes back a little rounded.
    pub burst: u32,
    /// Whose turn it is first for what others leave unused, 0 to 7, the least first.
    pub priority: u32,
}

impl Class {
    /// A class below the root, of a rate that it never exceeds, with a burst that suits it.
    pub fn new(handle: Handle, rate: u64) -> Class {
        Class { handle, parent: None, rate, ceil: rate, burst: Class::burst_for(rate), priority: 0 }
    }

    /// A burst that suits a rate.
    pub fn burst_for(rate: u64) -> u32 {
        u32::try_from(rate / BURST_PART).unwrap_or(u32::MAX).max(LEAST_BURST)
    }
}

/// The queue at a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Fair among flows, and short (RFC 8290).
    FqCodel,
    /// First in, first out.
    Fifo {
        /// Packets that wait at most.
        packets: u32,
    },
    /// First in, first out, by octets: a run that leaves as one packet counts as what it is.
    Octets {
        /// Octets that wait at most.
        octets: u32,
    },
}

impl Leaf {
    /// What a discipline is as a leaf; `None` for any other.
    pub fn of(qdisc: &Qdisc) -> Option<Leaf> {
        let limit = || number(&qdisc.options, 0);
        match qdisc.kind.as_str() {
            "fq_codel" => Some(Leaf::FqCodel),
            "pfifo" => limit().map(|packets| Leaf::Fifo { packets }),
            "bfifo" => limit().map(|octets| Leaf::Octets { octets }),
            _ => None,
        }
    }
}

/// What has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Octets sent.
    pub octets: u64,
    /// Packets sent.
    pub packets: u64,
    /// Packets dropped.
    pub drops: u32,
    /// How often something had to wait.
    pub overlimits: u32,
    /// Packets that wait.
    pub queued_packets: u32,
    /// Octets that wait.
    pub queued_octets: u32,
}

/// A class, and what it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassReport {
    /// The class.
    pub class: Class,
    /// What has passed.
    pub statistics: Statistics,
}

/// A discipline of queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qdisc {
    /// What it is: `htb`, `fq_codel`.
    pub kind: String,
    /// Its name; 0:0 for one that the kernel has put there by itself.
    pub handle: Handle,
    /// The class that it is the queue of; `None` for the root.
    pub parent: Option<Handle>,
    /// What it was told, as the kernel has it: what [`Connection::restore_root`] takes.
    pub options: Vec<u8>,
    /// What has passed.
    pub statistics: Statistics,
}

impl Connection {
    /// The disciplines of a link, the root first.
    pub fn qdiscs(&mut self, link: u32) -> Result<Vec<Qdisc>> {
        let request = question(libc::RTM_GETQDISC, &structure(link, 0, 0, 0));
        let mut qdiscs = self
            .list(&request, |body| read_qdisc(body).filter(|_| number(body, 4) == Some(link)))
            .asked(|| format!("list the disciplines of link {link}"))?;
        qdiscs.sort_by_key(|qdisc| qdisc.parent);
        Ok(qdiscs)
    }

    /// Makes a tree at the root of a link.
    ///
    /// # Errors
    /// One that [is present](crate::netlink::Error::is_present) when somebody has put another discipline there.
    pub fn add_tree(&mut self, link: u32, tree: Tree) -> Result<()> {
        let root = Handle { major: tree.major, minor: 0 };
        let structure = structure(link, root.number(), ROOT, 0);
        let request = change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &structure)
            .text(libc::TCA_KIND, DISCIPLINE)
            .nested(libc::TCA_OPTIONS, |options| {
                // `tc_htb_glob`. The second number makes quanta of rates, and is not used: each class is told its own.
                let numbers = [VERSION, QUANTUM_PART, tree.default_class.into(), 0, 0];
                options.attribute(START, &numbers.map(u32::to_ne_bytes).concat())
            });
        self.ask(request).asked(|| format!("make {root} (module sch_htb) the root of link {link}"))
    }

    /// Removes a tree with all that is in it, and says whether there was one: what others have put there stays. The kernel's own discipline is back
    /// at once.
    pub fn remove_tree(&mut self, link: u32, major: u16) -> Result<bool> {
        let root = Handle { major, minor: 0 };
        let planted = |qdisc: &Qdisc| qdisc.parent.is_none() && qdisc.handle == root && qdisc.kind == DISCIPLINE;
        if !self.qdiscs(link)?.iter().any(planted) {
            return Ok(false);
        }
        self.ask(change(libc::RTM_DELQDISC, 0, &structure(link, root.number(), ROOT, 0)))
            .asked(|| format!("remove {root} from the root of link {link}"))?;
        Ok(true)
    }

    /// Removes whatever is at the root of a link; the kernel's own discipline is back at once.
    pub fn remove_root(&mut self, link: u32, root: Handle) -> Result<()> {
        self.ask(change(libc::RTM_DELQDISC, 0, &structure(link, root.number(), ROOT, 0)))
            .asked(|| format!("remove {root} from the root of link {link}"))
    }

    /// Puts a discipline without classes at the root of a link, as it was when it was [listed](Connection::qdiscs).
    ///
    /// # Errors
    /// One that [is present](crate::netlink::Error::is_present) when somebody has put another discipline there.
    pub fn restore_root(&mut self, link: u32, kind: &str, root: Handle, options: &[u8]) -> Result<()> {
        let structure = structure(link, root.number(), ROOT, 0);
        let request = change(libc::RTM_NEWQDISC, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &structure);
        let request = request.text(libc::TCA_KIND, kind);
        let request = if options.is_empty() { request } else { request.attribute(libc::TCA_OPTIONS, options) };
        self.ask(request).asked(|| format!("put {kind} {root} (module sch_{kind}) to the root of link {link}"))
    }

    /// The classes of a link, by their names, with what they have seen.
    pub fn classes(&mut self, link: u32) -> Result<Vec<ClassReport>> {
        let request = question(libc::RTM_GETTCLASS, &structure(link, 0, 0, 0));
        let mut classes = self.list(&request, read_class).asked(|| format!("list the classes of link {link}"))?;
        classes.sort_by_key(|report| report.class.handle);
        Ok(classes)
    }

    /// Adds a class, or gives the one of that name other rates. What waits in it stays.
    pub fn set_class(&mut self, link: u32, class: &Class) -> Result<()> {
        let Class { handle, parent, rate, ceil, .. } = *class;
        let parent = parent.unwrap_or(Handle { minor: 0, ..handle });
        let structure = structure(link, handle.number(), parent.number(), 0);
        let request = change(libc::RTM_NEWTCLASS, libc::NLM_F_CREATE, &structure)
            .text(libc::TCA_KIND, DISCIPLINE)
            .nested(libc::TCA_OPTIONS, |options| {
                let long = |options: Request, kind, rate: u64| match rate > u64::from(u32::MAX) {
                    true => options.attribute(kind, &rate.to_ne_bytes()),
                    false => options,
                };
                let options = options.attribute(PARAMETERS, &parameters(class));
                long(long(options, RATE64, rate), CEIL64, ceil)
            });
        self.ask(request)
            .asked(|| format!("set class {handle} below {parent} of link {link} to {rate} to {ceil} octets a second"))
    }

    /// Removes a class that has no others below it, and no filter that leads to it.
    pub fn remove_class(&mut self, link: u32, handle: Handle) -> Result<()> {
        self.ask(change(libc::RTM_DELTCLASS, 0, &structure(link, handle.number(), 0, 0)))
            .asked(|| format!("remove class {handle} of link {link}"))
    }

    /// Puts a queue at a leaf, in the place of the one that is there.
    pub fn set_leaf(&mut self, link: u32, class: Handle, leaf: Leaf) -> Result<()> {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        let request = change(libc::RTM_NEWQDISC, flags, &structure(link, 0, class.number(), 0));
        let (name, request) = match leaf {
            Leaf::FqCodel => ("fq_codel", request.text(libc::TCA_KIND, "fq_codel")),
            Leaf::Fifo { packets } => {
                ("pfifo", request.text(libc::TCA_KIND, "pfifo").number(libc::TCA_OPTIONS, Some(packets)))
            }
            Leaf::Octets { octets } => {
                ("bfifo", request.text(libc::TCA_KIND, "bfifo").number(libc::TCA_OPTIONS, Some(octets)))
            }
        };
        self.ask(request).asked(|| format!("put {name} (module sch_{name}) into class {class} of link {link}"))
    }
}

/// A `tc_htb_opt`.
fn parameters(class: &Class) -> Vec<u8> {
    let Class { rate, ceil, burst, priority, .. } = *class;
    let short = |rate: u64| u32::try_from(rate).unwrap_or(u32::MAX);
    // `tc_ratespec`: what layer the link is of, no more octets a packet than it has, and the rate.
    let [rated, ceiled] =
        [rate, ceil].map(|rate| [&[0, ETHERNET, 0, 0, 0, 0, 0, 0][..], &short(rate).to_ne_bytes()].concat());
    let quantum = (short(rate) / QUANTUM_PART).clamp(*QUANTUM.start(), *QUANTUM.end());
    let numbers = [ticks(burst, rate), ticks(burst, ceil), quantum, 0, priority];
    [rated, ceiled, numbers.map(u32::to_ne_bytes).concat()].concat()
}

const SECOND: u64 = 1_000_000_000;

/// How long a burst takes at a rate.
fn ticks(burst: u32, rate: u64) -> u32 {
    u32::try_from((u64::from(burst) * SECOND / TICK).div_ceil(rate.max(1))).unwrap_or(u32::MAX)
}

/// What is sent at a rate in such a time.
fn burst(ticks: u32, rate: u64) -> u32 {
    let octets = u128::from(ticks) * u128::from(TICK) * u128::from(rate) / u128::from(SECOND);
    u32::try_from(octets).unwrap_or(u32::MAX)
}

/// Reads a `tcmsg` with its attributes as a class of HTB.
fn read_class(body: &[u8]) -> Option<ClassReport> {
    if kind(body)? != DISCIPLINE {
        return None;
    }
    let options = attributes(body.get(STRUCTURE..)?).find(|(kind, _)| *kind == libc::TCA_OPTIONS)?.1;
    let (mut parameters, mut rate, mut ceil) = (None, None, None);
    for (kind, value) in attributes(options) {
        match kind {
            PARAMETERS => parameters = Some(value),
            RATE64 => rate = long_number(value, 0),
            CEIL64 => ceil = long_number(value, 0),
            _ => {}
        }
    }
    let parameters = parameters?;
    let rate = rate.or_else(|| number(parameters, CEIL - 4).map(u64::from))?;
    let ceil = ceil.or_else(|| number(parameters, BUFFER - 4).map(u64::from))?;
    let class = Class {
        handle: Handle::from_number(number(body, 8)?),
        parent: above(body),
        rate,
        ceil,
        burst: burst(number(parameters, BUFFER)?, rate),
        priority: number(parameters, PRIORITY)?,
    };
    Some(ClassReport { class, statistics: statistics(body) })
}

/// Reads a `tcmsg` with its attributes as a discipline.
fn read_qdisc(body: &[u8]) -> Option<Qdisc> {
    let mut told = attributes(body.get(STRUCTURE..)?);
    let options = told.find(|(kind, _)| *kind == libc::TCA_OPTIONS).map(|(_, options)| options.to_vec());
    Some(Qdisc {
        kind: kind(body)?,
        handle: Handle::from_number(number(body, 8)?),
        parent: above(body),
        options: options.unwrap_or_default(),
        statistics: statistics(body),
    })
}

/// The statistics among the attributes behind a `tcmsg`. What the kernel does not tell is 0.
fn statistics(body: &[u8]) -> Statistics {
    let told = attributes(body.get(STRUCTURE..).unwrap_or_default()).find(|(kind, _)| *kind == libc::TCA_STATS2);
    let mut statistics = Statistics::default();
    // A count that 32 bits do not hold is told once more in 64.
    for (kind, value) in attributes(told.map_or(&[], |(_, value)| value)) {
        let at = |at: usize| number(value, at).unwrap_or_default();
        match kind {
            BASIC => {
                statistics.octets = long_number(value, 0).unwrap_or_default();
                statistics.packets = statistics.packets.max(at(8).into());
            }
            PACKETS64 => statistics.packets = long_number(value, 0).unwrap_or_default().max(statistics.packets),
            QUEUE => {
                statistics.queued_packets = at(0);
                statistics.queued_octets = at(4);
                statistics.drops = at(8);
                statistics.overlimits = at(16);
            }
            _ => {}
        }
    }
    statistics
}
