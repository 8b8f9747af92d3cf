use std::time::{Duration, UNIX_EPOCH};

use outwork_store::database::Migrations;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::documents::{Edit, Expect, edit};
use super::enrolments::{Certified, Standing, TokenRefusal, TooMany};
use super::health::PathFilter;
use super::*;
use crate::channel::message::{EventReport, PATHS, PathReport, Report, TrafficReport};
use crate::channel::token::Token;
use crate::network::Kind;

/// How long spans are here.
const SPAN: Duration = Duration::from_secs(300);

/// A database with the tables, and a connection that may do everything.
pub(in crate::controller) fn open() -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::new(dir.path().join("sdwan.db"));
    Database::open_apart(&options, &[tables::MIGRATIONS]).unwrap();
    let connection = Connection::open(&options.path).unwrap();
    (dir, connection)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn path(uplink: &str, state: &str, latency_ms: f64) -> PathReport {
    PathReport {
        uplink: uplink.to_owned(),
        site: "south".to_owned(),
        remote_uplink: "dsl".to_owned(),
        via: String::new(),
        state: state.to_owned(),
        chosen: state == "up",
        latency_ms,
        jitter_ms: 1.0,
        loss: 0.25,
        mos: 4.0,
        sent: 5,
        received: 6,
    }
}

fn report(sequence: u64, time: SystemTime, paths: Vec<PathReport>) -> Report {
    let at_ms = time.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let event = EventReport {
        at_ms,
        kind: "path".to_owned(),
        about: "fibre-south/dsl".to_owned(),
        before: "up".to_owned(),
        after: "down".to_owned(),
        why: "three hellos were missed".to_owned(),
    };
    let traffic = vec![TrafficReport { policy: "calls".to_owned(), packets: 2, octets: 300 }];
    Report { sequence, at_ms, paths, events: vec![event], traffic, more: false }
}

fn keep(connection: &mut Connection, site: &str, report: &Report, now: SystemTime) {
    let note = Note::Report(report.clone());
    health::keep(connection, [(site, &note)].into_iter(), now).unwrap();
}

fn site(connection: &mut Connection, name: &str) {
    let body = Some(json!({ "name": name }));
    let edits = [Edit { kind: Kind::Site, id: name.to_owned(), body, expect: Expect::New }];
    edit(connection, &edits, "ann", at(0)).unwrap().unwrap();
}

fn count(connection: &Connection, table: &str) -> u64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::new(dir.path().join("sdwan.db"));
    let later = ["CREATE TABLE later (one INTEGER) STRICT"];
    let steps: Box<[&'static str]> = tables::MIGRATIONS.steps.iter().copied().chain(later).collect();
    let later = Migrations { steps: Box::leak(steps), ..tables::MIGRATIONS };
    drop(Database::open_apart(&options, &[later]).unwrap());
    let Err(error) = Store::open(&options) else { panic!("it was opened") };
    assert!(error.to_string().contains("unknown to this version"), "{error}");
}

#[test]
fn the_tables_have_the_indexes_that_their_questions_need() {
    let (_dir, connection) = open();
    let plan = |sql: &str| {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    };
    for (sql, index) in [
        ("SELECT * FROM sites WHERE status = 'gone'", "idx_sites_status"),
        ("SELECT * FROM sites WHERE last_seen < 5", "idx_sites_last_seen"),
        ("SELECT * FROM paths WHERE status = 'down'", "idx_paths_status"),
        ("SELECT * FROM sdwan_path_health WHERE path_id = 4 AND timestamp > 5", "idx_path_health_path_time"),
        ("SELECT * FROM sdwan_path_health WHERE timestamp > 5", "idx_path_health_time"),
        ("SELECT * FROM policies ORDER BY priority", "idx_policies_priority"),
        ("SELECT * FROM audit_logs WHERE username = 'a' AND timestamp > 5", "idx_audit_logs_user_time"),
        ("SELECT * FROM audit_logs WHERE event_type = 'a' AND timestamp > 5", "idx_audit_logs_event_time"),
        ("SELECT * FROM traffic_stats_aggregates WHERE policy_id = 'a' AND timestamp > 5", "PRIMARY KEY"),
        ("SELECT * FROM audit_logs WHERE revision = 5", "idx_audit_logs_revision"),
        ("SELECT * FROM traffic_stats WHERE policy_id = 'a' AND timestamp > 5", "idx_traffic_stats_policy_time"),
    ] {
        assert!(plan(sql).contains(index), "{sql}: {}", plan(sql));
    }
    let of_pair = plan("SELECT * FROM paths WHERE source_site_id = 'a' AND dest_site_id = 'b'");
    assert!(of_pair.contains("USING INDEX"), "{of_pair}");
}

