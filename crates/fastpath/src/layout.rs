//! What this process and the programs in the kernel share: bpf/layout.h in Rust. Maps of it outlive processes.
//!
//! Addresses are IPv6, an IPv4 one mapped. Ports are octets in network order; all other numbers are the machine's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Counts every change of what is laid out here: a start takes over only maps of its own layout.
pub const LAYOUT: u32 = 3;

/// An address as it lies in maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C, align(8))]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The address of packets of its kind.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Whether it is IPv4's.
    pub fn is_v4(self) -> bool {
        Ipv6Addr::from(self.0).to_ipv4_mapped().is_some()
    }

    /// Upper and lower half as numbers.
    pub(crate) fn halves(self) -> (u64, u64) {
        let bits = u128::from_be_bytes(self.0);
        ((bits >> 64) as u64, bits as u64)
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Address {
        Address(match ip {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        })
    }
}

/// A protocol that is balanced, by its number in IP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// What a service is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C)]
pub struct Vip {
    address: Address,
    port: [u8; 2],
    protocol: u8,
    zero: [u8; 5],
}

impl Vip {
    /// The service that clients find there.
    pub fn new(at: SocketAddr, protocol: Protocol) -> Vip {
        Vip::of(Address::from(at.ip()), at.port().to_be_bytes(), protocol as u8)
    }

    pub(crate) fn of(address: Address, port: [u8; 2], protocol: u8) -> Vip {
        Vip { address, port, protocol, zero: [0; 5] }
    }

    /// Where clients find it.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address().ip(), u16::from_be_bytes(self.port))
    }

    /// The number of its protocol.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether it is of TCP.
    pub fn is_tcp(&self) -> bool {
        self.protocol == Protocol::Tcp as u8
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    pub(crate) fn port(&self) -> [u8; 2] {
        self.port
    }
}

impl std::fmt::Debug for Vip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Vip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.protocol {
            6 => write!(f, "{} (tcp)", self.socket()),
            17 => write!(f, "{} (udp)", self.socket()),
            other => write!(f, "{} (protocol {other})", self.socket()),
        }
    }
}

/// Of [`Service::flags`]: the hash is of the client's address alone.
pub const BY_SOURCE: u32 = 1;

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Service {
    /// Where its places begin in the upper half, how many there are in the lower.
    pub table: u64,
    /// Nanoseconds that a new TCP connection costs; 0 is no limit.
    pub syn_interval: u64,
    /// Nanoseconds that may be owed for new connections.
    pub syn_tolerance: u64,
    /// Its number.
    pub number: u32,
    /// [`BY_SOURCE`].
    pub flags: u32,
}

/// How packets get to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Way {
    /// Addresses and ports are rewritten; answers come back this way.
    #[default]
    Nat = 0,
    /// Only hardware addresses are rewritten; the backend has the service's address and answers clients itself.
    Direct = 1,
    /// The packet travels as it is inside another one (IPIP, IP6IP6 and what lies between); the backend answers clients itself.
    Tunnel = 2,
}

/// Of [`Backend::flags`]: it takes new flows.
pub const TAKES_NEW: u8 = 1;
/// Of [`Backend::flags`]: it keeps the flows that it has.
pub const KEEPS_KNOWN: u8 = 2;

/// A backend of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Backend {
    /// Where it is.
    pub address: Address,
    /// Its port, where packets are rewritten.
    pub port: [u8; 2],
    /// A [`Way`].
    pub way: u8,
    /// [`TAKES_NEW`], [`KEEPS_KNOWN`].
    pub flags: u8,
    /// What a flow bears that is its; 0 where there is no backend.
    pub epoch: u32,
    /// The number of its service.
    pub service: u32,
    /// Nothing.
    pub zero: u32,
}

/// A flow's key: what its packets say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(C)]
pub struct FlowKey {
    /// Who sends.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// The port of who sends.
    pub source_port: [u8; 2],
    /// The port of to whom.
    pub destination_port: [u8; 2],
    /// The number of the protocol.
    pub protocol: u8,
    /// Nothing.
    pub zero: [u8; 3],
}

