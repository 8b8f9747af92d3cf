//! What the configuration turns on, as far as the machine is concerned; and what is wished for it.
//!
//! A value that services do well with is recommended, with the reason; what a setting asks for by itself bears the name of that setting. What `[host]` says comes
//! last, in the place of both.

use outwork_config::ByteSize;

use crate::config::{Host, Interface, SysctlValue};
use crate::interrupts;
use crate::knob::{Feature, Knob, LinkAttribute, QueueAttribute};
use crate::limits::{Limit, LimitWish};
use crate::machine::Machine;
use crate::name::{InterfaceName, SysctlName};
use crate::wish::{Need, Wanted, Wish, Wishes};

/// Services by their names.
pub type Services = Vec<&'static str>;

/// What a setting asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The setting, such as `proxy.listener[0].backlog`.
    pub setting: String,
    /// How much.
    pub amount: u64,
    /// The service whose setting it is.
    pub service: &'static str,
}

/// What the configuration turns on.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// Who accepts connections.
    pub accepting: Services,
    /// Who opens connections, one for each of those of clients.
    pub opening: Services,
    /// Who sends and receives datagrams in numbers.
    pub datagrams: Services,
    /// Who waits for disks.
    pub disks: Services,
    /// Connections that may wait to be accepted.
    pub backlogs: Vec<Asked>,
    /// Octets that sockets are to have for what comes in.
    pub receive_buffers: Vec<Asked>,
    /// Octets that sockets are to have for what goes out.
    pub send_buffers: Vec<Asked>,
    /// File descriptors, of all connections that there may be.
    pub descriptors: Vec<Asked>,
    /// Addresses on links that this machine is on.
    pub neighbours: Option<Asked>,
    /// Ports that this process listens at, each with the service that does.
    pub ports: Vec<(u16, &'static str)>,
    /// Interfaces by which the kernel passes packets on for a program of ours, and the families of that.
    pub forwarding: Vec<(InterfaceName, &'static str)>,
    /// Tunnels, where there are any.
    pub tunnels: Option<Tunnels>,
    /// Whether programs of ours run in the kernel.
    pub programs: bool,
    /// Pages of 2 MiB.
    pub pages: Option<Asked>,
}

/// What tunnels ask for.
#[derive(Debug, Clone, Default)]
pub struct Tunnels {
    /// The service that has them.
    pub service: &'static str,
    /// Octets that are to wait at a socket to be received, and to be sent.
    pub buffers: Vec<(Way, Asked)>,
    /// Whether packets of either family go between tunnels and networks behind this machine, and the setting that says so.
    pub served_v4: Option<String>,
    /// The same of IPv6.
    pub served_v6: Option<String>,
    /// Interfaces of uplinks.
    pub interfaces: Vec<InterfaceName>,
    /// Where packets come by another interface than the kernel would answer by, the setting that has it so. Interfaces are those above, or if they are not known, all.
    pub crossing: Option<String>,
}

/// Which way what is in a buffer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In.
    In,
    /// Out.
    Out,
}

/// All that is wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanting {
    /// What can be set.
    pub wishes: Wishes,
    /// What the process is to have.
    pub limits: Vec<LimitWish>,
}

/// What sockets may ask for at least, whatever the configuration says.
const BUFFERS: u64 = 16 << 20;
/// The longest that the window of a connection becomes: for files, and for what is passed on, which has two ways of any length.
const WINDOW: u64 = 16 << 20;
const PASSED_ON: u64 = 128 << 20;
/// Files of the whole machine, of a process at most, and of the service.
const FILES: u64 = 2 << 20;
const FILES_OF_A_PROCESS: u64 = 1 << 20;
/// Connections that the kernel keeps track of, where it does.
const TRACKED: u64 = 1 << 20;
/// The ports of connections to backends: from where the kernel begins anyway, for below that servers of all kinds listen (Kubernetes' up to 32767), to the last.
const CONNECTIONS: (u64, u64) = (32_768, 65_535);
/// Which those are, and which of them connections leave alone.
const PORTS: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
/// Neighbours that are looked after at least, and never more than these.
const NEIGHBOURS: u64 = 4096;
const MOST_NEIGHBOURS: u64 = 1 << 20;

