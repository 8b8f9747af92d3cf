//! What is rolled up into spans, and what goes in time. Each call does a bounded amount of work, so that others come in between: whoever calls repeats it while there is more.

use std::time::{Duration, SystemTime};

use outwork_store::database::millis;
use outwork_store::history::Progress;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::traffic;

/// How long after its end a span is rolled up: reports may be this late.
const GRACE: Duration = Duration::from_secs(60);
/// Late reports are remembered by the minute that they are of: spans are of whole minutes.
const MINUTE: i64 = 60_000;

/// Rolls up at most `most` spans of this length that are over, and first those again that reports have come for since: sites that were cut off for a while say later how they fared.
pub fn roll_up(
    connection: &mut Connection,
    now: SystemTime,
    length: Duration,
    most: usize,
) -> rusqlite::Result<Progress> {
    let closed = millis(now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH));
    let length = length.as_millis() as i64;
    let mut progress = Progress::default();
    while let Some(late) = late(connection)? {
        if progress.done == most {
            progress.more = true;
            return Ok(progress);
        }
        let span = late - late.rem_euclid(length);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if is_whole(&transaction, span)? {
            sum_up(&transaction, span, span + length)?;
        }
        transaction.prepare_cached("DELETE FROM late_spans WHERE timestamp < ?")?.execute([span + length])?;
        transaction.commit()?;
        progress.done += 1;
    }
    while let Some((from, until)) = next_span(connection, length)?.filter(|(_, until)| *until <= closed) {
        if progress.done == most {
            progress.more = true;
            break;
        }
        roll_up_span(connection, from, until)?;
        progress.done += 1;
    }
    Ok(progress)
}

/// Rolls nothing up of what has come until now, nor of what comes late.
pub fn pass_over(connection: &mut Connection, now: SystemTime) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    rolled_up(&transaction, millis(now))?;
    transaction.execute("DELETE FROM late_spans", [])?;
    transaction.commit()
}

fn rolled_up(connection: &Connection, until: i64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO rolled_up (one, until) VALUES (1, ?)";
    connection.prepare_cached(sql)?.execute([until]).map(drop)
}

/// Until when all is rolled up.
pub(super) fn rolled_up_until(connection: &Connection) -> rusqlite::Result<i64> {
    let until = connection.prepare_cached("SELECT until FROM rolled_up")?.query_row([], |row| row.get(0)).optional()?;
    Ok(until.unwrap_or(i64::MIN))
}

/// The first span with reports that were not rolled up. Where spans were of another length before, it begins where those end.
fn next_span(connection: &Connection, length: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    let until = rolled_up_until(connection)?;
    let first: Option<i64> = connection
        .prepare_cached(
            "SELECT min(first) FROM (SELECT min(timestamp) AS first FROM sdwan_path_health WHERE timestamp >= ?1
             UNION ALL SELECT min(timestamp) FROM traffic_stats WHERE timestamp >= ?1)",
        )?
        .query_row([until], |row| row.get(0))?;
    let span = |first: i64| {
        let begins = first - first.rem_euclid(length);
        (begins.max(until), begins + length)
    };
    Ok(first.map(span))
}

/// The earliest minute that was rolled up before all of it was there.
fn late(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached("SELECT min(timestamp) FROM late_spans")?.query_row([], |row| row.get(0))
}

/// Remembers that a report has come of a time that is rolled up already. Not of one whose other reports are gone: what is known of that is better than what would be.
pub fn came(connection: &Connection, at: i64) -> rusqlite::Result<()> {
    if at >= rolled_up_until(connection)? {
        return Ok(());
    }
    let minute = at - at.rem_euclid(MINUTE);
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO late_spans (timestamp)
             SELECT ?1 WHERE ?1 > (SELECT min(timestamp) FROM sdwan_path_health)",
        )?
        .execute([minute])
        .map(drop)
}

/// Whether none of the reports of a span is gone.
fn is_whole(connection: &Connection, span: i64) -> rusqlite::Result<bool> {
    let sql = "SELECT coalesce(min(timestamp) < ?, false) FROM sdwan_path_health";
    connection.prepare_cached(sql)?.query_row([span], |row| row.get(0))
}

fn roll_up_span(connection: &mut Connection, from: i64, until: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    sum_up(&transaction, from, until)?;
    rolled_up(&transaction, until)?;
    transaction.commit()
}