#[test]
fn a_report_is_kept_once_however_often_it_comes() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let first = report(7, at(10), vec![path("fibre", "up", 10.0), path("lte", "down", 0.0)]);
    for _ in 0..2 {
        keep(&mut connection, "north", &first, at(11));
    }
    assert_eq!((count(&connection, "sdwan_path_health"), count(&connection, "events")), (2, 1));
    assert_eq!((count(&connection, "paths"), count(&connection, "traffic_stats")), (2, 1));
    let paths = health::paths(&connection, &PathFilter::default(), 0, 10).unwrap();
    let told: Vec<_> = paths.iter().map(|path| (path.report.uplink.as_str(), path.report.state.as_str())).collect();
    assert_eq!(told, [("fibre", "up"), ("lte", "down")]);
    assert_eq!(health::presence(&connection, "north").unwrap().last_seen, Some(at(10)));
    // The lte modem is gone.
    let second = report(8, at(20), vec![path("fibre", "up", 12.0)]);
    keep(&mut connection, "north", &second, at(21));
    let gone = PathFilter { status: Some("gone".to_owned()), site: Some("south".to_owned()), id: None };
    let gone = health::paths(&connection, &gone, 0, 10).unwrap();
    assert_eq!(gone.iter().map(|path| path.report.uplink.as_str()).collect::<Vec<_>>(), ["lte"]);
    let events = health::events(&connection, Some("north"), None, 10).unwrap();
    assert_eq!((events.len(), events[0].event.at_ms), (2, second.at_ms));
    assert!(health::events(&connection, Some("south"), None, 10).unwrap().is_empty());
}

#[test]
fn reports_are_rolled_up_in_slices_and_what_is_old_goes_once_that_is_done() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let spans = 5;
    for number in 0..spans * 10 {
        // Every tenth says that it is down.
        let state = if number % 10 == 9 { "down" } else { "up" };
        let time = at(number * 30);
        let one = report(number, time, vec![path("fibre", state, number as f64 % 10.0)]);
        keep(&mut connection, "north", &one, time);
    }
    let later = at(spans * 300 + 120);
    // Nothing goes that was not rolled up.
    assert_eq!(Aged::Reports.prune(&connection, later, 5).unwrap().done, 0);
    assert_eq!(count(&connection, "sdwan_path_health"), 50);
    let first = retention::roll_up(&mut connection, later, SPAN, 2).unwrap();
    assert_eq!((first.done, first.more), (2, true));
    let rest = retention::roll_up(&mut connection, later, SPAN, 10).unwrap();
    assert_eq!((rest.done, rest.more), (3, false));
    let told = health::spans(&connection, 1, (at(0), later), 99).unwrap();
    assert_eq!((told.len(), told[0].at, told[1].at), (5, at(0), at(0) + SPAN));
    let one = told[2];
    assert_eq!((one.count, one.up, one.latency_ms, one.latency_max_ms), (10, 0.9, 4.5, 9.0));
    let mut slices = 0;
    while Aged::Reports.prune(&connection, at(900), 7).unwrap().more {
        slices += 1;
    }
    assert!(slices >= 4, "{slices}");
    assert_eq!(health::history(&connection, 1, (at(0), later), 99).unwrap().len(), 20);
    assert_eq!(Aged::Spans.prune(&connection, at(600), 100).unwrap().done, 2 + 2, "of paths, and of policies");
    assert_eq!(Aged::Log.prune(&connection, at(300), 100).unwrap().done, 10 + 1, "events, and that the site came");
}

