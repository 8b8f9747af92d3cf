//! What the configuration says of packets that are passed on in the kernel.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use outwork_config::{At, Fault, choice, hours, millis, section};
use outwork_fastpath::settings::{Failed, Rate, Sizes, Timeouts};
use outwork_fastpath::tables::Prefix;
use outwork_fastpath::{Mode, Settings, Tier};
use outwork_front::filter::Network;

use super::pins::Pins;
use super::ports::{AfXdp, Dpdk};

section! {
    /// Packets of listeners whose `forwarding` is not `sockets` are passed on in the kernel, by programs on interfaces, or in user space, on whole frames. Their
    /// sockets are there all the same: whatever is out of the ordinary comes to them, and everything where no tier can be had. Of connections that are passed on so
    /// nobody counts how many are open: `proxy.limits` is for those of sockets. A listener that is given to a tier, or taken from it, while it has connections loses those.
    /// `deny`, `source_rate` and `syn_rate` hold for all of `proxy.listener`, whoever passes their packets on: programs, ports of user space, or sockets.
    pub struct Acceleration {
        /// Tiers, the best first: `xdp` and `tc` forward in the kernel, `af_xdp` and `dpdk` in user space. Where one cannot be had, the next is taken, and the log
        /// says why. All interfaces are the kernel's or user space's together, for a flow is known to one of them only. Empty: none.
        pub tiers: Vec<TierName>,
        /// How XDP runs, at best: where a card or a driver does not, the next of `hw`, `native` and `skb` is taken. The program that gives frames to `af_xdp` is one
        /// of `native` or `skb`. Unasked, `skb` is not taken on a veth, and not by `af_xdp` where `xdp` or `tc` follows it: packets would be lost.
        pub mode: XdpMode = XdpMode::Native,
        /// Interfaces by which packets come in: those of clients, and with `nat` the answers of backends.
        pub interfaces: Vec<String>,
        /// Where flows of the kernel go on through a crash and an upgrade of this process: the next one takes over what lies there. `true` for a directory of this
        /// server's own in `/sys/fs/bpf`, where a BPF file system is to be mounted, or a directory of one, such as `/sys/fs/bpf/outwork`; nobody else may write to it, and
        /// no two processes may have the same. A clean stop removes what is there; what a crash leaves forwards on until the next start. Unset or `false`, nothing is kept, and
        /// an upgrade cuts these flows. Flows of user space are not kept so: the next process chooses backends for them anew, which are the same ones as long as
        /// their pool is.
        pub pins: Pins [restart] = Pins::Nowhere,
        /// How large tables are.
        pub tables: Tables,
        /// Silence after which a flow is over.
        pub timeouts: FlowTimeouts,
        /// What becomes of the flows of a backend that fails its checks, or is left out for failing.
        pub failed: FailedFlows = FailedFlows::Keep,
        /// Whose the IPv4 packets are that carry others to backends, with `ipip`: an address of this machine.
        pub tunnel_v4: Option<Ipv4Addr>,
        /// The same of IPv6.
        pub tunnel_v6: Option<Ipv6Addr>,
        /// New TCP connections a second to one address of a listener that says nothing of it (`connection_rate`): beyond it, who asks for one hears nothing and asks again, and
        /// of a socket, which has shaken hands by then, is reset. 0 for no limit. It is what holds floods of SYN off backends; a tier counts as new whatever packet of TCP is of no
        /// connection that it or a socket has.
        pub syn_rate: u32 [range 0..=100_000_000] = 0,
        /// How many at once; unset, those of a second.
        pub syn_burst: Option<u32> [range 1..=100_000_000],
        /// Packets a second of one source, of IPv6 a /64, to listeners: beyond it they are dropped. Sockets see datagrams and connections, not packets: there it is datagrams
        /// and new connections, and of those that a proxy passes on, the client's. 0 for no limit.
        pub source_rate: u32 [range 0..=100_000_000] = 0,
        /// How many at once; unset, those of a second.
        pub source_burst: Option<u32> [range 1..=100_000_000],
        /// Networks whose packets to listeners are dropped; whatever else they send, answers of backends among it, is not. Sockets reset connections from there, also those
        /// that a proxy passes on, and end what is open when a reload denies a network.
        pub deny: Vec<Network>,
        /// Virtual functions of cards (SR-IOV), which are made at the start. Those of a card that is no longer named here stay: `outwork tiers vfs remove` takes them away.
        pub sriov: Vec<VirtualFunctions>,
        /// Sockets of AF_XDP, for the tier `af_xdp`.
        pub af_xdp: AfXdp,
        /// Ports of DPDK, for the tier `dpdk`.
        pub dpdk: Dpdk,
    }
    check acceleration;
}

