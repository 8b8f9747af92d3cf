//! What a configuration wants of tiers, made ready: services, interfaces and how they are taken, rates and denied networks.

use std::collections::BTreeMap;

use outwork_fastpath::kernel::attach::Families;
use outwork_fastpath::machine::Roots;
use outwork_fastpath::machine::sriov::{Functions, SriovError};
use outwork_fastpath::tables::Prefix;
use outwork_fastpath::{Mode, ServiceSettings, Settings, Tier, Vip, Way};

use super::rules::{self, Rule};
use crate::address::Place;
use crate::config::acceleration::{Side, TierName};
use crate::config::ports::{AfXdp, Dpdk};
use crate::config::{Pins, Proxy};

/// A service of a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// What its listener is called.
    pub(super) listener: String,
    /// Its pool.
    pub(super) pool: String,
    pub(super) settings: ServiceSettings,
}

/// One side, and how it is taken. Where it cannot be had, the next step is tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Programs in the kernel: each interface with what is tried there, in this order.
    Kernel(BTreeMap<String, Vec<Tier>>),
    /// Sockets of AF_XDP, with how the program runs that gives them frames.
    AfXdp { interfaces: Vec<String>, modes: Vec<Mode>, settings: AfXdp },
    /// Ports of DPDK.
    Dpdk(Dpdk),
}

impl Step {
    /// Whether what one holds can become what the other wants while it forwards.
    pub(super) fn is_like(&self, other: &Step) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether what keeps one from being had may not keep the other: it is said otherwise, or does without interfaces.
    pub(super) fn may_mend(&self, old: &Step) -> bool {
        match (self, old) {
            (Step::Kernel(new), Step::Kernel(old)) => old.iter().any(|(name, ways)| new.get(name) != Some(ways)),
            (
                Step::AfXdp { interfaces, modes, settings },
                Step::AfXdp { interfaces: had, modes: old_modes, settings: old },
            ) => modes != old_modes || settings != old || had.iter().any(|name| !interfaces.contains(name)),
            (new, old) => new != old,
        }
    }

    /// The interfaces that it is about.
    pub(super) fn interfaces(&self) -> Vec<&str> {
        match self {
            Step::Kernel(interfaces) => interfaces.keys().map(String::as_str).collect(),
            Step::AfXdp { interfaces, .. } => interfaces.iter().map(String::as_str).collect(),
            Step::Dpdk(_) => Vec::new(),
        }
    }

    /// What it is called where it cannot be had.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Step::Kernel(_) => "kernel",
            Step::AfXdp { .. } => "af_xdp",
            Step::Dpdk(_) => "dpdk",
        }
    }
}

/// What a configuration wants of tiers.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) steps: Vec<Step>,
    pub(super) pins: Pins,
    pub(super) denied: Vec<Prefix>,
    pub(super) services: BTreeMap<Vip, Service>,
    /// Versions of IP that the kernel is to know ways of, for these services.
    pub(super) families: Families,
    /// How many virtual functions each card is to have.
    pub(super) functions: BTreeMap<String, u32>,
    /// All listeners, those for sockets too.
    pub(super) listeners: Vec<Rule>,
}

impl Plan {
    /// That of a configuration, and of the virtual functions that it has.
    pub(super) fn of(proxy: &Proxy, functions: &[(String, Functions)]) -> Plan {
        let acceleration = &proxy.acceleration;
        let listeners: Vec<Rule> =
            proxy.listener.iter().map(|listener| rules::of_listener(listener, &proxy.pool, acceleration)).collect();
        let mut services = BTreeMap::new();
        for (listener, rule) in proxy.listener.iter().zip(&listeners).filter(|(_, rule)| rule.obstacles.is_empty()) {
            let Some(pool) = &listener.pool else { continue };
            let settings = rules::service(listener, acceleration);
            for vip in rules::vips(listener) {
                services.insert(vip, Service { listener: rule.name.clone(), pool: pool.clone(), settings });
            }
        }
        // Those of virtual functions have a tier of their own that comes first.
        let mut interfaces: Vec<(String, Option<TierName>)> =
            acceleration.interfaces.iter().map(|name| (name.clone(), None)).collect();
        for wanted in acceleration.sriov.iter().filter(|wanted| wanted.tier.is_some()) {
            let made = functions.iter().filter(|(device, _)| *device == wanted.device);
            let names = made.flat_map(|(_, functions)| functions.made.iter().filter_map(|one| one.interface.clone()));
            interfaces.extend(names.map(|name| (name, wanted.tier)));
        }
        let sides = acceleration.steps();
        // Behind the driver there is no way back to the kernel: what has another way does not take that one unasked.
        let has_other = |at: usize| sides.iter().skip(at + 1).any(|(side, _)| *side == Side::Kernel);
        let steps = sides.iter().enumerate().map(|(at, (side, tiers))| match side {
            Side::Kernel => Step::Kernel(
                interfaces
                    .iter()
                    .map(|(name, own)| {
                        let tiers = own.iter().chain(tiers).copied();
                        (name.clone(), acceleration.ways(tiers))
                    })
                    .collect(),
            ),
            Side::AfXdp => Step::AfXdp {
                interfaces: interfaces.iter().map(|(name, _)| name.clone()).collect(),
                modes: {
                    let modes = acceleration.steering_modes();
                    let unasked = |mode: &Mode| *mode == Mode::Skb && modes.len() > 1 && has_other(at);
                    modes.iter().copied().filter(|mode| !unasked(mode)).collect()
                },
                settings: acceleration.af_xdp.clone(),
            },
            Side::Dpdk => Step::Dpdk(acceleration.dpdk.clone()),
        });
        let is_empty = |step: &Step| match step {
            Step::Kernel(interfaces) => interfaces.is_empty(),
            Step::AfXdp { interfaces, .. } => interfaces.is_empty(),
            Step::Dpdk(_) => false,
        };
        let steps = steps.filter(|step| !is_empty(step)).collect();
        Plan {
            settings: acceleration.settings(),
            steps,
            pins: acceleration.pins.clone(),
            denied: acceleration.denied(),
            families: families(proxy, &services),
            services,
            functions: acceleration.sriov.iter().map(|one| (one.device.clone(), one.vfs)).collect(),
            listeners,
        }
    }

