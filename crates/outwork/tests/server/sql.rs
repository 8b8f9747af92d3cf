//! Answers out of databases, of the real binary: routes, commands, reloads.

#[path = "../../../web/src/sql/tests/server.rs"]
mod server;

use std::process::Command;

use crate::binary::{self, Place, get, json, text};
use server::Server;

/// A place whose configuration has these lines behind it; and the URL that it serves at.
fn place(lines: &str) -> (Place, String) {
    let place = Place::with(&format!("[[front.listener]]\naddress = 'HOST:8080'\n{lines}"));
    let site = format!("http://{}:8080", place.host());
    (place, site)
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    binary::field(answer, name).unwrap_or_default()
}

const ROUTES: &str = "\
[[front.route]]\npath = '/users/{id}'\n\
query = { database = 'main', sql = 'select id, name from users where id = :id', rows = 'one', params = { id = { type = 'integer', min = 1 } } }\n\
[[front.route]]\npath = '/users'\nmethods = ['GET']\n\
query = { database = 'main', sql = 'select id, name from users order by id', cache = { ttl = '1h' } }\n\
[[front.route]]\npath = '/users'\nmethods = ['POST']\n\
query = { database = 'main', sql = 'insert into users (name) values (:name) returning id, name', rows = 'one', write = true, params = { name = { type = 'text', max_length = 100 } } }\n\
[[front.route]]\npath = '/numbers'\ncompression = { enabled = true, min_size = '1KiB' }\n\
query = { database = 'main', sql = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000) select i from n' }\n";

/// The same of each database: what a client sees does not depend on it.
fn serves(place: &mut Place, site: &str) {
    place.start();
    let users = format!("{site}/users");
    let ada = get(&format!("{users}/1"), &[]);
    assert!(ada.starts_with("HTTP/1.1 200 ") && ada.ends_with("{\"id\":1,\"name\":\"Ada\"}\n"), "{ada}");
    assert_eq!(field(&ada, "content-type"), "application/json");
    let again = get(&format!("{users}/1"), &["-H", &format!("If-None-Match: {}", field(&ada, "etag"))]);
    assert!(again.starts_with("HTTP/1.1 304 ") && again.ends_with("\r\n\r\n"), "{again}");
    let head = get(&format!("{users}/1"), &["-I"]);
    assert_eq!((field(&head, "content-length"), field(&head, "etag")), ("22", field(&ada, "etag")));
    let csv = get(&users, &["-H", "Accept: text/csv"]);
    assert!(csv.ends_with("\r\n\r\nid,name\r\n1,Ada\r\n"), "{csv}");
    for (path, status) in [("/users/0", 400), ("/users/1%20or%201=1", 400), ("/users/77", 404)] {
        let problem = get(&format!("{site}{path}"), &[]);
        assert!(problem.starts_with(&format!("HTTP/1.1 {status} ")), "{problem}");
        assert_eq!(field(&problem, "content-type"), "application/problem+json");
        assert!(problem.contains("\"fault\":\"client\"") && problem.contains("\"request_id\":\""), "{problem}");
    }
    let numbers = get(&format!("{site}/numbers"), &["--compressed", "-H", "Accept-Encoding: gzip"]);
    assert_eq!(field(&numbers, "content-encoding"), "gzip");
    assert!(numbers.contains("{\"i\":1000}]") && field(&numbers, "etag").starts_with("W/"), "{numbers}");

    assert!(!get(&users, &[]).contains("Robert"));
    let robert = "name=Robert'); drop table users; --";
    let made = get(&users, &["--data-urlencode", robert]);
    assert!(made.ends_with("{\"id\":2,\"name\":\"Robert'); drop table users; --\"}\n"), "{made}");
    assert!(get(&users, &[]).contains("drop table users"), "what was kept is forgotten");
    let over =
        get(&users, &["-H", "Content-Type: application/json", "-d", &format!("{{\"name\": {:?}}}", "x".repeat(101))]);
    assert!(over.starts_with("HTTP/1.1 400 ") && over.contains("at most 100 characters"), "{over}");
}

