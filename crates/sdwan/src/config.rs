//! What the configuration says, and what is wrong with it.
//!
//! - [`health`]: how paths are watched, and when traffic leaves one.
//! - [`families`]: uplinks that no path can be made of; [`answers`], what may go another way than it came.
//! - [`policy`]: classes, applications and policies; [`matching`], what they tell flows by.
//! - [`qos`]: how uplinks are shaped.
//! - [`network`]: the same as a controller says it of all sites; [`partial`], settings of which it says a part.

pub mod answers;
pub mod families;
pub mod health;
pub mod matching;
pub mod network;
pub mod partial;
pub mod policy;
pub mod qos;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outwork_config::{
    Affinity, At, ByteSize, Fault, HostPort, Secret, choice, hours, mins, secs, section, text_setting,
};
use outwork_front::filter::Network;
use outwork_host::name::InterfaceName;
use outwork_net::netlink::Prefix;
use outwork_wireguard::keys::KeyError;
use outwork_wireguard::{PresharedKey, PublicKey};

use crate::plane::worker::SOCKETS;
use crate::routing::masked;
pub use health::HealthSettings;
use policy::{ApplicationSettings, ClassSettings, PolicySettings};
use qos::QosSettings;

/// Octets that a datagram over IPv6 has more than the packet in it: the headers of IPv6 and UDP, and WireGuard's 32.
pub const OVERHEAD: u16 = 40 + 8 + 32;

section! {
    /// Joins this site to others over every uplink it has, encrypted by WireGuard, and takes in whoever else speaks that. Without an `uplink` it is off.
    pub struct Sdwan {
        /// The interface of this machine by which packets for the others go and theirs come.
        pub tunnel: TunnelSettings,
        /// Ways out of this site.
        pub uplink: Vec<Uplink>,
        /// Who speaks WireGuard and is no site of ours: phones, single machines, gateways of others.
        pub peer: Vec<PeerSettings>,
        /// The networks behind this site, that other sites may send to and hear from.
        pub subnets: Vec<Network>,
        /// Whether this site passes on what other sites cannot send each other. It cannot read that: those two have keys of their own.
        pub hub: bool = false,
        /// Other sites, each joined to this one by every pair of uplinks that can reach each other.
        pub site: Vec<SiteSettings>,
        /// Between two look-ups of the name of an endpoint by which somebody is reached. One by which nobody is, is looked up sooner, every ten seconds at most.
        pub resolve: Duration [range secs(10)..=hours(24)] = mins(5),
        /// How paths to other sites are watched, and when traffic leaves one.
        pub health: HealthSettings,
        /// What classes of traffic need of their paths, by name.
        pub class: BTreeMap<String, ClassSettings>,
        /// The class of flows to other sites that no policy says anything of.
        pub default_class: String = "bulk",
        /// Applications that policies speak of, by name.
        pub application: BTreeMap<String, ApplicationSettings>,
        /// What becomes of which flows to other sites. At most 256.
        pub policy: Vec<PolicySettings>,
        /// Shapes what leaves by uplinks.
        pub qos: QosSettings,
        /// When uplinks get other keys, and how long the ones before are good beside them.
        pub keys: KeySettings,
        /// The controller that says what other sites, classes, applications and policies there are, and what uplinks are worth. What the file says of them counts until it has said
        /// something. What it says for all sites of `health`, `default_class` and `qos.class` counts where this file does not say it.
        pub controller: Option<FollowSettings>,
    }
    check sdwan;
}

section! {
    /// The controller that this site follows, once `outwork sdwan enrol` has made it known there.
    #[required_keys]
    pub struct FollowSettings {
        /// Where it listens: addresses or names with ports, the first that answers counts. A name is looked up each time that the controller is dialled.
        pub address: Vec<HostPort> [restart],
        /// Between reports of how paths are, and of what has gone by them.
        pub report: Duration [restart, range secs(1)..=hours(1)] = secs(10),
        /// Reports that are kept while the controller is not to be reached; beyond it, the oldest go.
        pub backlog: u32 [restart, range 1..=100_000] = 360,
        /// Memory that these may take; beyond it, the oldest go as well, but for the last one.
        pub backlog_size: ByteSize [restart, range ByteSize::mib(1)..=ByteSize::gib(16)] = ByteSize::mib(256),
    }
    check follow;
}

