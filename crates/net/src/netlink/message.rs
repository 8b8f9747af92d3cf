//! Netlink messages (RFC 3549): requests as they are written, answers as they are read. `rtnetlink(7)` names the structures.

/// Octets of the header of a message (`nlmsghdr`).
const HEADER: usize = 16;
/// Marks an attribute that is made of attributes (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;
/// What is left of the type of an attribute without its two flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
const TYPE: u16 = 0x3fff;

/// A request in the making.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A request of a kind, with the structure that its attributes follow, whose length is a multiple of 4.
    pub(crate) fn new(kind: u16, flags: i32, structure: &[u8]) -> Request {
        let mut octets = Vec::with_capacity(256);
        // The length, the sequence number and the port are filled in when it is finished; the kernel's port is 0.
        octets.extend_from_slice(&[0; 4]);
        octets.extend_from_slice(&kind.to_ne_bytes());
        octets.extend_from_slice(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        octets.extend_from_slice(&[0; 8]);
        octets.extend_from_slice(structure);
        Request(octets)
    }

    /// Adds an attribute.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        self.0.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute that is a number of 32 bits, if there is one.
    pub(crate) fn number(self, kind: u16, value: Option<u32>) -> Request {
        match value {
            Some(value) => self.attribute(kind, &value.to_ne_bytes()),
            None => self,
        }
    }

    /// Adds an attribute that is text, with the zero octet that ends it.
    pub(crate) fn text(self, kind: u16, text: &str) -> Request {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute that is made of those that `fill` adds.
    pub(crate) fn nested(self, kind: u16, fill: impl FnOnce(Request) -> Request) -> Request {
        let start = self.0.len();
        let mut filled = fill(self.attribute(kind | NESTED, &[]));
        let length = (filled.0.len() - start) as u16;
        filled.0.iter_mut().skip(start).zip(length.to_ne_bytes()).for_each(|(to, from)| *to = from);
        filled
    }

    /// The message as it is sent.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0.iter_mut().zip(length.to_ne_bytes()).for_each(|(to, from)| *to = from);
        self.0.iter_mut().skip(8).zip(sequence.to_ne_bytes()).for_each(|(to, from)| *to = from);
        self.0
    }
}

/// A message as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// What it is.
    pub(crate) kind: u16,
    /// Its flags.
    pub(crate) flags: u16,
    /// The number of the request that it answers.
    pub(crate) sequence: u32,
    /// What follows its header.
    pub(crate) body: &'a [u8],
}

/// Takes the next message off `rest`.
pub(crate) fn next_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *rest.first_chunk::<HEADER>()?;
    let length = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
    let body = rest.get(HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(Message {
        kind: u16::from_ne_bytes([t0, t1]),
        flags: u16::from_ne_bytes([f0, f1]),
        sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
        body,
    })
}

/// The attributes in `rest`: type and value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, t0, t1] = *rest.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([t0, t1]) & TYPE, value))
    })
}

/// The number of 32 bits that stands at `at`.
pub(crate) fn number(octets: &[u8], at: usize) -> Option<u32> {
    octets.get(at..)?.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

/// The number of 64 bits that stands at `at`.
pub(crate) fn long_number(octets: &[u8], at: usize) -> Option<u64> {
    octets.get(at..)?.first_chunk().map(|octets| u64::from_ne_bytes(*octets))
}

/// Text without the zero octet that ends it.
pub(crate) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let request = Request::new(16, libc::NLM_F_ACK, &[1, 2, 3, 4])
            .text(3, "eth0")
            .number(4, Some(1400))
            .number(5, None)
            .nested(8, |nest| nest.attribute(2, &[7]).nested(9, |inner| inner.number(1, Some(8))));
        let octets = request.finish(77);
        let mut rest = &octets[..];
        let message = next_message(&mut rest).unwrap();
        assert_eq!((message.kind, message.flags, message.sequence, rest.len()), (16, 5, 77, 0));
        assert_eq!(message.body[..4], [1, 2, 3, 4]);
        let found: Vec<_> = attributes(&message.body[4..]).collect();
        assert_eq!(found[..2], [(3, &b"eth0\0"[..]), (4, &1400u32.to_ne_bytes()[..])]);
        let nested: Vec<_> = attributes(found[2].1).collect();
        assert_eq!((found[2].0, nested[0]), (8, (2, &[7][..])));
        assert_eq!(attributes(nested[1].1).collect::<Vec<_>>(), [(1, &8u32.to_ne_bytes()[..])]);
        assert_eq!(text(found[0].1), "eth0");
    }

    #[test]
    fn malformed_messages_are_passed_over() {
        let octets = Request::new(16, 0, &[2, 0, 1, 0]).number(4, Some(7)).finish(1);
        for cut in 0..octets.len() {
            assert!(next_message(&mut &octets[..cut]).is_none());
        }
        for length in [0u32, 15, u32::MAX] {
            assert!(next_message(&mut &[&length.to_ne_bytes()[..], &[0; 12]].concat()[..]).is_none());
        }
        for attribute in [[0u8, 0, 3, 0], [3, 0, 3, 0], [200, 0, 3, 0]] {
            assert_eq!(attributes(&attribute).count(), 0);
        }
        assert_eq!((number(&[1, 2, 3], 0), number(&[1, 2, 3, 4], 9), long_number(&[0; 7], 0)), (None, None, None));
    }
}
