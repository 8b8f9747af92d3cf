//! The tables as maps of the kernel.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

use aya::maps::Map;
use outwork_engine::Time;

use super::OpenError;
use crate::layout::{
    Backend, BackendTally, Control, Flow, FlowKey, Link, Neighbour, Reason, Service, ServiceTally, Tally, Vip,
};
use crate::registry::{Apply, Left, Write};
use crate::settings::Sizes;
use crate::sys::bpf::{PerCpu, Typed, settle, shape};
use crate::sys::mapped::Mapped;
use crate::sys::plain::{Plain, PrefixKey, from_bytes, words_of};
use crate::tables::{MAX_WANTED, Prefix};

/// Interfaces at most that programs are on.
const MAX_OUTLETS: u32 = 4096;
/// VLAN interfaces at most: there are no more VLANs.
const MAX_LINKS: u32 = 4096;

/// A map: its name, what its elements are as long as, and how many it has.
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) key: usize,
    pub(super) value: usize,
    pub(super) entries: fn(&Sizes) -> Option<u32>,
}

const fn map<K, V>(name: &'static str, entries: fn(&Sizes) -> Option<u32>) -> Described {
    Described { name, key: size_of::<K>(), value: size_of::<V>(), entries }
}

/// All maps.
pub(super) const MAPS: [Described; 17] = [
    map::<u32, Control>("controls", |_| None),
    map::<Vip, Service>("services", |sizes| Some(sizes.services)),
    map::<u32, Vip>("vips", |sizes| Some(sizes.services)),
    map::<u32, u64>("gates", |sizes| Some(sizes.services)),
    map::<u32, [u32; 2]>("places", |sizes| Some(sizes.places.div_ceil(2))),
    map::<u32, Backend>("backends", |sizes| Some(sizes.backends)),
    map::<FlowKey, Flow>("flows", |sizes| Some(sizes.flow_entries())),
    map::<[u64; 2], u64>("sources", |sizes| Some(sizes.sources)),
    map::<[u32; 2], u32>("denied_v4", |sizes| Some(sizes.prefixes)),
    map::<[u32; 5], u32>("denied_v6", |sizes| Some(sizes.prefixes)),
    map::<u32, Link>("links", |_| Some(MAX_LINKS)),
    map::<Link, u32>("tags", |_| Some(MAX_LINKS)),
    map::<u32, u32>("outlets", |_| Some(MAX_OUTLETS)),
    map::<Neighbour, u64>("wanted", |_| Some(MAX_WANTED)),
    map::<u32, Tally>("tallies", |_| None),
    map::<u32, BackendTally>("backend_tallies", |sizes| Some(sizes.backends)),
    map::<u32, ServiceTally>("service_tallies", |sizes| Some(sizes.services)),
];

/// The maps of the programs that are loaded.
#[derive(Debug)]
pub(super) struct Maps {
    fds: BTreeMap<&'static str, OwnedFd>,
    control: Mapped,
    places: Mapped,
    backends: Mapped,
    cpus: usize,
}

