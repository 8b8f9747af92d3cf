//! Lays the file, the environment and the flags over each other: one tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use crate::fault::{Fault, Kind};
use crate::node::{Node, Value};
use crate::origin::{Origin, Text};
use crate::path::{self, Segment};

/// What every variable that sets a key starts with; the rest is the key's path with `__` for each dot.
pub const ENV_PREFIX: &str = "OUTWORK__";

/// The most keys that may be chained with dots. No section lies nearly as deep; the bound keeps hostile text from
/// exhausting the stack, as the TOML parser's own bound does for brackets.
const DOTS: usize = 32;

/// How deep tables and arrays may lie in each other.
const DEPTH: usize = 100;

/// Where the configuration comes from, read by the caller: later layers win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name, for reports, and its text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables; those without [`ENV_PREFIX`] are passed over.
    pub env: Vec<(String, String)>,
    /// `--set` flags: `key=value`.
    pub set: Vec<String>,
}

/// The tree, and the text that it was read from.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) text: Option<Arc<Text>>,
    pub(crate) root: Node,
}

impl Document {
    /// The folder of the file, as the file was named to us.
    pub(crate) fn folder(&self) -> PathBuf {
        self.text.as_ref().and_then(|text| text.file.parent()).map(Path::to_owned).unwrap_or_default()
    }

    /// Lays the sources over each other. What is no TOML, no path or no `key=value` becomes a fault, and the rest is
    /// still read.
    pub(crate) fn lay(sources: Sources) -> (Self, Vec<Fault>) {
        let mut faults = Vec::new();
        let text = sources.file.map(|(path, text)| Arc::new(Text::new(&path, text)));
        let mut root = match &text {
            Some(text) => read_file(text, &mut faults),
            None => Node::empty_table(String::new(), Origin::Default),
        };
        let mut env: Vec<_> = sources.env.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        env.sort();
        for (name, value) in env {
            let origin = Origin::Env(name.as_str().into());
            let segments: Vec<_> = name
                .trim_start_matches(ENV_PREFIX)
                .split("__")
                .map(|key| Segment::Key(key.to_ascii_lowercase()))
                .collect();
            if segments.len() > DOTS {
                faults.push(too_deep().from("", Origin::Env("OUTWORK__… (a long name)".into()), Kind::Syntax));
                continue;
            }
            if segments.contains(&Segment::Key(String::new())) {
                let fault = Fault::new("a key in its name is empty").expected("OUTWORK__SECTION__KEY");
                faults.push(fault.from(name.as_str(), origin, Kind::Syntax));
                continue;
            }
            Layer { raw: value.as_str().into(), origin, faults: &mut faults }.lay(&mut root, &segments);
        }
        for flag in &sources.set {
            match path::parse_prefix(flag.trim_start()) {
                Ok((segments, _)) if segments.len() > DOTS => {
                    faults.push(too_deep().from("", Origin::Set("(a long key)".into()), Kind::Syntax));
                }
                Ok((segments, rest)) if rest.trim_start().starts_with('=') => {
                    let value = rest.trim_start().trim_start_matches('=').trim();
                    let key = flag.trim_start().strip_suffix(rest).unwrap_or(flag);
                    let origin = Origin::Set(key.into());
                    Layer { raw: value.into(), origin, faults: &mut faults }.lay(&mut root, &segments);
                }
                outcome => {
                    let found = outcome.err().unwrap_or("there is no value");
                    let fault = Fault::new(found).expected("key=value").help("write --set dhcp.lease_time=2h");
                    faults.push(fault.from(flag, Origin::Set(flag.as_str().into()), Kind::Syntax));
                }
            }
        }
        (Self { text, root }, faults)
    }
}

fn read_file(text: &Text, faults: &mut Vec<Fault>) -> Node {
    let origin = Origin::File(text.place(0..0));
    let mut refuse = |span, fault: Fault| {
        faults.push(fault.from("", Origin::File(text.place(span)), Kind::Syntax));
        Node::empty_table(String::new(), origin.clone())
    };
    if let Some(span) = deep_key(&text.text) {
        return refuse(span, too_deep());
    }
    let (table, errors) = DeTable::parse_recoverable(&text.text);
    if let (false, Some(at)) = (errors.is_empty(), json_start(&text.text)) {
        let help = format!("this looks like the JSON of Kea: `outwork import kea {}` converts it", text.file.display());
        return refuse(at..at + 1, Fault::new("this is JSON").expected("TOML").help(help));
    }
    if let Some(span) = table.get_ref().iter().find_map(|(_, value)| deep_value(value, 1)) {
        return refuse(span, Fault::new(format!("tables and arrays lie more than {DEPTH} deep in each other")));
    }
    for error in errors {
        let place = text.place(error.span().unwrap_or(text.text.len()..text.text.len()));
        faults.push(Fault::new(error.message()).from("", Origin::File(place), Kind::Syntax));
    }
    let grow = Grow { at: &|span| Origin::File(text.place(span)) };
    // What nobody wrote has no place in the file.
    let mut root = Node::empty_table(String::new(), Origin::Default);
    root.value = grow.table(table.get_ref(), "", &origin);
    root
}

/// Where the object starts, if this is JSON behind nothing but comments, in any of the notations that Kea knows.
fn json_start(text: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if rest.starts_with('{') {
            return Some(text.len() - rest.len());
        } else if rest.starts_with('#') || rest.starts_with("//") {
            rest = rest.split_once('\n')?.1;
        } else {
            rest = rest.strip_prefix("/*")?.split_once("*/")?.1;
        }
    }
}

