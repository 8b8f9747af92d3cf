//! What the shaping of this host's uplinks knows datagrams by, and how long runs may be there.

use super::tunnel::UplinkIndex;
use crate::engine::class::ClassId;

/// The marks of datagrams, and the longest runs. By default there are neither marks nor limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marking {
    /// Of hellos, probes and handshakes.
    pub control: u32,
    /// Of what policies say is of a class, by the classes' numbers.
    pub classes: Vec<u32>,
    /// Octets of the longest run, by uplink; none where it is not shaped.
    pub runs: Vec<Option<usize>>,
}

impl Marking {
    /// The mark of a class; 0 for none.
    pub fn class(&self, ClassId(class): ClassId) -> u32 {
        self.classes.get(usize::from(class)).copied().unwrap_or_default()
    }

    /// Octets of the longest run by an uplink.
    pub fn run(&self, UplinkIndex(uplink): UplinkIndex) -> usize {
        self.runs.get(usize::from(uplink)).copied().flatten().unwrap_or(usize::MAX)
    }
}
