//! What a site reports of its paths, and keeps until the controller has it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::channel::message::{EVENTS, EventReport, PATHS, PathReport, Report};
use crate::control::told::Paths;
use crate::service::Service;

/// Gathers reports, and has them wait.
#[derive(Debug)]
pub struct Reporter {
    state: Mutex<State>,
    /// A report was added.
    added: Notify,
    most: usize,
    most_octets: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Each with the octets that it takes.
    waiting: VecDeque<(Report, usize)>,
    octets: usize,
    /// Of each path by its names, the datagrams that were told of.
    told: BTreeMap<[String; 4], (u64, u64)>,
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

    fn pop(&mut self) {
        if let Some((_, octets)) = self.waiting.pop_front() {
            self.octets -= octets;
        }
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
    let paths: usize = report.paths.iter().map(of_path).sum();
    size_of::<Report>() + paths + report.events.iter().map(of_event).sum::<usize>()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Reporter {
    /// One that keeps at most `most` reports, and of these the latest ones that take at most so many octets; the last one always.
    pub fn new(most: usize, most_octets: usize) -> Reporter {
        Reporter { state: Mutex::default(), added: Notify::new(), most, most_octets }
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

    /// Adds a report of how paths are; where too many wait, the oldest goes.
    pub fn add(&self, paths: &Paths, now: SystemTime) {
        let state = &mut *self.state.lock();
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = unix.as_millis() as u64;
        state.sequence = at_ms.max(state.sequence + 1);
        let mut told = BTreeMap::new();
        let mut reports = vec![];
        for path in paths.paths.iter().take(PATHS) {
            let via = path.via.clone().unwrap_or_default();
            let names = [path.own.clone(), path.site.clone(), path.remote.clone(), via.clone()];
            let (sent, received) = path.datagrams;
            // One that has come anew counts from nothing.
            let before = state.told.get(&names).filter(|before| before.0 <= sent && before.1 <= received);
            let (sent_before, received_before) = before.copied().unwrap_or_default();
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
                sent: sent - sent_before,
                received: received - received_before,
            });
        }
        state.told = told;
        let new = paths.events.iter().filter(|event| state.event.is_none_or(|last| event.number > last));
        let new: Vec<_> = new.collect();
        let events = new.iter().skip(new.len().saturating_sub(EVENTS)).map(|event| EventReport {
            at_ms: unix.saturating_sub(paths.now.since(event.at)).as_millis() as u64,
            kind: event.kind.to_owned(),
            about: event.of.clone(),
            before: event.from.clone(),
            after: event.to.clone(),
            why: event.why.clone(),
        });
        let events = events.collect();
        state.event = new.last().map(|event| event.number).or(state.event);
        state.push(Report { sequence: state.sequence, at_ms, paths: reports, events });
        while state.waiting.len() > self.most || state.waiting.len() > 1 && state.octets > self.most_octets {
            state.pop();
        }
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