fn too_deep() -> Fault {
    Fault::new("this key has too many parts").expected(format!("at most {DOTS}"))
}

/// The first key that is chained of more than [`DOTS`] parts.
fn deep_key(text: &str) -> Option<std::ops::Range<usize>> {
    let mut dots = 0;
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot if dots == DOTS => return Some(token.span().start()..token.span().end()),
            TokenKind::Dot => dots += 1,
            TokenKind::Atom | TokenKind::Whitespace | TokenKind::BasicString | TokenKind::LiteralString => {}
            _ => dots = 0,
        }
    }
    None
}

/// The first value that lies deeper than [`DEPTH`], which dotted keys inside inline tables can reach.
fn deep_value(value: &Spanned<DeValue<'_>>, depth: usize) -> Option<std::ops::Range<usize>> {
    if depth > DEPTH {
        return Some(value.span());
    }
    match value.get_ref() {
        DeValue::Array(items) => items.iter().find_map(|item| deep_value(item, depth + 1)),
        DeValue::Table(table) => table.iter().find_map(|(_, value)| deep_value(value, depth + 1)),
        _ => None,
    }
}

/// Grows nodes from parsed TOML; `at` says where a span of it lies.
struct Grow<'a> {
    at: &'a dyn Fn(std::ops::Range<usize>) -> Origin,
}

impl Grow<'_> {
    fn table(&self, table: &DeTable<'_>, path: &str, above: &Origin) -> Value {
        let grown = table.iter().map(|(key, value)| {
            let name = key.get_ref().as_ref();
            let origin = self.origin(key.span(), above);
            (name.to_owned(), self.node(value, path::join_key(path, name), &origin))
        });
        Value::Table(grown.collect())
    }

    fn node(&self, value: &Spanned<DeValue<'_>>, path: String, key_origin: &Origin) -> Node {
        let origin = self.origin(value.span(), key_origin);
        let value = match value.get_ref() {
            DeValue::Boolean(value) => Value::Bool(*value),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Text(number.as_str().to_owned()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => Value::Text(number.as_str().to_owned()),
            },
            DeValue::String(text) => Value::Text(text.as_ref().to_owned()),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(items) => {
                let grown = items.iter().enumerate().map(|(index, item)| {
                    let element = self.origin(item.span(), &origin);
                    self.node(item, path::join_index(&path, index), &element)
                });
                Value::Array(grown.collect())
            }
            DeValue::Table(table) => self.table(table, &path, key_origin),
        };
        Node { path, key_origin: key_origin.clone(), origin, raw: None, value }
    }

    /// Where a span lies; an empty one is what recovery from a syntax error made up, and lies where its parent does.
    fn origin(&self, span: std::ops::Range<usize>, above: &Origin) -> Origin {
        if span.is_empty() { above.clone() } else { (self.at)(span) }
    }
}

/// One variable or flag on its way into the tree.
struct Layer<'a> {
    raw: Arc<str>,
    origin: Origin,
    faults: &'a mut Vec<Fault>,
}

impl Layer<'_> {
    /// TOML where it is TOML, and else the text itself: `2h` needs no quotes.
    fn lay(self, root: &mut Node, segments: &[Segment]) {
        let raw = Arc::clone(&self.raw);
        let parsed = if deep_key(&raw).is_none() { DeValue::parse(&raw).ok() } else { None };
        let parsed = parsed.filter(|value| deep_value(value, 1).is_none());
        let text = || Spanned::new(0..raw.len(), DeValue::String(raw.as_ref().into()));
        self.descend(root, segments, &parsed.unwrap_or_else(text));
    }

    fn descend(self, node: &mut Node, segments: &[Segment], value: &Spanned<DeValue<'_>>) {
        let Some((segment, rest)) = segments.split_first() else {
            let grow = Grow { at: &|_| self.origin.clone() };
            let grown = grow.node(value, node.path.clone(), &self.origin);
            return merge(node, Node { raw: Some(self.raw), ..grown });
        };
        if let Value::Array(items) = &mut node.value
            && let Some(index) = as_index(segment)
        {
            let count = items.len();
            return match items.get_mut(index) {
                Some(item) => self.descend(item, rest, value),
                None => {
                    let fault = Fault::new(format!("there is no element {index}"))
                        .expected(format!("an index below {count}, the number of elements that the file has"));
                    let key = path::join_index(&node.path, index);
                    self.faults.push(fault.from(&key, self.origin.clone(), Kind::Other));
                }
            };
        }
        let path = node.child_path(segment);
        let key = match segment {
            Segment::Key(key) => key.clone(),
            Segment::Index(index) => index.to_string(),
        };
        if node.table().is_none() {
            *node = Node::empty_table(std::mem::take(&mut node.path), self.origin.clone());
        }
        if let Value::Table(table) = &mut node.value {
            let child = table.entry(key).or_insert_with(|| Node::empty_table(path, self.origin.clone()));
            self.descend(child, rest, value);
        }
    }
}

fn as_index(segment: &Segment) -> Option<usize> {
    match segment {
        Segment::Index(index) => Some(*index),
        Segment::Key(key) => key.parse().ok(),
    }
}

/// Tables are merged key by key; anything else is replaced.
fn merge(under: &mut Node, over: Node) {
    match (&mut under.value, over.value) {
        (Value::Table(below), Value::Table(above)) => {
            for (key, node) in above {
                match below.get_mut(&key) {
                    Some(there) => merge(there, node),
                    None => {
                        below.insert(key, node);
                    }
                }
            }
        }
        (_, value) => *under = Node { value, ..over },
    }
}
