use futures_util::future::join_all;
use http::Method;

use super::server::Server;
use super::{Asked, INJECTIONS, is_a_value, routes, until, values};
use crate::sql::examine::{Finding, Of};
use crate::sql::metrics::{Cause, Lookup, Outcome};

const USERS: &str = "
    create type mood as enum ('happy', 'sad');
    create domain percent as numeric(5, 2) check (value between 0 and 100);
    create table users (id serial primary key, name text not null unique, age smallint check (age > 0), mood mood,
        born date, token uuid);
    insert into users (name, age, mood, born, token) values
        ('Ada', 36, 'happy', '1815-12-10', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('O''Hara', null, null, null, null);
";

fn web(server: &Server, settings: &str, rest: &str) -> String {
    format!("[web.database.main]\nurl = '{}'\n{settings}\n{rest}", server.url())
}

pub(super) fn asked(server: &Server, settings: &str, rest: &str) -> Asked {
    Asked::new(&web(server, settings, rest))
}

#[tokio::test]
async fn values_of_every_usual_type_have_a_form_in_json_and_csv() {
    let server = Server::new(&[]);
    server.must(USERS);
    let site = asked(&server, "", "
        [route.'/all']
        database = 'main'
        sql = '''select true as b, 1::smallint as i2, 2147483647 as i4, 9223372036854775807 as i8, 0.1::real as f4,
            1e300::float8 as f8, 'NaN'::float8 as nan, 12345678901234567890.1234567890::numeric as n, 0.00::numeric(5,2) as zero,
            'a\"b' as t, 'x'::char(3) as c, 'n'::name as name, '\\x00ff'::bytea as by, '{\"a\":1.0}'::json as j,
            '{\"b\": [1, null]}'::jsonb as jb, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as u, '2026-11-21'::date as d,
            'infinity'::timestamptz as inf, '12:30:00.5'::time as ti, '12:30+02'::timetz as tz,
            '2026-11-21 12:00:00.25'::timestamp as ts, '2026-11-21 12:00:00+02'::timestamptz as tstz,
            '0044-03-15 BC'::date as bc, '1 year 2 days 03:04:05'::interval as iv, '192.0.2.1'::inet as ip,
            '2001:db8::/32'::cidr as net, '08:00:2b:01:02:03'::macaddr as mac, array[1, null, 3] as list,
            array[['a'], ['b,c']] as lists, array[]::int[] as none, 'happy'::mood as mood, array['sad'::mood] as moods,
            99.5::percent as pc, null::int as nothing, 7::oid as o'''
        rows = 'one'
        [route.'/point']
        database = 'main'
        sql = \"select '(1,2)'::point as place\"
    ");
    let all = site.get("/all").await;
    let expected = concat!(
        "{\"b\":true,\"i2\":1,\"i4\":2147483647,\"i8\":9223372036854775807,\"f4\":0.1,\"f8\":1e+300,\"nan\":\"NaN\",",
        "\"n\":12345678901234567890.1234567890,\"zero\":0.00,\"t\":\"a\\\"b\",\"c\":\"x  \",\"name\":\"n\",\"by\":\"AP8=\",",
        "\"j\":{\"a\":1.0},\"jb\":{\"b\": [1, null]},\"u\":\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\",\"d\":\"2026-11-21\",",
        "\"inf\":\"infinity\",\"ti\":\"12:30:00.5\",\"tz\":\"12:30:00+02:00\",\"ts\":\"2026-11-21T12:00:00.25\",",
        "\"tstz\":\"2026-11-21T10:00:00Z\",\"bc\":\"-0043-03-15\",\"iv\":\"P1Y2DT3H4M5S\",\"ip\":\"192.0.2.1\",",
        "\"net\":\"2001:db8::/32\",\"mac\":\"08:00:2b:01:02:03\",\"list\":[1,null,3],\"lists\":[[\"a\"],[\"b,c\"]],\"none\":[],",
        "\"mood\":\"happy\",\"moods\":[\"sad\"],\"pc\":99.50,\"nothing\":null,\"o\":7}\n",
    );
    assert_eq!(all.body, expected);
    let csv = site.ask(Method::GET, "/all", &[("accept", "text/csv")], "").await;
    assert!(csv.body.contains(",12345678901234567890.1234567890,0.00,\"a\"\"b\",\"x  \","), "{csv:?}");
    assert!(csv.body.contains(",\"[[\"\"a\"\"],[\"\"b,c\"\"]]\",[],happy,"), "{csv:?}");
    assert_eq!(site.get("/point").await.status, 500, "the log says to cast it");
}

const USER: (&str, &str, &str) = (
    "/users/{id}",
    "select id, name from users where id = :id",
    "rows = 'one'\nparams = { id = { type = 'integer' } }",
);
const NAMED: (&str, &str, &str) = (
    "/users",
    "select name from users where (:name::text is null or name = :name) order by id",
    "params = { name = { type = 'text', required = false } }",
);

#[tokio::test]
async fn whatever_a_client_sends_is_a_value_and_never_sql() {
    let server = Server::new(&[]);
    server.must(USERS);
    let site = asked(&server, "", &(routes([USER, NAMED]) + &values(":v::text")));
    for text in INJECTIONS {
        is_a_value(&site, text).await;
    }
    assert_eq!(server.must("select count(*) from users"), (2 + INJECTIONS.len()).to_string());
}

#[tokio::test]
async fn a_value_becomes_what_its_column_is_or_is_refused() {
    let server = Server::new(&[]);
    server.must(USERS);
    let route = |column: &str, kind: &str| {
        let sql = format!("select name from users where {column} = :v");
        routes([(&format!("/{column}"), &sql, &format!("params = {{ v = {{ type = '{kind}' }} }}"))])
    };
    let kinds = [("age", "integer"), ("mood", "text"), ("born", "date"), ("token", "uuid")];
    let site = asked(&server, "", &kinds.map(|(column, kind)| route(column, kind)).concat());
    for (column, value) in
        [("age", "36"), ("mood", "happy"), ("born", "1815-12-10"), ("token", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")]
    {
        assert_eq!(site.get(&format!("/{column}?v={value}")).await.body, "[{\"name\":\"Ada\"}]\n", "{column}");
    }
    for (column, value) in [("age", "40000"), ("mood", "angry")] {
        let refused = site.get(&format!("/{column}?v={value}")).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert_eq!(refused.json()["detail"], "the database does not take a value that was given");
    }
}

#[tokio::test]
async fn a_change_is_made_whole_or_not_at_all_and_only_where_a_route_changes() {
    let server = Server::new(&[]);
    server.must(USERS);
    server.must("create table log (what text); create function sneak() returns int language sql as 'insert into log values (''x''); select 1'");
    let site = asked(
        &server,
        "",
        "
        [route.'/sneak']
        database = 'main'
        sql = 'select sneak() as s'
        [route.'POST /users']
        database = 'main'
        sql = 'insert into log values (:name); insert into users (name, age) values (:name, :age)'
        write = true
        params = { name = { type = 'text' }, age = { type = 'integer', required = false } }
        [route.'PUT /users/{id}']
        database = 'main'
        sql = 'update users set name = :name where id = :id returning id, name'
        write = true
        rows = 'one'
        params = { id = { type = 'integer' }, name = { type = 'text' } }
    ",
    );
    assert_eq!(site.get("/sneak").await.status, 500, "a function may not change what a route only reads");
    assert_eq!(server.must("select count(*) from log"), "0");
    let post = async |body: &str| site.post("/users", "application/json", body).await;
    assert_eq!(post("{\"name\": \"Bea\", \"age\": 7}").await.body, "{\"rows_affected\":1}\n");
    let twice = post("{\"name\": \"Bea\"}").await;
    assert_eq!((twice.status, &twice.json()["constraint"]["columns"]), (409, &serde_json::json!(["name"])));
    assert!(!twice.body.contains("Bea"), "{twice:?}");
    let rule = post("{\"name\": \"Cid\", \"age\": -1}").await;
    assert_eq!(rule.status, 422);
    assert!(rule.body.contains("check constraint users_age_check") && !rule.body.contains("-1"), "{rule:?}");
    assert_eq!(server.must("select string_agg(what, ',') from log"), "Bea", "what came before a failure is undone");
    let put = async |id: u32| {
        site.ask(Method::PUT, &format!("/users/{id}"), &[("content-type", "application/json")], "{\"name\": \"Eva\"}")
            .await
    };
    assert_eq!(put(1).await.json(), serde_json::json!({"id": 1, "name": "Eva"}));
    assert_eq!(put(77).await.status, 404);
}

fn sleep() -> String {
    routes([
        ("/sleep", "select pg_sleep(:s)::text as s", "params = { s = { type = 'number' } }"),
        ("/one", "select 1 as one", ""),
        ("/many", "select generate_series(1, 100000000) as n", ""),
    ])
}

fn sleeping(server: &Server) -> String {
    server.must("select count(*) from pg_stat_activity where query like '%pg_sleep(%' and state = 'active' and pid <> pg_backend_pid()")
}

#[tokio::test]
async fn a_query_that_takes_too_long_or_that_nobody_waits_for_is_stopped_at_the_server() {
    let server = Server::new(&[]);
    let site = asked(&server, "pool_size = 1\nquery_timeout = '500ms'", &sleep());
    assert_eq!(site.get("/sleep?s=3600").await.status, 504);
    until(async || sleeping(&server) == "0").await;
    assert_eq!(site.get("/one").await.body, "[{\"one\":1}]\n");
    let patient = asked(&server, "query_timeout = '1h'", &sleep());
    tokio::select! {
        told = patient.get("/sleep?s=3600") => panic!("{told:?}"),
        () = until(async || sleeping(&server) == "1") => {}
    }
    assert_eq!(patient.get("/many").await.status, 500, "more rows than may be, and the rest is not waited for");
    assert_eq!(patient.get("/one").await.status, 200);
    until(async || sleeping(&server) == "0").await;
    assert_eq!(patient.shared().metrics.stopped.get(), 2);
}

#[tokio::test]
async fn who_finds_every_connection_and_every_place_taken_is_told_to_come_again() {
    let server = Server::new(&[]);
    let site = asked(
        &server,
        "pool_size = 2\nmin_idle = 0\nqueue = 1\nconnect_timeout = '1s'\nquery_timeout = '1h'",
        &sleep(),
    );
    let metrics = &site.shared().metrics;
    let (used, waiting) = (metrics.used.cell(["main"]), metrics.waiting.cell(["main"]));
    let mut slow = Box::pin(join_all([site.get("/sleep?s=3600"), site.get("/sleep?s=3600")]));
    tokio::select! {
        _ = &mut slow => panic!("it does not end"),
        () = until(async || used.get() == 2) => {}
    }
    let mut third = Box::pin(site.get("/one"));
    tokio::select! {
        _ = &mut third => panic!("it waits"),
        () = until(async || waiting.get() == 1) => {}
    }
    let fourth = site.get("/one").await;
    assert_eq!((fourth.status, fourth.field("retry-after")), (503, "1"), "{fourth:?}");
    assert_eq!(metrics.queries.of(Outcome::Full).get(), 1);
    assert_eq!(third.await.status, 503, "it waited for connect_timeout");
    drop(slow);
    until(async || used.get() == 0).await;
    assert_eq!(site.get("/one").await.status, 200);
}

#[tokio::test]
async fn statements_are_prepared_once_and_connections_are_used_again() {
    let server = Server::new(&[]);
    server.must(USERS);
    let site = asked(&server, "min_idle = 0", &routes([USER]));
    for _ in 0..5 {
        assert_eq!(site.get("/users/1").await.body, "{\"id\":1,\"name\":\"Ada\"}\n");
    }
    let metrics = &site.shared().metrics;
    assert_eq!((metrics.prepared.get(), metrics.reused.get(), metrics.opened.cell(["main"]).get()), (1, 4, 1));
    // What was prepared for a table as it was is prepared anew.
    server.must("alter table users alter name type varchar(50), alter id type bigint");
    assert_eq!(site.get("/users/1").await.status, 200);
}

#[tokio::test]
async fn a_server_that_comes_back_is_used_again_and_those_that_are_to_rest_are_opened() {
    let mut server = Server::new(&[]);
    let site = asked(&server, "min_idle = 2\nhealth_check = '20ms'\nconnect_timeout = '1s'", &sleep());
    let idle = site.shared().metrics.idle.cell(["main"]);
    until(async || idle.get() == 2).await;
    assert_eq!(site.get("/one").await.status, 200);
    server.stop();
    let down = site.get("/one").await;
    assert_eq!((down.status, down.field("retry-after")), (503, "1"));
    assert_eq!(
        (&down.json()["fault"], &down.json()["detail"]),
        (&"upstream".into(), &"the database cannot be reached now".into())
    );
    assert!(!down.body.contains("postgres"), "{down:?}");
    server.start();
    assert_eq!(site.get("/one").await.status, 200);
    until(async || idle.get() >= 2).await;
}

#[tokio::test]
async fn connections_beyond_those_that_are_to_rest_close_when_nobody_needs_them_and_all_when_they_are_old() {
    let server = Server::new(&[]);
    let keys = "pool_size = 3\nmin_idle = 1\nhealth_check = '10ms'\nidle_timeout = '10ms'\nquery_timeout = '1s'";
    let site = asked(&server, keys, &sleep());
    let (opened, idle) = (site.shared().metrics.opened.cell(["main"]), site.shared().metrics.idle.cell(["main"]));
    let slow = join_all([site.get("/sleep?s=3600"), site.get("/sleep?s=3600"), site.get("/sleep?s=3600")]).await;
    assert!(slow.iter().all(|answer| answer.status == 504) && opened.get() >= 3, "{}", opened.get());
    until(async || idle.get() == 1).await;
    let site = asked(&server, "pool_size = 1\nmax_lifetime = '1s'", &sleep());
    let opened = site.shared().metrics.opened.cell(["main"]);
    until(async || site.get("/one").await.status == 200 && opened.get() >= 2).await;
}

#[tokio::test]
async fn a_connection_that_died_while_it_rested_costs_nobody_an_answer() {
    let server = Server::new(&[]);
    let site = asked(&server, "min_idle = 0\nhealth_check = '1h'", &sleep());
    for _ in 0..3 {
        assert_eq!(site.get("/one").await.status, 200);
        server.must("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outwork'");
    }
    assert_eq!(site.get("/one").await.status, 200);
}

#[tokio::test]
async fn results_are_kept_until_a_route_or_the_database_says_that_a_table_has_changed() {
    let server = Server::new(&[]);
    server.must(USERS);
    let site = asked(
        &server,
        "listen = 'Changed Tables'",
        "
        [route.'/users']
        database = 'main'
        sql = 'select name from public.users order by id'
        cache = { ttl = '1h' }
        [route.'POST /users']
        database = 'main'
        sql = 'insert into users (name) values (:name)'
        write = true
        params = { name = { type = 'text' } }
    ",
    );
    let metrics = &site.shared().metrics;
    let cause = |cause| metrics.invalidations.of(cause).get();
    until(async || cause(Cause::Reconnected) == 1).await;
    let users = async || site.get("/users").await.body;
    assert!(!users().await.contains("Bea"));
    assert_eq!(site.post("/users", "application/json", "{\"name\": \"Bea\"}").await.status, 200);
    assert!(users().await.contains("Bea"), "a route has changed it");
    server.must("insert into users (name) values ('Cid')");
    assert!(!users().await.contains("Cid"), "nobody has told");
    assert_eq!(metrics.lookups.of(Lookup::Hit).get(), 1);
    server.must("notify \"Changed Tables\", 'other, public.Users'");
    until(async || cause(Cause::Notified) == 2).await;
    assert!(users().await.contains("Cid"));
    server.must("insert into users (name) values ('Dan'); notify \"Changed Tables\"");
    until(async || cause(Cause::Notified) == 3).await;
    assert!(users().await.contains("Dan"));
    server.must("insert into users (name) values ('Eva')");
    server.must("select pg_terminate_backend(pid) from pg_stat_activity where query like 'LISTEN%'");
    until(async || cause(Cause::Reconnected) == 2).await;
    assert!(users().await.contains("Eva"), "what was told meanwhile is not known");
}

#[tokio::test]
async fn connections_are_encrypted_to_a_server_that_is_who_it_says_and_who_has_the_password() {
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut server = Server::new(&[]);
    server.stop();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let data = server.dir().join("data");
    let write = |name: &str, text: &str| {
        let path = data.join(name);
        std::fs::write(&path, text).unwrap();
        std::os::unix::fs::chown(&path, Some(owner(&data)), None).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("server.key", &key.signing_key.serialize_pem());
    write("server.crt", &key.cert.pem());
    write("pg_hba.conf", "local all all trust\nhostssl all all all scram-sha-256\n");
    server.start_with(&["listen_addresses=127.0.0.1", &format!("port={port}"), "ssl=on"]);
    server.must("create role web login password 'secret'");
    let ca = server.dir().join("ca.pem");
    std::fs::write(&ca, key.cert.pem()).unwrap();
    let password = server.dir().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let site = |host: &str, settings: &str| {
        Asked::new(&format!(
            "[web.database.main]\nurl = 'postgres://web@{host}:{port}/postgres'\nmin_idle = 0\n{settings}\n\
             [route.'/ssl']\ndatabase = 'main'\nsql = 'select ssl, version from pg_stat_ssl where pid = pg_backend_pid()'\n\
             [route.'/sleep']\ndatabase = 'main'\nsql = 'select pg_sleep(3600)::text as s'\n"
        ))
    };
    let trusted = format!("tls = true\nca = '{}'\npassword_file = '{}'", ca.display(), password.display());
    let encrypted = site("localhost", &trusted);
    assert_eq!(encrypted.get("/ssl").await.body, "[{\"ssl\":true,\"version\":\"TLSv1.3\"}]\n");
    assert_eq!(site("127.0.0.1", &trusted).get("/ssl").await.status, 503, "its certificate is for another name");
    let stopped = site("localhost", &format!("{trusted}\nquery_timeout = '500ms'"));
    assert_eq!(stopped.get("/sleep").await.status, 504);
    until(async || sleeping(&server) == "0").await;
    std::fs::write(&password, "wrong").unwrap();
    assert_eq!(site("localhost", &trusted).get("/ssl").await.status, 503);
    let clear = "tls = false\npassword = 'secret'";
    assert_eq!(site("localhost", clear).get("/ssl").await.status, 503, "the server wants encryption");
    let strangers = "tls = true\npassword = 'secret'";
    assert_eq!(site("localhost", strangers).get("/ssl").await.status, 503, "nobody vouches for it");
}

fn owner(path: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap())
}

#[test]
fn queries_are_looked_at_where_the_server_is_reached_and_it_is_said_where_it_is_not() {
    let mut server = Server::new(&[]);
    server.must(USERS);
    let wrong = ("/users", "select nmae from users where id = :id", "params = { id = { type = 'integer' } }");
    let write = "write = true\nparams = { name = { type = 'text' } }";
    let right = ("POST /users", "insert into users (name) values (:name)", write);
    let text = web(&server, "connect_timeout = '1s'", &routes([wrong, right]));
    let found = super::examined(&text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].of == Of::Query(0) && found[0].why.contains("nmae"), "{found:?}");
    assert_eq!(server.must("select count(*) from users"), "2", "nothing is run");
    server.stop();
    let found = super::examined(&text);
    assert!(matches!(&*found, [Finding { of: Of::Database(name), .. }] if name == "main"), "{found:?}");
}
