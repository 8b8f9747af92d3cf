//! What kinds of traffic need of a path.

use std::time::Duration;

use outwork_engine::Time;

use super::quality::Figures;

/// A class, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub u8);

/// As many as are kept account of for each path.
pub const CLASSES: usize = 16;

/// Limits that a path has to keep. None is no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// One way: half of the round trip.
    pub latency: Option<Duration>,
    /// As in RFC 3550.
    pub jitter: Option<Duration>,
    /// From 0 to 1.
    pub loss: Option<f64>,
}

impl Class {
    /// Calls (ITU-T G.114: 150 ms).
    pub const VOICE: Class = Class::of(150, 30, 0.01);
    /// Meetings with pictures.
    pub const VIDEO: Class = Class::of(200, 50, 0.01);
    /// What somebody waits for.
    pub const TRANSACTIONAL: Class = Class::of(250, 100, 0.03);
    /// What nobody waits for.
    pub const BULK: Class = Class { latency: None, jitter: None, loss: Some(0.1) };

    const fn of(latency: u64, jitter: u64, loss: f64) -> Class {
        let (latency, jitter) = (Duration::from_millis(latency), Duration::from_millis(jitter));
        Class { latency: Some(latency), jitter: Some(jitter), loss: Some(loss) }
    }

    /// Whether `figures` keep all limits, each taken `factor` times.
    fn keeps(&self, figures: &Figures, factor: f64) -> bool {
        let time = |limit: Option<Duration>, value| limit.is_none_or(|limit| value <= limit.mul_f64(factor));
        time(self.latency, figures.latency)
            && time(self.jitter, figures.jitter)
            && self.loss.is_none_or(|limit| figures.loss <= limit * factor)
    }

    /// What a path costs a flow, in milliseconds: a percent that is lost costs twenty.
    pub fn penalty(&self, figures: &Figures) -> f32 {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        (millis(figures.latency) + 2.0 * millis(figures.jitter) + figures.loss * 2000.0) as f32
    }
}

/// How fast a verdict changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerdictSettings {
    /// How long limits have to be broken.
    pub bad_after: Duration,
    /// The same, where so much is lost just now that it is no chance.
    pub proven_after: Duration,
    /// How long they have to be kept again.
    pub good_after: Duration,
    /// Which part of each limit has to be kept for that: 0.9 leaves a tenth.
    pub margin: f64,
}

impl Default for VerdictSettings {
    fn default() -> Self {
        VerdictSettings {
            bad_after: Duration::from_millis(200),
            proven_after: Duration::from_millis(50),
            good_after: Duration::from_secs(10),
            margin: 0.9,
        }
    }
}

/// Whether a path keeps a class's limits: fast to say no, slow to say yes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    broken: bool,
    /// Since when figures contradict it; [`Time::MAX`] where they do not. (There is one of these for each path and class.)
    against: Time,
}

impl Default for Verdict {
    fn default() -> Self {
        Verdict { broken: false, against: Time::MAX }
    }
}

impl Verdict {
    /// Whether the limits are kept.
    pub fn is_kept(&self) -> bool {
        !self.broken
    }

    /// Takes in figures, and which part is lost just now for certain. Whether the verdict has changed.
    pub fn judge(
        &mut self,
        now: Time,
        class: &Class,
        (figures, recent): (&Figures, f64),
        settings: &VerdictSettings,
    ) -> bool {
        let proven = class.loss.is_some_and(|limit| recent > limit);
        let kept = class.keeps(figures, if self.broken { settings.margin } else { 1.0 }) && !proven;
        if kept != self.broken {
            self.against = Time::MAX;
            return false;
        }
        let since = self.against.min(now);
        self.against = since;
        let needed = match (self.broken, proven) {
            (true, _) => settings.good_after,
            (false, true) => settings.proven_after,
            (false, false) => settings.bad_after,
        };
        if now.since(since) < needed {
            return false;
        }
        *self = Verdict { broken: !self.broken, against: Time::MAX };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Figures = Figures { latency: Duration::from_millis(20), jitter: Duration::from_millis(1), loss: 0.0 };
    const BAD: Figures = Figures { loss: 0.3, ..GOOD };
    /// Within the limit, but not by a tenth.
    const EDGE: Figures = Figures { latency: Duration::from_millis(149), ..GOOD };

    #[test]
    fn a_class_is_broken_fast_and_kept_again_slowly() {
        let settings = VerdictSettings::default();
        let mut verdict = Verdict::default();
        let mut judge =
            |millis, figures| verdict.judge(Time::from_millis(millis), &Class::VOICE, (&figures, 0.0), &settings);
        assert!(!judge(0, GOOD) && !judge(100, BAD));
        assert!(!judge(150, GOOD) && !judge(200, BAD), "one good moment begins it again");
        assert!(!judge(399, BAD) && judge(400, BAD));
        assert!(!judge(1000, GOOD) && !judge(9000, EDGE), "not by enough");
        assert!(!judge(9100, GOOD) && !judge(19_099, GOOD) && judge(19_100, GOOD));
    }

    #[test]
    fn what_is_lost_for_certain_breaks_a_class_sooner_but_not_by_one_look() {
        let settings = VerdictSettings::default();
        let mut verdict = Verdict::default();
        let mut judge = |millis, recent| {
            let now = Time::from_millis(millis);
            verdict.judge(now, &Class::BULK, (&GOOD, recent), &settings)
        };
        assert!(!judge(0, 0.2) && !judge(40, 0.2) && judge(50, 0.2));
        let mut other = Verdict::default();
        let mut judge = |millis, recent| {
            let now = Time::from_millis(millis);
            other.judge(now, &Class::BULK, (&GOOD, recent), &settings)
        };
        assert!(!judge(0, 0.2) && !judge(40, 0.09) && !judge(60, 0.2) && !judge(100, 0.2));
    }

    #[test]
    fn what_has_no_limit_keeps_it() {
        let slow = Figures { latency: Duration::from_secs(9), ..GOOD };
        assert!(Class::BULK.keeps(&slow, 1.0) && !Class::BULK.keeps(&BAD, 1.0) && !Class::VOICE.keeps(&slow, 1.0));
        assert!(Class::VOICE.penalty(&BAD) > Class::VOICE.penalty(&EDGE));
    }
}
