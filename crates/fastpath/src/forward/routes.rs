//! What is the kernel's to know: where a packet goes next, as its routing and neighbour tables say (`bpf_fib_lookup`), and which connections its sockets have
//! (`bpf_skc_lookup_tcp`).

use std::net::IpAddr;

use outwork_wire::MacAddr;

use crate::layout::FlowKey;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The interface that the packet came in by.
    pub ingress: u32,
    /// Whose it will be.
    pub source: IpAddr,
    /// For whom it will be.
    pub destination: IpAddr,
    /// Its length as an IP packet.
    pub length: u32,
}

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// The next hop.
    To {
        /// The interface that leads there.
        ifindex: u32,
        /// Whose hardware address is wanted on the other end.
        destination: MacAddr,
        /// The hardware address of the interface.
        source: MacAddr,
    },
    /// A next hop whose hardware address is not known.
    Unresolved {
        /// Its address.
        address: IpAddr,
        /// The interface that leads there.
        ifindex: u32,
    },
    /// The packet is longer than the way allows.
    TooLong,
    /// The routing table refuses.
    Unroutable,
    /// The interface that it came in by does not forward.
    NoForwarding,
    /// Here, or a way that cannot be taken without the kernel.
    Local,
}

/// Who knows.
pub trait Routes {
    /// The next hop.
    fn hop(&self, query: &Query) -> Hop;

    /// Whether frames can leave by an interface. What cannot is left to the kernel before anything of it is changed.
    fn leaves_by(&self, _ifindex: u32) -> bool {
        true
    }

    /// Whether a socket of this machine has the connection of TCP that a client's packet is of. One that only listens has none.
    fn has_socket(&self, _key: &FlowKey) -> bool {
        false
    }
}

impl<F: Fn(&Query) -> Hop> Routes for F {
    fn hop(&self, query: &Query) -> Hop {
        self(query)
    }
}