/// Where a flow is in its life: an index into [`Control::timeouts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// UDP.
    Datagrams = 0,
    /// TCP: the client has said something.
    Opening = 1,
    /// TCP: and something again after it has heard of the backend; where nobody sees that here, something again.
    Established = 2,
    /// TCP: one side has said its last word.
    Closing = 3,
}

/// Of [`Flow::ended`]: the client has.
pub const SAID_CLIENT: u8 = 1;
/// Of [`Flow::ended`]: the backend has.
pub const SAID_BACKEND: u8 = 2;

/// A flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Flow {
    /// When a packet of it came by, to within a second: nanoseconds of the kernel's monotonic clock.
    pub seen: u64,
    /// The number of its backend.
    pub backend: u32,
    /// The epoch of its backend.
    pub epoch: u32,
    /// A [`State`].
    pub state: u8,
    /// 1 where the key is that of the backend's answers.
    pub reply: u8,
    /// 1 where the backend has answered; of ways whose answers nobody sees here, from the beginning.
    pub answered: u8,
    /// Who has said the last word: [`SAID_CLIENT`], [`SAID_BACKEND`].
    pub ended: u8,
    /// Nothing.
    pub zero: [u8; 4],
}

impl Flow {
    /// Silence after which a flow has ended whose both sides have said their last words: that packets came by is written down once a second.
    const QUIET: u64 = 3_000_000_000;

    /// Whether both sides have said their last words, and nobody anything for some seconds.
    pub(crate) fn is_ending(&self, now: u64) -> bool {
        self.ended == SAID_CLIENT | SAID_BACKEND && now.saturating_sub(self.seen) > Flow::QUIET
    }
}

/// Of [`Control::flags`]: there are IPv4 prefixes that are denied.
pub const DENIES_V4: u32 = 1;
/// Of [`Control::flags`]: there are IPv6 prefixes that are denied.
pub const DENIES_V6: u32 = 2;
/// Of [`Control::flags`]: backends answer through here.
pub const HAS_RETURNS: u32 = 4;
/// Of [`Control::flags`]: there are VLAN interfaces.
pub const HAS_LINKS: u32 = 8;
/// Of [`Control::flags`]: there are interfaces by which frames come whose checksums are the sum of their pseudo header alone.
pub const HAS_CABLES: u32 = 16;

/// Of [`Control::flags`]: it is known by which interfaces answers come to a program.
pub const HAS_OUTLETS: u32 = 32;

/// What holds for every packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Control {
    /// The time, where the kernel is not to look for itself.
    pub clock: u64,
    /// Nanoseconds that a packet of one source costs; 0 is no limit.
    pub source_interval: u64,
    /// Nanoseconds that a source may owe.
    pub source_tolerance: u64,
    /// Nanoseconds of silence after which a flow is over, by [`State`].
    pub timeouts: [u64; 4],
    /// Whose the IPv4 packets are that carry others.
    pub tunnel_v4: Address,
    /// Whose the IPv6 packets are that carry others.
    pub tunnel_v6: Address,
    /// [`DENIES_V4`], [`DENIES_V6`], [`HAS_RETURNS`], [`HAS_LINKS`], [`HAS_CABLES`], [`HAS_OUTLETS`].
    pub flags: u32,
    /// Nothing.
    pub zero: u32,
}

/// A VLAN interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Link {
    /// The interface whose frames it takes and sends.
    pub parent: u32,
    /// The VLAN.
    pub vlan: u16,
    /// Nothing.
    pub zero: u16,
}

/// A next hop whose hardware address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Neighbour {
    address: Address,
    /// The interface that it is behind.
    pub ifindex: u32,
    zero: u32,
}

