//! Settings as TOML text: single values, and the starter file.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::load::schema;
use crate::path::{join_key, quote};
use crate::setting::Section;

/// The mark, in a schema, of a table that may be absent.
pub(crate) const OPTIONAL: &str = "x-optional";
/// The width that comments of the starter file are wrapped to.
const WIDTH: usize = 100;

/// A value as it is written in TOML, on one line; `null`, which TOML has not, is `unset`.
pub fn toml_text(value: &Json) -> String {
    match value {
        Json::Null => "unset".into(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => quote(text),
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(toml_text).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(table) => {
            let pairs: Vec<_> = table
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{} = {}", join_key("", key), toml_text(value)))
                .collect();
            if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
    }
}

/// A file that has every key with its description, and changes nothing as it is. A key that has a default stands there with
/// it behind a single `#`; a key that has none, and what may be there many times or not at all, is only explained. Headers
/// of tables are not commented out, so that a key needs nothing but its own `#` taken out. `example` is TOML that stands
/// before the first table, commented out likewise.
pub fn starter<R: Section>(example: &str) -> String {
    let mut out = String::new();
    let schema = schema::<R>();
    comment(&mut out, &schema);
    comment_text(
        &mut out,
        "A line with a single # is a key with its default: take out the # to change it. Lines with ## explain. A key \
         that has no default is shown in one of them without a value: to set it, write a line with yours below the \
         [section].",
    );
    table(&mut out, &schema, "", true, example);
    out
}

/// The keys of one table, then the tables in it; `example` stands between them. What is not `live` is only explained.
fn table(out: &mut String, schema: &Json, path: &str, live: bool, example: &str) {
    let none = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let (tables, leaves): (Vec<_>, Vec<_>) = properties.iter().partition(|(_, schema)| inner(schema).is_some());
    let is_required = |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|one| one == key));
    for (key, schema) in leaves {
        out.push('\n');
        comment(out, schema);
        let name = join_key("", key);
        let _ = match schema.get("default") {
            Some(value) if live => writeln!(out, "# {name} = {}", toml_text(value)),
            Some(value) => writeln!(out, "##   {name} = {}", toml_text(value)),
            None => {
                let without = if is_required(key) { "required" } else { "unset by default" };
                writeln!(out, "##   {name} =   ({}; {without})", takes(schema))
            }
        };
    }
    for line in example.lines() {
        let mark = if line.is_empty() || line.starts_with('#') { "#" } else { "# " };
        let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { mark });
    }
    for (key, schema) in tables {
        out.push('\n');
        comment(out, schema);
        let Some(inner) = inner(schema) else { continue };
        let (path, header, inside) = inner.headed(&join_key(path, key));
        let is_optional = inside.get("required").is_some() || inside.get(OPTIONAL).is_some();
        let live = live && matches!(inner, Inner::Table(_)) && !is_optional;
        let _ = writeln!(out, "\n{}{header}", if live { "" } else { "##   " });
        table(out, inside, &path, live, "");
    }
}

/// What a key without a default takes, in words.
fn takes(schema: &Json) -> String {
    let words: Vec<_> = schema["enum"].as_array().into_iter().flatten().map(toml_text).collect();
    match (words.split_last(), schema["examples"].get(0), schema["type"].as_str()) {
        (Some((last, [])), ..) => last.clone(),
        (Some((last, rest)), ..) => format!("{} or {last}", rest.join(", ")),
        (None, Some(example), _) => format!("such as {}", toml_text(example)),
        (None, None, Some("integer")) => "a whole number".into(),
        (None, None, Some("number")) => "a number".into(),
        (None, None, Some("boolean")) => "true or false".into(),
        (None, None, Some("array")) => "an array".into(),
        (None, None, Some("object")) => "a table".into(),
        (None, None, Some("string")) => "a text".into(),
        (None, None, _) => "`outwork schema` says what".into(),
    }
}

/// The headers of the tables that have a key.
pub(crate) fn homes(schema: &Json, key: &str) -> Vec<String> {
    fn walk(schema: &Json, path: &str, wanted: &str, found: &mut Vec<String>) {
        for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
            let Some(inner) = inner(schema) else { continue };
            let (path, header, inside) = inner.headed(&join_key(path, key));
            if inside["properties"].get(wanted).is_some() {
                found.push(header);
            }
            walk(inside, &path, wanted, found);
        }
    }
    let mut found = Vec::new();
    walk(schema, "", key, &mut found);
    found
}

enum Inner<'a> {
    Table(&'a Json),
    Each(&'a Json),
    Named(&'a Json),
}

impl<'a> Inner<'a> {
    /// The path of such a table and its header, where `path` is that of its key; and what it has.
    fn headed(&self, path: &str) -> (String, String, &'a Json) {
        match self {
            Self::Table(inside) => (path.to_owned(), format!("[{path}]"), inside),
            Self::Each(inside) => (path.to_owned(), format!("[[{path}]]"), inside),
            Self::Named(inside) => {
                let path = join_key(path, "NAME");
                let header = format!("[{path}]");
                (path, header, inside)
            }
        }
    }
}

/// The section inside a schema, if there is one.
fn inner(schema: &Json) -> Option<Inner<'_>> {
    let is_section = |schema: &Json| schema.get("properties").is_some();
    if is_section(schema) {
        Some(Inner::Table(schema))
    } else if schema.get("items").is_some_and(is_section) {
        schema.get("items").map(Inner::Each)
    } else if schema.get("additionalProperties").is_some_and(is_section) {
        schema.get("additionalProperties").map(Inner::Named)
    } else {
        None
    }
}

fn comment(out: &mut String, schema: &Json) {
    comment_text(out, schema["description"].as_str().unwrap_or_default());
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        let text = format!("- {}: {}", toml_text(&choice["const"]), choice["description"].as_str().unwrap_or_default());
        comment_text(out, &text);
    }
}

fn comment_text(out: &mut String, text: &str) {
    let mut line = String::from("##");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{line}");
            line.truncate(2);
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > 2 {
        let _ = writeln!(out, "{line}");
    }
}
