//! The macros that declare sections, choices, and types that are written as one string.

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
/// - `foreign table;` after that names a [`Foreign`](crate::expansion::Foreign): keys that other programs have there, and what is written instead.
///
/// The struct gets `Debug`, `Clone`, `PartialEq`, `Serialize` (as it would be written, secrets masked),
/// [`Setting`](crate::Setting) and
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
        $(foreign $foreign:path;)?
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
                $crate::expansion::refuse_unknown(
                    node, &[$($crate::expansion::key(stringify!($field))),*], &[$($foreign)?], faults,
                );
                $( let $field = $crate::expansion::field::<$ty>(
                    node,
                    $crate::expansion::key(stringify!($field)),
                    $crate::__default!($ty $(, $default)?),
                    $crate::__within!($ty; $($($flag)*)?),
                    faults,
                ); )*
                let section = Self { $( $field: $field? ),* };
                $( $check(&section, &mut $crate::expansion::at(node, faults)); )?
                ::core::option::Option::Some(section)
            }

            fn write(&self) -> $crate::expansion::Json {
                let mut table = $crate::expansion::Map::new();
                $( table.insert(
                    ::std::string::String::from($crate::expansion::key(stringify!($field))),
                    $crate::Setting::write(&self.$field),
                ); )*
                $crate::expansion::Json::Object(table)
            }

            fn schema() -> $crate::expansion::Json {
                let mut schema = $crate::expansion::Object::new(concat!($($doc, "\n"),+));
                $( schema.property::<$ty>(
                    $crate::expansion::key(stringify!($field)),
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

            fn place(&mut self, node: ::core::option::Option<&$crate::Node>, folder: &::std::path::Path) {
                $( $crate::expansion::place(
                    &mut self.$field, $crate::expansion::key(stringify!($field)), node, folder,
                ); )*
            }

            fn list(
                &self,
                path: &str,
                node: ::core::option::Option<&$crate::Node>,
                out: &mut ::std::vec::Vec<$crate::Effective>,
            ) {
                $( $crate::expansion::list(
                    &self.$field, path, $crate::expansion::key(stringify!($field)), node, out,
                ); )*
            }

            fn changes(&self, new: &Self, path: &str, live: bool, out: &mut ::std::vec::Vec<$crate::Change>) {
                $( $crate::Setting::changes(
                    &self.$field,
                    &new.$field,
                    &$crate::expansion::join_key(path, $crate::expansion::key(stringify!($field))),
                    live && !$crate::__restart!($($($flag)*)?),
                    out,
                ); )*
            }
        }

        impl $crate::expansion::Serialize for $name {
            fn serialize<S: $crate::expansion::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::expansion::Serialize::serialize(&$crate::Setting::write(self), serializer)
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
        ::core::option::Option::Some($crate::expansion::bounds(
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
        ::core::option::Option::Some((
            (|value: &$ty| $crate::expansion::outside(
                value,
                &$crate::Limits::<<$ty as $crate::Ranged>::Bound>::from($range),
            )) as fn(&$ty) -> ::core::option::Option<::std::string::String>,
            (|| $crate::expansion::limit_words(
                &$crate::Limits::<<$ty as $crate::Ranged>::Bound>::from($range),
            )) as fn() -> ::std::string::String,
        ))
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __advice {
    () => {
        ::core::option::Option::None
    };
    ($advice:expr) => {
        ::core::option::Option::Some($advice)
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
                $crate::expansion::expected_words(&[$($word),+])
            }

            fn read(node: &$crate::Node, faults: &mut $crate::Faults) -> ::core::option::Option<Self> {
                match node.text().and_then(|word| word.parse().ok()) {
                    ::core::option::Option::Some(choice) => ::core::option::Option::Some(choice),
                    ::core::option::Option::None => {
                        $crate::expansion::refuse_word(node, &[$($word),+], faults);
                        ::core::option::Option::None
                    }
                }
            }

            fn write(&self) -> $crate::expansion::Json {
                $crate::expansion::Json::from(self.word())
            }

            fn schema() -> $crate::expansion::Json {
                $crate::expansion::choice_schema(&[$(($word, concat!($($vdoc, "\n"),+))),+])
            }
        }

        impl $crate::expansion::Serialize for $name {
            fn serialize<S: $crate::expansion::Serializer>(
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

/// Makes a type that is written as one string a [`Setting`](crate::Setting), through its `FromStr` and `Display`.
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
/// The string after the words is an example: it is shown in faults and in the schema. `advice function` at the end names
/// a `fn(&Err) -> Option<String>` that says what to do about an error.
#[macro_export]
macro_rules! text_setting {
    ($ty:ty, $words:literal, $example:literal $(, advice $advice:expr)?) => {
        impl $crate::Setting for $ty {
            fn expected() -> ::std::string::String {
                ::std::format!("{} {:?}", $words, $example)
            }

            fn read(node: &$crate::Node, faults: &mut $crate::Faults) -> ::core::option::Option<Self> {
                $crate::expansion::read_text(node, faults, $crate::__advice!($($advice)?))
            }

            fn write(&self) -> $crate::expansion::Json {
                $crate::expansion::Json::from(::std::string::ToString::to_string(self))
            }

            fn schema() -> $crate::expansion::Json {
                $crate::expansion::text_schema($example)
            }
        }
    };
}