#[test]
fn reports_that_come_together_are_written_together_and_each_site_is_told() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&DatabaseOptions::new(dir.path().join("sdwan.db"))).unwrap();
    run(async {
        let sites: Vec<_> = (0..50).map(|number| format!("site{number}")).collect();
        // The writer is held until all wait.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hold = store.write(Query::Maintenance, move |_| {
            // An error says that the test is over.
            let _ = held.recv();
            Ok(())
        });
        let all = async {
            let mut ends = vec![];
            for name in &sites {
                let note = Note::Report(report(1, at(1), vec![path("a", "up", 1.0)]));
                ends.push(Box::pin(store.keep(name, note)));
            }
            let mut first = true;
            // Each is begun before the writer goes on.
            std::future::poll_fn(|context| {
                ends.retain_mut(|end| end.as_mut().poll(context).is_pending());
                if std::mem::take(&mut first) {
                    assert_eq!(ends.len(), 50);
                    release.send(()).unwrap();
                }
                if ends.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        };
        let (held, ()) = tokio::join!(hold, all);
        held.unwrap();
        let kept = store.read(Query::History, |c| Ok(count(c, "reported"))).await.unwrap();
        assert_eq!((kept, store.metrics().report_batch.snapshot().max()), (50, 50));
    });
}

fn certified(serial: &str, site: &str) -> Certified {
    let (issued, expires) = (at(0), at(1_000_000));
    Certified { serial: serial.to_owned(), site: site.to_owned(), issued, expires, revoked: None }
}

fn standing(connection: &Connection, serial: &str, site: &str) -> Standing {
    enrolments::standing(connection, serial, site).unwrap()
}

