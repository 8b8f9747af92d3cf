//! What the engine's memory is used for.

use super::Engine;

impl Engine {
    /// Bytes that each part takes, by name, the allocator's rounding aside. Reservations are not among them: there may be
    /// so many of them that they are better counted in slices.
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        let ended = self.displaced.allocation_size() + self.orphans.allocation_size();
        vec![
            ("dhcp_leases", self.leases.memory() + ended),
            ("dhcp_pools", self.pools.memory()),
            (
                "dhcp_calendar",
                self.calendar.memory() + self.due.capacity() * size_of::<(std::net::Ipv4Addr, super::Seconds)>(),
            ),
            ("dhcp_probe_cache", self.probes.memory()),
            ("dhcp_rate_limits", self.limiter.memory() + self.circuits.memory() + self.declines.memory()),
            ("dhcp_journal", self.journal.memory()),
        ]
    }
}
