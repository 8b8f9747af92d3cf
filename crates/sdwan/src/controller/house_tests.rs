//! The house is kept: what is over goes, round by round, whatever time it is said to be.

use std::net::Ipv4Addr;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;
use crate::channel::message::{PathReport, Report};
use crate::network::Kind;
use store::documents::Expect;
use store::health::{self, Note};

const DAY: Duration = Duration::from_secs(86_400);

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// A controller whose rounds are the test's.
struct Lab {
    _dir: TempDir,
    controller: Arc<Controller>,
    /// When its site has reported.
    begun: SystemTime,
}

impl Lab {
    /// One with a site that has reported a path once, and is gone.
    async fn new() -> Lab {
        let (dir, begun) = (TempDir::new().unwrap(), SystemTime::now());
        let settings = ControllerSettings { listen: vec![(Ipv4Addr::LOCALHOST, 0).into()], ..Default::default() };
        let controller = Controller::start(&settings, &dir.path().join("controller")).await.unwrap();
        let body = Some(serde_json::json!({ "name": "north" }));
        let site = Edit { kind: Kind::Site, id: "north".to_owned(), body, expect: Expect::New };
        controller.edit(vec![site], "ann").await.unwrap().unwrap();
        let path = PathReport {
            uplink: "fibre".to_owned(),
            site: "south".to_owned(),
            remote_uplink: "dsl".to_owned(),
            via: String::new(),
            state: "up".to_owned(),
            chosen: true,
            latency_ms: 10.0,
            jitter_ms: 1.0,
            loss: 0.0,
            mos: 4.0,
            sent: 1,
            received: 1,
        };
        let at_ms = begun.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let (events, traffic) = (vec![], vec![]);
        let report = Report { sequence: 1, at_ms, paths: vec![path], events, traffic, more: false };
        controller.store().keep("north", Note::Report(report)).await.unwrap();
        controller.store().keep("north", Note::Seen { connected: false, version: None }).await.unwrap();
        Lab { _dir: dir, controller, begun }
    }

    /// Rounds at these times after the report, until all are done.
    async fn rounds(&self, after: &[Duration]) {
        let (say, rounds) = mpsc::channel(1);
        let house = tokio::spawn(Arc::clone(&self.controller).keep_house(rounds));
        for after in after {
            say.send(self.begun + *after).await.unwrap();
        }
        drop(say);
        house.await.unwrap();
    }

    /// How many reports and spans there are of the path.
    async fn kept(&self) -> (usize, usize) {
        let all = (UNIX_EPOCH, self.begun + DAY);
        let count = move |connection: &rusqlite::Connection| {
            let reports = health::history(connection, 1, all, 10)?.len();
            Ok((reports, health::spans(connection, 1, all, 10)?.len()))
        };
        self.controller.store().read(Query::History, count).await.unwrap()
    }
}

#[test]
fn reports_are_rolled_up_and_go_and_what_was_rolled_up_goes_later() {
    run(async {
        let lab = Lab::new().await;
        let (reports, spans) = lab.controller.settings.kept();
        let minute = Duration::from_secs(60);
        lab.rounds(&[Duration::ZERO]).await;
        assert_eq!(lab.kept().await, (1, 0), "its span is not over");
        lab.rounds(&[10 * minute]).await;
        assert_eq!(lab.kept().await, (1, 1));
        lab.rounds(&[reports - minute]).await;
        assert_eq!(lab.kept().await, (1, 1));
        lab.rounds(&[reports + minute]).await;
        assert_eq!(lab.kept().await, (0, 1));
        lab.rounds(&[spans + DAY]).await;
        assert_eq!(lab.kept().await, (0, 0));
    });
}

#[test]
fn a_round_that_comes_to_nothing_is_not_the_last_one() {
    run(async {
        let lab = Lab::new().await;
        let rename = async |from: &'static str, to: &'static str| {
            let sql = format!("ALTER TABLE {from} RENAME TO {to}");
            lab.controller.store().write(Query::Maintenance, move |c| c.execute_batch(&sql)).await.unwrap();
        };
        let (say, rounds) = mpsc::channel(1);
        let house = tokio::spawn(Arc::clone(&lab.controller).keep_house(rounds));
        let later = lab.begun + Duration::from_secs(600);
        rename("rolled_up", "hidden").await;
        // Once there is room for the third, the first is done.
        for _ in 0..3 {
            say.send(later).await.unwrap();
        }
        assert_eq!(lab.kept().await, (1, 0));
        assert!(!house.is_finished());
        rename("hidden", "rolled_up").await;
        say.send(later).await.unwrap();
        drop(say);
        house.await.unwrap();
        assert_eq!(lab.kept().await, (1, 1));
    });
}

#[test]
fn a_site_that_is_gone_counts_as_away_after_a_while_and_every_hour_the_file_is_tidied() {
    run(async {
        let lab = Lab::new().await;
        let away = || lab.controller.metrics().sites_away.get();
        lab.rounds(&[AWAY / 2]).await;
        assert_eq!(away(), 0);
        lab.rounds(&[AWAY + Duration::from_secs(60)]).await;
        assert_eq!((away(), lab.controller.standing().first_away.len()), (1, 1));
        let free = async || {
            let count =
                |c: &rusqlite::Connection| c.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
            lab.controller.store().read(Query::Maintenance, count).await.unwrap()
        };
        let fill = |c: &mut rusqlite::Connection| {
            c.execute_batch("CREATE TABLE much (x BLOB); INSERT INTO much VALUES (zeroblob(1000000)); DROP TABLE much")
        };
        lab.controller.store().write(Query::Maintenance, fill).await.unwrap();
        lab.rounds(&[Duration::ZERO]).await;
        assert!(free().await > 100, "not each round");
        lab.rounds(&[Duration::ZERO; TIDY as usize]).await;
        assert_eq!(free().await, 0);
    });
}
