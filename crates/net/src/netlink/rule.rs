//! Rules: packets that bear a mark are routed by a table of their own.

use std::fmt;

use super::message::{Request, attributes, number};
use super::{Asked, Connection, Result, change, question};

/// Octets of a `fib_rule_hdr`.
const STRUCTURE: usize = 12;
/// What a rule does: it hands to a table (`FR_ACT_TO_TBL`).
const TO_TABLE: u8 = 1;
/// Attributes (`linux/fib_rules.h`).
const PRIORITY: u16 = 6;
const MARK: u16 = 10;
const TABLE: u16 = 15;
const MASK: u16 = 16;

/// A rule for packets that bear a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it is for IPv6; else it is for IPv4.
    pub v6: bool,
    /// Its place: rules are gone through from the least number. That of the main table has 32766.
    pub priority: u32,
    /// The bits of a mark that count.
    pub mask: u32,
    /// What they have to be.
    pub mark: u32,
    /// The table that routes the packet. When it has no route for it, the next rule is asked.
    pub table: u32,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rule { v6, priority, mask, mark, table } = self;
        let family = if *v6 { "IPv6" } else { "IPv4" };
        write!(f, "{priority} that {family} packets with mark {mark:#x}/{mask:#x} are routed by table {table}")
    }
}

impl Connection {
    /// The rules for marks, of both families, in the order in which they are asked.
    pub fn rules(&mut self) -> Result<Vec<Rule>> {
        let mut rules = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let all = question(libc::RTM_GETRULE, &structure(family, 0));
            rules.extend(self.list(&all, read).asked(|| "list the rules".to_owned())?);
        }
        Ok(rules)
    }

    /// Adds a rule.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let request = about(libc::RTM_NEWRULE, libc::NLM_F_CREATE | libc::NLM_F_EXCL, rule);
        self.ask(request).asked(|| format!("add the rule {rule}"))
    }

    /// Removes a rule.
    pub fn remove_rule(&mut self, rule: &Rule) -> Result<()> {
        self.ask(about(libc::RTM_DELRULE, 0, rule)).asked(|| format!("remove the rule {rule}"))
    }
}

fn about(kind: u16, flags: i32, rule: &Rule) -> Request {
    let family = if rule.v6 { libc::AF_INET6 } else { libc::AF_INET };
    change(kind, flags, &structure(family, TO_TABLE))
        .number(PRIORITY, Some(rule.priority))
        .number(MARK, Some(rule.mark))
        .number(MASK, Some(rule.mask))
        .number(TABLE, Some(rule.table))
}

/// A `fib_rule_hdr`.
fn structure(family: i32, action: u8) -> [u8; STRUCTURE] {
    [family as u8, 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0]
}

/// Reads a `fib_rule_hdr` with its attributes. `None` for a rule that is not for a mark.
fn read(body: &[u8]) -> Option<Rule> {
    let [family, _, _, _, table, _, _, action, ..] = *body.first_chunk::<STRUCTURE>()?;
    let v6 = i32::from(family) == libc::AF_INET6;
    let mut rule = Rule { v6, priority: 0, mask: u32::MAX, mark: 0, table: table.into() };
    let mut marked = false;
    for (kind, value) in attributes(body.get(STRUCTURE..)?) {
        match kind {
            PRIORITY => rule.priority = number(value, 0)?,
            MARK => (rule.mark, marked) = (number(value, 0)?, true),
            MASK => rule.mask = number(value, 0)?,
            TABLE => rule.table = number(value, 0)?,
            _ => {}
        }
    }
    (marked && action == TO_TABLE).then_some(rule)
}
