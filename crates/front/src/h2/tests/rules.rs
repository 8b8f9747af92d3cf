//! The rules of RFC 9113 and RFC 7541, section by section. Where a stream error would do, the connection may end instead (RFC 9113 section 5.4.2).

use h2::Reason as R;

use super::Ends::{Answer, Connection, Lives, Stream};
use super::*;
use crate::door::Options;

const PROTOCOL: Ends = Connection(R::PROTOCOL_ERROR);
const SIZE: Ends = Connection(R::FRAME_SIZE_ERROR);
const CLOSED: Ends = Connection(R::STREAM_CLOSED);
const COMPRESSION: Ends = Connection(R::COMPRESSION_ERROR);
const WELL: Ends = Answer(1, 200);

const UNKNOWN: u8 = 0xbe;
const END: u8 = flag::END_STREAM;
const HEADERS_END: u8 = flag::END_HEADERS;

fn fragment() -> Vec<u8> {
    block(&GET)
}

fn continuation(flags: u8, stream: u32, fragment: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, fragment)
}

/// A request of which a part of the block is still to come.
fn begun(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END, stream, &fragment()[..9])
}

/// A request with padding or a priority before its block.
fn with(flags: u8, before: &[u8], after: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, WHOLE | flags, 1, &[before, &fragment(), after].concat())
}

