//! Passive health checks.

use outwork_balance::outlier::{FailurePercentage, SuccessRate};
use outwork_balance::{Ask, Detector, Ejection, Outcome, OutlierSettings, Picker, Policy, Pool, PoolSettings, Row};
use outwork_engine::Time;

use super::{START, counts, many, picker, pool, secs};

/// Nothing ejects, but what a test asks for.
const QUIET: OutlierSettings = OutlierSettings {
    consecutive_5xx: None,
    consecutive_gateway: None,
    success_rate: None,
    failure_percentage: None,
    interval: secs(10),
    base_ejection: secs(30),
    max_ejection: secs(300),
    max_ejected_percent: 50,
};

fn watched(count: usize, outlier: OutlierSettings) -> Pool {
    pool(PoolSettings { outlier: Some(outlier), ..many(Policy::RoundRobin, count) })
}

/// Has the member asked so often, with this outcome each time.
fn answer(picker: &mut Picker, pool: &Pool, number: usize, times: u32, outcome: Outcome, now: Time) -> Vec<Ejection> {
    let key = format!("m{number:05}");
    let ask = Ask { sticky: Some(&key), ..Ask::default() };
    (0..times).filter_map(|_| picker.pick(pool, &ask, now).unwrap().finish(pool, outcome, now)).collect()
}

#[test]
fn failures_in_a_row_eject_at_once_and_a_success_begins_the_row_again() {
    let pool = watched(4, OutlierSettings { consecutive_5xx: Some(3), ..QUIET });
    let mut picker = picker();
    for _ in 0..5 {
        assert_eq!(answer(&mut picker, &pool, 1, 2, Outcome::ServerError, START), []);
        assert_eq!(answer(&mut picker, &pool, 1, 1, Outcome::Answered, START), []);
    }
    let until = START + secs(30);
    let row = Row { failures: 3, answers: 0 };
    let ejection = Ejection { key: "m00001".to_owned(), detector: Detector::Consecutive5xx, row, until };
    assert_eq!(answer(&mut picker, &pool, 1, 3, Outcome::ServerError, START), [ejection]);
    assert_eq!(counts(&mut picker, &pool, 300, START + secs(29)).len(), 3);
    assert_eq!(counts(&mut picker, &pool, 400, until)["m00001"], 100, "its ejection ends by itself");
    assert_eq!(answer(&mut picker, &pool, 1, 2, Outcome::ServerError, until), [], "it begins with a clean record");
    assert_eq!(pool.ledger().ejections(Detector::Consecutive5xx), 1);
}

#[test]
fn what_was_under_way_when_a_member_was_ejected_is_not_held_against_it_afterwards() {
    let pool = watched(4, OutlierSettings { consecutive_5xx: Some(2), ..QUIET });
    let mut picker = picker();
    let ask = Ask { sticky: Some("m00001"), ..Ask::default() };
    let under_way: Vec<_> = (0..5).map(|_| picker.pick(&pool, &ask, START).unwrap()).collect();
    assert_eq!(answer(&mut picker, &pool, 1, 2, Outcome::ServerError, START).len(), 1);
    for lease in under_way {
        assert_eq!(lease.finish(&pool, Outcome::ServerError, START + secs(1)), None);
    }
    assert_eq!(answer(&mut picker, &pool, 1, 1, Outcome::ServerError, START + secs(30)), []);
}

#[test]
fn an_ejection_says_how_many_of_the_failures_in_a_row_were_answers() {
    for (outcomes, answers) in [
        ([Outcome::GatewayError; 3], 3),
        ([Outcome::ConnectFailed, Outcome::TimedOut, Outcome::Reset], 0),
        ([Outcome::ConnectFailed, Outcome::GatewayError, Outcome::Reset], 1),
    ] {
        let pool = watched(4, OutlierSettings { consecutive_gateway: Some(3), ..QUIET });
        let mut picker = picker();
        // What was before the row is not of it.
        answer(&mut picker, &pool, 2, 2, Outcome::GatewayError, START);
        answer(&mut picker, &pool, 2, 1, Outcome::Answered, START);
        let ejections: Vec<Ejection> =
            outcomes.iter().flat_map(|outcome| answer(&mut picker, &pool, 2, 1, *outcome, START)).collect();
        assert_eq!(ejections[0].row, Row { failures: 3, answers }, "{outcomes:?}");
    }
}

