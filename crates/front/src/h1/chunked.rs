//! The body of an HTTP/1 request: framed bytes to content (RFC 9112 sections 6 and 7).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::Framing;

/// Bytes that the line of a chunk's size may have: sixteen digits, and extensions that nobody uses.
const SIZE_LINE: usize = 256;
/// Bytes that trailers may have.
const TRAILERS: usize = 8 << 10;
/// Those of them that are passed on. What is beyond is left out.
const FIELDS: usize = 128;

/// Takes the framing off a body, whatever pieces it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoder {
    state: State,
    /// Lines of trailers that have come, each ended by a newline.
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    /// In the line of a size; how far, what it says, and whether digits are over.
    Size {
        read: usize,
        size: u64,
        digits: usize,
        rest: Rest,
    },
    Chunk(u64),
    /// After a chunk's content: CR, then LF.
    ChunkEnd {
        cr: bool,
    },
    /// In the trailers: bytes in all, what of a line is being read, and whether the last was CR.
    Trailer {
        read: usize,
        line: Line,
        cr: bool,
    },
    Done,
}

/// What of a size line is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Digits,
    Extension,
    Newline,
}

/// What of a trailer is being read. A line that is no field would be a request to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begin,
    Name,
    Value,
}

/// What a piece of input holds at its beginning.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes of framing, to be left out.
    Framing(usize),
    /// So many bytes of content.
    Content(usize),
    /// The body is over; what is there belongs to the next request.
    End,
}

impl Decoder {
    /// For a body that is framed like this.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => size(),
        };
        Self { state, trailers: Vec::new() }
    }

    /// The fields that came after the last chunk (RFC 9112 section 7.1.2), once the body is over. They are given once.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        if self.trailers.is_empty() {
            return None;
        }
        let lines = std::mem::take(&mut self.trailers);
        let mut fields = HeaderMap::new();
        for line in lines.split(|byte| *byte == b'\n').take(FIELDS) {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            let value = HeaderValue::from_bytes(value.trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
                fields.append(name, value);
            }
        }
        (!fields.is_empty()).then_some(fields)
    }

    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Content that must still come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(length) => Some(length),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// What `input`, which is not empty, begins with. The caller takes as much off it before the next call.
    ///
    /// # Errors
    /// When that is no framing. Nobody knows then where the body ends.
    pub fn decode(&mut self, input: &[u8]) -> Result<Piece, &'static str> {
        match &mut self.state {
            State::Done => Ok(Piece::End),
            State::Length(left) => {
                let taken = take(left, input.len());
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(Piece::Content(taken))
            }
            State::Chunk(left) => {
                let taken = take(left, input.len());
                if *left == 0 {
                    self.state = State::ChunkEnd { cr: false };
                }
                Ok(Piece::Content(taken))
            }
            _ => self.framing(input),
        }
    }

    fn framing(&mut self, input: &[u8]) -> Result<Piece, &'static str> {
        let mut taken = 0;
        for byte in input {
            if matches!(self.state, State::Chunk(_) | State::Done) {
                break;
            }
            taken += 1;
            self.byte(*byte)?;
        }
        Ok(Piece::Framing(taken))
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match &mut self.state {
            State::Size { read, size, digits, rest } => {
                *read += 1;
                if *read > SIZE_LINE {
                    return Err("the line of a chunk's size is too long");
                }
                match (*rest, byte) {
                    (Rest::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if *digits < 16 => {
                        *digits += 1;
                        *size = *size << 4 | u64::from((byte as char).to_digit(16).unwrap_or(0));
                    }
                    (Rest::Digits, b';') if *digits > 0 => *rest = Rest::Extension,
                    (Rest::Digits, b'\r') if *digits > 0 => *rest = Rest::Newline,
                    (Rest::Extension, b'\r') => *rest = Rest::Newline,
                    (Rest::Extension, b'\t' | b' '..=b'~' | 0x80..) => {}
                    (Rest::Newline, b'\n') if *size == 0 => self.state = trailer(),
                    (Rest::Newline, b'\n') => self.state = State::Chunk(*size),
                    _ => return Err("the size of a chunk is malformed"),
                }
            }
            State::ChunkEnd { cr } => match (*cr, byte) {
                (false, b'\r') => *cr = true,
                (true, b'\n') => self.state = size(),
                _ => return Err("a chunk is longer than it says"),
            },
            State::Trailer { read, line, cr } => {
                *read += 1;
                if *read > TRAILERS {
                    return Err("the trailers are too large");
                }
                match (*cr, *line, byte) {
                    (false, Line::Begin | Line::Value, b'\r') => *cr = true,
                    (true, Line::Begin, b'\n') => self.state = State::Done,
                    (true, Line::Value, b'\n') => (*line, *cr) = (Line::Begin, false),
                    (false, Line::Begin | Line::Name, byte) if is_token(byte) => *line = Line::Name,
                    (false, Line::Name, b':') => *line = Line::Value,
                    (false, Line::Value, b'\t' | b' '..=b'~' | 0x80..) => {}
                    _ => return Err("a trailer is malformed"),
                }
                // What ends all of it is no line, and most bodies have nothing else here.
                if byte != b'\r' && self.state != State::Done {
                    self.trailers.push(byte);
                }
            }
            State::Length(_) | State::Chunk(_) | State::Done => {}
        }
        Ok(())
    }
}

