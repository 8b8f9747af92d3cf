//! What happens to a session as it ages, and to a path as it is used or not.

use super::*;

const START: Time = Time::from_secs(100);

fn after(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

#[test]
fn new_keys_take_over_at_two_minutes_and_what_is_under_way_still_opens() {
    let mut ends = joined(&mut Rng::new(1), START);
    let at = after(120);
    // Data both ways, under way while the keys change.
    assert!(ends[1].send(at, 1));
    let late = std::mem::take(&mut ends[1].sent);
    assert!(ends[0].send(at, 2));
    let old = ends[0].sealer.clone().unwrap();
    exchange(at, &mut ends);
    assert!(!Arc::ptr_eq(&old, ends[0].sealer.as_ref().unwrap()));
    ends[1].sent = late;
    exchange(at, &mut ends);
    assert_eq!((&ends[0].got, &ends[1].got), (&vec![1], &vec![2]));
    assert_eq!(ends[0].table.used(), 2, "the one before is kept");
}

#[test]
fn who_answered_does_not_make_new_keys_by_age() {
    let mut ends = joined(&mut Rng::new(1), START);
    assert!(ends[1].send(after(130), 1));
    assert_eq!(ends[1].sent.len(), 1);
}

#[test]
fn a_session_that_nobody_uses_ends_and_is_forgotten() {
    let mut ends = joined(&mut Rng::new(1), START);
    run(START, after(400), &mut ends);
    for end in &mut ends {
        assert!(end.sealer.is_none() && end.table.used() == 0 && end.said.contains(&"lost"));
        assert_eq!(end.peer.poll_timeout(), None, "nothing is left to do");
    }
}

#[test]
fn who_received_and_has_nothing_to_send_says_so_after_ten_seconds() {
    let mut ends = joined(&mut Rng::new(1), START);
    assert!(ends[0].send(after(20), 1));
    exchange(after(20), &mut ends);
    let (mut at, mut due) = ends[1].peer.poll_timeout().unwrap();
    while due != Due::Keepalive {
        ends[1].timeout(at);
        assert!(ends[1].sent.is_empty());
        (at, due) = ends[1].peer.poll_timeout().unwrap();
    }
    assert_eq!(at, after(30));
    ends[1].timeout(at);
    assert_eq!(ends[1].sent.len(), 1);
    exchange(at, &mut ends);
    assert_eq!(ends[0].peer.activity().waiting(), None);
    run(at, after(60), &mut ends);
    assert_eq!(ends[0].peer.activity().received(), Some(at), "a keepalive is not answered");
}

#[test]
fn who_sent_and_hears_nothing_for_fifteen_seconds_begins_anew() {
    let mut ends = joined(&mut Rng::new(1), START);
    assert!(ends[0].send(after(20), 1));
    ends[0].sent.clear();
    let (mut at, mut due) = ends[0].peer.poll_timeout().unwrap();
    while due != Due::Silence {
        ends[0].timeout(at);
        (at, due) = ends[0].peer.poll_timeout().unwrap();
    }
    assert_eq!((at, ends[0].sent.len()), (after(35), 0));
    ends[0].timeout(at);
    assert_eq!(ends[0].sent.len(), 1);
    exchange(at, &mut ends);
    assert!(ends[0].send(at, 2));
    exchange(at, &mut ends);
    assert_eq!(ends[1].got, [2]);
}

#[test]
fn a_persistent_keepalive_keeps_a_session_up_by_itself() {
    let mut ends = ends_with(&mut Rng::new(1), [Some(Duration::from_secs(25)), None]);
    run(START, after(3600), &mut ends);
    assert!(ends[1].peer.activity().received().unwrap() >= after(3600 - 26), "every 25 seconds");
    assert!(ends[0].peer.activity().received().unwrap() >= after(3600 - 150), "with each handshake");
    for end in &ends {
        assert!(end.sealer.is_some());
        assert!(!end.said.contains(&"lost") && end.table.used() <= 6);
    }
}

#[test]
fn a_peer_that_moves_is_followed_and_a_replay_from_elsewhere_is_not() {
    let mut ends = joined(&mut Rng::new(1), START);
    ends[0].address = address(77);
    assert!(ends[0].send(START, 1));
    let (_, datagram) = ends[0].sent[0].clone();
    exchange(START, &mut ends);
    assert_eq!(ends[1].peer.endpoint(), Some(address(77)));
    ends[1].receive(START, address(66), &datagram);
    assert_eq!(ends[1].peer.endpoint(), Some(address(77)));
    assert_eq!(ends[1].unopened, [OpenError::Replayed]);
    assert!(ends[1].send(START, 2));
    exchange(START, &mut ends);
    assert_eq!(ends[0].got, [2]);
}

#[test]
fn what_workers_were_not_told_to_tell_is_seen_at_the_next_look() {
    let mut ends = joined(&mut Rng::new(1), START);
    // A worker that seals at two minutes and tells nobody.
    let sealer = ends[0].sealer.clone().unwrap();
    let mut buffer = [0; 128];
    assert!(sealer.seal(after(120), &mut buffer, HEADER..HEADER + 8, MTU).unwrap().rekey);
    let (at, due) = ends[0].peer.poll_timeout().unwrap();
    assert!(due == Due::Look && at <= after(121));
    ends[0].timeout(after(121));
    assert_eq!(ends[0].sent.len(), 1);
}

#[test]
fn who_is_closed_has_no_keys_and_no_numbers_left() {
    let mut ends = joined(&mut Rng::new(1), START);
    ends[0].input(after(10), Input::Wanted).unwrap();
    assert_eq!(ends[0].table.used(), 2);
    ends[0].step(Peer::close);
    assert_eq!((ends[0].table.used(), ends[0].sealer.is_none(), ends[0].peer.poll_timeout()), (0, true, None));
}
