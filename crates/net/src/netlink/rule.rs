//! Rules: which packets are routed by which table.

use std::fmt;
use std::net::IpAddr;

use super::address::{from_octets, octets};
use super::message::{self, Request, attributes, number};
use super::{Asked, Connection, Result, change, question};

/// Octets of a `fib_rule_hdr`.
const STRUCTURE: usize = 12;
/// What a rule does: it hands to a table (`FR_ACT_TO_TBL`).
const TO_TABLE: u8 = 1;
/// Attributes (`linux/fib_rules.h`).
const SOURCE: u16 = 2;
const INTERFACE: u16 = 3;
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const SUPPRESS_GROUP: u16 = 13;
const SUPPRESS_LENGTH: u16 = 14;
const TABLE: u16 = 15;
const MASK: u16 = 16;
const PADDING: u16 = 18;
const PROTOCOL: u16 = 21;
const CARRIED: u16 = 22;
const SOURCE_PORTS: u16 = 23;
const SOURCE_PORT_MASK: u16 = 28;
/// Where the kernel says that a packet of this host comes from.
const LOOPBACK: &str = "lo";
/// Stands for no group, and no length, in what the kernel tells.
const NONE: u32 = u32::MAX;

/// A rule. What is absent does not matter to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it is for IPv6; else it is for IPv4.
    pub v6: bool,
    /// Its place: rules are gone through from the least number. That of the main table has 32766.
    pub priority: u32,
    /// The table that routes the packet. When it has no route for it, the next rule is asked.
    pub table: u32,
    /// What the mark of a packet has to be.
    pub mark: Option<Mark>,
    /// Datagrams of UDP that this host itself sends from this port.
    pub own_port: Option<u16>,
    /// What this host itself sends from this address of its own.
    pub own_address: Option<IpAddr>,
    /// Routes of the table to networks of so few bits, or fewer, do not count: 0 passes its default route over.
    pub suppress: Option<u8>,
    /// Who made it, as of routes. 4 stands for the administrator.
    pub protocol: u8,
}

/// What the mark of a packet has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What its bits have to be.
    pub value: u32,
    /// The bits that count.
    pub mask: u32,
}

impl Rule {
    /// A rule for all packets of a family.
    pub fn new(v6: bool, priority: u32, table: u32) -> Rule {
        Rule {
            v6,
            priority,
            table,
            mark: None,
            own_port: None,
            own_address: None,
            suppress: None,
            protocol: libc::RTPROT_STATIC,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { v6, priority, table, mark, own_port, own_address, suppress, .. } = self;
        let family = if *v6 { "IPv6" } else { "IPv4" };
        write!(f, "{priority} that {family} packets")?;
        if let Some(Mark { value, mask }) = mark {
            write!(f, " with mark {value:#x}/{mask:#x}")?;
        }
        if let Some(port) = own_port {
            write!(f, " of this host's UDP port {port}")?;
        }
        if let Some(address) = own_address {
            write!(f, " of this host's address {address}")?;
        }
        write!(f, " are routed by table {table}")?;
        match suppress {
            Some(length) => write!(f, ", but for routes to /{length} and wider"),
            None => Ok(()),
        }
    }
}

impl Connection {
    /// The rules, of both families, in the order in which they are asked; those of one maker only, if one is named. Those that look at anything that [`Rule`] has not, or do
    /// anything but to hand to a table, are passed over.
    pub fn rules(&mut self, protocol: Option<u8>) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let all = question(libc::RTM_GETRULE, &structure(family, 0, 0));
            let is_asked = |rule: &Rule| protocol.is_none_or(|protocol| rule.protocol == protocol);
            let found = self.list(&all, |body| read(body).filter(is_asked)).asked(|| "list the rules".to_owned());
            match found {
                // A kernel without IPv6 has none.
                Err(error) if error.source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
                found => rules.extend(found?),
            }
        }
        Ok(rules)
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// One that [is present](super::Error::is_present) when there is one like it.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let request = about(libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, rule);
        self.ask(request).asked(|| format!("add the rule {rule}"))
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// One that [is missing](super::Error::is_missing) when there is no such rule.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<()> {
        self.ask(about(libc::RTM_DELRULE, 0, rule)).asked(|| format!("remove the rule {rule}"))
    }
}