fn uplinks() -> Vec<Json> {
    vec![json!({ "name": "fibre", "public_key": "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "cost": 3 })]
}

#[test]
fn a_token_lets_its_site_in_once_and_in_time() {
    let (_dir, mut connection) = open();
    let token = Token::random([0; 32]).unwrap();
    let life = Duration::from_secs(60);
    enrolments::add(&connection, &token, ("north", None), life, "ann", at(0)).unwrap().unwrap();
    let stored: Vec<u8> = connection.query_row("SELECT hash FROM enrolments", [], |row| row.get(0)).unwrap();
    assert_ne!(stored, token.secret, "the secret itself is nowhere");
    let of = |connection: &Connection, secret: &[u8], seconds| {
        enrolments::site_of(connection, &token.key, secret, at(seconds)).unwrap()
    };
    assert_eq!(of(&connection, &[0; 32], 1), Err(TokenRefusal::Unknown));
    assert_eq!(of(&connection, &token.secret, 60), Err(TokenRefusal::Expired));
    assert_eq!(of(&connection, &token.secret, 59), Ok("north".to_owned()));
    let edits = enrolments::brought(&connection, "north", &["10.1.0.0/16".to_owned()], &uplinks()).unwrap();
    let shown = (&token.key[..], &token.secret[..]);
    enrolments::enrol(&mut connection, shown, &edits, &certified("01", "north"), at(2)).unwrap().unwrap();
    let documents = documents::all(&connection).unwrap();
    assert_eq!(documents.get(Kind::Uplink, "north/fibre").unwrap()["cost"], 3);
    assert_eq!(of(&connection, &token.secret, 3), Err(TokenRefusal::Used));
    let again = enrolments::enrol(&mut connection, shown, &[], &certified("02", "north"), at(4)).unwrap();
    assert_eq!(again, Err(TokenRefusal::Used));
    assert_eq!(standing(&connection, "01", "north"), Standing::Good(at(0), at(1_000_000)));
    assert_eq!(standing(&connection, "02", "north"), Standing::Unknown);
    assert_eq!(standing(&connection, "01", "south"), Standing::Unknown);
}

#[test]
fn what_a_site_says_of_its_uplinks_later_changes_who_they_are_and_not_what_they_are_worth() {
    let (_dir, mut connection) = open();
    let edits = enrolments::brought(&connection, "north", &[], &uplinks()).unwrap();
    edit(&mut connection, &edits, "site north", at(0)).unwrap().unwrap();
    assert!(enrolments::brought(&connection, "north", &[], &uplinks()).unwrap().is_empty());
    let mut told = uplinks();
    told[0]["endpoint"] = json!("192.0.2.1:51820");
    told[0]["cost"] = json!(99);
    let edits = enrolments::brought(&connection, "north", &[], &told).unwrap();
    edit(&mut connection, &edits, "site north", at(1)).unwrap().unwrap();
    let there = documents::get(&connection, Kind::Uplink, "north/fibre").unwrap().unwrap();
    assert_eq!((&there.body["endpoint"], &there.body["cost"]), (&json!("192.0.2.1:51820"), &json!(3)));
}

#[test]
fn a_site_that_is_revoked_or_removed_is_believed_no_longer() {
    let (_dir, mut connection) = open();
    for name in ["north", "south"] {
        site(&mut connection, name);
        enrolments::certify(&connection, &certified(name, name)).unwrap();
    }
    let token = Token::random([0; 32]).unwrap();
    enrolments::add(&connection, &token, ("north", None), Duration::from_secs(60), "ann", at(0)).unwrap().unwrap();
    assert_eq!(enrolments::revoke(&mut connection, "north", "ann", at(1)).unwrap(), 1);
    assert_eq!(standing(&connection, "north", "north"), Standing::Revoked(at(1), "ann".to_owned()));
    assert!(enrolments::list(&connection, None, 10).unwrap().is_empty());
    assert!(matches!(standing(&connection, "south", "south"), Standing::Good(..)));
    let gone = [Edit { kind: Kind::Site, id: "south".to_owned(), body: None, expect: Expect::Any }];
    edit(&mut connection, &gone, "ann", at(2)).unwrap().unwrap();
    assert_eq!(standing(&connection, "south", "south"), Standing::Removed);
    // Another one that gets its name gets nothing else of it.
    site(&mut connection, "south");
    assert_eq!(standing(&connection, "south", "south"), Standing::Revoked(at(2), "ann".to_owned()));
}

#[test]
fn who_is_enrolled_anew_is_not_believed_by_the_certificate_of_before() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    keep(&mut connection, "north", &report(9, at(1), vec![]), at(1));
    for serial in ["01", "02"] {
        let token = Token::random([0; 32]).unwrap();
        enrolments::add(&connection, &token, ("north", None), Duration::from_secs(60), "ann", at(0)).unwrap().unwrap();
        let shown = (&token.key[..], &token.secret[..]);
        enrolments::enrol(&mut connection, shown, &[], &certified(serial, "north"), at(2)).unwrap().unwrap();
    }
    assert_eq!(standing(&connection, "01", "north"), Standing::Revoked(at(2), "site north".to_owned()));
    assert!(matches!(standing(&connection, "02", "north"), Standing::Good(..)));
    // Its clock may be behind that of who was it before.
    keep(&mut connection, "north", &report(3, at(3), vec![path("fibre", "up", 1.0)]), at(3));
    assert_eq!(count(&connection, "sdwan_path_health"), 1);
}

#[test]
fn so_many_tokens_are_good_at_once_and_no_more() {
    let (_dir, connection) = open();
    let add = |site: &str, seconds| {
        let token = Token::random([0; 32]).unwrap();
        enrolments::add(&connection, &token, (site, None), Duration::from_secs(60), "ann", at(seconds)).unwrap()
    };
    let made: Vec<_> = (0..8).map(|_| add("north", 0).unwrap()).collect();
    assert_eq!(add("north", 0), Err(TooMany::OfSite));
    enrolments::remove(&connection, made[0].id, "ann", at(1)).unwrap();
    assert!(add("north", 1).is_ok());
    assert_eq!(add("north", 59), Err(TooMany::OfSite));
    assert!(add("north", 60).is_ok(), "the time of those before is over");
    let fill = "INSERT INTO enrolments (key, hash, site_id, created, created_by, expires)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        SELECT CAST(i AS BLOB), x'00', 'site' || i, 0, 'ann', 1 << 52 FROM n";
    connection.execute(fill, []).unwrap();
    assert_eq!(add("east", 60), Err(TooMany::OfAll));
}

#[test]
fn another_certificate_is_given_late_in_the_life_of_the_one_before_and_never_too_many() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    enrolments::certify(&connection, &certified("01", "north")).unwrap();
    let mut renew = |serial: &str, next: &str, seconds| {
        enrolments::renew(&mut connection, serial, &certified(next, "north"), at(seconds)).unwrap()
    };
    assert!(!renew("01", "02", 499_999), "half of its time is not over");
    assert!(!renew("99", "02", 600_000), "nobody has it");
    let given: Vec<_> = ["02", "03", "04", "05"].map(|next| renew("01", next, 600_000)).into();
    assert_eq!(given, [true, true, true, false]);
    enrolments::revoke(&mut connection, "north", "ann", at(600_001)).unwrap();
    let refused = enrolments::renew(&mut connection, "01", &certified("06", "north"), at(600_002)).unwrap();
    assert!(!refused, "who is revoked makes itself no other");
}

#[test]
fn a_site_that_names_ever_other_paths_has_no_more_than_so_many() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let last = 5;
    for number in 1..=last {
        let paths = (0..PATHS).map(|path_number| path(&format!("u{number}-{path_number}"), "up", 1.0)).collect();
        keep(&mut connection, "north", &report(number, at(number), paths), at(number));
    }
    assert_eq!(count(&connection, "paths") as usize, 2 * PATHS);
    let up = PathFilter { status: Some("up".to_owned()), ..PathFilter::default() };
    assert_eq!(health::paths(&connection, &up, 0, 2 * PATHS).unwrap().len(), PATHS, "those that are there stay");
}

