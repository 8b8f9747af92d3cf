//! A session's two halves, at their limits and under many hands.

use std::collections::BTreeSet;
use std::time::Duration;

use outwork_engine::sim::seeds;

use super::*;

const KEY: [u8; 32] = [5; 32];
const MTU: usize = 1420;

fn halves(initiator: bool) -> (Sealer, Opener, Arc<Activity>) {
    let activity = Arc::<Activity>::default();
    let sealer = Sealer::new(&KEY, Index(7), Time::ZERO, initiator, activity.clone()).unwrap();
    let opener = Opener::new(&KEY, Index(7), Time::ZERO, initiator, activity.clone()).unwrap();
    (sealer, opener, activity)
}

/// An IPv4 packet of so many octets.
fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0xee; length];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    packet
}

fn seal(sealer: &Sealer, now: Time, packet: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut buffer = vec![0xaa; packet.len() + OVERHEAD + PADDING];
    buffer[HEADER..HEADER + packet.len()].copy_from_slice(packet);
    let sealed = sealer.seal(now, &mut buffer, HEADER..HEADER + packet.len(), MTU)?;
    Ok(buffer[sealed.datagram].to_vec())
}

#[test]
fn a_packet_is_opened_as_it_was_sealed_without_its_padding() {
    let (sealer, opener, _) = halves(true);
    for length in [20, 31, 32, 33, 1419, MTU, 9000] {
        let packet = packet(length);
        let mut datagram = seal(&sealer, Time::ZERO, &packet).unwrap();
        let padded = if length > MTU - PADDING {
            length.max(MTU.min(length.next_multiple_of(16)))
        } else {
            length.next_multiple_of(16)
        };
        assert_eq!(datagram.len(), padded + OVERHEAD, "{length}");
        let opened = opener.open(Time::ZERO, &mut datagram).unwrap();
        assert_eq!((opened.inner, &datagram[opened.packet]), (Inner::V4, packet.as_slice()));
    }
}

#[test]
fn a_buffer_without_room_is_refused_and_no_counter_is_spent() {
    let (sealer, ..) = halves(true);
    let mut buffer = [0; 100];
    let backwards = Range { start: 90, end: HEADER };
    for payload in [HEADER - 1..40, 0..10, HEADER..90, HEADER..usize::MAX, 1..usize::MAX, backwards] {
        assert_eq!(sealer.seal(Time::ZERO, &mut buffer, payload, MTU), Err(SealError::NoRoom));
    }
    assert_eq!((sealer.sent(), buffer), (0, [0; 100]));
}

#[test]
fn what_was_replayed_altered_or_cut_is_refused_and_leaves_no_mark() {
    seeds(20, |rng| {
        let (sealer, opener, activity) = halves(true);
        let whole = seal(&sealer, Time::ZERO, &packet(60)).unwrap();
        let before = activity.received();
        for _ in 0..300 {
            let mut datagram = whole.clone();
            match rng.below(3) {
                0 => datagram.truncate(rng.below(whole.len() as u64) as usize),
                1 => datagram[rng.below(whole.len() as u64) as usize] ^= 1 << rng.below(8),
                _ => datagram.push(0),
            }
            opener.open(Time::from_secs(1), &mut datagram).unwrap_err();
        }
        assert_eq!((activity.received(), opener.confirmed()), (before, false));
        assert!(opener.open(Time::from_secs(1), &mut whole.clone()).unwrap().confirms);
        assert_eq!(opener.open(Time::from_secs(2), &mut whole.clone()), Err(OpenError::Replayed));
        assert_eq!(activity.received(), Some(Time::from_secs(1)), "a replay is no sign of life");
    });
}

#[test]
fn an_inner_packet_that_is_none_is_authentic_and_malformed() {
    let (sealer, opener, _) = halves(true);
    let mut long = packet(40);
    long[2..4].copy_from_slice(&200u16.to_be_bytes());
    let mut v6 = vec![0; 60];
    (v6[0], v6[5]) = (0x60, 20);
    for (text, inner, length) in [
        (long, Inner::Malformed, 48),
        (vec![0x45], Inner::Malformed, 16),
        (vec![0xf0; 16], Inner::Malformed, 16),
        (v6, Inner::V6, 60),
        (vec![0; 20], Inner::Control, 32),
        (vec![], Inner::Keepalive, 0),
    ] {
        let mut datagram = seal(&sealer, Time::ZERO, &text).unwrap();
        let opened = opener.open(Time::ZERO, &mut datagram).unwrap();
        assert_eq!((opened.inner, opened.packet.len()), (inner, length));
    }
}