impl Wanting {
    /// What is wanted of a machine by what is turned on, and by the `[host]` section.
    pub fn new(demand: &Demand, host: &Host, machine: &Machine) -> Wanting {
        let mut wanting = Wanting::default();
        if host.recommended {
            wanting.connections(demand);
            wanting.buffers(demand);
            wanting.packets(demand);
            wanting.memory(demand);
            wanting.kernel(demand);
            wanting.tunnels(demand);
            wanting.files(demand);
        }
        wanting.say(host, machine);
        if host.recommended {
            wanting.reserve(demand, host, machine);
        }
        wanting
    }

    fn wish(&mut self, services: &[&'static str], name: &str, wanted: Wanted, why: &str) {
        self.ask(services, name, wanted, why, None);
    }

    fn ask(&mut self, services: &[&'static str], name: &str, wanted: Wanted, why: &str, setting: Option<String>) {
        if let (false, Ok(name)) = (services.is_empty(), name.parse()) {
            let needs = setting.into_iter().map(|setting| Need { setting, wanted: wanted.clone() }).collect();
            let (knob, services) = (Knob::Sysctl { name }, services.to_vec());
            self.wishes.add(Wish { knob, wanted, why: why.to_owned(), services, needs });
        }
    }

    /// As much as settings ask for.
    fn asked(&mut self, asked: &[Asked], name: &str, why: &str) {
        for Asked { setting, amount, service } in asked {
            self.ask(&[service], name, Wanted::AtLeast(vec![*amount]), why, Some(setting.clone()));
        }
    }

    /// Connections: how they begin, how long they are remembered.
    fn connections(&mut self, demand: &Demand) {
        let on = || Wanted::AtLeast(vec![1]);
        let accepting = &demand.accepting;
        self.asked(
            &demand.backlogs,
            "net.core.somaxconn",
            "connections that may wait to be accepted: the kernel allows no larger backlog",
        );
        self.wish(accepting, "net.ipv4.tcp_syncookies", on(), "floods of SYN do not keep clients out");
        let half_open = "handshakes under way, where the kernel makes no cookies";
        self.wish(accepting, "net.ipv4.tcp_max_syn_backlog", Wanted::AtLeast(vec![8192]), half_open);
        for name in ["tcp_window_scaling", "tcp_sack", "tcp_timestamps"] {
            let why = "long ways are filled, and losses mended, no faster than this lets them";
            self.wish(accepting, &format!("net.ipv4.{name}"), on(), why);
        }
        let idle = "a connection that was idle goes on as fast as it was";
        self.wish(accepting, "net.ipv4.tcp_slow_start_after_idle", Wanted::Exactly("0".to_owned()), idle);
        let bbr = "a way that loses packets is filled all the same";
        self.wish(accepting, "net.ipv4.tcp_congestion_control", Wanted::Exactly("bbr".to_owned()), bbr);
        let fq = "bbr sends at a pace, which costs least so; of interfaces that come up from then on";
        self.wish(accepting, "net.core.default_qdisc", Wanted::Exactly("fq".to_owned()), fq);
        let closing = "seconds that a connection is kept whose other end does not close it";
        self.wish(accepting, "net.ipv4.tcp_fin_timeout", Wanted::AtMost(30), closing);
        let opening = &demand.opening;
        for (name, most, what) in [("intvl", 15, "seconds between questions"), ("probes", 5, "questions")] {
            let why = format!("{what} to an end that says nothing, until its connection is given up");
            self.wish(opening, &format!("net.ipv4.tcp_keepalive_{name}"), Wanted::AtMost(most), &why);
        }
        let again = "ports of connections to backends are used again before a minute is over";
        self.wish(opening, "net.ipv4.tcp_tw_reuse", Wanted::Exactly("1".to_owned()), again);
        let ports = "ports for connections to backends, above those that servers listen at as a rule";
        self.wish(opening, PORTS, Wanted::Span(CONNECTIONS.0, CONNECTIONS.1), ports);
    }

    /// Keeps connections from ports that somebody here listens at, of those that they would be given: while nobody listens, as in a restart, one of any program could
    /// take such a port, and hold it.
    fn reserve(&mut self, demand: &Demand, host: &Host, machine: &Machine) {
        let (Ok(name), Ok(reserved)) = (PORTS.parse(), RESERVED.parse::<SysctlName>()) else { return };
        if host.settings().any(|(said, _)| said == reserved) {
            return;
        }
        let range = Knob::Sysctl { name };
        let now = machine.read(&range).ok().flatten();
        let wish = self.wishes.iter().find(|wish| wish.knob == range);
        let then = wish.map(|wish| wish.wanted.value(now.as_deref().unwrap_or_default())).or(now).unwrap_or_default();
        let ends: Vec<u16> = then.split_whitespace().filter_map(|end| end.parse().ok()).collect();
        let [first, last] = ends.as_slice() else { return };
        let given = demand.ports.iter().filter(|(port, _)| (first..=last).contains(&port));
        let services: Services = given.clone().map(|(_, service)| *service).collect();
        let (services, ports) = (together(&[&services]), given.map(|(port, _)| *port).collect());
        self.wish(
            &services,
            RESERVED,
            Wanted::Ports(ports),
            "ports that are listened at here: no connection is given one",
        );
    }

    /// Room for what comes and goes.
    fn buffers(&mut self, demand: &Demand) {
        let users = together(&[&demand.accepting, &demand.datagrams]);
        let most = "octets that a socket may ask for";
        for (name, asked) in [("rmem_max", &demand.receive_buffers), ("wmem_max", &demand.send_buffers)] {
            let name = format!("net.core.{name}");
            self.wish(&users, &name, Wanted::AtLeast(vec![BUFFERS]), most);
            let largest = asked.iter().filter(|asked| asked.amount > BUFFERS).max_by_key(|asked| asked.amount);
            let why = largest.map_or_else(
                || most.to_owned(),
                |Asked { setting, amount, .. }| {
                    let size = ByteSize::bytes(amount.saturating_mul(2));
                    format!("{setting} is {size}, of which a socket asks for half, for the kernel gives it twice that")
                },
            );
            self.asked(asked, &name, &why);
        }
        for name in ["rmem_default", "wmem_default"] {
            let why = "octets that a socket has that asks for nothing";
            self.wish(&users, &format!("net.core.{name}"), Wanted::AtLeast(vec![64 << 10]), why);
        }
        let window = |least: [u64; 2], most| Wanted::AtLeast(vec![least[0], least[1], most]);
        let grows = "octets of a connection: at least, at first, and as far as its window grows";
        for (users, most) in [(&demand.accepting, WINDOW), (&demand.opening, PASSED_ON)] {
            self.wish(users, "net.ipv4.tcp_rmem", window([4096, 128 << 10], most), grows);
            self.wish(users, "net.ipv4.tcp_wmem", window([4096, 64 << 10], most), grows);
        }
        for name in ["udp_rmem_min", "udp_wmem_min"] {
            let why = "octets that a socket of UDP keeps when memory is short";
            self.wish(&demand.datagrams, &format!("net.ipv4.{name}"), Wanted::AtLeast(vec![16 << 10]), why);
        }
    }

    /// What comes in faster than it is looked at, and what is remembered of it.
    fn packets(&mut self, demand: &Demand) {
        let users = together(&[&demand.accepting, &demand.datagrams]);
        let waiting = "packets that may wait between interface and kernel, where they are steered or come by veth";
        self.wish(&users, "net.core.netdev_max_backlog", Wanted::AtLeast(vec![30_000]), waiting);
        let turn = "packets, and microseconds, of one turn: a burst is taken in before it is lost";
        self.wish(&demand.datagrams, "net.core.netdev_budget", Wanted::AtLeast(vec![600]), turn);
        self.wish(&demand.datagrams, "net.core.netdev_budget_usecs", Wanted::AtLeast(vec![8000]), turn);
        let tracked = "connections that are tracked; what is beyond is dropped";
        self.wish(&users, "net.netfilter.nf_conntrack_max", Wanted::AtLeast(vec![TRACKED]), tracked);
        self.wish(&users, "net.netfilter.nf_conntrack_buckets", Wanted::AtLeast(vec![TRACKED / 4]), tracked);
        let forgotten = "seconds that a connection is tracked which says nothing";
        self.wish(&users, "net.netfilter.nf_conntrack_tcp_timeout_established", Wanted::AtMost(86_400), forgotten);
        for name in ["icmp_echo_ignore_broadcasts", "icmp_ignore_bogus_error_responses"] {
            let why = "nobody has this machine answer to others, or fill its log";
            self.wish(&users, &format!("net.ipv4.{name}"), Wanted::AtLeast(vec![1]), why);
        }
        if let Some(Asked { amount, setting, service }) = &demand.neighbours {
            let most = (*amount).clamp(NEIGHBOURS, MOST_NEIGHBOURS);
            let why = format!("neighbours: {setting} has {amount} addresses on links of this machine");
            for (level, least) in [(1, most / 4), (2, most), (3, most * 2)] {
                let name = format!("net.ipv4.neigh.default.gc_thresh{level}");
                self.wish(&[service], &name, Wanted::AtLeast(vec![least]), &why);
            }
        }
    }

    /// Memory and disks.
    fn memory(&mut self, demand: &Demand) {
        for (name, most, why) in [
            (
                "dirty_ratio",
                15,
                "percent of memory that others may have written to and not to disk: an answer waits for its own only",
            ),
            ("dirty_background_ratio", 5, "percent of memory from which on what was written goes to disk"),
            ("swappiness", 10, "tables stay in memory"),
        ] {
            self.wish(&demand.disks, &format!("vm.{name}"), Wanted::AtMost(most), why);
        }
        if let Some(Asked { setting, amount, service }) = &demand.pages {
            let wanted = Wanted::AtLeast(vec![*amount]);
            self.wishes.add(Wish {
                knob: Knob::HugePages {},
                wanted: wanted.clone(),
                why: "memory of DPDK".to_owned(),
                services: vec![service],
                needs: vec![Need { setting: setting.clone(), wanted }],
            });
        }
    }

    /// Programs of ours in the kernel, and what it passes on for them.
    fn kernel(&mut self, demand: &Demand) {
        if demand.programs {
            let why = "programs of the kernel run as instructions of the processor";
            self.wish(&["proxy"], "net.core.bpf_jit_enable", Wanted::AtLeast(vec![1]), why);
            let room = "octets of instructions of all programs, those of others among them";
            self.wish(&["proxy"], "net.core.bpf_jit_limit", Wanted::AtLeast(vec![256 << 20]), room);
            self.limits.push(LimitWish {
                limit: Limit::LockedMemory,
                least: None,
                why: "tables of the kernel, and frames of AF_XDP, are memory that stays".to_owned(),
                services: vec!["proxy"],
            });
        }
        for (interface, family) in &demand.forwarding {
            let Some(name) = SysctlName::per_interface(family, interface, "forwarding") else { continue };
            let why = "the kernel says ways for what comes in here";
            let setting = Some("proxy.acceleration.interfaces".to_owned());
            self.ask(&["proxy"], &name.to_string(), Wanted::AtLeast(vec![1]), why, setting);
        }
    }

    /// What tunnels carry to networks behind this machine, and whence it comes.
    fn tunnels(&mut self, demand: &Demand) {
        let Some(tunnels) = &demand.tunnels else { return };
        let services: &[&'static str] = &[tunnels.service];
        for (way, asked) in &tunnels.buffers {
            let name = if *way == Way::In { "net.core.rmem_max" } else { "net.core.wmem_max" };
            let why = format!(
                "{} is {}: more than this only who has CAP_NET_ADMIN is given",
                asked.setting,
                ByteSize::bytes(asked.amount)
            );
            let wanted = Wanted::AtLeast(vec![asked.amount]);
            self.ask(services, name, wanted, &why, Some(asked.setting.clone()));
        }
        if let Some(setting) = &tunnels.served_v6 {
            for interface in &tunnels.interfaces {
                let Some(name) = SysctlName::per_interface("ipv6", interface, "accept_ra") else { continue };
                let why = "who routes does not hear of routers any longer unless it is told to: an uplink would lose its way out";
                self.wish(services, &name.to_string(), Wanted::Instead("1".to_owned(), "2".to_owned()), why);
            }
            let why = "networks of IPv6 behind this machine are reached by tunnels";
            let name = "net.ipv6.conf.all.forwarding";
            self.ask(services, name, Wanted::AtLeast(vec![1]), why, Some(setting.clone()));
        }
        if let Some(setting) = &tunnels.served_v4 {
            let why = "networks of IPv4 behind this machine are reached by tunnels";
            self.ask(services, "net.ipv4.ip_forward", Wanted::AtLeast(vec![1]), why, Some(setting.clone()));
        }
        if let Some(setting) = &tunnels.crossing {
            let each = tunnels.interfaces.iter();
            let each =
                each.filter_map(|one| SysctlName::per_interface("ipv4", one, "rp_filter")).map(|one| one.to_string());
            let mut names: Vec<String> = each.collect();
            if names.is_empty() {
                names.push("net.ipv4.conf.all.rp_filter".to_owned());
            }
            for name in names {
                let why = "datagrams are dropped that come by another uplink than the kernel would answer by: any way back will do";
                let loose = Wanted::Instead("1".to_owned(), "2".to_owned());
                self.ask(services, &name, loose, why, Some(setting.clone()));
            }
        }
    }

    /// Files that may be open.
    fn files(&mut self, demand: &Demand) {
        let users = together(&[&demand.accepting, &demand.datagrams, &demand.disks]);
        self.wish(&users, "fs.file-max", Wanted::AtLeast(vec![FILES]), "files that all processes may have open");
        let one = "files that a process may have open, whatever its own limit says";
        self.wish(&users, "fs.nr_open", Wanted::AtLeast(vec![FILES_OF_A_PROCESS]), one);
        let asked: u64 = demand.descriptors.iter().map(|asked| asked.amount).sum();
        if asked > 0 {
            let named: Vec<_> = demand.descriptors.iter().map(|asked| asked.setting.as_str()).collect();
            let why = format!("connections are files: {asked} by {}", named.join(" and "));
            let services = demand.descriptors.iter().map(|asked| asked.service).collect();
            let least = Some(asked.max(FILES_OF_A_PROCESS));
            self.limits.push(LimitWish { limit: Limit::Files, least, why, services });
        }
    }

    /// What the configuration says itself.
    fn say(&mut self, host: &Host, machine: &Machine) {
        let own = |knob, wanted, why: &str| {
            let (services, needs) = (Vec::new(), Vec::new());
            Wish { knob, wanted, why: why.to_owned(), services, needs }
        };
        if let Some(pages) = host.hugepages {
            self.wishes.replace(own(Knob::HugePages {}, Wanted::AtLeast(vec![pages]), "host.hugepages"));
        }
        for (index, interface) in host.interface.iter().enumerate() {
            for (key, knob, wanted) in of_interface(interface, machine) {
                self.wishes.replace(own(knob, wanted, &format!("host.interface[{index}].{key}")));
            }
        }
        let flows: u64 = host.interface.iter().filter_map(|one| one.flows).map(u64::from).sum();
        if let (1.., Ok(name)) = (flows, "net.core.rps_sock_flow_entries".parse()) {
            let wanted = Wanted::AtLeast(vec![flows]);
            self.wishes.replace(own(Knob::Sysctl { name }, wanted, "host.interface[].flows, of all interfaces"));
        }
        for (name, value) in host.settings() {
            let knob = Knob::Sysctl { name };
            match value {
                SysctlValue::Left => self.wishes.leave(&knob),
                SysctlValue::Set(value) => {
                    self.wishes.replace(own(knob, Wanted::Exactly(value.clone()), "host.sysctl"))
                }
            }
        }
    }
}

fn together(parts: &[&Services]) -> Services {
    let mut all = Services::new();
    for service in parts.iter().copied().flatten() {
        if !all.contains(service) {
            all.push(service);
        }
    }
    all
}

/// What is said of an interface, with the keys. The number of queues comes first: it is theirs that the rest is about.
fn of_interface(said: &Interface, machine: &Machine) -> Vec<(&'static str, Knob, Wanted)> {
    let Interface { rings, coalescing, offloads, .. } = said;
    let interface = || said.name.clone();
    let mut out = Vec::new();
    let number = |value: u32| Wanted::Exactly(value.to_string());
    let switch = |on: bool| Wanted::Exactly(if on { "on" } else { "off" }.to_owned());
    let numbers = [
        ("queues", Feature::Queues, said.queues),
        ("rings.receive", Feature::ReceiveRing, rings.receive),
        ("rings.transmit", Feature::TransmitRing, rings.transmit),
        ("coalescing.receive_microseconds", Feature::ReceiveMicroseconds, coalescing.receive_microseconds),
        ("coalescing.transmit_microseconds", Feature::TransmitMicroseconds, coalescing.transmit_microseconds),
    ];
    let switches = [
        ("coalescing.adaptive_receive", Feature::AdaptiveReceive, coalescing.adaptive_receive),
        ("coalescing.adaptive_transmit", Feature::AdaptiveTransmit, coalescing.adaptive_transmit),
        ("offloads.receive_checksums", Feature::ReceiveChecksums, offloads.receive_checksums),
        ("offloads.transmit_checksums", Feature::TransmitChecksums, offloads.transmit_checksums),
        ("offloads.scatter_gather", Feature::ScatterGather, offloads.scatter_gather),
        ("offloads.tso", Feature::Tso, offloads.tso),
        ("offloads.gso", Feature::Gso, offloads.gso),
        ("offloads.gro", Feature::Gro, offloads.gro),
        ("offloads.lro", Feature::Lro, offloads.lro),
    ];
    let links =
        [("mtu", LinkAttribute::Mtu, said.mtu), ("queue_length", LinkAttribute::QueueLength, said.queue_length)];
    out.extend(numbers.into_iter().filter_map(|(key, feature, value)| {
        Some((key, Knob::Card { interface: interface(), feature }, number(value?)))
    }));
    out.extend(switches.into_iter().filter_map(|(key, feature, value)| {
        Some((key, Knob::Card { interface: interface(), feature }, switch(value?)))
    }));
    out.extend(links.into_iter().filter_map(|(key, attribute, value)| {
        Some((key, Knob::Link { interface: interface(), attribute }, number(value?)))
    }));
    let queues: Vec<u32> = machine
        .names(format!("sys/class/net/{}/queues", said.name))
        .iter()
        .filter_map(|name| name.strip_prefix("rx-")?.parse().ok())
        .collect();
    let each = said.flows.map(|flows| flows.div_ceil(u32::try_from(queues.len()).unwrap_or(1).max(1)));
    for queue in queues {
        let knob = |attribute| Knob::Queue { interface: interface(), number: queue, attribute };
        if let Some(set) = &said.steering {
            out.push(("steering", knob(QueueAttribute::Processors), Wanted::Exactly(set.to_string())));
        }
        if let Some(flows) = each {
            out.push(("flows", knob(QueueAttribute::Flows), number(flows)));
        }
    }
    if let Some(set) = &said.interrupts {
        let numbers = interrupts::of(machine, &said.name);
        let each = numbers.into_iter().zip(set.iter().cycle());
        out.extend(each.map(|(irq, processor)| ("interrupts", Knob::Interrupt { number: irq }, number(processor))));
    }
    out
}
