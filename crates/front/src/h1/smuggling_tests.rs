//! What one server reads as one request and another as two (RFC 9112 section 11.2), against a running door. Each payload is followed by an honest request,
//! for `/gone`: behind what is refused it must not be answered, and behind what is accepted it must be answered once.

use crate::door::Options;
use crate::door::tests::Running;

const NEXT: &str = "GET /gone HTTP/1.1\r\nHost: a\r\n\r\n";

/// The responses in what a client has read: each status, the content of those that are well, and `!` where the connection ends.
fn outcome(mut read: &str) -> String {
    let mut told = Vec::new();
    while let Some((head, rest)) = read.split_once("\r\n\r\n") {
        let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
        let length = field("content-length: ").map_or(0, |length| length.parse().unwrap());
        // The response to HEAD has none.
        let length = if rest.starts_with("HTTP/1.1 ") { 0 } else { length };
        let (content, rest) = rest.split_at(length);
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|head| head.get(..3)).unwrap_or("?");
        let content = if status == "200" { format!("={content}") } else { String::new() };
        told.push(format!("{status}{content}{}", field("connection: close").map_or("", |_| "!")));
        read = rest;
    }
    assert_eq!(read, "", "behind the last response");
    told.join(" ")
}

/// Sends each case with what goes before and after it.
fn hold(before: &str, cases: &[(&str, &str)], after: &str) {
    let running = Running::new(Options { max_body: 1 << 20, ..Options::default() });
    let wrong = cases.iter().filter_map(|(payload, expected)| {
        let found = outcome(&running.ask(&[before, payload, after, NEXT].concat()));
        (found != *expected).then(|| format!("{payload:?}: {found}, not {expected}\n"))
    });
    assert_eq!(wrong.collect::<String>(), "");
}

