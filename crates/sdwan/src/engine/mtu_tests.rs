//! Paths that take less than was thought, or less than they did.

use outwork_engine::{Rng, sim};

use super::*;

const MEASURED: Measured = Measured { jitter: Duration::ZERO, round_trip: Duration::from_millis(20), loses: false };
const SECOND: Duration = Duration::from_secs(1);

/// A path whose other end answers.
struct Lab {
    now: Time,
    path: PathMtu,
    settings: MtuSettings,
    rng: Rng,
    busy: bool,
    /// The longest that gets through.
    limit: u16,
    loss: f64,
    under_way: Vec<(Time, Probe)>,
    sent: u64,
    changes: Vec<(Time, MtuChange)>,
}

impl Lab {
    fn new(limit: u16, seed: u64) -> Lab {
        let settings = MtuSettings::default();
        let mut path = PathMtu::new(&settings, Time::from_secs(1));
        path.alive(true);
        let (under_way, changes) = Default::default();
        let (now, rng) = (Time::from_secs(1), Rng::new(seed));
        Lab { now, path, settings, rng, busy: true, limit, loss: 0.0, under_way, sent: 0, changes }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let first =
                self.under_way.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(place, (at, _))| (*at, place));
            let (arrival, place) = first.unwrap_or((Time::MAX, 0));
            let due = self.path.due(self.busy, &self.settings);
            if arrival.min(due) > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(arrival.min(due));
            if arrival <= due {
                let (_, probe) = self.under_way.remove(place);
                let change = self.path.answer(self.now, &probe.answered(), MEASURED, &self.settings);
                self.changes.extend(change.map(|change| (self.now, change)));
            } else {
                self.timeout();
            }
        }
    }

    fn timeout(&mut self) {
        let change = self.path.timeout(self.now, &self.settings);
        self.changes.extend(change.map(|change| (self.now, change)));
        for probe in self.path.poll(self.now, self.busy, MEASURED, &self.settings).into_iter().flatten() {
            self.sent += 1;
            let there = probe.size <= self.limit && !self.rng.chance(self.loss) && !self.rng.chance(self.loss);
            self.under_way.extend(there.then_some((self.now + MEASURED.round_trip, probe)));
        }
    }

    fn mtus(&self) -> Vec<u16> {
        self.changes.iter().map(|(_, change)| change.to).collect()
    }
}

#[test]
fn a_probe_survives_its_way_and_one_that_was_cut_is_none() {
    sim::seeds(100, |rng| {
        let probe = Probe { number: rng.next_u32(), size: rng.below(2000) as u16, answer: rng.chance(0.5) };
        let mut octets = probe.encode().to_vec();
        octets.resize(probe.length(), 0);
        assert_eq!(Probe::decode(&octets), Some(probe));
        assert!((0..octets.len()).all(|length| Probe::decode(&octets[..length]).is_none()));
        assert!(Probe::decode(&probe.answered().encode()).is_some_and(|answer| answer.answer));
        let mut noise = vec![0; rng.below(64) as usize];
        rng.fill(&mut noise);
        let _ = Probe::decode(&noise);
    });
    assert_eq!(super::super::hello::Hello::decode(&[0, KIND, 0, 0].repeat(20)), None, "hellos are another kind");
}

#[test]
fn a_path_that_takes_the_longest_has_it_after_one_round_trip() {
    let mut lab = Lab::new(1500, 1);
    assert_eq!(lab.path.mtu(), 1280, "until then what every path is trusted with");
    lab.run(MEASURED.round_trip);
    assert_eq!((lab.path.mtu(), lab.sent), (1420, 2));
}

#[test]
fn the_search_ends_near_what_passes_wherever_that_is() {
    sim::seeds(200, |rng| {
        let limit = 576 + rng.below(1420 - 576) as u16;
        let mut lab = Lab::new(limit, 1);
        lab.run(SECOND * 5);
        let mtu = lab.path.mtu();
        assert!(mtu <= limit && limit - mtu < STEP, "{mtu} of {limit}");
        let sent = lab.sent;
        lab.busy = false;
        lab.run(SECOND * 60);
        assert_eq!(lab.sent, sent, "and then it is over");
    });
}

#[test]
fn loss_makes_the_search_slower_and_never_lets_more_through_than_passes() {
    sim::seeds(100, |rng| {
        let limit = 1280 + rng.below(200) as u16;
        let mut lab = Lab::new(limit, rng.next_u64());
        lab.loss = 0.1;
        lab.run(SECOND * 60);
        assert!(lab.changes.iter().all(|(_, change)| change.to <= limit), "{:?} of {limit}", lab.changes);
    });
}

