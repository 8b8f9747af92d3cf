//! Amounts of memory and disk as people write them: `64MiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use serde_json::{Value as Json, json};

use crate::fault::Faults;
use crate::node::{Node, Value};
use crate::setting::{Limits, Ranged, Setting};

/// A number of bytes. It is written `64MiB`, `10MB`, `512B`, or as a plain number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// So many kibibytes.
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// So many mebibytes.
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// So many gibibytes.
    pub const fn gib(count: u32) -> Self {
        Self((count as u64) << 30)
    }

    /// How many bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many bytes, for sizes of things in memory; what an address cannot reach is the greatest that it can.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// What is wrong with a text that should be a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No whole number stands first.
    #[error("no whole number stands first")]
    Number,
    /// The unit is not a known one.
    #[error("the unit is none of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB")]
    Unit,
    /// It is more than 64 bits hold.
    #[error("it is too large")]
    Large,
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        if digits.is_empty() {
            return Err(SizeError::Number);
        }
        let number: u64 = digits.parse().map_err(|_| SizeError::Large)?;
        let factor = match unit.trim_start() {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError::Unit)?.1,
        };
        number.checked_mul(factor).map(Self).ok_or(SizeError::Large)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().filter(|(name, _)| name.ends_with("iB") || *name == "B");
        let exact = |factor: u64| self.0.is_multiple_of(factor) && (self.0 >= factor);
        match binary.clone().find(|(_, factor)| exact(*factor)) {
            Some((name, factor)) => f.pad(&format!("{}{name}", self.0 / factor)),
            None => f.pad("0B"),
        }
    }
}

impl Setting for ByteSize {
    fn expected() -> String {
        r#"a size such as "64MiB""#.into()
    }

    fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        match node.value() {
            Value::Int(number) => match u64::try_from(*number) {
                Ok(number) => Some(Self(number)),
                Err(_) => faults.wrong(node),
            },
            _ => crate::expansion::read_text(node, faults, None),
        }
    }

    fn write(&self) -> Json {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({
            "type": ["string", "integer"],
            "minimum": 0,
            "pattern": "^ *\\d+ *([kMGT]B|[KMGT]iB|B)? *$",
            "examples": ["64MiB"],
        })
    }
}

impl Ranged for ByteSize {
    type Bound = ByteSize;

    fn within(&self, limits: &Limits<ByteSize>) -> bool {
        limits.contain(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_binary_or_a_decimal_unit_or_none() {
        assert_eq!("64MiB".parse(), Ok(ByteSize::mib(64)));
        assert_eq!("10 MB".parse(), Ok(ByteSize::bytes(10_000_000)));
        assert_eq!("7".parse(), Ok(ByteSize::bytes(7)));
        assert_eq!("MiB".parse::<ByteSize>(), Err(SizeError::Number));
        assert_eq!("1mib".parse::<ByteSize>(), Err(SizeError::Unit));
        assert_eq!("99999999999TiB".parse::<ByteSize>(), Err(SizeError::Large));
    }

    #[test]
    fn a_size_is_written_in_the_greatest_unit_that_is_exact() {
        for (size, text) in [(0, "0B"), (1023, "1023B"), (1 << 20, "1MiB"), ((1 << 30) + 1024, "1048577KiB")] {
            assert_eq!(ByteSize::bytes(size).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize::bytes(size)));
        }
    }
}