fn size() -> State {
    State::Size { read: 0, size: 0, digits: 0, rest: Rest::Digits }
}

fn trailer() -> State {
    State::Trailer { read: 0, line: Line::Begin, cr: false }
}

/// Whether it may stand in the name of a field (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Takes up to `available` off what is left, and says how much.
fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of `body`, fed in pieces of `step` bytes, and how much of it was left over.
    fn decode(framing: Framing, body: &[u8], step: usize) -> Result<(Vec<u8>, usize), &'static str> {
        let mut decoder = Decoder::new(framing);
        let (mut content, mut at) = (Vec::new(), 0);
        while at < body.len() && !decoder.is_done() {
            let piece = &body[at..body.len().min(at + step)];
            match decoder.decode(piece)? {
                Piece::Framing(taken) => at += taken,
                Piece::Content(taken) => {
                    content.extend_from_slice(&piece[..taken]);
                    at += taken;
                }
                Piece::End => break,
            }
        }
        if !decoder.is_done() {
            return Err("unfinished");
        }
        Ok((content, body.len() - at))
    }

    #[test]
    fn a_body_is_the_same_whatever_pieces_it_comes_in() {
        let chunked = b"5\r\nhello\r\n006;ext=\"v\"\r\n, worl\r\n1\r\nd\r\n0\r\nExpires: 0\r\nX: y\r\n\r\nGET /";
        for step in 1..chunked.len() {
            assert_eq!(decode(Framing::Chunked, chunked, step), Ok((b"hello, world".to_vec(), 5)), "{step}");
            assert_eq!(decode(Framing::Length(5), b"helloGET /", step), Ok((b"hello".to_vec(), 5)), "{step}");
        }
        assert_eq!(decode(Framing::None, b"GET /", 5), Ok((vec![], 5)));
        assert_eq!(decode(Framing::Length(0), b"GET /", 5), Ok((vec![], 5)));
        assert_eq!(decode(Framing::Chunked, b"0\r\n\r\nGET /", 99), Ok((vec![], 5)));
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_refused() {
        for body in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-1\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b";a\r\nhello\r\n0\r\n\r\n",
            b"5;a\nhello\r\n0\r\n\r\n",
            b"5;\r\r\nhello\r\n0\r\n\r\n",
            b"5\r\rhello\r\n0\r\n\r\n",
            b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\nX: y\n\r\n",
            b"0\r\n\0\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\nX: y\r\n z\r\n\r\n",
        ] {
            let refused = decode(Framing::Chunked, body, 99);
            assert!(refused.is_err() && refused != Err("unfinished"), "{:?}", body.escape_ascii().to_string());
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"5;".to_vec(), vec![b'a'; 300], b"\r\nhello\r\n0\r\n\r\n".to_vec()].concat();
        assert_eq!(decode(Framing::Chunked, &extension, 99), Err("the line of a chunk's size is too long"));
        let trailers = [b"0\r\n".to_vec(), b"X: y\r\n".repeat(2000), b"\r\n".to_vec()].concat();
        assert_eq!(decode(Framing::Chunked, &trailers, 99), Err("the trailers are too large"));
    }

    #[test]
    fn trailers_are_the_same_whatever_pieces_they_come_in_and_are_given_once() {
        let body = b"1\r\nx\r\n0\r\nX-Sum:  a:b \r\nx-sum: c\r\nempty:\r\n\r\nGET /";
        for step in 1..body.len() {
            let (mut decoder, mut at) = (Decoder::new(Framing::Chunked), 0);
            while !decoder.is_done() {
                match decoder.decode(&body[at..body.len().min(at + step)]).unwrap() {
                    Piece::Framing(taken) | Piece::Content(taken) => at += taken,
                    Piece::End => break,
                }
            }
            let fields = decoder.take_trailers().unwrap();
            assert_eq!(fields.get_all("x-sum").iter().collect::<Vec<_>>(), ["a:b", "c"], "{step}");
            assert_eq!(
                (fields.len(), &fields["empty"], &body[at..]),
                (3, &HeaderValue::from_static(""), &b"GET /"[..])
            );
            assert_eq!(decoder.take_trailers(), None);
        }
        let mut bare = Decoder::new(Framing::Chunked);
        assert_eq!(bare.decode(b"0\r\n\r\n"), Ok(Piece::Framing(5)));
        assert!(bare.is_done() && bare.take_trailers().is_none());
    }

    #[test]
    fn a_size_of_sixteen_digits_is_read_whole() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let line = b"ffffffffffffffff\r\n";
        assert_eq!(decoder.decode(line), Ok(Piece::Framing(line.len())));
        assert_eq!(decoder.decode(b"abc"), Ok(Piece::Content(3)));
    }
}
