//! A tree over `Fields`: total, and without allocation where a field is compared with a literal.
use super::{Bytes, Condition, Field, Fields, MAX_VALUE};
use crate::options::{Kind, display_text, sub_options};
use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets as they come: from the message or the expression, four of the header, or made by a function.
pub(super) enum Octets<'a> {
    Borrowed(&'a [u8]),
    Word([u8; 4]),
    Owned(Vec<u8>),
}

impl<'a> Octets<'a> {
    pub(super) fn into_cow(self) -> Cow<'a, [u8]> {
        match self {
            Self::Borrowed(octets) => Cow::Borrowed(octets),
            Self::Word(octets) => Cow::Owned(octets.to_vec()),
            Self::Owned(octets) => Cow::Owned(octets),
        }
    }

    fn made(mut octets: Vec<u8>) -> Self {
        octets.truncate(MAX_VALUE);
        Self::Owned(octets)
    }
}

impl std::ops::Deref for Octets<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(octets) => octets,
            Self::Word(octets) => octets,
            Self::Owned(octets) => octets,
        }
    }
}

pub(super) fn condition<F: Fields>(condition: &Condition, fields: &F) -> bool {
    match condition {
        Condition::Not(inner) => !self::condition(inner, fields),
        Condition::All(parts) => parts.iter().all(|part| self::condition(part, fields)),
        Condition::Any(parts) => parts.iter().any(|part| self::condition(part, fields)),
        Condition::Equal(pair) => *bytes(&pair.0, fields) == *bytes(&pair.1, fields),
        Condition::Exists(field) => read(*field, fields).is_some(),
        Condition::Member(class) => fields.member(class),
        Condition::Match(pair) => pair.0.is_match(&bytes(&pair.1, fields)),
        Condition::StartsWith(pair) => bytes(&pair.0, fields).starts_with(&bytes(&pair.1, fields)),
        Condition::In(of, prefixes) => {
            let octets = bytes(of, fields);
            prefixes.iter().any(|prefix| octets.starts_with(prefix))
        }
    }
}

pub(super) fn bytes<'a, F: Fields>(tree: &'a Bytes, fields: &'a F) -> Octets<'a> {
    match tree {
        Bytes::Literal(octets) => Octets::Borrowed(octets),
        Bytes::Field(field) => read(*field, fields).unwrap_or(Octets::Borrowed(&[])),
        Bytes::Text(field, kind) => {
            read(*field, fields).map_or(Octets::Borrowed(&[]), |data| text(data, kind.as_deref()))
        }
        Bytes::Substring(of, start, length) => substring(bytes(of, fields), *start, *length),
        Bytes::Concat(parts) => {
            let mut octets = Vec::new();
            for part in parts {
                octets.extend_from_slice(&bytes(part, fields));
                if octets.len() > MAX_VALUE {
                    break;
                }
            }
            Octets::made(octets)
        }
        Bytes::IfElse(parts) => {
            let (test, then, otherwise) = &**parts;
            bytes(if condition(test, fields) { then } else { otherwise }, fields)
        }
        Bytes::HexString(pair) => hex_string(&bytes(&pair.0, fields), &bytes(&pair.1, fields)),
        Bytes::Split(pair, part) => split(bytes(&pair.0, fields), &bytes(&pair.1, fields), *part),
        Bytes::Lower(of) => Octets::made(bytes(of, fields).to_ascii_lowercase()),
        Bytes::Upper(of) => Octets::made(bytes(of, fields).to_ascii_uppercase()),
        Bytes::AddressText(of) => address_text(&bytes(of, fields)),
        Bytes::IntegerText(of, octets, signed) => integer_text(&bytes(of, fields), *octets, *signed),
    }
}

fn read<F: Fields>(field: Field, fields: &F) -> Option<Octets<'_>> {
    let word = |number: u32| Some(Octets::Word(number.to_be_bytes()));
    match field {
        Field::Option(code) => fields.option(code).map(Octets::Borrowed),
        Field::SubOption(code, sub_code) => sub_option(fields.option(code)?, sub_code),
        Field::RelaySubOption(code) => fields.relay_suboption(code).map(Octets::Borrowed),
        Field::Mac => Some(Octets::Borrowed(fields.mac())),
        Field::HardwareType => word(fields.htype().into()),
        Field::HardwareLength => word(u32::try_from(fields.mac().len()).ok()?),
        Field::Address(which) => Some(Octets::Word(fields.address(which).octets())),
        Field::MessageType => word(fields.message_type().into()),
        Field::Seconds => word(fields.secs().into()),
        Field::Hops => word(fields.hops().into()),
        Field::TransactionId => word(fields.transaction_id()),
        Field::Interface => Some(Octets::Borrowed(fields.interface().as_bytes())),
        Field::Length => word(u32::try_from(fields.length()).ok()?),
        Field::Vendor(wanted) => blocks(fields.option(125)?, wanted).next().map(|(_, data)| Octets::Borrowed(data)),
        Field::VendorEnterprise => word(blocks(fields.option(125)?, None).next()?.0),
        Field::VendorOption(wanted, code) => {
            blocks(fields.option(125)?, wanted).find_map(|(_, data)| sub_option(data, code))
        }
        Field::VendorClass(wanted, index) => {
            blocks(fields.option(124)?, wanted).nth(index).map(|(_, data)| Octets::Borrowed(data))
        }
        Field::VendorClassEnterprise => word(blocks(fields.option(124)?, None).next()?.0),
    }
}

