//! What was counted: per CPU in the kernel, added up here.

use std::io;
use std::net::SocketAddr;

use super::Fastpath;
use crate::layout::{BackendTally, Reason, ServiceTally, Tally, Vip};

/// What a service and its backends got and gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatistics {
    /// Where clients find it.
    pub vip: Vip,
    /// What it got.
    pub tally: ServiceTally,
    /// The same of its backends. Those of a backend begin again when it comes back after it was gone.
    pub backends: Vec<(SocketAddr, BackendTally)>,
}

impl Tally {
    fn plus(self, other: Tally) -> Tally {
        Tally { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl BackendTally {
    fn plus(self, other: BackendTally) -> BackendTally {
        BackendTally { to: self.to.plus(other.to), from: self.from.plus(other.from), flows: self.flows + other.flows }
    }
}

impl ServiceTally {
    fn plus(self, other: ServiceTally) -> ServiceTally {
        ServiceTally {
            received: self.received.plus(other.received),
            flows: self.flows + other.flows,
            no_backend: self.no_backend + other.no_backend,
            syn_refused: self.syn_refused + other.syn_refused,
            source_refused: self.source_refused + other.source_refused,
        }
    }
}

impl Fastpath {
    /// All packets that came in where a program is, by what became of them.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn tallies(&self) -> io::Result<Vec<(Reason, Tally)>> {
        let sum = |reason: &Reason| {
            let tallies = self.maps.tally(*reason)?;
            Ok((*reason, tallies.into_iter().fold(Tally::default(), Tally::plus)))
        };
        Reason::ALL.iter().map(sum).collect()
    }

    /// What each service and backend got and gave.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn statistics(&self) -> io::Result<Vec<ServiceStatistics>> {
        let one = |vip: &Vip| {
            let number = self.registry.number(vip).unwrap_or_default();
            let tally = self.maps.service_tally(number)?.into_iter().fold(ServiceTally::default(), ServiceTally::plus);
            let backend = |(at, number)| {
                let tallies = self.maps.backend_tally(number)?;
                Ok((at, tallies.into_iter().fold(BackendTally::default(), BackendTally::plus)))
            };
            let backends = self.registry.backends(vip).map(backend).collect::<io::Result<_>>()?;
            Ok(ServiceStatistics { vip: *vip, tally, backends })
        };
        self.registry.services().map(|(vip, _)| one(vip)).collect()
    }
}
