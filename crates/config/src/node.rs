//! The tree of what was written: raw values, each with its path and its origin.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::origin::Origin;
use crate::path::{Segment, join_index, join_key};

/// A raw value as it was written, before anyone says what it means.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; TOML promises 64 bits, and unsigned ones fit too.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// A string.
    Text(String),
    /// A date, a time, or both, as it was written. No setting takes one.
    Datetime(String),
    /// An array, or an array of tables.
    Array(Vec<Node>),
    /// A table.
    Table(BTreeMap<String, Node>),
}

/// A raw value with its key path and its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub(crate) path: String,
    /// Where the key stands; for an element of an array, where the element stands.
    pub(crate) key_origin: Origin,
    /// Where the value stands.
    pub(crate) origin: Origin,
    /// The text of a variable or a flag, before it was taken for TOML.
    pub(crate) raw: Option<Arc<str>>,
    pub(crate) value: Value,
}

impl Node {
    /// The path of its key from the root, such as `dhcp.subnet[2].pool[0]`; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the value came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The raw value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The text, if it is a string. What a variable or a flag says is text also where it looks like a number or a
    /// boolean, for a shell has no types.
    pub fn text(&self) -> Option<&str> {
        match (&self.value, &self.raw) {
            (Value::Text(text), _) => Some(text),
            (Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Datetime(_), Some(raw)) => Some(raw),
            _ => None,
        }
    }

    /// The value of a key, if this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.table()?.get(key)
    }

    /// The keys and values, if it is a table.
    pub fn table(&self) -> Option<&BTreeMap<String, Node>> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What it is, in words for a report: `the string "12x"`, `an array`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Bool(value) => format!("the boolean {value}"),
            Value::Int(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value:?}"),
            Value::Text(text) => format!("the string {}", shortened(text)),
            Value::Datetime(_) => "a date-time".into(),
            Value::Array(_) => "an array".into(),
            Value::Table(_) => "a table".into(),
        }
    }

    /// Where to point when the fault is that of the key or of the whole: a table has no place worth pointing at but its
    /// key.
    pub(crate) fn pointed(&self) -> &Origin {
        if self.table().is_some() { &self.key_origin } else { &self.origin }
    }

    /// The deepest node on the way to a path, and whether it is the path's own.
    pub(crate) fn nearest(&self, path: &[Segment]) -> (&Node, bool) {
        let (node, rest) = self.descend(path);
        (node, rest.is_empty())
    }

    /// The deepest node on the way to a path, and the rest of the way.
    pub(crate) fn descend<'p>(&self, path: &'p [Segment]) -> (&Node, &'p [Segment]) {
        let mut node = self;
        let mut rest = path;
        while let Some((segment, after)) = rest.split_first() {
            let next = match segment {
                Segment::Key(key) => node.get(key),
                Segment::Index(index) => node.items().and_then(|items| items.get(*index)),
            };
            let Some(next) = next else { break };
            (node, rest) = (next, after);
        }
        (node, rest)
    }

    /// Takes out the nodes of these paths, wherever they stand by now. The paths of those that stay are what they were.
    pub(crate) fn leave_out(&mut self, keys: &BTreeSet<String>) {
        match &mut self.value {
            Value::Table(table) => {
                table.retain(|_, node| !keys.contains(&node.path));
                table.values_mut().for_each(|node| node.leave_out(keys));
            }
            Value::Array(items) => {
                items.retain(|node| !keys.contains(&node.path));
                items.iter_mut().for_each(|node| node.leave_out(keys));
            }
            _ => {}
        }
    }

    pub(crate) fn empty_table(path: String, origin: Origin) -> Self {
        Self { path, key_origin: origin.clone(), origin, raw: None, value: Value::Table(BTreeMap::new()) }
    }

    /// The child of a table or array, under its path.
    pub(crate) fn child_path(&self, segment: &Segment) -> String {
        match segment {
            Segment::Key(key) => join_key(&self.path, key),
            Segment::Index(index) => join_index(&self.path, *index),
        }
    }
}

/// A string quoted for a report, cut where it is too long to help.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("\"{}…\"", text.get(..cut).unwrap_or_default().escape_debug()),
        None => format!("\"{}\"", text.escape_debug()),
    }
}
