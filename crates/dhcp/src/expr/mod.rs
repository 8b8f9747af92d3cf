//! Expressions over a client's message: the tests of client classes and the flex identifier.
//!
//! The language is Kea's test expressions, so imported ones work unchanged, with `match`, `starts_with`, `in` (MAC
//! prefixes), `pkt4.secs`, `pkt4.hops` and sub-option names added. Everything is octets or a condition; a field that the message lacks is empty.
//!
//! - `lexer`: text to tokens, each with where it stands.
//! - `parser`: tokens to a compact tree, names resolved; types checked with errors that say what was expected.
//! - `eval`: a tree over `Fields`. Total: never panics, work bounded by the expression's size; comparing fields with
//!   literals allocates nothing.
//!
//! Absent on purpose: arithmetic, ordering, IPv6 and DHCPv6's fields.
#![deny(clippy::disallowed_methods)]

mod eval;
mod lexer;
mod parser;

#[cfg(test)]
mod tests;

use crate::options::{Definitions, Kind, sub_options};
use std::borrow::Cow;
use std::net::Ipv4Addr;

/// The longest expression, in octets.
pub const MAX_TEXT: usize = 64 * 1024;
/// How deep parentheses, functions and `not` may nest.
pub const MAX_DEPTH: usize = 48;
/// How many fields, literals and functions an expression may have.
pub const MAX_NODES: usize = 8192;
/// The longest value a function gives, in octets; what is longer is cut.
pub const MAX_VALUE: usize = 4096;

/// What an expression reads. The engine implements it over a decoded message; octets are as received.
pub trait Fields {
    /// An option's data, split options joined.
    fn option(&self, code: u8) -> Option<&[u8]>;
    /// The client's hardware address: `hlen` octets of `chaddr`.
    fn mac(&self) -> &[u8];
    /// The hardware type (`htype`).
    fn htype(&self) -> u8;
    /// An address of the header or of the packet that carried it.
    fn address(&self, field: Address) -> Ipv4Addr;
    /// The DHCP message type (option 53), 0 for BOOTP.
    fn message_type(&self) -> u8;
    /// Seconds since the client began (`secs`).
    fn secs(&self) -> u16;
    /// Relay agents passed (`hops`).
    fn hops(&self) -> u8;
    /// The transaction id (`xid`).
    fn transaction_id(&self) -> u32;
    /// The interface it came in on.
    fn interface(&self) -> &str;
    /// The length of the DHCP message, in octets.
    fn length(&self) -> usize;
    /// True if the client is known to be in a class by now.
    fn member(&self, class: &str) -> bool;

    /// A sub-option the relay agent added (option 82).
    fn relay_suboption(&self, code: u8) -> Option<&[u8]> {
        sub_options(self.option(82)?).find(|(found, _)| *found == code).map(|(_, data)| data)
    }
}

/// Addresses of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// `ciaddr`.
    Client,
    /// `yiaddr`.
    Your,
    /// `siaddr`.
    NextServer,
    /// `giaddr`.
    Relay,
    /// Where the packet came from.
    Source,
    /// Where the packet went to.
    Destination,
}

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct ExprError {
    /// Offset in the text, in octets.
    pub offset: usize,
    /// "column 7", or "line 2, column 7" in a text of several lines.
    pub place: String,
    /// What was expected, what was found, what to do.
    pub reason: String,
}

impl ExprError {
    /// Octets of the token in `text`, the expression, that it is about.
    pub fn length(&self, text: &str) -> usize {
        let rest = text.get(self.offset..).unwrap_or_default();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                rest.get(1..).and_then(|rest| rest.find(quote)).map_or(rest.len(), |at| at + 2)
            }
            Some(first) if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            Some('=' | '!') => rest.find(|c| c != '=' && c != '!').unwrap_or(rest.len()),
            Some(first) => first.len_utf8(),
            None => 1,
        }
    }

    fn new(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        let place = match (text.contains('\n'), before.matches('\n').count() + 1) {
            (false, _) => format!("column {column}"),
            (true, line) => format!("line {line}, column {column}"),
        };
        Self { offset, place, reason: reason.into() }
    }
}

/// A condition on a message: the test of a client class.
#[derive(Debug, Clone)]
pub struct Test {
    text: Box<str>,
    root: Condition,
    classes: Vec<Box<str>>,
}

impl Test {
    /// Compiles `text`; option names are those of `definitions`.
    pub fn parse(text: &str, definitions: &Definitions) -> Result<Self, ExprError> {
        let (root, classes) = parser::condition(text, definitions)?;
        Ok(Self { text: text.into(), root, classes })
    }

    /// True if the message meets the condition.
    pub fn holds(&self, fields: &impl Fields) -> bool {
        eval::condition(&self.root, fields)
    }

    /// The classes it asks for with `member`, each once: they must be decided before.
    #[must_use]
    pub fn classes(&self) -> &[Box<str>] {
        &self.classes
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Octets made of a message: the flex identifier of a client.
#[derive(Debug, Clone)]
pub struct Identifier {
    text: Box<str>,
    root: Bytes,
}

impl Identifier {
    /// Compiles `text`; option names are those of `definitions`.
    pub fn parse(text: &str, definitions: &Definitions) -> Result<Self, ExprError> {
        Ok(Self { text: text.into(), root: parser::bytes(text, definitions)? })
    }

    /// The identifier, or `None` if the expression gives nothing for this message.
    pub fn identify<'a>(&'a self, fields: &'a impl Fields) -> Option<Cow<'a, [u8]>> {
        let octets = eval::bytes(&self.root, fields).into_cow();
        (!octets.is_empty()).then_some(octets)
    }

    /// The text it was compiled from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Hardware address prefixes.
type Prefixes = Box<[Box<[u8]>]>;

#[derive(Debug, Clone)]
enum Condition {
    Not(Box<Condition>),
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Equal(Box<(Bytes, Bytes)>),
    Exists(Field),
    Member(Box<str>),
    Match(Box<(regex::bytes::Regex, Bytes)>),
    StartsWith(Box<(Bytes, Bytes)>),
    /// The octets start with one of these.
    In(Box<Bytes>, Prefixes),
}

#[derive(Debug, Clone)]
enum Bytes {
    Literal(Box<[u8]>),
    Field(Field),
    /// A field as text: its trailing NULs cut, or written out by its type.
    Text(Field, Option<Box<Kind>>),
    /// From a start (from the end if negative), a length (before the start if negative; `None` is all).
    Substring(Box<Bytes>, i64, Option<i64>),
    Concat(Box<[Bytes]>),
    IfElse(Box<(Condition, Bytes, Bytes)>),
    /// Octets, separator.
    HexString(Box<(Bytes, Bytes)>),
    /// Text, delimiters; which part, from 1.
    Split(Box<(Bytes, Bytes)>, usize),
    Lower(Box<Bytes>),
    Upper(Box<Bytes>),
    AddressText(Box<Bytes>),
    /// Of so many octets, signed or not.
    IntegerText(Box<Bytes>, usize, bool),
}

/// One thing to read off a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Option(u8),
    SubOption(u8, u8),
    RelaySubOption(u8),
    Mac,
    HardwareType,
    HardwareLength,
    Address(Address),
    MessageType,
    Seconds,
    Hops,
    TransactionId,
    Interface,
    Length,
    /// Vendor options (125) of one enterprise, or of any.
    Vendor(Option<u32>),
    VendorEnterprise,
    VendorOption(Option<u32>, u8),
    /// Vendor class (124) of one enterprise, or of any; which one of them, from 0.
    VendorClass(Option<u32>, usize),
    VendorClassEnterprise,
}
