//! Text that no report, dump or log shows.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::fault::{Fault, Faults};
use crate::node::{Node, Value};
use crate::setting::{Given, Setting};

/// What is shown in its place.
const MASK: &str = "********";

/// A password, a key or a token: it is compared and used, and never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

impl Given<Secret> for &str {
    fn given(self) -> Secret {
        Secret::new(self)
    }
}

impl Setting for Secret {
    fn expected() -> String {
        "a string".into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Some(text) = node.text() {
            return Some(Self::new(text));
        }
        let found = match node.value() {
            Value::Array(_) | Value::Table(_) => node.describe(),
            _ => "something else".into(),
        };
        faults.on(node, Fault::new(format!("found {found}")).expected(Self::expected()).help("quote it").secret());
        None
    }

    fn write(&self) -> Json {
        MASK.into()
    }

    fn schema() -> Json {
        json!({"type": "string", "writeOnly": true})
    }
}
