//! Wire bytes back to a value that means the same bytes.
use super::definition::Definitions;
use super::domain::{decode_names, decode_plain};
use super::kind::{Kind, Scalar};
use super::value::{Value, encode, to_hex};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The sub-options in `data`, in order (code, length, data each). Stops at the first that is cut short; an end marker
/// (255) or padding (0) is not special, as RFC 3046 section 2 says of option 82.
pub fn sub_options(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (code, after) = rest.split_first()?;
        let (length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        Some((*code, value))
    })
}

/// What `data` says under `kind`, or its hex if it says nothing that would give the same octets again.
pub(super) fn decode(definitions: &Definitions, kind: &Kind, data: &[u8]) -> Value {
    let value = match kind {
        Kind::Space(space) => decode_space(definitions, space, data),
        Kind::Vendors => decode_vendors(definitions, data),
        _ => plain(kind, data).filter(|value| encode(kind, value).is_ok_and(|octets| octets == data)),
    };
    value.unwrap_or_else(|| Value::Text(to_hex(data)))
}

/// What `data` says under `kind` as people write it; bare hex digits if it does not have that type.
pub(crate) fn display_text(kind: &Kind, data: &[u8]) -> String {
    match plain(kind, data) {
        Some(value) => value.to_string(),
        None => to_hex(data).split_off("hex:".len()),
    }
}

fn decode_space(definitions: &Definitions, space: &str, data: &[u8]) -> Option<Value> {
    let (mut table, mut length) = (BTreeMap::new(), 0);
    let mut last = None;
    for (code, octets) in sub_options(data) {
        length += 2 + octets.len();
        // A table has each key once and writes its codes in order; anything else would not come back the same.
        if last.replace(code).is_some_and(|last| last >= code) {
            return None;
        }
        let (key, value) = match definitions.in_space(space, code) {
            Some(option) => (option.name().to_owned(), decode(definitions, option.kind(), octets)),
            None => (code.to_string(), Value::Text(to_hex(octets))),
        };
        table.insert(key, value);
    }
    (length == data.len() && !table.is_empty()).then_some(Value::Table(table))
}

fn decode_vendors(definitions: &Definitions, data: &[u8]) -> Option<Value> {
    let (mut table, mut rest) = (BTreeMap::new(), data);
    let mut last = None;
    while !rest.is_empty() {
        let (enterprise, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first()?;
        let (octets, after) = after.split_at_checked(usize::from(*length))?;
        let enterprise = u32::from_be_bytes(*enterprise);
        if last.replace(enterprise).is_some_and(|last| last >= enterprise) {
            return None;
        }
        let sub_options = decode_space(definitions, &format!("vendor-{enterprise}"), octets)?;
        table.insert(enterprise.to_string(), sub_options);
        rest = after;
    }
    (!table.is_empty()).then_some(Value::Table(table))
}

fn plain(kind: &Kind, data: &[u8]) -> Option<Value> {
    match kind {
        Kind::Empty => data.is_empty().then_some(Value::Bool(true)),
        Kind::One(scalar) => {
            let (value, used) = scalar_value(*scalar, data)?;
            (used == data.len()).then_some(value)
        }
        Kind::Array(scalar) => repeated(*scalar, data).map(Value::List),
        Kind::Record { fields, repeat_last } => record(fields, *repeat_last, data),
        Kind::Domains => decode_names(data).map(|names| Value::List(names.into_iter().map(Value::Text).collect())),
        Kind::Routes => routes(data),
        Kind::VendorClass => vendor_classes(data),
        Kind::Vendors | Kind::Space(_) => None,
    }
}

fn repeated(scalar: Scalar, mut data: &[u8]) -> Option<Vec<Value>> {
    let mut items = Vec::new();
    while !data.is_empty() {
        let (value, used) = scalar_value(scalar, data)?;
        items.push(value);
        data = data.get(used.max(1)..)?;
    }
    Some(items)
}

fn record(fields: &[Scalar], repeat_last: bool, mut data: &[u8]) -> Option<Value> {
    let mut items = Vec::new();
    for field in fields {
        let (value, used) = scalar_value(*field, data)?;
        items.push(value);
        data = data.get(used..)?;
    }
    if repeat_last {
        items.extend(repeated(*fields.last()?, data)?);
        data = &[];
    }
    data.is_empty().then_some(Value::List(items))
}

/// The value at the start of `data` and the octets it took.
fn scalar_value(scalar: Scalar, data: &[u8]) -> Option<(Value, usize)> {
    Some(match scalar {
        Scalar::Bool => match data.first()? {
            0 => (Value::Bool(false), 1),
            1 => (Value::Bool(true), 1),
            _ => return None,
        },
        Scalar::U8 => (Value::Integer((*data.first()?).into()), 1),
        Scalar::I8 => (Value::Integer((*data.first()? as i8).into()), 1),
        Scalar::U16 => (Value::Integer(u16::from_be_bytes(*data.first_chunk()?).into()), 2),
        Scalar::I16 => (Value::Integer(i16::from_be_bytes(*data.first_chunk()?).into()), 2),
        Scalar::U32 => (Value::Integer(u32::from_be_bytes(*data.first_chunk()?).into()), 4),
        Scalar::I32 => (Value::Integer(i32::from_be_bytes(*data.first_chunk()?).into()), 4),
        Scalar::Ipv4 => (Value::Text(Ipv4Addr::from(*data.first_chunk::<4>()?).to_string()), 4),
        Scalar::Ipv6 => (Value::Text(Ipv6Addr::from(*data.first_chunk::<16>()?).to_string()), 16),
        Scalar::Ipv4Prefix => {
            let (text, used) = prefix(data)?;
            (Value::Text(text), used)
        }
        Scalar::Text => (Value::Text(text(data)?), data.len()),
        Scalar::Binary => (Value::Text(to_hex(data)), data.len()),
        Scalar::Fqdn => {
            let (name, used) = decode_plain(data)?;
            (Value::Text(name), used)
        }
        Scalar::Tuple => {
            let (length, rest) = data.split_first()?;
            let length = usize::from(*length);
            (Value::Text(text(rest.get(..length)?)?), 1 + length)
        }
    })
}

fn text(data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(data).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn prefix(data: &[u8]) -> Option<(String, usize)> {
    let width = *data.first().filter(|width| **width <= 32)?;
    let used = 1 + usize::from(width.div_ceil(8));
    let mut octets = [0; 4];
    octets.iter_mut().zip(data.get(1..used)?).for_each(|(octet, given)| *octet = *given);
    Some((format!("{}/{width}", Ipv4Addr::from(octets)), used))
}

fn routes(mut data: &[u8]) -> Option<Value> {
    let mut items = Vec::new();
    while !data.is_empty() {
        let (network, used) = prefix(data)?;
        let (router, rest) = data.get(used..)?.split_first_chunk::<4>()?;
        items.push(Value::Text(format!("{network} {}", Ipv4Addr::from(*router))));
        data = rest;
    }
    Some(Value::List(items))
}

fn vendor_classes(mut data: &[u8]) -> Option<Value> {
    let mut items = Vec::new();
    while !data.is_empty() {
        let (enterprise, rest) = data.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first()?;
        let (class, rest) = rest.split_at_checked(usize::from(*length))?;
        let enterprise = u32::from_be_bytes(*enterprise);
        let class = text(class).filter(|class| !class.starts_with("hex:")).unwrap_or_else(|| to_hex(class));
        items.push(Value::Text(format!("{enterprise} {class}")));
        data = rest;
    }
    Some(Value::List(items))
}
