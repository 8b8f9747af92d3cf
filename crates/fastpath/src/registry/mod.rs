//! The control plane, decided apart from doing: what owners say of services and pools in, writes to tables out. Whoever has tables carries them out in their
//! order ([`Apply`]): the kernel's maps, or plain ones.
//!
//! - `numbers`: who has which place in arrays.
//! - `regions`: which part of the places a table has.
//! - [`steer`]: which backend gets which place, by a pool's snapshot.
//! - [`plane`]: decisions with what carries them out.
//!
//! A backend that is new is written before anybody is sent to it, and one that goes is forgotten after nobody is; a table is written beside the one that it
//! replaces, and taken up by a single write.

mod numbers;
pub mod plane;
mod regions;
pub mod steer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use outwork_balance::Pool;
use outwork_engine::Time;

use crate::layout::{
    Address, BY_SOURCE, Backend, Control, DENIES_V4, DENIES_V6, HAS_CABLES, HAS_LINKS, HAS_OUTLETS, HAS_RETURNS,
    KEEPS_KNOWN, Link, Service, TAKES_NEW, Vip, Way,
};
use crate::settings::{HashBy, Rate, ServiceSettings, Settings};
use crate::tables::Prefix;
use numbers::Numbers;
use regions::{Region, Regions};
use steer::Steered;

/// A write to the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The service is there, as this.
    Service {
        /// Where clients find it.
        vip: Vip,
        /// What it is.
        service: Service,
    },
    /// The service is no more.
    Withdraw {
        /// Where clients found it.
        vip: Vip,
    },
    /// Whose number this is from now on.
    Vip {
        /// The number.
        number: u32,
        /// Where clients find it.
        vip: Vip,
    },
    /// A backend is this.
    Backend {
        /// Its number.
        number: u32,
        /// What it is.
        backend: Backend,
        /// Whether it is another than had the number before.
        fresh: bool,
    },
    /// Places of a table that nobody uses yet.
    Places {
        /// The first.
        at: u32,
        /// Who has them.
        numbers: Vec<u32>,
    },
    /// Waits until nobody reads what was withdrawn before.
    Settle,
    /// What holds for every packet.
    Control(Control),
    /// A network is denied.
    Deny(Prefix),
    /// A network is no longer denied.
    Allow(Prefix),
    /// An interface is a VLAN's.
    Link {
        /// Its index.
        ifindex: u32,
        /// Of which interface it is, and which VLAN.
        link: Link,
    },
    /// Answers come to a program by an interface, or do no more.
    Outlet {
        /// Its index.
        ifindex: u32,
        /// Whether they do.
        is_one: bool,
    },
    /// An interface is no more.
    Unlink {
        /// Its index.
        ifindex: u32,
    },
}

/// Who has tables.
pub trait Apply {
    /// Why a write fails.
    type Error;

    /// Carries out a write.
    ///
    /// # Errors
    /// When it could not.
    fn apply(&mut self, write: &Write) -> Result<(), Self::Error>;
}

/// What cannot be a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// An address that no packet is for, or no port.
    #[error("{0} is no address of a service: expected one that clients can reach, and a port")]
    Vip(Vip),
    /// The pool does not hash.
    #[error(
        "the pool of {0} does not hash flows: in the kernel backends are chosen by a Maglev table, give it the policy `maglev` or `ip_hash`"
    )]
    Policy(Vip),
    /// Two backends of a service at one address.
    #[error("backends `{first}` and `{second}` of {vip} are both at {at}: leave one out")]
    Twice {
        /// The service.
        vip: Vip,
        /// Where they are.
        at: SocketAddr,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A backend of another kind of address than the service.
    #[error(
        "backend `{key}` of {vip} is at {at}: expected an address of the same kind as the service's, for only `tunnel` goes from one to the other"
    )]
    Family {
        /// The service.
        vip: Vip,
        /// The backend.
        key: String,
        /// Where it is.
        at: SocketAddr,
    },
    /// A tunnel from nowhere.
    #[error(
        "backend `{key}` of {vip} is reached by a tunnel, and packets for it have no source: set `{setting}` to an address of this host"
    )]
    TunnelSource {
        /// The service.
        vip: Vip,
        /// The backend.
        key: String,
        /// What is missing.
        setting: &'static str,
    },
    /// A table is full.
    #[error("{vip} needs {needed} of `{setting}` and {left} are left: raise `{setting}`, which is {size}")]
    Full {
        /// The service.
        vip: Vip,
        /// The setting.
        setting: &'static str,
        /// What is needed.
        needed: usize,
        /// What is left.
        left: usize,
        /// What the setting says.
        size: u32,
    },
    /// The lists of denied networks are full.
    #[error("{0} is one more denied network than `prefixes` allows, which is {1}: raise it")]
    Denied(Prefix, u32),
    /// Nobody knows the service.
    #[error("there is no service at {0}")]
    Unknown(Vip),
}

