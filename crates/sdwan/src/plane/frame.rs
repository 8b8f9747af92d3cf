//! What stands before a packet that goes by two paths, inside their tunnels: of which stream it is, and the how-manieth. Numbers are big-endian.
//!
//! The first octet is 0, which is no version of IP, as that of hellos and probes; the kinds are others. A stream is of one sender, who calls it by chance: one
//! that begins anew is another one, so that nobody takes it for what was there before.

/// Octets in front of a packet: so much less it may be long.
pub const LENGTH: usize = 12;

const TWICE: u8 = 16;
const DATA: u8 = 17;
const PARITY: u8 = 18;

/// Packets of a group, and packets that mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    data: u8,
    parity: u8,
}

impl Shape {
    /// Packets of a group, at most.
    pub const DATA: u8 = 32;
    /// Packets that mend it, at most.
    pub const PARITY: u8 = 8;

    /// As many as there may be, and one of each at least.
    pub fn new(data: u8, parity: u8) -> Shape {
        Shape { data: data.clamp(1, Shape::DATA), parity: parity.clamp(1, Shape::PARITY) }
    }

    /// Packets of a group.
    pub fn data(self) -> u8 {
        self.data
    }

    /// Packets that mend it.
    pub fn parity(self) -> u8 {
        self.parity
    }
}

/// What a packet is in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// One that goes by both paths.
    Twice,
    /// One of a group.
    Data {
        /// Its place in the group.
        place: u8,
        /// What the group may grow to.
        shape: Shape,
    },
    /// No packet, but what mends a group.
    Parity {
        /// Which of those that do.
        row: u8,
        /// What the group has come to.
        shape: Shape,
    },
}

/// What stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What its sender calls the stream.
    pub stream: u32,
    /// Counts packets of the stream; or groups, where they are of groups.
    pub number: u32,
    /// What it is.
    pub part: Part,
}

impl Frame {
    /// That of a packet so many behind it in the same piece.
    #[must_use]
    pub fn behind(self, count: u32) -> Frame {
        Frame { number: self.number.wrapping_add(count), ..self }
    }

    /// As octets.
    pub fn encode(&self) -> [u8; LENGTH] {
        let both = |shape: Shape| (shape.data - 1) << 3 | (shape.parity - 1);
        let (kind, place, shape) = match self.part {
            Part::Twice => (TWICE, 0, 0),
            Part::Data { place, shape } => (DATA, place, both(shape)),
            Part::Parity { row, shape } => (PARITY, row, both(shape)),
        };
        let ([s0, s1, s2, s3], [n0, n1, n2, n3]) = (self.stream.to_be_bytes(), self.number.to_be_bytes());
        [0, kind, place, shape, s0, s1, s2, s3, n0, n1, n2, n3]
    }

    /// From octets; none when they are no frame. What follows is the packet, or what mends.
    pub fn decode(octets: &[u8]) -> Option<Frame> {
        let [0, kind, place, shape, s0, s1, s2, s3, n0, n1, n2, n3] = *octets.first_chunk::<LENGTH>()? else {
            return None;
        };
        let shape = Shape::new((shape >> 3) + 1, (shape & 7) + 1);
        let part = match kind {
            TWICE => Part::Twice,
            DATA if place < shape.data => Part::Data { place, shape },
            PARITY if place < shape.parity => Part::Parity { row: place, shape },
            _ => return None,
        };
        let (stream, number) = (u32::from_be_bytes([s0, s1, s2, s3]), u32::from_be_bytes([n0, n1, n2, n3]));
        Some(Frame { stream, number, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hello::Hello;
    use crate::engine::mtu::Probe;
    use outwork_engine::sim;

    #[test]
    fn a_frame_survives_its_way_and_anything_else_is_none() {
        sim::seeds(300, |rng| {
            let shape = Shape::new(rng.next_u32() as u8, rng.next_u32() as u8);
            let part = match rng.below(3) {
                0 => Part::Twice,
                1 => Part::Data { place: rng.below(shape.data().into()) as u8, shape },
                _ => Part::Parity { row: rng.below(shape.parity().into()) as u8, shape },
            };
            let frame = Frame { stream: rng.next_u32(), number: rng.next_u32(), part };
            let mut octets = frame.encode().to_vec();
            assert!((0..LENGTH).all(|length| Frame::decode(&octets[..length]).is_none()));
            octets.resize(80, 0);
            assert_eq!(Frame::decode(&octets), Some(frame));
            assert!(Hello::decode(&octets).is_none() && Probe::decode(&octets).is_none());
            let mut noise = vec![0; rng.below(64) as usize];
            rng.fill(&mut noise);
            let _ = Frame::decode(&noise);
        });
    }

    #[test]
    fn places_that_a_group_does_not_have_are_none() {
        let frame = |part| Frame { stream: 1, number: 2, part }.encode();
        let shape = Shape::new(4, 2);
        assert_eq!(Frame::decode(&frame(Part::Data { place: 4, shape })), None);
        assert_eq!(Frame::decode(&frame(Part::Parity { row: 2, shape })), None);
        assert_eq!((Shape::new(0, 0), Shape::new(255, 255)), (Shape::new(1, 1), Shape::new(32, 8)));
    }
}