impl Neighbour {
    /// A next hop.
    pub fn new(address: IpAddr, ifindex: u32) -> Neighbour {
        Neighbour { address: Address::from(address), ifindex, zero: 0 }
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// Packets, and octets of their frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

/// What a backend got and gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BackendTally {
    /// To it.
    pub to: Tally,
    /// Its answers, where they come this way.
    pub from: Tally,
    /// Flows that it was chosen for.
    pub flows: u64,
}

/// What a service got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ServiceTally {
    /// What was sent to it, but for what was left to sockets.
    pub received: Tally,
    /// New flows, but for those that were left to sockets.
    pub flows: u64,
    /// New flows for which there was no backend.
    pub no_backend: u64,
    /// New connections beyond the limit of the service, whatever they begin with.
    pub syn_refused: u64,
    /// Packets beyond the limit of their source.
    pub source_refused: u64,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What became of a packet, and why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Reason] = &[$(Reason::$name,)*];

            /// A short stable word for a metric label.
            pub fn word(self) -> &'static str {
                match self {
                    $(Reason::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// Left to the kernel: not IP, or neither TCP nor UDP.
    PassOther = "other",
    /// Left to the kernel: not what its headers say.
    PassMalformed = "malformed",
    /// Left to the kernel: IPv4 options or IPv6 extension headers, and not TCP for a service.
    PassOptions = "options",
    /// Left to the kernel: a part of a packet, and not the first one of TCP for a service.
    PassFragment = "fragment",
    /// Left to the kernel: of a VLAN that nobody has here.
    PassVlan = "vlan",
    /// Left to the kernel: for no service, and no answer of a backend.
    PassNoService = "no_service",
    /// Left to the kernel: ends a connection that nobody has.
    PassNoFlow = "no_flow",
    /// Left to the kernel: of a connection that a socket has.
    PassSocket = "socket",
    /// Left to the kernel: no backend takes new flows.
    PassNoBackend = "no_backend",
    /// Left to the kernel, which says so to the sender: out of hops.
    PassExpiring = "expiring",
    /// Left to the kernel: ICMP that is not about a flow.
    PassIcmp = "icmp",
    /// Left to the kernel: the interface does not forward.
    PassNoForwarding = "no_forwarding",
    /// Left to the kernel: the way to the backend ends here.
    PassLocal = "local",
    /// Rewritten and left to the kernel, which asks for the hardware address of the next hop.
    PassNeighbour = "neighbour",
    /// Rewritten and left to the kernel: longer than its way allows.
    PassTooLong = "too_long",
    /// Dropped: its source is denied.
    DropDenied = "denied",
    /// Dropped: too many packets of its source.
    DropSourceRate = "source_rate",
    /// Dropped: too many new connections to its service.
    DropSynRate = "syn_rate",
    /// Dropped: it takes up an offer of a connection (SYN with ACK) that nobody here has made.
    DropUnasked = "unasked",
    /// Dropped: of TCP, for a service, and a part of a packet, or with options of IPv4 or an extension header: the kernel would answer it by a reset.
    DropUnusual = "unusual",
    /// Dropped: the routing table says so.
    DropUnroutable = "unroutable",
    /// Dropped: the hardware address of the next hop is not known.
    DropNeighbour = "no_neighbour",
    /// Dropped: longer than its way allows.
    DropTooLong = "dropped_too_long",
    /// Dropped: it could not be rewritten.
    DropFault = "fault",
    /// Sent to a backend.
    SentForward = "forward",
    /// Sent to a client.
    SentReturn = "return",
    /// An ICMP error, sent to the backend or the client whose packet it is about.
    SentIcmp = "icmp_error",
}

impl Reason {
    /// Whether the kernel goes on with the packet.
    pub fn passes(self) -> bool {
        self <= Reason::PassTooLong
    }

    /// Whether sockets take the packet as it came: nobody here has passed anything on.
    pub(crate) fn is_left(self) -> bool {
        self < Reason::PassNeighbour
    }

    /// Whether nobody gets the packet.
    pub fn drops(self) -> bool {
        !self.passes() && self <= Reason::DropFault
    }

    /// Whether the packet is changed.
    pub(crate) fn rewrites(self) -> bool {
        matches!(self, Reason::PassNeighbour | Reason::PassTooLong) || self > Reason::DropFault
    }
}
