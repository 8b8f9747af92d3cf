//! What is rolled up into spans, and what goes in time. Each call does a bounded amount of work, so that others come in between: whoever calls repeats it while there is more.

use std::time::{Duration, SystemTime};

use outwork_store::database::millis;
use outwork_store::history::Progress;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// How long a span is.
pub const SPAN: Duration = Duration::from_secs(300);
/// How long after its end a span is rolled up: reports may be this late.
const GRACE: Duration = Duration::from_secs(60);

const SPAN_MILLIS: i64 = SPAN.as_millis() as i64;

/// Rolls up at most `most` spans that are over. Reports that come later than that stay as they are.
pub fn roll_up(connection: &mut Connection, now: SystemTime, most: usize) -> rusqlite::Result<Progress> {
    let closed = millis(now.checked_sub(GRACE).unwrap_or(SystemTime::UNIX_EPOCH));
    let mut progress = Progress::default();
    while let Some(span) = next_span(connection)?.filter(|span| span + SPAN_MILLIS <= closed) {
        if progress.done == most {
            progress.more = true;
            break;
        }
        roll_up_span(connection, span)?;
        progress.done += 1;
    }
    Ok(progress)
}

/// Until when all is rolled up.
fn rolled_up_until(connection: &Connection) -> rusqlite::Result<i64> {
    let until = connection.prepare_cached("SELECT until FROM rolled_up")?.query_row([], |row| row.get(0)).optional()?;
    Ok(until.unwrap_or(i64::MIN))
}

/// The beginning of the first span with reports that were not rolled up.
fn next_span(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let until = rolled_up_until(connection)?;
    let first: Option<i64> = connection
        .prepare_cached("SELECT min(timestamp) FROM sdwan_path_health WHERE timestamp >= ?")?
        .query_row([until], |row| row.get(0))?;
    Ok(first.map(|first| first - first.rem_euclid(SPAN_MILLIS)))
}

fn roll_up_span(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let until = from + SPAN_MILLIS;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO sdwan_path_health_aggregates (path_id, timestamp, up, latency_ms, latency_max_ms,
                 jitter_ms, loss, loss_max, mos, mos_min, count)
             SELECT path_id, ?1, avg(status IN ('up', 'suspect')), avg(latency_ms), max(latency_ms), avg(jitter_ms),
                 avg(loss), max(loss), avg(mos), min(mos), count(*)
             FROM sdwan_path_health WHERE timestamp >= ?1 AND timestamp < ?2 GROUP BY path_id",
        )?
        .execute([from, until])?;
    transaction.prepare_cached("INSERT OR REPLACE INTO rolled_up (one, until) VALUES (1, ?)")?.execute([until])?;
    transaction.commit()
}

/// What goes in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aged {
    /// How paths were at each report, once that is rolled up, and what went by them.
    Reports,
    /// The same in spans.
    Spans,
    /// Who changed what, and what has happened.
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
                vec![("sdwan_path_health", before.min(rolled_up_until(connection)?)), ("traffic_stats", before)]
            }
            Aged::Spans => vec![("sdwan_path_health_aggregates", before)],
            Aged::Log => vec![("audit_logs", before), ("events", before)],
        };
        let mut progress = Progress::default();
        for (table, before) in tables {
            let sql = match self {
                // It has no numbers of rows.
                Aged::Spans => format!(
                    "DELETE FROM {table} WHERE (path_id, timestamp) IN
                     (SELECT path_id, timestamp FROM {table} WHERE timestamp < ? LIMIT ?)"
                ),
                _ => format!(
                    "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE timestamp < ? LIMIT ?)"
                ),
            };
            let done = connection.prepare_cached(&sql)?.execute(params![before, limit])?;
            progress.done += done;
            progress.more |= done == limit as usize;
        }
        Ok(progress)
    }
}
