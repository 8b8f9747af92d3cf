//! What the code of the macros calls. Not for use by hand.

use std::path::Path;

use serde_json::json;

pub use serde::{Serialize, Serializer};
pub use serde_json::{Map, Value as Json};

use crate::fault::{At, Fault, Faults, remedy};
use crate::node::Node;
pub use crate::path::join_key;
use crate::setting::{Effective, Limits, Ranged, Setting};

/// A section's place, for its check.
pub fn at<'a>(node: &'a Node, faults: &'a mut Faults) -> At<'a> {
    At::new(node, faults)
}

/// The key of a field: its name, less the mark of a raw identifier.
pub fn key(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Keys that other programs have, in small letters, and what to do instead.
pub type Foreign = &'static [(&'static str, &'static str)];

/// Adds a fault for each key of a table that is not a known one. `foreign` says what to write for those that others have.
pub fn refuse_unknown(node: &Node, known: &[&str], foreign: &[Foreign], faults: &mut Faults) {
    for (key, child) in node.table().into_iter().flatten() {
        if !known.contains(&key.as_str()) {
            let lower = key.to_ascii_lowercase();
            let advice = foreign.iter().copied().flatten().find(|(name, _)| *name == lower).map(|(_, advice)| *advice);
            faults.unknown(child, key, known, advice);
        }
    }
}

/// The limits of a key: what was expected, if a value lies outside of them; and their words.
pub type Within<T> = (fn(&T) -> Option<String>, fn() -> String);

/// Limits, in words.
pub fn limit_words<T: PartialOrd + Setting>(limits: &Limits<T>) -> String {
    limits.text()
}

/// Reads one key of a section.
pub fn field<T: Setting>(
    table: &Node,
    key: &'static str,
    default: Option<fn() -> T>,
    within: Option<Within<T>>,
    faults: &mut Faults,
) -> Option<T> {
    let node = table.get(key);
    let value = match (node, default) {
        (Some(node), _) => match T::read(node, faults) {
            Some(value) => value,
            None => {
                if let Some((_, limits)) = within {
                    faults.limit::<T>(node, &limits());
                }
                return None;
            }
        },
        (None, Some(default)) => default(),
        (None, None) => match T::absent() {
            Some(value) => value,
            None => {
                let limits = within.map(|(_, limits)| limits());
                faults.missing::<T>(table, key, limits.as_deref());
                return None;
            }
        },
    };
    match within.and_then(|(outside, _)| outside(&value)) {
        None => Some(value),
        Some(limits) => {
            let found =
                node.map_or_else(|| "the default is out of range".into(), |node| format!("found {}", node.describe()));
            faults.at(
                &join_key(table.path(), key),
                Fault::new(found).expected(limits).help("choose a value within these limits"),
            );
            None
        }
    }
}

/// What was expected, where a value lies outside its limits.
pub fn outside<T: Ranged>(value: &T, limits: &Limits<T::Bound>) -> Option<String> {
    (!value.within(limits)).then(|| format!("a value {}", limits.text()))
}

/// Limits, as words and as written.
pub struct Bounds {
    words: String,
    least: Option<Json>,
    greatest: Option<Json>,
}

/// Limits, for the schema.
pub fn bounds<T: PartialOrd + Setting>(limits: &Limits<T>) -> Bounds {
    let (least, greatest) = limits.written();
    Bounds { words: limits.text(), least, greatest }
}

/// Places the paths in one key of a section.
pub fn place<T: Setting>(value: &mut T, key: &str, node: Option<&Node>, folder: &Path) {
    value.place(node.and_then(|node| node.get(key)), folder);
}

/// Lists one key of a section.
pub fn list<T: Setting>(value: &T, path: &str, key: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
    value.list(&join_key(path, key), node.and_then(|node| node.get(key)), out);
}

/// The schema of a section, as it grows.
pub struct Object {
    about: String,
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl Object {
    /// A section without keys.
    pub fn new(about: &str) -> Self {
        Self { about: prose(about), properties: Map::new(), required: Vec::new() }
    }

    /// Adds a key.
    pub fn property<T: Setting>(
        &mut self,
        key: &'static str,
        about: &str,
        default: Option<fn() -> T>,
        bounds: Option<Bounds>,
        restart: bool,
    ) {
        let mut schema = T::schema();
        let mut about = prose(about);
        if let Some(bounds) = bounds {
            let target = if schema.get("items").is_some() { &mut schema["items"] } else { &mut schema };
            for (name, bound) in [("minimum", bounds.least), ("maximum", bounds.greatest)] {
                match bound {
                    Some(bound @ Json::Number(_)) => target[name] = bound,
                    Some(bound) => target["examples"] = json!([bound]),
                    None => {}
                }
            }
            about.push_str(&format!(" Allowed: {}.", bounds.words));
        }
        if restart {
            about.push_str(" A change needs a restart.");
        }
        schema["description"] = Json::from(about);
        match default.map(|default| default()).or_else(T::absent) {
            None => self.required.push(key),
            Some(value) => match value.write() {
                Json::Null => {}
                _ if T::SECTION => {}
                value => schema["default"] = value,
            },
        }
        self.properties.insert(key.to_owned(), schema);
    }

    /// The whole.
    pub fn finish(self) -> Json {
        let mut schema = json!({
            "type": "object",
            "description": self.about,
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        schema
    }
}

/// Doc lines as running text.
fn prose(doc: &str) -> String {
    let lines: Vec<_> = doc.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

/// What was expected of a choice.
pub fn expected_words(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Adds the fault that a value is none of a choice's words.
pub fn refuse_word(node: &Node, words: &[&str], faults: &mut Faults) {
    let fault = Fault::new(format!("found {}", node.describe())).expected(expected_words(words));
    let lower = node.text().map(str::to_lowercase);
    let near = lower.and_then(|word| crate::fault::nearest(&word, words.iter().copied()));
    let help = near
        .map_or_else(|| format!("choose one of {}", expected_words(words)), |near| format!("did you mean \"{near}\"?"));
    faults.on(node, fault.help(help));
}

/// The schema of a choice.
pub fn choice_schema(words: &[(&str, &str)]) -> Json {
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let each: Vec<_> = words.iter().map(|(word, about)| json!({"const": word, "description": prose(about)})).collect();
    json!({"type": "string", "enum": names, "oneOf": each})
}

/// What to do about an error, where there is more to say than about any of its kind.
pub type Advice<E> = fn(&E) -> Option<String>;

/// Reads a type that is written as one string. `advice` says what to do about an error, where that is known.
pub fn read_text<T: Setting + std::str::FromStr<Err: std::fmt::Display>>(
    node: &Node,
    faults: &mut Faults,
    advice: Option<Advice<T::Err>>,
) -> Option<T> {
    let Some(text) = node.text() else {
        return faults.wrong(node);
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let fault = Fault::new(format!("found {}: {error}", node.describe())).expected(T::expected());
            let help = advice.and_then(|advice| advice(&error)).unwrap_or_else(|| remedy::<T>(node));
            faults.on(node, fault.help(help));
            None
        }
    }
}

/// The schema of a type that is written as one string.
pub fn text_schema(example: &str) -> Json {
    json!({"type": "string", "examples": [example]})
}