#[test]
fn frames_have_their_form() {
    let large = |length: usize| [post(1, "/echo"), data(END, 1, &vec![b'x'; length])];
    hold(
        &Running::new(Options::default()),
        [
            case("4.1 a type that is unknown", &[frame(UNKNOWN, 0, 0, b"x"), get(1, "/now")], WELL),
            case("4.1 flags that are undefined", &[frame(kind::PING, 0xfe, 0, &[0; 8])], Lives),
            case("4.1 the reserved bit", &[frame(kind::PING, 0, 1 << 31, &[0; 8])], Lives),
            case("4.2 the largest frame", &large(1 << 14), WELL),
            case("4.2 DATA beyond it", &large((1 << 14) + 1), SIZE),
            case("4.2 HEADERS beyond it", &[frame(kind::HEADERS, WHOLE, 1, &[0; (1 << 14) + 1])], SIZE),
            case("4.2 an unknown frame beyond it", &[frame(UNKNOWN, 0, 0, &[0; (1 << 14) + 1])], SIZE),
            case("4.3 a block that is none", &[frame(kind::HEADERS, WHOLE, 1, &[0x40, 0xff])], COMPRESSION),
            case("4.3 PRIORITY within a block", &[begun(1), priority(1, 0)], PROTOCOL),
            case("4.3 another stream within a block", &[begun(1), get(3, "/now")], PROTOCOL),
            case("4.3 PING within a block", &[begun(1), frame(kind::PING, 0, 0, &[0; 8])], PROTOCOL),
            case("5.4.1 an error ends the connection", &[frame(kind::PING, 0, 3, &[0; 8])], PROTOCOL),
            case("5.5 an unknown frame on a stream", &[frame(UNKNOWN, 0, 1, b"x"), get(1, "/now")], WELL),
            case("5.5 an unknown frame within a block", &[begun(1), frame(UNKNOWN, 0, 1, b"x")], PROTOCOL),
            // DATA, 6.1.
            case("6.1 in pieces", &[post(1, "/echo"), data(0, 1, b"a"), data(END, 1, b"b")], WELL),
            case("6.1 with padding", &[post(1, "/echo"), data(END | flag::PADDED, 1, b"\x03abc\0\0\0")], WELL),
            case("6.1 on no stream", &[data(END, 0, b"x")], PROTOCOL),
            case("6.1 after the end", &[get(1, "/now"), data(END, 1, b"x")], CLOSED),
            case("6.1 more padding than frame", &[post(1, "/echo"), data(END | flag::PADDED, 1, b"\x05abc")], PROTOCOL),
            case("6.1 padding as long as the frame", &[post(1, "/echo"), data(flag::PADDED, 1, b"\x04abc")], PROTOCOL),
            case("6.1 no room to say how much", &[post(1, "/echo"), data(flag::PADDED, 1, b"")], SIZE),
            // HEADERS, 6.2.
            case("6.2 with padding", &[with(flag::PADDED, &[2], &[0, 0])], WELL),
            case("6.2 with a priority", &[with(flag::PRIORITY, &[0, 0, 0, 0, 255], &[])], WELL),
            case("6.2 with both", &[with(flag::PRIORITY | flag::PADDED, &[2, 0x80, 0, 0, 3, 9], &[0, 0])], WELL),
            case("6.2 on no stream", &[get(0, "/now")], PROTOCOL),
            case("6.2 more padding than frame", &[with(flag::PADDED, &[255], &[])], PROTOCOL),
            case("6.2 no room for the priority", &[frame(kind::HEADERS, WHOLE | flag::PRIORITY, 1, &[0; 4])], SIZE),
            case("6.2 no room for the padding's length", &[frame(kind::HEADERS, WHOLE | flag::PADDED, 1, &[])], SIZE),
            case(
                "6.2 padding where the priority is",
                &[frame(kind::HEADERS, WHOLE | flag::PADDED | flag::PRIORITY, 1, &[9, 0, 0, 0, 0, 1, 0x82])],
                PROTOCOL,
            ),
            case("5.3.1 depends on itself", &[with(flag::PRIORITY, &[0, 0, 0, 1, 9], &[])], PROTOCOL),
            case("5.3.1 depends on itself, exclusively", &[with(flag::PRIORITY, &[0x80, 0, 0, 1, 9], &[])], PROTOCOL),
            // PRIORITY, 6.3.
            case("6.3 of an idle stream", &[priority(3, 0), priority(1, 3), get(1, "/now")], WELL),
            case("6.3 of a half-closed stream", &[get(1, "/now"), priority(1, 0x8000_0003)], WELL),
            case("6.3 on no stream", &[priority(0, 1)], PROTOCOL),
            case("6.3 of another size", &[frame(kind::PRIORITY, 0, 1, &[0; 4])], SIZE),
            case("5.3.1 PRIORITY that depends on itself", &[priority(1, 1)], Stream(1, R::PROTOCOL_ERROR)),
            // RST_STREAM, 6.4.
            case("6.4 of an open stream", &[post(1, "/echo"), reset(1, 8)], Lives),
            case("6.4 on no stream", &[reset(0, 8)], PROTOCOL),
            case("6.4 of an idle stream", &[reset(1, 8)], PROTOCOL),
            case("6.4 of another size", &[post(1, "/echo"), frame(kind::RST_STREAM, 0, 1, &[0; 3])], SIZE),
            case("7 with a code that is unknown", &[post(1, "/echo"), reset(1, 0xff)], Lives),
            // SETTINGS, 6.5.
            case("6.5 any", &[settings(&[(3, 100), (6, 1 << 20)]), get(1, "/now")], WELL),
            case("6.5 an acknowledgement with content", &[frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])], SIZE),
            case("6.5 an acknowledgement of nothing", &[frame(kind::SETTINGS, flag::ACK, 0, &[])], PROTOCOL),
            case("6.5 on a stream", &[frame(kind::SETTINGS, 0, 1, &[])], PROTOCOL),
            case("6.5 of another size", &[frame(kind::SETTINGS, 0, 0, &[0; 5])], SIZE),
            case("6.5.2 ENABLE_PUSH is 0 or 1", &[settings(&[(2, 2)])], PROTOCOL),
            case("6.5.2 INITIAL_WINDOW_SIZE", &[settings(&[(3, 9), (4, 1 << 31)])], Connection(R::FLOW_CONTROL_ERROR)),
            case("6.5.2 MAX_FRAME_SIZE is not smaller", &[settings(&[(5, (1 << 14) - 1)])], PROTOCOL),
            case("6.5.2 MAX_FRAME_SIZE is not larger", &[settings(&[(5, 1 << 24)])], PROTOCOL),
            case("6.5.2 one that is unknown", &[settings(&[(0xff, 1)]), get(1, "/now")], WELL),
            case("RFC 8441 3 ENABLE_CONNECT_PROTOCOL is 0 or 1", &[settings(&[(8, 2)])], PROTOCOL),
            // PUSH_PROMISE, 6.6 and 8.4.
            case(
                "8.4 a push of a client",
                &[post(1, "/echo"), frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])],
                PROTOCOL,
            ),
            // PING, 6.7.
            case("6.7 a response to none", &[frame(kind::PING, flag::ACK, 0, &[0; 8]), get(1, "/now")], WELL),
            case("6.7 of another size", &[frame(kind::PING, 0, 0, &[0; 6])], SIZE),
            // GOAWAY, 6.8.
            case("6.8 on a stream", &[frame(kind::GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
            case("6.8 of another size", &[frame(kind::GOAWAY, 0, 0, &[0; 7])], SIZE),
            // WINDOW_UPDATE, 6.9.
            case("6.9 of the connection", &[window(0, 1), get(1, "/now")], WELL),
            case("6.9 of a stream", &[get(1, "/now"), window(1, 1)], WELL),
            case("6.9 by nothing", &[window(0, 0)], PROTOCOL),
            case("6.9 by nothing, on a stream", &[post(1, "/echo"), window(1, 0)], PROTOCOL),
            case("6.9 of another size", &[frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])], SIZE),
            case("6.9.1 beyond the largest window", &[window(0, u32::MAX >> 1)], Connection(R::FLOW_CONTROL_ERROR)),
            case(
                "6.9.1 beyond it, on a stream",
                &[post(1, "/echo"), window(1, u32::MAX >> 1)],
                Stream(1, R::FLOW_CONTROL_ERROR),
            ),
            case(
                "6.9.2 beyond it, by settings",
                &[post(1, "/echo"), window(1, 9), settings(&[(4, u32::MAX >> 1)])],
                Connection(R::FLOW_CONTROL_ERROR),
            ),
            // CONTINUATION, 6.10.
            case("6.10 one", &[begun(1), continuation(HEADERS_END, 1, &fragment()[9..])], WELL),
            case(
                "6.10 several",
                &[
                    begun(1),
                    continuation(0, 1, &fragment()[9..12]),
                    continuation(0, 1, &[]),
                    continuation(HEADERS_END, 1, &fragment()[12..]),
                ],
                WELL,
            ),
            case("6.10 another frame between", &[begun(1), continuation(0, 1, &[]), data(END, 1, b"x")], PROTOCOL),
            case("6.10 on no stream", &[begun(1), continuation(HEADERS_END, 0, &fragment()[9..])], PROTOCOL),
            case("6.10 on another stream", &[begun(1), continuation(HEADERS_END, 3, &fragment()[9..])], PROTOCOL),
            case("6.10 after a block", &[get(1, "/now"), continuation(HEADERS_END, 1, &fragment())], PROTOCOL),
            case(
                "6.10 after the end of another",
                &[begun(1), continuation(HEADERS_END, 1, &fragment()[9..]), continuation(HEADERS_END, 1, &fragment())],
                PROTOCOL,
            ),
            case("6.10 after DATA", &[post(1, "/echo"), data(0, 1, b"x"), continuation(4, 1, &fragment())], PROTOCOL),
        ],
    );
}

