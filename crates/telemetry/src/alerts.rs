//! Alerts: conditions that hold now, from findings made again and again. None flaps: it starts when it has held for a
//! while, and ends when it has been gone for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use crate::family::{Collect, Desc, Family, Kind, Sample, Unit, Value};

/// How bad a condition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Someone should look at it; clients are served.
    Warning,
    /// Clients are not served, or soon will not be.
    Critical,
}

/// What one look says of one condition. A condition that a look says nothing of does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which condition.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it holds: `false` where it is so near that an alert of it goes on, but none starts.
    pub holds: bool,
    /// How long it has to hold before it is an alert.
    pub patience: Duration,
    /// What is the matter, with figures.
    pub what: String,
    /// What to do about it.
    pub advice: String,
    /// The settings that bear on it.
    pub settings: &'static [&'static str],
}

/// A condition that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Which condition.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Since when it is an alert.
    pub since: SystemTime,
    /// What is the matter, with figures, as of the last look; what was, while it has been gone for too short to end.
    pub what: String,
    /// What to do about it.
    pub advice: String,
    /// The settings that bear on it.
    pub settings: &'static [&'static str],
}

/// An alert that starts or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// It starts.
    Started(Alert),
    /// It ends, after so long.
    Ended(Alert, Duration),
}

/// What is known of one condition.
#[derive(Debug)]
enum State {
    /// It holds since then, not for long enough yet.
    Pending(Instant),
    /// It is an alert, since then; gone since the other moment, not for long enough yet.
    Active { alert: Alert, started: Instant, gone: Option<Instant> },
}

/// Every condition that holds. Collects as the gauge `outwork_alerts`, 0 or 1 for each that there is.
#[derive(Debug)]
pub struct Alerts {
    known: &'static [&'static str],
    states: Mutex<BTreeMap<&'static str, State>>,
}

impl Alerts {
    /// No alerts, of these conditions.
    pub fn new(known: &'static [&'static str]) -> Self {
        Self { known, states: Mutex::default() }
    }

    /// Those that hold, the worst first.
    pub fn active(&self) -> Vec<Alert> {
        let states = self.states.lock();
        let mut active: Vec<_> = states.values().filter_map(State::alert).cloned().collect();
        active.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.since.cmp(&b.since)));
        active
    }

    /// Takes what a look has found. An alert ends when its condition has been gone for `hold`.
    pub fn observe(&self, now: Instant, at: SystemTime, hold: Duration, findings: Vec<Finding>) -> Vec<Transition> {
        let mut states = self.states.lock();
        let mut transitions = Vec::new();
        let found: Vec<_> = findings.iter().map(|finding| finding.id).collect();
        for finding in findings {
            let state = states.remove(finding.id);
            if let Some(state) = State::next(state, finding, now, at, &mut transitions) {
                states.insert(state.0, state.1);
            }
        }
        states.retain(|id, state| match state {
            _ if found.contains(id) => true,
            State::Pending(_) => false,
            State::Active { alert, started, gone } => {
                // Its figures are old from now on.
                let since = *gone.get_or_insert_with(|| {
                    alert.what.insert_str(0, "until a moment ago: ");
                    now
                });
                let over = now.saturating_duration_since(since) >= hold;
                if over {
                    transitions.push(Transition::Ended(alert.clone(), now.saturating_duration_since(*started)));
                }
                !over
            }
        });
        transitions
    }
}

impl State {
    fn alert(&self) -> Option<&Alert> {
        match self {
            Self::Pending(_) => None,
            Self::Active { alert, .. } => Some(alert),
        }
    }

    fn next(
        before: Option<Self>,
        finding: Finding,
        now: Instant,
        at: SystemTime,
        transitions: &mut Vec<Transition>,
    ) -> Option<(&'static str, Self)> {
        let Finding { id, severity, holds, patience, what, advice, settings } = finding;
        let since = match before {
            Some(Self::Active { alert, started, .. }) => {
                let alert = Alert { severity, what, advice, settings, ..alert };
                return Some((id, Self::Active { alert, started, gone: None }));
            }
            _ if !holds => return None,
            Some(Self::Pending(since)) => since,
            None => now,
        };
        if now.saturating_duration_since(since) < patience {
            return Some((id, Self::Pending(since)));
        }
        let alert = Alert { id, severity, since: at, what, advice, settings };
        transitions.push(Transition::Started(alert.clone()));
        Some((id, Self::Active { alert, started: now, gone: None }))
    }
}