impl Maps {
    pub(super) fn new(ebpf: &mut aya::Ebpf, sizes: &Sizes) -> Result<Maps, OpenError> {
        let mut fds = BTreeMap::new();
        for name in MAPS.iter().map(|map| map.name) {
            let failed = |error| OpenError::Map { map: name, error };
            let map = ebpf.take_map(name).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            fds.insert(name, fd(&map).map_err(failed)?);
        }
        for described in &MAPS {
            let failed = |error| OpenError::Map { map: described.name, error };
            let found =
                fds.get(described.name).map(|fd| shape(fd.as_fd())).transpose().map_err(failed)?.unwrap_or_default();
            if (found.key as usize, found.value as usize) != (described.key, described.value) {
                let text = format!("keys of {} and values of {} octets are not ours", found.key, found.value);
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, text)));
            }
        }
        let words = |name: &'static str, words: usize| {
            let failed = |error| OpenError::Map { map: name, error };
            let fd = fds.get(name).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
            Mapped::new(fd.as_fd(), words).map_err(failed)
        };
        let control = words("controls", size_of::<Control>() / 8)?;
        let places = words("places", sizes.places.div_ceil(2) as usize)?;
        let backends = words("backends", sizes.backends as usize * size_of::<Backend>() / 8)?;
        let cpus = possible_cpus().map_err(|error| OpenError::Map { map: "tallies", error })?;
        Ok(Maps { fds, control, places, backends, cpus })
    }

    fn fd(&self, name: &'static str) -> io::Result<BorrowedFd<'_>> {
        self.fds.get(name).map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn typed<K: Plain, V: Plain>(&self, name: &'static str) -> io::Result<Typed<'_, K, V>> {
        Typed::new(self.fd(name)?)
    }

    pub(super) fn flows(&self) -> io::Result<Typed<'_, FlowKey, Flow>> {
        self.typed("flows")
    }

    pub(super) fn wanted(&self) -> io::Result<Typed<'_, Neighbour, u64>> {
        self.typed("wanted")
    }

    pub(super) fn tally(&self, reason: Reason) -> io::Result<Vec<Tally>> {
        PerCpu::new(self.fd("tallies")?, self.cpus)?.get(reason as u32)
    }

    pub(super) fn backend_tally(&self, number: u32) -> io::Result<Vec<BackendTally>> {
        PerCpu::new(self.fd("backend_tallies")?, self.cpus)?.get(number)
    }

    pub(super) fn service_tally(&self, number: u32) -> io::Result<Vec<ServiceTally>> {
        PerCpu::new(self.fd("service_tallies")?, self.cpus)?.get(number)
    }

    /// The backend with this number.
    pub(super) fn backend(&self, number: u32) -> Backend {
        let size = size_of::<Backend>() / 8;
        let words = self.backends.words().iter().skip(number as usize * size).take(size);
        let bytes: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        from_bytes(&bytes)
    }

    pub(super) fn set_clock(&self, now: Time) {
        if let Some(clock) = self.control.words().first() {
            clock.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// What an earlier process has left in them.
    pub(super) fn left(&self) -> Result<Left, OpenError> {
        let failed = |map| move |error| OpenError::Map { map, error };
        let services = self.typed("services").and_then(|map| map.entries()).map_err(failed("services"))?;
        let links = self.typed("links").and_then(|map| map.entries()).map_err(failed("links"))?;
        let outlets = self.typed::<u32, u32>("outlets").and_then(|map| map.entries()).map_err(failed("outlets"))?;
        let outlets = outlets.into_iter().map(|(ifindex, _)| ifindex).collect();
        let v4 =
            self.typed::<PrefixKey<4>, u32>("denied_v4").and_then(|map| map.entries()).map_err(failed("denied_v4"))?;
        let v6 =
            self.typed::<PrefixKey<16>, u32>("denied_v6").and_then(|map| map.entries()).map_err(failed("denied_v6"))?;
        let v4 = v4.into_iter().filter_map(|(key, _)| Prefix::new(IpAddr::from(key.octets), key.length as u8));
        let v6 = v6.into_iter().filter_map(|(key, _)| Prefix::new(IpAddr::from(key.octets), key.length as u8));
        let count = (self.backends.words().len() * 8 / size_of::<Backend>()) as u32;
        let backends =
            (0..count).map(|number| (number, self.backend(number))).filter(|(_, backend)| backend.epoch != 0);
        Ok(Left { services, backends: backends.collect(), denied: v4.chain(v6).collect(), links, outlets })
    }

    /// Puts a backend in its place. What says whose flows are its comes last, in one store, for programs read while this writes.
    fn put_backend(&self, number: u32, backend: &Backend) {
        /// Port, way, flags and epoch.
        const LAST: usize = 2;
        let size = size_of::<Backend>() / 8;
        let places = self.backends.words().iter().skip(number as usize * size);
        let parts: Vec<_> = places.zip(words_of(backend)).collect();
        let rest = || parts.iter().enumerate().filter(|(at, _)| *at != LAST).map(|(_, part)| part);
        if rest().any(|(place, word)| place.load(Ordering::Relaxed) != *word) {
            if let Some((place, _)) = parts.get(LAST) {
                place.store(0, Ordering::Relaxed);
            }
            fence(Ordering::Release);
            rest().for_each(|(place, word)| place.store(*word, Ordering::Relaxed));
            fence(Ordering::Release);
        }
        if let Some((place, word)) = parts.get(LAST) {
            place.store(*word, Ordering::Release);
        }
    }

    fn prefix(&self, prefix: &Prefix, denied: bool) -> io::Result<()> {
        let length = u32::from(prefix.length());
        match prefix.address() {
            IpAddr::V4(v4) => {
                let (map, key) = (self.typed("denied_v4")?, PrefixKey { length, octets: v4.octets() });
                if denied { map.insert(&key, &1u32) } else { map.remove(&key).map(|_| ()) }
            }
            IpAddr::V6(v6) => {
                let (map, key) = (self.typed("denied_v6")?, PrefixKey { length, octets: v6.octets() });
                if denied { map.insert(&key, &1u32) } else { map.remove(&key).map(|_| ()) }
            }
        }
    }
}

impl Apply for Maps {
    type Error = io::Error;

    fn apply(&mut self, write: &Write) -> io::Result<()> {
        match write {
            Write::Service { vip, service } => self.typed("services")?.insert(vip, service),
            Write::Withdraw { vip } => self.typed::<Vip, Service>("services")?.remove(vip).map(|_| ()),
            Write::Vip { number, vip } => {
                self.typed("vips")?.insert(number, vip)?;
                self.typed("gates")?.insert(number, &0u64)?;
                PerCpu::<ServiceTally>::new(self.fd("service_tallies")?, self.cpus)?.clear(*number)
            }
            Write::Backend { number, backend, fresh } => {
                if *fresh {
                    PerCpu::<BackendTally>::new(self.fd("backend_tallies")?, self.cpus)?.clear(*number)?;
                }
                self.put_backend(*number, backend);
                Ok(())
            }
            Write::Places { at, numbers } => {
                // Tables begin at even places.
                let places = self.places.words().iter().skip(*at as usize / 2);
                for (place, pair) in places.zip(numbers.chunks(2)) {
                    let [first, second] = [pair.first(), pair.get(1)].map(|number| number.copied().unwrap_or(u32::MAX));
                    let mut word = [0u8; 8];
                    let octets = first.to_ne_bytes().into_iter().chain(second.to_ne_bytes());
                    word.iter_mut().zip(octets).for_each(|(to, from)| *to = from);
                    place.store(u64::from_ne_bytes(word), Ordering::Relaxed);
                }
                fence(Ordering::Release);
                Ok(())
            }
            Write::Settle => settle(),
            Write::Control(control) => {
                // The clock is nobody's here but the tests'.
                let words = self.control.words().iter().zip(words_of(control)).skip(1);
                words.for_each(|(place, word)| place.store(word, Ordering::Release));
                Ok(())
            }
            Write::Deny(prefix) => self.prefix(prefix, true),
            Write::Allow(prefix) => self.prefix(prefix, false),
            Write::Link { ifindex, link } => {
                self.typed("links")?.insert(ifindex, link)?;
                self.typed("tags")?.insert(link, ifindex)
            }
            Write::Outlet { ifindex, is_one: true } => self.typed("outlets")?.insert(ifindex, &1u32),
            Write::Outlet { ifindex, is_one: false } => self.typed::<u32, u32>("outlets")?.remove(ifindex).map(|_| ()),
            Write::Unlink { ifindex } => {
                let links = self.typed::<u32, Link>("links")?;
                if let Some(link) = links.get(ifindex)? {
                    self.typed::<Link, u32>("tags")?.remove(&link)?;
                }
                links.remove(ifindex).map(|_| ())
            }
        }
    }
}

/// What a write is about.
pub(super) fn name(write: &Write) -> &'static str {
    match write {
        Write::Service { .. } | Write::Withdraw { .. } | Write::Vip { .. } => "a service",
        Write::Backend { .. } => "a backend",
        Write::Places { .. } => "a table",
        Write::Settle => "the wait for packets on their way",
        Write::Control(_) => "settings",
        Write::Deny(_) | Write::Allow(_) => "a denied network",
        Write::Outlet { .. } => "an interface that programs are on",
        Write::Link { .. } | Write::Unlink { .. } => "a VLAN interface",
    }
}

fn fd(map: &Map) -> io::Result<OwnedFd> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::LpmTrie(data) | Map::PerCpuArray(data) => {
            data.fd().as_fd().try_clone_to_owned()
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a map of a kind that is not ours")),
    }
}

/// CPUs that the kernel has room for values of: it counts from 0.
fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "which CPUs are possible is not a list"))
}
