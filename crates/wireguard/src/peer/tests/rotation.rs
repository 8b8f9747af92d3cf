//! One static key takes over from another.

use super::*;

const START: Time = Time::from_secs(100);
const MINUTE: Duration = Duration::from_secs(60);

fn fresh(rng: &mut Rng) -> PrivateKey {
    PrivateKey::generate(rng).unwrap()
}

impl End {
    fn be(&mut self, local: Identity) {
        self.gate.be(&local);
        self.local = local;
    }

    /// A key of its own that takes over from the one that it has.
    fn announce(&mut self, rng: &mut Rng) -> PublicKey {
        let next = fresh(rng);
        let public = *next.public();
        self.be(Identity::from(self.local.oldest().clone()).with_next(next, false));
        public
    }

    /// Only the key that was made last is left.
    fn drop_old(&mut self) {
        self.be(Identity::from(self.local.newest().clone()));
    }

    fn hears_of(&mut self, now: Time, next: PublicKey) {
        let remote = self.peer.settings.remote;
        self.peer.set_remotes(now, remote, Some(next));
    }
}

/// Each sends a packet every half second until then; all of them come.
fn talk(from: Time, until: Time, ends: &mut [End; 2]) {
    let mut now = from;
    let mut number = 1_000_000 + now.since(Time::ZERO).as_millis() as u64;
    while now < until {
        for at in 0..2 {
            number += 1;
            assert!(ends[at].send(now, number), "there is a session at any time");
            exchange(now, ends);
            assert_eq!(ends[1 - at].got.last(), Some(&number), "each comes");
        }
        let next = now + Duration::from_millis(500);
        run(now, next, ends);
        now = next;
    }
    assert!(ends.iter().all(|end| !end.said.contains(&"lost")));
}

#[test]
fn handshakes_with_either_key_are_answered_while_one_takes_over_from_the_other() {
    let mut rng = Rng::new(1);
    for to_next in [false, true] {
        let mut ends = ends(&mut rng);
        let next = ends[1].announce(&mut rng);
        if to_next {
            ends[0].hears_of(START, next);
        }
        ends[0].input(START, Input::Wanted).unwrap();
        exchange(START, &mut ends);
        assert!(ends.iter().all(|end| end.sealer.is_some()) && ends[0].send(START, 7));
        assert_eq!(ends[1].peer.knows(&next), to_next);
    }
}

#[test]
fn a_new_key_is_taken_up_beside_a_session_that_goes_on_and_no_packet_is_lost() {
    let mut rng = Rng::new(2);
    let mut ends = joined(&mut rng, START);
    let before = *ends[1].local.oldest().public();
    let next = ends[1].announce(&mut rng);
    // Nobody has told them yet: all goes on for longer than sessions live, and each time keys are made anew the old one is taken after the new one has failed.
    let told = START + 10 * MINUTE;
    talk(START, told, &mut ends);
    assert!(ends[1].peer.knows(&before) && !ends[1].peer.knows(&next));
    ends[0].hears_of(told, next);
    talk(told, told + TRIAL + Duration::from_secs(1), &mut ends);
    assert!(ends[1].peer.knows(&next), "it is tried soon after it was heard of");
    ends[1].drop_old();
    let dropped = told + MINUTE;
    talk(dropped, dropped + 10 * MINUTE, &mut ends);
    assert_eq!(ends.each_ref().map(|end| end.got.len() > 2400), [true, true]);
}

#[test]
fn whoever_begins_finds_out_whether_its_new_key_is_known() {
    let mut rng = Rng::new(3);
    let mut ends = joined(&mut rng, START);
    let next = ends[0].announce(&mut rng);
    // The other end never begins: it does not know where we are, as it were.
    talk(START, START + MINUTE, &mut ends);
    ends[1].hears_of(START + MINUTE, next);
    ends[1].peer.trial = None;
    talk(START + MINUTE, START + 4 * MINUTE, &mut ends);
    assert!(ends[0].peer.knows(&next));
}

#[test]
fn both_ends_may_rotate_at_once_whoever_hears_of_it_first() {
    for order in [[0, 1], [1, 0]] {
        let mut rng = Rng::new(4);
        let mut ends = joined(&mut rng, START);
        let next = [0, 1].map(|at| ends[at].announce(&mut rng));
        let mut now = START;
        for at in order {
            ends[at].hears_of(now, next[1 - at]);
            talk(now, now + 5 * MINUTE, &mut ends);
            now += 5 * MINUTE;
        }
        for at in 0..2 {
            assert!(ends[at].peer.knows(&next[at]));
            ends[at].drop_old();
            talk(now, now + 5 * MINUTE, &mut ends);
            now += 5 * MINUTE;
        }
    }
}

