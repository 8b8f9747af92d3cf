//! The name that a client of TLS asks for, read out of the beginning of its connection (RFC 8446 section 4.1.2, RFC 6066 section 3).

/// Octets within which a ClientHello has to end, with the heads of the records that it is in.
pub const LONGEST: usize = 16 << 10;
/// Octets before the content of a record (RFC 8446 section 5.1).
const RECORD: usize = 5;
/// The type of a record with a handshake in it.
const HANDSHAKE: u8 = 22;
/// Octets of the largest record's content.
const FRAGMENT: usize = 1 << 14;
/// The type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// The extension with the name (RFC 6066 section 3).
const SERVER_NAME: u16 = 0;
/// The longest name (RFC 1035 section 2.3.4).
const NAME: usize = 253;
/// Octets before the body of a message: its type and length (RFC 8446 section 4).
const HEAD: usize = 4;
/// Octets that are enough to put any message together that is read.
pub const SCRATCH: usize = HEAD + LONGEST;

/// What a client has said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that it asks for, in small letters.
    pub server_name: Option<String>,
}

/// Why octets are no beginning of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// They are of something else.
    #[error("this is not TLS")]
    NotTls,
    /// Something in them is shorter or longer than it says.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(&'static str),
    /// It does not end within [`LONGEST`].
    #[error("the ClientHello is too long")]
    TooLong,
}

impl ClientHello {
    /// Reads the message that a connection begins with, in however many records; `None` where the octets end before it does.
    ///
    /// # Errors
    /// As soon as it is clear that more octets would not make one of them.
    pub fn read(octets: &[u8]) -> Result<Option<Self>, HelloError> {
        let mut scratch = vec![0; octets.len().min(SCRATCH)];
        Ok(match server_name(octets, &mut scratch)? {
            Asked::More => None,
            Asked::Nobody => Some(Self { server_name: None }),
            Asked::Name(name) => Some(Self { server_name: Some(name.to_ascii_lowercase()) }),
        })
    }
}

/// What the beginning of a connection says of the name that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The octets end before it could.
    More,
    /// There is none.
    Nobody,
    /// It, as it was written.
    Name(&'a str),
}

/// Reads the name in the message that a connection begins with, in however many records. The message is put together in `scratch`, for which [`SCRATCH`] octets are
/// always enough. No allocation.
///
/// # Errors
/// As soon as it is clear that more octets would not make a ClientHello, or that `scratch` has too little room for it.
pub fn server_name<'a>(octets: &[u8], scratch: &'a mut [u8]) -> Result<Asked<'a>, HelloError> {
    let (mut rest, mut filled) = (octets, 0);
    let length = loop {
        if let Some((body, _)) = body(scratch.get(..filled).unwrap_or_default())? {
            break body.len();
        }
        let seen = octets.len() - rest.len();
        let Some((fragment, after)) = record(rest)? else {
            return if octets.len() < LONGEST { Ok(Asked::More) } else { Err(HelloError::TooLong) };
        };
        let room = scratch.get_mut(filled..).unwrap_or_default();
        if seen > LONGEST || room.is_empty() {
            return Err(HelloError::TooLong);
        }
        let taken = fragment.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..taken), fragment.get(..taken)) {
            to.copy_from_slice(from);
        }
        filled += taken;
        rest = after;
    };
    named(scratch.get(HEAD..HEAD + length).unwrap_or_default())
}

/// Reads the body of the message.
fn named(body: &[u8]) -> Result<Asked<'_>, HelloError> {
    const CUT: HelloError = HelloError::Malformed("it is cut short");
    let mut cursor = Cursor(body);
    // The version that was, and a random number.
    cursor.take(2 + 32).ok_or(CUT)?;
    // The session, suites and compressions.
    cursor.short().ok_or(CUT)?;
    cursor.long().ok_or(CUT)?;
    cursor.short().ok_or(CUT)?;
    if cursor.0.is_empty() {
        return Ok(Asked::Nobody);
    }
    let mut extensions = Cursor(cursor.long().ok_or(CUT)?);
    while !extensions.0.is_empty() {
        let kind = extensions.number().ok_or(CUT)?;
        let content = extensions.long().ok_or(CUT)?;
        if kind == SERVER_NAME {
            return host(content);
        }
    }
    Ok(Asked::Nobody)
}

/// Something, and what follows it; `None` where it is not all there.
type Parted<'a> = Option<(&'a [u8], &'a [u8])>;

/// The content of a record.
fn record(octets: &[u8]) -> Result<Parted<'_>, HelloError> {
    // The version of the record says little, but its first half is always the same.
    if octets.first().is_some_and(|kind| *kind != HANDSHAKE) || octets.get(1).is_some_and(|major| *major != 3) {
        return Err(HelloError::NotTls);
    }
    let Some((&[_, _, _, high, low], rest)) = octets.split_first_chunk::<RECORD>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 || length > FRAGMENT {
        return Err(HelloError::Malformed("a record has a length that none can have"));
    }
    // What there is of a record may say enough already: the message is looked at when it is whole.
    Ok(rest.split_at_checked(length))
}

/// The body of a message.
fn body(message: &[u8]) -> Result<Parted<'_>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::Malformed("another message comes first"));
    }
    let Some((&[_, high, middle, low], rest)) = message.split_first_chunk::<HEAD>() else { return Ok(None) };
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > LONGEST {
        return Err(HelloError::TooLong);
    }
    Ok(rest.split_at_checked(length))
}

