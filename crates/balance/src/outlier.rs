//! Passive health checks: who fails more than the others is ejected for a while (Envoy's outlier detection).
//!
//! Failures in a row eject at once, from the worker that saw the last of them. Rates are compared by [`Pool::sweep`](crate::Pool::sweep), which one control
//! thread calls every [`OutlierSettings::interval`].

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use outwork_engine::Time;

use crate::lease::Outcome;
use crate::member::Member;
use crate::pool::Pool;

/// When a member is ejected. `None` is never.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierSettings {
    /// After so many failures in a row, of any kind.
    pub consecutive_5xx: Option<u32>,
    /// After so many in a row that say that nobody answered: 502, 503, 504, no connection, a timeout, a reset, be it
    /// within an answer that has begun well.
    pub consecutive_gateway: Option<u32>,
    /// When its part of successes is far below that of the others.
    pub success_rate: Option<SuccessRate>,
    /// When too much of what it is asked fails.
    pub failure_percentage: Option<FailurePercentage>,
    /// How often rates are compared.
    pub interval: Duration,
    /// How long an ejection lasts, times the ejections that were not forgotten. One is forgotten every interval that a member is in.
    pub base_ejection: Duration,
    /// How long an ejection lasts at most.
    pub max_ejection: Duration,
    /// How many of the members may be ejected at once, in percent. One may, unless this is 0.
    pub max_ejected_percent: u32,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        OutlierSettings {
            consecutive_5xx: Some(5),
            consecutive_gateway: Some(5),
            success_rate: Some(SuccessRate { members: 5, volume: 100, factor: 1.9 }),
            failure_percentage: None,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 10,
        }
    }
}

/// Ejects who succeeds less often than the mean of the members minus `factor` standard deviations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SuccessRate {
    /// Only where at least so many members have the volume.
    pub members: usize,
    /// Only members with at least so many answers in the interval.
    pub volume: u32,
    /// How many standard deviations.
    pub factor: f64,
}

/// Ejects who fails at least `threshold` percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailurePercentage {
    /// In percent.
    pub threshold: u32,
    /// Only where at least so many members have the volume.
    pub members: usize,
    /// Only members with at least so many answers in the interval.
    pub volume: u32,
}

/// What ejected a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Detector {
    /// Failures in a row.
    Consecutive5xx,
    /// Failures to answer in a row.
    ConsecutiveGateway,
    /// A success rate far below the others'.
    SuccessRate,
    /// Too many failures.
    FailurePercentage,
}

impl Detector {
    /// All of them.
    pub const ALL: [Detector; 4] =
        [Detector::Consecutive5xx, Detector::ConsecutiveGateway, Detector::SuccessRate, Detector::FailurePercentage];
}

/// A member was ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Its key.
    pub key: String,
    /// Why.
    pub detector: Detector,
    /// The failures in a row that were once too often; of rates, none.
    pub row: Row,
    /// Until when.
    pub until: Time,
}

/// Failures in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// How many.
    pub failures: u32,
    /// How many of those of [`Detector::ConsecutiveGateway`] were answers: 502, 503, 504. The others were none.
    pub answers: u32,
}

/// How a member answered lately.
#[derive(Debug, Default)]
pub(crate) struct Record {
    failures_in_row: AtomicU32,
    gateway_in_row: AtomicU32,
    /// Of those in that row, the ones that were answers.
    gateway_answers_in_row: AtomicU32,
    /// Of this interval.
    successes: AtomicU32,
    answers: AtomicU32,
    /// Ejections that are not forgotten.
    ejections: AtomicU32,
}

impl Record {
    /// Counts an outcome. Which detector wants the member out, if one does.
    fn count(&self, outcome: Outcome, settings: &OutlierSettings) -> Option<(Detector, Row)> {
        let (failed, gateway) = (outcome.failed()?, outcome.is_gateway_failure());
        self.answers.fetch_add(1, Relaxed);
        if !failed {
            self.successes.fetch_add(1, Relaxed);
        }
        let in_row = |row: &AtomicU32, goes_on: bool, more: bool| match (goes_on, more) {
            (true, true) => row.fetch_add(1, Relaxed) + 1,
            (true, false) => row.load(Relaxed),
            // Most answers are good ones: that should cost no write.
            (false, _) => {
                if row.load(Relaxed) != 0 {
                    row.store(0, Relaxed);
                }
                0
            }
        };
        let gateways = in_row(&self.gateway_in_row, gateway, true);
        let answers = in_row(&self.gateway_answers_in_row, gateway, outcome == Outcome::GatewayError);
        let failures = in_row(&self.failures_in_row, failed, true);
        let reached = |count: u32, limit: Option<u32>| limit.is_some_and(|limit| count >= limit.max(1));
        if reached(gateways, settings.consecutive_gateway) {
            return Some((Detector::ConsecutiveGateway, Row { failures: gateways, answers: answers.min(gateways) }));
        }
        let row = Row { failures, answers: 0 };
        reached(failures, settings.consecutive_5xx).then_some((Detector::Consecutive5xx, row))
    }