section! {
    /// Benchmarks that the admin API begins.
    pub struct Benchmark {
        /// Networks that they may load, beside this machine and those that are for benchmarks (198.18.0.0/15, 2001:2::/48).
        pub targets: Vec<Network>,
    }
}

section! {
    /// Virtual functions of a card.
    #[required_keys]
    pub struct VirtualFunctions {
        /// An interface of the card.
        pub device: String,
        /// How many.
        pub vfs: u32 [range 1..=4096],
        /// The tier that their interfaces are given to; unset, they are only made, for others to use.
        pub tier: Option<TierName>,
    }
}

section! {
    /// How many entries tables have at most. The kernel takes the memory for them at the start: for each flow some 230 octets.
    pub struct Tables {
        /// Flows at once.
        pub flows: u32 [restart, range 64..=1 << 26] = Sizes::default().flows,
        /// Addresses of listeners.
        pub services: u32 [restart, range 1..=1 << 16] = Sizes::default().services,
        /// Backends of all of them.
        pub backends: u32 [restart, range 1..=1 << 20] = Sizes::default().backends,
        /// Places of the Maglev tables of all of them, twice: a table is written beside the one that it replaces.
        pub places: u32 [restart, range 2..=1 << 28] = Sizes::default().places,
        /// Sources whose rate is watched at once; sockets watch as many beside them.
        pub sources: u32 [restart, range 64..=1 << 26] = Sizes::default().sources,
        /// Denied networks, of IPv4 and of IPv6 each.
        pub prefixes: u32 [restart, range 1..=1 << 24] = Sizes::default().prefixes,
    }
}

section! {
    /// Silence after which a flow is over: its next packet is that of a new one.
    pub struct FlowTimeouts {
        /// UDP.
        pub datagrams: Duration [range millis(100)..=hours(24 * 7)] = Timeouts::default().datagrams,
        /// TCP before the client has heard of the backend.
        pub opening: Duration [range millis(100)..=hours(24 * 7)] = Timeouts::default().opening,
        /// TCP.
        pub established: Duration [range millis(100)..=hours(24 * 7)] = Timeouts::default().established,
        /// TCP after the first FIN, or a RST.
        pub closing: Duration [range millis(100)..=hours(24 * 7)] = Timeouts::default().closing,
    }
}

choice! {
    /// Who passes packets on.
    pub enum TierName {
        /// XDP: on frames, before the kernel makes packets of them.
        Xdp = "xdp",
        /// tc: on the kernel's packets, with any interface.
        Tc = "tc",
        /// AF_XDP: a thread of this process, on frames in memory that the kernel shares.
        AfXdp = "af_xdp",
        /// DPDK: a thread of this process, on cards or virtual devices that it has for itself.
        Dpdk = "dpdk",
    }
}

choice! {
    /// How XDP runs.
    pub enum XdpMode {
        /// In the driver.
        Native = "native",
        /// Behind it, with any driver.
        Skb = "skb",
        /// On the card.
        Hw = "hw",
    }
}

choice! {
    /// What becomes of the flows of a backend that fails.
    pub enum FailedFlows {
        /// They stay with it: it may come back, or still answer those that it knows.
        Keep = "keep",
        /// Their next packet is that of a new flow.
        Move = "move",
    }
}

