//! What sites report: how their paths are, what went by them, what has happened.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_store::database::{millis, time};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, TransactionBehavior, params};

use super::retention::came;
use crate::channel::message::{EventReport, PATHS, PathReport, Report};

/// Rows of one answer at most.
pub const MOST: usize = 10_000;
/// Milliseconds that the clock of a site may be ahead.
const AHEAD: i64 = 3_600_000;
/// Paths of a site that are kept: those that are there, and as many again that were.
const PATHS_KEPT: usize = 2 * PATHS;

/// A path, as the site at its near end has reported it last.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Its number.
    pub id: i64,
    /// The site at its near end.
    pub source: String,
    /// What was reported.
    pub report: PathReport,
    /// When.
    pub updated: SystemTime,
}

/// How a path was at a time, or in a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Health {
    /// When, or when the span begins.
    pub at: SystemTime,
    /// The part of the reports that had it up, from 0 to 1.
    pub up: f64,
    /// One way, in milliseconds.
    pub latency_ms: f64,
    /// The longest.
    pub latency_max_ms: f64,
    /// In milliseconds, as in RFC 3550.
    pub jitter_ms: f64,
    /// From 0 to 1.
    pub loss: f64,
    /// The greatest.
    pub loss_max: f64,
    /// From 1 to 4.5.
    pub mos: f64,
    /// The lowest.
    pub mos_min: f64,
    /// How many reports.
    pub count: u32,
}

/// Something that has happened at a site.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Its number, ascending.
    pub id: i64,
    /// At which site.
    pub site: String,
    /// What.
    pub event: EventReport,
}

/// How a site is to the controller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// `connected`, `gone`, or `unknown` where it has never come.
    pub status: String,
    /// When it was heard of last.
    pub last_seen: Option<SystemTime>,
    /// The version of the network that it has said it holds.
    pub version: Option<u64>,
    /// Why it does not take up what it was told, where that is so.
    pub refused: Option<String>,
}

/// What is to be kept of a site.
#[derive(Debug, Clone, PartialEq)]
pub enum Note {
    /// It has reported.
    Report(Report),
    /// It has come or gone, and which version of the network it holds, where it has said that.
    Seen {
        /// Whether it is connected.
        connected: bool,
        /// The version.
        version: Option<u64>,
    },
    /// It does not take up what it was told, and why.
    Refused(String),
}

impl Note {
    /// Rows that it takes.
    pub fn rows(&self) -> usize {
        match self {
            // Of a path, how it is and what went by it.
            Note::Report(report) => 1 + 2 * report.paths.len() + report.events.len(),
            Note::Seen { .. } | Note::Refused(_) => 1,
        }
    }
}

/// Keeps what there is to be kept of sites, all in one transaction. A report that was kept already changes nothing.
pub fn keep<'a>(
    connection: &mut Connection,
    notes: impl Iterator<Item = (&'a str, &'a Note)>,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (site, note) in notes {
        match note {
            Note::Report(report) => keep_one(&transaction, site, report, now)?,
            Note::Seen { connected, version } => seen(&transaction, site, *connected, *version, now)?,
            Note::Refused(why) => {
                let sql = "UPDATE sites SET refused = ? WHERE id = ?";
                transaction.prepare_cached(sql)?.execute([why.as_str(), site])?;
            }
        }
    }
    transaction.commit()
}

