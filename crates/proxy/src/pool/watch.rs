//! What is seen of members over time, to be shown: since when each is what it is, how much it gets, what ejected it, and what its last check found.
//!
//! Nothing is decided by it, so it need not be exact: the keeper looks a few times a second.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;
use outwork_balance::{Detector, MemberId, Row, Standing};
use outwork_engine::Time;

/// Looks are no closer to each other than this.
const PAUSE: Duration = Duration::from_millis(200);
/// What was counted this long ago has lost two thirds of its weight.
const MEMORY: Duration = Duration::from_secs(5);

/// Members, as they were last seen.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    sights: HashMap<MemberId, Sight, FixedState>,
    looked: Option<Time>,
}

/// What is seen of a member.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    standing: Option<(Standing, Time)>,
    requests: Rate,
    failures: Rate,
    ejected_by: Option<(Detector, Row)>,
    check: Option<Check>,
}

/// What a check has found.
#[derive(Debug, Clone)]
pub(crate) struct Check {
    /// When it ended.
    pub(crate) at: Time,
    /// How long it took.
    pub(crate) took: Duration,
    /// What is wrong with the member, if something is.
    pub(crate) problem: Option<String>,
}

/// What a look finds of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) id: MemberId,
    pub(crate) standing: Standing,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Those that it failed.
    pub(crate) failures: u64,
}

impl Watch {
    /// Takes in what all members are now. Who is not among them is forgotten.
    pub(crate) fn look(&mut self, members: impl Iterator<Item = Glance>, now: Time) {
        if self.looked.is_some_and(|looked| now.since(looked) < PAUSE) {
            return;
        }
        self.looked = Some(now);
        let mut before = std::mem::take(&mut self.sights);
        self.sights = members
            .map(|seen| {
                let mut sight = before.remove(&seen.id).unwrap_or_default();
                if sight.standing.is_none_or(|(standing, _)| standing != seen.standing) {
                    sight.standing = Some((seen.standing, now));
                }
                sight.requests.count(seen.requests, now);
                sight.failures.count(seen.failures, now);
                (seen.id, sight)
            })
            .collect();
    }

    /// What is seen of a member.
    pub(crate) fn of(&self, id: MemberId) -> Option<&Sight> {
        self.sights.get(&id)
    }

    /// A member was ejected: by requests that it failed, or by hand.
    pub(crate) fn ejected(&mut self, id: MemberId, by: Option<(Detector, Row)>) {
        self.sights.entry(id).or_default().ejected_by = by;
    }

    /// Whether somebody has left the member out, and not what it failed.
    pub(crate) fn is_by_hand(&self, id: MemberId) -> bool {
        self.of(id).is_none_or(|sight| sight.ejected_by().is_none())
    }

    /// A member was checked.
    pub(crate) fn checked(&mut self, id: MemberId, check: Check) {
        self.sights.entry(id).or_default().check = Some(check);
    }

    /// Nobody is checked any more.
    pub(crate) fn unchecked(&mut self) {
        self.sights.values_mut().for_each(|sight| sight.check = None);
    }
}

impl Sight {
    /// How long it has been this; nothing where it was seen as something else.
    pub(crate) fn lasts(&self, standing: Standing, now: Time) -> Duration {
        self.standing.filter(|(seen, _)| *seen == standing).map_or(Duration::ZERO, |(_, since)| now.since(since))
    }

    /// Requests a second, and those that it fails.
    pub(crate) fn rates(&self) -> (f64, f64) {
        (self.requests.a_second(), self.failures.a_second())
    }

    /// What saw it fail, when it was last ejected; `None` where that was done by hand.
    pub(crate) fn ejected_by(&self) -> Option<Detector> {
        self.ejected_by.map(|(detector, _)| detector)
    }

    /// The same in words.
    pub(crate) fn why_ejected(&self) -> Option<String> {
        self.ejected_by.map(|(detector, row)| why(detector, row))
    }

    /// Its last check.
    pub(crate) fn check(&self) -> Option<&Check> {
        self.check.as_ref()
    }
}

/// What a member was ejected for, in words.
pub(crate) fn why(detector: Detector, Row { failures, answers }: Row) -> String {
    let in_a_row = |count: u32| match count {
        1 => "once".to_owned(),
        count => format!("{count} times in a row"),
    };
    match (detector, failures.saturating_sub(answers)) {
        (Detector::Consecutive5xx, _) => format!("failed {}", in_a_row(failures)),
        (Detector::ConsecutiveGateway, 0) => format!("answered 502, 503 or 504 {}", in_a_row(answers)),
        (Detector::ConsecutiveGateway, silent) if answers == 0 => format!("gave no answer {}", in_a_row(silent)),
        (Detector::ConsecutiveGateway, silent) => {
            let all = in_a_row(failures);
            format!("failed {all}: answered 502, 503 or 504 to {answers} of them, and gave no answer to {silent}")
        }
        (Detector::SuccessRate, _) => "fails far more than the others".to_owned(),
        (Detector::FailurePercentage, _) => "fails too large a part of its requests".to_owned(),
    }
}