impl Collect for Alerts {
    fn collect(&self, families: &mut Vec<Family>) {
        let states = self.states.lock();
        let sample = |id: &&'static str| {
            let active = states.get(id).and_then(State::alert).is_some();
            Sample { labels: vec![("alert", (*id).into())], value: Value::Number(f64::from(u8::from(active))) }
        };
        let help = "Conditions that hold now: 1, else 0.";
        let desc = Desc { name: "outwork_alerts", help, kind: Kind::Gauge, unit: Unit::None, history: true };
        families.push(Family { desc, samples: self.known.iter().map(sample).collect(), overflow: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(30);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u64) -> (Instant, SystemTime) {
            (self.0 + Duration::from_secs(seconds), SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        }
    }

    fn finding(holds: bool, patience: u64, what: &str) -> Finding {
        Finding {
            id: "slow",
            severity: Severity::Warning,
            holds,
            patience: Duration::from_secs(patience),
            what: what.to_owned(),
            advice: String::new(),
            settings: &["a.b"],
        }
    }

    fn started(transitions: &[Transition]) -> usize {
        transitions.iter().filter(|transition| matches!(transition, Transition::Started(_))).count()
    }

    #[test]
    fn an_alert_starts_when_its_condition_has_held_for_long_enough_and_not_before() {
        let (alerts, clock) = (Alerts::new(&["slow"]), Clock(Instant::now()));
        let look = |seconds, findings| {
            let (now, at) = clock.at(seconds);
            alerts.observe(now, at, HOLD, findings)
        };
        assert!(look(0, vec![finding(true, 10, "x")]).is_empty());
        assert!(look(5, vec![]).is_empty());
        assert!(look(10, vec![finding(true, 10, "x")]).is_empty(), "it was gone in between");
        assert!(look(15, vec![finding(false, 10, "x")]).is_empty());
        assert!(look(20, vec![finding(true, 10, "x")]).is_empty(), "it was only near in between");
        assert_eq!(started(&look(30, vec![finding(true, 10, "x")])), 1);
        assert_eq!(alerts.active()[0].since, clock.at(30).1);
        assert_eq!(started(&look(35, vec![finding(true, 10, "y")])), 0, "it goes on");
        assert_eq!((alerts.active()[0].what.as_str(), alerts.active()[0].since), ("y", clock.at(30).1));
    }

    #[test]
    fn an_alert_does_not_flap_around_its_threshold() {
        let (alerts, clock) = (Alerts::new(&["slow"]), Clock(Instant::now()));
        let mut transitions = Vec::new();
        for seconds in 0..200 {
            let (now, at) = clock.at(seconds);
            let findings = match seconds % 10 {
                0 => vec![finding(true, 0, "over")],
                1..=4 => vec![finding(false, 0, "near")],
                _ => vec![],
            };
            transitions.extend(alerts.observe(now, at, HOLD, findings));
        }
        assert_eq!((transitions.len(), started(&transitions)), (1, 1), "{transitions:?}");
        assert_eq!(alerts.active()[0].what, "until a moment ago: near", "it is told as what was");
        let (now, at) = clock.at(193 + HOLD.as_secs());
        assert!(alerts.observe(now, at, HOLD, vec![]).is_empty(), "gone since 195 only");
        let (now, at) = clock.at(195 + HOLD.as_secs());
        let ended = alerts.observe(now, at, HOLD, vec![]);
        assert!(matches!(&ended[..], [Transition::Ended(_, lasted)] if lasted.as_secs() == 225), "{ended:?}");
        assert!(alerts.active().is_empty());
    }

    #[test]
    fn every_condition_there_is_has_a_gauge_and_the_worst_comes_first() {
        let (alerts, clock) = (Alerts::new(&["down", "slow", "fine"]), Clock(Instant::now()));
        let (now, at) = clock.at(0);
        alerts.observe(now, at, HOLD, vec![finding(true, 0, "x")]);
        let worse = Finding { id: "down", severity: Severity::Critical, ..finding(true, 0, "x") };
        let (now, at) = clock.at(1);
        alerts.observe(now, at, HOLD, vec![finding(true, 0, "x"), worse]);
        let ids: Vec<_> = alerts.active().iter().map(|alert| alert.id).collect();
        assert_eq!(ids, ["down", "slow"]);
        let mut families = Vec::new();
        alerts.collect(&mut families);
        let values: Vec<_> = families[0].samples.iter().map(|sample| sample.value.clone()).collect();
        assert_eq!(values, [1.0, 1.0, 0.0].map(Value::Number));
    }
}