#[test]
fn initiations_to_a_key_that_was_dropped_are_refused_and_so_are_replays_of_those_with_one() {
    let mut rng = Rng::new(5);
    let mut ends = ends(&mut rng);
    ends[0].input(START, Input::Wanted).unwrap();
    let (_, old) = ends[0].sent[0].clone();
    exchange(START, &mut ends);
    let next = ends[1].announce(&mut rng);
    ends[0].hears_of(START, next);
    let soon = START + MINUTE;
    ends[1].receive(soon, address(66), &old);
    assert_eq!(ends[1].refused.last(), Some(&Refusal::Replayed), "though its key is held");
    run(START, soon, &mut ends);
    assert!(ends[1].peer.knows(&next));
    ends[1].drop_old();
    ends[1].receive(soon, address(66), &old);
    assert_eq!((ends[1].dropped.last(), ends[1].peer.endpoint()), (Some(&Reason::Mac1), Some(address(1))));
}

#[test]
fn who_begins_anew_in_the_middle_is_met_by_a_key_that_it_knows() {
    let mut rng = Rng::new(6);
    // Of the end that was told of both keys, and of one that was not.
    for told in [false, true] {
        let mut ends = joined(&mut rng, START);
        let next = ends[1].announce(&mut rng);
        if told {
            ends[0].hears_of(START, next);
            run(START, START + MINUTE, &mut ends);
        }
        // Its process ends, and what it keeps are the keys.
        let now = START + 5 * MINUTE;
        run(START + MINUTE, now, &mut ends);
        let settings = ends[1].peer.settings.clone();
        ends[1].peer = Peer::new(settings, Rng::new(9), now);
        ends[1].clock = Clock::new(now, Duration::from_secs(1_700_001_000));
        ends[1].table = Table::new(16);
        ends[1].said.clear();
        ends[1].input(now, Input::Wanted).unwrap();
        exchange(now, &mut ends);
        assert!(ends[1].sealer.is_some() && ends[1].said.contains(&"seal"), "at the first try");
        run(now, now + TRIAL + Duration::from_secs(1), &mut ends);
        assert_eq!(ends[1].peer.knows(&next), told, "soon, though whoever began did so by the old one");
    }
}

#[test]
fn a_key_that_was_given_up_is_left_for_the_one_that_still_works() {
    let mut rng = Rng::new(7);
    let mut ends = joined(&mut rng, START);
    let next = ends[1].announce(&mut rng);
    ends[0].hears_of(START, next);
    talk(START, START + MINUTE, &mut ends);
    let old = ends[1].local.oldest().clone();
    ends[1].be(old.into());
    talk(START + MINUTE, START + 10 * MINUTE, &mut ends);
}

#[test]
fn under_load_a_cookie_is_given_by_either_key() {
    let mut rng = Rng::new(8);
    let mut ends = ends(&mut rng);
    let limits = Limits { calm: 0, ..Limits::default() };
    let next = ends[1].announce(&mut rng);
    ends[1].gate = Gate::new(&ends[1].local, limits, START, &mut rng).unwrap();
    ends[0].hears_of(START, next);
    ends[0].input(START, Input::Wanted).unwrap();
    exchange(START, &mut ends);
    assert!(ends[0].sealer.is_none() && ends[0].peer.jar.cookie(START).is_some());
    // The next try may be to the other key: the cookie is good for that as well.
    let retry = ends[0].peer.poll_timeout().unwrap().0;
    ends[0].timeout(retry);
    exchange(retry, &mut ends);
    assert!(ends[0].sent.is_empty() && ends[1].said.contains(&"receive"));
}

#[test]
fn a_preshared_key_that_changes_at_both_ends_parts_nobody() {
    let mut ends = joined(&mut Rng::new(9), START);
    let psk = PresharedKey::new([3; 32]);
    ends[0].peer.set_psk(psk.clone());
    talk(START, START + 2 * MINUTE + Duration::from_secs(20), &mut ends);
    ends[1].peer.set_psk(psk);
    let now = START + 2 * MINUTE + Duration::from_secs(20);
    talk(now, now + 5 * MINUTE, &mut ends);
}
