//! What the configuration says, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, Secret, hours, secs, section, text_setting};
use outwork_front::filter::Network;
use outwork_host::name::InterfaceName;
use outwork_wireguard::keys::KeyError;
use outwork_wireguard::{PresharedKey, PublicKey};

/// Octets that a datagram over IPv6 has more than the packet in it: the headers of IPv6 and UDP, and WireGuard's 32.
pub const OVERHEAD: u16 = 40 + 8 + 32;

section! {
    /// Joins this site to others over every uplink it has, encrypted by WireGuard, and takes in whoever else speaks that. Without an `uplink` it is off.
    pub struct Sdwan {
        /// The interface of this machine by which packets for the others go and theirs come.
        pub tunnel: TunnelSettings,
        /// Ways out of this site.
        pub uplink: Vec<Uplink> [restart],
        /// Who speaks WireGuard and is no site of ours: phones, single machines, gateways of others.
        pub peer: Vec<PeerSettings>,
    }
    check sdwan;
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
        /// Threads that packets are spread over, by flow; 0 means one for each processor, at most 8.
        pub workers: u16 [restart, range 0..=64] = 0,
        /// Whether the kernel is told the ways: to the networks of all peers by this interface. Else somebody else does.
        pub routes: bool = true,
        /// What the kernel keeps of datagrams that have come and were not read yet, of each uplink and thread. More than `net.core.rmem_max` where this process may.
        pub receive_buffer: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(1)] = ByteSize::mib(8),
        /// What it keeps of those that were sent and have not left.
        pub send_buffer: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(1)] = ByteSize::mib(4),
    }
}

section! {
    /// A way out of this site. To others, it is who has its key.
    #[required_keys]
    pub struct Uplink {
        /// What it is called in metrics, in the API and in the log.
        pub name: String,
        /// The interface that datagrams leave by, and come by; unset, the kernel chooses.
        pub interface: Option<InterfaceName>,
        /// The port, and the address where it is to be one. The unspecified address is every one of its family; `[::]:51820` is IPv6 alone.
        pub listen: Vec<SocketAddr> = vec![SocketAddr::from(([0, 0, 0, 0], 51820))],
        /// The private key in base64, as `wg genkey` writes it. Unset, and without `private_key_file`, one is made at the first start and kept in `store.data_dir`.
        pub private_key: Option<Secret>,
        /// A file that has the private key.
        pub private_key_file: Option<PathBuf>,
        /// The mark (`SO_MARK`) of its datagrams, for rules of the kernel's routing.
        pub mark: Option<u32>,
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
        /// Where it is; unset, it has to come to us.
        pub endpoint: Option<SocketAddr>,
        /// The networks behind it: packets for them go to it, and it may send from no others. Of networks within each other the narrowest counts.
        pub allowed_ips: Vec<Network>,
        /// It hears of us at least so often, which keeps the way through a NAT open.
        pub keepalive: Option<Duration> [range secs(1)..=hours(18)],
        /// Our uplink that it is joined to, by its name; unset, the first.
        pub uplink: Option<String>,
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
    if uplink.name.is_empty() {
        at.fault("name", Fault::new("empty").expected("what the uplink is called, such as \"fibre\""));
    }
    if uplink.listen.is_empty() {
        at.fault("listen", Fault::new("empty").expected("a port at least, such as \"0.0.0.0:51820\""));
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

fn sdwan(sdwan: &Sdwan, at: &mut At<'_>) {
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
    peers(sdwan, at);
}

fn peers(sdwan: &Sdwan, at: &mut At<'_>) {
    if sdwan.uplink.is_empty() && !sdwan.peer.is_empty() {
        let fault = Fault::new("there is no uplink that they could come by").expected("a [[sdwan.uplink]] at least");
        at.fault("peer", fault);
    }
    let mut keys = BTreeMap::new();
    let mut networks: BTreeMap<String, usize> = BTreeMap::new();
    for (index, peer) in sdwan.peer.iter().enumerate() {
        let uplink = sdwan.uplink_of(peer);
        if let (Some(name), None) = (&peer.uplink, uplink) {
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