fn acceleration(acceleration: &Acceleration, at: &mut At<'_>) {
    let without =
        |what: &str| Fault::new(format!("{what}, and no tier is named")).expected("tiers = [\"xdp\", \"tc\"]");
    let named = |tier: TierName| {
        acceleration.tiers.contains(&tier) || acceleration.sriov.iter().any(|one| one.tier == Some(tier))
    };
    // DPDK has its own.
    let wants_interfaces = acceleration.tiers.iter().any(|tier| *tier != TierName::Dpdk);
    if !wants_interfaces {
        if !acceleration.interfaces.is_empty() && !at.left_out().any(|key| key.starts_with("tiers")) {
            let fault = match acceleration.tiers.is_empty() {
                true => without("these are for tiers"),
                false => {
                    Fault::new("the tier `dpdk` has ports of its own (dpdk.pci, dpdk.vdevs), and no other is named")
                }
            };
            at.fault("interfaces", fault);
        }
    } else if acceleration.interfaces.is_empty()
        && acceleration.sriov.iter().all(|one| one.tier.is_none())
        && !at.left_out().any(|key| key.starts_with("interfaces") || key.starts_with("sriov"))
    {
        let fault = Fault::new("a tier is named, and no interface").expected("interfaces = [\"eth0\"]");
        at.fault("interfaces", fault.help("`outwork tiers` lists those of this machine"));
    }
    if acceleration.mode != XdpMode::Native && !named(TierName::Xdp) && !named(TierName::AfXdp) {
        at.fault("mode", Fault::new("no tier is XDP").expected("tiers = [\"xdp\"]"));
    } else if acceleration.mode == XdpMode::Hw && !named(TierName::Xdp) {
        at.fault("mode", Fault::new("cards give no frames to sockets themselves").expected("`native` or `skb`"));
    }
    let in_kernel = [TierName::Xdp, TierName::Tc].into_iter().any(named);
    if acceleration.pins != Pins::Nowhere && !in_kernel && !acceleration.tiers.is_empty() {
        let fault = Fault::new("flows of user space do not outlive the process, and no tier is the kernel's");
        at.fault("pins", fault.expected("tiers = [\"xdp\"]"));
    }
    let own = [
        ("af_xdp", acceleration.af_xdp != AfXdp::default(), TierName::AfXdp),
        ("dpdk", acceleration.dpdk != Dpdk::default(), TierName::Dpdk),
    ];
    for (key, is_said, tier) in own {
        if is_said && !named(tier) && !at.left_out().any(|key| key.starts_with("tiers")) {
            let word = tier.word();
            at.fault(key, Fault::new(format!("no tier is `{word}`")).expected(format!("tiers = [\"{word}\"]")));
        }
    }
    if named(TierName::Dpdk) && acceleration.dpdk.pci.is_empty() && acceleration.dpdk.vdevs.is_empty() {
        let fault = Fault::new("the tier `dpdk` has no devices").expected("pci = [\"0000:02:00.0\"], or vdevs");
        at.fault("dpdk.pci", fault.help("`dpdk-devbind.py --status` lists cards"));
    }
    for (index, one) in acceleration.sriov.iter().enumerate() {
        let Some(tier) = one.tier else { continue };
        let key = format!("sriov[{index}].tier");
        if tier == TierName::Dpdk {
            let fault = Fault::new("a virtual function of DPDK has no interface");
            at.fault(&key, fault.expected("its address in dpdk.pci, and no tier here"));
        } else if acceleration.first().is_some_and(|first| first.side() != tier.side()) {
            let fault =
                Fault::new("a flow is known to the kernel or to user space, and other interfaces are the other's");
            at.fault(&key, fault.expected("a tier of the same side as the first of tiers"));
        }
    }
    for (index, name) in acceleration.interfaces.iter().enumerate() {
        if acceleration.interfaces.iter().take(index).any(|other| other == name) {
            at.fault(&format!("interfaces[{index}]"), Fault::new(format!("{name:?} is named twice")));
        }
    }
    for (index, one) in acceleration.sriov.iter().enumerate() {
        if acceleration.sriov.iter().take(index).any(|other| other.device == one.device) {
            at.fault(&format!("sriov[{index}].device"), Fault::new(format!("{:?} is named twice", one.device)));
        }
    }
    let bursts = [
        ("syn_burst", acceleration.syn_burst.is_some() && acceleration.syn_rate == 0, "syn_rate"),
        ("source_burst", acceleration.source_burst.is_some() && acceleration.source_rate == 0, "source_rate"),
    ];
    for (key, _, rate) in bursts.into_iter().filter(|(_, alone, _)| *alone) {
        at.fault(key, Fault::new(format!("there is no {rate} that it would be a burst of")).expected(rate));
    }
    for is_v4 in [true, false] {
        let own = acceleration.denied().into_iter().filter(|prefix| prefix.address().is_ipv4() == is_v4).count();
        if own > acceleration.tables.prefixes as usize {
            let fault = Fault::new(format!("{own} networks, and tables.prefixes is {}", acceleration.tables.prefixes));
            at.fault("deny", fault.expected("a higher tables.prefixes"));
        }
    }
}

