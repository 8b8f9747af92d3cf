//! The tables that frames are forwarded by, as plain values: what the kernel's programs have in maps.
//!
//! - [`bounded`]: maps that forget what was not looked at.
//! - [`prefix`]: networks, and sets of them.

pub mod bounded;
pub mod prefix;

use std::collections::HashMap;

use crate::layout::{
    Address, Backend, BackendTally, Control, Flow, FlowKey, Link, Neighbour, Reason, Service, ServiceTally, Tally, Vip,
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
    /// Whose packets nobody gets.
    pub denied: PrefixSet,
    /// VLAN interfaces by their index.
    pub links: HashMap<u32, Link>,
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
            tags: HashMap::new(),
            wanted: BoundedMap::new(MAX_WANTED as usize),
            tallies: vec![Tally::default(); Reason::ALL.len()],
            backend_tallies: vec![BackendTally::default(); backends],
            service_tallies: vec![ServiceTally::default(); services],
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