#[test]
fn what_is_too_much_for_the_disk_goes_from_the_oldest_on_and_never_what_the_network_is() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(&DatabaseOptions::new(dir.path().join("sdwan.db"))).unwrap();
    run(async {
        let fill = |c: &mut Connection| {
            site(c, "north");
            for number in 0..200_u64 {
                let paths = (0..50).map(|path_number| path(&format!("u{path_number}"), "up", 1.0)).collect();
                keep(c, "north", &report(number + 1, at(number), paths), at(number));
            }
            Ok(())
        };
        store.write(Query::Maintenance, fill).await.unwrap();
        let used = store.read(Query::Maintenance, retention::used).await.unwrap();
        assert_eq!(store.shed(used).await.unwrap(), 0);
        let gone = store.shed(used / 2).await.unwrap();
        assert!(gone > 0 && store.metrics().shed_rows.get() == gone as u64);
        let half = store.read(Query::Maintenance, retention::used).await.unwrap();
        assert!(half <= used / 2);
        let oldest = "SELECT min(timestamp) FROM sdwan_path_health";
        let ask = move |c: &Connection| c.query_row(oldest, [], |row| row.get::<_, Option<i64>>(0));
        let oldest = store.read(Query::Maintenance, ask).await.unwrap();
        assert!(oldest.is_none_or(|oldest| oldest > outwork_store::database::millis(at(0))));
        // What policies have carried goes with what it came with, and no sooner.
        let left = |c: &Connection| {
            c.query_row(
                "SELECT (SELECT count(*) FROM traffic_stats), count(DISTINCT timestamp) FROM sdwan_path_health",
                [],
                |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)),
            )
        };
        let (traffic, reports) = store.read(Query::Maintenance, left).await.unwrap();
        assert_eq!(traffic, reports);
        // However little there may be, the network and who has changed it stay.
        store.shed(0).await.unwrap();
        let left = |c: &Connection| Ok(["sites", "audit_logs", "sdwan_path_health", "events"].map(|of| count(c, of)));
        assert_eq!(store.read(Query::Maintenance, left).await.unwrap(), [1, 1, 0, 0]);
    });
}

#[test]
fn tokens_certificates_and_paths_that_have_been_over_for_long_go_in_time() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let token = Token::random([0; 32]).unwrap();
    enrolments::add(&connection, &token, ("north", None), Duration::from_secs(60), "ann", at(0)).unwrap().unwrap();
    enrolments::certify(&connection, &certified("01", "north")).unwrap();
    for (sequence, uplink) in [(1, "old"), (2, "new")] {
        keep(&mut connection, "north", &report(sequence, at(sequence), vec![path(uplink, "up", 1.0)]), at(9));
    }
    let counts = |connection: &Connection| ["enrolments", "certificates", "paths"].map(|of| count(connection, of));
    for aged in Aged::ALL {
        aged.prune(&connection, at(0), 100).unwrap();
    }
    assert_eq!(counts(&connection), [1, 1, 2]);
    for aged in Aged::ALL {
        aged.prune(&connection, at(2_000_000), 100).unwrap();
    }
    assert_eq!(counts(&connection), [0, 0, 1], "a path that is there stays, however long nothing was said of it");
}