/// So many a second; `None` for no limit.
pub(crate) fn rate(per_second: u32, burst: Option<u32>) -> Option<Rate> {
    (per_second > 0).then(|| Rate { per_second, burst: burst.unwrap_or(per_second) })
}

impl Acceleration {
    /// What tables and programs are told.
    pub(crate) fn settings(&self) -> Settings {
        let (tables, timeouts) = (&self.tables, &self.timeouts);
        Settings {
            sizes: Sizes {
                flows: tables.flows,
                services: tables.services,
                backends: tables.backends,
                places: tables.places,
                sources: tables.sources,
                prefixes: tables.prefixes,
            },
            timeouts: Timeouts {
                datagrams: timeouts.datagrams,
                opening: timeouts.opening,
                established: timeouts.established,
                closing: timeouts.closing,
            },
            source_rate: rate(self.source_rate, self.source_burst),
            tunnel_v4: self.tunnel_v4,
            tunnel_v6: self.tunnel_v6,
            // What interfaces are is found out later.
            has_cables: false,
        }
    }

    /// What becomes of the flows of backends that fail.
    pub(crate) fn failed(&self) -> Failed {
        match self.failed {
            FailedFlows::Keep => Failed::Keep,
            FailedFlows::Move => Failed::Move,
        }
    }

    /// Denied networks.
    pub(crate) fn denied(&self) -> Vec<Prefix> {
        // What one reads, the other does.
        self.deny.iter().filter_map(|network| network.to_string().parse().ok()).collect()
    }

    /// The tier that is tried first.
    fn first(&self) -> Option<TierName> {
        self.tiers.first().copied().or_else(|| self.sriov.iter().find_map(|one| one.tier))
    }

    /// What is tried, in this order: each a side, and the tiers of it that are named one after the other.
    pub(crate) fn steps(&self) -> Vec<(Side, Vec<TierName>)> {
        let mut steps: Vec<(Side, Vec<TierName>)> = Vec::new();
        for tier in &self.tiers {
            let side = tier.side();
            // The kernel has more than one tier; of user space, what could not be had once cannot be had again.
            let is_new = side == Side::Kernel || steps.iter().all(|(other, _)| *other != side);
            match steps.last_mut() {
                Some((last, tiers)) if *last == side => tiers.push(*tier),
                _ if is_new => steps.push((side, vec![*tier])),
                _ => {}
            }
        }
        if steps.is_empty() {
            steps.extend(self.first().map(|first| (first.side(), Vec::new())));
        }
        steps
    }

    /// Modes of XDP from the wanted one down.
    fn modes(&self) -> impl Iterator<Item = Mode> {
        let modes = [(XdpMode::Hw, Mode::Hardware), (XdpMode::Native, Mode::Native), (XdpMode::Skb, Mode::Skb)];
        let wanted = self.mode;
        modes.into_iter().skip_while(move |(mode, _)| *mode != wanted).map(|(_, mode)| mode)
    }

