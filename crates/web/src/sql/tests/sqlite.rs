use futures_util::future::join_all;
use http::Method;

use super::{Asked, INJECTIONS, is_a_value, routes, until, values};
use crate::sql::examine::Of;
use crate::sql::metrics::{Cause, Lookup, Outcome};

const USERS: &str = "
    create table users (id integer primary key, name text not null unique, admin boolean, profile json, photo blob, weight real);
    insert into users values (1, 'Ada', 1, '{\"a\": [1, 2]}', x'00ff', 1.5), (2, 'O''Hara, \"B\"', 0, null, null, null),
        (9007199254740993, 'big', null, 'no json', null, 1e400);
    create table posts (id integer primary key, author integer references users on delete cascade, text text);
    insert into posts values (1, 1, 'first');
    create view authors as select name, count(*) as posts from users join posts on author = users.id group by name;
    create table log (what text);
    create trigger logged after insert on posts begin insert into log values (new.text); end;
";

pub(super) struct File {
    dir: tempfile::TempDir,
}

impl File {
    pub(super) fn new() -> Self {
        let file = Self { dir: tempfile::tempdir().unwrap() };
        file.run(USERS);
        file
    }

    /// What another process does.
    pub(super) fn run(&self, sql: &str) {
        rusqlite::Connection::open(self.dir.path().join("site.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn text(&self, settings: &str, rest: &str) -> String {
        let path = self.dir.path().join("site.db");
        format!("[web.database.main]\nurl = 'sqlite:{}'\n{settings}\n{rest}", path.display())
    }

    pub(super) fn asked(&self, settings: &str, rest: &str) -> Asked {
        Asked::new(&self.text(settings, rest))
    }
}

fn user() -> String {
    routes([
        (
            "/users/{id}",
            "select id, name, admin, profile, photo, weight from users where id = :id",
            "rows = 'one'\nparams = { id = { type = 'integer' } }",
        ),
        (
            "/users",
            "select id, name from users where :name is null or name = :name order by id",
            "params = { name = { type = 'text', required = false } }",
        ),
    ])
}

#[tokio::test]
async fn a_row_is_an_object_whose_values_have_their_types() {
    let file = File::new();
    let site = file.asked("", &user());
    let ada = site.get("/users/1").await;
    assert_eq!((ada.status, ada.field("content-type"), ada.field("vary")), (200, "application/json", "accept"));
    assert_eq!(
        ada.body,
        "{\"id\":1,\"name\":\"Ada\",\"admin\":true,\"profile\":{\"a\": [1, 2]},\"photo\":\"AP8=\",\"weight\":1.5}\n"
    );
    let big = site.get("/users/9007199254740993").await;
    assert_eq!(
        big.body,
        "{\"id\":9007199254740993,\"name\":\"big\",\"admin\":null,\"profile\":\"no json\",\"photo\":null,\"weight\":\"Infinity\"}\n"
    );
    assert_eq!(site.get("/users/7").await.status, 404);
    assert_eq!(site.get("/users?name=none").await.body, "[]\n");
}

#[tokio::test]
async fn who_prefers_csv_gets_it() {
    let file = File::new();
    let site = file.asked("", &user());
    let accept = async |accept| site.ask(Method::GET, "/users", &[("accept", accept)], "").await;
    let csv = accept("text/csv, application/json;q=0.5").await;
    assert_eq!(csv.field("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(csv.body, "id,name\r\n1,Ada\r\n2,\"O'Hara, \"\"B\"\"\"\r\n9007199254740993,big\r\n");
    assert!(accept("*/*").await.body.starts_with("[{\"id\":1,\"name\":\"Ada\"},\n"));
    assert!(accept("text/*").await.body.starts_with("id,name\r\n"));
    assert!(accept("text/csv;q=0, */*;q=0.1").await.body.starts_with('['));
    assert_eq!(accept("text/html").await.status, 406);
}

#[tokio::test]
async fn what_was_answered_before_is_not_sent_again() {
    let file = File::new();
    let site = file.asked("", &user().replace("rows = 'one'", "rows = 'one'\ncache_control = 'max-age=5'"));
    let first = site.get("/users/1").await;
    assert_eq!(first.field("cache-control"), "max-age=5");
    let again = site.ask(Method::GET, "/users/1", &[("if-none-match", first.field("etag"))], "").await;
    assert_eq!((again.status, again.body.as_str(), again.field("etag")), (304, "", first.field("etag")));
    assert_eq!(again.field("cache-control"), "max-age=5");
    file.run("update users set name = 'Eva' where id = 1");
    assert_eq!(site.ask(Method::GET, "/users/1", &[("if-none-match", first.field("etag"))], "").await.status, 200);
    assert_eq!(site.ask(Method::HEAD, "/users/1", &[], "").await.status, 200);
    let refused = site.ask(Method::DELETE, "/users/1", &[], "").await;
    assert_eq!((refused.status, refused.field("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn whatever_a_client_sends_is_a_value_and_never_sql() {
    let file = File::new();
    let site = file.asked("", &(user() + &values(":v")));
    for text in INJECTIONS {
        is_a_value(&site, text).await;
        let refused =
            site.get(&format!("/users/{}", text.replace(['/', '?', '%', '#', '"', ' ', '\n', '\\'], "_"))).await;
        assert_eq!(refused.status, 400, "{text}");
    }
    assert_eq!(site.get("/users/1").await.json()["name"], "Ada");
}

#[tokio::test]
async fn a_parameter_that_is_none_is_named_with_what_was_expected() {
    let file = File::new();
    let site = file.asked("", &user());
    let wrong = site.get("/users/ada").await;
    assert_eq!((wrong.status, wrong.field("content-type")), (400, "application/problem+json"));
    assert_eq!(wrong.field("cache-control"), "no-store");
    let problem = wrong.json();
    assert_eq!((&problem["key"], &problem["type"]), (&"id".into(), &"urn:outwork:problem:invalid".into()));
    assert_eq!((&problem["fault"], &problem["status"]), (&"client".into(), &400.into()));
    assert!(problem["detail"].as_str().unwrap().contains("expected a whole number of 64 bits"), "{problem}");
    assert_eq!(site.get("/users?name=a&name=b").await.status, 400);
    assert_eq!(site.shared().metrics.queries.of(Outcome::Invalid).get(), 2);
}

fn write() -> String {
    let writes = |keys: &str| format!("write = true\n{keys}");
    let named = "params = { name = { type = 'text' } }";
    let cached = "cache = { ttl = '1h' }";
    routes([
        (
            "POST /users",
            "insert into users (name) values (:name); insert into log select name from users where id = last_insert_rowid(); \
             select id, name from users where name = :name",
            &writes(&format!("rows = 'one'\nmax_body = '100B'\n{named}")),
        ),
        (
            "POST /posts",
            "insert into posts (author, text) values (:author, :text)",
            &writes("params = { author = { type = 'integer' }, text = { type = 'text', required = false } }"),
        ),
        (
            "DELETE /users/{id}",
            "delete from users where id = :id",
            &writes("rows = 'one'\nparams = { id = { type = 'integer' } }"),
        ),
        (
            "POST /twice",
            "insert into users (name) values ('half'); insert into users (name) values (:name)",
            &writes(named),
        ),
        ("/log", "select count(*) as lines from log", "rows = 'one'"),
        ("/authors", "select * from authors", cached),
        ("/posts", "select id from posts", cached),
        ("/cached-log", "select what from log", cached),
    ])
}

#[tokio::test]
async fn a_change_is_made_whole_or_not_at_all() {
    let file = File::new();
    let site = file.asked("", &(user() + &write()));
    let made = site.post("/users", "application/json", "{\"name\": \"Bea\"}").await;
    assert_eq!((made.status, made.field("cache-control")), (200, "no-store"), "{made:?}");
    assert_eq!(made.json()["name"], "Bea");
    assert_eq!(site.get("/log").await.json()["lines"], 1);
    assert_eq!(
        site.post("/posts", "application/x-www-form-urlencoded", "author=2&text=a+b").await.body,
        "{\"rows_affected\":1}\n"
    );
    let twice = site.post("/users", "application/json", "{\"name\": \"Bea\"}").await;
    assert_eq!(twice.status, 409, "{twice:?}");
    assert_eq!(twice.json()["detail"], "it contradicts what is there already: unique constraint on name");
    assert_eq!(twice.json()["constraint"], serde_json::json!({"kind": "unique", "columns": ["name"]}));
    assert!(!twice.body.contains("users") && !twice.body.contains("Bea"), "{twice:?}");
    assert_eq!(site.post("/twice", "application/json", "{\"name\": \"Ada\"}").await.status, 409);
    assert_eq!(site.get("/users?name=half").await.body, "[]\n", "what came before the failure is undone");
    let nobody = site.post("/posts", "application/json", "{\"author\": 77}").await;
    assert_eq!((nobody.status, &nobody.json()["constraint"]["kind"]), (409, &"foreign-key".into()), "nobody is 77");
    assert_eq!(site.ask(Method::DELETE, "/users/2", &[], "").await.status, 200);
    assert_eq!(site.ask(Method::DELETE, "/users/2", &[], "").await.status, 404);
}

#[tokio::test]
async fn a_content_is_small_known_and_of_a_type_that_can_be_read() {
    let file = File::new();
    let site = file.asked("", &write());
    let status = async |kind: &str, body: &str| site.post("/users", kind, body).await.status;
    assert_eq!(status("application/json", "{\"name\": \"x\", \"nmae\": 1}").await, 400);
    assert_eq!(status("application/json", "[1]").await, 400);
    assert_eq!(status("application/json", "{").await, 400);
    assert_eq!(status("application/json", "{\"name\": null}").await, 400);
    assert_eq!(status("text/plain", "name=x").await, 415);
    assert_eq!(status("application/json", &"x".repeat(101)).await, 413);
    assert_eq!(status("application/x-www-form-urlencoded; charset=utf-8", "name=x").await, 200);
    assert_eq!(site.post("/users?name=y", "application/json", "").await.status, 400);
}

#[tokio::test]
async fn a_result_is_kept_until_a_table_that_it_was_made_of_is_changed() {
    let file = File::new();
    let site = file.asked("change_check = '1h'", &write());
    let hits = || site.shared().metrics.lookups.of(Lookup::Hit).get();
    for path in ["/authors", "/posts", "/cached-log"] {
        let first = site.get(path).await;
        let before = hits();
        assert_eq!(site.get(path).await.body, first.body);
        assert_eq!(hits(), before + 1, "{path}");
    }
    // A view is made of its tables, and a trigger changes others.
    site.post("/posts", "application/json", "{\"author\": 1, \"text\": \"second\"}").await;
    assert_eq!(site.get("/authors").await.body, "[{\"name\":\"Ada\",\"posts\":2}]\n");
    assert_eq!(site.get("/cached-log").await.body, "[{\"what\":\"second\"}]\n");
    assert_eq!(site.get("/posts").await.body, "[{\"id\":1},\n{\"id\":2}]\n");
    // So does a foreign key.
    site.ask(Method::DELETE, "/users/1", &[], "").await;
    assert_eq!(site.get("/posts").await.body, "[]\n");
    // What has nothing to do with it stays.
    let before = hits();
    site.get("/cached-log").await;
    assert_eq!(hits(), before + 1);
    file.run("insert into log values ('past us')");
    assert_eq!(site.get("/cached-log").await.body, "[{\"what\":\"second\"}]\n", "nobody has told");
    assert_eq!(site.shared().cache.forget_tables("main", &["log".into()], Cause::Api).await, 1);
    assert!(site.get("/cached-log").await.body.contains("past us"));
}

#[tokio::test]
async fn a_change_by_another_process_is_seen_and_one_of_our_own_is_not_taken_for_one() {
    let file = File::new();
    let site = file.asked("change_check = '0s'", &write());
    let changed = || site.shared().metrics.invalidations.of(Cause::Changed).get();
    for number in 0..20 {
        file.run(&format!("insert into log values ('n{number}')"));
        assert!(site.get("/cached-log").await.body.contains(&format!("n{number}\"")));
    }
    site.get("/posts").await;
    let before = (changed(), site.shared().metrics.lookups.of(Lookup::Hit).get());
    assert_eq!(site.post("/users", "application/json", "{\"name\": \"Bea\"}").await.status, 200);
    site.get("/posts").await;
    assert_eq!((changed(), site.shared().metrics.lookups.of(Lookup::Hit).get()), (before.0, before.1 + 1));
}

/// It counts for as long as it is let.
const SLOW: &str = "
    [route.'/slow']
    database = 'main'
    sql = 'with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) as m from n where i > :i'
    params = { i = { type = 'integer', default = 0 } }
    [route.'/fast']
    database = 'main'
    sql = 'select 1 as one'
";

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped_and_its_connection_goes_on() {
    let file = File::new();
    let site = file.asked("pool_size = 1\nquery_timeout = '200ms'", SLOW);
    let slow = site.get("/slow").await;
    assert_eq!((slow.status, slow.json()["type"].as_str()), (504, Some("urn:outwork:problem:timeout")));
    assert_eq!(site.get("/fast").await.status, 200);
    let metrics = &site.shared().metrics;
    assert_eq!((metrics.stopped.get(), metrics.opened.cell(["main"]).get()), (1, 1));
}

#[tokio::test]
async fn a_connection_has_its_pragmas() {
    let file = File::new();
    file.run("insert into log values ('first'), ('second')");
    let route = "[route.'/log']\ndatabase = 'main'\nsql = 'select what from log'";
    let whats = async |settings| {
        let rows = file.asked(settings, route).get("/log").await.json();
        rows.as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(whats("").await, ["first", "second"]);
    assert_eq!(whats("pragmas = { reverse_unordered_selects = 'on' }").await, ["second", "first"]);
}

#[tokio::test]
async fn connections_beyond_those_that_are_to_rest_close_when_nobody_needs_them_and_all_when_they_are_old() {
    let file = File::new();
    let site = file.asked("pool_size = 3\nmin_idle = 1\nidle_timeout = '10ms'\nquery_timeout = '200ms'", SLOW);
    let cells = |site: &Asked| {
        let metrics = &site.shared().metrics;
        (metrics.opened.cell(["main"]), metrics.idle.cell(["main"]))
    };
    let (opened, idle) = cells(&site);
    let slow = join_all([site.get("/slow?i=1"), site.get("/slow?i=2"), site.get("/slow?i=3")]).await;
    assert!(slow.iter().all(|answer| answer.status == 504) && opened.get() == 3, "{}", opened.get());
    until(async || idle.get() == 1).await;
    let site = file.asked("pool_size = 1\nmax_lifetime = '1s'", SLOW);
    let (opened, _) = cells(&site);
    until(async || site.get("/fast").await.status == 200 && opened.get() >= 2).await;
}

#[tokio::test]
async fn who_finds_every_connection_and_every_place_taken_is_told_to_come_again() {
    let file = File::new();
    let site = file.asked("pool_size = 1\nqueue = 1\nconnect_timeout = '1s'\nquery_timeout = '1h'", SLOW);
    let metrics = &site.shared().metrics;
    let (used, waiting) = (metrics.used.cell(["main"]), metrics.waiting.cell(["main"]));
    let mut slow = Box::pin(site.get("/slow"));
    tokio::select! {
        _ = &mut slow => panic!("it does not end"),
        () = until(async || used.get() == 1) => {}
    }
    let mut second = Box::pin(site.get("/slow?i=1"));
    tokio::select! {
        _ = &mut second => panic!("it waits"),
        () = until(async || waiting.get() == 1) => {}
    }
    let third = site.get("/slow?i=2").await;
    assert_eq!((third.status, third.field("retry-after")), (503, "1"), "{third:?}");
    assert_eq!(metrics.queries.of(Outcome::Full).get(), 1);
    assert_eq!(second.await.status, 503, "it waited for connect_timeout");
    assert_eq!(metrics.queries.of(Outcome::Unavailable).get(), 1);
    // A client that goes takes its query with it.
    drop(slow);
    until(async || used.get() == 0).await;
    assert_eq!((site.get("/fast").await.status, waiting.get()), (200, 0));
}

#[tokio::test]
async fn one_asks_for_all_who_want_the_same() {
    let file = File::new();
    let text = "
        [route.'/count']
        database = 'main'
        sql = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select max(i) as m from n'
        cache = { ttl = '1h' }";
    let site = file.asked("", text);
    let all = join_all((0..20).map(|_| site.get("/count"))).await;
    assert!(all.iter().all(|told| told.body == "[{\"m\":200000}]\n"));
    let lookups = |lookup| site.shared().metrics.lookups.of(lookup).get();
    assert_eq!(
        (lookups(Lookup::Miss), lookups(Lookup::Miss) + lookups(Lookup::Collapsed) + lookups(Lookup::Hit)),
        (1, 20)
    );
    assert_eq!(site.shared().metrics.query_time.snapshot().count(), 1);
}

#[tokio::test]
async fn a_statement_is_prepared_once_for_each_connection() {
    let file = File::new();
    let site = file.asked("pool_size = 1", &user());
    for _ in 0..5 {
        site.get("/users/1").await;
    }
    let metrics = &site.shared().metrics;
    assert_eq!((metrics.prepared.get(), metrics.reused.get()), (1, 4));
    file.run("alter table users add column more text");
    assert_eq!(site.get("/users/1").await.status, 200);
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_is_an_error_and_none_that_is_cut() {
    let file = File::new();
    let site = file.asked("", &user().replace("[route.'/users']", "[route.'/users']\nmax_rows = 2"));
    let large = site.get("/users").await;
    assert_eq!(large.status, 500);
    assert_eq!(large.json()["detail"], "the answer is larger than it may be");
    assert_eq!(site.get("/users?name=Ada").await.status, 200);
    assert_eq!(site.shared().metrics.queries.of(Outcome::TooLarge).get(), 1);
}

#[tokio::test]
async fn no_value_of_a_row_grows_larger_than_an_answer_may_be() {
    let file = File::new();
    let site = file.asked(
        "",
        &routes([
            ("/made", "select length(printf('%.*c', :size, 'x')) as n", "params = { size = { type = 'integer' } }"),
            ("/allowed", "select length(printf('%.*c', 20000000, 'x')) as n", "max_size = '32MiB'"),
        ]),
    );
    let too_large = site.get("/made?size=20000000").await;
    assert_eq!((too_large.status, &too_large.json()["detail"]), (500, &"the answer is larger than it may be".into()));
    assert_eq!(site.get("/made?size=10000000").await.body, "[{\"n\":10000000}]\n");
    assert_eq!(site.get("/allowed").await.body, "[{\"n\":20000000}]\n", "each query has its own bound");
    assert_eq!(site.get("/made?size=20000000").await.status, 500);
    assert_eq!(site.shared().metrics.queries.of(Outcome::TooLarge).get(), 2);
}

#[tokio::test]
async fn a_file_that_comes_later_or_in_the_place_of_another_is_opened() {
    let file = File::new();
    let (now, away) = (file.dir.path().join("site.db"), file.dir.path().join("away.db"));
    std::fs::rename(&now, &away).unwrap();
    let cached = user().replace("[route.'/users']", "[route.'/users']\ncache = { ttl = '1h' }");
    let site = file.asked("change_check = '0s'", &cached);
    let unopened = site.get("/users/1").await;
    assert_eq!((unopened.status, &unopened.json()["fault"]), (503, &"us".into()), "{unopened:?}");
    std::fs::copy(&away, &now).unwrap();
    assert_eq!(site.get("/users/1").await.json()["name"], "Ada");
    assert!(site.get("/users").await.body.contains("Ada"));
    let other = rusqlite::Connection::open(&away).unwrap();
    other.execute_batch("update users set name = 'Eva' where id = 1").unwrap();
    drop(other);
    std::fs::rename(&away, &now).unwrap();
    assert_eq!(site.get("/users/1").await.json()["name"], "Eva");
    assert!(site.get("/users").await.body.contains("Eva"), "what was kept of the other file is forgotten");
}

#[tokio::test]
async fn what_reaches_out_of_the_database_fails_and_the_client_is_told_nothing_of_it() {
    let file = File::new();
    let site = file.asked(
        "",
        "
        [route.'/extension']
        database = 'main'
        sql = \"select load_extension('x') as x\"
    ",
    );
    let told = site.get("/extension").await;
    assert_eq!(told.status, 500);
    assert_eq!(told.json()["detail"], "the query failed", "the log has the rest");
}

#[tokio::test]
async fn a_reload_keeps_connections_of_databases_that_stay_as_they_are() {
    let file = File::new();
    let mut site = file.asked("", &user());
    site.get("/users/1").await;
    let opened = site.shared().metrics.opened.cell(["main"]);
    let before = opened.get();
    let stays = site.databases.get("main").unwrap().clone();
    let renamed = user().replace("/users/{id}", "/people/{id}");
    site.reload(&file.text("", &renamed));
    assert!(std::sync::Arc::ptr_eq(&stays, site.databases.get("main").unwrap()));
    assert_eq!((site.get("/people/1").await.status, opened.get()), (200, before));
    site.reload(&file.text("pool_size = 3", &renamed));
    assert!(!std::sync::Arc::ptr_eq(&stays, site.databases.get("main").unwrap()));
    assert_eq!(site.get("/people/1").await.status, 200);
}

#[test]
fn queries_that_sqlite_does_not_take_are_found_without_running_any() {
    let file = File::new();
    let wrong = user().replace("select id, name from users", "select id, nmae from users");
    let found = super::examined(&file.text("", &(wrong + &write())));
    let told: Vec<_> = found.iter().map(|finding| (&finding.of, &*finding.why)).collect();
    assert_eq!(told, [(&Of::Query(4), "no such column: nmae")], "{found:?}");
    std::fs::write(
        file.dir.path().join("site.db"),
        "no database at all, and long enough to be told from an empty one".repeat(20),
    )
    .unwrap();
    let found = super::examined(&file.text("", &user()));
    assert!(found.iter().all(|finding| finding.why.contains("not a database")) && !found.is_empty(), "{found:?}");
}
