//! The watch alone.

use std::time::Duration;

use super::super::watch::Watch;
use super::*;
use crate::door::metrics::Flood;

/// What is said before anything else.
fn begin() -> Vec<u8> {
    [PREFACE, &settings(&[(4, 9), (3, 100)])].concat()
}

#[test]
fn what_breaks_a_rule_is_the_same_in_all_pieces_and_never_passes_whole() {
    let good = [
        begin(),
        with_all(1),
        data(flag::PADDED, 1, b"\x02hello\0\0"),
        headers(WHOLE, 1, &[("a", "b")]),
        frame(kind::HEADERS, flag::END_STREAM, 3, &block(&GET)[..7]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block(&GET)[7..]),
    ]
    .concat();
    for (wrong, code) in [
        (frame(kind::PING, 0, 0, &[0; 7]), Reason::FRAME_SIZE_ERROR),
        (data(0, 1, b""), Reason::STREAM_CLOSED),
        (settings(&[(3, 1), (4, u32::MAX)]), Reason::FLOW_CONTROL_ERROR),
        (
            frame(kind::HEADERS, WHOLE | flag::PADDED | flag::PRIORITY, 5, &[1, 0, 0, 0, 5, 0, 0]),
            Reason::PROTOCOL_ERROR,
        ),
        ([post(5, "/"), headers(WHOLE, 5, &[(":path", "/")])].concat(), Reason::PROTOCOL_ERROR),
    ] {
        let said = [&good[..], &wrong].concat();
        for step in 1..said.len() {
            let mut watch = Watch::new(1 << 15);
            let passed = said.chunks(step).map_while(|piece| {
                let passed = watch.receive(piece, Duration::ZERO);
                watch.end_turn();
                (passed > 0 || watch.breach().is_none()).then_some(passed)
            });
            let passed: usize = passed.sum();
            assert!(passed >= good.len() && passed < said.len(), "{code} {step}: {passed}");
            assert_eq!(watch.breach().map(|breach| (breach.code, breach.flood)), Some((code, None)), "{step}");
        }
    }
}

#[test]
fn what_the_crate_says_of_a_block_is_amended_wherever_the_words_are_cut() {
    let said = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]);
    for (received, code) in [
        (frame(kind::HEADERS, WHOLE, 1, &[0x80]), 9),
        (headers(WHOLE, 1, &[("A", "b")]), 1),
        (frame(kind::SETTINGS, flag::ACK, 0, &[]), 1),
    ] {
        for cut in 0..=said.len() {
            let mut watch = Watch::new(1 << 15);
            let all = [begin(), received.clone()].concat();
            assert_eq!(watch.receive(&all, Duration::ZERO), all.len());
            let mut leaving = said.clone();
            let (first, second) = leaving.split_at_mut(cut);
            watch.send(first, Duration::ZERO);
            watch.send(second, Duration::ZERO);
            assert_eq!((leaving[..16].to_vec(), leaving[16]), (said[..16].to_vec(), code), "{cut}");
        }
    }
}

#[test]
fn of_streams_that_a_client_never_ends_only_so_many_are_remembered() {
    let mut watch = Watch::new(1 << 15);
    watch.receive(&begin(), Duration::ZERO);
    for stream in 0..10_000 {
        watch.receive(&post(2 * stream + 1, "/"), Duration::ZERO);
        watch.end_turn();
    }
    assert!(watch.held() <= 2048, "{}", watch.held());
    // What is forgotten is left to the crate.
    let old = data(0, 1, b"x");
    assert_eq!(watch.receive(&old, Duration::ZERO), old.len());
    // A block in pieces is kept no longer than it goes on.
    watch.receive(&frame(kind::HEADERS, 0, 30_001, &[0; 1 << 14]), Duration::ZERO);
    for _ in 0..5 {
        watch.receive(&frame(kind::CONTINUATION, 0, 30_001, &[0; 1 << 14]), Duration::ZERO);
        watch.end_turn();
    }
    assert!(watch.held() <= (128 << 10) + 2048, "{}", watch.held());
    watch.receive(&frame(kind::CONTINUATION, flag::END_HEADERS, 30_001, &[]), Duration::ZERO);
    watch.end_turn();
    assert!(watch.held() <= 4096 && watch.breach().is_none(), "{}", watch.held());
}

#[test]
fn windows_are_opened_for_what_arrives_if_that_is_more_than_crumbs() {
    let floods = |length: usize| {
        let mut watch = Watch::new(1 << 15);
        watch.receive(&[begin(), get(1, "/")].concat(), Duration::ZERO);
        let opened = [window(1, length as u32), window(0, length as u32)].concat();
        (0..5000).find_map(|_| {
            watch.send(&mut data(0, 1, &vec![b'x'; length]), Duration::ZERO);
            watch.receive(&opened, Duration::ZERO);
            watch.breach().and_then(|breach| breach.flood)
        })
    };
    assert_eq!([1, 50, 16 << 10].map(floods), [Some(Flood::Window), None, None]);
}

#[test]
fn no_frames_are_too_strange() {
    let good = [
        begin(),
        with_all(1),
        data(flag::PADDED, 1, b"\x02hello\0\0"),
        headers(WHOLE, 1, &[("a", "b")]),
        frame(kind::HEADERS, flag::END_STREAM, 3, &block(&GET)[..7]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block(&GET)[7..]),
        [window(3, 9), reset(1, 8), priority(5, 3), frame(kind::PING, 0, 0, &[0; 8])].concat(),
        frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]),
    ]
    .concat();
    outwork_engine::sim::seeds(50, |rng| {
        for _ in 0..500 {
            let mut said = good.clone();
            for _ in 0..rng.below(6) {
                // Not in the preface, behind which all of it lies.
                let at = PREFACE.len() + rng.below((said.len() - PREFACE.len()) as u64) as usize;
                said[at] = [0, 1, 9, 0x80, 0xff, rng.next_u32() as u8][rng.below(6) as usize];
            }
            let mut watch = Watch::new(1 << 15);
            let step = 1 + rng.below(said.len() as u64) as usize;
            for piece in said.chunks(step) {
                let broken = watch.breach().is_some();
                let passed = watch.receive(piece, Duration::ZERO);
                assert!(passed <= piece.len());
                assert!(broken || (passed < piece.len()) == watch.breach().is_some());
                watch.send(&mut piece.to_vec(), Duration::ZERO);
                watch.end_turn();
            }
            assert!(watch.held() <= 4096);
        }
    });
}

/// A request with all that may stand before and after its block.
fn with_all(stream: u32) -> Vec<u8> {
    let payload = [&[9, 0, 0, 0, 5, 1][..], &block(&GET), &[0; 9]].concat();
    frame(kind::HEADERS, flag::END_HEADERS | flag::PADDED | flag::PRIORITY, stream, &payload)
}
