//! What the configuration says of shaping uplinks, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault, choice, millis, secs, section, text_setting};
use outwork_host::name::InterfaceName;

use super::matching::Dscp;
use super::policy::{left_out, unknown, unless_followed};
use super::{Sdwan, Uplink};

/// The class of hellos and handshakes.
pub const CONTROL: &str = "control";

section! {
    /// Shapes what leaves by uplinks, so that packets wait here, each class in its own queue, and not at the provider, all in one. It changes interfaces of this machine and is
    /// off unless asked for: a tree of classes (HTB) is put at the root of the interface of each uplink, and taken away at the end. Where it was left by a crash, the next start
    /// takes it up. `outwork qos` shows it.
    pub struct QosSettings {
        /// Whether uplinks are shaped: those that have an `interface`, and a `bandwidth` or a rate in `qos.uplink`.
        pub enabled: bool = false,
        /// The part of an uplink's `bandwidth` that it is held to. A little less than all of it keeps the queue here.
        pub bandwidth_share: f64 [range 0.1..=1.0] = 0.95,
        /// What becomes of a queueing discipline that somebody else has put at the root of an uplink's interface.
        pub foreign: Foreign = Foreign::Refuse,
        /// The queue of each class.
        pub queue: QueueKind = QueueKind::Auto,
        /// What waits at most in a queue that is first in, first out: as much as leaves in such a time at the ceiling of its class.
        pub queue_time: Duration [range millis(1)..=secs(10)] = millis(50),
        /// The class of packets that nothing says another of.
        pub default_class: String = "bulk",
        /// Datagrams of tunnels bear marks (fwmark) on this machine from this one on, by which the kernel knows their class. To be changed where rules of this machine mean
        /// something by them.
        pub first_mark: PacketMark = PacketMark::of(0x6f57_0000),
        /// Uplinks, by their names.
        pub uplink: BTreeMap<String, QosUplink>,
        /// Classes, by their names: `control` for hellos and handshakes, and those of `sdwan.class`. Those and the four that are always there have sections by default, of which what
        /// is not said stays; other classes of traffic are in `default_class` unless they have one.
        pub class: BTreeMap<String, QosClass>,
    }
}

section! {
    /// How an uplink is shaped.
    pub struct QosUplink {
        /// Whether it is shaped.
        pub shaped: bool = true,
        /// Bits a second that it is held to; unset, `bandwidth_share` of its `bandwidth`.
        pub rate: Option<u64> [range 64_000..=400_000_000_000],
    }
}

section! {
    /// A class of what leaves by uplinks.
    pub struct QosClass {
        /// The part of the uplink's rate that it always may have. Those of all classes together are no more than 1.
        pub share: Option<f64> [range 0.001..=1.0],
        /// The same in bits a second, in the place of `share`.
        pub rate: Option<u64> [range 8_000..=400_000_000_000],
        /// The part of the uplink's rate that it has at most, with what others leave unused; unset, all of it.
        pub ceiling: Option<f64> [range 0.001..=1.0],
        /// Who is first asked to take what others leave unused: the lowest.
        pub priority: Option<u8> [range 0..=7],
        /// Traffic classes of packets that belong to it, in tunnels or not. What is named here is of no other class.
        pub dscp: Option<Vec<Dscp>>,
        /// Marks (fwmark) of other packets of this machine that belong to it.
        pub marks: Vec<PacketMark>,
    }
    check class;
}

choice! {
    /// What becomes of a discipline that is not ours.
    pub enum Foreign {
        /// It stays, and the start or the reload is refused.
        Refuse = "refuse",
        /// It is replaced, and put back at the end. One that has classes of its own stays: nobody could put it back.
        Replace = "replace",
    }
}

choice! {
    /// The queue of a class.
    pub enum QueueKind {
        /// `fq_codel` where the kernel has it, else `fifo`.
        Auto = "auto",
        /// Fair among flows, and short (RFC 8290). All datagrams of a path are one flow to it.
        FqCodel = "fq_codel",
        /// First in, first out.
        Fifo = "fifo",
    }
}

