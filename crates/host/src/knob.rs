//! The things of a machine that can be set.

use std::fmt;

use outwork_config::choice;
use outwork_fastpath::machine::card;
use serde::{Deserialize, Serialize};

use crate::name::{InterfaceName, SysctlName};

/// One thing that can be set, and has a value that is written as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Knob {
    /// A setting of the kernel.
    Sysctl {
        /// Its name.
        name: SysctlName,
    },
    /// Pages of 2 MiB that are set aside: how many.
    HugePages {},
    /// An interrupt: the list of processors that may take it.
    Interrupt {
        /// Its number.
        number: u32,
    },
    /// An interface, as far as its files say.
    Link {
        /// Its name.
        interface: InterfaceName,
        /// What of it.
        attribute: LinkAttribute,
    },
    /// A queue by which packets come in by an interface.
    Queue {
        /// The interface.
        interface: InterfaceName,
        /// The number of the queue.
        number: u32,
        /// What of it.
        attribute: QueueAttribute,
    },
    /// An interface, as far as its driver has to be asked.
    Card {
        /// Its name.
        interface: InterfaceName,
        /// What of it: a number, with `on` and `off` for what is one or the other.
        feature: Feature,
    },
}

choice! {
    /// What the files of an interface say.
    pub enum LinkAttribute {
        /// Octets of its longest packet.
        Mtu = "mtu",
        /// Packets that may wait to leave.
        QueueLength = "tx_queue_len",
    }
}

choice! {
    /// What is set of a queue in.
    pub enum QueueAttribute {
        /// Processors that its packets are handed on to: a list; `none` for whoever took the interrupt.
        Processors = "rps_cpus",
        /// Flows that are remembered, so that each goes to the processor of the program that reads it.
        Flows = "rps_flow_cnt",
    }
}

choice! {
    /// What drivers are asked for.
    pub enum Feature {
        /// Frames that a queue in has room for.
        ReceiveRing = "rx-ring",
        /// Frames that a queue out has room for.
        TransmitRing = "tx-ring",
        /// Queues.
        Queues = "queues",
        /// Whether the time that interrupts wait follows the load, on the way in.
        AdaptiveReceive = "adaptive-rx",
        /// The same on the way out.
        AdaptiveTransmit = "adaptive-tx",
        /// Microseconds that an interrupt waits for more frames, on the way in.
        ReceiveMicroseconds = "rx-usecs",
        /// The same on the way out.
        TransmitMicroseconds = "tx-usecs",
        /// Whether the card looks at checksums.
        ReceiveChecksums = "rx-checksums",
        /// Whether the card makes checksums.
        TransmitChecksums = "tx-checksums",
        /// Whether a frame may lie in memory in parts.
        ScatterGather = "sg",
        /// Whether the card cuts runs of TCP into segments.
        Tso = "tso",
        /// Whether the kernel does that, as late as it can.
        Gso = "gso",
        /// Whether the kernel joins segments on the way in.
        Gro = "gro",
        /// Whether the card does.
        Lro = "lro",
    }
}

impl Feature {
    /// What the driver is asked.
    pub(crate) fn question(self) -> card::Feature {
        match self {
            Feature::ReceiveRing => card::Feature::ReceiveRing,
            Feature::TransmitRing => card::Feature::TransmitRing,
            Feature::Queues => card::Feature::Queues,
            Feature::AdaptiveReceive => card::Feature::AdaptiveReceive,
            Feature::AdaptiveTransmit => card::Feature::AdaptiveTransmit,
            Feature::ReceiveMicroseconds => card::Feature::ReceiveMicroseconds,
            Feature::TransmitMicroseconds => card::Feature::TransmitMicroseconds,
            Feature::ReceiveChecksums => card::Feature::ReceiveChecksums,
            Feature::TransmitChecksums => card::Feature::TransmitChecksums,
            Feature::ScatterGather => card::Feature::ScatterGather,
            Feature::Tso => card::Feature::Tso,
            Feature::Gso => card::Feature::Gso,
            Feature::Gro => card::Feature::Gro,
            Feature::Lro => card::Feature::Lro,
        }
    }

    /// Whether it is on or off, and no number.
    pub(crate) fn is_switch(self) -> bool {
        use Feature::{Queues, ReceiveMicroseconds, ReceiveRing, TransmitMicroseconds, TransmitRing};
        !matches!(self, ReceiveRing | TransmitRing | Queues | ReceiveMicroseconds | TransmitMicroseconds)
    }
}

impl fmt::Display for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Knob::Sysctl { name } => name.to_string(),
            Knob::HugePages {} => "huge pages of 2 MiB".to_owned(),
            Knob::Interrupt { number } => format!("interrupt {number}"),
            Knob::Link { interface, attribute } => format!("{interface} {attribute}"),
            Knob::Queue { interface, number, attribute } => format!("{interface} rx-{number} {attribute}"),
            Knob::Card { interface, feature } => format!("{interface} {feature}"),
        };
        f.pad(&text)
    }
}

/// These are written into a file as the words of their choice.
macro_rules! as_word {
    ($ty:ty) => {
        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                word.parse().map_err(|_| serde::de::Error::custom(format!("there is no {word:?}")))
            }
        }
    };
}

as_word!(LinkAttribute);
as_word!(QueueAttribute);
as_word!(Feature);
