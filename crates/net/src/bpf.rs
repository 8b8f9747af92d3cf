//! Classic BPF programs, assembled here: which packets a socket takes, which socket of a group takes a packet, and which packets a filter of
//! shaping takes.

use outwork_wire::ethernet;

/// Where a DHCP message holds `chaddr`, in octets (RFC 2131 section 2).
const CHADDR: i32 = 28;
/// More than any packet has: take the whole of it.
const WHOLE: u32 = 0x0004_0000;

/// A filter of shaping takes the packet, for the class that stands beside its program.
const TAKEN: u32 = u32::MAX;

/// A program, ready to be attached to a socket.
#[derive(Debug, Clone)]
pub struct Program(pub(crate) Vec<libc::sock_filter>);

impl Program {
    /// The program as netlink takes it.
    pub(crate) fn octets(&self) -> Vec<u8> {
        let instruction = |libc::sock_filter { code, jt, jf, k }: &libc::sock_filter| {
            code.to_ne_bytes().into_iter().chain([*jt, *jf]).chain(k.to_ne_bytes())
        };
        self.0.iter().flat_map(instruction).collect()
    }
}

/// A program in the making: a chain of conditions, each of which jumps to the end when it fails.
#[derive(Default)]
struct Chain {
    code: Vec<libc::sock_filter>,
    /// Instructions that leave the chain: `true` when they do so on a match.
    exits: Vec<(usize, bool)>,
}

impl Chain {
    fn push(mut self, code: u32, k: u32) -> Chain {
        self.code.push(libc::sock_filter { code: code as u16, jt: 0, jf: 0, k });
        self
    }

    fn load(self, size: u32, offset: i32) -> Chain {
        self.push(libc::BPF_LD | size | libc::BPF_ABS, offset as u32)
    }

    /// Loads what the kernel knows about the packet beside its bytes.
    fn load_ancillary(self, what: i32) -> Chain {
        self.load(libc::BPF_W, libc::SKF_AD_OFF + what)
    }

    fn exit(mut self, test: u32, k: u32, on_match: bool) -> Chain {
        self.exits.push((self.code.len(), on_match));
        self.push(libc::BPF_JMP | test | libc::BPF_K, k)
    }

    fn require(self, value: u32) -> Chain {
        self.exit(libc::BPF_JEQ, value, false)
    }

    fn refuse(self, value: u32) -> Chain {
        self.exit(libc::BPF_JEQ, value, true)
    }

    fn refuse_bits(self, mask: u32) -> Chain {
        self.exit(libc::BPF_JSET, mask, true)
    }

    /// Ends the program: so many octets of a packet that passed are kept, and so many of one that did not. 0 is none of it, a drop.
    fn finish(self, passed: u32, left: u32) -> Program {
        let exits = self.exits.clone();
        let mut code = self.push(libc::BPF_RET | libc::BPF_K, passed).push(libc::BPF_RET | libc::BPF_K, left).code;
        let end = code.len() - 1;
        for (at, on_match) in exits {
            if let Some(jump) = code.get_mut(at) {
                // A jump counts from the instruction after it. No program here is near the 255 that a jump reaches.
                let distance = (end - at - 1) as u8;
                if on_match { jump.jt = distance } else { jump.jf = distance }
            }
        }
        Program(code)
    }
}

/// What a packet socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    /// UDP to `port` that came as a link-layer broadcast or multicast: what an IP socket behind [`unicasts_only`] leaves.
    Broadcasts {
        /// Destination port.
        port: u16,
    },
    /// UDP to `port`, unicasts to this host included.
    Datagrams {
        /// Destination port.
        port: u16,
    },
    /// ARP requests and replies: any of them may show that an address is in use (RFC 5227 section 2.1.1).
    Arp,
    /// ICMP echo replies.
    EchoReplies,
}

impl Capture {
    pub(crate) fn ethertype(self) -> u16 {
        if self == Capture::Arp { ethernet::ARP } else { ethernet::IPV4 }
    }

    /// The filter for a packet socket on the interface of that index. Fragments are refused.
    pub(crate) fn program(self, interface: u32) -> Program {
        let chain = Chain::default()
            // A frame for a VLAN interface also shows up on the interface below it, but names the upper one.
            .load_ancillary(libc::SKF_AD_IFINDEX)
            .require(interface)
            .load_ancillary(libc::SKF_AD_PKTTYPE)
            .refuse(libc::PACKET_OTHERHOST.into())
            .refuse(libc::PACKET_OUTGOING.into());
        let udp = |chain: Chain, port: u16| {
            ipv4(chain, libc::IPPROTO_UDP).push(libc::BPF_LD | libc::BPF_H | libc::BPF_IND, 16).require(port.into())
        };
        match self {
            Capture::Broadcasts { port } => udp(chain.refuse(libc::PACKET_HOST.into()), port),
            Capture::Datagrams { port } => udp(chain, port),
            Capture::Arp => chain.load(libc::BPF_H, 12).require(ethernet::ARP.into()),
            Capture::EchoReplies => {
                ipv4(chain, libc::IPPROTO_ICMP).push(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 14).require(0)
            }
        }
        .finish(WHOLE, 0)
    }
}

