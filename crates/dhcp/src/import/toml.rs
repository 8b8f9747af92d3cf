//! The text of an Outwork file.
use crate::options::Value;
use std::fmt::Write;
use std::time::Duration;

/// Lists longer than this go onto lines of their own.
const WIDTH: usize = 100;

/// A file as it grows.
#[derive(Debug, Default)]
pub(super) struct Document(pub(super) String);

impl Document {
    pub(super) fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.0.push_str(format!("# {line}").trim_end());
            self.0.push('\n');
        }
    }

    pub(super) fn blank(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// Begins a table: `[dhcp]` or `[[dhcp.subnet]]`, brackets included.
    pub(super) fn table(&mut self, header: &str) {
        self.0.push_str(header);
        self.0.push('\n');
    }

    pub(super) fn pair(&mut self, key: &str, value: &Value) {
        self.raw_pair(key, &lines(value));
    }

    /// A pair whose value is TOML already.
    pub(super) fn raw_pair(&mut self, key: &str, value: &str) {
        let _ = writeln!(self.0, "{} = {value}", self::key(key));
    }
}

pub(super) fn key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if bare { key.to_owned() } else { text(key) }
}

pub(super) fn text(text: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '\'';
    if text.contains(['"', '\\']) && text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for symbol in text.chars() {
        match symbol {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => _ = write!(quoted, "\\u{:04X}", u32::from(control)),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// A value on one line.
pub(super) fn inline(value: &Value) -> String {
    match value {
        Value::Bool(_) | Value::Integer(_) => value.to_string(),
        Value::Text(value) => text(value),
        Value::List(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Table(entries) => {
            let pairs: Vec<String> = entries.iter().map(|(k, v)| format!("{} = {}", key(k), inline(v))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// A value on one line, or a long list with an item a line.
fn lines(value: &Value) -> String {
    let line = inline(value);
    match value {
        Value::List(items) if line.len() > WIDTH => list(items.iter().map(inline)),
        _ => line,
    }
}

/// A list with an item a line.
pub(super) fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: String = items.into_iter().map(|item| format!("  {item},\n")).collect();
    format!("[\n{items}]")
}

/// A duration in the largest unit that divides it: `12h`, `90s`.
pub(super) fn duration(duration: Duration) -> Value {
    let seconds = duration.as_secs();
    let unit = [(86_400, "d"), (3_600, "h"), (60, "m")]
        .into_iter()
        .find(|(size, _)| seconds > 0 && seconds.is_multiple_of(*size));
    Value::Text(match unit {
        Some((size, unit)) => format!("{}{unit}", seconds / size),
        None => format!("{seconds}s"),
    })
}
