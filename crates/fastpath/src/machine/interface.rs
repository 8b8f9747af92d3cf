//! An interface, as far as acceleration asks for it.

use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketType, socket};

use super::features::Features;
use super::sriov::Functions;
use super::{Answers, Roots, names, number, target, text};
use crate::kernel::Mode;
use crate::sys::ethtool;

/// `ARPHRD_LOOPBACK`.
const LOOPBACK: u64 = 772;
/// `IFF_UP`.
const UP: u64 = 1;

/// What a driver says. What it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its name.
    pub driver: Option<String>,
    /// Whether runs of segments are joined on the way in.
    pub gro: Option<bool>,
    /// Whether the card joins them.
    pub lro: Option<bool>,
    /// Whether checksums are left to the card on the way out.
    pub tx_checksums: Option<bool>,
}

impl Device {
    /// Asks the driver of an interface of this network namespace.
    pub fn ask(interface: &str) -> Device {
        let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return Device::default() };
        let value = |question| ethtool::ask(socket.as_fd(), interface, question).ok()?.get(1).copied();
        let driver = ethtool::ask(socket.as_fd(), interface, ethtool::DRIVER).ok().and_then(|words| {
            let octets: Vec<u8> = words.iter().skip(1).take(8).flat_map(|word| word.to_ne_bytes()).collect();
            let name = octets.split(|octet| *octet == 0).next()?;
            String::from_utf8(name.to_vec()).ok().filter(|name| !name.is_empty())
        });
        Device {
            driver,
            gro: value(ethtool::GRO).map(|on| on != 0),
            lro: value(ethtool::FLAGS).map(|flags| flags & (1 << 15) != 0),
            tx_checksums: value(ethtool::TX_CHECKSUMS).map(|on| on != 0),
        }
    }
}

/// Whether something works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Works {
    /// It does.
    Yes,
    /// It does not, and why.
    No(String),
    /// Who tries will see, and why nobody knows before.
    Perhaps(String),
}

/// Queues by which frames come in by an interface, by the files of `sysfs`; 0 where there is none.
pub fn receive_queues(interface: &str) -> u32 {
    let directory = Roots::default().sysfs.join("class/net").join(interface).join("queues");
    u32::try_from(names(&directory).iter().filter(|queue| queue.starts_with("rx-")).count()).unwrap_or(u32::MAX)
}

/// An interface.
#[derive(Debug, Clone)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// What its driver says.
    pub device: Device,
    /// The address of its card on the bus, where it has one.
    pub bus: Option<String>,
    /// Octets of the longest packet.
    pub mtu: u32,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether it leads back to this machine.
    pub is_loopback: bool,
    /// Queues in.
    pub receive_queues: usize,
    /// Queues out.
    pub transmit_queues: usize,
    /// What its driver does for XDP; `None` where the kernel does not say.
    pub features: Option<Features>,
    /// Its virtual functions, where its card can have some.
    pub functions: Option<Functions>,
}

impl Interface {
    /// Looks at an interface. `None` where there is none.
    pub(super) fn look(roots: &Roots, answers: &Answers, name: &str) -> Option<Interface> {
        let directory = roots.sysfs.join("class/net").join(name);
        let index = u32::try_from(number(&directory.join("ifindex"))?).ok()?;
        let queues = names(&directory.join("queues"));
        let count = |prefix: &str| queues.iter().filter(|queue| queue.starts_with(prefix)).count();
        let mut device = (answers.device)(name);
        if device.driver.is_none() {
            device.driver = target(&directory.join("device/driver"));
        }
        let flags =
            text(&directory.join("flags")).and_then(|flags| u64::from_str_radix(flags.strip_prefix("0x")?, 16).ok());
        Some(Interface {
            name: name.to_owned(),
            index,
            device,
            bus: target(&directory.join("device")),
            mtu: number(&directory.join("mtu")).and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or_default(),
            is_up: flags.is_some_and(|flags| flags & UP != 0),
            is_loopback: number(&directory.join("type")) == Some(LOOPBACK),
            receive_queues: count("rx-"),
            transmit_queues: count("tx-"),
            features: answers.features.as_ref().and_then(|features| features.get(&index).copied()),
            functions: Functions::look(&roots.sysfs, name),
        })
    }

    fn driver(&self) -> &str {
        self.device.driver.as_deref().unwrap_or("of unknown name")
    }

    /// Which modes of XDP work here, as far as that can be known before it is tried.
    pub fn modes(&self) -> [(Mode, Works); 3] {
        let unsaid = || Works::Perhaps("this kernel does not say what drivers do (6.3 and later say it)".to_owned());
        let (hardware, native) = match self.features {
            None => (unsaid(), unsaid()),
            Some(features) => {
                let no = |what: &str| Works::No(format!("its driver ({}) {what}", self.driver()));
                let hardware = if features.runs_on_card() { Works::Yes } else { no("runs no programs on the card") };
                let native = if features.runs_programs() { Works::Yes } else { no("runs no programs itself") };
                (hardware, native)
            }
        };
        [(Mode::Hardware, hardware), (Mode::Native, native), (Mode::Skb, Works::Yes)]
    }

    /// What its driver does that stands in the way of forwarding in the kernel, and what to do about it.
    pub fn concerns(&self) -> Vec<String> {
        let mut concerns = Vec::new();
        let name = &self.name;
        if self.device.lro == Some(true) {
            concerns.push(format!(
                "the card joins segments (LRO), which are not what was sent any more: `ethtool -K {name} lro off`"
            ));
        }
        concerns
    }

    /// What would be in the way of XDP in its driver, if an interface were to be held so. How one is held says itself what was in the way.
    pub fn loses_frames(&self) -> Option<String> {
        let is_veth = self.device.driver.as_deref() == Some("veth");
        let is_deaf = is_veth && self.features.is_some_and(|features| !features.takes_frames());
        is_deaf.then(|| {
            "XDP in the driver is not used here, for what it sends out is lost: the other end of this veth does not receive by NAPI (`ethtool -K INTERFACE gro on` there); tc and AF_XDP need no such thing"
                .to_owned()
        })
    }
}
