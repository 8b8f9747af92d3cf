//! What the configuration says of classes, applications and policies, and what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault, choice, millis, secs, section};
use outwork_front::filter::Network;

use super::Sdwan;
use super::matching::{Dscp, Ports, Protocol, ServerPorts};
use crate::engine::class::{CLASSES, Class};
use crate::engine::prefix::POLICIES;
use crate::plane::frame::Shape;

/// Applications that can be told apart.
pub const APPLICATIONS: usize = 1024;

/// Classes that are always there.
pub const PRESETS: [(&str, Class); 4] =
    [("voice", Class::VOICE), ("video", Class::VIDEO), ("transactional", Class::TRANSACTIONAL), ("bulk", Class::BULK)];

section! {
    /// What traffic of a class needs of its path. `voice`, `video`, `transactional` and `bulk` are there already: of these, what is not said stays as it is. Of others it is
    /// no limit.
    pub struct ClassSettings {
        /// The longest way, in one direction: half of the round trip.
        pub latency: Option<Duration> [range millis(1)..=secs(60)],
        /// By how much one packet may be later than the next, as in RFC 3550.
        pub jitter: Option<Duration> [range millis(1)..=secs(60)],
        /// The part that may be lost: 0.01 is one of a hundred, 1 no limit.
        pub loss: Option<f64> [range 0.0..=1.0],
    }
}

section! {
    /// An application, known by its servers' names or by their ports.
    pub struct ApplicationSettings {
        /// Names of its servers: `example.com` is that name and all below it. The name that a client of TLS over TCP asks for counts (SNI), for the answers as well; QUIC hides it. Of
        /// names within each other the longest counts.
        pub names: Vec<String>,
        /// Ports at its servers, such as `udp/3478-3481`. They count for flows that have shown no name that any application has.
        pub ports: Vec<ServerPorts>,
    }
    check application;
}

choice! {
    /// How paths are chosen among those that keep the limits of the class.
    pub enum StrategyKind {
        /// All flows take the one that serves the class best.
        Best = "best",
        /// The first of `uplinks` that will do, and others after them.
        Ordered = "ordered",
        /// Each flow takes one of them, more flows the wider ones.
        Weighted = "weighted",
        /// Each packet goes by two that fail apart.
        Duplicate = "duplicate",
        /// Each packet goes by one, and what mends losses by a second.
        Fec = "fec",
    }
}

section! {
    /// What becomes of which flows to other sites. All that is said of a flow has to be so; of a list, one has to be. What is not said does not matter. The first packets
    /// count: a flow stays under its policy's path until that breaks the limits of its class.
    #[required_keys]
    pub struct PolicySettings {
        /// What it is called in the API and in the log.
        pub name: String,
        /// The lowest is asked first; of equal ones, the first in the file.
        pub priority: u32 = 100,
        /// Networks that it comes from.
        pub sources: Vec<Network>,
        /// Networks that it goes to.
        pub destinations: Vec<Network>,
        /// Protocols above IP: `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `gre`, `esp`, or numbers.
        pub protocols: Vec<Protocol>,
        /// Ports that it comes from, such as `5060` or `10000-20000`. Of parts of packets nobody knows the ports.
        pub source_ports: Vec<Ports>,
        /// Ports that it goes to.
        pub ports: Vec<Ports>,
        /// Traffic classes that its packets have when they come, such as `EF`, `AF41` or `46`.
        pub dscp: Vec<Dscp>,
        /// Applications, by the names of their sections.
        pub applications: Vec<String>,
        /// The class that it is of; unset, `default_class`.
        pub class: Option<String>,
        /// How paths are chosen among those that keep the limits of the class.
        pub strategy: StrategyKind = StrategyKind::Best,
        /// Uplinks of this site by their names, the preferred first, for `ordered`.
        pub uplinks: Vec<String>,
        /// Packets of a group that is mended together, for `fec`; unset, 8.
        pub data: Option<u8> [range 1..=Shape::DATA],
        /// Packets that mend it, for `fec`; unset, 1. So many may be lost of a group.
        pub parity: Option<u8> [range 1..=Shape::PARITY],
        /// The traffic class that its packets have from then on, within the tunnel and outside; unset, they keep theirs.
        pub mark: Option<Dscp>,
    }
    check policy;
}

