//! Streams that become something else, and fields that come after content.

use super::super::frame::{DATA, Frames, HEADERS, Part, Use};
use super::*;
use crate::door::metrics::Cut;

fn connect() -> Vec<u8> {
    frame(HEADERS, &section(&[(":method", "CONNECT"), (":authority", "db.test:5432")]))
}

fn websocket() -> Vec<u8> {
    head(&[(":method", "CONNECT"), (":path", "/switch"), (":protocol", "websocket"), ("sec-websocket-version", "13")])
}

/// The status and the content of a response.
fn taken_apart(bytes: Vec<u8>) -> (String, String) {
    let mut frames = Frames::default();
    let status = status(&bytes);
    frames.push(bytes.into());
    let mut content = Vec::new();
    while let Ok(Some(part)) = frames.next(|kind| Ok(if kind == DATA { Use::Pass } else { Use::Skip })) {
        if let Part::Some(bytes) = part {
            content.extend_from_slice(&bytes);
        }
    }
    (status, String::from_utf8(content).unwrap())
}

#[test]
fn a_stream_is_given_to_who_speaks_another_protocol_with_its_bytes_both_ways_to_both_ends() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        for (begin, says) in [(connect(), "db.test:5432"), (websocket(), "13")] {
            let (mut send, mut receive) = quic.open_bi().await.unwrap();
            send.write_all(&begin).await.unwrap();
            let mut heard = Vec::new();
            let mut word = String::new();
            // What is said first is heard before anything is asked.
            while !word.ends_with(says) {
                heard.extend_from_slice(&receive.read_chunk(1000, true).await.unwrap().expect("more").bytes);
                word = taken_apart(heard.clone()).1;
            }
            let long = "long ".repeat(50_000);
            send.write_all(&frame(DATA, b"hello ")).await.unwrap();
            send.write_all(&frame(0x21, b"nothing to anybody")).await.unwrap();
            send.write_all(&frame(DATA, long.as_bytes())).await.unwrap();
            send.finish().unwrap();
            heard.extend(receive.read_to_end(10 << 20).await.unwrap());
            let (status, content) = taken_apart(heard);
            assert_eq!(status, "200");
            assert!(content == format!("{says}hello {long}"), "{} bytes", content.len());
        }
    });
}

#[test]
fn a_stream_that_was_switched_has_no_more_heads_and_ends_in_a_reset_where_it_is_broken_off() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        send.write_all(&[connect(), frame(DATA, b"break")].concat()).await.unwrap();
        let broken = receive.read_to_end(1000).await;
        let reset = quinn::ReadToEndError::Read(quinn::ReadError::Reset(0x10fu32.into()));
        assert_eq!(broken, Err(reset), "H3_CONNECT_ERROR");
        let wrong = [connect(), frame(HEADERS, &section(&[("a", "b")]))].concat();
        assert_eq!(exchange(&quic, &wrong).await, Err(0x105), "H3_FRAME_UNEXPECTED");
    });
}

#[test]
fn a_tunnel_outlives_the_silence_that_ends_a_connection() {
    let idle_timeout = Duration::from_secs(1);
    let brief = Http3Settings { idle_timeout, ..Http3Settings::default() }.http3().unwrap();
    let running = Running::with(limits(), 1, brief, |_, _| {});
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        send.write_all(&connect()).await.unwrap();
        let _ = tokio::time::timeout(2 * idle_timeout, quic.closed()).await.expect_err("it is open");
        send.write_all(&frame(DATA, b" hello")).await.unwrap();
        send.finish().unwrap();
        let heard = receive.read_to_end(1000).await.unwrap();
        assert_eq!(taken_apart(heard).1, "db.test:5432 hello");
    });
}

#[test]
fn who_only_gives_tunnels_up_is_sent_away() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        while let Ok((mut send, mut receive)) = quic.open_bi().await {
            let _ = send.write_all(&connect()).await;
            let mut heard = Vec::new();
            while !heard.ends_with(b"5432")
                && let Ok(Some(chunk)) = receive.read_chunk(1000, true).await
            {
                heard.extend_from_slice(&chunk.bytes);
            }
            // It is there, and is given up.
            let _ = (send.reset(0x10cu32.into()), receive.stop(0x10cu32.into()));
        }
        assert_eq!(closed_with(&quic.closed().await), 0x107);
    });
    assert_eq!(running.metrics.connections_cut.of(Cut::Flood).get(), 1);
}

#[test]
fn a_page_is_no_answer_to_who_asks_for_another_protocol() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let asked = head(&[(":method", "CONNECT"), (":path", "/deaf"), (":protocol", "websocket")]);
        assert_eq!(taken_apart(exchange(&quic, &asked).await.unwrap()).0, "501");
    });
}

#[test]
fn what_comes_after_the_content_reaches_the_handler_where_it_may_stand_there() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let post = || head(&[(":method", "POST"), (":path", "/last")]);
        let trailers = |lines: &[(&str, &str)]| frame(HEADERS, &section(lines));
        let content = frame(DATA, b"content");
        for content in [&content[..], b""] {
            let all = [&post(), content, &trailers(&[("x-last", "words")]), &frame(0x21, b"")].concat();
            assert_eq!(taken_apart(exchange(&quic, &all).await.unwrap()).1, "words");
        }
        let wrong = [&post()[..], &content, &trailers(&[(":path", "/")])].concat();
        assert_eq!(taken_apart(exchange(&quic, &wrong).await.unwrap()).1, "malformed");
        assert_eq!(exchange(&quic, &[post(), trailers(&[("connection", "close")])].concat()).await, Err(0x10e));
    });
}

#[test]
fn a_client_hears_what_is_answered_before_its_answer_and_is_asked_for_a_body_that_it_keeps() {
    let running = Running::new(limits(), 1);
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        let begin = head(&[(":method", "POST"), (":path", "/hint"), ("expect", "100-continue")]);
        send.write_all(&begin).await.unwrap();
        let mut heard = Vec::new();
        let statuses = |heard: &[u8]| {
            let mut frames = Frames::default();
            frames.push(Bytes::copy_from_slice(heard));
            let mut statuses = Vec::new();
            while let Ok(Some(part)) =
                frames.next(|kind| Ok(if kind == HEADERS { Use::Whole(9999) } else { Use::Skip }))
            {
                let Part::Whole(_, section) = part else { panic!("a head") };
                let (_, value) = crate::h3::qpack::Lines::new(section, 9999).unwrap().next().unwrap().unwrap();
                statuses.push(String::from_utf8(value.to_vec()).unwrap());
            }
            statuses
        };
        while statuses(&heard) != ["103", "100"] {
            heard.extend_from_slice(&receive.read_chunk(1000, true).await.unwrap().expect("more").bytes);
        }
        send.write_all(&frame(DATA, b"content")).await.unwrap();
        send.finish().unwrap();
        heard.extend(receive.read_to_end(1000).await.unwrap());
        assert_eq!(statuses(&heard), ["103", "100", "200"]);
    });
}