#[test]
fn a_body_is_framed_in_one_way_or_its_request_is_refused() {
    // What a chunked body of none and one of five octets look like to each other's readers.
    hold(
        "POST /echo HTTP/1.1\r\nHost: a\r\n",
        &[
            // CL.TE and TE.CL (RFC 9112 section 6.3, 3).
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", "400!"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", "400!"),
            ("Content-Length: 0\r\nTransfer-Encoding: chunked", "400!"),
            ("Content-Length: 5\r\nTransfer-Encoding: identity", "400!"),
            ("Content-Length: 5\r\nTransfer-Encoding: chunke", "400!"),
            ("Content-Length: x\r\nTransfer-Encoding: chunked", "400!"),
            // TE.TE: what is not exactly one `chunked` (RFC 9112 sections 6.1 and 7).
            ("Transfer-Encoding: xchunked", "501!"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "501!"),
            ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "501!"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "501!"),
            ("Transfer-Encoding: chunked\r\nTRANSFER-ENCODING: identity", "501!"),
            ("Transfer-Encoding: identity", "501!"),
            ("Transfer-Encoding: chunked, identity", "501!"),
            ("Transfer-Encoding: identity, chunked", "501!"),
            ("Transfer-Encoding: gzip, chunked", "501!"),
            ("Transfer-Encoding: chunked, chunked", "501!"),
            ("Transfer-Encoding: chunked;q=1", "501!"),
            ("Transfer-Encoding: chunked x", "501!"),
            ("Transfer-Encoding: \"chunked\"", "501!"),
            ("Transfer-Encoding: 'chunked'", "501!"),
            ("Transfer-Encoding: ,chunked", "501!"),
            ("Transfer-Encoding: chunked,", "501!"),
            ("Transfer-Encoding:", "501!"),
            ("Transfer-Encoding: \u{a0}chunked", "501!"),
            ("Transfer-Encoding: ch\u{fc}nked", "501!"),
            ("Transfer-Encoding : chunked", "400!"),
            ("Transfer-Encoding\t: chunked", "400!"),
            ("Transfer-Encoding\r: chunked", "400!"),
            ("Transfer-Encoding\n: chunked", "400!"),
            ("Transfer-Encoding\0: chunked", "400!"),
            ("Transfer-Encoding: \x0bchunked", "400!"),
            ("Transfer-Encoding: chunked\x0c", "400!"),
            ("Transfer-Encoding: chunked\0", "400!"),
            ("Transfer-Encoding: \x7fchunked", "400!"),
            ("Transfer-Encoding: chunked\r", "400!"),
            ("Transfer-Encoding:\r\n chunked", "400!"),
            ("Transfer-Encoding: chun\r\n\tked", "400!"),
            (" Transfer-Encoding: chunked", "400!"),
            ("\tTransfer-Encoding: chunked", "400!"),
            ("X: y\r\n Transfer-Encoding: chunked", "400!"),
            ("X: y\nTransfer-Encoding: chunked", "400!"),
            ("X: y\rTransfer-Encoding: chunked", "400!"),
            ("X: y\r\rTransfer-Encoding: chunked", "400!"),
            ("X: y\n\rTransfer-Encoding: chunked", "400!"),
            ("Transfer Encoding: chunked", "400!"),
            ("Transfer-Encoding chunked", "400!"),
            ("Transfer\u{2010}Encoding: chunked", "400!"),
            ("(Transfer-Encoding): chunked", "400!"),
            // CL.CL, and lengths that are no numbers (RFC 9110 section 8.6).
            ("Content-Length: 5\r\nContent-Length: 0", "400!"),
            ("Content-Length: 5\r\nContent-Length: 5", "400!"),
            ("Content-Length: 5\r\ncontent-length: 6", "400!"),
            ("Content-Length: 5, 5", "400!"),
            ("Content-Length: 0, 5", "400!"),
            ("Content-Length: 5,", "400!"),
            ("Content-Length: 5;", "400!"),
            ("Content-Length: +5", "400!"),
            ("Content-Length: -5", "400!"),
            ("Content-Length: -0", "400!"),
            ("Content-Length: 5 0", "400!"),
            ("Content-Length: 0x5", "400!"),
            ("Content-Length: 5h", "400!"),
            ("Content-Length: 5e0", "400!"),
            ("Content-Length: 5.0", "400!"),
            ("Content-Length: 1_0", "400!"),
            ("Content-Length: \"5\"", "400!"),
            ("Content-Length: \u{665}", "400!"),
            ("Content-Length:", "400!"),
            ("Content-Length: \x0b5", "400!"),
            ("Content-Length: 5\0", "400!"),
            ("Content-Length : 5", "400!"),
            ("Content-Length\x0b: 5", "400!"),
            ("Content-Length: 5\r\n 5", "400!"),
            ("Content-Length: 18446744073709551616", "400!"),
            ("Content-Length: 18446744073709551621", "400!"),
            ("Content-Length: 99999999999999999999999999999999999999995", "400!"),
            ("Content-Length: 18446744073709551615", "413!"),
            // One length, whatever stands around it.
            ("Content-Length: 5", "200=0\r\n\r\n 404"),
            ("Content-Length:5", "200=0\r\n\r\n 404"),
            ("content-LENGTH: \t 5 \t", "200=0\r\n\r\n 404"),
            ("Content-Length: 0000000000000000000000005", "200=0\r\n\r\n 404"),
            ("Content-Length: 5\r\nContent_Length: 0\r\nContent-Length-: 0", "200=0\r\n\r\n 404"),
            // One coding.
            ("Transfer-Encoding: chunked", "200= 404"),
            ("transfer-ENCODING:\tChunKed ", "200= 404"),
            ("Transfer-Encoding: chunked\r\nTransfer_Encoding: identity\r\nX-Transfer-Encoding: gzip", "200= 404"),
            // What is about the connection takes no field away from us.
            ("Connection: Content-Length, keep-alive\r\nContent-Length: 5", "200=0\r\n\r\n 404"),
            ("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", "200= 404"),
            // No body: what follows is the next request, and no good one.
            ("X: y", "200= 400!"),
            ("Transfer_Encoding: chunked", "200= 400!"),
        ],
        "\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn chunks_are_read_in_one_way_or_refused() {
    hold(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        &[
            ("5\r\nhello\r\n0\r\n\r\n", "200=hello 404"),
            ("005\r\nhello\r\n000\r\n\r\n", "200=hello 404"),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "200=01234567890123456789 404"),
            ("5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", "200=hello 404"),
            // What frames a message frames none from behind it (RFC 9110 section 6.5.1).
            ("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\nContent-Length: 50\r\nHost: b\r\n\r\n", "200=hello 404"),
            // Sizes (RFC 9112 section 7.1).
            ("-5\r\nhello\r\n0\r\n\r\n", "400!"),
            ("+5\r\nhello\r\n0\r\n\r\n", "400!"),
            ("0x5\r\nhello\r\n0\r\n\r\n", "400!"),
            ("0_5\r\nhello\r\n0\r\n\r\n", "400!"),
            ("5h\r\nhello\r\n0\r\n\r\n", "400!"),
            ("5,\r\nhello\r\n0\r\n\r\n", "400!"),
            (" 5\r\nhello\r\n0\r\n\r\n", "400!"),
            ("5 \r\nhello\r\n0\r\n\r\n", "400!"),
            ("5\t\r\nhello\r\n0\r\n\r\n", "400!"),
            ("\r\nhello\r\n0\r\n\r\n", "400!"),
            (";a\r\nhello\r\n0\r\n\r\n", "400!"),
            ("10000000000000005\r\nhello\r\n0\r\n\r\n", "400!"),
            ("00000000000000005\r\nhello\r\n0\r\n\r\n", "400!"),
            ("ffffffffffffffff\r\nhello\r\n0\r\n\r\n", "400!"),
            ("8000000000000005\r\nhello\r\n0\r\n\r\n", "400!"),
            // Ends of lines.
            ("5\nhello\n0\n\n", "400!"),
            ("5\rhello\r\n0\r\n\r\n", "400!"),
            ("5\r\rhello\r\n0\r\n\r\n", "400!"),
            ("5;a\nhello\r\n0\r\n\r\n", "400!"),
            ("5;\r\r\nhello\r\n0\r\n\r\n", "400!"),
            ("5;a\0\r\nhello\r\n0\r\n\r\n", "400!"),
            ("5\r\nhello\n0\r\n\r\n", "400!"),
            ("5\r\nhello0\r\n\r\n", "400!"),
            ("5\r\nhelloXX0\r\n\r\n", "400!"),
            ("5\r\nhell\r\n0\r\n\r\n", "400!"),
            ("5\r\nhello!\r\n0\r\n\r\n", "400!"),
            ("0\n\r\n", "400!"),
            ("0\r\n\n", "400!"),
            // A request that stands where trailers do.
            ("0\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("0\r\nX: y\r\n z\r\n\r\n", "400!"),
            ("0\r\nX : y\r\n\r\n", "400!"),
            ("0\r\nX\r\n\r\n", "400!"),
            ("0\r\n: y\r\n\r\n", "400!"),
            ("0\r\nX: y\n\r\n", "400!"),
            ("0\r\nX: y\0\r\n\r\n", "400!"),
        ],
        "",
    );
}

