//! HTTP/2 against a running door, frame by frame. The client is our own: it says what no library would.

mod floods;
mod leaving;
mod messages;
mod rules;
mod watching;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::BytesMut;
use h2::Reason;

use super::frame::{Frames, Head, Part, flag, kind};
use crate::door::tests::Running;
use crate::h3::qpack::huffman;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The flags of a request without content.
const WHOLE: u8 = flag::END_STREAM | flag::END_HEADERS;
const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/now")];

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    Status(u32, u16),
    Content(u32, Vec<u8>),
    End(u32),
    Reset(u32, Reason),
    Goaway(Reason),
    Settings,
    /// Its settings were taken over.
    Settled,
    Pong([u8; 8]),
    Ping([u8; 8]),
    Closed,
    /// Nothing for a long time.
    Silence,
}

/// What becomes of what a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// The connection ends with this code.
    Connection(Reason),
    /// The stream does, and the connection goes on.
    Stream(u32, Reason),
    /// The stream is answered, and the connection goes on.
    Answer(u32, u16),
    /// Nothing happens.
    Lives,
}

struct Client {
    stream: TcpStream,
    frames: Frames,
    head: Head,
    payload: Vec<u8>,
    heard: VecDeque<Event>,
    /// The last streams that the server says it looks at.
    last: Vec<u32>,
}

impl Client {
    /// One that has said nothing.
    fn silent(running: &Running) -> Self {
        let (stream, payload, heard) = (running.connect(), Vec::new(), VecDeque::new());
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, frames: Frames::default(), head: Head::default(), payload, heard, last: Vec::new() }
    }

    /// One that has exchanged settings. With its own it wants no dynamic table of the server's (RFC 9113 section 6.5.2).
    fn new(running: &Running, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::silent(running);
        client.say(&[PREFACE, &self::settings(&[&[(1, 0)], settings].concat())].concat());
        assert_eq!(client.hear(), Event::Settings, "RFC 9113 section 3.4");
        client.say(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        assert_eq!(client.hear(), Event::Settled, "RFC 9113 section 6.5.3");
        client
    }

    /// A server that has heard enough may close while the rest is being said.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn hear(&mut self) -> Event {
        loop {
            if let Some(event) = self.heard.pop_front() {
                return event;
            }
            let mut some = vec![0; 64 << 10];
            match self.stream.read(&mut some) {
                Ok(0) => return Event::Closed,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Event::Closed,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Event::Silence,
                read => some.truncate(read.expect("the server says something")),
            }
            let mut rest = &some[..];
            while let Some(part) = self.frames.next(&mut rest) {
                match part {
                    Part::Head(head) => (self.head, self.payload) = (head, Vec::new()),
                    Part::Payload(payload) => self.payload.extend_from_slice(payload),
                }
                if self.payload.len() == self.head.length {
                    self.frame();
                }
            }
        }
    }

    /// A frame is there.
    fn frame(&mut self) {
        let (head, payload) = (self.head, std::mem::take(&mut self.payload));
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let code = |at| Reason::from(number(at));
        let event = match head.kind {
            kind::HEADERS => Event::Status(head.stream, status(&payload)),
            kind::DATA => Event::Content(head.stream, payload),
            kind::RST_STREAM => Event::Reset(head.stream, code(0)),
            kind::GOAWAY => {
                self.last.push(number(0));
                Event::Goaway(code(4))
            }
            kind::SETTINGS if head.has(flag::ACK) => Event::Settled,
            kind::SETTINGS => Event::Settings,
            kind::PING if head.has(flag::ACK) => Event::Pong(payload.try_into().unwrap()),
            kind::PING => Event::Ping(payload.try_into().unwrap()),
            kind::WINDOW_UPDATE => return,
            other => panic!("a frame of kind {other}"),
        };
        self.heard.push_back(event);
        if matches!(head.kind, kind::HEADERS | kind::DATA) && head.has(flag::END_STREAM) {
            self.heard.push_back(Event::End(head.stream));
        }
    }

    /// Waits for one thing, whatever comes before it.
    fn wait(&mut self, wanted: &Event) -> Vec<Event> {
        let mut heard = Vec::new();
        loop {
            let event = self.hear();
            heard.push(event.clone());
            if event == *wanted || matches!(event, Event::Closed | Event::Silence) {
                return heard;
            }
        }
    }

    /// The content of an answer.
    fn content(&mut self, stream: u32) -> String {
        let content = self.wait(&Event::End(stream)).into_iter().filter_map(|event| match event {
            Event::Content(of, content) if of == stream => Some(content),
            _ => None,
        });
        String::from_utf8(content.collect::<Vec<_>>().concat()).unwrap()
    }

    /// What happens until the connection shows that it goes on, or ends.
    fn lives(&mut self) -> Vec<Event> {
        const MARK: [u8; 8] = *b"are you?";
        self.say(&frame(kind::PING, 0, 0, &MARK));
        self.wait(&Event::Pong(MARK))
    }

    /// Whether it ends so, or what happens instead.
    fn ends(&mut self, ends: Ends) -> Result<(), Vec<Event>> {
        let first = match ends {
            Ends::Connection(code) => Event::Goaway(code),
            Ends::Stream(stream, code) => Event::Reset(stream, code),
            Ends::Answer(stream, status) => Event::Status(stream, status),
            Ends::Lives => Event::Settled,
        };
        let mut heard = if ends == Ends::Lives { vec![first.clone()] } else { self.wait(&first) };
        let come = heard.last() == Some(&first);
        match ends {
            _ if !come => return Err(heard),
            Ends::Connection(_) => heard.extend(self.wait(&Event::Closed)),
            Ends::Answer(stream, _) => heard.extend(self.wait(&Event::End(stream))),
            Ends::Stream(..) | Ends::Lives => {}
        }
        if !matches!(ends, Ends::Connection(_)) {
            heard.extend(self.lives());
        }
        let goes_on = matches!(heard.last(), Some(Event::Pong(_)));
        // A stream whose content nobody wanted is closed without reproach (RFC 9113 section 8.1).
        let reset = |event: &&Event| matches!(event, Event::Reset(_, code) if *code != Reason::NO_ERROR);
        let resets = heard.iter().filter(reset).count();
        match (ends, goes_on, resets) {
            (Ends::Connection(_), false, 0) | (Ends::Stream(..), true, 1) | (_, true, 0) => Ok(()),
            _ => Err(heard),
        }
    }
}

