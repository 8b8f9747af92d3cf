//! QPACK (RFC 9204) without a dynamic table: what a client says is understood by itself, so that no stream waits for another, and nothing is kept.
//!
//! - `huffman`: the code of strings.
//! - `table`: fields that have a number.

pub(crate) mod huffman;
mod table;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use table::{Found, TABLE};

/// What a field line costs beside its name and value (RFC 9114 section 4.2.2).
const LINE: usize = 32;

/// Why a field section cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is larger than is allowed.
    TooLarge,
    /// It is not QPACK, or refers to what a client was never allowed to put into a table.
    Malformed,
}

/// A name and a value.
pub(super) type Line = (Bytes, Bytes);

/// Reads field lines one after the other (RFC 9204 section 4.5).
pub(super) struct Lines {
    section: Bytes,
    /// Where strings are decoded to.
    decoded: BytesMut,
    /// What the section may still measure.
    left: usize,
}

impl Lines {
    /// Of a section that may measure `limit`, as RFC 9114 section 4.2.2 measures it.
    pub(super) fn new(mut section: Bytes, limit: usize) -> Result<Self, Unreadable> {
        // Nothing was ever inserted (RFC 9204 section 4.5.1).
        let inserted = integer(&mut section, 8)?;
        let _base = integer(&mut section, 7)?;
        match inserted {
            0 => Ok(Self { section, decoded: BytesMut::new(), left: limit }),
            _ => Err(Unreadable::Malformed),
        }
    }

    fn line(&mut self) -> Result<Line, Unreadable> {
        let first = self.section.first().copied().unwrap_or_default();
        match first.leading_zeros() {
            // Indexed.
            0 if first & 0x40 != 0 => self.entry(6).map(|(name, value)| (name.into(), value.into())),
            // A literal with the name of an entry.
            1 if first & 0x10 != 0 => {
                let (name, _) = self.entry(4)?;
                Ok((name.into(), self.string(7)?))
            }
            // A literal with a literal name.
            2 => Ok((self.string(3)?, self.string(7)?)),
            _ => Err(Unreadable::Malformed),
        }
    }

    fn entry(&mut self, prefix: u32) -> Result<(&'static str, &'static str), Unreadable> {
        let index = integer(&mut self.section, prefix)?;
        TABLE.get(index).copied().ok_or(Unreadable::Malformed)
    }

    /// A string whose length has a prefix of so many bits; the bit before says whether it is coded.
    fn string(&mut self, prefix: u32) -> Result<Bytes, Unreadable> {
        let coded = self.section.first().is_some_and(|first| first & (1 << prefix) != 0);
        let length = integer(&mut self.section, prefix)?;
        if length > self.section.len() {
            return Err(Unreadable::Malformed);
        }
        let string = self.section.split_to(length);
        if !coded {
            return Ok(string);
        }
        huffman::decode(&string, &mut self.decoded).ok_or(Unreadable::Malformed)?;
        Ok(self.decoded.split().freeze())
    }
}

impl Iterator for Lines {
    type Item = Result<Line, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.section.is_empty() {
            return None;
        }
        let line = self.line().and_then(|(name, value)| {
            let left = self.left.checked_sub(LINE + name.len() + value.len());
            self.left = left.ok_or(Unreadable::TooLarge)?;
            Ok((name, value))
        });
        if line.is_err() {
            self.section.clear();
        }
        Some(line)
    }
}

/// A number whose first octet has a prefix of so many bits (RFC 7541 section 5.1).
fn integer(section: &mut Bytes, prefix: u32) -> Result<usize, Unreadable> {
    let mut octet = || section.try_get_u8().map_err(|_| Unreadable::Malformed);
    let most = usize::from(u8::MAX >> (8 - prefix));
    let mut number = usize::from(octet()?) & most;
    if number < most {
        return Ok(number);
    }
    for shift in [0, 7, 14, 21] {
        let octet = octet()?;
        number += usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Unreadable::Malformed)
}

/// Writes the field section of a response.
pub(super) fn write_response(out: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    out.extend_from_slice(&[0, 0]);
    write_line(out, ":status", status.as_str().as_bytes());
    for (name, value) in fields {
        write_line(out, name.as_str(), value.as_bytes());
    }
}

