//! The types an option's data may have.
use std::borrow::Cow;

/// One field's wire form. Integers are big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// One octet, 0 or 1.
    Bool,
    /// Unsigned, one octet.
    U8,
    /// Unsigned, two octets.
    U16,
    /// Unsigned, four octets.
    U32,
    /// Signed, one octet.
    I8,
    /// Signed, two octets.
    I16,
    /// Signed, four octets.
    I32,
    /// Four octets.
    Ipv4,
    /// A width octet, then only the significant octets of the network (the destination descriptor of RFC 3442).
    Ipv4Prefix,
    /// Sixteen octets.
    Ipv6,
    /// Text to the end of the option, no terminator (RFC 2132 section 2).
    Text,
    /// Octets to the end of the option, written as hex.
    Binary,
    /// A domain name in the wire form of RFC 1035, not compressed.
    Fqdn,
    /// Text behind one length octet (user classes of RFC 3004).
    Tuple,
}

impl Scalar {
    const NAMES: [(&'static str, &'static str, Self); 14] = [
        ("bool", "boolean", Self::Bool),
        ("u8", "uint8", Self::U8),
        ("u16", "uint16", Self::U16),
        ("u32", "uint32", Self::U32),
        ("i8", "int8", Self::I8),
        ("i16", "int16", Self::I16),
        ("i32", "int32", Self::I32),
        ("ipv4", "ipv4-address", Self::Ipv4),
        ("ipv4-prefix", "ipv4-prefix", Self::Ipv4Prefix),
        ("ipv6", "ipv6-address", Self::Ipv6),
        ("string", "string", Self::Text),
        ("binary", "binary", Self::Binary),
        ("fqdn", "fqdn", Self::Fqdn),
        ("tuple", "tuple", Self::Tuple),
    ];

    /// By the name a definition gives it: ours (`u32`, `ipv4`) or Kea's (`uint32`, `ipv4-address`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(short, long, _)| *short == name || *long == name).map(|(_, _, scalar)| *scalar)
    }

    /// Our name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, _, scalar)| *scalar == self).map_or("", |(short, _, _)| short)
    }

    /// Every name a definition may use, for error messages.
    #[must_use]
    pub fn names() -> String {
        let names: Vec<&str> = Self::NAMES.iter().map(|(short, _, _)| *short).collect();
        names.join(", ")
    }

    /// True if a reader knows where it ends without being told: such may stand in arrays and before other fields.
    #[must_use]
    pub fn is_delimited(self) -> bool {
        !matches!(self, Self::Text | Self::Binary)
    }

    /// What to call a value of this type in an error.
    #[must_use]
    pub fn expectation(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::U8 => "an integer from 0 to 255",
            Self::U16 => "an integer from 0 to 65535",
            Self::U32 => "an integer from 0 to 4294967295",
            Self::I8 => "an integer from -128 to 127",
            Self::I16 => "an integer from -32768 to 32767",
            Self::I32 => "an integer from -2147483648 to 2147483647",
            Self::Ipv4 => "an IPv4 address",
            Self::Ipv4Prefix => "an IPv4 network like `192.0.2.0/24`",
            Self::Ipv6 => "an IPv6 address",
            Self::Text => "text",
            Self::Binary => "octets as hex like `hex:0a0b`",
            Self::Fqdn => "a domain name",
            Self::Tuple => "text of at most 255 octets",
        }
    }
}

/// The shape of an option's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// No data at all.
    Empty,
    /// One field.
    One(Scalar),
    /// One or more fields of the same type.
    Array(Scalar),
    /// Fields in order; the last may repeat.
    Record {
        /// The fields.
        fields: Cow<'static, [Scalar]>,
        /// The last field may come any number of times from one on.
        repeat_last: bool,
    },
    /// Domain names with compression (RFC 3397).
    Domains,
    /// Classless routes (RFC 3442): `10.0.0.0/8 192.0.2.1`.
    Routes,
    /// Vendor class data behind enterprise numbers (RFC 3925 section 3): `4491 text`.
    VendorClass,
    /// Vendor sub-options behind enterprise numbers (RFC 3925 section 4), one space `vendor-NUMBER` each.
    Vendors,
    /// Sub-options of the named space.
    Space(Cow<'static, str>),
}

impl Kind {
    /// A record of fixed fields.
    #[must_use]
    pub const fn record(fields: &'static [Scalar]) -> Self {
        Self::Record { fields: Cow::Borrowed(fields), repeat_last: false }
    }

    /// A record of which the last field may repeat.
    #[must_use]
    pub const fn record_repeating(fields: &'static [Scalar]) -> Self {
        Self::Record { fields: Cow::Borrowed(fields), repeat_last: true }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::One(scalar) => f.write_str(scalar.name()),
            Self::Array(scalar) => write!(f, "array of {}", scalar.name()),
            Self::Record { fields, repeat_last } => {
                let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
                write!(f, "record of {}{}", names.join(", "), if *repeat_last { ", ..." } else { "" })
            }
            Self::Domains => f.write_str("domain names"),
            Self::Routes => f.write_str("routes"),
            Self::VendorClass => f.write_str("vendor classes"),
            Self::Vendors => f.write_str("vendor options"),
            Self::Space(space) => write!(f, "options of space {space}"),
        }
    }
}