/// Requires an unfragmented IPv4 packet of `protocol` in an Ethernet frame, and leaves the length of its header in X.
fn ipv4(chain: Chain, protocol: i32) -> Chain {
    chain
        .load(libc::BPF_H, 12)
        .require(ethernet::IPV4.into())
        .load(libc::BPF_B, 23)
        .require(protocol as u32)
        .load(libc::BPF_H, 20)
        .refuse_bits(0x3fff)
        .push(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 14)
}

/// Takes nothing.
pub(crate) fn nothing() -> Program {
    Chain::default().push(libc::BPF_RET | libc::BPF_K, 0).finish(0, 0)
}

/// For a UDP socket beside packet sockets: what came as a broadcast or multicast is emptied, since a packet socket has it.
///
/// It is not dropped: the kernel counts what a filter drops together with what an overflowing socket loses, and the loss must stay visible.
/// An emptied datagram costs a slot of a batch; [`udp::Inbox`](crate::udp::Inbox) passes over it.
pub(crate) fn unicasts_only() -> Program {
    Chain::default().load_ancillary(libc::SKF_AD_PKTTYPE).require(libc::PACKET_HOST.into()).finish(WHOLE, 1)
}

/// Which of `sockets` takes a DHCP message: a hash of the client's hardware address, so that a client's messages stay in order.
/// A message too short to have one goes to the first. `origin` is where the message begins, from where the program's loads count.
fn steering(sockets: u32, origin: i32) -> Program {
    Chain::default()
        .load(libc::BPF_H, origin + CHADDR)
        .push(libc::BPF_MISC | libc::BPF_TAX, 0)
        .load(libc::BPF_W, origin + CHADDR + 2)
        .push(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0)
        // Fibonacci hashing: the high bits of the product depend on all bits of the address.
        .push(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, 0x9e37_79b1)
        .push(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16)
        .push(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, sockets.max(1))
        .push(libc::BPF_RET | libc::BPF_A, 0)
        .finish(0, 0)
}

/// Steering among UDP sockets that share a port, where loads count from the UDP payload.
pub(crate) fn udp_steering(sockets: u32) -> Program {
    steering(sockets, 0)
}

/// Takes packets whose mark has this value in the bits of the mask.
pub(crate) fn mark(value: u32, mask: u32) -> Program {
    Chain::default()
        .load_ancillary(libc::SKF_AD_MARK)
        .push(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask)
        .require(value)
        .finish(TAKEN, 0)
}

/// Takes IPv4 and IPv6 packets of this codepoint (RFC 2474 section 3): the high 6 bits of the octet that follows the first one, or its high 4 bits, in IPv6.
pub(crate) fn dscp(codepoint: u8) -> Program {
    let codepoint = u32::from(codepoint);
    let network = |offset: i32| (libc::SKF_NET_OFF + offset) as u32;
    let (load, equal) = (libc::BPF_LD | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let (and, end) = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, libc::BPF_RET | libc::BPF_K);
    // Each with how many instructions are left out when it holds, and when it does not.
    let code = [
        (load | libc::BPF_W, 0, 0, (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL) as u32),
        (equal, 0, 3, ethernet::IPV4.into()),
        (load | libc::BPF_B, 0, 0, network(1)),
        (and, 0, 0, 0xfc),
        (equal, 4, 5, codepoint << 2),
        (equal, 0, 4, libc::ETH_P_IPV6 as u32),
        (load | libc::BPF_H, 0, 0, network(0)),
        (and, 0, 0, 0x0fc0),
        (equal, 0, 1, codepoint << 6),
        (end, 0, 0, TAKEN),
        (end, 0, 0, 0),
    ];
    Program(code.map(|(code, jt, jf, k)| libc::sock_filter { code: code as u16, jt, jf, k }).into())
}

/// Steering among packet sockets of a fanout group, where loads can count from the IPv4 header, taken to be without options.
pub(crate) fn packet_steering(sockets: u32) -> Program {
    steering(sockets, libc::SKF_NET_OFF + 28)
}
