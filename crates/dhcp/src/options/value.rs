//! A configured value to wire bytes.
use super::domain::{Compression, encode_name};
use super::kind::{Kind, Scalar};
use super::{MAX_OPTION_LEN, OptionError};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a configuration, a request body or a display holds for an option.
///
/// Text that begins with `hex:` stands for octets, whatever the option's type; a list holds the items of an array or
/// the fields of a record; a table holds sub-options by name or code.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// true or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Items in order.
    List(Vec<Value>),
    /// Values by key.
    Table(BTreeMap<String, Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Table(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

/// A value that does not have its option's type; `OptionDef::encode` makes an `OptionError` of it.
pub(super) struct Mismatch {
    expected: String,
    found: String,
    place: String,
}

impl Mismatch {
    fn new(expected: impl Into<String>, found: &Value) -> Self {
        let found = match found {
            Value::Text(text) if text.chars().count() > 60 => {
                format!("`{}...`", text.chars().take(57).collect::<String>())
            }
            Value::Bool(_) | Value::Integer(_) | Value::Text(_) => format!("`{found}`"),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        };
        Self { expected: expected.into(), found, place: String::new() }
    }

    fn in_item(mut self, index: usize) -> Self {
        if self.place.is_empty() {
            self.place = format!(" in item {}", index + 1);
        }
        self
    }

    pub(super) fn of_option(self, option: &str) -> OptionError {
        let Self { expected, found, place } = self;
        OptionError::Value { option: option.to_owned(), expected, found, place }
    }
}

/// Octets written as hex: pairs, optionally parted by `:`, `-` or spaces; `0x` before them is ignored.
#[must_use]
pub fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut octets = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for symbol in text.bytes() {
        match (high, (symbol as char).to_digit(16)) {
            (None, Some(digit)) => high = Some(digit as u8),
            (Some(first), Some(digit)) => {
                octets.push(first << 4 | digit as u8);
                high = None;
            }
            (None, None) if matches!(symbol, b':' | b'-' | b' ') && !octets.is_empty() => {}
            _ => return None,
        }
    }
    high.is_none().then_some(octets)
}

/// Octets as `hex:0a0b`, the form that every option accepts.
#[must_use]
pub fn to_hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(4 + octets.len() * 2);
    text.push_str("hex:");
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// The fields of Kea's `data` strings: parted by commas, trimmed; `\,` is a comma within a field.
#[must_use]
pub fn split_csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut symbols = text.chars().peekable();
    while let Some(symbol) = symbols.next() {
        match symbol {
            '\\' if symbols.peek() == Some(&',') => {
                symbols.next();
                fields.last_mut().into_iter().for_each(|field| field.push(','));
            }
            ',' => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(symbol)),
        }
    }
    fields.into_iter().map(|field| field.trim().to_owned()).collect()
}

/// The octets that `kind` gives `value`. Tables of sub-options are not values here: `compile` takes them apart.
pub(super) fn encode(kind: &Kind, value: &Value) -> Result<Vec<u8>, Mismatch> {
    let mut out = Vec::new();
    if let Value::Text(text) = value
        && let Some(hex) = text.strip_prefix("hex:")
    {
        return parse_hex(hex).ok_or_else(|| Mismatch::new("pairs of hex digits after `hex:`", value));
    }
    match kind {
        Kind::Empty => match value {
            Value::Bool(true) => {}
            Value::Text(text) if text.is_empty() => {}
            Value::List(items) if items.is_empty() => {}
            _ => return Err(Mismatch::new("true: the option carries no data", value)),
        },
        Kind::One(scalar) => match value {
            Value::List(items) => match items.as_slice() {
                [only] => scalar_octets(*scalar, only, &mut out)?,
                _ => return Err(Mismatch::new(format!("one value, {}", scalar.expectation()), value)),
            },
            _ => scalar_octets(*scalar, value, &mut out)?,
        },
        Kind::Array(scalar) => {
            each(value, scalar.expectation(), |item| scalar_octets(*scalar, item, &mut out))?;
        }
        Kind::Record { fields, repeat_last } => record_octets(fields, *repeat_last, value, &mut out)?,
        Kind::Domains => {
            let mut names = Compression::default();
            each(value, Scalar::Fqdn.expectation(), |item| match item {
                Value::Text(name) if name != "." && !name.is_empty() => {
                    names.encode(name, &mut out).ok_or_else(|| Mismatch::new(Scalar::Fqdn.expectation(), item))
                }
                _ => Err(Mismatch::new(Scalar::Fqdn.expectation(), item)),
            })?;
        }
        Kind::Routes => each(value, ROUTE, |item| route_octets(item, &mut out))?,
        Kind::VendorClass => each(value, VENDOR_CLASS, |item| vendor_class_octets(item, &mut out))?,
        Kind::Vendors => return Err(Mismatch::new("a table of sub-options by enterprise number", value)),
        Kind::Space(space) => return Err(Mismatch::new(format!("a table of sub-options of `{space}`"), value)),
    }
    Ok(out)
}