    fn forgive(&self) {
        self.failures_in_row.store(0, Relaxed);
        self.gateway_in_row.store(0, Relaxed);
        self.gateway_answers_in_row.store(0, Relaxed);
    }
}

/// Takes in how `member` answered, and ejects it when that was once too often. What comes in while it is ejected counts for nothing.
pub(crate) fn record(pool: &Pool, member: &Member, outcome: Outcome, now: Time) -> Option<Ejection> {
    let settings = pool.settings().outlier.as_ref()?;
    if now < member.ejected_until() {
        return None;
    }
    let why = member.record.count(outcome, settings)?;
    eject(pool, settings, member, why, now)
}

fn eject(
    pool: &Pool,
    settings: &OutlierSettings,
    member: &Member,
    (detector, row): (Detector, Row),
    now: Time,
) -> Option<Ejection> {
    let ledger = pool.ledger();
    ledger.alone(|| {
        if now < member.ejected_until() {
            return None;
        }
        // Who is leaving does not count: what is left has to carry the load.
        let staying = pool.slots().iter().filter(|slot| slot.leaving().is_none());
        let ejected = staying.clone().filter(|slot| now < slot.member().ejected_until()).count();
        let share = staying.count() * settings.max_ejected_percent.min(100) as usize / 100;
        let most = if settings.max_ejected_percent == 0 { 0 } else { share.max(1) };
        if ejected >= most {
            ledger.count_spared();
            return None;
        }
        let times = member.record.ejections.fetch_add(1, Relaxed).saturating_add(1);
        let until = now + settings.base_ejection.saturating_mul(times).min(settings.max_ejection);
        member.record.forgive();
        member.eject_until(until);
        ledger.count_ejection(detector);
        Some(Ejection { key: member.key().to_owned(), detector, row, until })
    })?
}

/// Compares the rates of the interval that ends, ejects outliers, and begins another.
pub(crate) fn sweep(pool: &Pool, now: Time) -> Vec<Ejection> {
    let Some(settings) = &pool.settings().outlier else { return vec![] };
    let mut rates = Vec::with_capacity(pool.slots().len());
    for slot in pool.slots() {
        let record = &slot.member().record;
        let answers = record.answers.swap(0, Relaxed);
        // Workers count in between: a success may be in this interval and its answer in the next.
        let successes = record.successes.swap(0, Relaxed).min(answers);
        if slot.member().ejected_until() <= now {
            let _ = record.ejections.fetch_update(Relaxed, Relaxed, |times| times.checked_sub(1));
            rates.push(Rate { member: slot.member(), answers, successes });
        }
    }
    let mut found: Vec<(&Member, Detector)> = vec![];
    if let Some(detector) = &settings.success_rate {
        found.extend(detector.outliers(&rates).map(|member| (member, Detector::SuccessRate)));
    }
    if let Some(detector) = &settings.failure_percentage {
        found.extend(detector.outliers(&rates).map(|member| (member, Detector::FailurePercentage)));
    }
    let out = |(member, detector): (&Member, Detector)| eject(pool, settings, member, (detector, Row::default()), now);
    found.into_iter().filter_map(out).collect()
}

/// How a member answered in an interval.
struct Rate<'a> {
    member: &'a Member,
    answers: u32,
    successes: u32,
}

impl Rate<'_> {
    /// From 0 to 1.
    fn success(&self) -> f64 {
        f64::from(self.successes) / f64::from(self.answers.max(1))
    }
}

/// Those with at least `volume` answers; none when they are fewer than `members`.
fn voluminous<'a, 'b>(rates: &'b [Rate<'a>], members: usize, volume: u32) -> Vec<&'b Rate<'a>> {
    let enough: Vec<_> = rates.iter().filter(|rate| rate.answers >= volume.max(1)).collect();
    if enough.len() < members { vec![] } else { enough }
}

impl SuccessRate {
    fn outliers<'a>(&self, rates: &[Rate<'a>]) -> impl Iterator<Item = &'a Member> {
        let rates = voluminous(rates, self.members, self.volume);
        let count = rates.len().max(1) as f64;
        let mean = rates.iter().map(|rate| rate.success()).sum::<f64>() / count;
        let variance = rates.iter().map(|rate| (rate.success() - mean).powi(2)).sum::<f64>() / count;
        let least = mean - self.factor * variance.sqrt();
        rates.into_iter().filter(move |rate| rate.success() < least).map(|rate| rate.member)
    }
}

impl FailurePercentage {
    fn outliers<'a>(&self, rates: &[Rate<'a>]) -> impl Iterator<Item = &'a Member> {
        let most = f64::from(self.threshold) / 100.0;
        let rates = voluminous(rates, self.members, self.volume);
        rates.into_iter().filter(move |rate| 1.0 - rate.success() >= most).map(|rate| rate.member)
    }
}