/// A mark of packets, and the bits of it that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PacketMark {
    /// What they are.
    pub value: u32,
    /// Which.
    pub mask: u32,
}

/// A text says no mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketMarkError {
    /// It is no number.
    #[error("a mark is a number of 32 bits, such as 0x10 or 16, other than 0")]
    Number,
    /// The mask takes bits away that the value has.
    #[error("the value has bits that the mask does not let count: no packet is like that")]
    Mask,
}

impl PacketMark {
    /// One of which all bits count.
    pub const fn of(value: u32) -> PacketMark {
        PacketMark { value, mask: u32::MAX }
    }
}

impl FromStr for PacketMark {
    type Err = PacketMarkError;

    fn from_str(text: &str) -> Result<Self, PacketMarkError> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let (value, mask) = text.split_once('/').map_or((text, None), |(value, mask)| (value, Some(mask)));
        let read = |text: &str| number(text.trim()).map_err(|_| PacketMarkError::Number);
        let value = read(value)?;
        let mask = mask.map_or(Ok(u32::MAX), read)?;
        match (value, mask) {
            (0, u32::MAX) | (_, 0) => Err(PacketMarkError::Number),
            _ if value & !mask != 0 => Err(PacketMarkError::Mask),
            _ => Ok(PacketMark { value, mask }),
        }
    }
}

impl fmt::Display for PacketMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mask {
            u32::MAX => write!(f, "{:#x}", self.value),
            mask => write!(f, "{:#x}/{mask:#x}", self.value),
        }
    }
}

text_setting!(
    PacketMark,
    "a mark of packets, with the bits that count behind a slash where not all do, such as",
    "0x10/0xff"
);

/// A class that has a section where nobody says so.
struct Preset {
    name: &'static str,
    share: f64,
    priority: u8,
    /// What others mean by their traffic classes (RFC 4594, RFC 8622).
    dscp: &'static [u8],
}

static PRESETS: [Preset; 5] = [
    Preset { name: CONTROL, share: 0.05, priority: 0, dscp: &[48, 56] },
    Preset { name: "voice", share: 0.2, priority: 1, dscp: &[46, 44, 40] },
    Preset { name: "video", share: 0.3, priority: 2, dscp: &[34, 36, 38, 32, 26, 28, 30, 24] },
    Preset { name: "transactional", share: 0.2, priority: 3, dscp: &[18, 20, 22, 16] },
    Preset { name: "bulk", share: 0.1, priority: 5, dscp: &[8, 1, 10, 12, 14] },
];

/// What a class of others has where nobody says so.
static OTHER: Preset = Preset { name: "", share: 0.05, priority: 4, dscp: &[] };

/// A class, with what is said of it and what is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Shaped {
    /// What it is called.
    pub name: String,
    /// What it always may have.
    pub rate: Amount,
    /// The part that it has at most.
    pub ceiling: f64,
    /// The lowest is asked first.
    pub priority: u8,
    /// Traffic classes that belong to it.
    pub dscp: Vec<u8>,
    /// Marks that do.
    pub marks: Vec<PacketMark>,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// A part of the uplink's rate.
    Share(f64),
    /// Bits a second.
    Rate(u64),
}

impl Amount {
    /// Bits a second, at an uplink of so many.
    pub fn of(self, rate: u64) -> u64 {
        match self {
            Amount::Share(share) => (rate as f64 * share) as u64,
            Amount::Rate(rate) => rate,
        }
    }
}

/// An uplink that is shaped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShapedUplink<'a> {
    /// Its place among uplinks.
    pub place: usize,
    /// What it is called.
    pub name: &'a str,
    /// Its interface.
    pub interface: &'a InterfaceName,
    /// Bits a second.
    pub rate: u64,
}

