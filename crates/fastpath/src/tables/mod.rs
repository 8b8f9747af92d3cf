//! The tables that frames are forwarded by, as plain values: what the kernel's programs have in maps.
//!
//! - [`bounded`]: maps that forget what was not looked at.
//! - [`prefix`]: networks, and sets of them.

pub mod bounded;
pub mod prefix;

use std::collections::{HashMap, HashSet};

use outwork_engine::Time;

use crate::layout::{
    Address, Backend, BackendTally, Control, Flow, FlowKey, HAS_LINKS, KEEPS_KNOWN, Link, Neighbour, Reason, Service,
    ServiceTally, Tally, Vip,
};
use crate::registry::{Apply, Write};
use crate::settings::Sizes;
pub use bounded::BoundedMap;
pub use prefix::{NotAPrefix, Prefix, PrefixSet};

/// Next hops that may wait to be resolved.
pub(crate) const MAX_WANTED: u32 = 1024;

/// All that a frame is forwarded by.
#[derive(Debug)]
pub struct Tables {
    /// What holds for every packet.
    pub control: Control,
    /// Services by where clients find them.
    pub services: HashMap<Vip, Service>,
    /// Services by their number.
    pub vips: Vec<Vip>,
    /// When the limit of new connections of a service is paid off, by its number.
    pub gates: Vec<u64>,
    /// All Maglev tables, each in its part.
    pub places: Vec<u32>,
    /// Backends by their number.
    pub backends: Vec<Backend>,
    /// Flows, in both directions where answers come back this way.
    pub flows: BoundedMap<FlowKey, Flow>,
    /// When the packets of a source are paid off.
    pub sources: BoundedMap<Address, u64>,
    /// Whose packets to services nobody gets.
    pub denied: PrefixSet,
    /// VLAN interfaces by their index.
    pub links: HashMap<u32, Link>,
    /// Interfaces by which answers come to a program, where that is known.
    pub outlets: HashSet<u32>,
    /// The index of VLAN interfaces.
    pub tags: HashMap<Link, u32>,
    /// Next hops whose hardware address is wanted.
    pub wanted: BoundedMap<Neighbour, u64>,
    /// Packets by [`Reason`].
    pub tallies: Vec<Tally>,
    /// Packets by the number of a backend.
    pub backend_tallies: Vec<BackendTally>,
    /// Packets by the number of a service.
    pub service_tallies: Vec<ServiceTally>,
    /// Until then answers of backends make flows whose questions nobody here has heard: nanoseconds of the time that flows are dated by.
    pub adopts_until: u64,
    round: Round,
}

/// What a sweep of the table of flows has found by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Flows that go on.
    pub flows: u64,
    /// Of these, those whose both sides have said their last words, and nobody anything for a while: nobody would miss them.
    pub ending: u64,
    /// Entries that were over and have been taken out.
    pub removed: u64,
    /// Whether the whole table has been looked at: the next slice begins anew.
    pub whole: bool,
}

/// How far a sweep has come.
#[derive(Debug, Default)]
struct Round {
    /// Entries that are still to be looked at.
    left: usize,
    swept: Swept,
}

impl Tables {
    /// Empty tables of these sizes.
    pub fn new(sizes: &Sizes) -> Tables {
        let (services, backends) = (sizes.services as usize, sizes.backends as usize);
        Tables {
            control: Control::default(),
            services: HashMap::new(),
            vips: vec![Vip::default(); services],
            gates: vec![0; services],
            places: vec![0; sizes.places as usize],
            backends: vec![Backend::default(); backends],
            flows: BoundedMap::new(sizes.flow_entries() as usize),
            sources: BoundedMap::new(sizes.sources as usize),
            denied: PrefixSet::default(),
            links: HashMap::new(),
            outlets: HashSet::new(),
            tags: HashMap::new(),
            wanted: BoundedMap::new(MAX_WANTED as usize),
            tallies: vec![Tally::default(); Reason::ALL.len()],
            backend_tallies: vec![BackendTally::default(); backends],
            service_tallies: vec![ServiceTally::default(); services],
            adopts_until: 0,
            round: Round::default(),
        }
    }
}

