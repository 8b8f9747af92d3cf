//! What was counted: per CPU in the kernel, added up here.

use crate::layout::{BackendTally, ServiceTally, Tally};

impl Tally {
    pub(super) fn plus(self, other: Tally) -> Tally {
        Tally { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }
}

impl BackendTally {
    pub(super) fn plus(self, other: BackendTally) -> BackendTally {
        BackendTally { to: self.to.plus(other.to), from: self.from.plus(other.from), flows: self.flows + other.flows }
    }
}

impl ServiceTally {
    pub(super) fn plus(self, other: ServiceTally) -> ServiceTally {
        ServiceTally {
            received: self.received.plus(other.received),
            flows: self.flows + other.flows,
            no_backend: self.no_backend + other.no_backend,
            syn_refused: self.syn_refused + other.syn_refused,
            source_refused: self.source_refused + other.source_refused,
        }
    }
}