impl Sdwan {
    /// The classes of shaping, `control` first.
    pub fn shaped_classes(&self) -> Vec<Shaped> {
        let qos = &self.qos;
        let said: BTreeSet<u8> =
            qos.class.values().flat_map(|class| &class.dscp).flatten().map(|Dscp(number)| *number).collect();
        let others = qos.class.keys().map(String::as_str).filter(|name| preset(name).is_none());
        let names = PRESETS.iter().map(|preset| preset.name).chain(others);
        names
            .map(|name| {
                let (own, class) = (preset(name).unwrap_or(&OTHER), qos.class.get(name));
                let of_preset = || own.dscp.iter().copied().filter(|number| !said.contains(number)).collect();
                let given = class.and_then(|class| class.dscp.as_ref());
                let share = || Amount::Share(class.and_then(|class| class.share).unwrap_or(own.share));
                Shaped {
                    name: name.to_owned(),
                    rate: class.and_then(|class| class.rate).map_or_else(share, Amount::Rate),
                    ceiling: class.and_then(|class| class.ceiling).unwrap_or(1.0),
                    priority: class.and_then(|class| class.priority).unwrap_or(own.priority),
                    dscp: given.map_or_else(of_preset, |given| given.iter().map(|Dscp(number)| *number).collect()),
                    marks: class.map(|class| class.marks.clone()).unwrap_or_default(),
                }
            })
            .collect()
    }

    /// The uplinks that are shaped, where any are.
    pub fn shaped_uplinks(&self) -> Vec<ShapedUplink<'_>> {
        let of = |(place, uplink)| self.shaped(place, uplink).ok();
        self.uplink.iter().enumerate().filter(|_| self.qos.enabled).filter_map(of).collect()
    }

    /// An uplink as it is shaped, or why it is not and what to do about that; none where that is as it was said.
    fn shaped<'a>(
        &self,
        place: usize,
        uplink: &'a Uplink,
    ) -> Result<ShapedUplink<'a>, Option<(&'static str, &'static str)>> {
        let said = self.qos.uplink.get(&uplink.name);
        if said.is_some_and(|said| !said.shaped) {
            return Err(None);
        }
        let part = Some(uplink.bandwidth).filter(|bits| *bits > 0).map(|bits| bits as f64 * self.qos.bandwidth_share);
        let Some(rate) = said.and_then(|said| said.rate).or(part.map(|part| part as u64)) else {
            return Err(Some(("nobody says its rate", "give it a bandwidth, in bits a second")));
        };
        let Some(interface) = &uplink.interface else {
            return Err(Some(("it has no interface", "name the interface that its datagrams leave by")));
        };
        Ok(ShapedUplink { place, name: &uplink.name, interface, rate })
    }
}

fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

fn class(class: &QosClass, at: &mut At<'_>) {
    if class.share.is_some() && class.rate.is_some() {
        let fault = Fault::new("given besides share").expected("one of the two");
        at.fault("rate", fault.help("take one of them out"));
    }
}

/// What is wrong with shaping, with uplinks and classes of traffic in sight.
pub(super) fn check(sdwan: &Sdwan, at: &mut At<'_>) {
    let classes = sdwan.classes();
    let known = || std::iter::once(CONTROL).chain(classes.iter().map(|(name, _)| *name));
    let shaped = sdwan.shaped_classes();
    let (classes_left_out, uplinks_left_out) = (left_out("class", at), left_out("uplink", at));
    for name in sdwan.qos.class.keys().filter(|name| !classes_left_out && !known().any(|known| known == name.as_str()))
    {
        let fault = unknown("class", name, known());
        let fault = fault.help(format!("add [sdwan.class.{name}], or name another"));
        unless_followed(sdwan, &join_key("qos.class", name), fault, at);
    }
    let default = &sdwan.qos.default_class;
    if default == CONTROL || !shaped.iter().any(|class| class.name == *default) {
        let names = shaped.iter().map(|class| class.name.as_str()).filter(|name| *name != CONTROL);
        at.fault("qos.default_class", unknown("class of shaping", default, names));
    }
    if sdwan.qos.first_mark.mask != u32::MAX || sdwan.qos.first_mark.value > u32::MAX - 0x100 {
        let fault = Fault::new(format!("{} is not where 256 marks begin", sdwan.qos.first_mark));
        at.fault("qos.first_mark", fault.expected("a number without a mask, such as \"0x6f570000\""));
    }
    traffic_classes(sdwan, at);
    for name in sdwan.qos.uplink.keys() {
        if !uplinks_left_out && !sdwan.uplink.iter().any(|uplink| uplink.name == *name) {
            let names = sdwan.uplink.iter().map(|uplink| uplink.name.as_str());
            at.fault(&join_key("qos.uplink", name), unknown("uplink", name, names));
        }
    }
    if sdwan.qos.enabled && !uplinks_left_out {
        uplinks(sdwan, &shaped, at);
    }
}

