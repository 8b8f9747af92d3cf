//! Metrics over time: points every few seconds, rolled up into windows of five minutes, each kept for its own time.
//!
//! Every call here does a bounded amount of work, so that the writer's queue keeps moving: whoever calls repeats it while
//! there is `more`.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::database::{Migrations, millis, time};

pub(crate) const MIGRATIONS: Migrations = Migrations {
    component: "history",
    steps: &["CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE points (
        series INTEGER NOT NULL REFERENCES series (id),
        at INTEGER NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE aggregates (
        series INTEGER NOT NULL REFERENCES series (id),
        at INTEGER NOT NULL,
        min REAL NOT NULL,
        max REAL NOT NULL,
        avg REAL NOT NULL,
        last REAL NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (series, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE rolled_up (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        until INTEGER NOT NULL
    ) STRICT;"],
};

/// The length of an aggregate's window.
pub const WINDOW: Duration = Duration::from_secs(300);
/// How long after its end a window is rolled up: points may be this late.
pub const GRACE: Duration = Duration::from_secs(30);
/// The most points or aggregates that one query returns.
pub const MAX_ROWS: u32 = 100_000;

const WINDOW_MILLIS: i64 = WINDOW.as_millis() as i64;

/// A series' number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub i64);

/// One value of one series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Of which series.
    pub series: SeriesId,
    /// When.
    pub at: SystemTime,
    /// What, in the series' own unit.
    pub value: f64,
}

/// The points of one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aggregate {
    /// Of which series.
    pub series: SeriesId,
    /// When the window starts.
    pub at: SystemTime,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
    /// The mean.
    pub avg: f64,
    /// The latest value.
    pub last: f64,
    /// How many points.
    pub count: u32,
}

/// What one bounded call did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Windows rolled up, or rows deleted.
    pub done: usize,
    /// Whether a call right now would find more to do.
    pub more: bool,
}

/// The number of the series of this name; made where there is none.
pub fn series(connection: &Connection, name: &str) -> rusqlite::Result<SeriesId> {
    let find = |connection: &Connection| {
        let mut statement = connection.prepare_cached("SELECT id FROM series WHERE name = ?")?;
        statement.query_row([name], |row| row.get(0).map(SeriesId)).optional()
    };
    if let Some(id) = find(connection)? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO series (name) VALUES (?)")?.insert([name]).map(SeriesId)
}

/// All series by name.
pub fn list_series(connection: &Connection) -> rusqlite::Result<Vec<(String, SeriesId)>> {
    let mut statement = connection.prepare_cached("SELECT name, id FROM series ORDER BY name")?;
    statement.query_map([], |row| Ok((row.get(0)?, SeriesId(row.get(1)?))))?.collect()
}

/// Stores points in one transaction; a second point of a series at the same time replaces the first. Values that are not
/// finite have no place in a chart and are left out. Returns how many were stored.
pub fn write(connection: &mut Connection, points: &[Point]) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut stored = 0;
    {
        let mut statement =
            transaction.prepare_cached("INSERT OR REPLACE INTO points (series, at, value) VALUES (?, ?, ?)")?;
        for point in points.iter().filter(|point| point.value.is_finite()) {
            stored += statement.execute(params![point.series.0, millis(point.at), point.value])?;
        }
    }
    transaction.commit()?;
    Ok(stored)
}

/// Points of a series in `from..until`, oldest first, at most `MAX_ROWS`.
pub fn points(
    connection: &Connection,
    series: SeriesId,
    from: SystemTime,
    until: SystemTime,
) -> rusqlite::Result<Vec<Point>> {
    let mut statement = connection
        .prepare_cached("SELECT at, value FROM points WHERE series = ? AND at >= ? AND at < ? ORDER BY at LIMIT ?")?;
    let range = params![series.0, millis(from), millis(until), MAX_ROWS];
    statement.query_map(range, |row| Ok(Point { series, at: time(row.get(0)?), value: row.get(1)? }))?.collect()
}