fn about(kind: u16, flags: i32, rule: &Rule) -> Request {
    let Rule { v6, priority, table, mark, own_port, own_address, suppress, protocol } = *rule;
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let from = own_address.map_or(0, |address| if address.is_ipv4() { 32 } else { 128 });
    let mut request = change(kind, flags, &structure(family, from, TO_TABLE))
        .number(PRIORITY, Some(priority))
        .number(TABLE, Some(table))
        .number(MARK, mark.map(|mark| mark.value))
        .number(MASK, mark.map(|mark| mark.mask))
        .number(SUPPRESS_LENGTH, suppress.map(u32::from))
        .attribute(PROTOCOL, &[protocol]);
    if own_port.is_some() || own_address.is_some() {
        request = request.text(INTERFACE, LOOPBACK);
    }
    if let Some(port) = own_port {
        let ports = [port.to_ne_bytes(), port.to_ne_bytes()].concat();
        request = request.attribute(CARRIED, &[libc::IPPROTO_UDP as u8]).attribute(SOURCE_PORTS, &ports);
    }
    match own_address {
        Some(address) => request.attribute(SOURCE, &octets(address)),
        None => request,
    }
}

/// A `fib_rule_hdr`; `from` is how many bits of a source count.
fn structure(family: i32, from: u8, action: u8) -> [u8; STRUCTURE] {
    [family as u8, 0, from, 0, 0, 0, 0, action, 0, 0, 0, 0]
}

/// Reads a `fib_rule_hdr` with its attributes. `None` for a rule that is not as [`Rule`] has them.
fn read(body: &[u8]) -> Option<Rule> {
    let [family, destination, source, tos, table, _, _, action, flags @ ..] = *body.first_chunk::<STRUCTURE>()?;
    let whole = if i32::from(family) == libc::AF_INET6 { 128 } else { 32 };
    if [destination, tos] != [0; 2]
        || ![0, whole].contains(&source)
        || action != TO_TABLE
        || u32::from_ne_bytes(flags) != 0
    {
        return None;
    }
    let mut rule = Rule { protocol: 0, ..Rule::new(i32::from(family) == libc::AF_INET6, 0, table.into()) };
    let (mut from_here, mut udp) = (false, false);
    for (kind, value) in attributes(body.get(STRUCTURE..)?) {
        match kind {
            PRIORITY => rule.priority = number(value, 0)?,
            TABLE => rule.table = number(value, 0)?,
            MARK => rule.mark.get_or_insert(Mark { value: 0, mask: u32::MAX }).value = number(value, 0)?,
            // It is told of rules without a mark, too, as 0.
            MASK => match number(value, 0)? {
                0 => {}
                mask => rule.mark.get_or_insert(Mark { value: 0, mask }).mask = mask,
            },
            SUPPRESS_LENGTH if number(value, 0)? == NONE => {}
            SUPPRESS_LENGTH => rule.suppress = Some(u8::try_from(number(value, 0)?).ok()?),
            SUPPRESS_GROUP if number(value, 0)? == NONE => {}
            PROTOCOL => rule.protocol = *value.first()?,
            SOURCE => rule.own_address = Some(from_octets(value)?),
            INTERFACE if message::text(value) == LOOPBACK => from_here = true,
            CARRIED if value == [libc::IPPROTO_UDP as u8] => udp = true,
            SOURCE_PORTS => match *value.first_chunk::<4>()? {
                [a, b, c, d] if [a, b] == [c, d] => rule.own_port = Some(u16::from_ne_bytes([a, b])),
                _ => return None,
            },
            // Of one port all bits count (Linux 6.15 says so).
            SOURCE_PORT_MASK if value == u16::MAX.to_ne_bytes() => {}
            PADDING => {}
            _ => return None,
        }
    }
    let (port, address) = (rule.own_port.is_some(), rule.own_address.is_some());
    (from_here == (port || address) && udp == port && address == (source != 0)).then_some(rule)
}
