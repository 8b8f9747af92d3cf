//! What goes on, and what is over: the table of flows is gone through in slices, so that nobody waits for a million of them.

use std::io;

use outwork_engine::Time;
use rustix::time::{ClockId, clock_gettime};

use super::Fastpath;
use crate::layout::{Flow, FlowKey};
use crate::tables::Swept;

/// Entries of a slice.
const SLICE: usize = 4096;

/// How far a sweep has come.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    cursor: Option<u32>,
    swept: Swept,
}

impl Fastpath {
    /// See [`crate::registry::plane::Sink::sweep`].
    pub(super) fn sweep_slice(&mut self, now: Time) -> io::Result<Swept> {
        if self.sweep.cursor.is_none() {
            self.sweep.swept = Swept::default();
        }
        let flows = self.maps.flows()?;
        let (entries, more) = flows.batch(SLICE, &mut self.sweep.cursor)?;
        let over: Vec<FlowKey> =
            entries.iter().filter(|(_, flow)| self.is_over(flow, now)).map(|(key, _)| *key).collect();
        flows.remove_all(&over)?;
        let forward = |flow: &Flow| flow.reply == 0 && !self.is_over(flow, now);
        let going_on = entries.iter().filter(|(_, flow)| forward(flow));
        let ending = going_on.clone().filter(|(_, flow)| flow.is_ending(now.as_nanos())).count() as u64;
        let going_on = going_on.count() as u64;
        let swept = &mut self.sweep.swept;
        swept.flows += going_on;
        swept.ending += ending;
        swept.removed += over.len() as u64;
        swept.whole = !more;
        Ok(*swept)
    }

    /// At most so many flows that go on, as clients' packets have them, with the backend that each is of.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn flows(&self, most: usize, now: Time) -> io::Result<Vec<(FlowKey, Flow)>> {
        let (map, mut cursor, mut found) = (self.maps.flows()?, None, vec![]);
        loop {
            let (entries, more) = map.batch(SLICE, &mut cursor)?;
            found.extend(entries.into_iter().filter(|(_, flow)| flow.reply == 0 && !self.is_over(flow, now)));
            if !more || found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
        }
    }

    /// All entries of the table of flows, in both directions, as they are.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn entries(&self) -> io::Result<Vec<(FlowKey, Flow)>> {
        let (map, mut cursor, mut found) = (self.maps.flows()?, None, vec![]);
        loop {
            let (entries, more) = map.batch(SLICE, &mut cursor)?;
            found.extend(entries);
            if !more {
                return Ok(found);
            }
        }
    }

    /// The time that flows are dated by: the kernel's monotonic clock, as of its last tick.
    pub fn kernel_time() -> Time {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        Time::from_nanos((now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64))
    }

    fn is_over(&self, flow: &Flow, now: Time) -> bool {
        let timeouts = self.registry.settings().control().timeouts;
        let timeout = timeouts.get(usize::from(flow.state & 3)).copied().unwrap_or_default();
        let backend = self.maps.backend(flow.backend);
        let kept = backend.epoch == flow.epoch && backend.flags & crate::layout::KEEPS_KNOWN != 0;
        !kept || now.as_nanos().saturating_sub(flow.seen) > timeout
    }
}
