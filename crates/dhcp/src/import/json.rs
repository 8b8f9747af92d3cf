//! Kea's JSON dialect (comments of three kinds, trailing commas), and a reader of objects that knows what nobody asked
//! for, so that nothing a file says gets lost in silence.
use super::kea::{KeaError, Note, NoteKind};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What came of a file so far.
#[derive(Debug, Default)]
pub(super) struct Notes(pub(super) Vec<Note>);

impl Notes {
    /// Something that does not come along.
    pub(super) fn lost(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Note { path: path.into(), kind: NoteKind::Lost, reason: reason.into() });
    }

    /// Something that Outwork does in another way.
    pub(super) fn changed(&mut self, path: impl Into<String>, reason: impl Into<String>) {
        self.0.push(Note { path: path.into(), kind: NoteKind::Changed, reason: reason.into() });
    }
}

/// Blanks comments and trailing commas, keeping every line and column, and parses the rest.
pub(super) fn parse(text: &str) -> Result<Value, KeaError> {
    let plain = blank(text)?;
    serde_json::from_str(&plain).map_err(|fault| KeaError::Json {
        line: fault.line(),
        column: fault.column(),
        reason: fault.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
    })
}

fn blank(text: &str) -> Result<String, KeaError> {
    let mut plain = Vec::with_capacity(text.len());
    // Where the last comma stands if only space came after it.
    let mut comma = None;
    let mut rest = text;
    while let Some(symbol) = rest.chars().next() {
        let line = || text.get(..text.len() - rest.len()).unwrap_or_default().matches('\n').count() + 1;
        let (length, keep) = match symbol {
            '"' => (string_length(rest), true),
            '#' => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => match rest.find("*/") {
                Some(end) => (end + 2, false),
                None => return Err(KeaError::Comment { line: line() }),
            },
            '<' if rest.starts_with("<?include") => {
                let file = rest.split('"').nth(1).unwrap_or_default().to_owned();
                return Err(KeaError::Include { line: line(), file });
            }
            _ => (symbol.len_utf8(), true),
        };
        let (token, after) = rest.split_at(length);
        match symbol {
            ',' => comma = Some(plain.len()),
            ']' | '}' => {
                if let Some(slot) = comma.take().and_then(|at: usize| plain.get_mut(at)) {
                    *slot = b' ';
                }
            }
            _ if keep && !symbol.is_whitespace() => comma = None,
            _ => {}
        }
        if keep {
            plain.extend_from_slice(token.as_bytes());
        } else {
            plain.extend(token.bytes().map(|octet| if octet == b'\n' { b'\n' } else { b' ' }));
        }
        rest = after;
    }
    String::from_utf8(plain).map_err(|_| KeaError::Json { line: 1, column: 1, reason: "not UTF-8".to_owned() })
}

/// The octets of the string that `text` begins with, quotes included; all of it if it does not end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, symbol) in text.char_indices().skip(1) {
        match symbol {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// An object of the file, which remembers what was read of it.
pub(super) struct Object<'a> {
    pub(super) path: String,
    map: &'a Map<String, Value>,
    read: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    /// The object at `path`; a note if something else is there.
    pub(super) fn new(path: impl Into<String>, value: &'a Value, notes: &mut Notes) -> Option<Self> {
        let path = path.into();
        match value {
            Value::Object(map) => Some(Self { path, map, read: BTreeSet::new() }),
            other => {
                notes.lost(path, format!("expected an object, found {}", describe(other)));
                None
            }
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    /// The value of a key, from now on read.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.read.insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The value of a key, which is as unread as before.
    pub(super) fn peek(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// True if a key has something in it: not "", and not an empty list.
    pub(super) fn has(&self, key: &str) -> bool {
        self.peek(key).is_some_and(|value| !(value == "" || value.as_array().is_some_and(Vec::is_empty)))
    }

    fn typed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        notes: &mut Notes,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let converted = convert(value);
        if converted.is_none() {
            notes.lost(self.path_of(key), format!("expected {expected}, found {}", describe(value)));
        }
        converted
    }

    pub(super) fn text(&mut self, key: &'static str, notes: &mut Notes) -> Option<&'a str> {
        self.typed(key, "text", notes, Value::as_str)
    }

    /// Text that says something: Kea writes "" for "not set".
    pub(super) fn filled(&mut self, key: &'static str, notes: &mut Notes) -> Option<&'a str> {
        self.text(key, notes).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&mut self, key: &'static str, notes: &mut Notes) -> Option<bool> {
        self.typed(key, "true or false", notes, Value::as_bool)
    }

    pub(super) fn number(&mut self, key: &'static str, notes: &mut Notes) -> Option<u64> {
        self.typed(key, "a whole number", notes, Value::as_u64)
    }

    pub(super) fn fraction(&mut self, key: &'static str, notes: &mut Notes) -> Option<f64> {
        self.typed(key, "a number", notes, Value::as_f64)
    }

    /// The items of a list, none if the key is not there.
    pub(super) fn list(&mut self, key: &'static str, notes: &mut Notes) -> &'a [Value] {
        self.typed(key, "a list", notes, |value| value.as_array().map(Vec::as_slice)).unwrap_or_default()
    }

    /// The objects in a list.
    pub(super) fn objects(&mut self, key: &'static str, notes: &mut Notes) -> Vec<Object<'a>> {
        let path = self.path_of(key);
        let items = self.list(key, notes).iter().enumerate();
        items.filter_map(|(index, item)| Object::new(format!("{path}[{index}]"), item, notes)).collect()
    }

    /// A list of texts, or a single one.
    pub(super) fn texts(&mut self, key: &'static str, notes: &mut Notes) -> Vec<String> {
        match self.get(key) {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(other) => {
                notes.lost(self.path_of(key), format!("expected a list of texts, found {}", describe(other)));
                Vec::new()
            }
        }
    }

    pub(super) fn object(&mut self, key: &'static str, notes: &mut Notes) -> Option<Object<'a>> {
        let value = self.get(key)?;
        Object::new(self.path_of(key), value, notes)
    }

    /// What the operator wrote beside it, for the file's comments; other user context is noted as lost.
    pub(super) fn comments(&mut self, notes: &mut Notes) -> Vec<String> {
        let mut comments: Vec<String> = self.filled("comment", notes).map(str::to_owned).into_iter().collect();
        if let Some(Value::Object(context)) = self.get("user-context") {
            for (key, value) in context {
                match value {
                    Value::String(text) if key == "comment" => comments.push(text.clone()),
                    _ => notes
                        .lost(format!("{}.user-context.{key}", self.path), "user contexts have no place in the file"),
                }
            }
        }
        comments
    }

    /// Keys that nobody read yet.
    pub(super) fn unread(&self) -> Vec<(&'a str, &'a Value)> {
        let unread = self.map.iter().filter(|(key, value)| !self.read.contains(key.as_str()) && !value.is_null());
        unread.map(|(key, value)| (key.as_str(), value)).collect()
    }
}

pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("`{value}`"),
        Value::String(text) => format!("`{}`", text.chars().take(60).collect::<String>()),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