#[test]
fn a_head_that_could_be_read_in_two_ways_is_refused() {
    hold(
        "",
        &[
            // Request lines (RFC 9112 section 3).
            ("GET /now HTTP/1.1\r\nHost: a\r\n\r\n", "200=at once 404"),
            ("\r\n\r\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n", "200=at once 404"),
            ("\n\nGET /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\nHost: a\n\n", "400!"),
            ("GET /now HTTP/1.1\rHost: a\r\r", "400!"),
            ("GET /now HTTP/1.1\r\r\nHost: a\r\n\r\n", "400!"),
            ("GET  /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now  HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET\t/now\tHTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1 \r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1 x\r\nHost: a\r\n\r\n", "400!"),
            (" GET /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now\r\n\r\n", "400!"),
            ("GET /now http/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.10\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/01.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/0.9\r\nHost: a\r\n\r\n", "505!"),
            ("GET /now HTTP/1.2\r\nHost: a\r\n\r\n", "505!"),
            ("GET /now HTTP/2.0\r\nHost: a\r\n\r\n", "505!"),
            ("GE\0T /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("G@T /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("\"GET\" /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("G\u{c9}T /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("get /now HTTP/1.1\r\nHost: a\r\n\r\n", "200=at once 404"),
            // Targets (RFC 9112 section 3.2).
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /now#x HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /n\0w HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /n\x0bw HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET /n\x7fw HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET ?now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET \\now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET //b/now HTTP/1.1\r\nHost: a\r\n\r\n", "404 404"),
            ("GET http://b/now#x HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET http:///now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET http://u@b/now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET http://b:x/now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("CONNECT /now HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("CONNECT u@a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "400!"),
            ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "404!"),
            // One host, of whom everybody thinks the same (RFC 9112 sections 3.2 and 3.2.2).
            ("GET /now HTTP/1.1\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost : a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\n Host: a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a b\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a/b\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: u@a\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a:1:2\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a:b\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: [::1\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\0b\r\n\r\n", "400!"),
            ("GET http://b/host HTTP/1.1\r\nHost: a\r\n\r\n", "200=b 404"),
            ("GET http://b/host HTTP/1.1\r\n\r\n", "400!"),
            ("GET http://b/host HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400!"),
            ("GET http://b/host HTTP/1.0\r\n\r\n", "200=b!"),
            // HTTP/1.0 knows no chunks and keeps no connection (RFC 9112 sections 6.1 and 9.3).
            ("POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400!"),
            ("POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400!"),
            ("POST /echo HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "200=hello!"),
            ("POST /echo HTTP/1.0\r\nHost: a\r\n\r\n", "200=!"),
            // A body that the method has no use for is one all the same (RFC 9110 section 9.3.1).
            ("GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "200=hello 404"),
            (
                "GET /now HTTP/1.1\r\nHost: a\r\nContent-Length: 34\r\n\r\nGET /host HTTP/1.1\r\nHost: evil\r\n\r\n",
                "200=at once 404",
            ),
            ("HEAD /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "200= 404"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "204 404"),
            // Another protocol is not spoken because somebody asks for it (RFC 9113 appendix B, RFC 9110 section 7.8).
            (
                "GET /now HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
                "200=at once 404",
            ),
            ("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "505!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "200=at once 505!"),
            // Expectations (RFC 9110 section 10.1.1).
            (
                "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
                "200=hello 404",
            ),
            ("POST /now HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "200=at once!"),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continued\r\nContent-Length: 5\r\n\r\nhello", "417!"),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n", "417!"),
            ("POST /echo HTTP/1.1\r\nHost: a\r\nExpect:\r\n\r\n", "417!"),
            ("POST /echo HTTP/1.0\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello", "200=hello!"),
            // Fields.
            ("GET /now HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\nX\u{e4}: y\r\n\r\n", "400!"),
            ("GET /now HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n", "200=at once 404"),
            ("GET /now HTTP/1.1\r\nHost: a\r\nX: y\x1bz\r\n\r\n", "400!"),
        ],
        "",
    );
}
