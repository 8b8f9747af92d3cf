//! What the two ends of a path tell each other about it, inside its tunnel.
//!
//! The first octet is 0, which is no version of IP: what carries packets passes it to nobody else. The second says that it is a hello, and the upper half of the third which
//! version of hellos: one of another version is no hello to us, and is counted as such. Numbers are big-endian.

/// Octets of a hello.
pub const LENGTH: usize = 48;

/// What its sender knows of the path (RFC 5880 section 4.1: Sta).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Claim {
    /// It hears nothing.
    Deaf,
    /// It hears, and does not yet use the path.
    Hears,
    /// It hears, and uses the path.
    Uses,
}

/// When the other's last hello was stamped, and how long ago it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// The stamp, on the clock of who gets this.
    pub stamp: u64,
    /// Microseconds since it came.
    pub held: u32,
}

/// A hello. Counters are of this path, count datagrams, and wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Counts hellos.
    pub sequence: u32,
    /// Which count that is: by chance, and another one where its sender has begun anew.
    pub count: u32,
    /// When it left, in nanoseconds of the sender's clock.
    pub stamp: u64,
    /// For the round trip.
    pub echo: Option<Echo>,
    /// What its sender knows of the path.
    pub claim: Claim,
    /// Asks for an answer at once.
    pub hurry: bool,
    /// By how many milliseconds its sender was late of late with what it had to do; 255 is that or more.
    pub late: u8,
    /// Sent until now, this one with it.
    pub sent: u32,
    /// What should have come from the other side, as of its last hello.
    pub expected: u32,
    /// What had come by then.
    pub got: u32,
    /// The next one comes within so many milliseconds.
    pub pace: u16,
    /// So often, in milliseconds, its sender wants to hear.
    pub want: u16,
}

/// Which version of hellos this is.
pub const VERSION: u8 = 1;
const KIND: u8 = 1;
const HURRY: u8 = 4;
const ECHO: u8 = 8;

impl Hello {
    /// As octets.
    pub fn encode(&self) -> [u8; LENGTH] {
        let claim = match self.claim {
            Claim::Deaf => 0,
            Claim::Hears => 1,
            Claim::Uses => 2,
        };
        let echo = self.echo.unwrap_or(Echo { stamp: 0, held: 0 });
        let flags =
            VERSION << 4 | claim | if self.hurry { HURRY } else { 0 } | if self.echo.is_some() { ECHO } else { 0 };
        let mut octets = [0; LENGTH];
        let fields: [&[u8]; 11] = [
            &[0, KIND, flags, self.late],
            &self.sequence.to_be_bytes(),
            &self.stamp.to_be_bytes(),
            &echo.stamp.to_be_bytes(),
            &echo.held.to_be_bytes(),
            &self.sent.to_be_bytes(),
            &self.expected.to_be_bytes(),
            &self.got.to_be_bytes(),
            &self.pace.to_be_bytes(),
            &self.want.to_be_bytes(),
            &self.count.to_be_bytes(),
        ];
        octets.iter_mut().zip(fields.iter().flat_map(|field| field.iter())).for_each(|(to, from)| *to = *from);
        octets
    }

    /// Which version of hellos this is one of; none when it is no hello.
    pub fn version(octets: &[u8]) -> Option<u8> {
        let [0, KIND, flags] = *octets.first_chunk()? else { return None };
        Some(flags >> 4)
    }

    /// From octets; none when they are no hello, or one of another version. What follows it is for whoever comes later and changes nothing of it.
    pub fn decode(octets: &[u8]) -> Option<Hello> {
        let octets: &[u8; LENGTH] = octets.first_chunk()?;
        let [0, KIND, flags, late] = *octets.first_chunk::<4>()? else { return None };
        if flags >> 4 != VERSION {
            return None;
        }
        let claim = match flags & 3 {
            0 => Claim::Deaf,
            1 => Claim::Hears,
            2 => Claim::Uses,
            _ => return None,
        };
        let long = |at: usize| octets.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let word = |at: usize| octets.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let half = |at: usize| octets.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        let echo = Echo { stamp: long(16)?, held: word(24)? };
        Some(Hello {
            sequence: word(4)?,
            count: word(44)?,
            stamp: long(8)?,
            echo: (flags & ECHO != 0).then_some(echo),
            claim,
            hurry: flags & HURRY != 0,
            late,
            sent: word(28)?,
            expected: word(32)?,
            got: word(36)?,
            pace: half(40)?,
            want: half(42)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outwork_engine::sim;

    #[test]
    fn a_hello_survives_its_way_and_anything_else_is_none() {
        sim::seeds(200, |rng| {
            let hello = Hello {
                sequence: rng.next_u32(),
                count: rng.next_u32(),
                stamp: rng.next_u64(),
                echo: rng.chance(0.5).then(|| Echo { stamp: rng.next_u64(), held: rng.next_u32() }),
                claim: [Claim::Deaf, Claim::Hears, Claim::Uses][rng.below(3) as usize],
                hurry: rng.chance(0.5),
                late: rng.next_u32() as u8,
                sent: rng.next_u32(),
                expected: rng.next_u32(),
                got: rng.next_u32(),
                pace: rng.next_u32() as u16,
                want: rng.next_u32() as u16,
            };
            let octets = hello.encode();
            assert_eq!(Hello::decode(&octets), Some(hello));
            assert!((0..LENGTH).all(|length| Hello::decode(&octets[..length]).is_none()));
            for version in 0..16 {
                let mut other = octets;
                other[2] = version << 4 | octets[2] & 0xf;
                assert_eq!(Hello::version(&other), Some(version));
                assert_eq!(Hello::decode(&other), Some(hello).filter(|_| version == VERSION));
            }
            let mut noise = vec![0; rng.below(64) as usize];
            rng.fill(&mut noise);
            let _ = Hello::decode(&noise);
        });
    }
}