#[test]
fn how_paths_were_is_told_page_by_page_by_site_path_and_time() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    for number in 1..=4 {
        let paths = vec![path("fibre", "up", number as f64), path("lte", "down", 0.0)];
        keep(&mut connection, "north", &report(number, at(number), paths), at(number));
    }
    let every = PathFilter::default();
    let range = Some(((at(2), at(4)), true));
    let ask = |filter: &PathFilter, range, after, limit| {
        let rows = health::of_paths(&connection, filter, range, after, limit).unwrap();
        rows.into_iter().map(|(path, health)| (path.report.uplink, health.latency_ms as u64)).collect::<Vec<_>>()
    };
    let (fibre, lte) = ("fibre".to_owned(), "lte".to_owned());
    let all = [(fibre.clone(), 2), (fibre.clone(), 3), (lte.clone(), 0), (lte.clone(), 0)];
    assert_eq!(ask(&every, range, (0, UNIX_EPOCH), 99), all);
    assert_eq!(ask(&every, range, (1, at(3)), 2), all[1..3]);
    assert_eq!(ask(&PathFilter { id: Some(2), ..every.clone() }, range, (0, UNIX_EPOCH), 99), all[2..]);
    let elsewhere = PathFilter { site: Some("east".to_owned()), ..every.clone() };
    assert!(ask(&elsewhere, range, (0, UNIX_EPOCH), 99).is_empty());
    let up = PathFilter { status: Some("up".to_owned()), ..every.clone() };
    assert_eq!(ask(&up, None, (0, UNIX_EPOCH), 99), [(fibre, 4)], "how it is now");
    assert_eq!(ask(&every, None, (1, at(5)), 99), [(lte, 0)]);
}

#[test]
fn a_path_by_a_hub_is_another_one_than_that_which_goes_straight() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let by_hub = PathReport { via: "hub".to_owned(), ..path("fibre", "up", 30.0) };
    let both = report(1, at(10), vec![path("fibre", "down", 10.0), by_hub]);
    keep(&mut connection, "north", &both, at(11));
    let paths = health::paths(&connection, &PathFilter::default(), 0, 10).unwrap();
    let told: Vec<_> = paths.iter().map(|path| (path.report.via.as_str(), path.report.state.as_str())).collect();
    assert_eq!(told, [("", "down"), ("hub", "up")]);
}

#[test]
fn what_comes_in_parts_is_one_report_and_no_path_of_it_is_gone() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let status = |connection: &Connection| {
        let paths = health::paths(connection, &PathFilter::default(), 0, 10).unwrap();
        paths.into_iter().map(|path| (path.report.uplink, path.report.state)).collect::<Vec<_>>()
    };
    let part = |sequence, time, uplink: &str, more| {
        let one = report(sequence, at(time), vec![path(uplink, "up", 1.0)]);
        Report { traffic: vec![], events: vec![], more, ..one }
    };
    let of = |uplink: &str, state: &str| (uplink.to_owned(), state.to_owned());
    // By a clock that is ahead: each part is of when it came.
    for (sequence, uplink, more) in [(1, "fibre", true), (2, "lte", true), (3, "dsl", false)] {
        keep(&mut connection, "north", &part(sequence, 500, uplink, more), at(10 + sequence));
    }
    assert_eq!(status(&connection), ["fibre", "lte", "dsl"].map(|uplink| of(uplink, "up")));
    // The next time one is not among them, and is gone when all of it is there.
    keep(&mut connection, "north", &part(4, 500, "dsl", true), at(30));
    assert_eq!(status(&connection)[1], of("lte", "up"));
    keep(&mut connection, "north", &part(5, 500, "fibre", false), at(31));
    assert_eq!(status(&connection), [of("fibre", "up"), of("lte", "gone"), of("dsl", "up")]);
}

#[test]
fn a_tunnel_is_told_of_once_with_what_both_its_ends_take_it_for() {
    let (_dir, mut connection) = open();
    for name in ["north", "south"] {
        site(&mut connection, name);
    }
    let back = PathReport {
        uplink: "dsl".to_owned(),
        site: "north".to_owned(),
        remote_uplink: "fibre".to_owned(),
        ..path("dsl", "up", 1.0)
    };
    keep(&mut connection, "south", &report(1, at(9), vec![back]), at(9));
    let both = vec![path("fibre", "down", 1.0), path("lte", "up", 1.0)];
    keep(&mut connection, "north", &report(1, at(10), both), at(10));
    let ask = |site: Option<&str>, status: Option<&str>, after| {
        let filter = PathFilter { site: site.map(str::to_owned), status: status.map(str::to_owned), id: None };
        let found = health::tunnels(&connection, &filter, after, 9).unwrap();
        found.into_iter().map(|one| (one.id, one.ends.0.1, one.near.0, one.far.map(|far| far.0))).collect::<Vec<_>>()
    };
    let text = str::to_owned;
    let fibre = (2, text("fibre"), text("down"), Some(text("up")));
    let lte = (3, text("lte"), text("up"), None);
    assert_eq!(ask(None, None, 0), [fibre.clone(), lte.clone()]);
    assert_eq!(ask(Some("south"), Some("down"), 0), [fibre]);
    assert_eq!((ask(Some("south"), Some("up"), 2), ask(Some("east"), None, 0)), (vec![lte], vec![]));
}