fn follow(follow: &FollowSettings, at: &mut At<'_>) {
    if follow.address.is_empty() {
        at.fault("address", Fault::new("empty").expected("an address and port, such as [\"192.0.2.9:8068\"]"));
    }
}

section! {
    /// Another site.
    #[required_keys]
    pub struct SiteSettings {
        /// What it is called.
        pub name: String,
        /// The networks behind it.
        pub subnets: Vec<Network>,
        /// Whether it passes on what goes between us and sites to which no path of ours works; it has to say `hub` of itself as well.
        pub hub: bool = false,
        /// Its uplinks.
        pub uplink: Vec<FarUplink>,
    }
}

section! {
    /// An uplink of another site.
    #[required_keys]
    pub struct FarUplink {
        /// What it is called there.
        pub name: String,
        /// Its public key in base64: `outwork tunnels` says it there.
        pub public_key: KeyText,
        /// The key that takes over from that, once `outwork sdwan rotate-key` has made one there. Handshakes by either are answered, and the newer one is used as soon as it works.
        pub next_public_key: Option<KeyText>,
        /// The first public key that it ever had, where that is another: hubs know it by that. Of use where paths go by hubs.
        pub first_public_key: Option<KeyText>,
        /// Where it can be dialled: an address or a name, and a port; unset, it dials.
        pub endpoint: Option<HostPort>,
        /// What it is worth to avoid it, in milliseconds of delay.
        pub cost: u16 = 0,
        /// Bits a second; 0 where nobody has said.
        pub bandwidth: u64 = 0,
        /// Whether each byte is paid for: others come first.
        pub metered: bool = false,
        /// Whether it is taken only when no other will do.
        pub backup: bool = false,
    }
}

section! {
    /// When uplinks get other keys, and how long the ones before are good beside them. `outwork sdwan rotate-key` begins it at any time. Keys that are written down in the
    /// configuration, and those of uplinks that may be the kernel's, are left alone.
    pub struct KeySettings {
        /// How long a key is good beside the one that takes over from it, unless everybody knows that one sooner. Who does not know it then is cut off, and named before.
        pub overlap: Duration [range secs(60)..=hours(24 * 90)] = hours(24),
        /// How old a key gets before another takes over, a tenth sooner at most: not all at once. Unset, that is for people to begin.
        pub rotate_every: Option<Duration> [range hours(24)..=hours(24 * 3650)],
    }
    check keys;
}

fn keys(keys: &KeySettings, at: &mut At<'_>) {
    if keys.rotate_every.is_some_and(|every| every < keys.overlap * 2) {
        let fault = Fault::new("another key would take over while the one before it still does");
        at.fault("rotate_every", fault.expected("twice sdwan.keys.overlap at least"));
    }
}

section! {
    /// The interface of this machine by which packets for the others go and theirs come.
    pub struct TunnelSettings {
        /// What it is called.
        pub name: InterfaceName [restart] = "outwork0",
        /// Its addresses, with the length of the network that they are in.
        pub addresses: Vec<DeviceAddress>,
        /// Octets of the longest packet. WireGuard, UDP and IPv6 take 80 more: 1420 fits ways of 1500.
        pub mtu: u16 [restart, range 1280..=65_000] = 1420,
        /// Threads that packets are spread over, by flow; 0 means one for each processor, at most 8. What comes by one path, from one address and port to one of ours, comes to one
        /// of them: more threads send more by a path, and receive more by several paths or from several sites, but not by one.
        pub workers: u16 [restart, range 0..=64] = 0,
        /// Processors that these threads stay on, such as "4-7"; `true`: each on one of its own.
        pub affinity: Affinity [restart] = Affinity::Anywhere,
        /// Who runs first where the processors are busy.
        pub priority: PriorityKind [restart] = PriorityKind::Auto,
        /// Whether the kernel is told the ways to the networks of all peers and sites, in a table of their own. Routes of this machine's own come first, but for its default route. Without it somebody else does that.
        pub routes: bool = true,
        /// The number of that table. Nobody else may use it.
        pub table: u32 [range 1..=u32::MAX - 1] = 51857,
        /// The first of five places among the rules (`ip rule`) by which it is asked. That of the main table is 32766; who has rules that are to come first has them at lesser numbers.
        pub rule_priority: u32 [range 1..=32_760] = 30_000,
        /// What the kernel keeps of datagrams that have come and were not read yet, of each uplink and thread. More than `net.core.rmem_max` where this process may.
        pub receive_buffer: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(1)] = ByteSize::mib(8),
        /// What it keeps of those that were sent and have not left.
        pub send_buffer: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(1)] = ByteSize::mib(4),
    }
    check tunnel;
}

