//! What an engine takes of memory.

use std::cmp::Reverse;

use outwork_engine::Time;

use super::damp::Seat;
use super::site::PathId;
use super::{Engine, Path, Remote, Timer};

impl Engine {
    /// Octets that it takes for sites and their paths. Networks and policies, of which there are fewer, are not among them.
    pub fn memory(&self) -> usize {
        let of_site = |remote: &Remote| {
            remote.paths.capacity() * size_of::<PathId>()
                + remote.seats.capacity() * size_of::<Seat>()
                + remote.entry.memory()
        };
        self.paths.capacity() * size_of::<Option<Path>>()
            + self.timers.capacity() * size_of::<Reverse<(Time, Timer)>>()
            + self.remotes.capacity() * size_of::<Remote>()
            + self.remotes.iter().map(of_site).sum::<usize>()
    }
}