#[test]
fn keys_are_not_used_when_they_are_three_minutes_old() {
    let (sealer, opener, _) = halves(true);
    let last = Time::ZERO + REJECT_AFTER_TIME - Duration::from_nanos(1);
    let mut datagram = seal(&sealer, last, &packet(60)).unwrap();
    assert_eq!(opener.open(Time::ZERO + REJECT_AFTER_TIME, &mut datagram.clone()), Err(OpenError::Expired));
    assert!(opener.open(last, &mut datagram).is_ok());
    assert_eq!(seal(&sealer, Time::ZERO + REJECT_AFTER_TIME, &packet(60)), Err(SealError::Expired));
}

#[test]
fn the_last_message_is_sealed_and_none_after_it_however_often_one_asks() {
    let (sealer, opener, _) = halves(false);
    sealer.set_counter(REJECT_AFTER_MESSAGES - 1);
    let mut datagram = seal(&sealer, Time::ZERO, &packet(60)).unwrap();
    assert_eq!(opener.open(Time::ZERO, &mut datagram).unwrap().counter, REJECT_AFTER_MESSAGES - 1);
    for _ in 0..20_000 {
        assert_eq!(seal(&sealer, Time::ZERO, &packet(60)), Err(SealError::Expired));
    }
}

#[test]
fn a_counter_that_may_not_be_is_refused_before_it_is_opened() {
    let (_, opener, _) = halves(false);
    let mut datagram = [0; 64];
    datagram[..HEADER].copy_from_slice(&Transport { receiver: Index(7), counter: REJECT_AFTER_MESSAGES }.write());
    assert_eq!(opener.open(Time::ZERO, &mut datagram), Err(OpenError::Expired));
}

#[test]
fn new_keys_are_asked_for_once_by_who_began_and_by_count_by_both() {
    let asked = |sealer: &Sealer, now: Time| {
        let mut buffer = [0; 64];
        sealer.seal(now, &mut buffer, HEADER..HEADER, MTU).unwrap().rekey
    };
    let (sealer, ..) = halves(true);
    assert!(!asked(&sealer, Time::ZERO + REKEY_AFTER_TIME - Duration::from_nanos(1)));
    assert!(asked(&sealer, Time::ZERO + REKEY_AFTER_TIME));
    assert!(!asked(&sealer, Time::ZERO + REKEY_AFTER_TIME), "once");
    assert!(sealer.wants_rekey());

    let (sealer, ..) = halves(false);
    assert!(!asked(&sealer, Time::ZERO + REKEY_AFTER_TIME), "who answered does not ask by age");
    sealer.set_counter(REKEY_AFTER_MESSAGES - 1);
    assert!(!asked(&sealer, Time::ZERO));
    assert!(asked(&sealer, Time::ZERO));
}

#[test]
fn who_only_receives_asks_for_new_keys_fifteen_seconds_before_the_end() {
    for initiator in [true, false] {
        let (sealer, opener, _) = halves(initiator);
        let mut asked = |at: u64| {
            let mut datagram = seal(&sealer, Time::from_secs(at), &packet(60)).unwrap();
            opener.open(Time::from_secs(at), &mut datagram).unwrap().rekey
        };
        assert_eq!([164, 165, 166].map(&mut asked), [false, initiator, false]);
    }
}