/// Packets of a group, and those that mend it, where nobody says.
const FEC: (u8, u8) = (8, 1);

impl PolicySettings {
    /// Packets of a group, and those that mend it.
    pub fn group(&self) -> (u8, u8) {
        (self.data.unwrap_or(FEC.0), self.parity.unwrap_or(FEC.1))
    }

    /// Whether it leaves any flow over to the next.
    fn takes_all(&self) -> bool {
        self.sources.is_empty()
            && self.destinations.is_empty()
            && self.protocols.is_empty()
            && self.source_ports.is_empty()
            && self.ports.is_empty()
            && self.dscp.is_empty()
            && self.applications.is_empty()
    }
}

impl Sdwan {
    /// All classes with their names, the default one last.
    pub fn classes(&self) -> Vec<(&str, Class)> {
        let preset = |(name, class): &(&'static str, Class)| {
            let said = self.class.get(*name);
            (*name, said.map_or(*class, |said| said.over(class)))
        };
        let none = Class { latency: None, jitter: None, loss: None };
        let others = self.class.iter().filter(|(name, _)| !is_preset(name));
        let mut all: Vec<(&str, Class)> = PRESETS.iter().map(preset).collect();
        all.extend(others.map(|(name, said)| (name.as_str(), said.over(&none))));
        // The order of the others stays.
        all.sort_by_key(|(name, _)| *name == self.default_class);
        all
    }
}

impl ClassSettings {
    /// What is said, and of what is not, what `class` has.
    fn over(&self, class: &Class) -> Class {
        Class {
            latency: self.latency.or(class.latency),
            jitter: self.jitter.or(class.jitter),
            loss: self.loss.or(class.loss),
        }
    }
}

fn is_preset(name: &str) -> bool {
    PRESETS.iter().any(|(preset, _)| *preset == name)
}

/// What is wrong with a name that is shown, if anything is.
pub(super) fn unfit(name: &str) -> Option<Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_fit = (1..=64).contains(&name.len()) && name.chars().all(fits);
    let fault = || Fault::new(format!("{name:?} cannot be shown as a name"));
    (!is_fit).then(|| fault().expected("1 to 64 letters, digits, `-`, `_` and `.`, such as \"calls\""))
}

/// A fault for a name that nothing has.
pub(super) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Fault {
    let known: Vec<&str> = known.take(20).collect();
    let fault = Fault::new(format!("no {what} is called {name:?}"));
    match known.is_empty() {
        true => fault.expected(format!("the name of a {what}")),
        false => fault.expected(format!("one of {}", known.join(", "))),
    }
}

fn application(application: &ApplicationSettings, at: &mut At<'_>) {
    if application.names.is_empty() && application.ports.is_empty() {
        let fault = Fault::new("nothing says what it is known by").expected("names of its servers, or ports");
        at.fault("", fault.help("add names = [\"example.com\"] or ports = [\"udp/3478-3481\"]"));
    }
    for (place, name) in application.names.iter().enumerate() {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let meant = name.trim_start_matches("*.").trim_matches('.');
        let has_dots = name.starts_with('.') || name.ends_with('.') || name.contains("..");
        if name.is_empty() || name.len() > 253 || has_dots || !name.chars().all(fits) {
            let fault = Fault::new(format!("{name:?} is no name of a server"));
            let fault = fault.expected("a name such as \"example.com\", which is all names below it as well");
            let is_meant = meant != name && !meant.is_empty();
            at.fault(&format!("names[{place}]"), if is_meant { fault.help(format!("write {meant:?}")) } else { fault });
        }
    }
}

