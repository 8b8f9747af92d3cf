//! What a type must do to be the value of a key.

use std::ops::{RangeFrom, RangeInclusive, RangeToInclusive};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::fault::Faults;
use crate::node::Node;
use crate::origin::Origin;

/// A type that a key can have.
///
/// Types written as one string implement `FromStr` and `Display` and take [`text_setting!`](crate::text_setting); types
/// that may be written in several ways implement this by hand, looking at [`Node::value`].
pub trait Setting: Sized + PartialEq {
    /// Whether its keys are listed one by one, as a section's are, rather than as one value.
    const SECTION: bool = false;
    /// Whether some key inside it cannot change live.
    const PINNED: bool = false;

    /// What may be written, in words: `a duration such as "250ms", "2h" or "1d12h"`.
    fn expected() -> String;

    /// Reads a value. On `None` at least one fault was added.
    fn read(node: &Node, faults: &mut Faults) -> Option<Self>;

    /// The value as it would be written: what [`read`](Self::read) takes, `null` for what is unset, and secrets masked.
    fn write(&self) -> Json;

    /// The JSON Schema of what may be written.
    fn schema() -> Json;

    /// The value when the key is absent and declares no default; `None` makes the key required.
    fn absent() -> Option<Self> {
        None
    }

    /// Makes the relative paths in it begin at `folder`, that of the configuration file: those of the file and of defaults.
    /// What a flag or a variable gives begins where the process runs. `node` is what was written.
    fn place(&mut self, _node: Option<&Node>, _folder: &Path) {}

    /// Lists the value, or the keys inside it, with their origins. `node` is what was written.
    fn list(&self, path: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
        let origin = node.map_or(Origin::Default, |node| node.origin.clone());
        out.push(Effective { key: path.to_owned(), value: self.write(), origin });
    }

    /// Lists what differs in `new`; `live` says whether the keys above may change live.
    fn changes(&self, new: &Self, path: &str, live: bool, out: &mut Vec<Change>) {
        if self != new {
            let live = live && !Self::PINNED;
            out.push(Change { key: path.to_owned(), old: self.write(), new: new.write(), live });
        }
    }
}

/// The root of a configuration or a table in it, declared with [`section!`](crate::section).
pub trait Section: Setting {
    /// What the section is about: its documentation.
    const ABOUT: &'static str;
}

/// One key with its value in force and where that came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The path of the key.
    pub key: String,
    /// The value as it would be written, `null` when the setting is optional and unset. [`toml_text`](crate::toml_text)
    /// makes it TOML.
    pub value: Json,
    /// Who set it.
    pub origin: Origin,
}

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The path of the key.
    pub key: String,
    /// The value before, as it would be written; secrets are masked.
    pub old: Json,
    /// The value after.
    pub new: Json,
    /// Whether a running server can take it up. If not, a reload is refused by this key's name.
    pub live: bool,
}

/// What a default may be written as: the type itself, or a string literal for what owns a string.
pub trait Given<T> {
    /// The value.
    fn given(self) -> T;
}

impl<T> Given<T> for T {
    fn given(self) -> T {
        self
    }
}

impl Given<String> for &str {
    fn given(self) -> String {
        self.to_owned()
    }
}

impl Given<PathBuf> for &str {
    fn given(self) -> PathBuf {
        self.into()
    }
}

/// A type that has a value when its key is absent and no default is declared.
#[diagnostic::on_unimplemented(
    message = "a key of type `{Self}` needs a default",
    note = "give it one (`= value`), make it an `Option`, or mark the section `#[required_keys]`"
)]
pub trait Absent {
    /// That value.
    fn absent() -> Self;
}

/// A type whose values can be held within limits.
pub trait Ranged {
    /// What a limit is written as.
    type Bound: PartialOrd + Setting;

    /// Whether every value in it lies within the limits.
    fn within(&self, limits: &Limits<Self::Bound>) -> bool;
}

impl<T: Ranged> Ranged for Option<T> {
    type Bound = T::Bound;

    fn within(&self, limits: &Limits<T::Bound>) -> bool {
        self.iter().all(|value| value.within(limits))
    }
}

impl<T: Ranged> Ranged for Vec<T> {
    type Bound = T::Bound;

    fn within(&self, limits: &Limits<T::Bound>) -> bool {
        self.iter().all(|value| value.within(limits))
    }
}

/// The least and the greatest value of a key, both included.
#[derive(Clone, Debug)]
pub struct Limits<T> {
    least: Option<T>,
    greatest: Option<T>,
}

impl<T: PartialOrd + Setting> Limits<T> {
    /// Whether a value lies within.
    pub fn contain(&self, value: &T) -> bool {
        self.least.as_ref().is_none_or(|least| value >= least)
            && self.greatest.as_ref().is_none_or(|greatest| value <= greatest)
    }

    /// In words: `from 1 to 10`.
    pub(crate) fn text(&self) -> String {
        let text = |bound: &T| crate::toml_text(&bound.write());
        match (&self.least, &self.greatest) {
            (Some(least), Some(greatest)) => format!("from {} to {}", text(least), text(greatest)),
            (Some(least), None) => format!("{} or more", text(least)),
            (None, Some(greatest)) => format!("{} or less", text(greatest)),
            (None, None) => "anything".into(),
        }
    }

    pub(crate) fn written(&self) -> (Option<Json>, Option<Json>) {
        (self.least.as_ref().map(Setting::write), self.greatest.as_ref().map(Setting::write))
    }
}

impl<T> From<RangeInclusive<T>> for Limits<T> {
    fn from(range: RangeInclusive<T>) -> Self {
        let (least, greatest) = range.into_inner();
        Self { least: Some(least), greatest: Some(greatest) }
    }
}

impl<T> From<RangeFrom<T>> for Limits<T> {
    fn from(range: RangeFrom<T>) -> Self {
        Self { least: Some(range.start), greatest: None }
    }
}

impl<T> From<RangeToInclusive<T>> for Limits<T> {
    fn from(range: RangeToInclusive<T>) -> Self {
        Self { least: None, greatest: Some(range.end) }
    }
}
