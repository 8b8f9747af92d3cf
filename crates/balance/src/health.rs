//! Active checks of one member: when the next one is due, and what its result means.
//!
//! The owner performs: it asks [`Checker::poll`] what is to be done, makes the check, tells [`Checker::result`], and hands a change on to
//! [`crate::Member::set_health`]. One check is under way at a time.

use std::time::Duration;

use outwork_engine::{Rng, Time};

use crate::member::Health;

/// How a member is checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckSettings {
    /// From the beginning of a check to that of the next.
    pub interval: Duration,
    /// The same while results contradict what the member is taken to be.
    pub fast_interval: Duration,
    /// When a check that has no result has failed.
    pub timeout: Duration,
    /// Good results in a row that make an unhealthy member healthy.
    pub rise: u32,
    /// Bad results in a row that make a healthy member unhealthy.
    pub fall: u32,
    /// By which part of an interval it may be shorter or longer, so that checks do not come in step: 0.1 is a tenth.
    pub jitter: f64,
}

impl Default for CheckSettings {
    fn default() -> Self {
        CheckSettings {
            interval: Duration::from_secs(5),
            fast_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            jitter: 0.1,
        }
    }
}

impl CheckSettings {
    fn jittered(&self, interval: Duration, rng: &mut Rng) -> Duration {
        let jitter = self.jitter.clamp(0.0, 1.0);
        // Below a millisecond there is no interval, only a flood.
        interval.mul_f64(1.0 + jitter * (2.0 * rng.unit() - 1.0)).max(Duration::from_millis(1))
    }
}

/// Which check a result is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this instant.
    Wait(Time),
    /// A check. Without a result before `deadline` it has failed.
    Begin {
        /// To be given back with the result.
        ticket: Ticket,
        /// When to call [`Checker::poll`] again if there is no result.
        deadline: Time,
    },
    /// The check that was under way took too long. With what the member is to be taken for from now on, if that has changed. Call again.
    Expired(Option<Health>),
}

/// The checks of one member.
#[derive(Debug, Clone)]
pub struct Checker {
    settings: CheckSettings,
    health: Health,
    /// Results in a row that contradict `health`.
    against: u32,
    due: Time,
    under_way: Option<UnderWay>,
    tickets: u64,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    ticket: Ticket,
    begun: Time,
    deadline: Time,
}

impl Checker {
    /// The checks of a member of which `health` is known. The first one is due within a fast interval, not all members' at once.
    pub fn new(settings: CheckSettings, health: Health, now: Time, rng: &mut Rng) -> Checker {
        let due = now + settings.fast_interval.min(settings.interval).mul_f64(rng.unit());
        Checker { settings, health, against: 0, due, under_way: None, tickets: 0 }
    }

    /// What the member is taken to be.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Goes on with other settings. What is known, and a check that is under way, stay; the next one comes no later than these say.
    pub fn set_settings(&mut self, settings: CheckSettings, now: Time) {
        self.settings = settings;
        self.due = self.due.min(now + settings.interval);
    }

    /// What is to be done now.
    pub fn poll(&mut self, now: Time, rng: &mut Rng) -> Step {
        match self.under_way {
            Some(check) if now < check.deadline => Step::Wait(check.deadline),
            Some(check) => Step::Expired(self.result(check.ticket, false, now, rng)),
            None if now < self.due => Step::Wait(self.due),
            None => {
                self.tickets += 1;
                let check =
                    UnderWay { ticket: Ticket(self.tickets), begun: now, deadline: now + self.settings.timeout };
                self.under_way = Some(check);
                Step::Begin { ticket: check.ticket, deadline: check.deadline }
            }
        }
    }