/// Says of each path how it was in a span, and of each policy what it has carried.
fn sum_up(connection: &Connection, from: i64, until: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO sdwan_path_health_aggregates (path_id, timestamp, up, latency_ms, latency_max_ms,
                 jitter_ms, loss, loss_max, mos, mos_min, count, sent, received)
             SELECT path_id, ?1, avg(status IN ('up', 'suspect')), avg(latency_ms), max(latency_ms), avg(jitter_ms),
                 avg(loss), max(loss), avg(mos), min(mos), count(*),
                 sum(sent), sum(received)
             FROM sdwan_path_health WHERE timestamp >= ?1 AND timestamp < ?2 GROUP BY path_id",
        )?
        .execute([from, until])?;
    traffic::sum_up(connection, from, until)
}

/// Where something goes in time: the table, what a row of it is known by, the column with its time, and which rows alone.
#[derive(Debug, Clone, Copy)]
struct Table(&'static str, &'static str, &'static str, &'static str);

const HEALTH: Table = Table("sdwan_path_health", "rowid", "timestamp", "");
const TRAFFIC: Table = Table("traffic_stats", "rowid", "timestamp", "");
const SPANS: Table = Table("sdwan_path_health_aggregates", "path_id, timestamp", "timestamp", "");
const TRAFFIC_SPANS: Table = Table("traffic_stats_aggregates", "policy_id, timestamp, site_id", "timestamp", "");
const GONE: Table = Table("paths", "id", "updated", " AND status = 'gone' AND id < (SELECT max(id) FROM paths)");
const AUDIT: Table = Table("audit_logs", "id", "timestamp", "");
const EVENTS: Table = Table("events", "id", "timestamp", "");
const TOKENS: Table = Table("enrolments", "id", "expires", "");
const CERTIFICATES: Table = Table("certificates", "serial", "expires", "");

impl Table {
    /// Deletes at most `limit` rows from before `before`, the oldest first. Says how many.
    fn delete(self, connection: &Connection, before: i64, limit: u32) -> rusqlite::Result<usize> {
        let Table(table, key, at, and) = self;
        let sql = format!(
            "DELETE FROM {table} WHERE ({key}) IN
             (SELECT {key} FROM {table} WHERE {at} < ?{and} ORDER BY {at} LIMIT ?)"
        );
        connection.prepare_cached(&sql)?.execute(params![before, limit])
    }

    /// Of when its oldest row is; the end of time where there is none.
    fn oldest(self, connection: &Connection) -> rusqlite::Result<i64> {
        let Table(table, _, at, _) = self;
        let sql = format!("SELECT min({at}) FROM {table}");
        let oldest: Option<i64> = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        Ok(oldest.unwrap_or(i64::MAX))
    }
}

/// Octets of the file that hold something.
pub fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    Ok(((number("page_count")? - number("freelist_count")?) * number("page_size")?).unsigned_abs())
}

/// Makes room before its time: deletes at most `limit` of the oldest rows of what there is most of. Reports go first, then spans, then events: what the network is to be, and who has
/// said so, never does. Says how many rows went.
pub fn shed(connection: &Connection, limit: u32) -> rusqlite::Result<usize> {
    for (table, with) in [(HEALTH, Some(TRAFFIC)), (SPANS, Some(TRAFFIC_SPANS)), (EVENTS, None)] {
        let mut gone = table.delete(connection, i64::MAX, limit)?;
        // What policies have carried takes little room: it goes with what it was reported with.
        if let Some(with) = with {
            gone += with.delete(connection, table.oldest(connection)?, limit)?;
        }
        if gone > 0 {
            return Ok(gone);
        }
    }
    Ok(0)
}

/// What goes in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aged {
    /// How paths were at each report, once that is rolled up, and what policies have carried.
    Reports,
    /// The same in spans, and paths that are gone.
    Spans,
    /// Who changed what, what has happened, and tokens and certificates that have been over for as long.
    Log,
}

impl Aged {
    /// All of them.
    pub const ALL: [Aged; 3] = [Aged::Reports, Aged::Spans, Aged::Log];

    /// Deletes at most `limit` rows of each of its tables from before `before`.
    pub fn prune(self, connection: &Connection, before: SystemTime, limit: u32) -> rusqlite::Result<Progress> {
        let before = millis(before);
        let tables = match self {
            Aged::Reports => {
                let before = before.min(rolled_up_until(connection)?);
                vec![(HEALTH, before), (TRAFFIC, before)]
            }
            // What is gone for as long as nothing is known of it any more.
            Aged::Spans => vec![(SPANS, before), (TRAFFIC_SPANS, before), (GONE, before)],
            Aged::Log => vec![(AUDIT, before), (EVENTS, before), (TOKENS, before), (CERTIFICATES, before)],
        };
        let mut progress = Progress::default();
        for (table, before) in tables {
            let done = table.delete(connection, before, limit)?;
            progress.done += done;
            progress.more |= done == limit as usize;
        }
        Ok(progress)
    }
}
