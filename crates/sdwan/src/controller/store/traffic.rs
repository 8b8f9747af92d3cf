//! What flows under each policy have sent: by report at first, then by site and span.

use std::time::{Duration, SystemTime};

use outwork_store::database::{millis, time};
use rusqlite::{Connection, Row, ToSql, params};

use super::retention::rolled_up_until;
use crate::channel::message::TrafficReport;

/// Parts that a time is told in at most.
const STEPS: i64 = 1000;
/// Sites, and policies, that are told at most, those with most first.
pub const MOST: usize = 999;
/// Milliseconds of a part at least, where nothing is rolled up.
const MINUTE: i64 = 60_000;

/// What was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent<T> {
    /// When that begins, or by whom, or under which policy: empty where under none.
    pub of: T,
    /// Packets.
    pub packets: u64,
    /// Their octets.
    pub octets: u64,
}

/// What was sent under a policy in a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// Milliseconds of a part of the time.
    pub step: i64,
    /// In each part in which anything was, the oldest first.
    pub steps: Vec<Sent<SystemTime>>,
    /// By each site, most octets first.
    pub sites: Vec<Sent<String>>,
}

/// Keeps what a site has sent since its report before.
pub fn carried(connection: &Connection, site: &str, at: i64, traffic: &[TrafficReport]) -> rusqlite::Result<()> {
    for TrafficReport { policy, packets, octets } in traffic {
        connection
            .prepare_cached(
                "INSERT INTO traffic_stats (site_id, policy_id, timestamp, packets, octets) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![site, policy, at, packets.cast_signed(), octets.cast_signed()])?;
    }
    Ok(())
}

/// Sums up what was reported of a span. Where it was before, and some of what was reported is gone since, the greater sum is right.
pub fn sum_up(connection: &Connection, from: i64, until: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO traffic_stats_aggregates (policy_id, timestamp, site_id, packets, octets)
             SELECT policy_id, ?1, site_id, sum(packets), sum(octets) FROM traffic_stats
             WHERE timestamp >= ?1 AND timestamp < ?2 GROUP BY policy_id, site_id
             ON CONFLICT (policy_id, timestamp, site_id) DO UPDATE SET
                 packets = max(packets, excluded.packets), octets = max(octets, excluded.octets)",
        )?
        .execute([from, until])
        .map(drop)
}

/// What is summed up, and behind that what is not yet; of the whole spans that a time touches, whose beginning and end are `?1` and `?2`. `?3` is until when all is summed up.
const WENT: &str = "WITH went AS (
    SELECT policy_id, timestamp, site_id, packets, octets FROM traffic_stats_aggregates
    WHERE timestamp >= ?1 AND timestamp < min(?2, ?3)
    UNION ALL SELECT policy_id, timestamp, site_id, packets, octets FROM traffic_stats
    WHERE timestamp >= max(?1, ?3) AND timestamp < ?2)";

/// Which time, and how long the spans are that are rolled up; none where nothing is.
pub type Within = ((SystemTime, SystemTime), Option<Duration>);

/// Milliseconds: from the beginning of a span until a time, how long a span is, and until when all is summed up.
fn within(connection: &Connection, ((from, until), span): Within) -> rusqlite::Result<(i64, i64, i64, i64)> {
    let length = span.map_or(MINUTE, |span| span.as_millis() as i64);
    // Where nothing is rolled up, all that there is is in reports.
    let summed = if span.is_some() { rolled_up_until(connection)? } else { i64::MIN };
    let from = millis(from);
    Ok((from - from.rem_euclid(length), millis(until), length, summed))
}

/// Sums are of floating point: no number that a site says is too large for that.
fn sent<T>(row: &Row<'_>, of: T) -> rusqlite::Result<Sent<T>> {
    Ok(Sent { of, packets: row.get::<_, f64>(1)? as u64, octets: row.get::<_, f64>(2)? as u64 })
}

