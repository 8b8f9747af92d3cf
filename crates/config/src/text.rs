//! Settings as TOML text: single values, and the starter file.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::load::schema;
use crate::path::{join_key, quote};
use crate::setting::Section;

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

/// A file that has every key with its description and its default, all commented out: it changes nothing until someone
/// takes out a `#`.
pub fn starter<R: Section>() -> String {
    let mut out = String::new();
    let schema = schema::<R>();
    comment(&mut out, &schema);
    comment_text(&mut out, "Each key is shown with its default. Take out the # before it to change it.");
    table(&mut out, &schema, "", "");
    out
}

/// The keys of one table, then the tables in it. `header` is the table's own line, for tables that are written out.
fn table(out: &mut String, schema: &Json, path: &str, header: &str) {
    let none = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    let (tables, leaves): (Vec<_>, Vec<_>) = properties.iter().partition(|(_, schema)| inner(schema).is_some());
    if !header.is_empty() {
        let _ = writeln!(out, "\n# {header}");
    }
    for (key, schema) in leaves {
        out.push('\n');
        comment(out, schema);
        let example = schema["examples"].get(0).or(schema["enum"].get(0)).cloned();
        let value = match (schema.get("default"), schema["type"].as_str(), example) {
            (Some(value), _, _) => toml_text(value),
            (None, _, Some(example)) => toml_text(&example),
            (None, Some("integer"), None) => toml_text(&schema["minimum"]),
            (None, Some("boolean"), None) => "true".into(),
            (None, Some("array"), None) => "[]".into(),
            (None, Some("object"), None) => "{}".into(),
            _ => "\"\"".into(),
        };
        let _ = writeln!(out, "# {} = {value}", join_key("", key));
    }
    for (key, schema) in tables {
        let path = join_key(path, key);
        out.push('\n');
        comment(out, schema);
        match inner(schema) {
            Some(Inner::Table(inner)) => table(out, inner, &path, &format!("[{path}]")),
            Some(Inner::Each(inner)) => table(out, inner, &path, &format!("[[{path}]]")),
            Some(Inner::Named(inner)) => {
                let path = join_key(&path, "NAME");
                table(out, inner, &path, &format!("[{path}]"));
            }
            None => {}
        }
    }
}

enum Inner<'a> {
    Table(&'a Json),
    Each(&'a Json),
    Named(&'a Json),
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