/// What is changed past the server is served once it is told.
fn is_told(place: &Place, site: &str, change: impl Fn(&str)) {
    let users = format!("{site}/users");
    get(&users, &[]);
    change("insert into users (name) values ('Zoe')");
    assert!(!get(&users, &[]).contains("Zoe"), "nobody has told");
    let said = place.must(&["queries", "invalidate", "public.Users", "--database", "main"]);
    // In JSON and in CSV, which was asked for before.
    assert!(said.ends_with("were forgotten\n") || said.ends_with("was forgotten\n"), "{said}");
    assert!(get(&users, &[]).contains("Zoe"));
    place.change(|before| before.replace("\npath = '/numbers'\n", "\npath = '/numbers'\ncache = { ttl = '1m' }\n"));
    place.must(&["reload"]);
    let said = place.must(&["queries", "invalidate", "--all", "--database", "main"]);
    assert!(said.contains("; /numbers may give answers that are kept by URL (cache) all the same"), "{said}");
    let unknown = place.outwork(&["queries", "invalidate", "users", "--database", "other"]);
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("no database \"other\""), "{unknown:?}");
    let token = place.must(&["token", "create", "reader", "--role", "viewer"]);
    let denied = place.outwork(&["queries", "invalidate", "--all", "--token", token.trim()]);
    assert!(text(&denied.stderr).contains("403"), "{denied:?}");
    let stats = json(&place.outwork(&["queries", "stats", "--json"]));
    assert_eq!(
        (&stats["databases"][0]["name"], &stats["databases"][0]["waiting"]),
        (&"main".into(), &0.into()),
        "{stats}"
    );
    assert!(place.must(&["queries", "stats"]).contains("results kept"));
    let metrics = place.must(&["stats", "outwork_sql_queries"]);
    assert!(metrics.contains("outcome=answered"), "{metrics}");
}

#[test]
fn sqlite_is_served_and_its_changes_are_seen() {
    let (mut place, site) =
        place(&format!("[web.database.main]\nurl = 'sqlite:site.db'\nchange_check = '1h'\n{ROUTES}"));
    let run = |path: &std::path::Path, sql: &str| {
        let sqlite = Command::new("sqlite3").arg(path).arg(sql).status();
        assert!(sqlite.expect("the package sqlite3 is installed").success(), "{sql}");
    };
    let file = place.path().join("site.db");
    run(
        &file,
        "create table users (id integer primary key, name text not null); insert into users (name) values ('Ada')",
    );
    serves(&mut place, &site);
    is_told(&place, &site, |sql| run(&file, sql));
    assert_eq!(place.stop(15).code(), Some(0));
}

#[test]
fn postgresql_is_served_and_a_reload_keeps_its_connections() {
    let server = Server::new(&[]);
    server.must(
        "create table users (id serial primary key, name text not null); insert into users (name) values ('Ada')",
    );
    let database = format!("[web.database.main]\nurl = '{}'\nmin_idle = 0\n", server.url());
    let (mut place, site) = place(&format!("{database}{ROUTES}"));
    serves(&mut place, &site);
    is_told(&place, &site, |sql| drop(server.must(sql)));
    let connections =
        "select string_agg(pid::text, ' ' order by pid) from pg_stat_activity where application_name = 'outwork'";
    let before = server.must(connections);
    assert!(!before.is_empty());
    let file = place.path().join("outwork.toml");
    let settings = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, settings.replace("'/users/{id}'", "'/people/{id}'")).expect("the file");
    place.must(&["reload"]);
    // Each thread takes it up between two requests.
    while !get(&format!("{site}/people/1"), &[]).ends_with("{\"id\":1,\"name\":\"Ada\"}\n") {}
    assert_eq!(server.must(connections), before, "connections live through it");
    std::fs::write(&file, settings.replace("select id, name", "select id, nmae :x")).expect("the file");
    let refused = place.outwork(&["reload"]);
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("the parameter :x is not declared"),
        "{refused:?}"
    );
    assert!(get(&format!("{site}/people/1"), &[]).contains("Ada"), "what was in force stays");
    assert_eq!(place.stop(15).code(), Some(0));
}

#[test]
fn check_tells_what_a_query_lacks_and_where() {
    let (place, _) = place(
        "[web.database.main]\nurl = 'postgres://web:secret@db/site'\n\
         [web.database.other]\nurl = 'sqlite:site.db'\nmin_idle = 20\ntls = true\n\
         [[front.route]]\npath = '/a'\nquery = { database = 'others', sql = 'select 1' }\n\
         [[front.route]]\npath = '/b'\nquery = { database = 'other', sql = 'select * from t where id = :id' }\n\
         [[front.route]]\npath = '/c'\nquery = { database = 'other', sql = 'delete from t', params = { x = { type = 'text' } } }\n\
         [[front.route]]\npath = '/d'\nquery = { database = 'other', sql = 'select 1' }\nrespond = {}\n",
    );
    let output = place.outwork(&["check"]);
    let said = text(&output.stderr);
    for fault in [
        "web.database.main.url: there is a password in it",
        "web.database.other.min_idle",
        "web.database.other.tls: only PostgreSQL has this",
        "front.route[1].query.sql: the parameter :id is not declared",
        "front.route[2].query.sql: this changes something",
        "front.route[2].query.params.x: the SQL has no :x",
        "front.route[3].respond",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(!said.contains("secret"), "{said}");
    assert!(!output.status.success());
}
