//! Clients that break the rules.

use super::*;
use crate::door::metrics::Cut;

/// Streams of a client, and the code that its connection ends with.
#[derive(Clone, Copy)]
enum Says {
    /// A stream with a request.
    Request,
    /// A stream that goes one way, and stays open.
    OneWay,
    /// One that ends.
    Ended,
}

/// What it says on each.
type Streams<'a> = &'a [(Says, Vec<u8>)];

const SETTINGS: &[u8] = &[0x0, 0x4, 0x0];

async fn end_of(running: &Running, streams: Streams<'_>) -> u64 {
    let quic = running.quic(&endpoint()).await.unwrap();
    let mut kept = Vec::new();
    for (says, bytes) in streams {
        match says {
            Says::Request => {
                let (mut send, receive) = quic.open_bi().await.unwrap();
                send.write_all(bytes).await.unwrap();
                let _ = send.finish();
                kept.push((send, Some(receive)));
            }
            Says::OneWay | Says::Ended => {
                let mut send = quic.open_uni().await.unwrap();
                // The connection may be at its end before all of it is said.
                let _ = send.write_all(bytes).await;
                if matches!(says, Says::Ended) {
                    let _ = send.finish();
                }
                kept.push((send, None));
            }
        }
    }
    closed_with(&quic.closed().await)
}

#[test]
fn what_breaks_a_rule_of_the_connection_ends_it_with_the_code_for_that() {
    use Says::{Ended, OneWay, Request};
    let running = Running::new(limits(), 1);
    let cut = |mut bytes: Vec<u8>| {
        bytes.pop();
        bytes
    };
    let cases: [(&str, Streams<'_>, u64); 14] = [
        ("content before a head", &[(Request, frame(0, b"x"))], 0x105),
        ("settings in a request", &[(Request, [head(&[]), frame(4, b"")].concat())], 0x105),
        ("a push in a request", &[(Request, frame(5, b"x"))], 0x105),
        (
            "content after trailers",
            &[(
                Request,
                [head(&[(":method", "POST"), (":path", "/echo")]), frame(1, &section(&[])), frame(0, b"x")].concat(),
            )],
            0x105,
        ),
        ("a frame that is cut", &[(Request, cut(head(&[])))], 0x106),
        ("a head that is not QPACK", &[(Request, frame(1, b"\x00\x00\x80"))], 0x200),
        ("two control streams", &[(OneWay, SETTINGS.to_vec()), (OneWay, SETTINGS.to_vec())], 0x103),
        ("a control stream that ends", &[(Ended, SETTINGS.to_vec())], 0x104),
        ("an encoder's stream that ends", &[(Ended, vec![0x2])], 0x104),
        ("no settings", &[(OneWay, vec![0x0, 0x7, 0x1, 0x0])], 0x10a),
        ("a push of a client", &[(OneWay, vec![0x1, 0x0])], 0x103),
        ("an entry for a table without room", &[(OneWay, vec![0x2, 0x41, b'a', 0x0])], 0x201),
        ("an entry of a table without any", &[(OneWay, vec![0x3, 0x81])], 0x202),
        ("settings of HTTP/2", &[(OneWay, vec![0x0, 0x4, 0x2, 0x4, 0x1])], 0x109),
    ];
    run(async {
        for (what, streams, code) in cases {
            let ended = end_of(&running, streams).await;
            assert_eq!(ended, code, "{what}: {ended:#x}");
        }
    });
    assert!(running.metrics.connections_cut.of(Cut::Broken).get() > 0);
}

#[test]
fn what_breaks_a_rule_of_a_message_ends_its_stream_alone() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        for (what, bytes, code) in [
            ("no head", vec![], 0x10d),
            ("no path", head(&[(":path", "")]), 0x10e),
            ("a field of the connection", head(&[("connection", "close")]), 0x10e),
            ("a large letter", head(&[("Accept", "x")]), 0x10e),
        ] {
            assert_eq!(exchange(&quic, &bytes).await, Err(code), "{what}");
        }
        for wrong in [&[("host", "b.test")][..], &[(":authority", "")], &[("content-length", "x")]] {
            assert_eq!(status(&exchange(&quic, &head(wrong)).await.unwrap()), "400", "{wrong:?}");
        }
        // Streams of a kind that nobody knows are left alone.
        let mut unknown = quic.open_uni().await.unwrap();
        unknown.write_all(&[0x21, 1, 2, 3]).await.unwrap();
        assert_eq!(unknown.stopped().await.unwrap().unwrap().into_inner(), 0x103);
        assert_eq!(status(&exchange(&quic, &head(&[("host", "a.test")])).await.unwrap()), "200");
    });
}

