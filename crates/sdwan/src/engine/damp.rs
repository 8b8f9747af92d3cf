//! When traffic changes its path, and why.
//!
//! Away from what fails at once; to what is merely better only when it is so by enough, and when the last change is long enough ago. A path that goes up and
//! down gathers a penalty that halves with time (RFC 2439), and is taken after others while it has much of it.

use std::time::Duration;

use outwork_engine::Time;

use super::site::PathId;

/// How reluctant to change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DampSettings {
    /// From one change to the next that no failure asks for.
    pub cooldown: Duration,
    /// By how many milliseconds of penalty another path has to be better,
    pub least: f32,
    /// and by which part.
    pub part: f32,
    /// After which time half of a penalty is left.
    pub half_life: Duration,
    /// Failures in short time that make a path one that flaps.
    pub suppress: f32,
    /// Below how many it is none any more.
    pub reuse: f32,
}

impl Default for DampSettings {
    fn default() -> Self {
        DampSettings {
            cooldown: Duration::from_secs(60),
            least: 10.0,
            part: 0.2,
            half_life: Duration::from_secs(120),
            suppress: 2.5,
            reuse: 1.0,
        }
    }
}

/// How often a path has failed lately.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flaps {
    failures: f32,
    at: Time,
    suppressed: bool,
}

impl Flaps {
    fn now(&self, now: Time, settings: &DampSettings) -> f32 {
        let lives = now.since(self.at).as_secs_f64() / settings.half_life.as_secs_f64().max(1e-3);
        self.failures * (-lives).exp2() as f32
    }

    /// It failed.
    pub fn failed(&mut self, now: Time, settings: &DampSettings) {
        // A bound, so that it is forgiven some time, however often it failed.
        self.failures = (self.now(now, settings) + 1.0).min(settings.suppress * 4.0);
        self.at = now;
        self.suppressed |= self.failures >= settings.suppress;
    }

    /// Whether it flaps.
    pub fn is_suppressed(&mut self, now: Time, settings: &DampSettings) -> bool {
        self.suppressed &= self.now(now, settings) > settings.reuse;
        self.suppressed
    }
}

/// How usable a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fitness {
    /// It carries and keeps the limits.
    Good,
    /// It carries.
    Poor,
    /// It has come back, and is on trial.
    Trial,
    /// It carries nothing as far as anybody knows, and may again at any moment: for when there is nothing else.
    Last,
    /// It carries nothing.
    Out,
}

/// Preferences that come before any figure, the more important first; lower is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    /// It flaps.
    pub flaps: bool,
    /// One end is a backup.
    pub backup: bool,
    /// A hub passes it on.
    pub relayed: bool,
    /// Its place in an ordered list.
    pub place: u8,
    /// Bytes are paid for.
    pub metered: bool,
}

/// A path that might be taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Which.
    pub path: PathId,
    /// Whether it will do.
    pub fitness: Fitness,
    /// Before any figure.
    pub tier: Tier,
    /// In milliseconds; lower is better.
    pub penalty: f32,
}

impl Candidate {
    /// The order of preference.
    pub fn compare(&self, other: &Candidate) -> std::cmp::Ordering {
        (self.fitness, self.tier)
            .cmp(&(other.fitness, other.tier))
            .then(self.penalty.total_cmp(&other.penalty))
            .then(self.path.cmp(&other.path))
    }
}

/// Why traffic changed its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// There was none.
    First,
    /// The old one went.
    Gone,
    /// The old one breaks the class's limits, and this one keeps them.
    Limits,
    /// This one comes first: it is no backup, no relay, earlier in an ordered list, not metered, or does not flap.
    Preferred,
    /// Its figures are better by enough.
    Better,
    /// No path works, and packets that have nowhere to go may as well try this one.
    Last,
    /// No path is left.
    NoneLeft,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::First => "there was none",
            Why::Gone => "the one before is gone",
            Why::Limits => "the one before breaks the limits of the class, and this one keeps them",
            Why::Preferred => "this one is preferred",
            Why::Better => "this one is better by enough",
            Why::Last => "no path works, and the last one that did is still tried",
            Why::NoneLeft => "no path is left",
        })
    }
}

/// The path that a lane to a site takes, and since when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seat {
    path: Option<PathId>,
    since: Time,
    /// It carries nothing, and is tried as there is no other.
    last: bool,
}

impl Seat {
    /// The path.
    pub fn path(&self) -> Option<PathId> {
        self.path
    }

    /// Chooses among candidates in their order of preference. The path before and why it changed, if it did; with [`Why::Last`] it may be the same.
    pub fn choose(&mut self, now: Time, order: &[Candidate], settings: &DampSettings) -> Option<(Option<PathId>, Why)> {
        let best = order.first().filter(|best| best.fitness < Fitness::Out);
        let current = order.iter().find(|one| Some(one.path) == self.path && one.fitness < Fitness::Out);
        let is_last = best.is_none_or(|best| best.fitness == Fitness::Last);
        let was_last = std::mem::replace(&mut self.last, is_last && best.is_some());
        let (to, why) = match (current, best) {
            (None, None) => (None, self.path.map(|_| Why::NoneLeft)?),
            (None, Some(best)) if is_last => (Some(best.path), Why::Last),
            (None, Some(best)) => (Some(best.path), if self.path.is_none() { Why::First } else { Why::Gone }),
            (Some(_), None) => return None,
            // Of what does not work none is better.
            (Some(current), Some(_)) if is_last => return (!was_last).then_some((Some(current.path), Why::Last)),
            (Some(current), Some(best)) => (Some(best.path), self.moves(now, current, best, settings)?),
        };
        let from = std::mem::replace(self, Seat { path: to, since: now, last: self.last }).path;
        Some((from, why))
    }

