//! What sites report: how their paths are, what went by them, what has happened. Of what their policies have carried `traffic` takes care.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outwork_store::database::{millis, time};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, TransactionBehavior, params};

use super::retention::came;
use super::traffic;
use crate::channel::message::{EventReport, PARTS, PATHS, PathReport, Report};

/// Rows of one answer at most.
pub const MOST: usize = 10_000;
/// Milliseconds that the clock of a site may be ahead.
const AHEAD: i64 = 3_600_000;
/// Paths of a site that are kept before it is looked which of them are gone, and at most: those that are there, and as many again that were.
const PATHS_KEPT: i64 = 2 * PATHS as i64;
const PATHS_MOST: i64 = PATHS_KEPT * PARTS as i64;

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
    /// Datagrams with packets that were sent, and that came.
    pub datagrams: (u64, u64),
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
    /// The release that it runs; empty where it has not said.
    pub release: String,
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
    /// It runs this release.
    Runs(String),
}

impl Note {
    /// Rows that it takes.
    pub fn rows(&self) -> usize {
        match self {
            // Of a path, how it is and how it was.
            Note::Report(report) => 1 + 2 * report.paths.len() + report.events.len() + report.traffic.len(),
            Note::Seen { .. } | Note::Refused(_) | Note::Runs(_) => 1,
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
            Note::Runs(release) => {
                let sql = "UPDATE sites SET release = ? WHERE id = ?";
                transaction.prepare_cached(sql)?.execute([release.as_str(), site])?;
            }
        }
    }
    transaction.commit()
}

fn keep_one(connection: &Connection, site: &str, report: &Report, now: SystemTime) -> rusqlite::Result<()> {
    let sequence = signed(report.sequence);
    let last: Option<(i64, Option<i64>)> = connection
        .prepare_cached("SELECT sequence, begun FROM reported WHERE site_id = ?")?
        .query_row([site], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // Sequences are times. One that nobody can have reached yet was of a clock that was ahead, and is of no use to tell old from new.
    let last = last.filter(|(last, _)| *last <= millis(now).saturating_add(AHEAD));
    if last.is_some_and(|(last, _)| sequence <= last) {
        return Ok(());
    }
    // A clock that is ahead would have what comes after hide behind it.
    let moment = |at_ms: u64| millis(UNIX_EPOCH + Duration::from_millis(at_ms.min(1 << 52))).min(millis(now));
    let at = moment(report.at_ms);
    for path in &report.paths {
        let id = path_id(connection, site, path, at)?;
        connection
            .prepare_cached(
                "INSERT INTO sdwan_path_health (path_id, timestamp, status, latency_ms, jitter_ms, loss, mos, sent, received)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                id,
                at,
                path.state,
                path.latency_ms,
                path.jitter_ms,
                path.loss,
                path.mos,
                counted(path.sent),
                counted(path.received)
            ])?;
    }
    // What is not in its report any more leads nowhere now; of several that are parts of one, once the last is there. Who never comes to that is not waited for.
    let kept = paths_kept(connection, site)?;
    let begun = last.and_then(|(_, begun)| begun).filter(|_| kept <= PATHS_MOST).unwrap_or(at);
    if !report.more || kept > PATHS_MOST {
        connection
            .prepare_cached(
                "UPDATE paths SET status = 'gone', chosen = 0 WHERE source_site_id = ? AND updated < ? AND status <> 'gone'",
            )?
            .execute(params![site, begun])?;
    }
    if kept > PATHS_KEPT {
        forget(connection, site, kept)?;
    }
    traffic::carried(connection, site, at, &report.traffic)?;
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
        .prepare_cached("INSERT OR REPLACE INTO reported (site_id, sequence, begun) VALUES (?, ?, ?)")?
        .execute(params![site, sequence, report.more.then_some(begun)])?;
    connection
        .prepare_cached("UPDATE sites SET last_seen = max(coalesce(last_seen, ?2), ?2) WHERE id = ?1")?
        .execute(params![site, at])?;
    Ok(())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count that can be summed up with others like it.
fn counted(count: u64) -> i64 {
    i64::try_from(count.min(1 << 45)).unwrap_or_default()
}

/// How many paths of a site are kept.
fn paths_kept(connection: &Connection, site: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT count(*) FROM paths WHERE source_site_id = ?")?
        .query_row([site], |row| row.get(0))
}

/// Forgets paths of a site that were reported long ago, where it names ever others. The one with the greatest number stays: a number is of one path for ever.
fn forget(connection: &Connection, site: &str, kept: i64) -> rusqlite::Result<()> {
    let gone: i64 = connection
        .prepare_cached("SELECT count(*) FROM paths WHERE source_site_id = ? AND status = 'gone'")?
        .query_row([site], |row| row.get(0))?;
    let excess = gone - (kept - gone).max(PATHS as i64);
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
            release: row.get(4)?,
        })
    };
    let sql = "SELECT status, last_seen, plan_version, refused, release FROM sites WHERE id = ?";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row([site], read).optional()?.unwrap_or_default())
}