    /// Whether the kernel is to have programs.
    pub(super) fn has_kernel(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Kernel(_)))
    }

    /// Whether there is anything for tiers to do.
    pub(super) fn is_wanted(&self) -> bool {
        !self.steps.is_empty()
    }
}

/// What addresses packets of services go to that the kernel is asked the way of. Names of backends stand for what is found out later.
fn families(proxy: &Proxy, services: &BTreeMap<Vip, Service>) -> Families {
    let asked = services.iter().flat_map(|(vip, service)| match service.settings.way {
        // As clients have it, so have backends.
        Way::Nat | Way::Direct => vec![vip.socket().ip()],
        Way::Tunnel => {
            let backends = proxy.pool.get(&service.pool).into_iter().flat_map(|pool| &pool.backend);
            let address = |place: &Place| match place {
                Place::Address(at) => Some(at.ip()),
                Place::Name { .. } | Place::Service(_) | Place::Unix(_) => None,
            };
            backends.filter_map(|backend| address(&backend.url.place)).collect()
        }
    });
    asked.collect()
}

/// Virtual functions as a configuration wants them. Where it is not taken up, they become what they were.
#[derive(Debug)]
pub(super) struct Made {
    roots: Roots,
    /// How many each card had.
    before: Vec<(String, u32)>,
    pub(super) functions: Vec<(String, Functions)>,
}

impl Made {
    /// Makes them.
    ///
    /// # Errors
    /// The key of what cannot be, and why; nothing has changed then.
    pub(super) fn of(proxy: &Proxy, roots: &Roots) -> Result<Made, String> {
        let mut made = Made { roots: roots.clone(), before: Vec::new(), functions: Vec::new() };
        for (index, wanted) in proxy.acceleration.sriov.iter().enumerate() {
            let refused = |error: SriovError| format!("proxy.acceleration.sriov[{index}]: {error}");
            let before = Functions::of(roots, &wanted.device).map_err(refused)?;
            made.before.push((wanted.device.clone(), u32::try_from(before.made.len()).unwrap_or(u32::MAX)));
            let functions = Functions::set(roots, &wanted.device, wanted.vfs).map_err(refused)?;
            let (device, vfs, tier) = (&*wanted.device, wanted.vfs, wanted.tier.map(|tier| tier.word()));
            if before != functions {
                tracing::info!(device, vfs, tier, "a card has other virtual functions");
            }
            made.functions.push((wanted.device.clone(), functions));
        }
        Ok(made)
    }

