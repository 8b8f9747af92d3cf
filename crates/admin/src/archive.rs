//! The metrics history on the store: 10-second points for a day, 5-minute windows for as long as the settings say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_store::audit;
use outwork_store::database::{Database, DatabaseError};
use outwork_store::history::{self, SeriesId};
use outwork_telemetry::Point;
use outwork_telemetry::history::{Archive, ArchiveError};
use parking_lot::Mutex;

/// How long 10-second points are kept.
const POINTS_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Rows deleted, or windows rolled up, in one job, so that others get their turn.
const ROWS: u32 = 5_000;
const WINDOWS: usize = 12;

/// The history's tables in the store.
pub struct StoreArchive {
    database: Arc<Database>,
    series: Mutex<HashMap<String, SeriesId>>,
}

impl StoreArchive {
    /// The archive in this database. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn open(database: Arc<Database>) -> Result<Arc<Self>, DatabaseError> {
        let series = database.read(history::list_series).wait()?.into_iter().collect();
        Ok(Arc::new(Self { database, series: Mutex::new(series) }))
    }

    /// Rolls up what is complete and drops what is too old: to be called every few minutes. Blocks.
    ///
    /// # Errors
    /// When the database fails; the next call goes on.
    pub fn tend(&self, now: SystemTime, retention: Duration, audit_retention: Duration) -> Result<(), DatabaseError> {
        let before = |age| now.checked_sub(age).unwrap_or(UNIX_EPOCH);
        while self.database.call(move |db| history::roll_up(db, now, WINDOWS)).wait()?.more {}
        let points = before(POINTS_KEPT);
        while self.database.call(move |db| history::prune_points(db, points, ROWS)).wait()?.more {}
        let aggregates = before(retention);
        while self.database.call(move |db| history::prune_aggregates(db, aggregates, ROWS)).wait()?.more {}
        let rows = before(audit_retention);
        while self.database.call(move |db| audit::prune(db, rows, ROWS)).wait()? == ROWS as usize {}
        Ok(())
    }

    /// The numbers of these series, made where they are new.
    fn numbers(&self, points: &[Point]) -> Result<Vec<SeriesId>, DatabaseError> {
        let mut known = self.series.lock();
        let new: Vec<String> = points
            .iter()
            .filter(|point| !known.contains_key(&point.series))
            .map(|point| point.series.clone())
            .collect();
        if !new.is_empty() {
            let made = self.database.call(move |db| {
                let transaction = db.transaction()?;
                let made = new.into_iter().map(|name| history::series(&transaction, &name).map(|id| (name, id)));
                let made = made.collect::<Result<Vec<_>, _>>()?;
                transaction.commit()?;
                Ok(made)
            });
            known.extend(made.wait()?);
        }
        Ok(points.iter().filter_map(|point| known.get(&point.series).copied()).collect())
    }
}

fn moment(unix: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(unix)
}

fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Archive for StoreArchive {
    fn append(&self, at: u64, points: &[Point]) -> Result<(), ArchiveError> {
        let numbers = self.numbers(points)?;
        let row = |(point, series): (&Point, SeriesId)| history::Point { series, at: moment(at), value: point.value };
        let rows: Vec<_> = points.iter().zip(numbers).map(row).collect();
        self.database.call(move |db| history::write(db, &rows)).wait()?;
        Ok(())
    }

    /// Points where there are any, windows before them. Of a series that answers with its maximum, so does its window.
    fn read(&self, series: &str, from: u64, to: u64) -> Result<Vec<(u64, f64)>, ArchiveError> {
        let Some(id) = self.series.lock().get(series).copied() else { return Ok(Vec::new()) };
        let maximum = outwork_telemetry::history::answers_with_maximum(series);
        let read = self.database.read(move |db| {
            let points = history::points(db, id, moment(from), moment(to))?;
            let first = points.first().map_or(moment(to), |point| point.at);
            let mut windows = history::aggregates(db, id, moment(from), first)?;
            // One that the first points are of would be told twice.
            windows.retain(|window| window.at + history::WINDOW <= first);
            Ok((windows, points))
        });
        let (windows, points) = read.wait()?;
        let windows = windows.iter().map(|window| (unix(window.at), if maximum { window.max } else { window.avg }));
        Ok(windows.chain(points.iter().map(|point| (unix(point.at), point.value))).collect())
    }
}