    /// Takes in the result of a check. What the member is to be taken for from now on, if that has changed. The result of a check that is not under
    /// way any more says nothing.
    pub fn result(&mut self, ticket: Ticket, passed: bool, now: Time, rng: &mut Rng) -> Option<Health> {
        let check = self.under_way.filter(|check| check.ticket == ticket)?;
        self.under_way = None;
        let found = if passed { Health::Healthy } else { Health::Unhealthy };
        self.against = if found == self.health { 0 } else { self.against + 1 };
        let needed = match (self.health, found) {
            (Health::Unknown, _) => 1,
            (_, Health::Healthy) => self.settings.rise,
            _ => self.settings.fall,
        };
        let changed = found != self.health && self.against >= needed;
        if changed {
            (self.health, self.against) = (found, 0);
        }
        let interval = if self.against > 0 { self.settings.fast_interval } else { self.settings.interval };
        self.due = now.max(check.begun + self.settings.jittered(interval, rng));
        changed.then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outwork_engine::sim;

    const SETTINGS: CheckSettings = CheckSettings {
        interval: Duration::from_secs(10),
        fast_interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        rise: 2,
        fall: 3,
        jitter: 0.0,
    };

    /// Waits until a check is due, and begins it.
    fn begin(checker: &mut Checker, now: &mut Time, rng: &mut Rng) -> Ticket {
        loop {
            match checker.poll(*now, rng) {
                Step::Wait(until) => *now = until,
                Step::Begin { ticket, .. } => return ticket,
                Step::Expired(_) => panic!("nothing is under way"),
            }
        }
    }

    /// The changes that these results bring, and the seconds from each check to the next.
    fn run(health: Health, results: &[bool]) -> (Vec<Option<Health>>, Vec<u64>) {
        let (mut rng, mut now) = (Rng::new(1), Time::from_secs(100));
        let mut checker = Checker::new(SETTINGS, health, now, &mut rng);
        let (mut changes, mut begins) = (vec![], vec![]);
        for passed in results {
            let ticket = begin(&mut checker, &mut now, &mut rng);
            begins.push(now);
            now += Duration::from_millis(5);
            changes.push(checker.result(ticket, *passed, now, &mut rng));
        }
        (changes, begins.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect())
    }

    #[test]
    fn the_first_check_decides_at_once() {
        assert_eq!(run(Health::Unknown, &[true]).0, [Some(Health::Healthy)]);
        assert_eq!(run(Health::Unknown, &[false]).0, [Some(Health::Unhealthy)]);
        let (mut rng, now) = (Rng::new(1), Time::from_secs(100));
        let mut checker = Checker::new(SETTINGS, Health::Unknown, now, &mut rng);
        assert!(matches!(checker.poll(now + SETTINGS.fast_interval, &mut rng), Step::Begin { .. }), "it comes soon");
    }

    #[test]
    fn it_takes_rise_good_ones_in_a_row_to_come_up_and_fall_bad_ones_to_go_down() {
        let (up, down) = (Some(Health::Healthy), Some(Health::Unhealthy));
        assert_eq!(
            run(Health::Healthy, &[false, false, true, false, false, false]).0,
            [None, None, None, None, None, down]
        );
        assert_eq!(run(Health::Unhealthy, &[true, false, true, true, true]).0, [None, None, None, up, None]);
    }

    #[test]
    fn checks_come_faster_while_results_contradict_what_is_known() {
        assert_eq!(run(Health::Healthy, &[true, true, false, false, false, false]).1, [10, 10, 1, 1, 10]);
        assert_eq!(run(Health::Unhealthy, &[false, true, true, true]).1, [10, 1, 10]);
    }

    #[test]
    fn a_check_without_a_result_fails_at_its_deadline_and_its_late_result_says_nothing() {
        let (mut rng, mut now) = (Rng::new(1), Time::from_secs(100));
        let mut checker = Checker::new(SETTINGS, Health::Unknown, now, &mut rng);
        let ticket = begin(&mut checker, &mut now, &mut rng);
        let deadline = now + SETTINGS.timeout;
        assert_eq!(checker.poll(now + Duration::from_secs(1), &mut rng), Step::Wait(deadline));
        assert_eq!(checker.poll(deadline, &mut rng), Step::Expired(Some(Health::Unhealthy)));
        assert_eq!(checker.result(ticket, true, deadline, &mut rng), None);
        assert_eq!(checker.health(), Health::Unhealthy);
    }

    #[test]
    fn other_settings_keep_what_is_known_and_hold_from_the_next_check() {
        let (mut rng, mut now) = (Rng::new(1), Time::from_secs(100));
        let mut checker = Checker::new(SETTINGS, Health::Unknown, now, &mut rng);
        let ticket = begin(&mut checker, &mut now, &mut rng);
        checker.result(ticket, true, now, &mut rng);
        checker.set_settings(CheckSettings { interval: Duration::from_secs(3), ..SETTINGS }, now);
        assert_eq!(checker.health(), Health::Healthy);
        assert_eq!(checker.poll(now, &mut rng), Step::Wait(now + Duration::from_secs(3)));
    }

    #[test]
    fn the_checks_of_many_members_are_spread_and_jitter_has_its_bounds() {
        sim::seeds(200, |rng| {
            let settings = CheckSettings { jitter: 0.2, ..SETTINGS };
            let mut now = Time::from_secs(rng.below(1000));
            let start = now;
            let mut checker = Checker::new(settings, Health::Healthy, now, rng);
            let mut last = None;
            for _ in 0..20 {
                let ticket = begin(&mut checker, &mut now, rng);
                match last.replace(now) {
                    Some(before) => {
                        let gap = now.since(before).as_secs_f64();
                        assert!((8.0..=12.0).contains(&gap), "{gap}");
                    }
                    None => assert!(now.since(start) <= settings.fast_interval),
                }
                checker.result(ticket, true, now, rng);
            }
        });
    }

    #[test]
    fn health_is_the_reference_models_whatever_results_come() {
        sim::seeds(300, |rng| {
            let settings = CheckSettings { rise: 1 + rng.below(4) as u32, fall: 1 + rng.below(4) as u32, ..SETTINGS };
            let mut now = Time::ZERO;
            let mut checker = Checker::new(settings, Health::Unknown, now, rng);
            // The model: all results so far, of which the last ones decide.
            let (mut results, mut health) = (vec![], Health::Unknown);
            for _ in 0..60 {
                let ticket = begin(&mut checker, &mut now, rng);
                let passed = rng.chance(0.5);
                results.push(passed);
                let ends_with = |count: u32, value| {
                    results.len() >= count as usize
                        && results.iter().rev().take(count as usize).all(|one| *one == value)
                };
                health = match health {
                    Health::Unknown if passed => Health::Healthy,
                    Health::Unknown => Health::Unhealthy,
                    Health::Unhealthy if ends_with(settings.rise, true) => Health::Healthy,
                    Health::Healthy if ends_with(settings.fall, false) => Health::Unhealthy,
                    other => other,
                };
                checker.result(ticket, passed, now, rng);
                assert_eq!(checker.health(), health);
            }
        });
    }
}
