//! The `[host]` section of the configuration file.

use std::collections::BTreeMap;

use outwork_config::{Absent, At, Change, Effective, Fault, Faults, Node, Setting, Value, section};
use serde_json::{Value as Json, json};

use crate::name::{InterfaceName, SysctlName, SysctlNameError};
use crate::processors::Processors;

section! {
    /// The machine. `outwork host` compares it with what is wanted, changes it and puts it back; the service itself changes nothing of this.
    pub struct Host {
        /// Whether what the services here do well with is wanted, beside what this section says: `outwork host` lists it with its reasons.
        pub recommended: bool = true,
        /// Settings of the kernel by their names, in the place of what is recommended: `"net.core.somaxconn" = 65535`. With `false` one is left as it is. What the name of an interface
        /// has as a dot is written as a slash: `"net.ipv4.conf.eth0/100.forwarding"`.
        pub sysctl: Sysctls,
        /// Pages of 2 MiB to set aside, at least; unset, as many as `proxy.acceleration.dpdk.memory` asks for. A kernel that has been running for long may not find so many.
        pub hugepages: Option<u64> [range 1..=1 << 24],
        /// Interfaces. What is not said of one stays as it is.
        pub interface: Vec<Interface>,
    }
    check host;
}

section! {
    /// An interface of the machine.
    #[required_keys]
    pub struct Interface {
        /// Its name.
        pub name: InterfaceName,
        /// Processors that take its interrupts, one after the other: the first its first interrupt, and so on in turn. irqbalance would move them again: it must not run.
        pub interrupts: Option<Processors>,
        /// Processors that packets which have come in are handed on to (RPS): for interfaces with fewer queues than there are processors.
        pub steering: Option<Processors>,
        /// Flows that are remembered, of all queues together, so that packets go to the processor of the program that reads them (RFS).
        pub flows: Option<u32> [range 1..=1 << 22],
        /// Queues, each for both ways.
        pub queues: Option<u32> [range 1..=1024],
        /// Octets of the longest packet.
        pub mtu: Option<u32> [range 68..=65_535],
        /// Packets that may wait to leave.
        pub queue_length: Option<u32> [range 1..=1_000_000],
        /// How many frames its rings have room for.
        pub rings: Rings,
        /// How long its interrupts wait for more frames.
        pub coalescing: Coalescing,
        /// What is left to the card, or done for many packets at once.
        pub offloads: Offloads,
    }
}

section! {
    /// Frames that the rings of an interface have room for. `ethtool -g` says how many there can be.
    pub struct Rings {
        /// Of each queue in.
        pub receive: Option<u32> [range 1..=65_536],
        /// Of each queue out.
        pub transmit: Option<u32> [range 1..=65_536],
    }
}

section! {
    /// How long the interrupts of an interface wait for more frames.
    pub struct Coalescing {
        /// On the way in, as the load asks for it.
        pub adaptive_receive: Option<bool>,
        /// On the way out, as the load asks for it.
        pub adaptive_transmit: Option<bool>,
        /// Microseconds on the way in.
        pub receive_microseconds: Option<u32> [range 0..=1_000_000],
        /// Microseconds on the way out.
        pub transmit_microseconds: Option<u32> [range 0..=1_000_000],
    }
}

section! {
    /// What an interface, or the kernel for it, does for many packets at once.
    pub struct Offloads {
        /// The card looks at checksums.
        pub receive_checksums: Option<bool>,
        /// The card makes checksums.
        pub transmit_checksums: Option<bool>,
        /// A frame may lie in memory in parts.
        pub scatter_gather: Option<bool>,
        /// The card cuts runs of TCP into segments.
        pub tso: Option<bool>,
        /// The kernel does that, as late as it can.
        pub gso: Option<bool>,
        /// The kernel joins segments on the way in.
        pub gro: Option<bool>,
        /// The card joins segments: not where packets are passed on, for they are not what was sent any more.
        pub lro: Option<bool>,
    }
}

/// What a setting of the kernel is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SysctlValue {
    /// Whatever it is.
    Left,
    /// This.
    Set(String),
}

/// Octets of a value at most.
const LONGEST: usize = 1024;

impl Setting for SysctlValue {
    fn expected() -> String {
        "a number, a text such as \"4096 131072 16777216\", or false".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = match node.value() {
            Value::Bool(false) => return Some(SysctlValue::Left),
            Value::Int(number) => Some(number.to_string()),
            _ => node.text().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
        };
        let is_value = |text: &String| !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
        if let (Value::Bool(true), _) | (_, None) = (node.value(), &text) {
            let fault = Fault::new(format!("found {}", node.describe())).expected(Self::expected());
            faults.on(node, fault.help("write 1 for what is to be on, and false for what is to be left as it is"));
            return None;
        }
        match text.filter(is_value) {
            Some(text) => Some(SysctlValue::Set(text)),
            None => {
                let fault = Fault::new(format!("found {}", node.describe())).expected(Self::expected());
                faults.on(node, fault.help("write the value as `sysctl` shows it"));
                None
            }
        }
    }

