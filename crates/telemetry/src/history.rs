//! Points of every kept series, ten seconds apart: the last hour in memory, older ones in the [`Archive`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outwork_config::{days, section};
use parking_lot::Mutex;

use crate::family::Family;
use crate::sampler::{Point, Sampler, table};

/// Seconds between two points.
pub const INTERVAL: Duration = Duration::from_secs(STEP);
const STEP: u64 = 10;
/// Points in memory for each series: one hour.
const SLOTS: u64 = 360;
/// The moment of a slot that holds nothing.
const EMPTY: u64 = u64::MAX;
/// Series in memory; whatever comes after is counted and left out.
const MAX_SERIES: usize = 2048;
/// Names in one query.
pub const MAX_NAMES: usize = 64;
/// Points a series in one answer.
pub const MAX_POINTS: u64 = 5000;

section! {
    /// The history of the metrics: 10-second points, aggregated to 5 minutes when they are older than a day.
    pub struct HistorySettings {
        /// How long points are kept on disk.
        pub retention: Duration [range days(1)..] = days(90),
    }
}

crate::metrics! {
    /// The history's own metrics.
    pub struct HistoryMetrics, prefix "outwork_history" {
        /// Series in memory.
        series: Gauge,
        /// Points left out because the table of series was full.
        refused: Counter,
        /// Points that the archive did not take.
        archive_failed: Counter,
    }
}

/// Why points could not be written to or read from the archive.
pub type ArchiveError = Box<dyn std::error::Error + Send + Sync>;

/// Where points outlive the process. Both calls may block.
pub trait Archive: Send + Sync {
    /// Keeps the points of one moment, in Unix seconds.
    ///
    /// # Errors
    /// When the storage refuses.
    fn append(&self, at: u64, points: &[Point]) -> Result<(), ArchiveError>;

    /// The points of one series from `from` up to, not including, `to`, in order of time.
    ///
    /// # Errors
    /// When the storage cannot be read.
    fn read(&self, series: &str, from: u64, to: u64) -> Result<Vec<(u64, f64)>, ArchiveError>;
}

/// A question to the history. Times are Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Series, by the names that [`Sampler`] gives them.
    pub series: Vec<String>,
    /// The first moment.
    pub from: u64,
    /// The end, not included.
    pub to: u64,
    /// Seconds a point; `None` chooses about 300 points.
    pub step: Option<u64>,
}