/// Writes the field section of trailers, which have no pseudo-header fields (RFC 9114 section 4.3).
pub(super) fn write_trailers(out: &mut Vec<u8>, fields: &HeaderMap) {
    out.extend_from_slice(&[0, 0]);
    for (name, value) in fields {
        write_line(out, name.as_str(), value.as_bytes());
    }
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    match table::find(name, value) {
        Some(Found::Both(index)) => write_integer(out, 0xc0, 6, index.into()),
        Some(Found::Name(index)) => {
            write_integer(out, 0x50, 4, index.into());
            write_string(out, 0, 7, value);
        }
        None => {
            write_string(out, 0x20, 3, name.as_bytes());
            write_string(out, 0, 7, value);
        }
    }
}

fn write_string(out: &mut Vec<u8>, pattern: u8, prefix: u32, text: &[u8]) {
    let coded = huffman::length(text);
    if coded < text.len() {
        write_integer(out, pattern | 1 << prefix, prefix, coded);
        huffman::encode(text, out);
    } else {
        write_integer(out, pattern, prefix, text.len());
        out.extend_from_slice(text);
    }
}

fn write_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, number: usize) {
    let most = usize::from(u8::MAX >> (8 - prefix));
    let Some(mut left) = number.checked_sub(most) else {
        return out.push(pattern | number as u8);
    };
    out.push(pattern | most as u8);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn read(section: &[u8], limit: usize) -> Result<Vec<(String, Vec<u8>)>, Unreadable> {
        let lines = Lines::new(Bytes::copy_from_slice(section), limit)?;
        lines
            .map(|line| line.map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec())))
            .collect()
    }

    /// RFC 9204 appendix B.1.
    #[test]
    fn a_literal_with_the_name_of_an_entry_is_read() {
        let section = b"\x00\x00\x51\x0b/index.html";
        assert_eq!(read(section, 1000).unwrap(), [(":path".to_owned(), b"/index.html".to_vec())]);
    }

    #[test]
    fn what_refers_to_a_dynamic_table_or_to_nothing_is_refused() {
        let refused: [&[u8]; 9] = [
            b"",
            b"\x00",
            b"\x03\x81\x10",         // Something was inserted.
            b"\x00\x00\x80",         // An entry of the dynamic table.
            b"\x00\x00\x40\x01a",    // A name of the dynamic table.
            b"\x00\x00\x10",         // An entry after the base.
            b"\x00\x00\xff\x24",     // Entry 99.
            b"\x00\x00\x51\x0b/ind", // A string that is cut.
            b"\x00\x00\x51\x7f\xff\xff\xff\xff\xff\x01",
        ];
        for section in refused {
            assert_eq!(read(section, 1000), Err(Unreadable::Malformed), "{section:x?}");
        }
    }

    #[test]
    fn a_section_is_measured_by_what_it_says_not_by_its_bytes() {
        // Four octets say ":method: GET" and ":scheme: https".
        let section = b"\x00\x00\xd1\xd7";
        let measure = (7 + 3 + LINE) + (7 + 5 + LINE);
        assert_eq!(read(section, measure).unwrap().len(), 2);
        assert_eq!(read(section, measure - 1), Err(Unreadable::TooLarge));
    }

    proptest! {
        #[test]
        fn responses_are_read_as_they_were_written(
            status in 200u16..600,
            fields in prop::collection::vec(("[a-z][a-z0-9-]{0,200}", "[ -~]{0,300}"), 0..9),
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &fields {
                map.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value).unwrap());
            }
            map.append("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
            let mut out = Vec::new();
            write_response(&mut out, StatusCode::from_u16(status).unwrap(), &map);
            let read = read(&out, 1 << 20).unwrap();
            let mut expected = vec![(":status".to_owned(), status.to_string().into_bytes())];
            expected.extend(map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())));
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_are_too_strange(section in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_any(&section);
        }
    }

    fn read_any(section: &[u8]) -> Result<usize, Unreadable> {
        Lines::new(Bytes::copy_from_slice(section), 4096)?.try_fold(0, |count, line| line.map(|_| count + 1))
    }
}