fn policy(policy: &PolicySettings, at: &mut At<'_>) {
    if let Some(fault) = unfit(&policy.name) {
        at.fault("name", fault);
    }
    let has_ports = policy.protocols.is_empty() || policy.protocols.iter().any(|protocol| protocol.has_ports());
    for (key, ports) in [("ports", &policy.ports), ("source_ports", &policy.source_ports)] {
        if !ports.is_empty() && !has_ports {
            let fault = Fault::new("none of its protocols has ports").expected("tcp, udp or sctp among them, or none");
            at.fault(key, fault.help("take the ports out, or add a protocol"));
        }
    }
    let only = |strategy: StrategyKind| {
        let fault = Fault::new(format!("strategy \"{}\" does not look at this", policy.strategy));
        fault.expected(format!("strategy = \"{strategy}\"")).help("take it out, or change the strategy")
    };
    match policy.strategy {
        StrategyKind::Ordered if policy.uplinks.is_empty() => {
            let fault = Fault::new("the order is that of no uplinks").expected("names of uplinks, the preferred first");
            at.fault("uplinks", fault.help("add uplinks = [\"NAME\"], or take strategy = \"best\""));
        }
        StrategyKind::Ordered => {}
        _ if policy.uplinks.is_empty() => {}
        _ => at.fault("uplinks", only(StrategyKind::Ordered)),
    }
    for (key, given) in [("data", policy.data), ("parity", policy.parity)] {
        if given.is_some() && policy.strategy != StrategyKind::Fec {
            at.fault(key, only(StrategyKind::Fec));
        }
    }
    let (data, parity) = policy.group();
    if policy.strategy == StrategyKind::Fec && parity > data {
        let fault = Fault::new(format!("{parity} packets mend a group of {data}")).expected("no more than its packets");
        at.fault("parity", fault.help("strategy = \"duplicate\" sends every packet twice"));
    }
}

/// What is wrong with classes, applications and policies together.
pub(super) fn check(sdwan: &Sdwan, at: &mut At<'_>) {
    for name in sdwan.class.keys() {
        if let Some(fault) = unfit(name) {
            at.fault(&join_key("class", name), fault);
        }
    }
    let classes = sdwan.classes();
    if classes.len() > CLASSES {
        let fault = Fault::new(format!("{} classes with those that are always there", classes.len()));
        let fault = fault.expected(format!("at most {CLASSES}, for which paths are judged"));
        at.fault("class", fault.help("join those whose limits are alike"));
    }
    let is_class = |wanted: &str| classes.iter().any(|(name, _)| *name == wanted);
    let class_left_out = left_out("class", at);
    if !is_class(&sdwan.default_class) && !class_left_out {
        let names = classes.iter().map(|(name, _)| *name);
        unless_followed(sdwan, "default_class", unknown("class", &sdwan.default_class, names), at);
    }
    applications(sdwan, at);
    if sdwan.policy.len() > POLICIES {
        let fault = Fault::new(format!("{} policies", sdwan.policy.len()));
        let fault = fault.expected(format!("at most {POLICIES}, which can be told apart"));
        at.fault("policy", fault.help("join those that differ in networks or ports alone: each takes lists of them"));
    }
    let mut names = BTreeMap::new();
    for (index, policy) in sdwan.policy.iter().enumerate() {
        if let Some(other) = names.insert(&policy.name, index) {
            let fault = Fault::new(format!("{:?} is what policy[{other}] is called", policy.name));
            at.fault(&format!("policy[{index}].name"), fault.expected("a name for each"));
        }
        if let Some(class) = policy.class.as_deref().filter(|class| !is_class(class) && !class_left_out) {
            let fault = unknown("class", class, classes.iter().map(|(name, _)| *name));
            at.fault(
                &format!("policy[{index}].class"),
                fault.help(format!("add [sdwan.class.{class}], or name another")),
            );
        }
        references(sdwan, index, at);
    }
    unreached(sdwan, at);
}

/// Adds a fault, or a warning where there is a controller that may say what is missing: it is looked at again with that.
pub(super) fn unless_followed(sdwan: &Sdwan, key: &str, fault: Fault, at: &mut At<'_>) {
    match sdwan.controller {
        None => at.fault(key, fault),
        Some(_) => at.warn(key, fault.help("its controller may say more: once it has, this is looked at again")),
    }
}