/// Each traffic class is of one class of shaping.
fn traffic_classes(sdwan: &Sdwan, at: &mut At<'_>) {
    let mut whose: BTreeMap<u8, &str> = BTreeMap::new();
    for (name, class) in &sdwan.qos.class {
        for (place, dscp) in class.dscp.iter().flatten().enumerate() {
            if let Some(other) = whose.insert(dscp.0, name) {
                let fault = Fault::new(format!("{dscp} is of class {other:?}"));
                let key = format!("{}.dscp[{place}]", join_key("qos.class", name));
                at.fault(&key, fault.expected("traffic classes of one class each"));
            }
        }
    }
}

/// What is wrong with uplinks that are to be shaped.
fn uplinks(sdwan: &Sdwan, classes: &[Shaped], at: &mut At<'_>) {
    let shaped = sdwan.shaped_uplinks();
    for (place, uplink) in sdwan.uplink.iter().enumerate() {
        if let Err(Some((why, what_to_do))) = sdwan.shaped(place, uplink) {
            let key = format!("uplink[{place}]");
            let opposite = format!("; or [sdwan.qos.uplink.{}] shaped = false, if that is meant", uplink.name);
            at.warn(&key, Fault::new(format!("it is not shaped: {why}")).help(format!("{what_to_do}{opposite}")));
        }
    }
    if shaped.is_empty() {
        let fault = Fault::new("no uplink can be shaped");
        let fault = fault.expected("an uplink that has an interface, and a bandwidth or a rate in qos.uplink");
        unless_followed(sdwan, "qos.enabled", fault.help("add them, or take this out"), at);
    }
    let mut interfaces: BTreeMap<&str, &str> = BTreeMap::new();
    for uplink in &shaped {
        if let Some(other) = interfaces.insert(uplink.interface.as_str(), uplink.name) {
            let fault = Fault::new(format!("{} is shaped for uplink {other:?}", uplink.interface));
            let fault = fault.expected("an interface of its own for each uplink that is shaped");
            let help = format!("add [sdwan.qos.uplink.{}] shaped = false: both leave by one tree then", uplink.name);
            at.fault(&format!("uplink[{}].interface", uplink.place), fault.help(help));
        }
        let all: u64 = classes.iter().map(|class| class.rate.of(uplink.rate)).sum();
        // What is cut off of shares is never more than is there.
        if all > uplink.rate {
            let percent = all as f64 * 100.0 / uplink.rate as f64;
            let fault = Fault::new(format!(
                "classes may always have {percent:.0} % of uplink {:?}, {all} of {} bits a second",
                uplink.name, uplink.rate
            ));
            let fault = fault.expected("no more than all of it; by default control has 0.05 of it, voice 0.2, video 0.3, transactional 0.2, bulk 0.1");
            return at.fault(
                "qos.class",
                fault.help("lower share or rate of some; ceiling is what they have with what others leave"),
            );
        }
    }
}

#[cfg(test)]
#[path = "qos_tests.rs"]
mod tests;