#[test]
fn a_black_hole_is_seen_by_three_losses_and_the_search_begins_anew() {
    let mut lab = Lab::new(1500, 1);
    lab.run(SECOND * 3);
    assert_eq!(lab.mtus(), [1420]);
    (lab.limit, lab.now) = (1350, lab.now + Duration::from_millis(1));
    let (hole, before) = (lab.now, lab.sent);
    lab.run(SECOND * 5);
    let (at, change) = lab.changes[1];
    assert_eq!(change, MtuChange { from: 1420, to: 1280 });
    let three = (MEASURED.round_trip + OVERTAKEN) * 3;
    assert!(at.since(hole) <= lab.settings.confirm + three, "{:?}", at.since(hole));
    assert!((1343..=1350).contains(&lab.path.mtu()), "{:?}", lab.mtus());
    assert!(lab.sent - before < 100, "{}", lab.sent - before);
    assert!(change.to_string().contains("lost"), "{change}");
}

#[test]
fn who_loses_everything_is_not_taken_for_narrow() {
    let mut lab = Lab::new(1500, 1);
    lab.run(SECOND * 3);
    let sent = lab.sent;
    lab.loss = 1.0;
    lab.run(SECOND * 120);
    assert_eq!(lab.mtus(), [1420]);
    assert!(lab.sent - sent < 80, "{} of which nothing was heard", lab.sent - sent);
    lab.loss = 0.0;
    lab.run(SECOND * 30);
    assert_eq!(lab.mtus(), [1420]);
}

#[test]
fn what_others_say_is_looked_at_and_not_believed() {
    let mut lab = Lab::new(1500, 1);
    lab.busy = false;
    lab.run(SECOND * 3);
    let sent = lab.sent;
    lab.path.hint(1300, &lab.settings);
    lab.run(SECOND);
    assert_eq!((lab.mtus(), lab.sent), (vec![1420], sent + 2), "one look shows that it is not so");
    for size in [0, 575, 1421, u16::MAX] {
        lab.path.hint(size, &lab.settings);
        lab.run(SECOND);
        assert_eq!(lab.sent, sent + 2, "{size} is no length that there is");
    }
    lab.limit = 1333;
    lab.path.hint(1333, &lab.settings);
    lab.run(SECOND);
    assert_eq!(lab.mtus(), [1420, 1280, 1333], "where it is so, it is where the search begins");
}

#[test]
fn doubt_brings_the_next_look_forward_and_not_more_than_ten_a_second() {
    let mut lab = Lab::new(1500, 1);
    lab.busy = false;
    lab.run(SECOND * 3);
    let sent = lab.sent;
    for _ in 0..1000 {
        lab.path.doubt();
        lab.run(Duration::from_millis(1));
    }
    assert!((10..=20).contains(&(lab.sent - sent)), "{}", lab.sent - sent);
}

#[test]
fn a_path_that_takes_more_again_is_tried_after_a_while() {
    let mut lab = Lab::new(1300, 1);
    lab.run(SECOND * 5);
    assert!((1293..=1300).contains(&lab.path.mtu()));
    lab.limit = 1500;
    lab.run(SECOND * 590);
    assert!(lab.path.mtu() <= 1300);
    lab.run(SECOND * 10);
    assert_eq!(lab.path.mtu(), 1420);
}

#[test]
fn a_path_that_carries_nothing_is_not_asked_and_one_that_has_come_back_is_at_once() {
    let mut lab = Lab::new(1500, 1);
    lab.busy = false;
    lab.run(SECOND * 3);
    lab.path.alive(false);
    let sent = lab.sent;
    assert_eq!(lab.path.due(true, &lab.settings), Time::MAX);
    lab.run(SECOND * 60);
    assert_eq!(lab.sent, sent);
    lab.limit = 1280;
    lab.path.alive(true);
    lab.run(SECOND);
    assert_eq!(lab.mtus(), [1420, 1280], "it leads another way");
}

#[test]
fn an_answer_to_an_earlier_try_counts_and_one_to_nobody_does_not() {
    let mut lab = Lab::new(0, 1);
    lab.timeout();
    let first = lab.path.number;
    lab.run(SECOND);
    assert!(lab.path.number > first, "nothing came, and it was tried again");
    let (now, settings) = (lab.now, lab.settings);
    let mut hear = |number: u32, size: u16, answer: bool| {
        lab.path.answer(now, &Probe { number, size, answer }, MEASURED, &settings)
    };
    assert_eq!(hear(first.wrapping_sub(1), 1420, true), None);
    assert_eq!(hear(first + 1000, 1420, true), None);
    assert_eq!(hear(first, 1400, true), None);
    assert_eq!(hear(first, 1420, false), None);
    assert_eq!(hear(first, 1420, true), Some(MtuChange { from: 1280, to: 1420 }));
    assert_eq!(hear(first, 1420, true), None, "once");
}

#[test]
fn other_settings_bound_what_goes_and_the_search_is_begun_anew() {
    let mut lab = Lab::new(1400, 1);
    lab.run(SECOND * 5);
    lab.settings.most = 1300;
    let change = lab.path.configure(&lab.settings, lab.now);
    assert_eq!(change.map(|change| change.to), Some(1300));
    lab.settings.most = 9000;
    lab.path.configure(&lab.settings, lab.now);
    lab.run(SECOND * 5);
    assert!((1393..=1400).contains(&lab.path.mtu()), "{:?}", lab.mtus());
}