/// Which sites are not as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many were there, and have not been for a while.
    pub away: u64,
    /// Those of them that have been for longest, and since when.
    pub first_away: Vec<(String, SystemTime)>,
    /// How many do not take up what they are told.
    pub behind: u64,
    /// The first of them by name, and why.
    pub first_behind: Vec<(String, String)>,
}

/// Sites that were heard of last before `before`, and sites that are behind; of each kind as many as `limit` by name.
pub fn standing(connection: &Connection, before: SystemTime, limit: u32) -> rusqlite::Result<Standing> {
    const AWAY: &str = "FROM sites WHERE status = 'gone' AND last_seen < ?";
    const BEHIND: &str = "FROM sites WHERE status = 'connected' AND refused IS NOT NULL";
    let before = millis(before);
    let count = |row: &Row<'_>| Ok(row.get::<_, i64>(0)?.unsigned_abs());
    let mut first_away =
        connection.prepare_cached(&format!("SELECT id, last_seen {AWAY} ORDER BY last_seen, id LIMIT ?"))?;
    let mut first_behind = connection.prepare_cached(&format!("SELECT id, refused {BEHIND} ORDER BY id LIMIT ?"))?;
    Ok(Standing {
        away: connection.prepare_cached(&format!("SELECT count(*) {AWAY}"))?.query_row([before], count)?,
        first_away: first_away
            .query_map(params![before, limit], |row| Ok((row.get(0)?, time(row.get(1)?))))?
            .collect::<rusqlite::Result<_>>()?,
        behind: connection.prepare_cached(&format!("SELECT count(*) {BEHIND}"))?.query_row([], count)?,
        first_behind: first_behind
            .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?,
    })
}

/// How many sites that have come once run another release than this, as far as is known.
pub fn of_other_releases(connection: &Connection, release: &str) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM sites WHERE last_seen IS NOT NULL AND release <> ?")?
        .query_row([release], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))
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

/// A tunnel: two paths between the same uplinks, one each way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The number of the path from its first end.
    pub id: i64,
    /// Its ends: of each the site, and the uplink.
    pub ends: ((String, String), (String, String)),
    /// The hub that passes it on; empty where it goes straight.
    pub via: String,
    /// What its first end takes it for, and when it said so last.
    pub near: (String, SystemTime),
    /// The same of the other one, where that has reported it.
    pub far: Option<(String, SystemTime)>,
}

/// Tunnels by number, those behind `after`, each once: from the end whose site is the first by name, or from the one that has reported it alone.
pub fn tunnels(
    connection: &Connection,
    filter: &PathFilter,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Tunnel>> {
    let mut statement = connection.prepare_cached(
        "SELECT near.id, near.source_site_id, near.source_uplink, near.dest_site_id, near.dest_uplink, near.via_site_id,
             near.status, near.updated, far.status, far.updated
         FROM paths AS near LEFT JOIN paths AS far ON far.source_site_id = near.dest_site_id
             AND far.source_uplink = near.dest_uplink AND far.dest_site_id = near.source_site_id
             AND far.dest_uplink = near.source_uplink AND far.via_site_id = near.via_site_id
         WHERE near.id > ?1 AND (far.id IS NULL OR near.source_site_id < near.dest_site_id)
             AND (?2 IS NULL OR near.source_site_id = ?2 OR near.dest_site_id = ?2)
             AND (?3 IS NULL OR near.status = ?3 OR far.status = ?3) ORDER BY near.id LIMIT ?4",
    )?;
    let read = |row: &Row<'_>| {
        let far = (row.get::<_, Option<String>>(8)?, row.get::<_, Option<i64>>(9)?.map(time));
        Ok(Tunnel {
            id: row.get(0)?,
            ends: ((row.get(1)?, row.get(2)?), (row.get(3)?, row.get(4)?)),
            via: row.get(5)?,
            near: (row.get(6)?, time(row.get(7)?)),
            far: far.0.zip(far.1),
        })
    };
    statement.query_map(params![after, filter.site, filter.status, limit.min(MOST) as i64], read)?.collect()
}

/// How a path was at each report in `from..until`, the oldest first, at most `limit` rows.
pub fn history(
    connection: &Connection,
    path: i64,
    (from, until): (SystemTime, SystemTime),
    limit: usize,
) -> rusqlite::Result<Vec<Health>> {
    let mut statement = connection.prepare_cached(
        "SELECT timestamp, status IN ('up', 'suspect'), latency_ms, latency_ms, jitter_ms, loss, loss, mos, mos, 1, sent, received
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
        "SELECT timestamp, up, latency_ms, latency_max_ms, jitter_ms, loss, loss_max, mos, mos_min, count, sent, received
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
        Health {
            at: self.updated,
            up,
            latency_ms,
            latency_max_ms,
            jitter_ms,
            loss,
            loss_max,
            mos,
            mos_min,
            count: 1,
            datagrams: (0, 0),
        }
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
        datagrams: (row.get::<_, i64>(10)?.unsigned_abs(), row.get::<_, i64>(11)?.unsigned_abs()),
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