#[test]
fn the_release_that_a_site_runs_is_kept() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let release = |connection: &Connection| health::presence(connection, "north").unwrap().release;
    assert_eq!(release(&connection), "");
    let note = Note::Runs("1.2.3".to_owned());
    health::keep(&mut connection, [("north", &note)].into_iter(), at(1)).unwrap();
    assert_eq!(release(&connection), "1.2.3");
    let others = |connection: &Connection, release| health::of_other_releases(connection, release).unwrap();
    assert_eq!(others(&connection, "1.3.0"), 0, "it has never come");
    let note = Note::Seen { connected: true, version: None };
    health::keep(&mut connection, [("north", &note)].into_iter(), at(2)).unwrap();
    assert_eq!((others(&connection, "1.3.0"), others(&connection, "1.2.3")), (1, 0));
}

#[test]
fn nobody_says_how_the_paths_of_a_site_are_that_is_not_there() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let status = |connection: &Connection| {
        let paths = health::paths(connection, &PathFilter::default(), 0, 10).unwrap();
        paths.into_iter().map(|path| path.report.state).collect::<Vec<_>>()
    };
    let report_of = |sequence| report(sequence, at(sequence), vec![path("fibre", "up", 10.0)]);
    let gone = Note::Seen { connected: false, version: None };
    keep(&mut connection, "north", &report_of(1), at(1));
    assert_eq!(status(&connection), ["up"]);
    health::keep(&mut connection, [("north", &gone)].into_iter(), at(2)).unwrap();
    assert_eq!(status(&connection), ["unknown"]);
    keep(&mut connection, "north", &report_of(3), at(3));
    assert_eq!(status(&connection), ["up"]);
    health::none_seen(&connection).unwrap();
    assert_eq!(status(&connection), ["unknown"], "a controller that begins has heard of nobody");
    let removed = [Edit { kind: Kind::Site, id: "north".to_owned(), body: None, expect: Expect::Any }];
    edit(&mut connection, &removed, "ann", at(4)).unwrap().unwrap();
    assert_eq!(status(&connection), ["gone"]);
}

#[test]
fn what_a_site_says_late_of_the_time_that_it_was_cut_off_is_rolled_up_all_the_same() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    site(&mut connection, "east");
    let report_of = |sequence, latency| report(sequence, at(sequence), vec![path("fibre", "up", latency)]);
    for seconds in [10, 310, 610] {
        keep(&mut connection, "north", &report_of(seconds, 10.0), at(seconds));
    }
    let now = at(1000);
    while retention::roll_up(&mut connection, now, SPAN, 1).unwrap().more {}
    // The other one comes back, and has waited with what was.
    for seconds in [20, 320, 330, 620] {
        keep(&mut connection, "east", &report_of(seconds, 30.0), now);
    }
    let spans = |connection: &Connection| {
        let spans = health::spans(connection, 2, (at(0), now), 99).unwrap();
        spans.iter().map(|span| (span.at, span.count)).collect::<Vec<_>>()
    };
    assert!(spans(&connection).is_empty());
    while retention::roll_up(&mut connection, now, SPAN, 1).unwrap().more {}
    // Of the first span others may be gone already: what is known of that stays.
    assert_eq!(spans(&connection), [(at(300), 2), (at(600), 1)]);
    assert_eq!(count(&connection, "late_spans"), 0);
    let own = health::spans(&connection, 1, (at(0), now), 99).unwrap();
    assert_eq!(own.iter().map(|span| span.count).collect::<Vec<_>>(), [1, 1, 1], "and nobody else's is lost");
}

#[test]
fn connections_to_the_database_are_counted_while_they_work() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions { readers: 3, ..DatabaseOptions::new(dir.path().join("sdwan.db")) };
    let store = Store::open(&options).unwrap();
    let metrics = Arc::clone(store.metrics());
    assert_eq!((metrics.connections.get(), metrics.connections_active.get()), (4, 0));
    let within = Arc::clone(&metrics);
    let active = run(store.read(Query::History, move |_| Ok(within.connections_active.get()))).unwrap();
    assert_eq!((active, metrics.connections_active.get()), (1, 0));
}