/// Windows of a series that start in `from..until`, oldest first, at most `MAX_ROWS`.
pub fn aggregates(
    connection: &Connection,
    series: SeriesId,
    from: SystemTime,
    until: SystemTime,
) -> rusqlite::Result<Vec<Aggregate>> {
    let mut statement = connection.prepare_cached(
        "SELECT at, min, max, avg, last, count FROM aggregates
         WHERE series = ? AND at >= ? AND at < ? ORDER BY at LIMIT ?",
    )?;
    let range = params![series.0, millis(from), millis(until), MAX_ROWS];
    let rows = statement.query_map(range, |row| {
        Ok(Aggregate {
            series,
            at: time(row.get(0)?),
            min: row.get(1)?,
            max: row.get(2)?,
            avg: row.get(3)?,
            last: row.get(4)?,
            count: row.get(5)?,
        })
    })?;
    rows.collect()
}

/// Rolls up at most `max_windows` windows that ended at least `GRACE` ago. Points that come later than that stay points.
pub fn roll_up(connection: &mut Connection, now: SystemTime, max_windows: usize) -> rusqlite::Result<Progress> {
    let closed = millis(now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH));
    let mut progress = Progress::default();
    while let Some(window) = next_window(connection)?.filter(|window| window + WINDOW_MILLIS <= closed) {
        if progress.done == max_windows {
            progress.more = true;
            break;
        }
        roll_up_window(connection, window)?;
        progress.done += 1;
    }
    Ok(progress)
}

/// The start of the first window with points that were not rolled up.
fn next_window(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let until = rolled_up_until(connection)?;
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT min(first) FROM
             (SELECT (SELECT min(at) FROM points WHERE series = series.id AND at >= ?) AS first FROM series)",
        )?
        .query_row([until], |row| row.get(0))?;
    Ok(first.map(|first| first - first.rem_euclid(WINDOW_MILLIS)))
}

fn rolled_up_until(connection: &Connection) -> rusqlite::Result<i64> {
    let until = connection.prepare_cached("SELECT until FROM rolled_up")?.query_row([], |row| row.get(0)).optional()?;
    Ok(until.unwrap_or(i64::MIN))
}

fn roll_up_window(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let until = from + WINDOW_MILLIS;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO aggregates (series, at, min, max, avg, last, count)
             SELECT p.series, ?1, min(p.value), max(p.value), avg(p.value),
                 (SELECT value FROM points WHERE series = p.series AND at >= ?1 AND at < ?2 ORDER BY at DESC LIMIT 1),
                 count(*)
             FROM series s JOIN points p ON p.series = s.id AND p.at >= ?1 AND p.at < ?2
             GROUP BY p.series",
        )?
        .execute([from, until])?;
    transaction.prepare_cached("INSERT OR REPLACE INTO rolled_up (one, until) VALUES (1, ?)")?.execute([until])?;
    transaction.commit()
}

/// Deletes at most `limit` points from before `before` that were rolled up.
pub fn prune_points(connection: &Connection, before: SystemTime, limit: u32) -> rusqlite::Result<Progress> {
    let before = millis(before).min(rolled_up_until(connection)?);
    prune(connection, "points", before, limit)
}

/// Deletes at most `limit` aggregates from before `before`.
pub fn prune_aggregates(connection: &Connection, before: SystemTime, limit: u32) -> rusqlite::Result<Progress> {
    prune(connection, "aggregates", millis(before), limit)
}

fn prune(connection: &Connection, table: &str, before: i64, limit: u32) -> rusqlite::Result<Progress> {
    let sql = format!(
        "DELETE FROM {table} WHERE (series, at) IN
         (SELECT t.series, t.at FROM series s JOIN {table} t ON t.series = s.id AND t.at < ? LIMIT ?)"
    );
    let done = connection.prepare_cached(&sql)?.execute(params![before, limit])?;
    Ok(Progress { done, more: done == limit as usize })
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