/// How fast a count grows: a moving average.
#[derive(Debug, Default)]
struct Rate {
    last: Option<(Time, u64)>,
    average: Option<f64>,
}

impl Rate {
    fn count(&mut self, total: u64, now: Time) {
        let before = self.last.replace((now, total));
        let Some((then, counted)) = before else { return };
        let elapsed = now.since(then).as_secs_f64();
        if elapsed == 0.0 {
            self.last = before;
            return;
        }
        // A count that went back began anew.
        let grown = if total >= counted { total - counted } else { total };
        let fresh = grown as f64 / elapsed;
        let kept = (-elapsed / MEMORY.as_secs_f64()).exp();
        self.average = Some(self.average.map_or(fresh, |average| average * kept + fresh * (1.0 - kept)));
    }

    fn a_second(&self) -> f64 {
        // What is left after a minute without any is none.
        self.average.filter(|average| *average >= 1e-3).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: MemberId = MemberId(1);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn glance(standing: Standing, requests: u64) -> Glance {
        Glance { id: ONE, standing, requests, failures: 0 }
    }

    #[test]
    fn a_member_is_what_it_is_since_it_was_first_seen_so() {
        let mut watch = Watch::default();
        for (millis, standing) in
            [(1000, Standing::Usable), (3000, Standing::Usable), (4000, Standing::Ejected), (9000, Standing::Ejected)]
        {
            watch.look([glance(standing, 0)].into_iter(), at(millis));
        }
        let sight = watch.of(ONE).unwrap();
        assert_eq!(sight.lasts(Standing::Ejected, at(9500)), Duration::from_millis(5500));
        assert_eq!(sight.lasts(Standing::Usable, at(9500)), Duration::ZERO, "it became that since the last look");
    }

    #[test]
    fn a_rate_follows_what_is_counted_and_is_forgotten_in_seconds() {
        let mut watch = Watch::default();
        let rate = |watch: &Watch| watch.of(ONE).unwrap().rates().0;
        watch.look([glance(Standing::Usable, 500)].into_iter(), at(0));
        assert_eq!(rate(&watch), 0.0, "what was counted before the first look was counted whenever");
        for second in 1..=30 {
            watch.look([glance(Standing::Usable, 500 + 20 * second)].into_iter(), at(1000 * second));
        }
        assert!((rate(&watch) - 20.0).abs() < 1e-6, "{}", rate(&watch));
        watch.look([glance(Standing::Usable, 1100)].into_iter(), at(35_000));
        assert!((rate(&watch) - 20.0 / std::f64::consts::E).abs() < 0.1, "{}", rate(&watch));
        watch.look([glance(Standing::Usable, 1100)].into_iter(), at(120_000));
        assert_eq!(rate(&watch), 0.0);
    }

    #[test]
    fn looks_that_are_close_together_are_one_and_who_is_gone_is_forgotten() {
        let mut watch = Watch::default();
        watch.look([glance(Standing::Usable, 0)].into_iter(), at(1000));
        watch.look([].into_iter(), at(1100));
        assert!(watch.of(ONE).is_some());
        watch.look([].into_iter(), at(1300));
        assert!(watch.of(ONE).is_none());
    }

    #[test]
    fn what_a_check_has_found_and_who_has_ejected_it_stays_until_it_is_replaced() {
        let mut watch = Watch::default();
        watch.checked(ONE, Check { at: at(5), took: Duration::ZERO, problem: Some("it answers 503".to_owned()) });
        watch.ejected(ONE, Some((Detector::Consecutive5xx, Row { failures: 5, answers: 0 })));
        watch.look([glance(Standing::Unhealthy, 0)].into_iter(), at(1000));
        let sight = watch.of(ONE).unwrap();
        assert_eq!(sight.check().and_then(|check| check.problem.as_deref()), Some("it answers 503"));
        assert_eq!(sight.ejected_by(), Some(Detector::Consecutive5xx));
        assert_eq!(sight.why_ejected().as_deref(), Some("failed 5 times in a row"));
        watch.ejected(ONE, None);
        watch.unchecked();
        let sight = watch.of(ONE).unwrap();
        assert!(sight.check().is_none() && sight.ejected_by().is_none());
    }

    #[test]
    fn who_answered_that_others_do_not_is_told_apart_from_who_said_nothing() {
        let told = |failures, answers| why(Detector::ConsecutiveGateway, Row { failures, answers });
        assert_eq!(told(5, 5), "answered 502, 503 or 504 5 times in a row");
        assert_eq!(told(5, 0), "gave no answer 5 times in a row");
        assert_eq!(told(1, 0), "gave no answer once");
        let mixed = told(5, 2);
        assert_eq!(mixed, "failed 5 times in a row: answered 502, 503 or 504 to 2 of them, and gave no answer to 3");
    }
}