/// The items of an array: a list, a text of items parted by commas, or a single value.
fn each(value: &Value, expected: &str, mut octets: impl FnMut(&Value) -> Result<(), Mismatch>) -> Result<(), Mismatch> {
    match value {
        Value::List(items) if items.is_empty() => Err(Mismatch::new(format!("at least one item, {expected}"), value)),
        Value::List(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| octets(item).map_err(|fault| fault.in_item(index)))
        }
        Value::Text(text) if text.contains(',') => {
            let mut items = split_csv(text).into_iter().map(Value::Text).enumerate();
            items.try_for_each(|(index, item)| octets(&item).map_err(|fault| fault.in_item(index)))
        }
        _ => octets(value),
    }
}

fn record_octets(fields: &[Scalar], repeat_last: bool, value: &Value, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let split;
    let items = match value {
        Value::List(items) => items.as_slice(),
        Value::Text(text) => {
            split = split_csv(text).into_iter().map(Value::Text).collect::<Vec<_>>();
            split.as_slice()
        }
        single => std::slice::from_ref(single),
    };
    if items.len() < fields.len() || (items.len() > fields.len() && !repeat_last) {
        let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        let more = if repeat_last { " (the last may repeat)" } else { "" };
        let expected = format!("{} fields: {}{more}", fields.len(), names.join(", "));
        return Err(Mismatch { expected, found: items.len().to_string(), place: String::new() });
    }
    let types = fields.iter().chain(std::iter::repeat_n(fields.last(), items.len()).flatten());
    for (index, (field, item)) in types.zip(items).enumerate() {
        scalar_octets(*field, item, out).map_err(|fault| fault.in_item(index))?;
    }
    Ok(())
}

fn scalar_octets(scalar: Scalar, value: &Value, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let mismatch = || Mismatch::new(scalar.expectation(), value);
    let text = match value {
        Value::Text(text) => Some(text.as_str()),
        _ => None,
    };
    match scalar {
        Scalar::Bool => out.push(boolean(value).ok_or_else(mismatch)?.into()),
        Scalar::U8 => out.push(integer(value).and_then(|n| u8::try_from(n).ok()).ok_or_else(mismatch)?),
        Scalar::I8 => out.push(integer(value).and_then(|n| i8::try_from(n).ok()).ok_or_else(mismatch)? as u8),
        Scalar::U16 => {
            out.extend(integer(value).and_then(|n| u16::try_from(n).ok()).ok_or_else(mismatch)?.to_be_bytes())
        }
        Scalar::I16 => {
            out.extend(integer(value).and_then(|n| i16::try_from(n).ok()).ok_or_else(mismatch)?.to_be_bytes())
        }
        Scalar::U32 => {
            out.extend(integer(value).and_then(|n| u32::try_from(n).ok()).ok_or_else(mismatch)?.to_be_bytes())
        }
        Scalar::I32 => {
            out.extend(integer(value).and_then(|n| i32::try_from(n).ok()).ok_or_else(mismatch)?.to_be_bytes())
        }
        Scalar::Ipv4 => out.extend(text.and_then(|t| t.parse::<Ipv4Addr>().ok()).ok_or_else(mismatch)?.octets()),
        Scalar::Ipv6 => out.extend(text.and_then(|t| t.parse::<Ipv6Addr>().ok()).ok_or_else(mismatch)?.octets()),
        Scalar::Ipv4Prefix => {
            let (network, width) = text.and_then(prefix).ok_or_else(mismatch)?;
            prefix_octets(network, width, out);
        }
        Scalar::Text => out.extend_from_slice(text.ok_or_else(mismatch)?.as_bytes()),
        Scalar::Binary => {
            let hex = text.map(|t| t.strip_prefix("hex:").unwrap_or(t));
            out.extend(hex.and_then(parse_hex).ok_or_else(mismatch)?);
        }
        Scalar::Fqdn => text.and_then(|name| encode_name(name, out)).ok_or_else(mismatch)?,
        Scalar::Tuple => {
            let text = text.ok_or_else(mismatch)?;
            out.push(u8::try_from(text.len()).map_err(|_| mismatch())?);
            out.extend_from_slice(text.as_bytes());
        }
    }
    Ok(())
}

fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Integer(value @ (0 | 1)) => Some(*value == 1),
        Value::Text(text) => match text.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(value) => Some(*value),
        Value::Text(text) => match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

/// A network without host bits, as `192.0.2.0/24`.
fn prefix(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (network, width) = text.split_once('/')?;
    let (network, width) = (network.parse::<Ipv4Addr>().ok()?, width.parse::<u8>().ok().filter(|width| *width <= 32)?);
    let mask = u32::MAX.checked_shl(32 - u32::from(width)).unwrap_or(0);
    (u32::from(network) & !mask == 0).then_some((network, width))
}

fn prefix_octets(network: Ipv4Addr, width: u8, out: &mut Vec<u8>) {
    out.push(width);
    out.extend(network.octets().into_iter().take(usize::from(width.div_ceil(8))));
}

const ROUTE: &str = "a route like `10.0.0.0/8 192.0.2.1` (no host bits in the network)";

fn route_octets(value: &Value, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let parse = || {
        let Value::Text(text) = value else { return None };
        // "10.0.0.0/8 - 192.0.2.1" is how newer Kea releases write it.
        let mut words = text.split_whitespace().filter(|word| !matches!(*word, "-" | "via"));
        let (network, width) = prefix(words.next()?)?;
        let router = words.next()?.parse::<Ipv4Addr>().ok()?;
        words.next().is_none().then_some((network, width, router))
    };
    let (network, width, router) = parse().ok_or_else(|| Mismatch::new(ROUTE, value))?;
    prefix_octets(network, width, out);
    out.extend(router.octets());
    Ok(())
}

const VENDOR_CLASS: &str = "an enterprise number and its vendor class like `4491 docsis3.0` or `4491 hex:0a0b`";

fn vendor_class_octets(value: &Value, out: &mut Vec<u8>) -> Result<(), Mismatch> {
    let parse = || {
        let Value::Text(text) = value else { return None };
        let (enterprise, class) = text.split_once(' ')?;
        let class = match class.strip_prefix("hex:") {
            Some(hex) => parse_hex(hex)?,
            None => class.as_bytes().to_vec(),
        };
        Some((enterprise.parse::<u32>().ok()?, u8::try_from(class.len()).ok()?, class))
    };
    let (enterprise, length, class) = parse().ok_or_else(|| Mismatch::new(VENDOR_CLASS, value))?;
    out.extend(enterprise.to_be_bytes());
    out.push(length);
    out.extend(class);
    Ok(())
}

/// The octets of a value of any kind, `option` being what to name in errors; for data that another server describes.
pub(crate) fn encode_value(option: &str, kind: &Kind, value: &Value) -> Result<Vec<u8>, OptionError> {
    encode(kind, value).map_err(|mismatch| mismatch.of_option(option))
}

/// Holds data to what an option (or a sub-option, 255) can carry.
pub(super) fn check_length(option: &str, data: Vec<u8>, limit: usize) -> Result<Vec<u8>, OptionError> {
    debug_assert!(limit <= MAX_OPTION_LEN);
    if data.len() > limit {
        return Err(OptionError::TooLong { option: option.to_owned(), length: data.len(), limit });
    }
    Ok(data)
}
