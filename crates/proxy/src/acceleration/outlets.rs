//! Backends that are reached by an interface that no tier has: what is for them goes to the kernel before anything of it is changed, and so to sockets. A port could not send
//! it there, and answers to what a program sent there would not come back by one.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use outwork_fastpath::Vip;
use outwork_fastpath::forward::{Hop, Query, Routes};
use outwork_fastpath::kernel::attach::name_of;

/// The interface by which a backend is reached, where it is none of those that are `held`. `wire` says by which one frames for another leave. Nobody knows while none is held.
pub(super) fn beside(
    routes: &impl Routes,
    held: &[u32],
    wire: impl Fn(u32) -> u32,
    (service, backend): (IpAddr, IpAddr),
) -> Option<String> {
    let query = Query { ingress: *held.first()?, source: service, destination: backend, length: 0 };
    match routes.hop(&query) {
        Hop::To { ifindex, .. } | Hop::Unresolved { ifindex, .. } if !held.contains(&wire(ifindex)) => {
            Some(name_of(ifindex).unwrap_or_else(|| format!("interface {ifindex}")))
        }
        _ => None,
    }
}

/// What no interface leads to that is held.
#[derive(Debug, Default)]
pub(super) struct Outlets(BTreeMap<Vip, Beside>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Beside {
    /// Whether that is so of all backends of the service.
    all: bool,
    why: String,
}

impl Outlets {
    /// Looks at the backends of services. `beside` knows the interface by which one is reached where it has none of `what` interfaces have that are held, a port or a program. Says
    /// of which services it is not as it was.
    pub(super) fn look<'a>(
        &mut self,
        what: &str,
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
                    "backend {at} is reached by {interface}, which has no {what}{and}: name that in proxy.acceleration.interfaces"
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
        assert_eq!(outlets.look("port", services().into_iter(), beside), [vip(1), vip(2)]);
        assert!(outlets.look("port", services().into_iter(), beside).is_empty(), "it is as it was");
        assert_eq!((outlets.obstacle(&vip(1)), outlets.obstacle(&vip(3))), (None, None));
        let why = outlets.obstacle(&vip(2)).unwrap();
        assert!(why.starts_with("backend 10.0.0.2:80 is reached by eth9, which has no port"), "{why}");
        assert_eq!(outlets.partly().into_keys().collect::<Vec<_>>(), [vip(1)]);
        assert_eq!(outlets.look("port", services().into_iter(), |_, _| None), [vip(1), vip(2)]);
        assert!(outlets.obstacle(&vip(2)).is_none() && outlets.partly().is_empty());
    }
}