/// The status that a block begins with.
fn status(mut block: &[u8]) -> u16 {
    while block[0] & 0xe0 == 0x20 {
        block = &block[1..];
    }
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        0x08 | 0x18 | 0x48 => {
            let (coded, length) = (block[1] & 0x80 != 0, usize::from(block[1] & 0x7f));
            let mut text = BytesMut::new();
            match coded {
                true => huffman::decode(&block[2..2 + length], &mut text).unwrap(),
                false => text.extend_from_slice(&block[2..2 + length]),
            }
            std::str::from_utf8(&text).unwrap().parse().unwrap()
        }
        _ => panic!("a response begins with its status: {block:x?}"),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A number in HPACK (RFC 7541 section 5.1).
fn integer(pattern: u8, prefix: u32, number: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if number < most {
        return vec![pattern | number as u8];
    }
    let (mut out, mut left) = (vec![pattern | most as u8], number - most);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out
}

/// A string in HPACK (RFC 7541 section 5.2), in its code or as it is.
fn text(coded: bool, text: &str) -> Vec<u8> {
    let mut octets = text.as_bytes().to_vec();
    if coded {
        octets.clear();
        huffman::encode(text.as_bytes(), &mut octets);
    }
    [integer(if coded { 0x80 } else { 0 }, 7, octets.len()), octets].concat()
}

/// Literal lines without indexing, with new names (RFC 7541 section 6.2.2).
fn block(lines: &[(&str, &str)]) -> Vec<u8> {
    lines.iter().flat_map(|(name, value)| [vec![0], text(false, name), text(false, value)].concat()).collect()
}

fn headers(flags: u8, stream: u32, lines: &[(&str, &str)]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, &block(lines))
}

/// A request for a path.
fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(WHOLE, stream, &[GET[0], GET[1], GET[2], (":path", path)])
}

/// One whose content follows.
fn post(stream: u32, path: &str) -> Vec<u8> {
    headers(flag::END_HEADERS, stream, &[(":method", "POST"), GET[1], GET[2], (":path", path)])
}

fn data(flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, content)
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let octets = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(kind::SETTINGS, 0, 0, &octets.collect::<Vec<_>>())
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn priority(stream: u32, on: u32) -> Vec<u8> {
    frame(kind::PRIORITY, 0, stream, &[&on.to_be_bytes()[..], &[15]].concat())
}

/// What a client does, and what becomes of it.
struct Case(&'static str, Vec<Step>, Ends);

enum Step {
    Say(Vec<u8>),
    /// Waits until the stream is answered.
    Answered(u32),
}

/// A case in which all is said at once.
fn case(what: &'static str, said: &[Vec<u8>], ends: Ends) -> Case {
    Case(what, vec![Step::Say(said.concat())], ends)
}

fn hold(running: &Running, cases: impl IntoIterator<Item = Case>) {
    let wrong = cases.into_iter().filter_map(|Case(what, steps, ends)| {
        let mut client = Client::new(running, &[]);
        for step in steps {
            match step {
                Step::Say(bytes) => client.say(&bytes),
                Step::Answered(stream) => drop(client.wait(&Event::End(stream))),
            }
        }
        client.ends(ends).err().map(|heard| format!("{what}: not {ends:?}, but {heard:?}\n"))
    });
    assert_eq!(wrong.collect::<String>(), "");
}