/// The first name of a list of them. Of others than names of hosts there are none.
fn host(content: &[u8]) -> Result<Asked<'_>, HelloError> {
    const WRONG: HelloError = HelloError::Malformed("the name is none of a host");
    let mut list = Cursor(Cursor(content).long().ok_or(WRONG)?);
    while !list.0.is_empty() {
        let kind = list.take(1).ok_or(WRONG)?;
        let name = list.long().ok_or(WRONG)?;
        if kind != [0] {
            continue;
        }
        let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
        let name = name.strip_suffix(b".").unwrap_or(name);
        if name.is_empty() || name.len() > NAME || !name.iter().all(fits) {
            return Err(WRONG);
        }
        return std::str::from_utf8(name).map(Asked::Name).map_err(|_| WRONG);
    }
    Ok(Asked::Nobody)
}

/// What is left of some octets.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    /// As many as one octet says.
    fn short(&mut self) -> Option<&'a [u8]> {
        let count = *self.take(1)?.first()?;
        self.take(count.into())
    }

    /// As many as two octets say.
    fn long(&mut self) -> Option<&'a [u8]> {
        let count = self.number()?;
        self.take(count.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message for a name, with so much of other extensions before it.
    fn hello(name: Option<&[u8]>, padding: usize) -> Vec<u8> {
        let long = |octets: &[u8]| [&(octets.len() as u16).to_be_bytes()[..], octets].concat();
        let mut extensions = [&21u16.to_be_bytes()[..], &long(&vec![0; padding])].concat();
        if let Some(name) = name {
            let entry = [&[0][..], &long(name)].concat();
            extensions.extend([&SERVER_NAME.to_be_bytes()[..], &long(&long(&entry))].concat());
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([1, 9]);
        body.extend(long(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(long(&extensions));
        let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
        [&[CLIENT_HELLO, high, middle, low][..], &body].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat();
        message.chunks(size).flat_map(record).collect()
    }

    fn name(octets: &[u8]) -> Option<String> {
        ClientHello::read(octets).unwrap().unwrap().server_name
    }

    #[test]
    fn the_name_is_read_however_the_message_is_cut_into_records() {
        let message = hello(Some(b"WWW.Example.org"), 300);
        for size in [1, 2, 5, 77, message.len() - 1, message.len()] {
            let octets = records(&message, size);
            assert_eq!(name(&octets).as_deref(), Some("www.example.org"));
            // Without its last octet it is not all there, and nothing more is said.
            for end in 0..octets.len() {
                assert_eq!(ClientHello::read(&octets[..end]), Ok(None), "{size} {end}");
            }
            let more = [&octets[..], b"early data"].concat();
            assert_eq!(name(&more).as_deref(), Some("www.example.org"));
        }
    }

    #[test]
    fn who_asks_for_no_name_gets_none() {
        assert_eq!(name(&records(&hello(None, 0), 1 << 14)), None);
        let mut bare = vec![CLIENT_HELLO, 0, 0, 41, 3, 3];
        bare.extend([0; 32]);
        bare.extend([0, 0, 2, 0x13, 1, 1, 0]);
        assert_eq!(name(&records(&bare, 1 << 14)), None);
    }

    #[test]
    fn what_is_no_beginning_of_tls_is_refused_at_once() {
        use HelloError::{Malformed, NotTls, TooLong};
        let read = ClientHello::read;
        assert_eq!(read(b"G"), Err(NotTls));
        assert_eq!(read(b"\x16\x02"), Err(NotTls));
        assert_eq!(read(b""), Ok(None));
        assert!(matches!(read(&[22, 3, 1, 0, 0]), Err(Malformed(_))));
        assert!(matches!(read(&[22, 3, 1, 0xff, 0xff]), Err(Malformed(_))));
        assert!(matches!(read(&[22, 3, 1, 0, 1, 2]), Err(Malformed(_))));
        assert_eq!(read(&[22, 3, 1, 0, 4, 1, 0xff, 0, 0]), Err(TooLong));
        for wrong in [&b"a b"[..], b"", b".", &[b'a'; 254], b"\xff"] {
            assert!(matches!(read(&records(&hello(Some(wrong), 0), 1 << 14)), Err(Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn without_room_for_the_message_it_is_too_long_and_with_some_it_is_read_in_place() {
        let message = hello(Some(b"WWW.example.org"), 300);
        let octets = records(&message, 50);
        let mut scratch = [0; SCRATCH];
        assert_eq!(server_name(&octets, &mut scratch), Ok(Asked::Name("WWW.example.org")), "as it was written");
        assert_eq!(server_name(&octets, &mut scratch[..message.len()]), Ok(Asked::Name("WWW.example.org")));
        assert_eq!(server_name(&octets, &mut scratch[..message.len() - 60]), Err(HelloError::TooLong));
        assert_eq!(server_name(&octets[..60], &mut scratch), Ok(Asked::More));
        assert_eq!(server_name(&records(&hello(None, 0), 99), &mut scratch), Ok(Asked::Nobody));
    }

    #[test]
    fn a_message_that_does_not_end_in_time_is_too_long() {
        let octets = records(&hello(Some(b"a.test"), 15_000), 3);
        assert_eq!(ClientHello::read(&octets[..LONGEST]), Err(HelloError::TooLong));
        assert_eq!(name(&records(&hello(Some(b"a.test"), 15_000), 1 << 14)).as_deref(), Some("a.test"));
    }

    #[test]
    fn nothing_that_is_sent_makes_it_panic() {
        let octets = records(&hello(Some(b"a.test"), 9), 40);
        for at in 0..octets.len() {
            for octet in [0, 1, 3, 22, 0x7f, 0xff] {
                let mut changed = octets.clone();
                changed[at] = octet;
                // Whatever it says of it.
                let _ = ClientHello::read(&changed);
            }
        }
    }
}
