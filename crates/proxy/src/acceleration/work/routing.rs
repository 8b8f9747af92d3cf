//! Whether the kernel routes what comes in by the interfaces of a tier. Programs and ports ask it for every way, and where it says none, all is left to sockets:
//! services are not given to the tier there, so that nobody takes them for passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use outwork_fastpath::kernel::attach::{Families, unrouted};
use outwork_fastpath::{Vip, Way};

use super::super::held::Held;
use super::super::plan::Step;
use super::{Work, places};

/// Interfaces, with the setting that keeps the kernel from routing IPv4 that comes in there, and that of IPv6.
struct Routing(BTreeMap<String, [Option<String>; 2]>);

impl Routing {
    /// Looks, by the files of `procfs`. Interfaces that are not there are not looked at.
    fn look(procfs: &Path, interfaces: impl Iterator<Item = String>) -> Routing {
        let is_there = |name: &String| procfs.join("sys/net/ipv4/conf").join(name).is_dir();
        let off = |name: String| {
            let settings = [true, false].map(|is_v4| unrouted(procfs, &name, is_v4));
            (name, settings)
        };
        Routing(interfaces.filter(is_there).map(off).collect())
    }

    /// Why a service is for sockets whose packets are of these versions of IP.
    fn obstacle(&self, way: Way, families: Families) -> Option<String> {
        let off = self.0.iter().filter_map(|(name, [v4, v6])| {
            let setting = v4.as_ref().filter(|_| families.v4).or(v6.as_ref().filter(|_| families.v6))?;
            Some((name.as_str(), setting.as_str()))
        });
        let off: Vec<(&str, &str)> = off.collect();
        // With NAT the answers of backends come by some of them, too, and would be lost there.
        let is_enough = way == Way::Nat || off.len() == self.0.len();
        let (_, setting) = off.first().filter(|_| is_enough)?;
        let names: Vec<&str> = off.iter().map(|(name, _)| *name).collect();
        let all = match setting.starts_with("net.ipv4.") {
            true => "net.ipv4.ip_forward",
            false => "net.ipv6.conf.all.forwarding",
        };
        Some(format!(
            "forwarding is off on {}, and the kernel does not route what comes in there: `sysctl -w {setting}=1`, or {all}=1 for all interfaces",
            names.join(", ")
        ))
    }
}

impl Work {
    /// Looks whether the kernel routes what comes in, and has the tables follow.
    pub(super) fn look_at_routing(&mut self) {
        let changed = self.see_routing();
        if !changed.is_empty() {
            changed.iter().for_each(|vip| drop(self.told.remove(vip)));
            self.follow();
        }
    }

    /// Looks whether it does. Says of which services it is not as it was.
    pub(super) fn see_routing(&mut self) -> Vec<Vip> {
        let (plan, pools) = (Arc::clone(&self.plan), self.shared.pools.all());
        let wanted = plan.steps.get(self.at).into_iter().flat_map(Step::interfaces).map(str::to_owned);
        // Ports of DPDK have interfaces that no plan names.
        let held = self.held.iter().flat_map(Held::taken).map(|taken| taken.interface);
        let names: BTreeSet<String> = wanted.chain(held).collect();
        let routing = Routing::look(Path::new("/proc"), names.into_iter());
        let obstacles = plan.services.iter().filter_map(|(vip, service)| {
            let way = service.settings.way;
            let asked: Vec<IpAddr> = match way {
                Way::Nat | Way::Direct => vec![vip.socket().ip()],
                Way::Tunnel => {
                    let pool = pools.get(&service.pool);
                    pool.into_iter().flat_map(|pool| places(pool)).map(|at| at.ip()).collect()
                }
            };
            Some((*vip, routing.obstacle(way, asked.into_iter().collect())?))
        });
        let unrouted: BTreeMap<Vip, String> = obstacles.collect();
        let changed = plan.services.keys().filter(|vip| self.unrouted.get(vip) != unrouted.get(vip)).copied();
        let changed = changed.collect();
        self.unrouted = unrouted;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Families = Families { v4: true, v6: false };
    const V6: Families = Families { v4: false, v6: true };

    #[test]
    fn a_service_is_for_sockets_where_the_kernel_does_not_route_what_comes_in_for_it() {
        let procfs = tempfile::tempdir().unwrap();
        let say = |family: &str, name: &str, on: &str| {
            let directory = procfs.path().join(format!("sys/net/{family}/conf/{name}"));
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("forwarding"), format!("{on}\n")).unwrap();
        };
        for (name, v4, v6) in [("c0", "1", "0"), ("b1", "0", "0"), ("b2", "0", "0")] {
            say("ipv4", name, v4);
            say("ipv6", name, v6);
        }
        let obstacle = |names: &[&str], way, families| {
            let names = names.iter().map(|name| (*name).to_owned());
            Routing::look(procfs.path(), names).obstacle(way, families)
        };
        let all = ["c0", "b1", "b2", "gone"];
        assert_eq!(
            obstacle(&all, Way::Nat, V4).unwrap(),
            "forwarding is off on b1, b2, and the kernel does not route what comes in there: \
             `sysctl -w net.ipv4.conf.b1.forwarding=1`, or net.ipv4.ip_forward=1 for all interfaces"
        );
        assert!(obstacle(&all, Way::Nat, V6).unwrap().contains("off on b1, b2, c0"));
        assert_eq!(obstacle(&["c0", "gone"], Way::Nat, V4), None);
        assert_eq!(obstacle(&all, Way::Direct, V4), None, "answers do not come by any of them");
        assert!(obstacle(&all, Way::Tunnel, V6).is_some(), "nothing at all is routed");
        assert_eq!(obstacle(&all, Way::Tunnel, Families::default()), None, "it has no backends");
        assert_eq!(obstacle(&["gone"], Way::Direct, V4), None);
    }
}