#[test]
fn threads_that_seal_at_once_never_share_a_counter() {
    let (sealer, ..) = halves(true);
    let counters = std::thread::scope(|scope| {
        let seal_many = || {
            let mut buffer = [0; 64];
            let one = |_| sealer.seal(Time::ZERO, &mut buffer, HEADER..HEADER, MTU).unwrap().counter;
            (0..5000).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(seal_many)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), 20_000);
    assert_eq!(counters.iter().max(), Some(&19_999));
}

#[test]
fn threads_that_open_the_same_datagrams_open_each_once() {
    let (sealer, opener, _) = halves(true);
    let datagrams: Vec<_> = (0..500).map(|_| seal(&sealer, Time::ZERO, &packet(40)).unwrap()).collect();
    let opened: usize = std::thread::scope(|scope| {
        let open = |_| {
            scope.spawn(|| datagrams.iter().filter(|one| opener.open(Time::ZERO, &mut (*one).clone()).is_ok()).count())
        };
        let threads: Vec<_> = (0..4).map(open).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(opened, datagrams.len());
}

#[test]
fn a_run_has_numbers_that_follow_each_other_and_gives_back_what_it_has_not_used() {
    let (sealer, _, activity) = halves(true);
    let mut buffer = [0; 64];
    let mut one = |run: &mut Run<'_>| run.seal(&mut buffer, HEADER..HEADER + 16, MTU).unwrap().counter;
    let mut run = sealer.run(Time::from_secs(1), 3).unwrap();
    assert_eq!([(); 4].map(|()| one(&mut run)), [0, 1, 2, 3], "one more than was said");
    assert_eq!((sealer.sent(), activity.passed()), (4, None), "it is noted once, at the end");
    drop(run);
    assert_eq!((activity.passed(), activity.waiting()), (Some(Time::from_secs(1)), Some(Time::from_secs(1))));
    let mut run = sealer.run(Time::from_secs(2), 10).unwrap();
    assert_eq!((one(&mut run), sealer.sent()), (4, 14));
    drop(run);
    assert_eq!(sealer.sent(), 5);
    // Others are behind it: what it has not used is of nobody.
    let (run, mut other) = (sealer.run(Time::from_secs(2), 10).unwrap(), sealer.run(Time::from_secs(2), 2).unwrap());
    drop(run);
    assert_eq!((one(&mut other), one(&mut other)), (15, 16));
    drop(other);
    assert_eq!((sealer.sent(), activity.passed()), (17, Some(Time::from_secs(2))));
}

#[test]
fn runs_of_threads_never_share_a_counter_and_end_where_the_session_does() {
    let (sealer, ..) = halves(true);
    sealer.set_counter(REJECT_AFTER_MESSAGES - 10_000);
    let counters = std::thread::scope(|scope| {
        let seal_many = || {
            let (mut buffer, mut sealed) = ([0; 64], vec![]);
            for count in (1..40).cycle() {
                let Ok(mut run) = sealer.run(Time::ZERO, count) else { return sealed };
                // Not all of them are used.
                for _ in 0..count.div_ceil(2) {
                    sealed.extend(run.seal(&mut buffer, HEADER..HEADER, MTU).map(|one| one.counter));
                }
            }
            sealed
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(seal_many)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), counters.len());
    assert!(counters.iter().all(|counter| *counter < REJECT_AFTER_MESSAGES) && counters.len() > 4000);
}

#[test]
fn a_run_is_opened_as_its_datagrams_are_one_by_one() {
    seeds(100, |rng| {
        let (sealer, together, _) = halves(true);
        let (_, apart, _) = halves(true);
        let mut sealed: Vec<_> = (0..12).map(|_| seal(&sealer, Time::ZERO, &packet(60)).unwrap()).collect();
        // Some come twice, some are altered, and all of them in any order.
        for _ in 0..rng.below(4) {
            sealed.push(sealed[rng.below(12) as usize].clone());
        }
        for at in (1..sealed.len()).rev() {
            sealed.swap(at, rng.below(at as u64 + 1) as usize);
        }
        let length = sealed[0].len();
        if rng.chance(0.5) {
            let (one, octet) = (rng.below(sealed.len() as u64) as usize, HEADER + rng.below(40) as usize);
            sealed[one][octet] ^= 1;
        }
        let stranger = rng.chance(0.3).then(|| rng.below(sealed.len() as u64) as usize);
        if let Some(stranger) = stranger {
            sealed[stranger][4] ^= 1;
        }
        let mut whole = sealed.concat();
        let mut found = vec![None; sealed.len()];
        let count = together.open_run(Time::from_secs(1), &mut whole, length, &mut found);
        assert_eq!(count, stranger.unwrap_or(sealed.len()));
        for ((datagram, found), text) in sealed.iter_mut().zip(&found).zip(whole.chunks(length)).take(count) {
            let opened = apart.open(Time::from_secs(1), datagram);
            assert_eq!(found.as_ref().unwrap(), &opened);
            assert!(opened.is_err() || datagram == text);
        }
        assert_eq!((together.confirmed(), together.next.load(Relaxed)), (apart.confirmed(), apart.next.load(Relaxed)));
    });
}

#[test]
fn signs_of_life_that_are_close_together_are_one() {
    let activity = Activity::default();
    let at = |micros| Time::from_secs(1) + Duration::from_micros(micros);
    for (now, noted) in [(0, 0), (999, 0), (1000, 1000), (1500, 1000), (900, 1000), (5000, 5000)] {
        activity.heard(at(now), true);
        assert_eq!(activity.received(), Some(at(noted)));
    }
    activity.sent(at(7000), false);
    assert_eq!((activity.received(), activity.passed()), (Some(at(5000)), Some(at(7000))));
}

#[test]
fn marks_of_time_say_who_waits_for_whom() {
    let activity = Activity::default();
    activity.sent(Time::from_secs(1), false);
    assert_eq!(
        (activity.waiting(), activity.passed()),
        (None, Some(Time::from_secs(1))),
        "a keepalive wants no answer"
    );
    activity.sent(Time::from_secs(2), true);
    activity.sent(Time::from_secs(3), true);
    assert_eq!(activity.waiting(), Some(Time::from_secs(2)));
    activity.heard(Time::from_secs(4), true);
    assert_eq!((activity.waiting(), activity.owing()), (None, Some(Time::from_secs(4))));
    activity.sent(Time::from_secs(5), false);
    assert_eq!((activity.owing(), activity.received()), (None, Some(Time::from_secs(4))));
}

#[test]
fn no_key_is_shown() {
    let (sealer, opener, _) = halves(true);
    let shown = format!("{sealer:?} {opener:?}");
    assert!(!shown.contains("5, 5") && !shown.contains("0505") && shown.contains("Index(00000007)"), "{shown}");
}
