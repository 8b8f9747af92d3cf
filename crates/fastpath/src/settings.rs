//! What the owner says: how large tables are, how long flows last, how much may come.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::layout::{Control, State, Way};

/// Entries of the tables at most. The kernel takes the memory for them when it loads them: some 112 octets for each direction of a flow, 80 for a source,
/// 8 for two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Flows at once; each has room for its answers' direction as well. Who was silent the longest makes room.
    pub flows: u32,
    /// Services.
    pub services: u32,
    /// Backends of all services.
    pub backends: u32,
    /// Places of the Maglev tables of all services, twice: a table is written beside the one that it replaces.
    pub places: u32,
    /// Sources whose rate is watched at once.
    pub sources: u32,
    /// Denied networks, of IPv4 and of IPv6 each.
    pub prefixes: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { flows: 1_000_000, services: 256, backends: 16_384, places: 1 << 22, sources: 100_000, prefixes: 65_536 }
    }
}

impl Sizes {
    /// Entries of the table of flows: both directions of each, and what CPUs keep at hand, for the kernel forgets entries before the last is taken.
    pub(crate) fn flow_entries(&self) -> u32 {
        self.flows.saturating_mul(2).saturating_add(self.flows / 16 + 1024)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn check(&self) -> Result<(), SizeError> {
        let sizes = [
            ("flows", self.flows, 64, 1 << 26),
            ("services", self.services, 1, 1 << 16),
            ("backends", self.backends, 1, 1 << 20),
            ("places", self.places, 2, 1 << 28),
            ("sources", self.sources, 64, 1 << 26),
            ("prefixes", self.prefixes, 1, 1 << 24),
        ];
        match sizes.into_iter().find(|(_, size, least, most)| !(least..=most).contains(&size)) {
            Some((name, size, least, most)) => Err(SizeError { name, size, least, most }),
            None => Ok(()),
        }
    }
}

/// A table that cannot be so large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {size}: expected {least} to {most}")]
pub struct SizeError {
    /// The setting.
    pub name: &'static str,
    /// What it says.
    pub size: u32,
    /// What it may be at least.
    pub least: u32,
    /// What it may be at most.
    pub most: u32,
}

/// Silence after which a flow is over: its next packet is that of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP.
    pub datagrams: Duration,
    /// TCP before the client has heard of the backend.
    pub opening: Duration,
    /// TCP.
    pub established: Duration,
    /// TCP after the first FIN, or a RST.
    pub closing: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Timeouts { datagrams: secs(60), opening: secs(60), established: secs(3600), closing: secs(120) }
    }
}

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// A second. 0 is taken for 1.
    pub per_second: u32,
    /// At once, after a silence. 0 is taken for 1.
    pub burst: u32,
}

impl Rate {
    /// Nanoseconds that one costs, and that may be owed.
    pub(crate) fn nanos(self) -> (u64, u64) {
        let interval = 1_000_000_000 / u64::from(self.per_second.max(1));
        (interval.max(1), interval.max(1) * u64::from(self.burst.max(1) - 1))
    }
}

/// What holds for all services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Sizes of tables. They cannot change without the flows being forgotten.
    pub sizes: Sizes,
    /// How long flows last.
    pub timeouts: Timeouts,
    /// Packets of one source (of IPv6, a /64) to services; beyond it they are dropped.
    pub source_rate: Option<Rate>,
    /// Whose the IPv4 packets are that carry others to backends: an address of this host.
    pub tunnel_v4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub tunnel_v6: Option<Ipv6Addr>,
    /// Whether interfaces are cables to other namespaces (veth): who is at the other end leaves checksums to a card that is none, and they are completed here.
    pub has_cables: bool,
}

impl Settings {
    /// What the tables say of it, flags aside.
    pub(crate) fn control(&self) -> Control {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut timeouts = [0; 4];
        for (state, timeout) in [
            (State::Datagrams, self.timeouts.datagrams),
            (State::Opening, self.timeouts.opening),
            (State::Established, self.timeouts.established),
            (State::Closing, self.timeouts.closing),
        ] {
            if let Some(place) = timeouts.get_mut(state as usize) {
                *place = nanos(timeout);
            }
        }
        let (source_interval, source_tolerance) = self.source_rate.map(Rate::nanos).unwrap_or_default();
        Control {
            source_interval,
            source_tolerance,
            timeouts,
            tunnel_v4: std::net::IpAddr::from(self.tunnel_v4.unwrap_or(Ipv4Addr::UNSPECIFIED)).into(),
            tunnel_v6: std::net::IpAddr::from(self.tunnel_v6.unwrap_or(Ipv6Addr::UNSPECIFIED)).into(),
            ..Control::default()
        }
    }
}

/// What a flow's place in the table follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HashBy {
    /// The client's address and port.
    #[default]
    Flow,
    /// The client's address, of IPv6 its /64: a client stays with its backend.
    Source,
}

/// What becomes of the flows of a backend that fails its checks or is ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Failed {
    /// They stay with it: it may come back, or still answer those that it knows.
    #[default]
    Keep,
    /// Their next packet is that of a new flow. TCP's are reset by the backend that gets them.
    Move,
}

/// What the owner says of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceSettings {
    /// How packets get to its backends.
    pub way: Way,
    /// What a flow's place follows from.
    pub hash: HashBy,
    /// New TCP connections; beyond it, who asks for one hears nothing and asks again.
    pub syn_rate: Option<Rate>,
    /// What becomes of the flows of backends that fail.
    pub failed: Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_out_of_bounds_is_refused_by_its_name() {
        assert_eq!(Sizes::default().check(), Ok(()));
        let error = Sizes { flows: 1, ..Sizes::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "`flows` is 1: expected 64 to 67108864");
    }

    #[test]
    fn a_rate_of_nothing_is_one_and_a_rate_beyond_the_clock_is_its_tick() {
        assert_eq!(Rate { per_second: 0, burst: 0 }.nanos(), (1_000_000_000, 0));
        assert_eq!(Rate { per_second: 1000, burst: 11 }.nanos(), (1_000_000, 10_000_000));
        assert_eq!(Rate { per_second: u32::MAX, burst: 2 }.nanos(), (1, 1));
    }
}
