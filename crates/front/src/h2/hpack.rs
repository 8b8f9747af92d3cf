//! What can be told of a field block without the tables that it refers to (RFC 7541).

use std::borrow::Cow;

use bytes::BytesMut;
use h2::Reason;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::h3::qpack::huffman;

/// Octets that a number may have after its first, as in the `h2` crate.
const OCTETS: u32 = 4;
/// The room that we give a client's dynamic table (RFC 9113 section 6.5.2).
const TABLE: usize = 4096;

/// A line of a block: its field, or what of it stands there.
enum Line<'a> {
    /// An entry of a table.
    Indexed(usize),
    /// A name, of an entry where it has an index, and a value.
    Literal(usize, Cow<'a, [u8]>, Cow<'a, [u8]>),
    /// The dynamic table has so much room from now on.
    Size(usize),
}

/// The next line; `None` where it cannot be read.
fn line<'a>(block: &mut &'a [u8]) -> Option<Line<'a>> {
    let first = *block.first()?;
    if first & 0x80 != 0 {
        return integer(block, 7).filter(|index| *index > 0).map(Line::Indexed);
    }
    if first & 0xe0 == 0x20 {
        return integer(block, 5).map(Line::Size);
    }
    let index = integer(block, if first & 0x40 != 0 { 6 } else { 4 })?;
    let name = if index == 0 { text(block)? } else { Cow::default() };
    Some(Line::Literal(index, name, text(block)?))
}

/// A number whose beginning has so many bits (RFC 7541 section 5.1).
fn integer(block: &mut &[u8], prefix: u32) -> Option<usize> {
    let mut octet = || block.split_off_first().map(|octet| usize::from(*octet));
    let most = (1 << prefix) - 1;
    let mut number = octet()? & most;
    if number < most {
        return Some(number);
    }
    for place in 0..OCTETS {
        let next = octet()?;
        number += (next & 0x7f) << (7 * place);
        if next & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A string, taken out of its code (RFC 7541 section 5.2).
fn text<'a>(block: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
    let coded = block.first()? & 0x80 != 0;
    let length = integer(block, 7)?;
    let octets = block.split_off(..length)?;
    if !coded {
        return Some(octets.into());
    }
    let mut text = BytesMut::new();
    huffman::decode(octets, &mut text)?;
    Some(text.to_vec().into())
}

/// Whether a field of the block has a name that begins with a colon, as far as that can be told: it may be an entry of the dynamic table.
pub(super) fn has_pseudo(mut block: &[u8]) -> bool {
    while let Some(line) = line(&mut block) {
        match line {
            Line::Indexed(index @ 1..) | Line::Literal(index @ 1.., ..) if index <= 14 => return true,
            Line::Literal(0, name, _) if name.starts_with(b":") => return true,
            _ => {}
        }
    }
    false
}

/// Why the `h2` crate takes one of these blocks for unreadable: because a field in it is malformed (RFC 9113 section 8.2.1), or because it cannot be
/// decompressed (section 4.3). `None` where none is without the tables.
pub(super) fn blame<'a>(blocks: impl Iterator<Item = &'a [u8]>) -> Option<Reason> {
    for mut block in blocks {
        let mut begins = true;
        while !block.is_empty() {
            begins = match line(&mut block) {
                Some(Line::Literal(index, name, value)) if is_malformed(index, &name, &value) => {
                    return Some(Reason::PROTOCOL_ERROR);
                }
                // RFC 7541 sections 4.2 and 6.3.
                Some(Line::Size(size)) if begins && size <= TABLE => true,
                None | Some(Line::Size(_)) => return Some(Reason::COMPRESSION_ERROR),
                Some(_) => false,
            };
        }
    }
    None
}

fn is_malformed(index: usize, name: &[u8], value: &[u8]) -> bool {
    match (index, name) {
        (2..=3, _) | (0, b":method") => Method::from_bytes(value).is_err(),
        (8..=14, _) | (0, b":status") => StatusCode::from_bytes(value).is_err(),
        (1 | 4..=7, _) | (0, b":authority" | b":path" | b":scheme" | b":protocol") => {
            std::str::from_utf8(value).is_err()
        }
        (0, name) => HeaderName::from_lowercase(name).is_err() || HeaderValue::from_bytes(value).is_err(),
        _ => HeaderValue::from_bytes(value).is_err(),
    }
}