/// A backend in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed {
    number: u32,
    backend: Backend,
}

#[derive(Debug)]
struct Entry {
    service: Service,
    settings: ServiceSettings,
    backends: BTreeMap<SocketAddr, Placed>,
    region: Option<Region>,
    /// What its region says; unknown after it was taken over from an earlier process.
    numbers: Option<Vec<u32>>,
    /// Whether it gets no new flows.
    is_retired: bool,
}

/// Services and their backends, as the tables have them.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    control: Control,
    entries: BTreeMap<Vip, Entry>,
    services: Numbers,
    backends: Numbers,
    regions: Regions,
    /// What was retired is free, and nobody has waited for packets on their way yet.
    owes_wait: bool,
    epoch: u32,
    denied: BTreeSet<Prefix>,
    links: BTreeMap<u32, Link>,
    /// Interfaces by which answers come to a program, where that is known.
    outlets: Option<BTreeSet<u32>>,
}

/// What tables said that an earlier process has left.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// Services.
    pub services: Vec<(Vip, Service)>,
    /// Backends by number, those of nobody aside.
    pub backends: Vec<(u32, Backend)>,
    /// Denied networks.
    pub denied: Vec<Prefix>,
    /// VLAN interfaces.
    pub links: Vec<(u32, Link)>,
    /// Interfaces by which answers came to a program.
    pub outlets: Vec<u32>,
}

impl Registry {
    /// Nobody's tables, and the writes that they begin with.
    pub fn new(settings: Settings) -> (Registry, Vec<Write>) {
        let registry = Registry {
            settings,
            control: settings.control(),
            entries: BTreeMap::new(),
            services: Numbers::new(settings.sizes.services),
            backends: Numbers::new(settings.sizes.backends),
            regions: Regions::new(settings.sizes.places),
            owes_wait: false,
            epoch: 0,
            denied: BTreeSet::new(),
            links: BTreeMap::new(),
            outlets: None,
        };
        let begin = vec![Write::Control(registry.control)];
        (registry, begin)
    }

    /// The tables of an earlier process, with the writes that make them whole again: it may have ended in the middle of some. What it said of services goes
    /// on until it is said anew; services that are not wanted any longer are for [`Registry::retain`].
    pub fn adopt(settings: Settings, left: Left) -> (Registry, Vec<Write>) {
        let (mut registry, begin) = Registry::new(settings);
        // What holds for every packet is said once, at the end: packets go on meanwhile.
        drop(begin);
        let mut writes = vec![];
        for (vip, service) in left.services {
            let region = Region::of(service.table);
            let whole =
                registry.services.take(service.number) && region.is_none_or(|region| registry.regions.take(region));
            if !whole {
                writes.push(Write::Withdraw { vip });
                continue;
            }
            let settings = ServiceSettings::default();
            let (backends, numbers, is_retired) = (BTreeMap::new(), None, false);
            registry.entries.insert(vip, Entry { service, settings, backends, region, numbers, is_retired });
        }
        for (number, backend) in left.backends {
            registry.epoch = registry.epoch.max(backend.epoch);
            let entry = registry.entries.values_mut().find(|entry| entry.service.number == backend.service);
            let at = SocketAddr::new(backend.address.ip(), u16::from_be_bytes(backend.port));
            match entry {
                Some(entry) if !entry.backends.contains_key(&at) && registry.backends.take(number) => {
                    entry.backends.insert(at, Placed { number, backend });
                }
                _ => writes.push(Write::Backend { number, backend: Backend::default(), fresh: true }),
            }
        }
        registry.denied = left.denied.into_iter().collect();
        registry.links = left.links.into_iter().collect();
        registry.outlets = (!left.outlets.is_empty()).then(|| left.outlets.into_iter().collect());
        registry.refresh_control(&mut vec![]);
        writes.push(Write::Control(registry.control));
        (registry, writes)
    }

    /// What holds for all services.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The services.
    pub fn services(&self) -> impl Iterator<Item = (&Vip, &ServiceSettings)> {
        self.entries.iter().map(|(vip, entry)| (vip, &entry.settings))
    }

    /// Whether a service gets no new flows.
    pub fn is_retired(&self, vip: &Vip) -> bool {
        self.entries.get(vip).is_some_and(|entry| entry.is_retired)
    }