#[test]
fn streams_have_their_states() {
    let closed = |said: Vec<u8>, what, ends| {
        Case(what, vec![Step::Say(get(1, "/now")), Step::Answered(1), Step::Say(said)], ends)
    };
    hold(
        &Running::new(Options::default()),
        [
            case("5.1 idle: DATA", &[data(END, 1, b"x")], PROTOCOL),
            case("5.1 idle: RST_STREAM", &[reset(1, 8)], PROTOCOL),
            case("5.1 idle: WINDOW_UPDATE", &[window(1, 1)], PROTOCOL),
            case("5.1 idle: CONTINUATION", &[continuation(HEADERS_END, 1, &fragment())], PROTOCOL),
            case("5.1 idle: PRIORITY", &[priority(1, 0)], Lives),
            case("5.1 half-closed: DATA", &[get(1, "/never"), data(END, 1, b"x")], CLOSED),
            case("5.1 half-closed: empty DATA", &[get(1, "/never"), data(END, 1, b"")], CLOSED),
            case("5.1 half-closed: HEADERS", &[get(1, "/never"), get(1, "/now")], CLOSED),
            case("5.1 half-closed: CONTINUATION", &[get(1, "/never"), continuation(4, 1, &fragment())], PROTOCOL),
            case("5.1 half-closed: WINDOW_UPDATE", &[get(1, "/never"), window(1, 1)], Lives),
            case("5.1 half-closed: PRIORITY", &[get(1, "/never"), priority(1, 0)], Lives),
            case("5.1 half-closed: RST_STREAM", &[get(1, "/never"), reset(1, 8)], Lives),
            case("5.1 reset: DATA", &[post(1, "/echo"), reset(1, 8), data(END, 1, b"x")], CLOSED),
            case("5.1 reset: HEADERS", &[post(1, "/echo"), reset(1, 8), get(1, "/now")], CLOSED),
            case("5.1 reset: CONTINUATION", &[post(1, "/echo"), reset(1, 8), continuation(4, 1, &[])], PROTOCOL),
            case("5.1 reset: RST_STREAM", &[post(1, "/echo"), reset(1, 8), reset(1, 8)], Lives),
            closed(data(END, 1, b"x"), "5.1 closed: DATA", CLOSED),
            closed(get(1, "/now"), "5.1 closed: HEADERS", CLOSED),
            closed(continuation(4, 1, &fragment()), "5.1 closed: CONTINUATION", PROTOCOL),
            closed(priority(1, 0), "5.1 closed: PRIORITY", Lives),
            closed(window(1, 1), "5.1 closed: WINDOW_UPDATE", Lives),
            closed(reset(1, 8), "5.1 closed: RST_STREAM", Lives),
            case("5.1.1 an even number", &[get(2, "/now")], PROTOCOL),
            case("5.1.1 a smaller number", &[get(5, "/now"), get(3, "/now")], PROTOCOL),
            case("5.1.1 the largest number", &[get(u32::MAX >> 1, "/now")], Answer(u32::MAX >> 1, 200)),
            case(
                "5.1.2 more streams than there may be",
                &(0..129).map(|stream| get(2 * stream + 1, "/never")).collect::<Vec<_>>(),
                Stream(257, R::REFUSED_STREAM),
            ),
            case(
                "7 GOAWAY with a code that is unknown",
                &[frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff])],
                Connection(R::NO_ERROR),
            ),
            case(
                "6.8 GOAWAY lets what is under way end",
                &[get(1, "/now"), frame(kind::GOAWAY, 0, 0, &[0; 8])],
                Connection(R::NO_ERROR),
            ),
        ],
    );
}

