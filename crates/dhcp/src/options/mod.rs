//! DHCPv4 options: what they are called, what they hold, and how a configured value becomes bytes and back.
//!
//! - `kind`: the types an option's data may have.
//! - `table`: the options of the IANA registry, the relay agent's sub-options and the well-known vendor spaces.
//! - `definition`: one option's definition, and the book of standard and user-defined ones (lookup, "did you mean").
//! - `value`: a configured value to wire bytes, with errors that say what was expected.
//! - `display`: wire bytes back to a value, lossless (what does not fit its type is shown as hex).
//! - `domain`: domain names in wire form, with compression (RFC 1035, RFC 3397).
//! - `set`: compiled options of one scope (subnet, class, ...) and how scopes overlay each other.
//! - `compile`: a scope's configured options to its set, all faults at once.
//!
//! Absent on purpose: splitting options over 255 octets and overload (the codec does that), DHCPv6, and nested
//! sub-options (a sub-option that holds sub-options is given as hex).
#![deny(clippy::disallowed_methods)]

mod compile;
mod definition;
mod display;
mod domain;
mod kind;
mod set;
mod table;
mod value;

#[cfg(test)]
mod tests;

pub use compile::OptionTable;
pub use definition::{Definitions, OptionDef, OptionSpec, server_owned};
pub(crate) use display::display_text;
pub use display::sub_options;
pub use domain::{decode_names, encode_name};
pub use kind::{Kind, Scalar};
pub use set::{CodeSet, OptionSet};
pub(crate) use value::encode_value;
pub use value::{Value, parse_hex, split_csv, to_hex};

/// The longest data one option may be configured with, in octets. Longer cannot travel in an Ethernet frame.
pub const MAX_OPTION_LEN: usize = 1400;

/// Why options could not be accepted. Each names the key as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The value does not have the option's type.
    #[error("option `{option}`: expected {expected}, found {found}{place}")]
    Value {
        /// The option as written.
        option: String,
        /// What its type wants.
        expected: String,
        /// What was there.
        found: String,
        /// " in item 2", or nothing.
        place: String,
    },
    /// No definition has this name.
    #[error("no option is called `{option}`{hint}; use its code, or define it in an `option_definition`")]
    Unknown {
        /// The option as written.
        option: String,
        /// ": did you mean `routers`?", or nothing.
        hint: String,
    },
    /// The code is known to nobody, so a value cannot be given a type.
    #[error(
        "option `{option}` has no definition: give its bytes as \"hex:0a0b\", or define it in an `option_definition`"
    )]
    Undefined {
        /// The option as written.
        option: String,
    },
    /// The server sets this option itself.
    #[error("option `{option}` is set by the server: {instead}")]
    ServerOwned {
        /// The option as written.
        option: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// The data does not fit.
    #[error("option `{option}`: {length} octets are too many, at most {limit} fit")]
    TooLong {
        /// The option as written.
        option: String,
        /// Octets asked for.
        length: usize,
        /// Octets that fit.
        limit: usize,
    },
    /// The same option twice in one scope.
    #[error("option `{option}` is given twice: {other} sets it too")]
    Twice {
        /// The option as written.
        option: String,
        /// The other key.
        other: String,
    },
    /// A definition that cannot be.
    #[error("option definition `{option}`: {reason}")]
    Definition {
        /// The definition's name.
        option: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl OptionError {
    /// The option (or definition) as the user wrote it: where to point.
    #[must_use]
    pub fn option(&self) -> &str {
        match self {
            Self::Value { option, .. }
            | Self::Unknown { option, .. }
            | Self::Undefined { option }
            | Self::ServerOwned { option, .. }
            | Self::TooLong { option, .. }
            | Self::Twice { option, .. }
            | Self::Definition { option, .. } => option,
        }
    }
}