    /// The number of a service.
    pub fn number(&self, vip: &Vip) -> Option<u32> {
        self.entries.get(vip).map(|entry| entry.service.number)
    }

    /// The backends of a service that have a place: where they are, and their numbers.
    pub fn backends(&self, vip: &Vip) -> impl Iterator<Item = (SocketAddr, u32)> {
        let backends = self.entries.get(vip).into_iter().flat_map(|entry| &entry.backends);
        backends.map(|(at, placed)| (*at, placed.number))
    }

    /// Takes up rates and timeouts. Sizes stay what they are: see [`Settings::sizes`].
    pub fn set(&mut self, settings: Settings) -> Vec<Write> {
        self.settings = Settings { sizes: self.settings.sizes, ..settings };
        let mut writes = vec![];
        self.refresh_control(&mut writes);
        writes
    }

    /// Says what a service is and who serves it, by a snapshot of its pool: for the first time, and whenever anything has changed. `address` knows where
    /// members are; who is nowhere gets nothing. Nothing changes where it fails.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn serve(
        &mut self,
        vip: Vip,
        settings: ServiceSettings,
        pool: &Pool,
        address: impl Fn(&str) -> Option<SocketAddr>,
        now: Time,
    ) -> Result<Vec<Write>, RegistryError> {
        if vip.port() == [0, 0] || vip.socket().ip().is_unspecified() || vip.socket().ip().is_multicast() {
            return Err(RegistryError::Vip(vip));
        }
        let steered = Steered::new(vip, &settings, pool, address, now)?;
        self.check(vip, settings.way, &steered)?;
        let mut writes = vec![];
        // Room is made before anything changes.
        let old = self.entries.get(&vip);
        let places = steered.table.len();
        let new_backends =
            steered.backends.keys().filter(|at| !old.is_some_and(|entry| entry.backends.contains_key(at)));
        let (needed, left) = (new_backends.count(), self.backends.left());
        let full = |setting, needed, left, size| RegistryError::Full { vip, setting, needed, left, size };
        if needed > left {
            return Err(full("backends", needed, left, self.settings.sizes.backends));
        }
        if old.is_none() && self.services.left() == 0 {
            return Err(full("services", 1, 0, self.settings.sizes.services));
        }
        let keeps_table = old.is_some_and(|entry| entry.says(&steered));
        let mut region = None;
        if !keeps_table && places > 0 {
            region = self.regions.allocate(places as u32);
            if region.is_none() && self.regions.settle() {
                self.owes_wait = true;
                region = self.regions.allocate(places as u32);
            }
            if region.is_none() {
                return Err(full("places", places, self.regions.largest() as usize, self.settings.sizes.places));
            }
            // Also where it is owed since a service that did not fit even then.
            if std::mem::take(&mut self.owes_wait) {
                writes.push(Write::Settle);
            }
        }
        self.commit(vip, settings, &steered, (keeps_table, region), &mut writes);
        self.refresh_control(&mut writes);
        Ok(writes)
    }

    /// The write that sends nobody new to a backend that has just failed, made before its pool's table is: it costs a microsecond. `None` where that was
    /// known, or nobody is there.
    pub fn fail(&mut self, vip: &Vip, at: SocketAddr) -> Option<Write> {
        let entry = self.entries.get_mut(vip)?;
        let keeps = matches!(entry.settings.failed, crate::settings::Failed::Keep);
        let placed = entry.backends.get_mut(&at).filter(|placed| placed.backend.flags & TAKES_NEW != 0)?;
        placed.backend.flags = if keeps { KEEPS_KNOWN } else { 0 };
        Some(Write::Backend { number: placed.number, backend: placed.backend, fresh: false })
    }

    /// Gives a service no new flows: sockets take them. Those that it has go on until it is served again or withdrawn.
    ///
    /// # Errors
    /// When there is none.
    pub fn retire(&mut self, vip: &Vip) -> Result<Vec<Write>, RegistryError> {
        let entry = self.entries.get_mut(vip).ok_or(RegistryError::Unknown(*vip))?;
        // What is new is for sockets to count.
        entry.service = Service { table: 0, syn_interval: 0, ..entry.service };
        entry.numbers = Some(vec![]);
        entry.is_retired = true;
        let mut writes = vec![Write::Service { vip: *vip, service: entry.service }];
        for placed in entry.backends.values_mut().filter(|placed| placed.backend.flags & TAKES_NEW != 0) {
            placed.backend.flags &= !TAKES_NEW;
            writes.push(Write::Backend { number: placed.number, backend: placed.backend, fresh: false });
        }
        if let Some(region) = entry.region.take() {
            self.regions.retire(region);
        }
        Ok(writes)
    }

    /// Takes a service away, and with it its flows.
    ///
    /// # Errors
    /// When there is none.
    pub fn withdraw(&mut self, vip: &Vip) -> Result<Vec<Write>, RegistryError> {
        let entry = self.entries.remove(vip).ok_or(RegistryError::Unknown(*vip))?;
        let mut writes = vec![Write::Withdraw { vip: *vip }];
        for placed in entry.backends.into_values() {
            self.backends.give_back(placed.number);
            writes.push(Write::Backend { number: placed.number, backend: Backend::default(), fresh: true });
        }
        self.services.give_back(entry.service.number);
        if let Some(region) = entry.region {
            self.regions.retire(region);
        }
        self.refresh_control(&mut writes);
        Ok(writes)
    }

    /// Takes away the services of which `wanted` does not say that they are.
    pub fn retain(&mut self, wanted: impl Fn(&Vip) -> bool) -> Vec<Write> {
        let gone: Vec<Vip> = self.entries.keys().filter(|vip| !wanted(vip)).copied().collect();
        gone.iter().flat_map(|vip| self.withdraw(vip).unwrap_or_default()).collect()
    }

    /// Denies these networks and no others.
    ///
    /// # Errors
    /// When they are too many, and nothing has changed.
    pub fn deny(&mut self, wanted: impl IntoIterator<Item = Prefix>) -> Result<Vec<Write>, RegistryError> {
        let (wanted, most) = (wanted.into_iter().collect::<BTreeSet<Prefix>>(), self.settings.sizes.prefixes);
        for is_v4 in [true, false] {
            let own = wanted.iter().filter(|prefix| prefix.address().is_ipv4() == is_v4);
            if let Some(beyond) = own.clone().nth(most as usize) {
                return Err(RegistryError::Denied(*beyond, most));
            }
        }
        let gone = self.denied.difference(&wanted).map(|prefix| Write::Allow(*prefix));
        let come = wanted.difference(&self.denied).map(|prefix| Write::Deny(*prefix));
        let mut writes: Vec<Write> = gone.chain(come).collect();
        self.denied = wanted;
        self.refresh_control(&mut writes);
        Ok(writes)
    }

    /// Says by which interfaces answers come to a program. Backends that are reached by others are for sockets, with [`Way::Nat`]. Until it is said, that is asked of nobody.
    pub fn open_outlets(&mut self, wanted: impl IntoIterator<Item = u32>) -> Vec<Write> {
        let wanted: BTreeSet<u32> = wanted.into_iter().collect();
        let known = self.outlets.take().unwrap_or_default();
        let come = wanted.difference(&known).map(|ifindex| Write::Outlet { ifindex: *ifindex, is_one: true });
        let gone = known.difference(&wanted).map(|ifindex| Write::Outlet { ifindex: *ifindex, is_one: false });
        let mut writes: Vec<Write> = come.chain(gone).collect();
        self.outlets = Some(wanted);
        self.refresh_control(&mut writes);
        writes
    }

    /// Whether it was said by which interfaces answers come.
    pub fn knows_outlets(&self) -> bool {
        self.outlets.is_some()
    }

    /// The interface that frames for another leave by: those of a VLAN do by its parent.
    pub fn wire(&self, ifindex: u32) -> u32 {
        self.links.get(&ifindex).map_or(ifindex, |link| link.parent)
    }

    /// Says which interfaces are VLANs of others.
    pub fn link(&mut self, wanted: impl IntoIterator<Item = (u32, Link)>) -> Vec<Write> {
        let wanted: BTreeMap<u32, Link> = wanted.into_iter().collect();
        let changed = |(ifindex, link): &(&u32, &Link)| wanted.get(ifindex) != Some(link);
        let gone = self.links.iter().filter(changed).map(|(ifindex, _)| Write::Unlink { ifindex: *ifindex });
        let come = wanted.iter().filter(|(ifindex, link)| self.links.get(ifindex) != Some(link));
        let come = come.map(|(ifindex, link)| Write::Link { ifindex: *ifindex, link: *link });
        let mut writes: Vec<Write> = gone.chain(come).collect();
        self.links = wanted;
        self.refresh_control(&mut writes);
        writes
    }

    fn check(&self, vip: Vip, way: Way, steered: &Steered) -> Result<(), RegistryError> {
        for (at, one) in &steered.backends {
            let key = || one.key.clone();
            let same = at.is_ipv4() == vip.address().is_v4();
            match (way, at.ip()) {
                (Way::Nat | Way::Direct, _) if !same => return Err(RegistryError::Family { vip, key: key(), at: *at }),
                (Way::Tunnel, IpAddr::V4(_)) if self.settings.tunnel_v4.is_none() => {
                    return Err(RegistryError::TunnelSource { vip, key: key(), setting: "tunnel_v4" });
                }
                (Way::Tunnel, IpAddr::V6(_)) if self.settings.tunnel_v6.is_none() => {
                    return Err(RegistryError::TunnelSource { vip, key: key(), setting: "tunnel_v6" });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn commit(
        &mut self,
        vip: Vip,
        settings: ServiceSettings,
        steered: &Steered,
        (keeps_table, region): (bool, Option<Region>),
        writes: &mut Vec<Write>,
    ) {
        let mut old = self.entries.remove(&vip);
        let mut number = old.as_ref().map(|entry| entry.service.number);
        if number.is_none() {
            number = self.services.next();
            writes.extend(number.map(|number| Write::Vip { number, vip }));
        }
        let number = number.unwrap_or_default();
        let mut backends = BTreeMap::new();
        let mut before = old.as_mut().map(|entry| std::mem::take(&mut entry.backends)).unwrap_or_default();
        for (at, one) in &steered.backends {
            let mut placed = before.remove(at).filter(|placed| placed.backend.way == settings.way as u8);
            let fresh = placed.is_none();
            if placed.is_none() {
                self.epoch = self.epoch.wrapping_add(1).max(1);
                let backend = Backend {
                    address: Address::from(at.ip()),
                    port: at.port().to_be_bytes(),
                    way: settings.way as u8,
                    epoch: self.epoch,
                    service: number,
                    ..Backend::default()
                };
                placed = self.backends.next().map(|number| Placed { number, backend });
            }
            let Some(placed) = placed else { continue };
            let now = Placed { backend: Backend { flags: one.flags, ..placed.backend }, ..placed };
            if fresh || now != placed {
                writes.push(Write::Backend { number: now.number, backend: now.backend, fresh });
            }
            backends.insert(*at, now);
        }
        let numbers: Vec<u32> = steered.numbers(|at| backends.get(at).map(|placed| placed.number));
        let (syn_interval, syn_tolerance) = settings.syn_rate.map(Rate::nanos).unwrap_or_default();
        let kept = old.as_ref().and_then(|entry| entry.region).filter(|_| keeps_table);
        let taken = kept.or(region);
        if let Some(region) = region {
            writes.push(Write::Places { at: region.start, numbers: numbers.clone() });
        }
        let service = Service {
            table: taken.map_or(0, Region::packed),
            syn_interval,
            syn_tolerance,
            number,
            flags: if settings.hash == HashBy::Source { BY_SOURCE } else { 0 },
        };
        if old.as_ref().is_none_or(|entry| entry.service != service) {
            writes.push(Write::Service { vip, service });
        }
        // From here on nobody is sent there any more.
        for placed in before.into_values() {
            self.backends.give_back(placed.number);
            writes.push(Write::Backend { number: placed.number, backend: Backend::default(), fresh: true });
        }
        if let Some(unused) = old.and_then(|entry| entry.region).filter(|_| kept.is_none()) {
            self.regions.retire(unused);
        }
        let (region, numbers, is_retired) = (taken, Some(numbers), false);
        self.entries.insert(vip, Entry { service, settings, backends, region, numbers, is_retired });
    }

    fn refresh_control(&mut self, writes: &mut Vec<Write>) {
        let nat = |entry: &Entry| entry.backends.values().any(|placed| placed.backend.way == Way::Nat as u8);
        let flags = [
            (DENIES_V4, self.denied.iter().any(|prefix| prefix.address().is_ipv4())),
            (DENIES_V6, self.denied.iter().any(|prefix| prefix.address().is_ipv6())),
            (HAS_RETURNS, self.entries.values().any(nat)),
            (HAS_LINKS, !self.links.is_empty()),
            (HAS_CABLES, self.settings.has_cables),
            (HAS_OUTLETS, self.outlets.is_some()),
        ];
        let flags = flags.into_iter().filter(|(_, set)| *set).fold(0, |flags, (flag, _)| flags | flag);
        let control = Control { flags, clock: self.control.clock, ..self.settings.control() };
        if control != self.control {
            self.control = control;
            writes.push(Write::Control(control));
        }
    }
}

impl Entry {
    /// Whether its table gives every place to whom `steered` gives it.
    fn says(&self, steered: &Steered) -> bool {
        let number = |at: &SocketAddr| self.backends.get(at).map(|placed| placed.number);
        self.numbers.as_ref().is_some_and(|numbers| *numbers == steered.numbers(number))
    }
}

#[cfg(test)]
mod tests;
