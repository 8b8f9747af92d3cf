//! What the service's memory is used for.

use super::{SLICE, Service};
use crate::engine::Engine;

impl Service {
    /// Bytes that each part takes, by name, the allocator's rounding aside.
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let mut parts = self.read(Engine::memory);
        parts.push(("dhcp_reservations", self.reservation_bytes()));
        parts.push(("dhcp_answer_buffers", usize::try_from(self.metrics.answer_buffers.get()).unwrap_or(0)));
        parts.push(("store_log_queue", self.log.stats().buffer_bytes));
        parts
    }

    /// In slices, for the workers' sake.
    fn reservation_bytes(&self) -> usize {
        let (mut bytes, mut next) = (self.read(|engine| engine.reservations().memory()), Some(0));
        while let Some(from) = next {
            next = None;
            self.read(|engine| {
                for (walked, one) in engine.reservations().from_id(from).enumerate() {
                    if walked == SLICE {
                        next = Some(one.id);
                        break;
                    }
                    bytes += one.memory();
                }
            });
        }
        next = Some(0);
        while let Some(from) = next {
            next = None;
            for (walked, (id, json)) in self.shared.lock().reservations.range(from..).enumerate() {
                if walked == SLICE {
                    next = Some(*id);
                    break;
                }
                bytes += size_of::<(u64, Box<[u8]>)>() + json.len();
            }
        }
        bytes
    }
}