/// Whether something of a section could not be read: what refers to it is no fault then.
pub(super) fn left_out(section: &str, at: &At<'_>) -> bool {
    at.left_out().any(|key| key.starts_with(section))
}

/// Names of uplinks and applications in a policy.
fn references(sdwan: &Sdwan, index: usize, at: &mut At<'_>) {
    let Some(policy) = sdwan.policy.get(index) else { return };
    let mut seen = BTreeSet::new();
    for (place, name) in policy.uplinks.iter().enumerate() {
        let key = format!("policy[{index}].uplinks[{place}]");
        if !seen.insert(name) {
            at.fault(&key, Fault::new(format!("{name:?} is named twice")).expected("each uplink once"));
        } else if !sdwan.uplink.iter().any(|uplink| uplink.name == *name) && !left_out("uplink", at) {
            at.fault(&key, unknown("uplink", name, sdwan.uplink.iter().map(|uplink| uplink.name.as_str())));
        }
    }
    for (place, name) in policy.applications.iter().enumerate() {
        if !sdwan.application.contains_key(name) && !left_out("application", at) {
            let fault = unknown("application", name, sdwan.application.keys().map(String::as_str));
            let fault = fault.help(format!("add [sdwan.application.{name}], or name another"));
            at.fault(&format!("policy[{index}].applications[{place}]"), fault);
        }
    }
}

/// Each name, and each port, is one application's: which one counts would be anybody's guess.
fn applications(sdwan: &Sdwan, at: &mut At<'_>) {
    if sdwan.application.len() > APPLICATIONS {
        let fault = Fault::new(format!("{} applications", sdwan.application.len()));
        let fault = fault.expected(format!("at most {APPLICATIONS}, which can be told apart"));
        at.fault("application", fault.help("join those that policies treat alike"));
    }
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let mut ports: Vec<(&ServerPorts, &str)> = vec![];
    for (own, application) in &sdwan.application {
        let place_of = join_key("application", own);
        if let Some(fault) = unfit(own) {
            at.fault(&place_of, fault);
        }
        for (place, name) in application.names.iter().enumerate() {
            if let Some(other) = names.insert(name.to_ascii_lowercase(), own) {
                let fault = Fault::new(format!("{name:?} is a name of application {other:?}"));
                at.fault(&format!("{place_of}.names[{place}]"), fault.expected("names of one application each"));
            }
        }
        for (place, one) in application.ports.iter().enumerate() {
            let (first, last) = (one.ports.0.start(), one.ports.0.end());
            let meets = |(other, _): &&(&ServerPorts, &str)| {
                other.protocol == one.protocol && other.ports.0.start() <= last && first <= other.ports.0.end()
            };
            if let Some((other, whose)) = ports.iter().find(meets) {
                let fault = Fault::new(format!("{one} and {other} of application {whose:?} have ports in common"));
                let fault = fault.expected("ports of one application each");
                at.fault(&format!("{place_of}.ports[{place}]"), fault);
            }
            ports.push((one, own.as_str()));
        }
    }
}

/// Says of policies that no flow comes to.
fn unreached(sdwan: &Sdwan, at: &mut At<'_>) {
    let mut order: Vec<usize> = (0..sdwan.policy.len()).collect();
    order.sort_by_key(|index| sdwan.policy.get(*index).map(|policy| policy.priority));
    let of = |index: &usize| sdwan.policy.get(*index);
    let Some(end) = order.iter().position(|index| of(index).is_some_and(PolicySettings::takes_all)) else { return };
    let Some(all) = order.get(end).and_then(of) else { return };
    for index in order.iter().skip(end + 1) {
        let warning = Fault::new(format!("no flow comes to it: {:?}, which is asked before, takes all", all.name));
        at.warn(
            &format!("policy[{index}]"),
            warning.help("give it a lower number as priority, or say of the other what it takes"),
        );
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