/// Tables of the kernel's own: `default`, `main` and `local`.
const KERNELS: std::ops::RangeInclusive<u32> = 253..=255;

fn tunnel(tunnel: &TunnelSettings, at: &mut At<'_>) {
    if KERNELS.contains(&tunnel.table) {
        let fault = Fault::new(format!("{} is a table of the kernel's own", tunnel.table));
        at.fault("table", fault.expected("the number of a table that nobody else uses").help("leave it out: 51857"));
    }
}

section! {
    /// A way out of this site. To others, it is who has its key.
    #[required_keys]
    pub struct Uplink {
        /// What it is called in metrics, in the API and in the log.
        pub name: String [restart],
        /// The interface that datagrams leave by, and come by; unset, the kernel chooses by its routes, whatever the address: of two uplinks without one, both leave by the best default route,
        /// unless rules by source address lead elsewhere. One that is not there is waited for.
        pub interface: Option<InterfaceName> [restart],
        /// The port, and the address where it is to be one. The unspecified address is every one of its family; `[::]:51820` is IPv6 alone. An address says what datagrams come from, and not
        /// which way they go: that says `interface`.
        pub listen: Vec<SocketAddr> [restart] = vec![SocketAddr::from(([0, 0, 0, 0], 51820))],
        /// The private key in base64, as `wg genkey` writes it. Unset, and without `private_key_file`, one is made at the first start and kept in `store.data_dir`.
        pub private_key: Option<Secret> [restart],
        /// A file that has the private key.
        pub private_key_file: Option<PathBuf> [restart],
        /// Where other sites can dial it: an address or a name, and a port, that lead to it from outside. Unset, it dials.
        pub endpoint: Option<HostPort> [restart],
        /// Who carries the tunnels of peers that are joined to it. By one that may be the kernel's no site is joined: the kernel knows no paths and policies.
        pub carrier: CarrierKind [restart] = CarrierKind::Process,
        /// What it is worth to avoid it, in milliseconds of delay. Of a site that follows a controller, what that says counts, for this and all that follows.
        pub cost: u16 = 0,
        /// Bits a second; 0 where nobody has said.
        pub bandwidth: u64 = 0,
        /// Whether each byte is paid for: others come first.
        pub metered: bool = false,
        /// Whether it is taken only when no other will do.
        pub backup: bool = false,
    }
    check uplink;
}

section! {
    /// Who speaks WireGuard and is no site of ours.
    #[required_keys]
    pub struct PeerSettings {
        /// What it is called in metrics, in the API and in the log; unset, the beginning of its key.
        pub name: Option<String>,
        /// Its public key in base64.
        pub public_key: KeyText,
        /// A key that both were given beforehand, in base64, as `wg genpsk` writes it.
        pub preshared_key: Option<Secret>,
        /// Where it is: an address or a name, and a port; unset, it has to come to us.
        pub endpoint: Option<HostPort>,
        /// The networks behind it: packets for them go to it, and it may send from no others. Of networks within each other the narrowest counts.
        pub allowed_ips: Vec<Network>,
        /// It hears of us at least so often, which keeps the way through a NAT open.
        pub keepalive: Option<Duration> [range secs(1)..=hours(18)],
        /// Our uplink that it is joined to, by its name; unset, the first.
        pub uplink: Option<String>,
    }
}

