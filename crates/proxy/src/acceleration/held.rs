//! What is held of a side, and of interfaces.

use outwork_fastpath::{Attached, Fastpath, Mode, Sink, Tier};

use super::ports::Ports;

/// A tier that an interface has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Got {
    Kernel(Tier),
    /// By a program that runs so.
    AfXdp(Mode),
    #[cfg_attr(not(feature = "dpdk"), allow(dead_code))]
    Dpdk,
}

impl Got {
    /// What each can be, as it is shown.
    pub(super) const WORDS: [&str; 7] =
        ["xdp-hw", "xdp-native", "xdp-skb", "tc", "af_xdp-native", "af_xdp-skb", "dpdk"];
}

impl std::fmt::Display for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Got::Kernel(tier) => tier.fmt(f),
            Got::AfXdp(Mode::Skb) => f.write_str("af_xdp-skb"),
            Got::AfXdp(_) => f.write_str("af_xdp-native"),
            Got::Dpdk => f.write_str("dpdk"),
        }
    }
}

/// Queues that frames come by into user space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queues {
    pub(super) numbers: Vec<u32>,
    /// Whether frames are copied, and why where that was not said.
    pub(super) copied: bool,
    pub(super) because: Option<String>,
}

/// How an interface is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) interface: String,
    pub(super) got: Got,
    /// What was tried before, and why it failed.
    pub(super) tried: Vec<(String, String)>,
    pub(super) replaced: bool,
    /// Whether it outlives the process.
    pub(super) stays: bool,
    /// What is in the way of forwarding.
    pub(super) concerns: Vec<String>,
    pub(super) queues: Option<Queues>,
}

impl From<&Attached> for Taken {
    fn from(attached: &Attached) -> Taken {
        Taken {
            interface: attached.interface.clone(),
            got: Got::Kernel(attached.got),
            tried: attached.tried.iter().map(|(tier, why)| (tier.to_string(), why.clone())).collect(),
            replaced: attached.replaced,
            stays: attached.stays,
            concerns: Vec::new(),
            queues: None,
        }
    }
}

/// The side that knows the flows.
pub(super) enum Held {
    Kernel(Box<Fastpath>),
    Ports(Box<Ports>),
}

impl Held {
    /// Where decisions are carried out.
    pub(super) fn sink(&mut self) -> &mut dyn Sink {
        match self {
            Held::Kernel(fastpath) => &mut **fastpath,
            Held::Ports(ports) => ports.sink(),
        }
    }

    /// Interfaces that are held, and how.
    pub(super) fn taken(&self) -> Vec<Taken> {
        match self {
            Held::Kernel(fastpath) => fastpath.attached().map(Taken::from).collect(),
            Held::Ports(ports) => ports.taken().cloned().collect(),
        }
    }
}