/// What was sent under a policy, empty for none, by one site or by all.
pub fn of_policy(
    connection: &Connection,
    policy: &str,
    site: Option<&str>,
    range: Within,
) -> rusqlite::Result<Traffic> {
    // What is read is of one moment.
    let connection = connection.unchecked_transaction()?;
    let (from, until, length, summed) = within(&connection, range)?;
    let step = ((until - from) / STEPS / length + 1) * length;
    let which = "WHERE policy_id = ?4 AND (?5 IS NULL OR site_id = ?5)";
    let values: [&dyn ToSql; 5] = [&from, &until, &summed, &policy, &site];
    let mut by_step = connection.prepare_cached(&format!(
        "{WENT} SELECT timestamp / {step} * {step}, total(packets), total(octets) FROM went {which} GROUP BY 1 ORDER BY 1"
    ))?;
    let steps = by_step.query_map(values, |row| sent(row, time(row.get(0)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut by_site = connection.prepare_cached(&format!(
        "{WENT} SELECT site_id, total(packets), total(octets) FROM went {which} GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {MOST}"
    ))?;
    let sites = by_site.query_map(values, |row| sent(row, row.get(0)?))?.collect::<rusqlite::Result<_>>()?;
    Ok(Traffic { step, steps, sites })
}

/// What was sent under each policy, by one site or by all, most octets first.
pub fn of_all(connection: &Connection, site: Option<&str>, range: Within) -> rusqlite::Result<Vec<Sent<String>>> {
    let connection = connection.unchecked_transaction()?;
    let (from, until, _, summed) = within(&connection, range)?;
    let mut statement = connection.prepare_cached(&format!(
        "{WENT} SELECT policy_id, total(packets), total(octets) FROM went WHERE ?4 IS NULL OR site_id = ?4
         GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT {MOST}"
    ))?;
    let values: [&dyn ToSql; 4] = [&from, &until, &summed, &site];
    statement.query_map(values, |row| sent(row, row.get(0)?))?.collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::super::retention::{Aged, roll_up};
    use super::super::tests::open;
    use super::*;

    const SPAN: Duration = Duration::from_secs(300);
    const SPAN_MILLIS: i64 = 300_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn went(policy: &str, packets: u64, octets: u64) -> TrafficReport {
        TrafficReport { policy: policy.to_owned(), packets, octets }
    }

    fn sites(traffic: &Traffic) -> Vec<(&str, u64, u64)> {
        traffic.sites.iter().map(|sent| (sent.of.as_str(), sent.packets, sent.octets)).collect()
    }

    #[test]
    fn what_a_policy_has_carried_is_the_same_before_and_after_it_is_rolled_up_and_once_its_reports_are_gone() {
        let (_dir, mut connection) = open();
        for (site, seconds, octets) in
            [("north", 10, 100), ("north", 20, 200), ("south", 30, 1000), ("north", 310, 400), ("north", 900, 800)]
        {
            carried(&connection, site, millis(at(seconds)), &[went("calls", 1, octets), went("", 2, 5)]).unwrap();
        }
        let all = ((at(0), at(2000)), Some(SPAN));
        let ask = |connection: &Connection, site| of_policy(connection, "calls", site, all).unwrap();
        let before = ask(&connection, None);
        assert_eq!(before.step, SPAN_MILLIS);
        let steps: Vec<_> = before.steps.iter().map(|sent| (sent.of, sent.octets)).collect();
        assert_eq!(steps, [(at(0), 1300), (at(300), 400), (at(900), 800)]);
        assert_eq!(sites(&before), [("north", 4, 1500), ("south", 1, 1000)]);
        // All but the last span is over.
        while roll_up(&mut connection, at(1000), SPAN, 1).unwrap().more {}
        assert_eq!(ask(&connection, None), before);
        while Aged::Reports.prune(&connection, at(2000), 3).unwrap().more {}
        assert_eq!(ask(&connection, None), before);
        assert_eq!(sites(&ask(&connection, Some("south"))), [("south", 1, 1000)]);
        let all = of_all(&connection, Some("north"), all).unwrap();
        let told: Vec<_> = all.iter().map(|sent| (sent.of.as_str(), sent.packets, sent.octets)).collect();
        assert_eq!(told, [("calls", 4, 1500), ("", 8, 20)]);
        assert_eq!(Aged::Spans.prune(&connection, at(301), 99).unwrap().done, 6, "they go in time as well");
    }

    #[test]
    fn what_is_said_late_is_added_and_nothing_is_lost_by_that() {
        let (_dir, mut connection) = open();
        carried(&connection, "north", millis(at(10)), &[went("calls", 1, 100)]).unwrap();
        sum_up(&connection, millis(at(0)), millis(at(300))).unwrap();
        carried(&connection, "north", millis(at(20)), &[went("calls", 1, 50)]).unwrap();
        sum_up(&connection, millis(at(0)), millis(at(300))).unwrap();
        connection.execute("DELETE FROM traffic_stats WHERE octets = 100", []).unwrap();
        sum_up(&connection, millis(at(0)), millis(at(300))).unwrap();
        roll_up(&mut connection, at(9000), SPAN, 9).unwrap();
        let told = of_policy(&connection, "calls", None, ((at(0), at(300)), Some(SPAN))).unwrap();
        assert_eq!(sites(&told), [("north", 2, 150)]);
    }

    #[test]
    fn a_long_time_is_told_in_so_many_parts_at_most() {
        let (_dir, connection) = open();
        for hours in 0..3000 {
            carried(&connection, "north", millis(at(hours * 3600)), &[went("calls", 1, 1)]).unwrap();
        }
        let told = of_policy(&connection, "calls", None, ((at(0), at(3000 * 3600)), Some(SPAN))).unwrap();
        assert!(told.steps.len() <= STEPS as usize + 1 && told.step % SPAN_MILLIS == 0, "{}", told.steps.len());
        assert_eq!(told.steps.iter().map(|sent| sent.packets).sum::<u64>(), 3000);
    }
}