    /// How the program runs that gives frames to sockets, the best first.
    pub(crate) fn steering_modes(&self) -> Vec<Mode> {
        self.modes().filter(|mode| *mode != Mode::Hardware).collect()
    }

    /// What is tried in the kernel on an interface, in this order.
    pub(crate) fn ways(&self, tiers: impl IntoIterator<Item = TierName>) -> Vec<Tier> {
        let mut ways: Vec<Tier> = Vec::new();
        for tier in tiers {
            let own = match tier {
                TierName::Xdp => self.modes().map(Tier::Xdp).collect(),
                TierName::Tc => vec![Tier::Tc],
                TierName::AfXdp | TierName::Dpdk => Vec::new(),
            };
            let new: Vec<Tier> = own.into_iter().filter(|way| !ways.contains(way)).collect();
            ways.extend(new);
        }
        ways
    }
}

/// Who knows the flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Kernel,
    AfXdp,
    Dpdk,
}

impl TierName {
    pub(crate) fn side(self) -> Side {
        match self {
            TierName::Xdp | TierName::Tc => Side::Kernel,
            TierName::AfXdp => Side::AfXdp,
            TierName::Dpdk => Side::Dpdk,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<Acceleration, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<Acceleration>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn tiers_are_tried_as_they_are_named_and_modes_from_the_wanted_one_down() {
        let ways = |text: &str, first: Option<TierName>| {
            let read = read(text).unwrap();
            read.ways(first.into_iter().chain(read.tiers.iter().copied()))
        };
        let (hardware, native, skb) = (Tier::Xdp(Mode::Hardware), Tier::Xdp(Mode::Native), Tier::Xdp(Mode::Skb));
        assert_eq!(ways("tiers = ['xdp', 'tc']\ninterfaces = ['a']", None), [native, skb, Tier::Tc]);
        assert_eq!(ways("tiers = ['tc', 'xdp']\ninterfaces = ['a']\nmode = 'skb'", None), [Tier::Tc, skb]);
        assert_eq!(ways("tiers = ['xdp']\ninterfaces = ['a']\nmode = 'hw'", None), [hardware, native, skb]);
        assert_eq!(ways("tiers = ['xdp', 'tc']\ninterfaces = ['a']", Some(TierName::Tc)), [Tier::Tc, native, skb]);
        assert!(ways("", None).is_empty());
    }

    #[test]
    fn tiers_of_the_kernel_and_of_user_space_are_tried_side_by_side_in_their_order() {
        let steps = |text: &str| read(&format!("interfaces = ['a']\n{text}")).unwrap().steps();
        use TierName::{AfXdp, Tc, Xdp};
        assert_eq!(
            steps("tiers = ['af_xdp', 'xdp', 'tc']"),
            [(Side::AfXdp, vec![AfXdp]), (Side::Kernel, vec![Xdp, Tc])]
        );
        assert_eq!(
            steps("tiers = ['xdp', 'af_xdp', 'tc']"),
            [(Side::Kernel, vec![Xdp]), (Side::AfXdp, vec![AfXdp]), (Side::Kernel, vec![Tc])]
        );
        let dpdk = steps("tiers = ['dpdk', 'tc']\ndpdk = { vdevs = ['net_null0'] }");
        assert_eq!(dpdk, [(Side::Dpdk, vec![TierName::Dpdk]), (Side::Kernel, vec![Tc])]);
        let functions = read("sriov = [{ device = 'a', vfs = 1, tier = 'af_xdp' }]").unwrap();
        assert_eq!(functions.steps(), [(Side::AfXdp, vec![])]);
        assert_eq!(read("tiers = ['af_xdp']\ninterfaces = ['a']").unwrap().steering_modes(), [Mode::Native, Mode::Skb]);
    }

    #[test]
    fn what_would_have_no_effect_is_refused_by_its_key() {
        for (text, key) in [
            ("tiers = ['xdp']", "interfaces"),
            ("interfaces = ['a']", "interfaces"),
            ("tiers = ['tc']\ninterfaces = ['a']\nmode = 'skb'", "mode"),
            ("tiers = ['tc']\ninterfaces = ['a', 'a']", "interfaces[1]"),
            ("tiers = ['tc']\ninterfaces = ['a']\nsyn_burst = 5", "syn_burst"),
            ("tiers = ['tc']\ninterfaces = ['a']\nsource_burst = 5", "source_burst"),
            ("sriov = [{ device = 'a', vfs = 1 }, { device = 'a', vfs = 2 }]", "sriov[1].device"),
            ("tiers = ['af_xdp']\ninterfaces = ['a']\nmode = 'hw'", "mode"),
            ("tiers = ['af_xdp']\ninterfaces = ['a']\npins = '/sys/fs/bpf/a'", "pins"),
            ("tiers = ['af_xdp']\ninterfaces = ['a']\npins = true", "pins"),
            ("tiers = ['xdp']\ninterfaces = ['a']\naf_xdp = { batch = 32 }", "af_xdp"),
            ("tiers = ['xdp']\ninterfaces = ['a']\ndpdk = { vdevs = ['net_null0'] }", "dpdk"),
            ("tiers = ['dpdk']", "dpdk.pci"),
            ("tiers = ['dpdk']\ninterfaces = ['a']\ndpdk = { vdevs = ['net_null0'] }", "interfaces"),
            ("tiers = ['xdp']\nsriov = [{ device = 'a', vfs = 1, tier = 'af_xdp' }]", "sriov[0].tier"),
            ("deny = ['10.0.0.0/8', '11.0.0.0/8']\ntables = { prefixes = 1 }", "deny"),
        ] {
            let told = read(text).expect_err(text);
            assert!(told.contains(key), "{text}: {told}");
        }
    }

    #[test]
    fn tables_are_kept_where_it_is_said_or_in_the_usual_place_and_unasked_not_at_all() {
        let pins = |text: &str| read(&format!("tiers = ['tc']\ninterfaces = ['a']\n{text}")).map(|read| read.pins);
        assert_eq!((pins("").unwrap(), pins("pins = false").unwrap()), (Pins::Nowhere, Pins::Nowhere));
        assert_eq!(pins("pins = true").unwrap(), Pins::Usual);
        assert_eq!(pins("pins = '/sys/fs/bpf/a'").unwrap(), Pins::At("/sys/fs/bpf/a".into()));
        assert!(pins("pins = 5").unwrap_err().contains("true, false, or a path"));
    }

    #[test]
    fn what_is_written_is_what_tables_are_told() {
        let text = "tiers = ['tc']\ninterfaces = ['a']\nsource_rate = 100\nsource_burst = 7\ndeny = ['192.0.2.0/24', '2001:db8::1']\n\
                    tunnel_v4 = '192.0.2.9'\ntunnel_v6 = '2001:db8::9'\n[tables]\nflows = 64\n[timeouts]\ndatagrams = '5s'\n";
        let read = read(text).unwrap();
        let settings = read.settings();
        assert_eq!((settings.sizes.flows, settings.sizes.services), (64, Sizes::default().services));
        assert_eq!(settings.timeouts.datagrams, Duration::from_secs(5));
        assert_eq!(settings.source_rate, Some(Rate { per_second: 100, burst: 7 }));
        assert_eq!(settings.tunnel_v4, Some(Ipv4Addr::new(192, 0, 2, 9)));
        assert_eq!(settings.tunnel_v6, Some("2001:db8::9".parse().unwrap()));
        let denied: Vec<Prefix> = ["192.0.2.0/24", "2001:db8::1/128"].map(|text| text.parse().unwrap()).into();
        assert_eq!(read.denied(), denied);
        assert_eq!(rate(5, None), Some(Rate { per_second: 5, burst: 5 }));
    }
}
