//! Handshakes: done, lost, forged, replayed, both at once, under load.

use super::*;
use crate::message::Message;

const START: Time = Time::from_secs(100);

#[test]
fn a_handshake_gives_both_a_session_and_packets_pass() {
    let mut ends = ends(&mut Rng::new(1));
    assert!(!ends[0].send(START, 1), "no session yet");
    assert_eq!(exchange(START, &mut ends), 3, "an initiation, a response, a keepalive");
    assert_eq!(ends[0].take_said(), ["expect", "send", "receive", "seal", "send"]);
    assert_eq!(ends[1].take_said(), ["receive", "send", "seal"]);
    assert!(ends[0].send(START, 2) && ends[1].send(START, 3));
    exchange(START, &mut ends);
    assert_eq!((&ends[1].got, &ends[0].got), (&vec![2], &vec![3]));
    assert_eq!(ends.each_ref().map(|end| end.table.used()), [1, 1]);
}

#[test]
fn who_answered_uses_its_session_only_when_something_came_by_it() {
    let mut ends = ends(&mut Rng::new(1));
    ends[0].input(START, Input::Wanted).unwrap();
    let (_, initiation) = ends[0].sent.pop().unwrap();
    ends[1].receive(START, address(1), &initiation);
    assert!(ends[1].sealer.is_none());
    assert!(!ends[1].send(START, 1));
}

#[test]
fn an_initiation_is_made_anew_every_five_seconds_and_given_up_after_ninety() {
    let mut ends = ends(&mut Rng::new(1));
    ends[0].input(START, Input::Wanted).unwrap();
    let mut times = vec![START];
    let mut kinds = vec![std::mem::take(&mut ends[0].sent).pop().unwrap().1];
    while let Some((at, due)) = ends[0].peer.poll_timeout() {
        assert_eq!(due, Due::Retry);
        ends[0].timeout(at);
        times.push(at);
        kinds.extend(std::mem::take(&mut ends[0].sent).into_iter().map(|(_, datagram)| datagram));
    }
    for pair in times.windows(2) {
        assert!((REKEY_TIMEOUT..REKEY_TIMEOUT + JITTER).contains(&pair[1].since(pair[0])));
    }
    let given_up = times.last().unwrap().since(START);
    assert!((REKEY_ATTEMPT_TIME..REKEY_ATTEMPT_TIME + REKEY_TIMEOUT + JITTER).contains(&given_up), "{given_up:?}");
    assert_eq!(kinds.len(), times.len() - 1);
    kinds.dedup_by_key(|datagram| datagram[8..40].to_vec());
    assert_eq!(kinds.len(), times.len() - 1, "each with an ephemeral key of its own");
    assert_eq!((ends[0].said.last(), ends[0].table.used()), (Some(&"gave up"), 0));
    // Wanted again, it begins again.
    ends[0].input(*times.last().unwrap(), Input::Wanted).unwrap();
    assert!(ends[0].peer.poll_timeout().is_some());
}

#[test]
fn a_handshake_wanted_just_after_another_waits_its_turn() {
    let mut ends = joined(&mut Rng::new(1), START);
    ends[0].input(START + Duration::from_secs(1), Input::Wanted).unwrap();
    assert!(ends[0].sent.is_empty());
    let later = START + REKEY_TIMEOUT;
    while let Some((at, due)) = ends[0].peer.poll_timeout().filter(|(at, _)| *at <= later) {
        assert!(due != Due::Begin || at == later);
        ends[0].timeout(at);
    }
    assert_eq!(ends[0].sent.len(), 1);
}

#[test]
fn a_replayed_initiation_is_refused_and_changes_nothing() {
    let mut ends = ends(&mut Rng::new(1));
    ends[0].input(START, Input::Wanted).unwrap();
    let (_, initiation) = ends[0].sent[0].clone();
    exchange(START, &mut ends);
    ends[1].said.clear();
    let later = START + Duration::from_secs(30);
    ends[1].receive(later, address(66), &initiation);
    assert_eq!((ends[1].refused.last(), ends[1].peer.endpoint()), (Some(&Refusal::Replayed), Some(address(1))));
    assert_eq!((ends[1].take_said(), ends[1].table.used()), (vec![], 1));
}

#[test]
fn more_than_fifty_initiations_a_second_are_not_answered() {
    let mut ends = ends(&mut Rng::new(1));
    let fresh = |end: &mut End, at: Time| {
        end.step(|peer, cx| {
            peer.abandon(cx);
            peer.begun = None;
        });
        end.input(at, Input::Wanted).unwrap();
        end.sent.pop().unwrap().1
    };
    let messages: Vec<_> = (0..3).map(|at| fresh(&mut ends[0], START + at * INITIATION_INTERVAL)).collect();
    ends[1].receive(START, address(1), &messages[0]);
    ends[1].receive(START + INITIATION_INTERVAL - Duration::from_nanos(1), address(1), &messages[1]);
    assert_eq!((ends[1].refused.as_slice(), ends[1].sent.len()), ([Refusal::TooFast].as_slice(), 1));
    ends[1].receive(START + INITIATION_INTERVAL, address(1), &messages[2]);
    assert_eq!(ends[1].sent.len(), 2);
    assert_eq!(ends[1].table.used(), 1, "the answer that nobody waits for is forgotten");
}