    fn write(&self) -> Json {
        match self {
            SysctlValue::Left => false.into(),
            SysctlValue::Set(text) => text.as_str().into(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}, {"const": false}]})
    }
}

/// Settings of the kernel by their names, as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sysctls(BTreeMap<String, SysctlValue>);

type Written = BTreeMap<String, SysctlValue>;

impl Absent for Sysctls {
    fn absent() -> Self {
        Self::default()
    }
}

impl Setting for Sysctls {
    const SECTION: bool = Written::SECTION;

    fn expected() -> String {
        Written::expected()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let (before, mut known) = (faults.len(), BTreeMap::<SysctlName, &str>::new());
        for (key, value) in node.table().into_iter().flatten() {
            let fault = match key.parse() {
                Err(error) => unnamed(key, error),
                Ok(name) => match known.insert(name, key) {
                    Some(other) => Fault::new(format!("this is {other:?}, written in another way"))
                        .expected("each setting once")
                        .help("take one of them out"),
                    None => continue,
                },
            };
            faults.at(value.path(), fault);
        }
        let written = Written::read(node, faults)?;
        (faults.len() == before).then_some(Self(written))
    }

    fn write(&self) -> Json {
        self.0.write()
    }

    fn schema() -> Json {
        Written::schema()
    }

    fn absent() -> Option<Self> {
        Some(Self::default())
    }

    fn list(&self, path: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
        self.0.list(path, node, out);
    }

    fn changes(&self, new: &Self, path: &str, live: bool, out: &mut Vec<Change>) {
        self.0.changes(&new.0, path, live, out);
    }
}

fn unnamed(key: &str, error: SysctlNameError) -> Fault {
    Fault::new(format!("{key:?} names no setting of the kernel: {error}"))
        .expected("a name such as \"net.core.somaxconn\"")
        .help("`sysctl -a` lists them")
}

fn host(host: &Host, at: &mut At<'_>) {
    for (index, one) in host.interface.iter().enumerate() {
        if host.interface.iter().take(index).any(|other| other.name == one.name) {
            at.fault(&format!("interface[{index}].name"), Fault::new(format!("\"{}\" is named twice", one.name)));
        }
    }
}

impl Host {
    /// Settings of the kernel that are named here.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (SysctlName, &SysctlValue)> {
        // What is no name was refused.
        self.sysctl.0.iter().filter_map(|(name, value)| Some((name.parse().ok()?, value)))
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    fn read(text: &str) -> Result<Host, String> {
        let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
        load::<Host>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false))
    }

    #[test]
    fn a_value_is_a_number_or_a_text_and_false_leaves_it() {
        let host = read(
            "[sysctl]\n'net.core.somaxconn' = 65535\n'net.ipv4.tcp_rmem' = '4096\t131072  16777216'\n'vm.swappiness' = false\n",
        )
        .unwrap();
        let set = |text: &str| SysctlValue::Set(text.to_owned());
        let values: Vec<_> = host.settings().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let expected = [
            ("net.core.somaxconn", set("65535")),
            ("net.ipv4.tcp_rmem", set("4096 131072 16777216")),
            ("vm.swappiness", SysctlValue::Left),
        ];
        assert_eq!(values, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn what_cannot_be_is_refused_where_it_stands() {
        for (text, words) in [
            ("[sysctl]\n'net.core.somaxconn' = true", "write 1 for what is to be on"),
            ("[sysctl]\n'net.core.somaxconn' = ''", "as `sysctl` shows it"),
            ("[sysctl]\n'net.core.somaxconn' = [1]", "found an array"),
            ("[sysctl]\n'../../etc/passwd' = 1", "it leads out of /proc/sys"),
            ("[sysctl]\n'/etc/passwd' = 1", "it leads out of /proc/sys"),
            ("[sysctl]\n'net.core.x' = 1\n'net/core/x' = 2", "written in another way"),
            ("[[interface]]\nname = '../eth0'", "1 to 15 octets"),
            ("[[interface]]\nname = 'eth0'\ninterrupts = '3-1'", "ends before it begins"),
            ("[[interface]]\nname = 'eth0'\n[[interface]]\nname = 'eth0'", "named twice"),
            ("hugepages = 0", "from 1"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(words) && told.contains("outwork.toml:"), "{text}: {told}");
        }
    }
}