fn keep_one(connection: &Connection, site: &str, report: &Report, now: SystemTime) -> rusqlite::Result<()> {
    let sequence = signed(report.sequence);
    let last: Option<i64> = connection
        .prepare_cached("SELECT sequence FROM reported WHERE site_id = ?")?
        .query_row([site], |row| row.get(0))
        .optional()?;
    // Sequences are times. One that nobody can have reached yet was of a clock that was ahead, and is of no use to tell old from new.
    let last = last.filter(|last| *last <= millis(now).saturating_add(AHEAD));
    if last.is_some_and(|last| sequence <= last) {
        return Ok(());
    }
    // A clock that is ahead would have what comes after hide behind it.
    let moment = |at_ms: u64| millis(UNIX_EPOCH + Duration::from_millis(at_ms.min(1 << 52))).min(millis(now));
    let at = moment(report.at_ms);
    for path in &report.paths {
        let id = path_id(connection, site, path, at)?;
        connection
            .prepare_cached(
                "INSERT INTO sdwan_path_health (path_id, timestamp, status, latency_ms, jitter_ms, loss, mos)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![id, at, path.state, path.latency_ms, path.jitter_ms, path.loss, path.mos])?;
        if path.sent > 0 || path.received > 0 {
            connection
                .prepare_cached(
                    "INSERT INTO traffic_stats (site_id, policy_id, path_id, timestamp, sent, received)
                     VALUES (?, '', ?, ?, ?, ?)",
                )?
                .execute(params![site, id, at, signed(path.sent), signed(path.received)])?;
        }
    }
    // What is not in its report any more leads nowhere now.
    connection
        .prepare_cached(
            "UPDATE paths SET status = 'gone', chosen = 0 WHERE source_site_id = ? AND updated < ? AND status <> 'gone'",
        )?
        .execute(params![site, at])?;
    forget(connection, site)?;
    came(connection, at)?;
    for event in &report.events {
        let EventReport { at_ms, kind, about, before, after, why } = event;
        connection
            .prepare_cached(
                "INSERT INTO events (timestamp, site_id, kind, about, before, after, why) VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![moment(*at_ms), site, kind, about, before, after, why])?;
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO reported (site_id, sequence) VALUES (?, ?)")?
        .execute(params![site, sequence])?;
    connection
        .prepare_cached("UPDATE sites SET last_seen = max(coalesce(last_seen, ?2), ?2) WHERE id = ?1")?
        .execute(params![site, at])?;
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Forgets paths of a site that were reported long ago, where it names ever others. The one with the greatest number stays: a number is of one path for ever.
fn forget(connection: &Connection, site: &str) -> rusqlite::Result<()> {
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM paths WHERE source_site_id = ?")?
        .query_row([site], |row| row.get(0))?;
    let excess = count - PATHS_KEPT as i64;
    if excess <= 0 {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM paths WHERE id IN (SELECT id FROM paths WHERE source_site_id = ? AND status = 'gone'
             AND id < (SELECT max(id) FROM paths) ORDER BY updated LIMIT ?)",
        )?
        .execute(params![site, excess])
        .map(drop)
}

/// Forgets that a site has reported: its paths lead nowhere, and who comes in its name may count from anew.
pub fn left(connection: &Connection, site: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE paths SET status = 'gone', chosen = 0 WHERE source_site_id = ?1 OR dest_site_id = ?1")?
        .execute([site])?;
    connection.prepare_cached("DELETE FROM reported WHERE site_id = ?")?.execute([site]).map(drop)
}

/// The number of a path, which is as it was reported from now on.
fn path_id(connection: &Connection, site: &str, path: &PathReport, at: i64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO paths (source_site_id, source_uplink, dest_site_id, dest_uplink, via_site_id, status, chosen,
                 latency_ms, jitter_ms, loss, mos, updated)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (source_site_id, source_uplink, dest_site_id, dest_uplink, via_site_id) DO UPDATE SET
                 status = excluded.status, chosen = excluded.chosen, latency_ms = excluded.latency_ms,
                 jitter_ms = excluded.jitter_ms, loss = excluded.loss, mos = excluded.mos, updated = excluded.updated
             RETURNING id",
        )?
        .query_row(
            params![
                site,
                path.uplink,
                path.site,
                path.remote_uplink,
                path.via,
                path.state,
                path.chosen,
                path.latency_ms,
                path.jitter_ms,
                path.loss,
                path.mos,
                at
            ],
            |row| row.get(0),
        )
}

/// Says of a site that it is connected, or no longer; and which version of the network it holds, where it has said that.
fn seen(
    connection: &Connection,
    site: &str,
    connected: bool,
    version: Option<u64>,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let status = if connected { "connected" } else { "gone" };
    connection
        .prepare_cached(
            "UPDATE sites SET status = ?1, last_seen = ?2, plan_version = coalesce(?3, plan_version),
             refused = CASE WHEN ?3 IS NULL OR ?3 = plan_version THEN refused END WHERE id = ?4",
        )?
        .execute(params![status, millis(now), version.map(signed), site])?;
    if connected {
        return Ok(());
    }
    // Nobody says how they are from now on.
    connection
        .prepare_cached(
            "UPDATE paths SET status = 'unknown', chosen = 0 WHERE source_site_id = ? AND status <> 'gone'",
        )?
        .execute([site])
        .map(drop)
}

/// Says of all sites that none is connected: a controller that begins has heard of none.
pub fn none_seen(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE sites SET status = 'gone' WHERE status = 'connected'", [])?;
    connection.execute("UPDATE paths SET status = 'unknown', chosen = 0 WHERE status <> 'gone'", []).map(drop)
}

/// How a site is.
pub fn presence(connection: &Connection, site: &str) -> rusqlite::Result<Presence> {
    let read = |row: &Row<'_>| {
        Ok(Presence {
            status: row.get(0)?,
            last_seen: row.get::<_, Option<i64>>(1)?.map(time),
            version: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
            refused: row.get(3)?,
        })
    };
    let sql = "SELECT status, last_seen, plan_version, refused FROM sites WHERE id = ?";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([site], read).optional()?.unwrap_or_default())
}

/// Which paths are asked for; what is none does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathFilter {
    /// From or to this site.
    pub site: Option<String>,
    /// In this state.
    pub status: Option<String>,
    /// Of this number.
    pub id: Option<i64>,
}