#[test]
fn forged_and_cut_messages_change_nothing() {
    outwork_engine::sim::seeds(10, |rng| {
        let mut ends = ends(rng);
        ends[0].input(START, Input::Wanted).unwrap();
        let (_, initiation) = ends[0].sent.pop().unwrap();
        ends[1].receive(START, address(1), &initiation);
        let (_, response) = ends[1].sent.pop().unwrap();
        let signers = [0, 1].map(|at| Signer::new(ends[at].local.oldest().public()));
        ends.iter_mut().for_each(|end| end.said.clear());
        for _ in 0..200 {
            let at = rng.below(2) as usize;
            let mut datagram = [&response, &initiation][at].clone();
            // mac2 is looked at only under load, and shows nothing but an address.
            let place = rng.below(datagram.len() as u64 - 16) as usize;
            match rng.below(4) {
                0 => datagram.truncate(place),
                1 => datagram[place] ^= 1 << rng.below(8),
                2 => rng.fill(&mut datagram[4..]),
                // Who knows our public key can write mac1.
                _ => {
                    datagram[12 + place % 48] ^= 1;
                    signers[at].sign(&mut datagram, None);
                }
            }
            ends[at].receive(START, address(66), &datagram);
        }
        assert!(ends.each_mut().map(End::take_said).concat().is_empty());
        assert_eq!(ends[1].peer.endpoint(), Some(address(1)));
        ends[0].receive(START, address(2), &response);
        exchange(START, &mut ends);
        assert!(ends.iter().all(|end| end.sealer.is_some()), "the true response still opens");
    });
}

#[test]
fn both_may_begin_at_once() {
    let mut ends = ends(&mut Rng::new(1));
    ends.iter_mut().for_each(|end| end.input(START, Input::Wanted).unwrap());
    exchange(START, &mut ends);
    for number in 0..10 {
        assert!(ends[0].send(START, number) && ends[1].send(START, number));
        exchange(START, &mut ends);
    }
    assert_eq!(ends.each_ref().map(|end| end.got.len()), [10, 10]);
    assert!(ends.iter().all(|end| end.unopened.is_empty()));
}

#[test]
fn another_peers_initiation_is_not_ours() {
    let mut rng = Rng::new(1);
    let (mut one, mut other) = (ends(&mut rng), ends(&mut rng));
    one[0].peer.settings.remote = *other[1].local.oldest().public();
    one[0].peer.signer = Signer::new(other[1].local.oldest().public());
    one[0].input(START, Input::Wanted).unwrap();
    let (_, initiation) = one[0].sent.pop().unwrap();
    other[1].receive(START, address(1), &initiation);
    assert_eq!(other[1].refused, [Refusal::WrongPeer]);
    assert!(other[1].sent.is_empty() && other[1].table.used() == 0);
}

#[test]
fn who_is_asked_for_a_cookie_brings_it_with_its_next_try() {
    let mut rng = Rng::new(1);
    let mut ends = ends(&mut rng);
    let limits = Limits { calm: 0, ..Limits::default() };
    ends[1].gate = Gate::new(&ends[1].local, limits, START, &mut rng).unwrap();
    ends[0].input(START, Input::Wanted).unwrap();
    assert_eq!(exchange(START, &mut ends), 2, "an initiation and a cookie, and no hurry after it");
    assert!(ends[1].said.is_empty(), "no arithmetic was done");
    let (retry, _) = ends[0].peer.poll_timeout().unwrap();
    ends[0].timeout(retry);
    exchange(retry, &mut ends);
    assert!(ends.iter().all(|end| end.sealer.is_some()));
}

#[test]
fn a_response_needs_a_cookie_too_where_its_receiver_is_busy() {
    let mut rng = Rng::new(1);
    let mut ends = ends(&mut rng);
    let limits = Limits { calm: 0, ..Limits::default() };
    ends[0].gate = Gate::new(&ends[0].local, limits, START, &mut rng).unwrap();
    ends[0].input(START, Input::Wanted).unwrap();
    assert_eq!(exchange(START, &mut ends), 3);
    assert!(ends[0].sealer.is_none());
    let (retry, _) = ends[0].peer.poll_timeout().unwrap();
    ends[0].timeout(retry);
    exchange(retry, &mut ends);
    assert!(ends.iter().all(|end| end.sealer.is_some()));
}

#[test]
fn a_peer_without_an_endpoint_waits_to_be_found() {
    let mut ends = ends(&mut Rng::new(1));
    ends[1].peer.endpoint = None;
    assert_eq!(ends[1].input(START, Input::Wanted), Err(Refusal::NoEndpoint));
    assert_eq!(ends[1].peer.poll_timeout(), None);
    ends[0].input(START, Input::Wanted).unwrap();
    exchange(START, &mut ends);
    assert_eq!(ends[1].peer.endpoint(), Some(address(1)));
    assert!(ends[1].sealer.is_some());
}