fn sub_option(data: &[u8], code: u8) -> Option<Octets<'_>> {
    sub_options(data).find(|(found, _)| *found == code).map(|(_, data)| Octets::Borrowed(data))
}

/// What stands behind each enterprise number of options 124 and 125 (RFC 3925), of one enterprise or of all.
fn blocks(mut data: &[u8], wanted: Option<u32>) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let (enterprise, after) = data.split_first_chunk::<4>()?;
        let (length, after) = after.split_first()?;
        let (block, after) = after.split_at_checked(usize::from(*length))?;
        data = after;
        Some((u32::from_be_bytes(*enterprise), block))
    })
    .filter(move |(enterprise, _)| wanted.is_none_or(|wanted| wanted == *enterprise))
}

/// The part of `octets` from `start` to `end`, without copying what is not ours.
fn part(octets: Octets<'_>, start: usize, end: usize) -> Octets<'_> {
    match octets {
        Octets::Borrowed(octets) => Octets::Borrowed(octets.get(start..end).unwrap_or_default()),
        other => Octets::Owned(other.get(start..end).unwrap_or_default().to_vec()),
    }
}

fn text<'a>(data: Octets<'a>, kind: Option<&Kind>) -> Octets<'a> {
    match kind {
        Some(kind) => Octets::made(display_text(kind, &data).into_bytes()),
        None => {
            let end = data.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            part(data, 0, end)
        }
    }
}

fn substring(octets: Octets<'_>, start: i64, length: Option<i64>) -> Octets<'_> {
    let whole = i64::try_from(octets.len()).unwrap_or(i64::MAX);
    if start >= whole || start < -whole {
        return Octets::Borrowed(&[]);
    }
    let start = if start < 0 { start + whole } else { start };
    let (from, to) = match length {
        None => (start, whole),
        // A negative length counts back from the start, which is not part of it.
        Some(length) if length < 0 => (start.saturating_add(length).max(0), start),
        Some(length) => (start, start.saturating_add(length).min(whole)),
    };
    part(octets, from as usize, to as usize)
}

fn hex_string<'a>(octets: &[u8], separator: &[u8]) -> Octets<'a> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(octets.len() * 2);
    for (index, octet) in octets.iter().enumerate() {
        if text.len() > MAX_VALUE {
            break;
        }
        if index > 0 {
            text.extend_from_slice(separator);
        }
        text.extend([DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]);
    }
    Octets::made(text)
}

fn split<'a>(octets: Octets<'a>, delimiters: &[u8], number: usize) -> Octets<'a> {
    let (mut start, mut found) = (0, 1);
    for (index, octet) in octets.iter().enumerate() {
        if !delimiters.contains(octet) {
            continue;
        }
        if found == number {
            return part(octets, start, index);
        }
        (start, found) = (index + 1, found + 1);
    }
    let end = octets.len();
    if found == number { part(octets, start, end) } else { Octets::Borrowed(&[]) }
}

fn address_text<'a>(octets: &[u8]) -> Octets<'a> {
    if let Ok(address) = <[u8; 4]>::try_from(octets) {
        return Octets::Owned(Ipv4Addr::from(address).to_string().into_bytes());
    }
    match <[u8; 16]>::try_from(octets) {
        Ok(address) => Octets::Owned(Ipv6Addr::from(address).to_string().into_bytes()),
        Err(_) => Octets::Borrowed(&[]),
    }
}

fn integer_text<'a>(octets: &[u8], length: usize, signed: bool) -> Octets<'a> {
    if octets.len() != length {
        return Octets::Borrowed(&[]);
    }
    let number = octets.iter().fold(0i64, |number, octet| number << 8 | i64::from(*octet));
    let negative = signed && octets.first().is_some_and(|first| first & 0x80 != 0);
    let number = if negative { number - (1i64 << (8 * length)) } else { number };
    Octets::Owned(number.to_string().into_bytes())
}
