//! A value of a parameter as the configuration has it: a text, a number, or true or false.

use std::fmt;

use outwork_config::{Faults, Node, Setting, Value};

/// A value that is read as a request's would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Literal {
    text: String,
    quoted: bool,
}

impl Literal {
    /// What a request would have to say.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Setting for Literal {
    fn expected() -> String {
        "a text, a number, or true or false".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        let plain = |text: String| Some(Self { text, quoted: false });
        match node.value() {
            Value::Text(text) => Some(Self { text: text.clone(), quoted: true }),
            Value::Bool(value) => plain(value.to_string()),
            Value::Int(value) => plain(value.to_string()),
            Value::Float(value) => plain(value.to_string()),
            Value::Datetime(_) | Value::Array(_) | Value::Table(_) => faults.wrong(node),
        }
    }

    fn write(&self) -> serde_json::Value {
        let plain = (!self.quoted).then(|| serde_json::from_str(&self.text).ok()).flatten();
        plain.unwrap_or_else(|| self.text.as_str().into())
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({"type": ["string", "number", "boolean"]})
    }
}