/// Paths by number, those behind `after`.
pub fn paths(connection: &Connection, filter: &PathFilter, after: i64, limit: usize) -> rusqlite::Result<Vec<Path>> {
    let mut sql = "SELECT id, source_site_id, source_uplink, dest_site_id, dest_uplink, status, chosen, latency_ms,
        jitter_ms, loss, mos, updated, via_site_id FROM paths WHERE id > ?"
        .to_owned();
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(after)];
    if let Some(site) = &filter.site {
        sql.push_str(" AND (source_site_id = ? OR dest_site_id = ?)");
        values.push(Box::new(site.clone()));
        values.push(Box::new(site.clone()));
    }
    if let Some(status) = &filter.status {
        sql.push_str(" AND status = ?");
        values.push(Box::new(status.clone()));
    }
    if let Some(id) = filter.id {
        sql.push_str(" AND id = ?");
        values.push(Box::new(id));
    }
    sql.push_str(" ORDER BY id LIMIT ?");
    values.push(Box::new(limit.min(MOST) as i64));
    let read = |row: &Row<'_>| {
        let report = PathReport {
            uplink: row.get(2)?,
            site: row.get(3)?,
            remote_uplink: row.get(4)?,
            via: row.get(12)?,
            state: row.get(5)?,
            chosen: row.get(6)?,
            latency_ms: row.get(7)?,
            jitter_ms: row.get(8)?,
            loss: row.get(9)?,
            mos: row.get(10)?,
            sent: 0,
            received: 0,
        };
        Ok(Path { id: row.get(0)?, source: row.get(1)?, report, updated: time(row.get(11)?) })
    };
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(rusqlite::params_from_iter(values), read)?.collect()
}

/// How a path was at each report in `from..until`, the oldest first, at most `limit` rows.
pub fn history(
    connection: &Connection,
    path: i64,
    (from, until): (SystemTime, SystemTime),
    limit: usize,
) -> rusqlite::Result<Vec<Health>> {
    let mut statement = connection.prepare_cached(
        "SELECT timestamp, status IN ('up', 'suspect'), latency_ms, latency_ms, jitter_ms, loss, loss, mos, mos, 1
         FROM sdwan_path_health WHERE path_id = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp LIMIT ?",
    )?;
    statement.query_map(params![path, millis(from), millis(until), limit.min(MOST) as i64], health)?.collect()
}

