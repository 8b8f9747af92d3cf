//! Clients that leave while something is changed, and databases that are lost sight of.

use futures_util::FutureExt;
use http::Method;

use super::postgres::asked;
use super::server::Server;
use super::sqlite::File;
use super::until;
use crate::sql::metrics::Lookup;

const ROUTES: &str = "
    [route.'/log']
    database = 'main'
    sql = 'select what from log'
    cache = { ttl = '1h' }
    [route.'POST /log']
    database = 'main'
    write = true
";

#[tokio::test]
async fn a_change_is_made_though_its_client_has_gone_and_what_it_changed_is_forgotten() {
    let file = File::new();
    // It takes a while, so that nobody waits for its end.
    let slow = "sql = '''insert into log with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000) select max(i) from n'''";
    let site = file.asked("change_check = '1h'", &format!("{ROUTES}{slow}"));
    let empty = site.get("/log").await;
    assert_eq!((site.get("/log").await.body, site.shared().metrics.lookups.of(Lookup::Hit).get()), (empty.body, 1));
    assert!(site.post("/log", "application/json", "").now_or_never().is_none());
    until(async || site.get("/log").await.body.contains("300000")).await;
}

#[tokio::test]
async fn a_change_that_takes_too_long_is_stopped_and_undone() {
    let file = File::new();
    let endless = "sql = '''insert into log values ('half'); insert into log with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n'''";
    let site = file.asked("query_timeout = '200ms'", &format!("{ROUTES}{endless}"));
    assert_eq!(site.post("/log", "application/json", "").await.status, 504);
    assert_eq!((site.get("/log").await.body, site.shared().metrics.stopped.get()), ("[]\n".to_owned(), 1));
}

#[tokio::test]
async fn who_leaves_takes_no_word_of_another_s_change_along() {
    let file = File::new();
    let site = file.asked("change_check = '0s'", ROUTES.split("[route.'POST").next().unwrap());
    site.get("/log").await;
    for number in 0..50 {
        file.run(&format!("insert into log values ('n{number}')"));
        // The one who asks is told once whether others have changed something.
        drop(site.get("/log").now_or_never());
        let seen = site.get("/log").await.body;
        assert!(seen.contains(&format!("n{number}\"")), "{number}: {seen}");
    }
}

const SLOW_COMMIT: &str = "
    create table log (what text);
    create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(new.what::float); return null; end';
    create constraint trigger slow after insert on log deferrable initially deferred for each row execute function slow();
";

const INSERT: &str = "sql = 'insert into log values (:what)'\nparams = { what = { type = 'text' } }\n";

fn is_committing(server: &Server) -> bool {
    server.must("select count(*) from pg_stat_activity where query = 'COMMIT' and state = 'active'") == "1"
}

#[tokio::test]
async fn who_leaves_during_a_commit_has_it_made_and_what_it_changed_forgotten() {
    let server = Server::new(&[]);
    server.must(SLOW_COMMIT);
    let site = asked(&server, "", &format!("{ROUTES}{INSERT}"));
    assert_eq!(site.get("/log").await.body, "[]\n");
    let leave = async |what: &str| {
        let body = format!("{{\"what\": \"{what}\"}}");
        tokio::select! {
            told = site.post("/log", "application/json", &body) => panic!("{told:?}"),
            () = until(async || is_committing(&server)) => {}
        }
    };
    leave("0.7").await;
    assert_eq!(site.get("/log").await.body, "[]\n", "it is not made yet");
    until(async || site.get("/log").await.body.contains("0.7")).await;
}

#[tokio::test]
async fn where_nobody_knows_whether_a_change_was_made_all_is_forgotten_and_the_client_told_so() {
    let server = Server::new(&[]);
    server.must(SLOW_COMMIT);
    let site = asked(&server, "query_timeout = '1h'", &format!("{ROUTES}{INSERT}"));
    let misses = || site.shared().metrics.lookups.of(Lookup::Miss).get();
    site.get("/log").await;
    site.get("/log").await;
    assert_eq!(misses(), 1);
    let posted = site.ask(Method::POST, "/log", &[("content-type", "application/json")], "{\"what\": \"3600\"}");
    let cut = async {
        until(async || is_committing(&server)).await;
        server.must("select pg_terminate_backend(pid) from pg_stat_activity where query = 'COMMIT'");
    };
    let (told, ()) = tokio::join!(posted, cut);
    assert_eq!((told.status, &told.json()["type"]), (504, &"urn:outwork:problem:unsettled".into()), "{told:?}");
    site.get("/log").await;
    assert_eq!(misses(), 2, "it is asked anew");
    // In time it is stopped, and then it is known.
    let site = asked(&server, "query_timeout = '200ms'", &format!("{ROUTES}{INSERT}"));
    let told = site.post("/log", "application/json", "{\"what\": \"3600\"}").await;
    assert_eq!((told.status, &told.json()["type"]), (504, &"urn:outwork:problem:timeout".into()), "{told:?}");
    assert_eq!(site.get("/log").await.body, "[]\n");
}
