//! Faults: what is wrong, where, what was expected and what to do; all of them, not the first.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::layers::{Document, ENV_PREFIX};
use crate::node::{Node, Value};
use crate::origin::{Origin, Place};
use crate::path;
use crate::setting::Setting;
use crate::text::toml_text;

/// How many faults a report holds; what comes after is counted.
const MOST: usize = 200;

/// How many keys the report of an unknown one names.
const MOST_KEYS: usize = 8;

/// The beginning of a key that is taken for all of it has at least so many octets.
const SHORT: usize = 3;

/// What is wrong with a key that means nothing where it stands.
const UNKNOWN: &str = "unknown key";

/// The most characters of a source line that a report shows.
const LINE_LIMIT: usize = 160;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The text could not be read.
    Syntax,
    /// A required key is absent; after a syntax error that may be no fault of its own.
    Missing,
    Other,
    /// The values can be read, and a section's check refuses them.
    Check,
    /// Nothing that keeps the configuration from being used.
    Warning,
}

impl Kind {
    /// What was expected, where the fault itself does not say.
    fn expected(self) -> Option<&'static str> {
        match self {
            Kind::Syntax => Some("TOML: key = value on a line, under the [table] that it belongs to"),
            Kind::Check => Some("values that agree with each other"),
            Kind::Other | Kind::Missing | Kind::Warning => None,
        }
    }

    /// What to do, where the fault itself does not say.
    fn help(self, key: &str, origin: &Origin) -> Option<String> {
        match (self, origin) {
            (Kind::Syntax, _) => {
                Some("correct the line; texts stand in quotes, and every quote and bracket is closed".into())
            }
            (Kind::Other | Kind::Check, Origin::Default) if !key.is_empty() => Some(format!("set {key}")),
            (Kind::Other, _) => Some("change this value".into()),
            (Kind::Check, _) => Some("change this value, or those that it has to agree with".into()),
            (Kind::Missing | Kind::Warning, _) => None,
        }
    }
}

/// One thing that is wrong with the configuration.
///
/// Build one with [`Fault::new`] and hand it to [`Faults::at`], [`Faults::on`] or [`At::fault`], which give it its key
/// and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    key: String,
    origin: Origin,
    source: Option<String>,
    found: String,
    expected: Option<String>,
    help: Option<String>,
    secret: bool,
    kind: Kind,
    /// Octets of the value, a text, that the fault lies in: from, how many.
    within: Option<(usize, usize)>,
}

impl Fault {
    /// A fault that says what is wrong, such as `overlaps subnet[1]`; it is shown after the key.
    pub fn new(found: impl Into<String>) -> Self {
        Self {
            key: String::new(),
            origin: Origin::Default,
            source: None,
            found: found.into(),
            expected: None,
            help: None,
            secret: false,
            kind: Kind::Other,
            within: None,
        }
    }

    /// Says what would have been right.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says which part of the value, a text, is at fault: `length` octets from `offset`. A report points there.
    #[must_use]
    pub fn within(mut self, offset: usize, length: usize) -> Self {
        self.within = Some((offset, length));
        self
    }