#[test]
fn messages_have_their_form() {
    let request = |lines: &[(&str, &str)]| vec![headers(WHOLE, 1, lines)];
    let and = |line: (&'static str, &'static str)| request(&[&GET[..], &[line]].concat());
    let without = |at: usize| request(&[&GET[..at], &GET[at + 1..]].concat());
    let malformed = Stream(1, R::PROTOCOL_ERROR);
    let announced = |length: &'static str, content: &[Vec<u8>]| {
        let lines = [(":method", "POST"), GET[1], GET[2], (":path", "/echo"), ("content-length", length)];
        [&[headers(HEADERS_END, 1, &lines)], content].concat()
    };
    let trailers = |flags: u8, lines: &[(&str, &str)]| {
        [post(1, "/echo"), data(0, 1, b"x"), headers(flags | HEADERS_END, 1, lines)]
    };
    hold(
        &Running::new(Options::default()),
        [
            case("8.1 GET", &[get(1, "/now")], WELL),
            case("8.1 HEAD", &request(&[(":method", "HEAD"), GET[1], GET[2], GET[3]]), WELL),
            case("8.1 POST", &[post(1, "/echo"), data(END, 1, b"x")], WELL),
            case("8.1 trailers", &trailers(END, &[("a", "b")]), WELL),
            case("8.1 no trailers but a second head", &trailers(0, &[("a", "b")]), malformed),
            case("8.1 a second head at once", &[post(1, "/echo"), post(1, "/echo")], PROTOCOL),
            case("8.1 a pseudo-header field in trailers", &trailers(END, &[(":path", "/x")]), PROTOCOL),
            case("8.1 one of the static table", &[post(1, "/echo"), frame(kind::HEADERS, WHOLE, 1, &[0x82])], PROTOCOL),
            case("8.1 a field of the connection in trailers", &trailers(END, &[("connection", "close")]), malformed),
            case("8.2.1 a large letter", &and(("X-A", "b")), PROTOCOL),
            case("8.2.1 no name", &and(("", "b")), PROTOCOL),
            case("8.2.1 a name with a blank", &and(("a b", "c")), PROTOCOL),
            case("8.2.1 a name with a colon", &and(("a:b", "c")), PROTOCOL),
            case("8.2.1 a name that is no text", &and(("a\u{e4}", "c")), PROTOCOL),
            case("8.2.1 a name with a new line", &and(("a\r\nb", "c")), PROTOCOL),
            case("8.2.1 a value with a new line", &and(("a", "b\r\nc: d")), PROTOCOL),
            case("8.2.1 a value with a line feed", &and(("a", "b\nc")), PROTOCOL),
            case("8.2.1 a value with a zero", &and(("a", "b\0")), PROTOCOL),
            case("8.2.1 a value that begins with a blank", &and(("a", " b")), Answer(1, 400)),
            case("8.2.1 a value that ends with a tab", &and(("a", "b\t")), Answer(1, 400)),
            case("8.2.1 a value that is no text", &and(("a", "\u{e4}")), WELL),
            case("8.2.2 connection", &and(("connection", "keep-alive")), malformed),
            case("8.2.2 keep-alive", &and(("keep-alive", "1")), malformed),
            case("8.2.2 proxy-connection", &and(("proxy-connection", "close")), malformed),
            case("8.2.2 transfer-encoding", &and(("transfer-encoding", "chunked")), malformed),
            case("8.2.2 upgrade", &and(("upgrade", "h2c")), malformed),
            case("8.2.2 TE", &and(("te", "trailers, deflate;q=0.5")), malformed),
            case("8.2.2 TE that may be", &and(("te", "trailers")), WELL),
            case("8.3 one that is unknown", &and((":test", "x")), PROTOCOL),
            case("8.3 one of responses", &request(&[&GET[..], &[(":status", "200")]].concat()), malformed),
            case("8.3 one after a field", &request(&[GET[0], GET[1], GET[2], ("a", "b"), GET[3]]), malformed),
            case("8.3 :method twice", &and(GET[0]), malformed),
            case("8.3 :scheme twice", &and(GET[1]), malformed),
            case("8.3 :authority twice", &and(GET[2]), malformed),
            case("8.3 :path twice", &and(GET[3]), malformed),
            case("8.3.1 no :method", &without(0), malformed),
            case("8.3.1 no :scheme", &without(1), malformed),
            case("8.3.1 no :authority and no Host", &without(2), Answer(1, 400)),
            case("8.3.1 no :path", &without(3), malformed),
            case("8.3.1 no :path, and Host", &request(&[GET[0], GET[1], ("host", "a")]), Answer(1, 400)),
            case("8.3.1 an empty :path", &request(&[GET[0], GET[1], GET[2], (":path", "")]), malformed),
            case("8.5 CONNECT with :path", &request(&[(":method", "CONNECT"), GET[2], GET[3]]), malformed),
            case("8.5 CONNECT with :scheme", &request(&[(":method", "CONNECT"), GET[1], GET[2]]), malformed),
            case("8.5 CONNECT without :authority", &request(&[(":method", "CONNECT")]), Answer(1, 400)),
            case("8.5 CONNECT", &request(&[(":method", "CONNECT"), (":authority", "a:80")]), Answer(1, 404)),
            case(
                "RFC 8441 4 :protocol",
                &request(&[(":method", "CONNECT"), GET[1], GET[2], GET[3], (":protocol", "websocket")]),
                Answer(1, 501),
            ),
            case(
                "RFC 8441 4 :protocol without :path",
                &request(&[(":method", "CONNECT"), GET[1], GET[2], (":protocol", "websocket")]),
                malformed,
            ),
            case(
                "RFC 8441 4 :protocol of a GET",
                &request(&[GET[0], GET[1], GET[2], GET[3], (":protocol", "x")]),
                malformed,
            ),
            case("8.1.1 as much content as announced", &announced("3", &[data(0, 1, b"ab"), data(END, 1, b"c")]), WELL),
            case("8.1.1 less content", &announced("3", &[data(END, 1, b"x")]), malformed),
            case("8.1.1 less content, in pieces", &announced("3", &[data(0, 1, b"x"), data(END, 1, b"y")]), malformed),
            case("8.1.1 more content", &announced("1", &[data(END, 1, b"abc")]), malformed),
            case("8.1.1 more content, in pieces", &announced("1", &[data(0, 1, b"x"), data(END, 1, b"y")]), malformed),
            case(
                "8.1.1 less, and trailers",
                &announced("3", &[data(0, 1, b"x"), headers(WHOLE, 1, &[("a", "b")])]),
                malformed,
            ),
            case("8.1.1 none at all", &and(("content-length", "3")), malformed),
        ],
    );
}