#[test]
fn what_would_be_two_requests_over_http_1_is_none() {
    let malformed = Err(0x10e);
    let refused = Ok("400");
    let cases = [
        (&[(":method", "GET / HTTP/1.1\r\nHost: b")][..], malformed),
        (&[(":method", "GE T")], malformed),
        (&[(":path", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /x")], malformed),
        (&[(":path", "/now HTTP/1.1")], malformed),
        (&[(":path", "/n\0w")], malformed),
        (&[(":path", "now")], malformed),
        (&[(":path", "*")], malformed),
        (&[(":path", "/now#x")], malformed),
        (&[(":path", "http://b/now")], malformed),
        (&[(":path", "//b/now")], Ok("404")),
        (&[(":scheme", "https\r\nx: y")], malformed),
        (&[(":scheme", "ftp")], malformed),
        (&[(":authority", "a.test\r\nx: y")], malformed),
        (&[(":authority", "a b")], refused),
        (&[(":authority", "a/b")], refused),
        (&[(":authority", "u@a.test")], refused),
        (&[(":authority", "a.test:b")], refused),
        (&[(":authority", "a.test:1:2")], refused),
        (&[(":authority", "[::1")], refused),
        (&[("host", "b")], refused),
        (&[("host", "a.test"), ("host", "a.test")], refused),
        (&[("host", "a.test")], Ok("200")),
        (&[("content-length", "0"), ("transfer-encoding", "chunked")], malformed),
        (&[("content-length", "0"), ("content-length", "5")], refused),
        (&[("content-length", "0"), ("content-length", "0")], refused),
        (&[("content-length", "0, 0")], refused),
        (&[("content-length", "+0")], refused),
        (&[("content-length", "-0")], refused),
        (&[("content-length", "0x0")], refused),
        (&[("content-length", "18446744073709551616")], refused),
        (&[("content-length", "5")], malformed),
        (&[("content-length", "0")], Ok("200")),
        (&[("x", " y")], refused),
        (&[("x", "y\t")], refused),
        (&[("x", "y\r\ntransfer-encoding: chunked")], malformed),
        (&[("x", "y\0")], malformed),
        (&[("x: y\r\ntransfer-encoding", "chunked")], malformed),
        (&[("transfer-encoding ", "chunked")], malformed),
        (&[("", "y")], malformed),
        (&[("a:b", "c")], malformed),
    ];
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let mut wrong = String::new();
        for (changed, expected) in cases {
            let found = exchange(&quic, &head(changed)).await.map(|answer| status(&answer));
            if found.as_deref() != expected.as_ref().map(|status| *status) {
                wrong += &format!("{changed:?}: {found:?}, not {expected:?}\n");
            }
        }
        assert_eq!(wrong, "");
    });
}

#[test]
fn who_only_gives_requests_up_is_sent_away() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let flood = async {
            while let Ok((mut send, mut receive)) = quic.open_bi().await {
                let _ = (send.write_all(&head(&[(":path", "/slow")])[..9]).await, send.reset(0x10cu32.into()));
                let _ = receive.stop(0x10cu32.into());
            }
        };
        flood.await;
        assert_eq!(closed_with(&quic.closed().await), 0x107);
        // Another client is served all the same, and may give up as many as it lets be answered.
        let mut fair = running.client().await;
        for _ in 0..300 {
            let (mut send, mut receive) = fair.quic.open_bi().await.unwrap();
            send.write_all(&head(&[(":path", "/slow")])[..9]).await.unwrap();
            let _ = (send.reset(0x10cu32.into()), receive.stop(0x10cu32.into()));
            assert_eq!(fair.get("/now").await.unwrap().text(), "at once");
        }
    });
    assert_eq!(running.metrics.connections_cut.of(Cut::Flood).get(), 1);
}
