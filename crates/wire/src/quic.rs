//! What of a QUIC packet can be seen by who has no keys, whatever the version: the invariants of RFC 8999.

/// Octets of the longest connection id that is looked at (RFC 9000 section 17.2; other versions may have longer ones).
pub const LONGEST_ID: usize = 20;

/// What a datagram begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header<'a> {
    /// A long header (RFC 8999 section 5.1), as handshakes have it.
    Long {
        /// The version; 0 of a packet that tells which there are (RFC 8999 section 6), whose ids are those that a client has written.
        version: u32,
        /// Whose the packet is: the id that its receiver has chosen, or at the beginning of a connection one of its sender's.
        destination: &'a [u8],
        /// The id that its sender has chosen for itself.
        source: &'a [u8],
    },
    /// A short header (RFC 8999 section 5.2): what follows begins with the id that its receiver has chosen, whose length only that knows.
    Short {
        /// All that follows the first octet.
        rest: &'a [u8],
    },
}

impl<'a> Header<'a> {
    /// Reads the header of the first packet of a datagram; `None` where it is cut short, or an id is longer than any that is looked at.
    pub fn read(datagram: &'a [u8]) -> Option<Self> {
        let (first, rest) = datagram.split_first()?;
        if first & 0x80 == 0 {
            return Some(Self::Short { rest });
        }
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let (destination, rest) = id(rest)?;
        let (source, _) = id(rest)?;
        Some(Self::Long { version: u32::from_be_bytes(*version), destination, source })
    }
}

/// An id after its length.
fn id(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = octets.split_first()?;
    let length = usize::from(*length);
    if length > LONGEST_ID { None } else { rest.split_at_checked(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_long_headers_and_follow_the_first_octet_of_short_ones() {
        let long = [&[0xc3, 0, 0, 0, 1, 3][..], b"abc", &[0], b"payload"].concat();
        assert_eq!(Header::read(&long), Some(Header::Long { version: 1, destination: b"abc", source: b"" }));
        let long = [&[0x80, 9, 9, 9, 9, 0, 20][..], &[7; 20]].concat();
        assert_eq!(
            Header::read(&long),
            Some(Header::Long { version: 0x0909_0909, destination: b"", source: &[7; 20] })
        );
        assert_eq!(Header::read(b"\x41abcdef"), Some(Header::Short { rest: b"abcdef" }));
    }

    #[test]
    fn what_is_cut_short_or_longer_than_any_says_nothing() {
        let long = [&[0xc3, 0, 0, 0, 1, 3][..], b"abc", &[2], b"de"].concat();
        for end in 0..long.len() {
            assert_eq!(Header::read(&long[..end]), None, "{end}");
        }
        assert!(Header::read(&long).is_some());
        let longer = [&[0xc3, 0, 0, 0, 1, 21][..], &[7; 40]].concat();
        assert_eq!(Header::read(&longer), None);
    }
}