#[test]
fn field_blocks_are_decompressed_or_the_connection_ends() {
    let request = |block: &[&[u8]]| vec![frame(kind::HEADERS, WHOLE, 1, &block.concat())];
    // The method, scheme and authority, and then some.
    let and = |more: Vec<u8>| request(&[&[0x82, 0x86], &block(&GET[2..]), &more]);
    // A path whose name is an entry (4), and a field with a new name.
    let path = |pattern: u8, prefix: u32, coded: bool| {
        request(&[&[0x82, 0x86], &block(&GET[2..3]), &integer(pattern, prefix, 4), &text(coded, "/now")])
    };
    let named = |pattern: u8, coded: bool| and([vec![pattern], text(coded, "x-name"), text(coded, "value")].concat());
    let value = |octets: &[u8]| and([&[0x00][..], &text(false, "a"), octets].concat());
    let representations = [0x40u8, 0x00, 0x10].into_iter().flat_map(|pattern| {
        let prefix = if pattern == 0x40 { 6 } else { 4 };
        [false, true].map(|coded| {
            [
                case("6.2 a literal with an indexed name", &path(pattern, prefix, coded), WELL),
                case("6.2 a literal with a new name", &named(pattern, coded), WELL),
            ]
        })
    });
    let running = Running::new(Options::default());
    hold(&running, representations.flatten());
    let indexed = frame(kind::HEADERS, WHOLE, 3, &[0x82, 0x86, 0xbf, 0xbe]);
    let literal = [&[0x82, 0x86, 0x41][..], &text(false, "a"), &[0x44], &text(true, "/now")].concat();
    let next = [request(&[&literal]), vec![indexed.clone()]].concat();
    let forgotten = [request(&[&literal]), vec![frame(kind::HEADERS, WHOLE, 3, &[0x20, 0x82, 0x86, 0xbf, 0xbe])]];
    hold(
        &running,
        [
            case("2.3.3 entries of both tables", &next, Answer(3, 200)),
            case("2.3.3 an entry that there is not", &and(integer(0x80, 7, 70)), COMPRESSION),
            case(
                "2.3.3 a name that there is not",
                &and([integer(0x40, 6, 70), text(false, "x")].concat()),
                COMPRESSION,
            ),
            case("4.1 an entry that was evicted", &forgotten.concat(), COMPRESSION),
            case("4.2 a size after a line", &and(integer(0x20, 5, 0)), COMPRESSION),
            case("4.2 sizes before all lines", &request(&[&[0x20, 0x3f, 0xe1, 0x1f], &fragment()]), WELL),
            case("5.1 a number without an end", &and(vec![0xff; 12]), COMPRESSION),
            case("5.2 a string that is cut", &and(vec![0x00, 0x05, b'a']), COMPRESSION),
            case("5.2 padding of more than seven bits", &value(&[0x82, 0x07, 0xff]), COMPRESSION),
            case("5.2 padding of zeroes", &value(&[0x81, 0b0000_0000]), COMPRESSION),
            case("5.2 the end of a string within it", &value(&[0x84, 0xff, 0xff, 0xff, 0xff]), COMPRESSION),
            case("6.1 entry 0", &and(vec![0x80]), COMPRESSION),
            case("6.3 a size", &request(&[&integer(0x20, 5, 4096), &fragment()]), WELL),
            case("6.3 more than there may be", &request(&[&integer(0x20, 5, 4097), &fragment()]), COMPRESSION),
            // The first error counts, and those of the block.
            case("4.3 after a request", &[get(1, "/never"), frame(kind::HEADERS, WHOLE, 3, &[0x80])], COMPRESSION),
            case("8.2.1 before what cannot be read", &and([block(&[("A", "b")]), vec![0x80]].concat()), PROTOCOL),
            case("8.2.1 after a request", &[get(1, "/never"), headers(WHOLE, 3, &[("A", "b")])], PROTOCOL),
            case("8.2.1 a method that is none", &request(&[&block(&[(":method", "G T")])]), PROTOCOL),
            case("8.2.1 a status that is none", &request(&[&block(&[(":status", "x")])]), PROTOCOL),
        ],
    );
}

#[test]
fn a_connection_begins_with_its_preface_and_settings() {
    let running = Running::new(Options::default());
    for first in [get(1, "/now"), frame(kind::PING, 0, 0, &[0; 8]), frame(kind::SETTINGS, flag::ACK, 0, &[])] {
        let mut client = Client::silent(&running);
        client.say(&[PREFACE, &first].concat());
        assert_eq!(client.ends(PROTOCOL), Ok(()), "RFC 9113 section 3.4");
    }
}
