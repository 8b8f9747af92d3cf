//! What a site reports of its paths, and keeps until the controller has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::FollowerMetrics;
use crate::channel::message::{EVENTS, EventReport, PARTS, PATHS, POLICIES, PathReport, Report, TrafficReport};
use crate::control::told::{PathTold, Paths};
use crate::millis::millis;
use crate::plane::account::PolicyTold;
use crate::service::Service;

/// Gathers reports, and has them wait.
#[derive(Debug)]
pub struct Reporter {
    state: Mutex<State>,
    /// A report was added.
    added: Notify,
    most: usize,
    most_octets: usize,
    metrics: Arc<FollowerMetrics>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the octets that it takes.
    waiting: VecDeque<(Report, usize)>,
    octets: usize,
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

impl State {
    fn push(&mut self, report: Report) {
        let octets = octets(&report);
        self.octets += octets;
        self.waiting.push_back((report, octets));
    }

    /// Has the oldest go; whether parts of the same report follow.
    fn pop(&mut self) -> bool {
        let Some((report, octets)) = self.waiting.pop_front() else { return false };
        self.octets -= octets;
        report.more
    }
}

/// Octets that a report takes, with the texts in it.
fn octets(report: &Report) -> usize {
    let of_path = |path: &PathReport| {
        let texts = [&path.uplink, &path.site, &path.remote_uplink, &path.via, &path.state];
        size_of::<PathReport>() + texts.iter().map(|text| text.len()).sum::<usize>()
    };
    let of_event = |event: &EventReport| {
        let texts = [&event.kind, &event.about, &event.before, &event.after, &event.why];
        size_of::<EventReport>() + texts.iter().map(|text| text.len()).sum::<usize>()
    };
    let of_policy = |sent: &TrafficReport| size_of::<TrafficReport>() + sent.policy.len();
    let paths: usize =
        report.paths.iter().map(of_path).sum::<usize>() + report.traffic.iter().map(of_policy).sum::<usize>();
    size_of::<Report>() + paths + report.events.iter().map(of_event).sum::<usize>()
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
        while self.pop() {}
    }
}

impl Reporter {
    /// One that keeps at most `most` reports, and of these the latest ones that take at most so many octets; all parts of the last one always.
    #[cfg(test)]
    pub fn new(most: usize, most_octets: usize) -> Reporter {
        Reporter::counted(most, most_octets, Arc::default())
    }

    /// The same, which counts what comes to nothing.
    pub(super) fn counted(most: usize, most_octets: usize, metrics: Arc<FollowerMetrics>) -> Reporter {
        Reporter { state: Mutex::default(), added: Notify::new(), most, most_octets, metrics }
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
        let (last, mut said) = (parts.len() - 1, Some((events, traffic)));
        for (number, paths) in parts.into_iter().enumerate() {
            state.sequence = at_ms.max(state.sequence + 1);
            let (events, traffic) = said.take().unwrap_or_default();
            let (sequence, more) = (state.sequence, number < last);
            state.push(Report { sequence, at_ms, paths, events, traffic, more });
        }
        while state.waiting.len() > last + 1 && (state.waiting.len() > self.most || state.octets > self.most_octets) {
            state.forget_first();
            self.metrics.reports_dropped.inc();
        }
        self.metrics.reports_waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
        self.added.notify_one();
    }

    /// The oldest report that waits.
    pub fn first(&self) -> Option<Report> {
        self.state.lock().waiting.front().map(|(report, _)| report.clone())
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// Octets that these take, about.
    pub fn octets(&self) -> usize {
        self.state.lock().octets
    }

    /// Forgets a report that the controller has, and all before it.
    pub fn kept(&self, sequence: u64) {
        let mut state = self.state.lock();
        // They grow along the queue.
        while state.waiting.front().is_some_and(|(report, _)| report.sequence <= sequence) {
            state.pop();
        }
        self.metrics.reports_waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
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