choice! {
    /// How threads of tunnels are scheduled.
    pub enum PriorityKind {
        /// The one that says hello to other sites, which works for moments and must not be late, before all usual ones (SCHED_FIFO) where this process may, and else as one
        /// that counts for more; those that carry packets in short turns.
        Auto = "auto",
        /// All of them as any other.
        Usual = "usual",
    }
}

choice! {
    /// Who carries tunnels.
    pub enum CarrierKind {
        /// This process.
        Process = "process",
        /// The kernel where it has WireGuard, which takes less of the processor, and else this process.
        Auto = "auto",
        /// The kernel; where it has no WireGuard, the start is refused.
        Kernel = "kernel",
    }
}

/// An address, and how many of its bits are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network.
    pub length: u8,
}

/// A text is no address with the length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it takes an address, a slash, and how many of its bits are the network's")]
pub struct DeviceAddressError;

impl FromStr for DeviceAddress {
    type Err = DeviceAddressError;

    fn from_str(text: &str) -> Result<Self, DeviceAddressError> {
        let (address, length) = text.split_once('/').ok_or(DeviceAddressError)?;
        let address: IpAddr = address.parse().map_err(|_| DeviceAddressError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse().ok().filter(|length| *length <= most).ok_or(DeviceAddressError)?;
        Ok(Self { address, length })
    }
}

impl fmt::Display for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

text_setting!(DeviceAddress, "an address and the length of its network such as", "10.99.0.1/24");

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyText(pub PublicKey);

impl FromStr for KeyText {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        PublicKey::parse(text).map(Self)
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_setting!(KeyText, "a public key in base64 such as", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=");

impl Sdwan {
    /// Whether there is anything to do.
    pub fn is_on(&self) -> bool {
        !self.uplink.is_empty()
    }

    /// The place of the uplink that a peer is joined to.
    pub fn uplink_of(&self, peer: &PeerSettings) -> Option<usize> {
        match &peer.uplink {
            None => (!self.uplink.is_empty()).then_some(0),
            Some(name) => self.uplink.iter().position(|uplink| uplink.name == *name),
        }
    }
}

impl PeerSettings {
    /// What it is called.
    pub fn called(&self) -> String {
        let key = || self.public_key.to_string().chars().take(8).collect();
        self.name.clone().unwrap_or_else(key)
    }

    /// What both were given beforehand.
    pub fn preshared(&self) -> PresharedKey {
        let given = self.preshared_key.as_ref().and_then(|key| PresharedKey::parse(key.expose()).ok());
        given.unwrap_or_default()
    }
}

fn uplink(uplink: &Uplink, at: &mut At<'_>) {
    // Its key is kept in a file of that name.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if uplink.name.is_empty() || uplink.name.len() > 64 || !uplink.name.chars().all(fits) {
        let fault = Fault::new(format!("{:?} is no name for an uplink", uplink.name));
        at.fault("name", fault.expected("1 to 64 letters, digits, `-` and `_`, such as \"fibre\""));
    }
    if uplink.listen.is_empty() {
        at.fault("listen", Fault::new("empty").expected("a port at least, such as \"0.0.0.0:51820\""));
    }
    if uplink.carrier != CarrierKind::Process {
        left_to_kernel(uplink, at);
    }
    if let Some(key) = &uplink.private_key {
        if let Err(error) = outwork_wireguard::PrivateKey::parse(key.expose()) {
            at.fault("private_key", Fault::new(error.to_string()).secret());
        }
        if uplink.private_key_file.is_some() {
            let fault = Fault::new("given besides private_key").expected("one of the two");
            at.fault("private_key_file", fault.help("take one of them out"));
        }
    }
}

/// The kernel's WireGuard listens at one port of every address, and is joined to peers alone.
fn left_to_kernel(uplink: &Uplink, at: &mut At<'_>) {
    let cannot = |why: &str| Fault::new(format!("carrier = \"{}\": {why}", uplink.carrier));
    let help = "take it out, or say carrier = \"process\"";
    if uplink.interface.is_some() {
        let fault = cannot("the kernel's WireGuard is at every interface").expected("no interface");
        at.fault("interface", fault.help(help));
    }
    if uplink.endpoint.is_some() {
        at.fault("endpoint", cannot("no site is joined by it").expected("no endpoint").help(help));
    }
    if uplink.listen.len() != 1 || !uplink.listen.iter().all(|address| address.ip().is_unspecified()) {
        let fault = cannot("the kernel's WireGuard listens at one port of every address");
        at.fault("listen", fault.expected("one port, such as \"0.0.0.0:51820\"").help("give it a port of its own"));
    }
}

/// Whether there is no uplink: not one, that is, that could not be read.
fn has_no_uplink(sdwan: &Sdwan, at: &At<'_>) -> bool {
    sdwan.uplink.is_empty() && !at.left_out().any(|key| key.starts_with("uplink"))
}

fn sdwan(sdwan: &Sdwan, at: &mut At<'_>) {
    if has_no_uplink(sdwan, at) && sdwan.controller.is_some() {
        let fault = Fault::new("there is no uplink that the controller could say anything of");
        at.fault("controller", fault.expected("a [[sdwan.uplink]] at least"));
    }
    let mut names = BTreeMap::new();
    let mut ports: BTreeMap<SocketAddr, (usize, &Option<InterfaceName>)> = BTreeMap::new();
    for (index, uplink) in sdwan.uplink.iter().enumerate() {
        if let Some(other) = names.insert(&uplink.name, index) {
            let fault = Fault::new(format!("{:?} is what uplink[{other}] is called", uplink.name));
            at.fault(&format!("uplink[{index}].name"), fault.expected("a name for each"));
        }
        for (place, address) in uplink.listen.iter().enumerate() {
            // The same port at different interfaces is told apart by the kernel.
            if let Some((other, _)) = ports.get(address).filter(|(_, interface)| **interface == uplink.interface) {
                let fault = Fault::new(format!("{address} is where uplink[{other}] listens"))
                    .expected("a port of its own for each uplink");
                at.fault(&format!("uplink[{index}].listen[{place}]"), fault.help("take another port"));
            }
            ports.insert(*address, (index, &uplink.interface));
        }
    }
    let listens: usize = sdwan.uplink.iter().map(|uplink| uplink.listen.len()).sum();
    if listens > SOCKETS {
        let fault = Fault::new(format!("uplinks listen at {listens} addresses"));
        let fault = fault.expected(format!("{SOCKETS} of all uplinks at most: each thread waits at all of them"));
        at.fault("uplink", fault.help("have uplinks listen at the unspecified address in place of several"));
    }
    peers(sdwan, at);
    sites(sdwan, at);
    policy::check(sdwan, at);
    qos::check(sdwan, at);
}

fn sites(sdwan: &Sdwan, at: &mut At<'_>) {
    if has_no_uplink(sdwan, at) && !sdwan.site.is_empty() {
        let fault =
            Fault::new("there is no uplink that they could be reached by").expected("a [[sdwan.uplink]] at least");
        at.fault("site", fault);
    }
    let can_join = |uplink: &Uplink| uplink.carrier == CarrierKind::Process;
    let knows_all = !at.left_out().any(|key| key.starts_with("uplink"));
    if knows_all && !sdwan.uplink.is_empty() && !sdwan.site.is_empty() && !sdwan.uplink.iter().any(can_join) {
        let fault = Fault::new("all uplinks may be the kernel's, and no site is joined by those");
        at.fault("site", fault.expected("an uplink with carrier = \"process\" at least"));
    }
    for (index, _) in sdwan.site.iter().enumerate().filter(|(_, site)| site.uplink.is_empty()) {
        let fault = Fault::new("it has none").expected("a [[sdwan.site.uplink]] at least");
        at.fault(&format!("site[{index}].uplink"), fault);
    }
    together(sdwan, at);
}

/// What sites have that others must not have.
fn together(sdwan: &Sdwan, at: &mut At<'_>) {
    let (mut names, mut keys) = (BTreeMap::new(), BTreeMap::new());
    let of_peers =
        sdwan.peer.iter().flat_map(|peer| &peer.allowed_ips).map(|net| (net.to_string(), "a peer".to_owned()));
    let mut networks: BTreeMap<String, String> = of_peers.collect();
    for (index, site) in sdwan.site.iter().enumerate() {
        if let Some(other) = names.insert(&site.name, index) {
            let fault = Fault::new(format!("{:?} is what site[{other}] is called", site.name));
            at.fault(&format!("site[{index}].name"), fault.expected("a name for each"));
        }
        for (place, uplink) in site.uplink.iter().enumerate() {
            for (field, key) in [
                ("public_key", Some(uplink.public_key)),
                ("next_public_key", uplink.next_public_key),
                ("first_public_key", uplink.first_public_key),
            ] {
                let taken = key.and_then(|key| keys.insert(key.0, (index, place)));
                // One that is both the next and, by now, the only one is written down twice for a while.
                let Some((other, there)) = taken.filter(|at| *at != (index, place)) else { continue };
                let fault = Fault::new(format!("site[{other}].uplink[{there}] has this key"));
                let fault = fault.expected("a key of its own for each uplink");
                at.fault(&format!("site[{index}].uplink[{place}].{field}"), fault);
            }
        }
        for (place, network) in site.subnets.iter().enumerate() {
            // Around what is ours there may be more, up to the Internet: the narrowest counts.
            if let Some(own) = sdwan.subnets.iter().find(|own| is_within(network, own)) {
                let found = match network == own {
                    true => format!("{network} is one of the subnets of this site"),
                    false => format!("{network} is within {own}, which is behind this site"),
                };
                let fault = Fault::new(found).expected("networks that are not behind this site");
                at.fault(
                    &format!("site[{index}].subnets[{place}]"),
                    fault.help("take it out here, or out of `subnets`"),
                );
            }
            if let Some(other) = networks.insert(network.to_string(), format!("site[{index}]")) {
                let fault =
                    Fault::new(format!("{network} is behind {other}")).expected("networks that are behind one site");
                at.fault(&format!("site[{index}].subnets[{place}]"), fault);
            }
        }
    }
}

/// Whether a network is another one, or a part of it.
pub(crate) fn is_within(network: &Network, other: &Network) -> bool {
    let start = masked(Prefix { address: network.address(), length: other.length() });
    network.length() >= other.length() && start.address == other.address()
}

fn peers(sdwan: &Sdwan, at: &mut At<'_>) {
    if has_no_uplink(sdwan, at) && !sdwan.peer.is_empty() {
        let fault = Fault::new("there is no uplink that they could come by").expected("a [[sdwan.uplink]] at least");
        at.fault("peer", fault);
    }
    let mut keys = BTreeMap::new();
    let mut networks: BTreeMap<String, usize> = BTreeMap::new();
    let knows_all = !at.left_out().any(|key| key.starts_with("uplink"));
    for (index, peer) in sdwan.peer.iter().enumerate() {
        let uplink = sdwan.uplink_of(peer);
        if let (Some(name), None, true) = (&peer.uplink, uplink, knows_all) {
            let known: Vec<_> = sdwan.uplink.iter().map(|uplink| uplink.name.as_str()).collect();
            let fault = Fault::new(format!("no uplink is called {name:?}")).expected(match known.is_empty() {
                true => "the name of an uplink".to_owned(),
                false => format!("one of {}", known.join(", ")),
            });
            at.fault(&format!("peer[{index}].uplink"), fault);
        }
        if let Some(other) = keys.insert((uplink, peer.public_key.0), index) {
            let fault = Fault::new(format!("peer[{other}] has this key")).expected("a key of its own for each");
            at.fault(&format!("peer[{index}].public_key"), fault);
        }
        if let Some(key) = &peer.preshared_key
            && let Err(error) = PresharedKey::parse(key.expose())
        {
            at.fault(&format!("peer[{index}].preshared_key"), Fault::new(error.to_string()).secret());
        }
        for (place, network) in peer.allowed_ips.iter().enumerate() {
            if let Some(other) = networks.insert(network.to_string(), index) {
                let fault = Fault::new(format!("{network} is behind peer[{other}]"))
                    .expected("networks that are behind one peer");
                at.fault(&format!("peer[{index}].allowed_ips[{place}]"), fault);
            }
        }
    }
}

#[cfg(test)]
mod tests;