#[test]
fn another_preshared_key_is_used_from_the_next_handshake_on() {
    let mut ends = joined(&mut Rng::new(1), START);
    ends[0].peer.set_psk(PresharedKey::new([1; 32]));
    assert!(ends[0].send(START, 1));
    exchange(START, &mut ends);
    assert_eq!(ends[1].got, [1], "the session lives on");
    let later = START + REKEY_TIMEOUT;
    ends[0].input(later, Input::Wanted).unwrap();
    exchange(later, &mut ends);
    assert!(matches!(ends[0].refused.as_slice(), [Refusal::Noise(NoiseError::Forged)]));
    assert!(ends[0].send(later, 2));
    exchange(later, &mut ends);
    assert_eq!(ends[1].got, [1, 2], "and so it does when they do not agree");
    ends[1].peer.set_psk(PresharedKey::new([1; 32]));
    let (retry, _) = ends[0]
        .peer
        .poll_timeout()
        .filter(|(_, due)| *due == Due::Retry)
        .unwrap_or((later + REKEY_TIMEOUT + JITTER, Due::Retry));
    ends[0].take_said();
    ends[0].timeout(retry);
    exchange(retry, &mut ends);
    assert!(ends[0].take_said().contains(&"seal"));
}

#[test]
fn where_no_index_is_free_the_next_try_may_find_one() {
    let mut ends = ends(&mut Rng::new(1));
    let mut taken = vec![];
    while let Some(index) = ends[0].table.reserve(&mut Rng::new(taken.len() as u64)) {
        taken.push(index);
    }
    assert_eq!(ends[0].input(START, Input::Wanted), Err(Refusal::NoIndex));
    ends[0].table.release(taken[0]);
    let (retry, _) = ends[0].peer.poll_timeout().unwrap();
    ends[0].timeout(retry);
    exchange(retry, &mut ends);
    assert!(ends[0].sealer.is_some());
}

#[test]
fn nothing_secret_is_shown() {
    let ends = joined(&mut Rng::new(1), START);
    let shown = format!("{:?}", ends[0].peer);
    assert!(shown.contains("PresharedKey(..)") && !shown.contains("9, 9, 9"), "{shown}");
}

#[test]
fn a_response_is_a_message_of_its_kind() {
    let mut ends = ends(&mut Rng::new(1));
    ends[0].input(START, Input::Wanted).unwrap();
    let (to, initiation) = ends[0].sent.pop().unwrap();
    assert_eq!(to, address(2));
    let Ok(Message::Initiation(initiation_read)) = Message::read(&initiation) else { panic!() };
    ends[1].receive(START, address(1), &initiation);
    let (to, response) = ends[1].sent.pop().unwrap();
    let Ok(Message::Response(response)) = Message::read(&response) else { panic!() };
    assert_eq!((to, response.receiver), (address(1), initiation_read.sender));
}

#[test]
fn whatever_was_said_before_and_whatever_is_made_of_it_changes_nothing_when_it_comes_again() {
    outwork_engine::sim::seeds(10, |rng| {
        let mut ends = ends(rng);
        let mut heard: Vec<Vec<u8>> = vec![];
        ends[0].input(START, Input::Wanted).unwrap();
        for number in 0..4 {
            for at in [0, 1, 0, 1] {
                for (_, datagram) in std::mem::take(&mut ends[at].sent) {
                    ends[1 - at].receive(START, address(1 + at as u8), &datagram);
                    heard.push(datagram);
                }
            }
            assert!(ends[0].send(START, number) && ends[1].send(START, number));
        }
        exchange(START, &mut ends);
        let passed = ends.each_ref().map(|end| (end.got.clone(), end.table.used(), end.peer.activity().received()));
        ends.iter_mut().for_each(|end| end.said.clear());
        let later = START + Duration::from_secs(3);
        for _ in 0..500 {
            let mut datagram = heard[rng.below(heard.len() as u64) as usize].clone();
            let place = rng.below(datagram.len() as u64) as usize;
            match rng.below(4) {
                0 => {}
                1 => datagram[place] ^= 1 << rng.below(8),
                2 => datagram.truncate(place),
                _ => rng.fill(&mut datagram[8.min(place)..]),
            }
            ends[rng.below(2) as usize].receive(later, address(66), &datagram);
        }
        assert!(ends.each_mut().map(End::take_said).concat().is_empty());
        let after = ends.each_ref().map(|end| (end.got.clone(), end.table.used(), end.peer.activity().received()));
        assert_eq!(after, passed);
        assert_eq!(ends.each_ref().map(|end| end.peer.endpoint()), [Some(address(2)), Some(address(1))]);
        assert!(ends[0].send(later, 9) && ends[1].send(later, 9));
        exchange(later, &mut ends);
        assert!(ends.iter().all(|end| end.got.last() == Some(&9)));
    });
}