#[test]
fn spans_of_another_length_begin_where_those_before_end_and_what_is_passed_over_is_none() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let report_of = |sequence| report(sequence, at(sequence), vec![path("fibre", "up", 10.0)]);
    let spans = |connection: &Connection| {
        let spans = health::spans(connection, 1, (at(0), at(9000)), 99).unwrap();
        spans.iter().map(|span| (span.at, span.count)).collect::<Vec<_>>()
    };
    for seconds in (0..3000).step_by(60) {
        keep(&mut connection, "north", &report_of(seconds), at(seconds));
    }
    let long = SPAN * 2;
    assert!(!retention::roll_up(&mut connection, at(300 + 90), SPAN, 9).unwrap().more);
    assert_eq!(spans(&connection), [(at(0), 5)]);
    while retention::roll_up(&mut connection, at(1200 + 90), long, 1).unwrap().more {}
    let all = spans(&connection);
    assert_eq!(all.iter().map(|(_, count)| count).sum::<u32>(), 20, "{all:?}");
    assert!(all.windows(2).all(|two| two[0].0 < two[1].0) && all[1].0 == at(300), "{all:?}");
    // Another site says late how it was.
    retention::pass_over(&mut connection, at(2400)).unwrap();
    site(&mut connection, "east");
    keep(&mut connection, "east", &report_of(2390), at(2401));
    assert_eq!(count(&connection, "late_spans"), 1);
    retention::pass_over(&mut connection, at(2400)).unwrap();
    assert_eq!((count(&connection, "late_spans"), spans(&connection).len()), (0, all.len()));
    assert!(
        Aged::Reports.prune(&connection, at(2400), 1000).unwrap().done > 0,
        "what is not to be rolled up waits for nothing"
    );
    assert_eq!(health::history(&connection, 1, (at(0), at(9000)), 99).unwrap().len(), 10);
}

#[test]
fn a_site_whose_clock_was_ahead_is_heard_again_once_it_is_right() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let year = 365 * 86_400;
    keep(&mut connection, "north", &report(year, at(year), vec![path("fibre", "up", 1.0)]), at(5));
    let ahead = Report {
        sequence: at(year).duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
        ..report(1, at(5), vec![])
    };
    keep(&mut connection, "north", &ahead, at(6));
    let right = Report {
        sequence: at(10).duration_since(UNIX_EPOCH).unwrap().as_millis() as u64,
        ..report(1, at(10), vec![path("fibre", "up", 2.0)])
    };
    for _ in 0..2 {
        keep(&mut connection, "north", &right, at(10));
    }
    assert_eq!(count(&connection, "sdwan_path_health"), 2, "once, though it comes twice");
}

#[test]
fn sites_that_are_away_or_behind_are_counted_and_the_first_of_them_named() {
    let (_dir, mut connection) = open();
    for (name, seconds) in [("north", 5), ("south", 3), ("east", 100), ("west", 1)] {
        site(&mut connection, name);
        let connected = name == "west";
        let note = Note::Seen { connected, version: Some(1) };
        health::keep(&mut connection, [(name, &note)].into_iter(), at(seconds)).unwrap();
    }
    site(&mut connection, "never");
    let ask = |connection: &Connection| health::standing(connection, at(50), 1).unwrap();
    let one = ask(&connection);
    assert_eq!((one.away, one.first_away), (2, vec![("south".to_owned(), at(3))]));
    assert_eq!(one.behind, 0);
    let refused = Note::Refused("the file has faults".to_owned());
    health::keep(&mut connection, [("west", &refused)].into_iter(), at(60)).unwrap();
    let one = ask(&connection);
    assert_eq!((one.behind, one.first_behind), (1, vec![("west".to_owned(), "the file has faults".to_owned())]));
}

#[test]
fn why_a_site_is_behind_is_kept_until_it_is_not() {
    let (_dir, mut connection) = open();
    site(&mut connection, "north");
    let mut told = |note: Note| {
        health::keep(&mut connection, [("north", &note)].into_iter(), at(1)).unwrap();
        health::presence(&connection, "north").unwrap().refused
    };
    assert_eq!(told(Note::Seen { connected: true, version: Some(1) }), None);
    let why = Some("the file has faults".to_owned());
    assert_eq!(told(Note::Refused("the file has faults".to_owned())), why);
    assert_eq!(told(Note::Seen { connected: false, version: None }), why);
    assert_eq!(told(Note::Seen { connected: true, version: Some(1) }), why);
    assert_eq!(told(Note::Seen { connected: true, version: Some(2) }), None);
}