/// The same in spans.
pub fn spans(
    connection: &Connection,
    path: i64,
    (from, until): (SystemTime, SystemTime),
    limit: usize,
) -> rusqlite::Result<Vec<Health>> {
    let mut statement = connection.prepare_cached(
        "SELECT timestamp, up, latency_ms, latency_max_ms, jitter_ms, loss, loss_max, mos, mos_min, count
         FROM sdwan_path_health_aggregates
         WHERE path_id = ? AND timestamp >= ? AND timestamp < ? ORDER BY timestamp LIMIT ?",
    )?;
    statement.query_map(params![path, millis(from), millis(until), limit.min(MOST) as i64], health)?.collect()
}

/// How paths are by their last reports, or how they were in a range of time: at each report, or in spans. Path by path, those behind the one that `after` names, and of that what is not before the
/// time there.
pub fn of_paths(
    connection: &Connection,
    filter: &PathFilter,
    range: Option<((SystemTime, SystemTime), bool)>,
    (begin, from): (i64, SystemTime),
    limit: usize,
) -> rusqlite::Result<Vec<(Path, Health)>> {
    let (mut found, mut after) = (vec![], begin.saturating_sub(1));
    loop {
        let paths = paths(connection, filter, after, PATHS)?;
        let Some(last) = paths.last() else { return Ok(found) };
        after = last.id;
        for path in paths {
            let left = limit.saturating_sub(found.len());
            let earliest = if path.id == begin { from } else { UNIX_EPOCH };
            let rows = match range {
                _ if left == 0 => return Ok(found),
                None => Some(path.now()).into_iter().filter(|now| now.at >= earliest).collect(),
                Some(((from, until), true)) => history(connection, path.id, (from.max(earliest), until), left)?,
                Some(((from, until), false)) => spans(connection, path.id, (from.max(earliest), until), left)?,
            };
            found.extend(rows.into_iter().map(|health| (path.clone(), health)));
        }
    }
}

impl Path {
    /// How it was at its last report.
    fn now(&self) -> Health {
        let PathReport { latency_ms, jitter_ms, loss, mos, ref state, .. } = self.report;
        let up = f64::from(u8::from(["up", "suspect"].contains(&state.as_str())));
        let (latency_max_ms, loss_max, mos_min) = (latency_ms, loss, mos);
        Health { at: self.updated, up, latency_ms, latency_max_ms, jitter_ms, loss, loss_max, mos, mos_min, count: 1 }
    }
}

fn health(row: &Row<'_>) -> rusqlite::Result<Health> {
    Ok(Health {
        at: time(row.get(0)?),
        up: row.get(1)?,
        latency_ms: row.get(2)?,
        latency_max_ms: row.get(3)?,
        jitter_ms: row.get(4)?,
        loss: row.get(5)?,
        loss_max: row.get(6)?,
        mos: row.get(7)?,
        mos_min: row.get(8)?,
        count: row.get(9)?,
    })
}

/// What has happened, the latest first, rows before `before`, of one site or of all.
pub fn events(
    connection: &Connection,
    site: Option<&str>,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Vec<Happened>> {
    let of = if site.is_some() { "site_id = ?2" } else { "?2 IS NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, site_id, timestamp, kind, about, before, after, why FROM events
         WHERE id < ?1 AND {of} ORDER BY id DESC LIMIT ?3"
    ))?;
    let read = |row: &Row<'_>| {
        let event = EventReport {
            at_ms: row.get::<_, i64>(2)?.unsigned_abs(),
            kind: row.get(3)?,
            about: row.get(4)?,
            before: row.get(5)?,
            after: row.get(6)?,
            why: row.get(7)?,
        };
        Ok(Happened { id: row.get(0)?, site: row.get(1)?, event })
    };
    statement.query_map(params![before.unwrap_or(i64::MAX), site, limit.min(MOST) as i64], read)?.collect()
}