    /// Keeps the value out of the report: the source line is shown up to where it starts.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(crate) fn from(mut self, key: &str, origin: Origin, kind: Kind) -> Self {
        self.key = key.to_owned();
        self.origin = origin;
        self.kind = kind;
        self
    }

    /// The path of the key, empty for the whole document.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the fault lies.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What is wrong.
    pub fn found(&self) -> &str {
        &self.found
    }

    /// What to do, if that is known.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    fn is_warning(&self) -> bool {
        self.kind == Kind::Warning
    }

    /// For a machine: `severity` (`error` or `warning`), `key`, `found`, `expected`, `help`, `origin` (as text), and `file`, `line`, `column`, `source`
    /// where it lies in the file.
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "severity": if self.is_warning() { "warning" } else { "error" },
            "key": self.key, "found": self.found, "expected": self.expected, "help": self.help,
            "origin": self.origin.to_string(),
        });
        if let Origin::File(place) = &self.origin {
            json["file"] = json!(place.file.display().to_string());
            json["line"] = json!(place.line);
            json["column"] = json!(place.column);
            json["source"] = json!(self.shown_source(place));
        }
        json
    }

    /// The fault as text of several lines, pointing at its place, ended by a newline; `ansi` adds colour.
    pub fn render(&self, ansi: bool) -> String {
        let ink = Ink(ansi);
        let mut out = String::new();
        let subject = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, &ink, &subject);
        out
    }

    fn write(&self, out: &mut String, ink: &Ink, subject: &str) -> fmt::Result {
        let (colour, word) = if self.is_warning() { (Ink::YELLOW, "warning") } else { (Ink::RED, "error") };
        writeln!(out, "{}: {}", ink.paint(colour, word), ink.paint(Ink::BOLD, &format!("{subject}{}", self.found)))?;
        let margin = match &self.origin {
            Origin::File(place) => {
                let margin = " ".repeat(place.line.to_string().len());
                writeln!(out, "{margin}{} {}", ink.paint(Ink::BLUE, "-->"), self.origin)?;
                if let Some(source) = self.shown_source(place) {
                    let (shown, before) = window(&source, place.column);
                    let carets = place.width.min(shown.chars().count().saturating_sub(before.chars().count())).max(1);
                    let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                    let bar = ink.paint(Ink::BLUE, "|");
                    writeln!(out, "{margin} {bar}")?;
                    writeln!(out, "{} {bar} {shown}", ink.paint(Ink::BLUE, &place.line.to_string()))?;
                    writeln!(out, "{margin} {bar} {pad}{}", ink.paint(colour, &"^".repeat(carets)))?;
                }
                margin
            }
            Origin::Default => " ".into(),
            _ => {
                writeln!(out, " {} {}", ink.paint(Ink::BLUE, "-->"), self.origin)?;
                " ".into()
            }
        };
        for (label, text) in [("expected", &self.expected), ("help", &self.help)] {
            if let Some(text) = text {
                writeln!(out, "{margin} {} {}: {text}", ink.paint(Ink::BLUE, "="), ink.paint(Ink::BOLD, label))?;
            }
        }
        Ok(())
    }

    fn shown_source(&self, place: &Place) -> Option<String> {
        let source = self.source.as_deref()?;
        let printable = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
        if !self.secret {
            return Some(source.chars().map(printable).collect());
        }
        let before: String = source.chars().take(place.column.saturating_sub(1)).map(printable).collect();
        Some(format!("{before}********"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

/// The part of a line around a column, and what of it stands before the column.
fn window(line: &str, column: usize) -> (String, String) {
    let before = column.saturating_sub(1);
    let skip = if before > LINE_LIMIT / 2 && line.chars().count() > LINE_LIMIT { before - LINE_LIMIT / 2 } else { 0 };
    let shown: String = line.chars().skip(skip).take(LINE_LIMIT).collect();
    let before = shown.chars().take(before - skip).collect();
    (shown, before)
}

/// Terminal colours, or none.
struct Ink(bool);

impl Ink {
    const RED: &'static str = "\x1b[1;31m";
    const YELLOW: &'static str = "\x1b[1;33m";
    const BLUE: &'static str = "\x1b[1;34m";
    const BOLD: &'static str = "\x1b[1m";

    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 { format!("{code}{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Every fault found, in the order of the file, then the environment, then the flags.
///
/// It knows the document, so a check can name a key path and have it found there.
#[derive(Clone, Debug)]
pub struct Faults {
    document: Arc<Document>,
    list: Vec<Fault>,
    warnings: Vec<Fault>,
    omitted: usize,
    /// Keys that were taken out of the document because they are at fault.
    left_out: Vec<String>,
}

impl Faults {
    pub(crate) fn new(document: Arc<Document>) -> Self {
        Self { document, list: Vec::new(), warnings: Vec::new(), omitted: 0, left_out: Vec::new() }
    }

    /// A report on what is left of a document without `left_out`.
    pub(crate) fn on_rest(document: Arc<Document>, left_out: Vec<String>) -> Self {
        Self { left_out, ..Self::new(document) }
    }

    /// The faults that keep values from being read, apart from those that checks find in values that were.
    pub(crate) fn of_form(&self) -> impl Iterator<Item = &Fault> {
        self.list.iter().filter(|fault| fault.kind != Kind::Check)
    }

    /// Whether the text itself could not be read.
    pub(crate) fn in_syntax(&self) -> bool {
        self.list.iter().any(|fault| fault.kind == Kind::Syntax)
    }

    /// Takes over what checks have found in `rest`.
    pub(crate) fn add_checks(&mut self, rest: Self) {
        let known = |list: &[Fault], fault: &Fault| {
            list.iter().any(|known| known.key == fault.key && known.found == fault.found)
        };
        for fault in rest.list.into_iter().filter(|fault| fault.kind == Kind::Check) {
            if !known(&self.list, &fault) {
                self.push(fault);
            }
        }
        for warning in rest.warnings {
            if !known(&self.warnings, &warning) {
                self.push(warning);
            }
        }
    }

    /// Adds a fault at a key path. It points at that key, or at the nearest key above it that was written.
    pub fn at(&mut self, path: &str, fault: Fault) {
        let document = Arc::clone(&self.document);
        let segments = path::parse(path).unwrap_or_default();
        let (node, _) = document.root.nearest(&segments);
        self.push(fault.from(path, node.pointed().clone(), Kind::Other));
    }

    /// Adds a fault at a value.
    pub fn on(&mut self, node: &Node, fault: Fault) {
        self.push(fault.from(&node.path, node.pointed().clone(), Kind::Other));
    }

    /// Adds the fault that a value is nothing that `T` can be read from. Gives `None`, for [`Setting::read`] to return.
    pub fn wrong<T: Setting>(&mut self, node: &Node) -> Option<T> {
        let fault = Fault::new(format!("found {}", node.describe())).expected(T::expected());
        self.on(node, fault.help(remedy::<T>(node)));
        None
    }

    pub(crate) fn missing<T: Setting>(&mut self, table: &Node, key: &str, limits: Option<&str>) {
        let origin = self.document.root.nearest(&path::parse(&table.path).unwrap_or_default()).0.pointed().clone();
        let example = T::schema()["examples"].get(0).map(|example| format!(", such as {key} = {}", toml_text(example)));
        let fault = Fault::new("this key is required and missing")
            .expected(limits.map_or_else(T::expected, limited::<T>))
            .help(format!("add `{key}` to this table{}", example.unwrap_or_default()));
        self.push(fault.from(&path::join_key(&table.path, key), origin, Kind::Missing));
    }

    /// Adds the fault that a table has a key that means nothing there, with `advice` or the known key that it comes closest to.
    pub(crate) fn unknown(&mut self, node: &Node, key: &str, known: &[&str], advice: Option<&str>) {
        let near = nearest(key, known.iter().copied());
        let expected = match (known.len(), near) {
            (0..=MOST_KEYS, _) => format!("one of {}", known.join(", ")),
            (_, Some(near)) => format!("a key such as {near}; `outwork schema` has all {}", known.len()),
            (_, None) => {
                let mut alike: Vec<_> =
                    known.iter().map(|known| (strsim::damerau_levenshtein(key, known), *known)).collect();
                alike.sort_unstable();
                let alike: Vec<_> = alike.into_iter().take(MOST_KEYS).map(|(_, known)| known).collect();
                format!("a key such as {}; `outwork schema` has all {}", alike.join(", "), known.len())
            }
        };
        let help = match (near, &node.key_origin) {
            _ if advice.is_some() => advice.unwrap_or_default().to_owned(),
            (Some(near), Origin::Env(_)) => {
                let parent = node.path.strip_suffix(key).unwrap_or_default();
                let name = format!("{parent}{near}").replace('.', "__").to_ascii_uppercase();
                format!("did you mean {ENV_PREFIX}{name}?")
            }
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, _) => "remove it, or see `outwork schema` for every key".into(),
        };
        let fault = Fault::new(UNKNOWN).expected(expected).help(help);
        self.push(fault.from(&node.path, node.key_origin.clone(), Kind::Other));
    }

    /// Says of unknown keys at the top which sections have them: who takes one out of a comment may forget the header.
    pub(crate) fn tell_homes(&mut self, schema: &Json) {
        let at_the_top = |fault: &&mut Fault| fault.found == UNKNOWN && !fault.key.contains(['.', '[']);
        for fault in self.list.iter_mut().filter(at_the_top) {
            let homes = crate::text::homes(schema, &fault.key);
            if !homes.is_empty() {
                fault.help = Some(format!("it belongs in {}", homes.join(" or ")));
            }
        }
    }

    /// Adds the words of the limits to what the last fault expected, if that was the wrong value of `node`.
    pub(crate) fn limit<T: Setting>(&mut self, node: &Node, limits: &str) {
        if let Some(fault) = self.list.last_mut()
            && fault.key == node.path
            && fault.expected.as_deref() == Some(T::expected().as_str())
        {
            fault.expected = Some(limited::<T>(limits));
        }
    }

    pub(crate) fn push(&mut self, mut fault: Fault) {
        let list = if fault.is_warning() { &mut self.warnings } else { &mut self.list };
        if list.len() >= MOST {
            self.omitted += usize::from(!fault.is_warning());
            return;
        }
        fault.expected = fault.expected.or_else(|| fault.kind.expected().map(str::to_owned));
        fault.help = fault.help.or_else(|| fault.kind.help(&fault.key, &fault.origin));
        if let (Origin::File(place), Some(text)) = (&mut fault.origin, &self.document.text) {
            if let Some((offset, length)) = fault.within
                && let Some(part) = text.part(place, offset, length)
            {
                *place = part;
            }
            fault.source = text.line(place.line).map(str::to_owned);
        }
        list.push(fault);
    }

    /// Puts the faults in order, and drops those that a syntax error on the same line explains.
    pub(crate) fn settle(&mut self) {
        let line = |fault: &Fault| match &fault.origin {
            Origin::File(place) => Some(place.line),
            _ => None,
        };
        let broken: Vec<_> = self.list.iter().filter(|fault| fault.kind == Kind::Syntax).filter_map(line).collect();
        if !broken.is_empty() {
            // What the parser makes of the rest of a line that it could not read is no fault of its own.
            let mut told = Vec::new();
            self.list.retain(|fault| match line(fault).filter(|_| fault.kind == Kind::Syntax) {
                Some(line) if told.contains(&line) => false,
                Some(line) => {
                    told.push(line);
                    true
                }
                None => true,
            });
            // They speak of values, which may stand in what could not be read.
            self.warnings.clear();
            // What follows the header of a table that could not be read has gone to another table.
            let is_header = |fault: &&Fault| {
                fault.kind == Kind::Syntax
                    && fault.source.as_ref().is_some_and(|text| text.trim_start().starts_with('['))
            };
            let misled = self.list.iter().filter(is_header).filter_map(line).min().unwrap_or(usize::MAX);
            self.list.retain(|fault| match fault.kind {
                Kind::Syntax => true,
                Kind::Missing => false,
                Kind::Other | Kind::Check | Kind::Warning => {
                    line(fault).is_none_or(|line| !broken.contains(&line) && line < misled)
                }
            });
        }
        self.list.sort_by(|a, b| a.origin.cmp(&b.origin));
    }

    /// What should be looked at, and is no fault.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    pub(crate) fn into_warnings(mut self) -> Vec<Fault> {
        self.warnings.sort_by(|a, b| a.origin.cmp(&b.origin));
        self.warnings
    }

    /// The faults.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.list.iter()
    }

    /// How many there are, those past the bound of a report included.
    pub fn len(&self) -> usize {
        self.list.len() + self.omitted
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `Ok` with the value when there are no faults, else the faults in order.
    pub fn or<T>(mut self, value: T) -> Result<T, Self> {
        self.settle();
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The whole report as text, warnings last; `ansi` adds colour.
    pub fn render(&self, ansi: bool) -> String {
        let mut out = String::new();
        for fault in self.list.iter().chain(&self.warnings) {
            out.push_str(&fault.render(ansi));
            out.push('\n');
        }
        if self.omitted > 0 {
            out.push_str(&format!("… and {} more\n", self.omitted));
        }
        out
    }

    /// The whole report for a machine, warnings last: an array of [`Fault::to_json`].
    pub fn to_json(&self) -> Json {
        Json::Array(self.list.iter().chain(&self.warnings).map(Fault::to_json).collect())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Faults {}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A section's own place in the report, for its `check`.
pub struct At<'a> {
    node: &'a Node,
    faults: &'a mut Faults,
}

impl<'a> At<'a> {
    pub(crate) fn new(node: &'a Node, faults: &'a mut Faults) -> Self {
        Self { node, faults }
    }

    /// Adds a fault at a path below the section, such as `pool[0].start`; the empty path is the section itself.
    ///
    /// Where something else in that very table could not be read, or an element of the very array, the fault may come of that, and is left out.
    pub fn fault(&mut self, path: &str, fault: Fault) {
        let fault = self.place(path, fault, Kind::Check);
        let table = path::parent(&fault.key);
        let beside = |key: &String| !key.ends_with(']') && path::parent(key) == table;
        // Who misspells a key is not to hear that it is missing, too.
        let misspells = |other: &&Fault| {
            let (meant, written) = (path::last_key(&fault.key), path::last_key(&other.key));
            let is_beside = other.found == UNKNOWN && path::parent(&other.key) == table;
            is_beside && nearest(&written, std::iter::once(meant.as_str())).is_some()
        };
        let element = |key: &String| key.strip_prefix(&fault.key).is_some_and(|rest| rest.starts_with('['));
        let may_come_of_that = self.faults.left_out.iter().any(|key| beside(key) || element(key));
        if !may_come_of_that && !self.faults.list.iter().any(|other| misspells(&other)) {
            self.faults.push(fault);
        }
    }

    /// Adds a fault that comes of this value alone, such as a name that nothing has: it is told whatever else in its table could not be read.
    pub fn certain(&mut self, path: &str, fault: Fault) {
        let fault = self.place(path, fault, Kind::Check);
        self.faults.push(fault);
    }

    /// Adds a warning: the configuration can be used, but may not do what was meant.
    pub fn warn(&mut self, path: &str, warning: Fault) {
        let warning = self.place(path, warning, Kind::Warning);
        self.faults.push(warning);
    }

    /// Where a path below the section stands in the document, of which parts may have been left out.
    fn place(&self, path: &str, fault: Fault, kind: Kind) -> Fault {
        let segments = path::parse(path).unwrap_or_default();
        let (node, rest) = self.node.descend(&segments);
        let key = rest.iter().fold(node.path.clone(), |path, segment| match segment {
            path::Segment::Key(key) => path::join_key(&path, key),
            path::Segment::Index(index) => path::join_index(&path, *index),
        });
        fault.from(&key, node.pointed().clone(), kind)
    }

    /// The keys, below this section, that could not be read and were left out, by their paths in the document: a value
    /// that refers to them is no fault for that. Empty where everything could be read.
    pub fn left_out(&self) -> impl Iterator<Item = &str> + Clone {
        let own = self.node.path.as_str();
        self.faults.left_out.iter().filter_map(move |key| Some(key.strip_prefix(own)?.trim_start_matches('.')))
    }

    /// Whether a path below the section was set by anyone.
    pub fn is_set(&self, path: &str) -> bool {
        path::parse(path).is_ok_and(|segments| self.node.nearest(&segments).1)
    }
}

/// What is expected within limits, in words.
fn limited<T: Setting>(limits: &str) -> String {
    let expected = T::expected();
    // The range of the type says less.
    let what = expected.strip_prefix("a whole number").map_or(expected.as_str(), |_| "a whole number");
    let comma = if limits.starts_with("from ") && what.ends_with("number") { "" } else { "," };
    format!("{what}{comma} {limits}")
}

/// What to do about a value that is nothing that `T` can be read from.
pub(crate) fn remedy<T: Setting>(node: &Node) -> String {
    let schema = T::schema();
    if let Some(example) = schema["examples"].get(0) {
        return format!("write it like {}", toml_text(example));
    }
    match (schema["type"].as_str(), node.value()) {
        (Some("boolean"), _) => "write true or false, without quotes".into(),
        (Some("integer"), Value::Int(_)) => "choose a number in this range".into(),
        (Some("integer"), _) => "write a whole number, without quotes".into(),
        (Some("number"), _) => "write a number, without quotes".into(),
        (Some("string"), Value::Text(_)) => "write a text that is not empty".into(),
        (Some("string"), _) => "write it in quotes".into(),
        (Some("array"), Value::Text(text)) => match node.pointed() {
            Origin::Set(key) => {
                format!("write --set '{key}={}': a shell takes quotes away that stand alone", listed(text))
            }
            _ => format!("write it in brackets, as in {}", listed(text)),
        },
        (Some("array"), Value::Table(_)) => {
            format!("write [[{}]] above it, with two brackets on each side", path::header(&node.path))
        }
        (Some("array"), _) => "write it in brackets, its elements parted by commas".into(),
        (Some("object"), _) if node.path.ends_with(']') => "make it a table: { key = value }".into(),
        // A header would be of the last table of the array.
        (Some("object"), _) if node.path.contains(']') => {
            format!("make it a table: {} = {}", path::last_key(&node.path), sample(&schema))
        }
        (Some("object"), _) => format!("make it a table: [{}], and its keys below", node.path),
        _ => "see `outwork schema` for what this key takes".into(),
    }
}

/// What somebody has meant for a list, as one. Brackets that are there have lost the quotes within.
fn listed(text: &str) -> String {
    let inner = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let parts: Vec<&str> = inner.map_or_else(|| vec![text], |inner| inner.split(',').map(str::trim).collect());
    let quoted: Vec<String> = parts.into_iter().map(|part| toml_text(&Json::from(part))).collect();
    format!("[{}]", quoted.join(", "))
}

/// A table with the keys that it has to have, as it may be written on one line.
fn sample(schema: &Json) -> String {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let pairs = required.map(|key| {
        let inside = &schema["properties"][key];
        let value = match (inside["examples"].get(0), inside["type"].as_str()) {
            (Some(example), _) => toml_text(example),
            (None, Some("boolean")) => "true".into(),
            (None, Some("integer" | "number")) => inside.get("minimum").map_or_else(|| "1".into(), Json::to_string),
            (None, Some("array")) => "[]".into(),
            (None, Some("object")) => sample(inside),
            (None, _) => "\"…\"".into(),
        };
        format!("{} = {value}", path::join_key("", key))
    });
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
}

/// The known word that a word was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let known: Vec<&str> = known.collect();
    let alike = known.iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate));
    let near = alike.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate);
    // Others shorten what is written in full here.
    let mut longer = known.iter().filter(|candidate| word.len() >= SHORT && candidate.starts_with(word));
    near.or_else(|| longer.next().copied().filter(|_| longer.next().is_none()))
}
