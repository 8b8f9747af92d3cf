//! What tiers have passed on, by listener and by backend: sockets see nothing of it.

use std::collections::BTreeMap;

use outwork_fastpath::Vip;
use outwork_fastpath::registry::plane::ServiceStatistics;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::plan::Service;

/// What a tier has passed on, since its tables were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct Passed {
    /// Flows that began.
    flows: u64,
    /// Packets of clients.
    packets: u64,
    /// Bytes of their frames.
    bytes: u64,
}

impl Passed {
    fn add(&mut self, flows: u64, packets: u64, bytes: u64) {
        self.flows += flows;
        self.packets += packets;
        self.bytes += bytes;
    }
}

#[derive(Debug, Default)]
struct Read {
    listeners: BTreeMap<String, Passed>,
    /// By pool, and by where they are.
    backends: BTreeMap<(String, String), Passed>,
}

/// What was read of the tables, about once a second.
#[derive(Debug, Default)]
pub(crate) struct Passes(Mutex<Read>);

impl Passes {
    /// Takes what tables say; nothing where there are none.
    pub(super) fn set(&self, statistics: &[ServiceStatistics], services: &BTreeMap<Vip, Service>) {
        let mut read = Read::default();
        for one in statistics {
            let Some(service) = services.get(&one.vip) else { continue };
            let got = one.tally.received;
            read.listeners.entry(service.listener.clone()).or_default().add(one.tally.flows, got.packets, got.bytes);
            for (at, tally) in &one.backends {
                let backend = read.backends.entry((service.pool.clone(), at.to_string())).or_default();
                backend.add(tally.flows, tally.to.packets, tally.to.bytes);
            }
        }
        *self.0.lock() = read;
    }

    /// What came to a listener.
    pub(crate) fn of_listener(&self, name: &str) -> Option<Passed> {
        self.0.lock().listeners.get(name).copied()
    }

    /// What went to a backend of a pool.
    pub(crate) fn of_backend(&self, pool: &str, address: &str) -> Option<Passed> {
        self.0.lock().backends.get(&(pool.to_owned(), address.to_owned())).copied()
    }
}

#[cfg(test)]
mod tests {
    use outwork_fastpath::layout::{BackendTally, ServiceTally, Tally};
    use outwork_fastpath::{Protocol, ServiceSettings};

    use super::*;

    #[test]
    fn what_came_to_addresses_of_a_listener_is_told_together_and_what_went_to_a_backend_by_its_pool() {
        let vip = |port| Vip::new(([198, 51, 100, 1], port).into(), Protocol::Tcp);
        let service = |listener: &str| Service {
            listener: listener.to_owned(),
            pool: "p".to_owned(),
            settings: ServiceSettings::default(),
        };
        let services = BTreeMap::from([(vip(80), service("a")), (vip(81), service("a")), (vip(82), service("b"))]);
        let tally = |packets| Tally { packets, bytes: packets * 100 };
        let one = |port, packets| ServiceStatistics {
            vip: vip(port),
            tally: ServiceTally { received: tally(packets), flows: 1, ..ServiceTally::default() },
            backends: vec![(
                ([10, 0, 0, 1], 80).into(),
                BackendTally { to: tally(packets), flows: 1, ..BackendTally::default() },
            )],
        };
        let figures = Passes::default();
        figures.set(&[one(80, 3), one(81, 4), one(82, 5), one(83, 6)], &services);
        assert_eq!(figures.of_listener("a"), Some(Passed { flows: 2, packets: 7, bytes: 700 }));
        assert_eq!(figures.of_backend("p", "10.0.0.1:80"), Some(Passed { flows: 3, packets: 12, bytes: 1200 }));
        assert_eq!((figures.of_listener("c"), figures.of_backend("q", "10.0.0.1:80")), (None, None));
        figures.set(&[], &services);
        assert_eq!(figures.of_listener("a"), None, "tables that are gone say nothing");
    }
}
