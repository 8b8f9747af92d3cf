//! Backends that are reached by an interface without a port: what is for them goes to the kernel before anything of it is changed, and so to sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outwork_fastpath::Vip;

/// What no port leads to.
#[derive(Debug, Default)]
pub(super) struct Outlets(BTreeMap<Vip, Beside>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Beside {
    /// Whether that is so of all backends of the service.
    all: bool,
    why: String,
}

impl Outlets {
    /// Looks at the backends of services. `beside` knows the interface without a port by which one is reached, where there is one. Says of which services it is not as
    /// it was.
    pub(super) fn look<'a>(
        &mut self,
        services: impl Iterator<Item = (Vip, &'a str, Vec<SocketAddr>)>,
        beside: impl Fn(&Vip, SocketAddr) -> Option<String>,
    ) -> Vec<Vip> {
        let (mut found, mut changed) = (BTreeMap::new(), Vec::new());
        for (vip, listener, backends) in services {
            let mut lost = backends.iter().filter_map(|at| Some((at, beside(&vip, *at)?)));
            let now = lost.next().map(|(at, interface)| {
                let others = lost.count();
                let and = if others > 0 { format!(" (and {others} more likewise)") } else { String::new() };
                let why = format!(
                    "backend {at} is reached by {interface}, which has no port{and}: name that in proxy.acceleration.interfaces"
                );
                Beside { all: others + 1 == backends.len(), why }
            });
            if self.0.get(&vip) != now.as_ref() {
                changed.push(vip);
                if let Some(Beside { all: false, why }) = &now {
                    tracing::warn!(listener, at = %vip.socket(), why, "sockets serve what is for a backend");
                }
            }
            found.extend(now.map(|now| (vip, now)));
        }
        self.0 = found;
        changed
    }

    /// Why a service is not for ports at all.
    pub(super) fn obstacle(&self, vip: &Vip) -> Option<&str> {
        self.0.get(vip).filter(|beside| beside.all).map(|beside| beside.why.as_str())
    }

    /// Services of which some backends are for sockets, and why.
    pub(super) fn partly(&self) -> BTreeMap<Vip, String> {
        let partly = self.0.iter().filter(|(_, beside)| !beside.all);
        partly.map(|(vip, beside)| (*vip, beside.why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use outwork_fastpath::Protocol;

    use super::*;

    #[test]
    fn a_service_whose_backends_no_port_leads_to_is_for_sockets_and_one_of_which_some_are_is_partly() {
        let vip = |port| Vip::new(([198, 51, 100, 1], port).into(), Protocol::Tcp);
        let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 80));
        let mut outlets = Outlets::default();
        let services = || [(vip(1), "a", vec![at(1), at(2)]), (vip(2), "b", vec![at(2)]), (vip(3), "c", vec![])];
        let beside = |_: &Vip, at: SocketAddr| at.to_string().starts_with("10.0.0.2").then(|| "eth9".to_owned());
        assert_eq!(outlets.look(services().into_iter(), beside), [vip(1), vip(2)]);
        assert!(outlets.look(services().into_iter(), beside).is_empty(), "it is as it was");
        assert_eq!((outlets.obstacle(&vip(1)), outlets.obstacle(&vip(3))), (None, None));
        let why = outlets.obstacle(&vip(2)).unwrap();
        assert!(why.starts_with("backend 10.0.0.2:80 is reached by eth9, which has no port"), "{why}");
        assert_eq!(outlets.partly().into_keys().collect::<Vec<_>>(), [vip(1)]);
        assert_eq!(outlets.look(services().into_iter(), |_, _| None), [vip(1), vip(2)]);
        assert!(outlets.obstacle(&vip(2)).is_none() && outlets.partly().is_empty());
    }
}