/// Series on one grid: point `i` covers `start + i * step` up to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Unix seconds of the first point.
    pub start: u64,
    /// Seconds a point.
    pub step: u64,
    /// As many as were asked for, in that order. A moment without a measurement is `None`.
    pub series: Vec<Vec<Option<f64>>>,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query itself is wrong; `key` names its parameter.
    #[error("{key}: {reason}")]
    Invalid {
        /// The parameter.
        key: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The archive failed.
    #[error("the history archive cannot be read: {0}")]
    Archive(#[source] ArchiveError),
}

#[derive(Default)]
struct Memory {
    sampler: Sampler,
    /// The moment that each slot holds; a slot of another moment is empty.
    moments: Vec<u64>,
    series: HashMap<String, Series>,
}

struct Series {
    values: Box<[f64]>,
    last: u64,
}

/// The history of the selected metrics.
pub struct History {
    memory: Mutex<Memory>,
    archive: Option<Arc<dyn Archive>>,
    metrics: Arc<HistoryMetrics>,
}

impl History {
    /// An empty history before an archive; `None` keeps only the last hour.
    pub fn new(archive: Option<Arc<dyn Archive>>) -> Self {
        let memory = Memory { moments: vec![EMPTY; SLOTS as usize], ..Memory::default() };
        Self { memory: Mutex::new(memory), archive, metrics: Arc::default() }
    }

    /// Bytes of memory that it takes, the allocator's rounding aside.
    pub fn memory(&self) -> usize {
        let memory = self.memory.lock();
        let series: usize = memory.series.iter().map(|(name, one)| name.capacity() + size_of_val(&*one.values)).sum();
        let moments = memory.moments.capacity() * size_of::<u64>();
        series + table(&memory.series) + moments + memory.sampler.memory()
    }

    /// The history's own metrics, to be registered.
    pub fn metrics(&self) -> Arc<HistoryMetrics> {
        self.metrics.clone()
    }

    /// Takes the points of this moment (`at` in Unix seconds): to be called every [`INTERVAL`]. Blocks on the archive.
    ///
    /// # Errors
    /// When the archive did not take the points; memory has them.
    pub fn observe(&self, at: u64, now: Instant, families: &[Family]) -> Result<(), ArchiveError> {
        let at = at - at % STEP;
        let points = {
            let mut memory = self.memory.lock();
            let points = memory.sampler.observe(now, families);
            let refused = memory.keep(at, &points);
            self.metrics.refused.add(refused);
            self.metrics.series.set(memory.series.len() as i64);
            points
        };
        let Some(archive) = &self.archive else { return Ok(()) };
        archive.append(at, &points).inspect_err(|_| self.metrics.archive_failed.add(points.len() as u64))
    }

    /// Series on a common grid. A point is the mean of what it covers, or the maximum for quantiles and maxima, whose mean
    /// would hide what they show. Blocks on the archive when the question goes back beyond memory.
    ///
    /// # Errors
    /// When the query is out of bounds or the archive cannot be read.
    pub fn query(&self, query: &Query) -> Result<Answer, QueryError> {
        let invalid = |key, reason: String| Err(QueryError::Invalid { key, reason });
        if query.series.is_empty() || query.series.len() > MAX_NAMES {
            return invalid("name", format!("expected 1 to {MAX_NAMES} names, got {}", query.series.len()));
        }
        let Some(span) = query.to.checked_sub(query.from).filter(|span| *span > 0) else {
            return invalid("to", "expected a moment after `from`".into());
        };
        let step = query.step.unwrap_or(span / 300).max(STEP).next_multiple_of(STEP);
        let start = query.from - query.from % step;
        let count = (query.to - start).div_ceil(step);
        if count > MAX_POINTS {
            return invalid("step", format!("expected at most {MAX_POINTS} points, got {count}: choose a larger step"));
        }
        let mut series = Vec::with_capacity(query.series.len());
        for name in &query.series {
            let mut grid = Grid::new(start, step, count as usize, name);
            let oldest = self.memory.lock().read(name, start, query.to, &mut grid);
            if let Some(archive) = self.archive.as_ref().filter(|_| start < oldest) {
                let points = archive.read(name, start, query.to.min(oldest)).map_err(QueryError::Archive)?;
                points.into_iter().for_each(|(at, value)| grid.add(at, value));
            }
            series.push(grid.finish());
        }
        Ok(Answer { start, step, series })
    }
}

impl Memory {
    /// Returns how many points found the table full.
    fn keep(&mut self, at: u64, points: &[Point]) -> u64 {
        let slot = (at / STEP % SLOTS) as usize;
        self.series.retain(|_, series| at.saturating_sub(series.last) < SLOTS * STEP);
        self.series.values_mut().for_each(|series| series.values[slot] = f64::NAN);
        // A clock set back leaves points of a future that did not come.
        self.moments.iter_mut().filter(|moment| **moment > at).for_each(|moment| *moment = EMPTY);
        self.moments[slot] = at;
        let mut refused = 0;
        for point in points {
            if !self.series.contains_key(&point.series) {
                if self.series.len() >= MAX_SERIES {
                    refused += 1;
                    continue;
                }
                let empty = Series { values: vec![f64::NAN; SLOTS as usize].into(), last: at };
                self.series.insert(point.series.clone(), empty);
            }
            if let Some(series) = self.series.get_mut(&point.series) {
                series.values[slot] = point.value;
                series.last = at;
            }
        }
        refused
    }

    /// Adds what memory has of a series to the grid, and returns the oldest moment that memory answers for.
    fn read(&self, name: &str, from: u64, to: u64, grid: &mut Grid) -> u64 {
        let newest = self.moments.iter().copied().filter(|at| *at != EMPTY).max();
        let Some(newest) = newest else { return u64::MAX };
        let first = newest.saturating_sub((SLOTS - 1) * STEP);
        let held = |at: &&u64| **at >= first && **at <= newest;
        let oldest = self.moments.iter().filter(held).min().copied().unwrap_or(newest);
        if let Some(series) = self.series.get(name) {
            let mut at = oldest.max(from.next_multiple_of(STEP));
            while at < to.min(newest + 1) {
                let slot = (at / STEP % SLOTS) as usize;
                if self.moments[slot] == at && !series.values[slot].is_nan() {
                    grid.add(at, series.values[slot]);
                }
                at += STEP;
            }
        }
        oldest
    }
}

/// Points gathered into steps.
struct Grid {
    start: u64,
    step: u64,
    maximum: bool,
    cells: Vec<(f64, u32)>,
}

impl Grid {
    fn new(start: u64, step: u64, count: usize, series: &str) -> Self {
        Self { start, step, maximum: answers_with_maximum(series), cells: vec![(0.0, 0); count] }
    }

    fn add(&mut self, at: u64, value: f64) {
        let cell = at.checked_sub(self.start).and_then(|offset| self.cells.get_mut((offset / self.step) as usize));
        let Some((total, count)) = cell else { return };
        *total = match (self.maximum, *count) {
            (true, 1..) => total.max(value),
            (true, 0) => value,
            (false, _) => *total + value,
        };
        *count += 1;
    }

    fn finish(self) -> Vec<Option<f64>> {
        let value = |(total, count): (f64, u32)| match (count, self.maximum) {
            (0, _) => None,
            (_, true) => Some(total),
            (n, false) => Some(total / f64::from(n)),
        };
        self.cells.into_iter().map(value).collect()
    }
}

/// Whether a longer step shows a series' maximum: quantiles and maxima, whose mean would hide what they show.
pub fn answers_with_maximum(series: &str) -> bool {
    let name = series.split('{').next().unwrap_or_default();
    ["_max", "_p50", "_p95", "_p99"].iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
