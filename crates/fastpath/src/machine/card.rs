//! What a driver lets everybody set of its interface: what `ethtool` shows and changes.

use std::io;
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketType, socket};

use crate::sys::ethtool::{self, Question};

/// One thing that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Frames that a queue in has room for.
    ReceiveRing,
    /// Frames that a queue out has room for.
    TransmitRing,
    /// Queues, each for both ways.
    Queues,
    /// Whether the time that interrupts wait follows the load, on the way in.
    AdaptiveReceive,
    /// The same on the way out.
    AdaptiveTransmit,
    /// Microseconds that an interrupt waits for more frames, on the way in.
    ReceiveMicroseconds,
    /// The same on the way out.
    TransmitMicroseconds,
    /// Whether the card looks at checksums.
    ReceiveChecksums,
    /// Whether the card makes checksums.
    TransmitChecksums,
    /// Whether a frame may lie in memory in parts.
    ScatterGather,
    /// Whether the card cuts runs of TCP into segments.
    Tso,
    /// Whether the kernel does that, as late as it can.
    Gso,
    /// Whether the kernel joins segments on the way in.
    Gro,
    /// Whether the card does.
    Lro,
}

/// Where the value of a feature lies: in which structure, which word of it, and which bits of that.
struct Place {
    get: Question,
    set: Question,
    word: usize,
    bits: u32,
}

/// `ETH_FLAG_LRO`.
const LRO: u32 = 1 << 15;

impl Feature {
    fn place(self) -> Place {
        // Numbers of `ETHTOOL_G...` and `ETHTOOL_S...`, octets of what they stand for, and the word in it.
        let (get, set, octets, word, bits) = match self {
            Feature::ReceiveRing => (0x10, 0x11, 36, 5, u32::MAX),
            Feature::TransmitRing => (0x10, 0x11, 36, 8, u32::MAX),
            Feature::Queues => (0x3c, 0x3d, 36, 8, u32::MAX),
            Feature::AdaptiveReceive => (0x0e, 0x0f, 92, 10, u32::MAX),
            Feature::AdaptiveTransmit => (0x0e, 0x0f, 92, 11, u32::MAX),
            Feature::ReceiveMicroseconds => (0x0e, 0x0f, 92, 1, u32::MAX),
            Feature::TransmitMicroseconds => (0x0e, 0x0f, 92, 5, u32::MAX),
            Feature::ReceiveChecksums => (0x14, 0x15, 8, 1, u32::MAX),
            Feature::TransmitChecksums => (0x16, 0x17, 8, 1, u32::MAX),
            Feature::ScatterGather => (0x18, 0x19, 8, 1, u32::MAX),
            Feature::Tso => (0x1e, 0x1f, 8, 1, u32::MAX),
            Feature::Gso => (0x23, 0x24, 8, 1, u32::MAX),
            Feature::Gro => (0x2b, 0x2c, 8, 1, u32::MAX),
            Feature::Lro => (0x25, 0x26, 8, 1, LRO),
        };
        Place { get: Question { number: get, octets }, set: Question { number: set, octets }, word, bits }
    }

    /// What it is now.
    ///
    /// # Errors
    /// When there is no such interface, or its driver does not answer that.
    pub fn read(self, interface: &str) -> io::Result<u32> {
        let place = self.place();
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let words = ethtool::ask(socket.as_fd(), interface, place.get)?;
        let word = words.get(place.word).copied().unwrap_or_default();
        Ok(if place.bits == u32::MAX { word } else { u32::from(word & place.bits != 0) })
    }

    /// Makes it so. What its structure has beside it stays as it is.
    ///
    /// # Errors
    /// When the driver refuses, this process may not, or there is no such interface.
    pub fn write(self, interface: &str, value: u32) -> io::Result<()> {
        let place = self.place();
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let mut words = ethtool::ask(socket.as_fd(), interface, place.get)?;
        if let Some(word) = words.get_mut(place.word) {
            *word = match (place.bits, value) {
                (u32::MAX, value) => value,
                (bits, 0) => *word & !bits,
                (bits, _) => *word | bits,
            };
        }
        ethtool::tell(socket.as_fd(), interface, place.set, &words)
    }
}