impl Tables {
    /// Takes the next hops that were met and whose hardware address is not known: for [`crate::kernel::neighbours::resolve`].
    pub fn take_wanted(&mut self) -> Vec<Neighbour> {
        let wanted = self.wanted.iter().map(|(neighbour, _)| *neighbour).collect();
        self.wanted.retain(|_, _| false);
        wanted
    }

    /// The interface that frames for another leave by, and with which tag: those of a VLAN do by its parent.
    pub(crate) fn wire(&self, ifindex: u32) -> (u32, u16) {
        let link = (self.control.flags & HAS_LINKS != 0).then(|| self.links.get(&ifindex)).flatten();
        link.map_or((ifindex, 0), |link| (link.parent, link.vlan))
    }

    /// Looks at the next `most` entries of the table of flows and takes out those that are over: silent for too long, or of a backend that is gone. Says what
    /// has been found since the sweep began.
    pub fn sweep(&mut self, most: usize, now: Time) -> Swept {
        if self.round.left == 0 {
            self.round = Round { left: self.flows.len(), swept: Swept::default() };
        }
        let (backends, timeouts, now) = (&self.backends, self.control.timeouts, now.as_nanos());
        let (slice, mut going_on, mut ending) = (most.min(self.round.left), 0, 0);
        let removed = self.flows.sweep(slice, |_, flow| {
            let timeout = timeouts.get(usize::from(flow.state & 3)).copied().unwrap_or_default();
            let backend = backends.get(flow.backend as usize).copied().unwrap_or_default();
            let is_kept = backend.epoch == flow.epoch && backend.flags & KEEPS_KNOWN != 0;
            let is_over = !is_kept || now.saturating_sub(flow.seen) > timeout;
            going_on += u64::from(!is_over && flow.reply == 0);
            ending += u64::from(!is_over && flow.reply == 0 && flow.is_ending(now));
            is_over
        });
        self.round.left -= slice;
        self.round.swept.flows += going_on;
        self.round.swept.ending += ending;
        self.round.swept.removed += removed as u64;
        self.round.swept.whole = self.round.left == 0;
        self.round.swept
    }
}

impl Apply for Tables {
    type Error = std::convert::Infallible;

    fn apply(&mut self, write: &Write) -> Result<(), Self::Error> {
        match write {
            Write::Service { vip, service } => drop(self.services.insert(*vip, *service)),
            Write::Withdraw { vip } => drop(self.services.remove(vip)),
            Write::Vip { number, vip } => {
                put(&mut self.vips, *number, *vip);
                put(&mut self.gates, *number, 0);
                put(&mut self.service_tallies, *number, ServiceTally::default());
            }
            Write::Backend { number, backend, fresh } => {
                put(&mut self.backends, *number, *backend);
                if *fresh {
                    put(&mut self.backend_tallies, *number, BackendTally::default());
                }
            }
            Write::Places { at, numbers } => {
                let places = self.places.iter_mut().skip(*at as usize);
                places.zip(numbers).for_each(|(place, number)| *place = *number);
            }
            Write::Control(control) => self.control = *control,
            Write::Deny(prefix) => self.denied.insert(*prefix),
            Write::Allow(prefix) => self.denied.remove(prefix),
            Write::Link { ifindex, link } => {
                self.links.insert(*ifindex, *link);
                self.tags.insert(*link, *ifindex);
            }
            Write::Unlink { ifindex } => {
                if let Some(link) = self.links.remove(ifindex) {
                    self.tags.remove(&link);
                }
            }
            Write::Outlet { ifindex, is_one: true } => drop(self.outlets.insert(*ifindex)),
            Write::Outlet { ifindex, is_one: false } => drop(self.outlets.remove(ifindex)),
            // One thread at a time has these tables: nobody reads what was.
            Write::Settle => {}
        }
        Ok(())
    }
}

fn put<T>(table: &mut [T], number: u32, value: T) {
    if let Some(place) = table.get_mut(number as usize) {
        *place = value;
    }
}