    fn moves(&self, now: Time, current: &Candidate, best: &Candidate, settings: &DampSettings) -> Option<Why> {
        if current.path == best.path {
            return None;
        }
        if best.fitness < current.fitness {
            return Some(if current.fitness >= Fitness::Trial { Why::Gone } else { Why::Limits });
        }
        if now.since(self.since) < settings.cooldown {
            return None;
        }
        if best.tier < current.tier {
            return Some(Why::Preferred);
        }
        let gain = current.penalty - best.penalty;
        (gain >= settings.least && gain >= settings.part * current.penalty).then_some(Why::Better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIER: Tier = Tier { flaps: false, backup: false, relayed: false, place: 0, metered: false };

    fn candidate(path: u32, fitness: Fitness, penalty: f32) -> Candidate {
        Candidate { path: PathId(path), fitness, tier: TIER, penalty }
    }

    fn choose(seat: &mut Seat, secs: u64, mut all: Vec<Candidate>) -> Option<(u32, Why)> {
        all.sort_by(Candidate::compare);
        let changed = seat.choose(Time::from_secs(secs), &all, &DampSettings::default());
        changed.map(|(_, why)| (seat.path.map_or(0, |path| path.0), why))
    }

    #[test]
    fn failure_moves_at_once_and_mere_improvement_waits_and_must_be_enough() {
        use Fitness::{Good, Out, Poor};
        let mut seat = Seat::default();
        assert_eq!(choose(&mut seat, 0, vec![candidate(1, Good, 50.0)]), Some((1, Why::First)));
        assert_eq!(choose(&mut seat, 59, vec![candidate(1, Good, 50.0), candidate(2, Good, 1.0)]), None, "cooldown");
        assert_eq!(choose(&mut seat, 61, vec![candidate(1, Good, 50.0), candidate(2, Good, 41.0)]), None, "too little");
        assert_eq!(
            choose(&mut seat, 62, vec![candidate(1, Good, 50.0), candidate(2, Good, 40.0)]),
            Some((2, Why::Better))
        );
        assert_eq!(
            choose(&mut seat, 63, vec![candidate(1, Good, 50.0), candidate(2, Poor, 1.0)]),
            Some((1, Why::Limits))
        );
        assert_eq!(choose(&mut seat, 64, vec![candidate(1, Out, 50.0), candidate(2, Poor, 1.0)]), Some((2, Why::Gone)));
        assert_eq!(
            choose(&mut seat, 65, vec![candidate(1, Out, 50.0), candidate(2, Out, 1.0)]),
            Some((0, Why::NoneLeft))
        );
        assert_eq!(choose(&mut seat, 66, vec![candidate(1, Out, 50.0)]), None);
    }

    #[test]
    fn of_paths_that_do_not_work_the_last_one_is_kept_and_that_is_said_once() {
        use Fitness::{Good, Last, Out};
        let mut seat = Seat::default();
        choose(&mut seat, 0, vec![candidate(1, Good, 50.0), candidate(2, Last, 1.0)]);
        let both = vec![candidate(1, Last, 50.0), candidate(2, Last, 1.0)];
        assert_eq!(choose(&mut seat, 100, both.clone()), Some((1, Why::Last)));
        assert_eq!(choose(&mut seat, 200, both), None, "neither is better");
        assert_eq!(
            choose(&mut seat, 201, vec![candidate(1, Out, 50.0), candidate(2, Last, 1.0)]),
            Some((2, Why::Last))
        );
        assert_eq!(
            choose(&mut seat, 202, vec![candidate(1, Good, 50.0), candidate(2, Last, 1.0)]),
            Some((1, Why::Gone))
        );
        assert_eq!(choose(&mut seat, 203, vec![candidate(1, Last, 50.0)]), Some((1, Why::Last)), "said again");
        assert_eq!(choose(&mut seat, 204, vec![candidate(1, Good, 50.0)]), None);
    }

    #[test]
    fn a_backup_is_left_for_a_path_that_is_none_after_the_cooldown() {
        let backup = Candidate { tier: Tier { backup: true, ..TIER }, ..candidate(1, Fitness::Good, 1.0) };
        let mut seat = Seat::default();
        choose(&mut seat, 0, vec![backup]);
        assert_eq!(choose(&mut seat, 30, vec![backup, candidate(2, Fitness::Good, 90.0)]), None);
        assert_eq!(choose(&mut seat, 60, vec![backup, candidate(2, Fitness::Good, 90.0)]), Some((2, Why::Preferred)));
    }

    #[test]
    fn what_flaps_is_suppressed_until_its_penalty_has_halved_often_enough() {
        let (mut flaps, settings) = (Flaps::default(), DampSettings::default());
        let mut failed = |secs| {
            flaps.failed(Time::from_secs(secs), &settings);
            flaps
        };
        assert!(!failed(0).is_suppressed(Time::from_secs(0), &settings));
        assert!(!failed(10).is_suppressed(Time::from_secs(10), &settings));
        assert!(failed(20).is_suppressed(Time::from_secs(20), &settings));
        assert!(flaps.is_suppressed(Time::from_secs(140), &settings));
        assert!(!flaps.is_suppressed(Time::from_secs(320), &settings), "three halves to a quarter and less");
    }
}