#[test]
fn who_does_not_answer_at_all_has_a_row_of_its_own() {
    for outcome in [Outcome::GatewayError, Outcome::ConnectFailed, Outcome::TimedOut, Outcome::Reset] {
        let pool = watched(4, OutlierSettings { consecutive_gateway: Some(3), ..QUIET });
        let mut picker = picker();
        answer(&mut picker, &pool, 2, 2, outcome, START);
        assert_eq!(answer(&mut picker, &pool, 2, 9, Outcome::ServerError, START), [], "it answers, if badly");
        answer(&mut picker, &pool, 2, 2, outcome, START);
        let ejections = answer(&mut picker, &pool, 2, 1, outcome, START);
        assert_eq!(ejections[0].detector, Detector::ConsecutiveGateway, "{outcome:?}");
    }
}

#[test]
fn what_the_client_is_to_blame_for_says_nothing_of_the_member() {
    let pool = watched(4, OutlierSettings { consecutive_5xx: Some(3), ..QUIET });
    let mut picker = picker();
    answer(&mut picker, &pool, 1, 2, Outcome::ServerError, START);
    assert_eq!(answer(&mut picker, &pool, 1, 9, Outcome::Cancelled, START), []);
    assert_eq!(answer(&mut picker, &pool, 1, 1, Outcome::ServerError, START).len(), 1, "nor does it end a row");
    let statuses = [200, 301, 404, 499, 500, 501, 502, 503, 504, 505, 599].map(Outcome::of_status);
    let failed = statuses.map(|outcome| outcome.failed().unwrap());
    assert_eq!(failed, [false, false, false, false, true, true, true, true, true, true, true]);
    assert_eq!(statuses.map(Outcome::is_gateway_failure).iter().filter(|gateway| **gateway).count(), 3);
}

#[test]
fn each_ejection_is_longer_than_the_last_up_to_a_limit_and_good_intervals_are_remembered() {
    let pool = watched(4, OutlierSettings { consecutive_5xx: Some(1), max_ejection: secs(100), ..QUIET });
    let (mut picker, mut now) = (picker(), START);
    let mut eject = |now| answer(&mut picker, &pool, 1, 1, Outcome::ServerError, now)[0].until;
    for expected in [30, 60, 90, 100, 100] {
        let until = eject(now);
        assert_eq!(until.since(now), secs(expected));
        now = until;
    }
    for _ in 0..4 {
        pool.sweep(now);
    }
    assert_eq!(eject(now).since(now), secs(60), "five ejections, four of them forgotten");
}

#[test]
fn no_more_than_so_many_are_ejected_and_who_is_spared_is_counted() {
    for (percent, most) in [(0, 0), (1, 1), (10, 1), (20, 2), (55, 5), (100, 10)] {
        let settings = OutlierSettings { consecutive_5xx: Some(1), max_ejected_percent: percent, ..QUIET };
        let pool = watched(10, settings);
        let mut picker = picker();
        let ejected: usize =
            (0..10).map(|number| answer(&mut picker, &pool, number, 1, Outcome::ServerError, START).len()).sum();
        assert_eq!(ejected, most, "{percent} % of 10");
        assert_eq!(pool.ledger().spared(), 10 - most as u64);
        assert_eq!(pool.census(START).ejected, most);
    }
}

#[test]
fn who_is_leaving_does_not_make_room_for_more_ejections() {
    let settings = OutlierSettings { consecutive_5xx: Some(1), max_ejected_percent: 20, ..QUIET };
    let pool = watched(10, settings.clone());
    let fewer = PoolSettings { outlier: Some(settings), ..many(Policy::RoundRobin, 5) };
    let pool = pool.rebuild(fewer, START).unwrap();
    let mut picker = picker();
    let ejected: usize =
        (0..5).map(|number| answer(&mut picker, &pool, number, 1, Outcome::ServerError, START).len()).sum();
    assert_eq!(ejected, 1, "a fifth of five, though ten are there");
}

