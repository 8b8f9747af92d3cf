//! The Huffman code of HPACK and QPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and begin where the shorter ones end. So the lengths
//! are all there is to know.

use bytes::BytesMut;

/// Bits of each symbol's code; the last one says that the string is over, and is never sent.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28,
    28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6,
    6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26,
    24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24,
    24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
const END: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The symbols in the order of their codes, and where the codes of each length begin: the first code, and its place in that order.
struct Order {
    symbols: [u16; SYMBOLS],
    first: [(u32, u16); LONGEST + 2],
}

const ORDER: Order = order();
const CODES: [u32; SYMBOLS] = codes();

const fn order() -> Order {
    let mut order = Order { symbols: [0; SYMBOLS], first: [(0, 0); LONGEST + 2] };
    let (mut length, mut code, mut place) = (1, 0, 0);
    while length <= LONGEST {
        order.first[length] = (code, place);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                order.symbols[place as usize] = symbol as u16;
                place += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    order.first[length] = (code, place);
    order
}

const fn codes() -> [u32; SYMBOLS] {
    let mut codes = [0; SYMBOLS];
    let mut length = SHORTEST;
    while length <= LONGEST {
        let (code, begin) = ORDER.first[length];
        let mut place = begin;
        while place < ORDER.first[length + 1].1 {
            codes[ORDER.symbols[place as usize] as usize] = code + (place - begin) as u32;
            place += 1;
        }
        length += 1;
    }
    codes
}

/// The symbol whose code the bits begin with, and its length. `bits` stand at the left.
fn symbol(bits: u32) -> Option<(u16, usize)> {
    (SHORTEST..=LONGEST).find_map(|length| {
        let (&(first, begin), &(_, end)) = (ORDER.first.get(length)?, ORDER.first.get(length + 1)?);
        let place = (bits >> (32 - length)).checked_sub(first)?;
        (place < u32::from(end - begin)).then_some(())?;
        Some((*ORDER.symbols.get(usize::from(begin) + place as usize)?, length))
    })
}

/// Appends what the code stands for; `None` where it stands for nothing.
pub(crate) fn decode(code: &[u8], out: &mut BytesMut) -> Option<()> {
    let (mut bits, mut count) = (0u64, 0usize);
    let mut octets = code.iter();
    loop {
        while count <= 56
            && let Some(octet) = octets.next()
        {
            bits |= u64::from(*octet) << (56 - count);
            count += 8;
        }
        // What is left is filled up with the beginning of the end's code, which is ones, and less than an octet (RFC 7541 section 5.2).
        let ones = |count: usize| u64::MAX.checked_shl(64 - count as u32).unwrap_or(0);
        if count < 8 && bits == ones(count) {
            return Some(());
        }
        let (symbol, length) = symbol((bits >> 32) as u32)?;
        if symbol == END || length > count {
            return None;
        }
        out.extend_from_slice(&[symbol as u8]);
        bits <<= length;
        count -= length;
    }
}

/// Bytes of a text's code.
pub(super) fn length(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|octet| usize::from(LENGTHS[usize::from(*octet)])).sum();
    bits.div_ceil(8)
}

/// Appends the code of a text.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for octet in text {
        let length = u32::from(LENGTHS[usize::from(*octet)]);
        bits = bits << length | u64::from(CODES[usize::from(*octet)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(code: &[u8]) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        decode(code, &mut out).map(|()| out.to_vec())
    }

    /// RFC 7541 appendix C.4 and C.6.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        let examples: [(&str, &[u8]); 4] = [
            ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("302", &[0x64, 0x02]),
            ("private", &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
        ];
        for (text, code) in examples {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!((out.as_slice(), length(text.as_bytes())), (code, code.len()));
            assert_eq!(decoded(code).as_deref(), Some(text.as_bytes()));
        }
    }

    #[test]
    fn every_octet_comes_back() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let mut out = Vec::new();
        encode(&all, &mut out);
        assert_eq!(decoded(&out), Some(all));
        assert_eq!(decoded(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_filled_up_wrongly_stands_for_nothing() {
        // "0" is five zeroes.
        assert_eq!(decoded(&[0b0000_0111]).as_deref(), Some(&b"0"[..]));
        for wrong in [&[0b0000_0110][..], &[0b0000_0111, 0xff], &[0xff], &[0xff; 4], &[0xff; 9]] {
            assert_eq!(decoded(wrong), None, "{wrong:x?}");
        }
    }
}