    /// Leaves them as they are.
    pub(super) fn keep(&mut self) {
        self.before.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for (device, count) in self.before.drain(..).rev() {
            if let Err(error) = Functions::set(&self.roots, &device, count) {
                tracing::error!(device, count, %error, "a card keeps virtual functions of a configuration that was not taken up");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        let text = format!("[acceleration]\ninterfaces = ['a', 'b']\n{text}");
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        let loaded = load::<Proxy>(sources).map_err(|faults| faults.render(false)).unwrap();
        Plan::of(&loaded.value, &[]).steps
    }

    #[test]
    fn sockets_do_not_go_behind_the_driver_unasked_where_the_kernel_has_another_way() {
        let modes = |text: &str| match steps(text).swap_remove(0) {
            Step::AfXdp { modes, .. } => modes,
            other => panic!("{other:?}"),
        };
        assert_eq!(modes("tiers = ['af_xdp']"), [Mode::Native, Mode::Skb]);
        assert_eq!(modes("tiers = ['af_xdp', 'tc']"), [Mode::Native]);
        assert_eq!(modes("tiers = ['af_xdp', 'tc']\nmode = 'skb'"), [Mode::Skb]);
    }

    #[test]
    fn a_step_that_is_said_otherwise_may_be_had_and_one_with_more_interfaces_may_not() {
        let first = |text: &str| steps(text).swap_remove(0);
        let before = first("tiers = ['af_xdp', 'tc']\naf_xdp = { copy = 'zero_copy' }");
        assert!(!before.may_mend(&before));
        assert!(first("tiers = ['af_xdp', 'tc']").may_mend(&before));
        let Step::AfXdp { interfaces, modes, settings } = before.clone() else { panic!("{before:?}") };
        let with = |names: &[&str]| Step::AfXdp {
            interfaces: names.iter().map(|name| (*name).to_owned()).collect(),
            modes: modes.clone(),
            settings: settings.clone(),
        };
        assert_eq!(interfaces, ["a", "b"]);
        assert!(!with(&["a", "b", "c"]).may_mend(&before) && with(&["a"]).may_mend(&before));
        let kernel = first("tiers = ['xdp', 'tc']");
        assert!(!kernel.may_mend(&kernel) && first("tiers = ['tc']").may_mend(&kernel));
    }

    #[test]
    fn ways_are_asked_of_the_versions_of_ip_that_services_have_and_tunnels_lead_by() {
        let families = |listener: &str, forwarding: &str, backend: &str| {
            let text = format!(
                "[[listener]]\naddress = ['{listener}']\npool = 'p'\nforwarding = '{forwarding}'\n\
                 [pool.p]\npolicy = 'maglev'\nbackend = [{{ url = 'tcp://{backend}' }}]\n\
                 [acceleration]\ntunnel_v6 = '2001:db8::9'\n"
            );
            let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
            let loaded = load::<Proxy>(sources).map_err(|faults| faults.render(false)).unwrap();
            Plan::of(&loaded.value, &[]).families
        };
        let (v4, v6) = (Families { v4: true, v6: false }, Families { v4: false, v6: true });
        assert_eq!(families("198.51.100.1:80", "nat", "10.0.0.1:80"), v4);
        assert_eq!(families("[2001:db8::1]:80", "dsr", "[2001:db8::2]:80"), v6);
        assert_eq!(families("198.51.100.1:80", "ipip", "[2001:db8::2]:80"), v6);
        assert_eq!(families("198.51.100.1:80", "sockets", "10.0.0.1:80"), Families::default());
    }

    #[test]
    fn interfaces_of_virtual_functions_are_given_to_the_tier_that_is_named_for_them() {
        // A card that has them already: there is no kernel in here to make any.
        let directory = tempfile::tempdir().unwrap();
        let roots = Roots { sysfs: directory.path().join("sys"), procfs: directory.path().join("proc") };
        let (card, own) = (roots.sysfs.join("devices/0000:02:00.0"), roots.sysfs.join("class/net/eth0"));
        [&card, &own].iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
        std::os::unix::fs::symlink(&card, own.join("device")).unwrap();
        std::fs::write(card.join("sriov_totalvfs"), "8\n").unwrap();
        for at in 0..2 {
            let function = card.with_file_name(format!("0000:02:10.{at}"));
            std::fs::create_dir_all(function.join(format!("net/eth0v{at}"))).unwrap();
            std::os::unix::fs::symlink(&function, card.join(format!("virtfn{at}"))).unwrap();
        }
        let steps = |text: &str| {
            let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
            let proxy = load::<Proxy>(sources).map_err(|faults| faults.render(false)).unwrap().value;
            let made = Made::of(&proxy, &roots).unwrap();
            Plan::of(&proxy, &made.functions).steps
        };
        let (native, skb) = (Tier::Xdp(Mode::Native), Tier::Xdp(Mode::Skb));
        let among = "[acceleration]\ntiers = ['xdp']\ninterfaces = ['a']\n";
        let kernel = |more: &str| match steps(&format!("{among}{more}")).swap_remove(0) {
            Step::Kernel(interfaces) => interfaces,
            other => panic!("{other:?}"),
        };
        let given = kernel("sriov = [{ device = 'eth0', vfs = 2, tier = 'tc' }]");
        assert_eq!(given.keys().collect::<Vec<_>>(), ["a", "eth0v0", "eth0v1"]);
        assert_eq!((&given["a"], &given["eth0v0"]), (&vec![native, skb], &vec![Tier::Tc, native, skb]));
        let others = kernel("sriov = [{ device = 'eth0', vfs = 2 }]");
        assert_eq!(others.keys().collect::<Vec<_>>(), ["a"], "they are for somebody else");
        let alone = steps("[acceleration]\nsriov = [{ device = 'eth0', vfs = 2, tier = 'af_xdp' }]\n");
        assert_eq!(alone.iter().flat_map(Step::interfaces).collect::<Vec<_>>(), ["eth0v0", "eth0v1"]);
        let many = load::<Proxy>(Sources {
            file: Some(("outwork.toml".into(), "[acceleration]\nsriov = [{ device = 'eth0', vfs = 9 }]\n".into())),
            ..Sources::default()
        });
        let many = many.map_err(|faults| faults.render(false)).unwrap().value;
        let refused = Made::of(&many, &roots).unwrap_err();
        assert!(refused.starts_with("proxy.acceleration.sriov[0]: `eth0` can have 8"), "{refused}");
    }
}
