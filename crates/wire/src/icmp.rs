//! ICMP echo (RFC 792).

use crate::checksum::{Sum, checksum};
use crate::{Layer, WireError, bytes};

/// Octets of an echo header.
pub const HEADER: usize = 8;

/// An echo request or reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// A reply rather than a request.
    pub reply: bool,
    /// Tells one asker from another.
    pub identifier: u16,
    /// Tells one question from another.
    pub sequence: u16,
    /// Comes back as it was sent.
    pub data: &'a [u8],
}

impl<'a> Echo<'a> {
    /// Reads an echo message and verifies its checksum; other ICMP types are unexpected.
    pub fn parse(message: &'a [u8]) -> Result<Self, WireError> {
        let [kind, code, _, _, i0, i1, s0, s1]: [u8; HEADER] = bytes(message, 0, Layer::Icmp)?;
        let reply = match (kind, code) {
            (0, 0) => true,
            (8, 0) => false,
            _ => return Err(WireError::Unexpected(Layer::Icmp)),
        };
        if checksum(message) != 0 {
            return Err(WireError::Checksum(Layer::Icmp));
        }
        Ok(Echo {
            reply,
            identifier: u16::from_be_bytes([i0, i1]),
            sequence: u16::from_be_bytes([s0, s1]),
            data: message.get(HEADER..).unwrap_or_default(),
        })
    }

    /// Appends the message, checksum filled in.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [i0, i1] = self.identifier.to_be_bytes();
        let [s0, s1] = self.sequence.to_be_bytes();
        let kind = if self.reply { 0 } else { 8 };
        let [c0, c1] = Sum::default().bytes(&[kind, 0, 0, 0, i0, i1, s0, s1]).bytes(self.data).finish().to_be_bytes();
        out.extend_from_slice(&[kind, 0, c0, c1, i0, i1, s0, s1]);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn other_icmp_messages_are_unexpected() {
        assert_eq!(Echo::parse(&[3, 1, 0, 0, 0, 0, 0, 0]), Err(WireError::Unexpected(Layer::Icmp)));
    }

    proptest! {
        #[test]
        fn an_echo_reads_back_and_any_flipped_bit_of_its_data_is_noticed(
            reply: bool, identifier: u16, sequence: u16, data in proptest::collection::vec(any::<u8>(), 1..100), flip: prop::sample::Index,
        ) {
            let echo = Echo { reply, identifier, sequence, data: &data };
            let mut bytes = Vec::new();
            echo.write(&mut bytes);
            prop_assert_eq!(Echo::parse(&bytes), Ok(echo));
            let bit = HEADER * 8 + flip.index(data.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Echo::parse(&bytes), Err(WireError::Checksum(Layer::Icmp)));
        }
    }
}
