//! The seven tiers, from the fastest to the one that always works: whether each can be had on a machine, and if not, what is in the way.

use super::{Machine, SynCookies};

/// A tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Ports of DPDK.
    Dpdk,
    /// Programs in the driver, or behind it.
    Xdp,
    /// Frames in memory that the kernel shares.
    AfXdp,
    /// Virtual functions of a card.
    SrIov,
    /// Programs on the kernel's packets.
    Tc,
    /// Outwork itself: connections that it passes on, by `splice` where nothing has to be looked at.
    Application,
    /// Sockets as everybody has them.
    Sockets,
}

impl Kind {
    /// All of them, the fastest first.
    pub const ALL: [Kind; 7] =
        [Kind::Dpdk, Kind::Xdp, Kind::AfXdp, Kind::SrIov, Kind::Tc, Kind::Application, Kind::Sockets];

    /// A short stable word.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Dpdk => "dpdk",
            Kind::Xdp => "xdp",
            Kind::AfXdp => "af_xdp",
            Kind::SrIov => "sr-iov",
            Kind::Tc => "tc",
            Kind::Application => "application",
            Kind::Sockets => "sockets",
        }
    }
}

/// What a machine says of a tier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessed {
    /// The tier.
    pub kind: Kind,
    /// Why it cannot be had; `None` where it can.
    pub why_not: Option<String>,
    /// What else is to be known of it here.
    pub remark: Option<String>,
}

/// What a machine says of all tiers.
pub fn assess(machine: &Machine) -> Vec<Assessed> {
    let one = |kind: Kind| {
        let (why_not, remark) = match kind {
            Kind::Dpdk => (machine.dpdk.clone().err(), Some(pages(machine))),
            Kind::Xdp => (programs(machine), modes(machine)),
            Kind::AfXdp => (programs(machine).or_else(|| machine.sockets.clone().err()), copying(machine)),
            Kind::SrIov => functions(machine),
            Kind::Tc => (programs(machine), None),
            Kind::Application => (None, None),
            Kind::Sockets => (None, cookies(machine)),
        };
        let remark = remark.filter(|_| why_not.is_none());
        Assessed { kind, why_not, remark }
    };
    Kind::ALL.into_iter().map(one).collect()
}

fn programs(machine: &Machine) -> Option<String> {
    let wired = machine.interfaces.iter().any(|interface| !interface.is_loopback);
    let nothing = || Some("there is no interface but loopback".to_owned()).filter(|_| !wired);
    machine.programs.clone().err().or_else(nothing)
}

/// Which interfaces run programs in the driver.
fn modes(machine: &Machine) -> Option<String> {
    let wired = || machine.interfaces.iter().filter(|interface| !interface.is_loopback);
    let native = wired().filter(|interface| interface.features.is_some_and(|features| features.runs_programs()));
    let native: Vec<&str> = native.map(|interface| interface.name.as_str()).collect();
    Some(match (native.len(), wired().count()) {
        (0, _) => "no driver here says that it runs programs itself: mode `skb` works".to_owned(),
        (some, all) if some == all => "every driver here runs programs itself".to_owned(),
        _ => format!("in the driver on {}; elsewhere mode `skb` works", native.join(", ")),
    })
}

fn copying(machine: &Machine) -> Option<String> {
    let shares = |features: super::features::Features| features.shares_memory();
    let shared = machine.interfaces.iter().any(|interface| interface.features.is_some_and(shares));
    Some("every driver here copies frames".to_owned()).filter(|_| !shared)
}

/// What the kernel does for sockets that are flooded.
fn cookies(machine: &Machine) -> Option<String> {
    let told = match machine.syn_cookies? {
        SynCookies::Off => {
            "without SYN cookies, so that a flood of SYN keeps others out (`sysctl -w net.ipv4.tcp_syncookies=1`)"
        }
        SynCookies::OnDemand => "with SYN cookies where a flood of SYN asks for them",
        SynCookies::Always => {
            "with SYN cookies for every connection, which takes options of TCP from them (net.ipv4.tcp_syncookies)"
        }
    };
    Some(told.to_owned())
}

/// What DPDK has for memory.
fn pages(machine: &Machine) -> String {
    let memory = match machine.huge_pages.iter().map(|pages| pages.total).sum::<u64>() {
        0 => "without huge pages (`sysctl vm.nr_hugepages=1024` sets some aside)".to_owned(),
        _ => {
            let all = machine.huge_pages.iter().filter(|pages| pages.total > 0);
            let all =
                all.map(|pages| format!("{} of {} pages of {} KiB free", pages.free, pages.total, pages.kibibytes));
            format!("with {}", all.collect::<Vec<_>>().join(", "))
        }
    };
    let cards = match (machine.has_vfio, machine.has_iommu) {
        (true, true) => "cards by vfio-pci",
        (true, false) => "cards by vfio-pci without an IOMMU, which has to be allowed",
        (false, _) => "virtual devices only, for there is no vfio-pci (`modprobe vfio-pci`)",
    };
    format!("{memory}; {cards}")
}

fn functions(machine: &Machine) -> (Option<String>, Option<String>) {
    let able: Vec<_> =
        machine.interfaces.iter().filter_map(|one| Some((one.name.as_str(), one.functions.as_ref()?))).collect();
    if able.is_empty() {
        let why = "no card here has virtual functions: it takes one with SR-IOV, switched on in the firmware, and `intel_iommu=on iommu=pt` (`amd_iommu=on`) on the kernel's command line";
        return (Some(why.to_owned()), None);
    }
    let each = able.iter().map(|(name, functions)| format!("{name}: {} of {}", functions.made.len(), functions.total));
    let iommu = if machine.has_iommu { "" } else { "; there is no IOMMU, so that none can be handed to a guest" };
    (None, Some(format!("{}{iommu}", each.collect::<Vec<_>>().join(", "))))
}
