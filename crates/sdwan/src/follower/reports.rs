//! What a site reports of its paths, and keeps until the controller has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::FollowerMetrics;
use crate::channel::message::{EVENTS, EventReport, PARTS, PATHS, POLICIES, PathReport, Report, TrafficReport};
use crate::control::told::{PathTold, Paths};
use crate::plane::account::PolicyTold;
use crate::service::Service;

/// Gathers reports, and has them wait.
#[derive(Debug)]
pub struct Reporter {
    state: Mutex<State>,
    /// A report was added.
    added: Notify,
    most: usize,
    metrics: Arc<FollowerMetrics>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Report>,
    /// Of each path by its names, the datagrams that were told of.
    told: BTreeMap<[String; 4], (u64, u64)>,
    /// Of each policy by its name, the packets and octets that were told of.
    carried: BTreeMap<String, (u64, u64)>,
    /// Whether it was said that there are too many paths.
    is_cut: bool,
    /// The last event that was told of.
    event: Option<u64>,
    sequence: u64,
    /// Between reports, as the controller wants it.
    least: Duration,
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What has come since of what grows; all of it where it has begun anew.
fn since(now: (u64, u64), before: Option<&(u64, u64)>) -> (u64, u64) {
    let (first, second) = before.filter(|before| before.0 <= now.0 && before.1 <= now.1).copied().unwrap_or_default();
    (now.0 - first, now.1 - second)
}

impl State {
    /// What is said of paths, as far as there are not too many.
    fn paths(&mut self, paths: &[PathTold]) -> Vec<PathReport> {
        let mut told = BTreeMap::new();
        let mut reports = vec![];
        for path in paths.iter().take(PATHS * PARTS) {
            let via = path.via.clone().unwrap_or_default();
            let names = [path.own.clone(), path.site.clone(), path.remote.clone(), via.clone()];
            let (sent, received) = since(path.datagrams, self.told.get(&names));
            told.insert(names, path.datagrams);
            reports.push(PathReport {
                uplink: path.own.clone(),
                site: path.site.clone(),
                remote_uplink: path.remote.clone(),
                via,
                state: path.state.to_owned(),
                chosen: path.chosen,
                latency_ms: millis(path.figures.latency),
                jitter_ms: millis(path.figures.jitter),
                loss: path.figures.loss,
                mos: path.figures.mos(),
                sent,
                received,
            });
        }
        self.told = told;
        reports
    }

    /// What is said of policies: those under which anything was sent.
    fn traffic(&mut self, policies: &[PolicyTold]) -> Vec<TrafficReport> {
        let mut carried = BTreeMap::new();
        let mut reports = vec![];
        for PolicyTold { name, packets, octets } in policies.iter().take(POLICIES) {
            let now = (*packets, *octets);
            let (packets, octets) = since(now, self.carried.get(name));
            carried.insert(name.clone(), now);
            if packets > 0 {
                reports.push(TrafficReport { policy: name.clone(), packets, octets });
            }
        }
        self.carried = carried;
        reports
    }

    /// What is said of what has happened since.
    fn events(&mut self, paths: &Paths, unix: Duration) -> Vec<EventReport> {
        let new: Vec<_> =
            paths.events.iter().filter(|event| self.event.is_none_or(|last| event.number > last)).collect();
        self.event = new.last().map(|event| event.number).or(self.event);
        let events = new.iter().skip(new.len().saturating_sub(EVENTS)).map(|event| EventReport {
            at_ms: unix.saturating_sub(paths.now.since(event.at)).as_millis() as u64,
            kind: event.kind.to_owned(),
            about: event.of.clone(),
            before: event.from.clone(),
            after: event.to.clone(),
            why: event.why.clone(),
        });
        events.collect()
    }

    /// Has the oldest report go, with all its parts.
    fn forget_first(&mut self) {
        while self.waiting.pop_front().is_some_and(|report| report.more) {}
    }
}

impl Reporter {
    /// One that keeps at most `most` reports, or the parts of one.
    pub fn new(most: usize) -> Reporter {
        Reporter::counted(most, Arc::default())
    }

    /// The same, which counts what comes to nothing.
    pub(super) fn counted(most: usize, metrics: Arc<FollowerMetrics>) -> Reporter {
        Reporter { state: Mutex::default(), added: Notify::new(), most, metrics }
    }

    /// Gathers, every `interval` or as rarely as the controller wants it, for as long as it is awaited.
    pub(super) async fn gather(&self, interval: Duration, service: &Arc<Service>) {
        loop {
            let least = self.state.lock().least;
            tokio::time::sleep(interval.max(least)).await;
            let asked = Arc::clone(service);
            match tokio::task::spawn_blocking(move || asked.paths()).await {
                Ok(Ok(paths)) => self.add(&paths, SystemTime::now()),
                Ok(Err(error)) => tracing::warn!(%error, "nothing is reported to the controller"),
                Err(error) => tracing::warn!(%error, "nothing is reported to the controller"),
            }
        }
    }

    /// Adds a report of how paths are, in parts where there are more of them than one report takes; where too many wait, the oldest goes.
    pub fn add(&self, paths: &Paths, now: SystemTime) {
        let state = &mut *self.state.lock();
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = unix.as_millis() as u64;
        let cut = paths.paths.len().saturating_sub(PATHS * PARTS);
        self.metrics.paths_unreported.set(i64::try_from(cut).unwrap_or(i64::MAX));
        if cut > 0 && !std::mem::replace(&mut state.is_cut, cut > 0) {
            tracing::warn!(cut, most = PATHS * PARTS, "the controller is told of no more paths than that");
        }
        let (reports, events) = (state.paths(&paths.paths), state.events(paths, unix));
        let traffic = state.traffic(&paths.policies);
        let mut parts: Vec<_> = reports.chunks(PATHS).map(<[_]>::to_vec).collect();
        // Of a site without paths there is a report as well.
        parts.resize(parts.len().max(1), vec![]);
        while !state.waiting.is_empty() && state.waiting.len() + parts.len() > self.most {
            state.forget_first();
            self.metrics.reports_dropped.inc();
        }
        let (last, mut said) = (parts.len() - 1, Some((events, traffic)));
        for (number, paths) in parts.into_iter().enumerate() {
            state.sequence = at_ms.max(state.sequence + 1);
            let (events, traffic) = said.take().unwrap_or_default();
            let (sequence, more) = (state.sequence, number < last);
            state.waiting.push_back(Report { sequence, at_ms, paths, events, traffic, more });
        }
        self.metrics.reports_waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
        self.added.notify_one();
    }

    /// The oldest report that waits.
    pub fn first(&self) -> Option<Report> {
        self.state.lock().waiting.front().cloned()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Forgets a report that the controller has, and all before it.
    pub fn kept(&self, sequence: u64) {
        let waiting = &mut self.state.lock().waiting;
        waiting.retain(|report| report.sequence > sequence);
        self.metrics.reports_waiting.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    }

    /// The controller wants no report more often than that.
    pub fn no_more_often(&self, least: Duration) {
        self.state.lock().least = least;
    }

    /// Waits until a report was added.
    pub(super) async fn wait(&self) {
        self.added.notified().await;
    }
}
