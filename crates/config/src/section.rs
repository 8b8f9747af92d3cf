//! The macros that declare sections and choices, and what their code calls.

use serde_json::{Map, Value as Json, json};

use crate::fault::{Fault, Faults};
use crate::node::Node;
use crate::setting::{Effective, Limits, Ranged, Setting};

/// Declares a section: the struct, and everything that is done with it.
///
/// ```
/// use std::time::Duration;
/// use outwork_config::{At, Fault, hours, section, secs};
///
/// section! {
///     /// A service.
///     pub struct Service {
///         /// Worker threads; 0 means one a core.
///         pub workers: u16 [restart, range 0..=1024] = 0,
///         /// How long a lease lasts.
///         pub lease_time: Duration [range secs(60)..] = hours(12),
///         /// Its networks.
///         pub network: Vec<Network>,
///     }
///     check service;
/// }
///
/// section! {
///     /// A network.
///     #[required_keys]
///     pub struct Network {
///         /// Its number, which never changes.
///         pub id: u32 [range 1..],
///         /// What people call it.
///         pub name: Option<String>,
///     }
/// }
///
/// fn service(service: &Service, at: &mut At<'_>) {
///     for (index, network) in service.network.iter().enumerate() {
///         if service.network.iter().take(index).any(|other| other.id == network.id) {
///             at.fault(&format!("network[{index}].id"), Fault::new("another network has this id"));
///         }
///     }
/// }
/// ```
///
/// - Every section and key has a doc comment: it is the description in the schema and in the starter file.
/// - `= value` is the default, a Rust expression of the key's type. Without one, `Option`, `Vec`, `BTreeMap` and
///   sections that have defaults themselves are empty; any other type makes the key required, and the section is then
///   marked `#[required_keys]` and has no `Default`.
/// - `[restart]`: a running server cannot take up a change. `[range a..=b]`: the limits of numbers, durations and sizes.
/// - `check function;` at the end names a `fn(&Self, &mut At)` that runs once every key of the section is read.
///
/// The struct gets `Debug`, `Clone`, `PartialEq`, `Serialize` (as it would be written, secrets masked), [`Setting`] and
/// [`Section`](crate::Section). A section cannot contain itself.
#[macro_export]
macro_rules! section {
    ($(#[doc = $doc:literal])+ #[required_keys] $vis:vis struct $name:ident { $($fields:tt)* } $($tail:tt)*) => {
        $crate::__section! { [$($doc)+] $vis $name [None] { $($fields)* } $($tail)* }
    };
    ($(#[doc = $doc:literal])+ $vis:vis struct $name:ident { $($fields:tt)* } $($tail:tt)*) => {
        $crate::__section! {
            [$($doc)+] $vis $name [Some(<Self as ::core::default::Default>::default())] { $($fields)* } $($tail)*
        }
        $crate::__section_default! { $name { $($fields)* } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __section {
    (
        [$($doc:literal)+] $vis:vis $name:ident [$($absent:tt)+]
        { $(
            $(#[doc = $fdoc:literal])+
            $fvis:vis $field:ident : $ty:ty $([ $($flag:tt)* ])? $(= $default:expr)?
        ),* $(,)? }
        $(check $check:path;)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name { $( $(#[doc = $fdoc])+ $fvis $field: $ty ),* }

        impl $crate::Section for $name {
            const ABOUT: &'static str = concat!($($doc, "\n"),+);
        }

        impl $crate::Setting for $name {
            const SECTION: bool = true;
            const PINNED: bool = false $(
                || $crate::__restart!($($($flag)*)?) || <$ty as $crate::Setting>::PINNED
            )*;

            fn expected() -> ::std::string::String {
                ::std::string::String::from("a table")
            }

            fn read(node: &$crate::Node, faults: &mut $crate::Faults) -> ::core::option::Option<Self> {
                if node.table().is_none() {
                    return faults.wrong(node);
                }
                $crate::__private::refuse_unknown(
                    node, &[$($crate::__private::key(stringify!($field))),*], faults,
                );
                $( let $field = $crate::__private::field::<$ty>(
                    node,
                    $crate::__private::key(stringify!($field)),
                    $crate::__default!($ty $(, $default)?),
                    $crate::__within!($ty; $($($flag)*)?),
                    faults,
                ); )*
                let section = Self { $( $field: $field? ),* };
                $( $check(&section, &mut $crate::__private::at(node, faults)); )?
                ::core::option::Option::Some(section)
            }

            fn write(&self) -> $crate::__private::Json {
                let mut table = $crate::__private::Map::new();
                $( table.insert(
                    ::std::string::String::from($crate::__private::key(stringify!($field))),
                    $crate::Setting::write(&self.$field),
                ); )*
                $crate::__private::Json::Object(table)
            }

            fn schema() -> $crate::__private::Json {
                let mut schema = $crate::__private::Object::new(concat!($($doc, "\n"),+));
                $( schema.property::<$ty>(
                    $crate::__private::key(stringify!($field)),
                    concat!($($fdoc, "\n"),+),
                    $crate::__default!($ty $(, $default)?),
                    $crate::__limits!($ty; $($($flag)*)?),
                    $crate::__restart!($($($flag)*)?),
                ); )*
                schema.finish()
            }

            fn absent() -> ::core::option::Option<Self> {
                $($absent)+
            }

            fn list(
                &self,
                path: &str,
                node: ::core::option::Option<&$crate::Node>,
                out: &mut ::std::vec::Vec<$crate::Effective>,
            ) {
                $( $crate::__private::list(
                    &self.$field, path, $crate::__private::key(stringify!($field)), node, out,
                ); )*
            }

            fn changes(&self, new: &Self, path: &str, live: bool, out: &mut ::std::vec::Vec<$crate::Change>) {
                $( $crate::Setting::changes(
                    &self.$field,
                    &new.$field,
                    &$crate::__private::join_key(path, $crate::__private::key(stringify!($field))),
                    live && !$crate::__restart!($($($flag)*)?),
                    out,
                ); )*
            }
        }

        impl $crate::__private::Serialize for $name {
            fn serialize<S: $crate::__private::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::__private::Serialize::serialize(&$crate::Setting::write(self), serializer)
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __section_default {
    ($name:ident { $(
        $(#[doc = $fdoc:literal])+
        $fvis:vis $field:ident : $ty:ty $([ $($flag:tt)* ])? $(= $default:expr)?
    ),* $(,)? }) => {
        impl ::core::default::Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::__value!($ty $(, $default)?) ),* }
            }
        }

        impl $crate::Absent for $name {
            fn absent() -> Self {
                <Self as ::core::default::Default>::default()
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __value {
    ($ty:ty) => {
        <$ty as $crate::Absent>::absent()
    };
    ($ty:ty, $default:expr) => {
        $crate::Given::<$ty>::given($default)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __default {
    ($ty:ty) => {
        ::core::option::Option::None
    };
    ($ty:ty, $default:expr) => {
        ::core::option::Option::Some((|| $crate::Given::<$ty>::given($default)) as fn() -> $ty)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __restart {
    () => { false };
    (restart $($rest:tt)*) => { true };
    (range $range:expr $(, $($rest:tt)*)?) => { $crate::__restart!($($($rest)*)?) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __limits {
    ($ty:ty;) => { ::core::option::Option::None };
    ($ty:ty; restart $(, $($rest:tt)*)?) => { $crate::__limits!($ty; $($($rest)*)?) };
    ($ty:ty; range $range:expr $(, $($rest:tt)*)?) => {
        ::core::option::Option::Some($crate::__private::bounds(
            &$crate::Limits::<<$ty as $crate::Ranged>::Bound>::from($range),
        ))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __within {
    ($ty:ty;) => { ::core::option::Option::None };
    ($ty:ty; restart $(, $($rest:tt)*)?) => { $crate::__within!($ty; $($($rest)*)?) };
    ($ty:ty; range $range:expr $(, $($rest:tt)*)?) => {
        ::core::option::Option::Some((|value: &$ty| $crate::__private::outside(
            value,
            &$crate::Limits::<<$ty as $crate::Ranged>::Bound>::from($range),
        )) as fn(&$ty) -> ::core::option::Option<::std::string::String>)
    };
}

/// Declares a closed set of words that a key may have.
///
/// ```
/// outwork_config::choice! {
///     /// What an acknowledgement waits for.
///     pub enum Durability {
///         /// The disk has it.
///         Fsync = "fsync",
///         /// The operating system has it.
///         Os = "os",
///     }
/// }
/// assert_eq!("os".parse(), Ok(Durability::Os));
/// assert_eq!(Durability::Fsync.to_string(), "fsync");
/// assert_eq!(Durability::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $word:literal ),+ $(,)? }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $( $(#[doc = $vdoc])+ $variant ),+ }

        impl $name {
            /// Every choice, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that the configuration has for it.
            pub const fn word(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.word())
            }
        }

        impl ::core::str::FromStr for $name {
            type Err = $crate::NoSuchChoice;

            fn from_str(word: &str) -> ::core::result::Result<Self, Self::Err> {
                match word {
                    $( $word => ::core::result::Result::Ok(Self::$variant), )+
                    _ => ::core::result::Result::Err($crate::NoSuchChoice),
                }
            }
        }

        impl $crate::Setting for $name {
            fn expected() -> ::std::string::String {
                $crate::__private::expected_words(&[$($word),+])
            }

            fn read(node: &$crate::Node, faults: &mut $crate::Faults) -> ::core::option::Option<Self> {
                match node.text().and_then(|word| word.parse().ok()) {
                    ::core::option::Option::Some(choice) => ::core::option::Option::Some(choice),
                    ::core::option::Option::None => {
                        $crate::__private::refuse_word(node, &[$($word),+], faults);
                        ::core::option::Option::None
                    }
                }
            }

            fn write(&self) -> $crate::__private::Json {
                $crate::__private::Json::from(self.word())
            }

            fn schema() -> $crate::__private::Json {
                $crate::__private::choice_schema(&[$(($word, concat!($($vdoc, "\n"),+))),+])
            }
        }

        impl $crate::__private::Serialize for $name {
            fn serialize<S: $crate::__private::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.word())
            }
        }
    };
}

/// A word that is none of a [`choice!`](crate::choice).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such choice")]
pub struct NoSuchChoice;

/// Makes a type that is written as one string a [`Setting`], through its `FromStr` and `Display`.
///
/// ```
/// # #[derive(PartialEq)] struct Vlan(u16);
/// # impl std::str::FromStr for Vlan {
/// #     type Err = std::num::ParseIntError;
/// #     fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Vlan) }
/// # }
/// # impl std::fmt::Display for Vlan {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
/// # }
/// outwork_config::text_setting!(Vlan, "a VLAN such as", "12");
/// ```
///
/// The string after the words is an example: it is shown in faults and in the schema.
#[macro_export]
macro_rules! text_setting {
    ($ty:ty, $words:literal, $example:literal) => {
        impl $crate::Setting for $ty {
            fn expected() -> ::std::string::String {
                ::std::format!("{} {:?}", $words, $example)
            }

            fn read(node: &$crate::Node, faults: &mut $crate::Faults) -> ::core::option::Option<Self> {
                $crate::__private::read_text(node, faults)
            }

            fn write(&self) -> $crate::__private::Json {
                $crate::__private::Json::from(::std::string::ToString::to_string(self))
            }

            fn schema() -> $crate::__private::Json {
                $crate::__private::text_schema($example)
            }
        }
    };
}

/// What the macros' code calls. Not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use serde::{Serialize, Serializer};
    pub use serde_json::{Map, Value as Json};

    pub use super::*;
    pub use crate::path::join_key;

    /// A section's place, for its check.
    pub fn at<'a>(node: &'a Node, faults: &'a mut Faults) -> crate::At<'a> {
        crate::At::new(node, faults)
    }
}

/// The key of a field: its name, less the mark of a raw identifier.
pub fn key(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// Adds a fault for each key of a table that is not a known one.
pub fn refuse_unknown(node: &Node, known: &[&str], faults: &mut Faults) {
    for (key, child) in node.table().into_iter().flatten() {
        if !known.contains(&key.as_str()) {
            faults.unknown(child, key, known);
        }
    }
}

/// Reads one key of a section.
pub fn field<T: Setting>(
    table: &Node,
    key: &'static str,
    default: Option<fn() -> T>,
    outside: Option<fn(&T) -> Option<String>>,
    faults: &mut Faults,
) -> Option<T> {
    let node = table.get(key);
    let value = match (node, default) {
        (Some(node), _) => T::read(node, faults)?,
        (None, Some(default)) => default(),
        (None, None) => match T::absent() {
            Some(value) => value,
            None => {
                faults.missing::<T>(table, key);
                return None;
            }
        },
    };
    match outside.and_then(|outside| outside(&value)) {
        None => Some(value),
        Some(limits) => {
            let found =
                node.map_or_else(|| "the default is out of range".into(), |node| format!("found {}", node.describe()));
            faults.at(&crate::path::join_key(table.path(), key), Fault::new(found).expected(limits));
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

/// Lists one key of a section.
pub fn list<T: Setting>(value: &T, path: &str, key: &str, node: Option<&Node>, out: &mut Vec<Effective>) {
    value.list(&crate::path::join_key(path, key), node.and_then(|node| node.get(key)), out);
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
                if let Some(bound @ Json::Number(_)) = bound {
                    target[name] = bound;
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
    let mut fault = Fault::new(format!("found {}", node.describe())).expected(expected_words(words));
    let lower = node.text().map(str::to_lowercase);
    if let Some(near) = lower.and_then(|word| crate::fault::nearest(&word, words.iter().copied())) {
        fault = fault.help(format!("did you mean \"{near}\"?"));
    }
    faults.on(node, fault);
}

/// The schema of a choice.
pub fn choice_schema(words: &[(&str, &str)]) -> Json {
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let each: Vec<_> = words.iter().map(|(word, about)| json!({"const": word, "description": prose(about)})).collect();
    json!({"type": "string", "enum": names, "oneOf": each})
}

/// Reads a type that is written as one string.
pub fn read_text<T: Setting + std::str::FromStr<Err: std::fmt::Display>>(
    node: &Node,
    faults: &mut Faults,
) -> Option<T> {
    let Some(text) = node.text() else {
        return faults.wrong(node);
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            let fault = Fault::new(format!("found {}: {error}", node.describe())).expected(T::expected());
            faults.on(node, fault);
            None
        }
    }
}

/// The schema of a type that is written as one string.
pub fn text_schema(example: &str) -> Json {
    json!({"type": "string", "examples": [example]})
}
