//! Where the memory of tunnels is, about: what grows with sites, paths, sessions and flows, and not what little there is of each process.

use std::sync::atomic::Ordering::Relaxed;

use outwork_wireguard::session::{Opener, Sealer};

use super::Service;
use crate::plane::gauge::Gauge;
use crate::plane::shared::{SUMS, Shared};
use crate::plane::tunnel::Tunnel;

impl Service {
    /// Its parts by name, in octets.
    pub fn memory(&self) -> Vec<(&'static str, usize)> {
        parts(&self.shared)
    }
}

fn parts(shared: &Shared) -> Vec<(&'static str, usize)> {
    let tunnels = shared.view.load().tunnels().count();
    let paths = shared.gauges.load().len();
    let sums = SUMS.saturating_sub(shared.sums.left());
    vec![
        (
            "sdwan_sessions",
            shared.sessions.memory() + shared.sessions.used() * (size_of::<Opener>() + size_of::<Sealer>()),
        ),
        ("sdwan_tunnels", tunnels * size_of::<Tunnel>() + paths * size_of::<Gauge>()),
        ("sdwan_flows", shared.flows.memory()),
        ("sdwan_streams", shared.twice.memory() + shared.groups.memory() + sums),
        ("sdwan_engine", usize::try_from(shared.engine.load(Relaxed)).unwrap_or(usize::MAX)),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::service::tests::Pair;

    #[test]
    fn every_part_of_a_service_that_is_joined_to_a_site_takes_some_memory_and_flows_as_much_as_they_may() {
        let pair = Pair::new("strategy = 'duplicate'");
        pair.send(10);
        let parts: BTreeMap<_, _> = pair.services[1].memory().into_iter().collect();
        for part in ["sdwan_sessions", "sdwan_tunnels", "sdwan_flows", "sdwan_streams", "sdwan_engine"] {
            assert!(parts[part] > 0, "{part} in {parts:?}");
        }
        assert!(parts["sdwan_flows"] >= 16 << 16, "{parts:?}");
    }
}
