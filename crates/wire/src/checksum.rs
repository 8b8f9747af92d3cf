//! The internet checksum (RFC 1071) and how it is amended (RFC 1624), and the cyclic one of Castagnoli (RFC 9260 appendix A).

/// A running one's complement sum, kept in the machine's byte order: the sum is indifferent to it until it is read (RFC 1071 section 2.B).
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// The pseudo header of what IP carries (RFC 9293 section 3.1, RFC 8200 section 8.1): both addresses as octets, and the length of header and payload.
    pub fn pseudo(source: &[u8], destination: &[u8], protocol: u8, length: u16) -> Sum {
        Sum::default().bytes(source).bytes(destination).number(u16::from(protocol)).number(length)
    }

    /// Adds `data`. Only the last piece added may have an odd length: it is padded with a zero byte.
    #[must_use]
    pub fn bytes(self, data: &[u8]) -> Sum {
        let (words, rest) = data.as_chunks::<4>();
        // Each addend is below 2^32, so the accumulator holds 2^32 of them: more than any packet has.
        let mut sum = words.iter().fold(self.0, |sum, word| sum + u64::from(u32::from_ne_bytes(*word)));
        let mut tail = [0; 4];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(tail));
        Sum(sum)
    }

    /// Adds a number of the pseudo header.
    #[must_use]
    pub fn number(self, value: u16) -> Sum {
        Sum(self.0 + u64::from(u16::from_ne_bytes(value.to_be_bytes())))
    }

    /// The checksum: the complement of the sum, as a number to be written in network byte order.
    pub fn finish(self) -> u16 {
        !self.folded()
    }

    /// The sum itself: of a pseudo header it is what stands in place of a checksum that a card has yet to make.
    pub fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::from_be_bytes((sum as u16).to_ne_bytes())
    }
}

/// The checksum of `data`. Over data that holds a right checksum it is zero.
pub fn checksum(data: &[u8]) -> u16 {
    Sum::default().bytes(data).finish()
}

/// By how much a sum grows when some words take the place of others (RFC 1624). They begin at an even octet of what is summed.
pub fn growth<const N: usize>(before: [u8; N], after: [u8; N]) -> u64 {
    let words = |octets: [u8; N]| {
        let (words, _) = octets.as_chunks::<2>();
        words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>()
    };
    words(before.map(|octet| !octet)) + words(after)
}

/// The checksum after its data's sum has grown. Of the two forms that zero has it is the one that the kernel's arithmetic gives.
pub fn replaced(check: u16, growth: u64) -> u16 {
    let mut sum = growth + 0xffff + u64::from(!check);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The polynomial of Castagnoli, its bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// What each octet adds.
const OCTETS: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut sum, mut bit) = (octet as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ CASTAGNOLI } else { sum >> 1 };
            bit += 1;
        }
        table[octet] = sum;
        octet += 1;
    }
    table
};

/// CRC-32C of pieces, one after the other. An octet at a time: it is for headers.
pub fn crc32c(pieces: &[&[u8]]) -> u32 {
    let octets = pieces.iter().flat_map(|piece| piece.iter());
    !octets.fold(!0, |sum, octet| sum >> 8 ^ OCTETS.get((sum as u8 ^ octet) as usize).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 as written: pairs of bytes, carries added back.
    fn by_the_book(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }

    #[test]
    fn the_examples_of_rfc_3720_have_their_cyclic_checksums() {
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&[&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c(&[&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(crc32c(&[&rising]), 0x46dd_794e);
        assert_eq!(crc32c(&[b"123", b"", b"456789"]), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_one_of_the_book(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(checksum(&data), by_the_book(&data));
        }

        #[test]
        fn pieces_of_even_length_sum_like_the_whole(data in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..100) {
            let at = (at * 2).min(data.len() & !1);
            let pieces = Sum::default().bytes(&data[..at]).bytes(&data[at..]).finish();
            prop_assert_eq!(pieces, checksum(&data));
        }

        #[test]
        fn an_amended_checksum_is_the_one_of_the_new_words(
            mut data in proptest::collection::vec(any::<u8>(), 8..200), at in 0usize..100, after: [u8; 4],
        ) {
            let at = (at * 2 % (data.len() - 3)) & !1;
            let (check, before) = (checksum(&data), [data[at], data[at + 1], data[at + 2], data[at + 3]]);
            data[at..at + 4].copy_from_slice(&after);
            let amended = replaced(check, growth(before, after));
            prop_assert!(amended == checksum(&data) || amended ^ checksum(&data) == 0xffff && [0, 0xffff].contains(&amended));
        }
    }
}
