//! Shaping of what leaves by a link: a tree of classes with rates (HTB, `tc-htb(8)`), a queue at each leaf, and filters that say which packets
//! belong to which class.
//!
//! Filters are classic BPF programs (`tc-bpf(8)`): one sees IPv4 and IPv6 alike, and the marks of packets as well, for which there would have to
//! be three of the other classifiers. Who sends packets itself needs none: `SO_PRIORITY` may name the class.

use std::fmt;

use super::message::{self, Request, attributes, number};
use super::{Asked, Connection, Result, change, question};
use crate::bpf::{self, Program};

mod tree;

pub use tree::{Class, ClassReport, Leaf, Qdisc, Statistics, Tree};

/// Octets of a `tcmsg`.
const STRUCTURE: usize = 20;
/// The place of what has nothing above it (`TC_H_ROOT`).
const ROOT: u32 = u32::MAX;
/// The classifier, and its attributes (`linux/pkt_cls.h`).
const CLASSIFIER: &str = "bpf";
const BPF_CLASS: u16 = 3;
const BPF_LENGTH: u16 = 4;
const BPF_PROGRAM: u16 = 5;

/// The name of a discipline of queues or of a class: two numbers, written in hexadecimal. A discipline has the second one 0, and its classes share the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// That of the discipline.
    pub major: u16,
    /// That of the class, 0 for the discipline itself.
    pub minor: u16,
}

impl Handle {
    fn from_number(number: u32) -> Handle {
        Handle { major: (number >> 16) as u16, minor: number as u16 }
    }

    /// The number that the kernel knows it by: what `SO_PRIORITY` takes.
    pub fn number(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.major, self.minor)
    }
}

/// Which packets a filter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Those whose mark has this value in the bits of the mask.
    Mark {
        /// What the bits have to be.
        value: u32,
        /// The bits that count.
        mask: u32,
    },
    /// Those of this codepoint (RFC 2474), 0 to 63, IPv4 and IPv6. No packet has a greater one.
    Dscp(u8),
}

impl Match {
    fn program(self) -> Program {
        match self {
            Match::Mark { value, mask } => bpf::mark(value, mask),
            Match::Dscp(codepoint) => bpf::dscp(codepoint),
        }
    }

    /// What a program made by [`Match::program`] matches; `None` for any other program.
    fn of(program: &[u8]) -> Option<Match> {
        // An instruction has 8 octets, and its number is the second half of them.
        let numbers: Vec<u32> = program.chunks(8).filter_map(|instruction| number(instruction, 4)).collect();
        let mark = || Some(Match::Mark { mask: *numbers.get(1)?, value: *numbers.get(2)? });
        let dscp = || Some(Match::Dscp((numbers.get(4)? >> 2) as u8));
        [mark(), dscp()].into_iter().flatten().find(|found| found.program().octets() == program)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Mark { value, mask } => write!(f, "mark {value:#x}/{mask:#x}"),
            Match::Dscp(codepoint) => write!(f, "DSCP {codepoint}"),
        }
    }
}

/// A filter at the root of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Its place, from 1: filters are gone through from the least, and the first that takes a packet decides. No two have the same.
    pub priority: u16,
    /// The packets that it takes; `None` for a filter that was not made here.
    pub matching: Option<Match>,
    /// The class that they belong to; `None` for a filter of another kind.
    pub class: Option<Handle>,
}

impl Connection {
    /// The filters at the root of the tree of a link, in the order in which packets go through them.
    pub fn filters(&mut self, link: u32, root: u16) -> Result<Vec<Filter>> {
        let root = Handle { major: root, minor: 0 };
        let request = question(libc::RTM_GETTFILTER, &structure(link, 0, root.number(), 0));
        let mut filters =
            self.list(&request, read_filter).asked(|| format!("list the filters at {root} of link {link}"))?;
        filters.sort_by_key(|filter| filter.priority);
        // Some kinds have several parts.
        filters.dedup_by_key(|filter| filter.priority);
        Ok(filters)
    }

    /// Adds a filter.
    pub fn add_filter(&mut self, link: u32, priority: u16, matching: Match, class: Handle) -> Result<()> {
        let program = matching.program();
        let length = program.0.len() as u16;
        let request = about_filter(libc::RTM_NEWTFILTER, libc::NLM_F_CREATE | libc::NLM_F_EXCL, link, priority, class)
            .text(libc::TCA_KIND, CLASSIFIER)
            .nested(libc::TCA_OPTIONS, |options| {
                options
                    .number(BPF_CLASS, Some(class.number()))
                    .attribute(BPF_LENGTH, &length.to_ne_bytes())
                    .attribute(BPF_PROGRAM, &program.octets())
            });
        self.ask(request)
            .asked(|| format!("add filter {priority} for {matching} to class {class} of link {link} (module cls_bpf)"))
    }

    /// Removes the filter of a priority.
    pub fn remove_filter(&mut self, link: u32, root: u16, priority: u16) -> Result<()> {
        let root = Handle { major: root, minor: 0 };
        self.ask(about_filter(libc::RTM_DELTFILTER, 0, link, priority, root))
            .asked(|| format!("remove filter {priority} at {root} of link {link}"))
    }
}

fn about_filter(kind: u16, flags: i32, link: u32, priority: u16, class: Handle) -> Request {
    let root = Handle { minor: 0, ..class };
    // Beside its priority stands the protocol that it looks at, in network order: any.
    let place = u32::from(priority) << 16 | u32::from((libc::ETH_P_ALL as u16).to_be());
    change(kind, flags, &structure(link, 0, root.number(), place))
}

/// Reads a `tcmsg` with its attributes as a filter. `None` for what heads a list of filters.
fn read_filter(body: &[u8]) -> Option<Filter> {
    let priority = (number(body, 16)? >> 16) as u16;
    let options = attributes(body.get(STRUCTURE..)?).find(|(kind, _)| *kind == libc::TCA_OPTIONS)?.1;
    let mut filter = Filter { priority, matching: None, class: None };
    // Attributes of other kinds mean other things.
    if kind(body)? == CLASSIFIER {
        for (kind, value) in attributes(options) {
            match kind {
                BPF_CLASS => filter.class = number(value, 0).map(Handle::from_number),
                BPF_PROGRAM => filter.matching = Match::of(value),
                _ => {}
            }
        }
    }
    Some(filter)
}

/// A `tcmsg`.
fn structure(link: u32, handle: u32, parent: u32, info: u32) -> [u8; STRUCTURE] {
    let mut octets = [0; STRUCTURE];
    let fields = [0, link, handle, parent, info].into_iter().flat_map(u32::to_ne_bytes);
    octets.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    octets
}

/// What stands above something, unless it is the root.
fn above(body: &[u8]) -> Option<Handle> {
    number(body, 12).filter(|parent| *parent != ROOT).map(Handle::from_number)
}

/// The kind of a discipline, a class or a filter.
fn kind(body: &[u8]) -> Option<String> {
    attributes(body.get(STRUCTURE..)?).find(|(kind, _)| *kind == libc::TCA_KIND).map(|(_, value)| message::text(value))
}

#[cfg(test)]
mod tests;