#[test]
fn who_succeeds_far_less_often_than_the_others_is_ejected() {
    let rate = SuccessRate { members: 5, volume: 100, factor: 1.9 };
    let settings = OutlierSettings { success_rate: Some(rate), ..QUIET };
    let ask_all = |pool: &Pool, count: usize, volume: u32, bad: u32| {
        let mut picker = picker();
        for number in 0..count {
            let failures = if number == 3 { bad } else { 1 };
            answer(&mut picker, pool, number, volume - failures, Outcome::Answered, START);
            answer(&mut picker, pool, number, failures, Outcome::ServerError, START);
        }
        let ejections = pool.sweep(START);
        assert_eq!(pool.sweep(START), [], "an interval counts once");
        ejections.into_iter().map(|ejection| (ejection.key, ejection.detector)).collect::<Vec<_>>()
    };
    let expected = [("m00003".to_owned(), Detector::SuccessRate)];
    assert_eq!(ask_all(&watched(10, settings.clone()), 10, 100, 30), expected);
    assert_eq!(ask_all(&watched(10, settings.clone()), 10, 100, 1), [], "all alike");
    assert_eq!(ask_all(&watched(10, settings.clone()), 10, 99, 30), [], "too few answers to tell");
    assert_eq!(ask_all(&watched(10, settings), 4, 100, 30), [], "too few members to compare");
}

#[test]
fn who_fails_too_much_is_ejected_whatever_the_others_do() {
    let percentage = FailurePercentage { threshold: 85, members: 2, volume: 50 };
    let settings = OutlierSettings { failure_percentage: Some(percentage), ..QUIET };
    let pool = watched(3, settings);
    let mut picker = picker();
    for (number, failures) in [(0, 85), (1, 84), (2, 0)] {
        answer(&mut picker, &pool, number, failures, Outcome::ServerError, START);
        answer(&mut picker, &pool, number, 100 - failures, Outcome::Answered, START);
    }
    let ejections = pool.sweep(START);
    assert_eq!(ejections.len(), 1);
    assert_eq!((ejections[0].key.as_str(), ejections[0].detector), ("m00000", Detector::FailurePercentage));
}

#[test]
fn an_answer_that_was_observed_is_not_counted_again_when_its_body_ends() {
    let pool = watched(4, OutlierSettings { consecutive_5xx: Some(2), ..QUIET });
    let mut lease = picker().pick(&pool, &Ask::default(), START).unwrap();
    assert_eq!(lease.observe(&pool, Outcome::ServerError, START + secs(1)), None);
    assert_eq!(lease.observe(&pool, Outcome::ServerError, START + secs(2)), None);
    let member = lease.member().clone();
    assert_eq!(lease.finish(&pool, Outcome::ServerError, START + secs(50)), None);
    let nanos = member.latency().nanos(START + secs(1), secs(10)).unwrap();
    assert!((nanos / 1e9 - 1.0).abs() < 0.01, "the time to the answer, not to its end");
}

#[test]
fn answers_that_break_off_are_failures_in_a_row_though_each_has_begun_well() {
    let pool = watched(4, OutlierSettings { consecutive_gateway: Some(3), ..QUIET });
    let (mut picker, ask) = (picker(), Ask { sticky: Some("m00001"), ..Ask::default() });
    let mut begins = |outcome: Option<Outcome>| {
        let mut lease = picker.pick(&pool, &ask, START).unwrap();
        lease.begin(&pool, START + secs(1));
        assert!(lease.is_open());
        let ejection = outcome.and_then(|outcome| lease.observe(&pool, outcome, START + secs(50)));
        assert_eq!(lease.is_open(), outcome.is_none());
        let nanos = lease.member().latency().nanos(START + secs(1), secs(10)).unwrap();
        assert!((nanos / 1e9 - 1.0).abs() < 0.01, "the time to the answer, not to its end");
        ejection.map(|ejection| ejection.detector)
    };
    assert_eq!([begins(Some(Outcome::Reset)), begins(Some(Outcome::TimedOut))], [None, None]);
    assert_eq!(begins(Some(Outcome::Answered)), None, "one that came to its end ends the row");
    assert_eq!([begins(Some(Outcome::Reset)), begins(None), begins(Some(Outcome::Reset))], [None; 3]);
    assert_eq!(begins(Some(Outcome::Reset)), Some(Detector::ConsecutiveGateway));
}
