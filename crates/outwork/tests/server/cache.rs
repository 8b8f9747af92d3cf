//! The cache of answers in the real binary: routes that use it, commands that steer it, and the cache before it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::binary::{Place, field, get, json, text, until};
use crate::redis::Redis;

/// A place whose configuration has these lines behind it, with `SITE` for the URL that it serves at; and that URL.
fn place(lines: &str) -> (Place, String) {
    let lines = lines.replace("SITE", "http://HOST:8080");
    let place = Place::with(&format!("[[front.listener]]\naddress = 'HOST:8080'\n{lines}"));
    let site = format!("http://{}:8080", place.host());
    std::fs::create_dir(place.path().join("site")).expect("a folder");
    write(&place, "first");
    (place, site)
}

fn write(place: &Place, content: &str) {
    std::fs::write(place.path().join("site/page.html"), content).expect("a file");
}

const ROUTES: &str = "\
[[front.route]]\npath = '/*'\nfiles = { root = 'site' }\ncache = { default_ttl = '1h', key = { ignore = ['utm_*'] } }\n\
[[front.route]]\npath = '/news'\nrespond = { body = 'news', headers = { cache-control = 'max-age=60', surrogate-key = 'news front' } }\ncache = {}\n";

/// What the cache says of an answer.
fn status(answer: &str) -> &str {
    field(answer, "cache-status").unwrap_or_default()
}

#[test]
fn an_answer_is_given_again_though_its_file_has_changed_until_it_is_purged() {
    let (mut place, site) = place(ROUTES);
    place.start();
    let page = format!("{site}/page.html");
    let first = get(&page, &[]);
    assert!(first.ends_with("first") && status(&first) == "Outwork; fwd=uri-miss; fwd-status=200; stored", "{first}");
    write(&place, "second");
    for (url, options) in [(page.clone(), &[][..]), (format!("{page}?utm_source=x"), &["--http2-prior-knowledge"])] {
        let again = get(&url, options);
        let ttl = status(&again).strip_prefix("Outwork; hit; ttl=").and_then(|ttl| ttl.parse::<u32>().ok());
        assert!(
            again.ends_with("first")
                && ttl.is_some_and(|ttl| (3500..=3600).contains(&ttl))
                && again.contains("\nage: "),
            "{again}"
        );
        assert_eq!(again.matches("\ndate: ").count(), 1, "{again}");
    }
    let part = get(&page, &["-r", "1-3"]);
    assert!(part.ends_with("\r\n\r\nirs") && part.contains("content-range: bytes 1-3/5\r\n"), "{part}");
    let head = get(&page, &["-I"]);
    assert!(head.contains("content-length: 5\r\n") && status(&head).starts_with("Outwork; hit;"), "{head}");
    let said = place.must(&["cache", "purge", &page.replace("http", "HTTP")]);
    assert!(said.starts_with("purged ") && said.contains(": 1 entry left memory"), "{said}");
    assert!(get(&page, &[]).ends_with("second"));
    let said = place.must(&["cache", "purge", &format!("{site}/unknown")]);
    assert!(said.contains(": nothing of it was in memory\n"), "{said}");
    let said = place.must(&["cache", "purge", "http://www.test:81/"]);
    assert!(said.contains("no [[front.listener]] has the port 81"), "{said}");
}

/// What the README says of a site, in short.
const SITE: &str = "[[front.route]]\npath = '/*'\nfiles = { root = 'site', error_pages = { '404' = '/404.html' } }\n\
    cache = { stale_while_revalidate = '1m', stale_if_error = '1h' }\n";

#[test]
fn a_file_that_is_changed_deleted_or_new_is_seen_with_the_next_request_unless_a_lifetime_is_set() {
    let (mut place, site) = place(SITE);
    let path = |name: &str| place.path().join("site").join(name);
    write(&place, "first");
    std::fs::write(path("404.html"), "none").expect("a file");
    // What has not changed for long would be guessed to stay so for long.
    let age = |name: &str| {
        let file = std::fs::File::options().write(true).open(path(name)).expect("the file");
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(90 * 86_400)).expect("a time");
    };
    age("page.html");
    age("404.html");
    let (page, news) = (format!("{site}/page.html"), format!("{site}/new.html"));
    let changed = path("page.html");
    let new = path("new.html");
    place.start();
    for options in [&[][..], &["--compressed"], &["--http2-prior-knowledge"]] {
        std::fs::write(&changed, "first").expect("a file");
        for _ in 0..3 {
            let got = get(&page, options);
            assert!(got.ends_with("first") && !got.contains("\nage: "), "{got}");
            let none = get(&news, options);
            assert!(none.contains(" 404") && none.ends_with("none"), "{none}");
        }
        std::fs::write(&changed, "second one").expect("a file");
        assert!(get(&page, options).ends_with("second one"));
        std::fs::remove_file(&changed).expect("it is there");
        assert!(get(&page, options).ends_with("none"));
        std::fs::write(&new, "here").expect("a file");
        let got = get(&news, options);
        assert!(got.contains(" 200") && got.ends_with("here"), "{got}");
        std::fs::remove_file(&new).expect("it is there");
    }
    // With a lifetime the file is kept that long.
    write(&place, "first");
    let file = place.path().join("outwork.toml");
    let before = std::fs::read_to_string(&file).expect("the file");
    let after = before.replace("cache = { ", "cache = { ttl = '1h', ");
    std::fs::write(&file, after).expect("the file");
    place.must(&["reload"]);
    // That it could not be kept is remembered for a while.
    until("a hit", || {
        place.must(&["cache", "purge", "--all"]);
        get(&page, &[]);
        status(&get(&page, &[])).starts_with("Outwork; hit")
    });
    write(&place, "second");
    assert!(get(&page, &[]).ends_with("first"));
}

#[test]
fn purges_are_by_tag_prefix_and_everything_and_leave_a_row_in_the_audit_log() {
    let (mut place, site) = place(ROUTES);
    place.start();
    let (page, news) = (format!("{site}/page.html"), format!("{site}/news"));
    let is_hit = |url: &str| status(&get(url, &[])).starts_with("Outwork; hit");
    let fill = || [&page, &news].map(|url| drop(get(url, &[])));
    let prefix = format!("{site}/pa");
    for (args, there) in [
        (&["--tag", "front"][..], (true, false)),
        (&["--prefix", &prefix], (false, true)),
        (&["--all"], (false, false)),
    ] {
        fill();
        assert!(is_hit(&page) && is_hit(&news));
        place.must(&[&["cache", "purge"], args].concat());
        assert_eq!((is_hit(&page), is_hit(&news)), there, "{args:?}");
    }
    assert!(!get(&news, &[]).contains("surrogate-key"), "tags are nobody else's affair");
    let stats = json(&place.outwork(&["cache", "stats", "--json"]));
    assert!(stats["requests"]["hit"].as_u64() >= Some(6) && stats["tiers"][0]["tier"] == "l1", "{stats}");
    assert!(
        stats["top"].as_array().is_some_and(|top| top.iter().any(|entry| entry["name"] == page.as_str())),
        "{stats}"
    );
    let shown = place.must(&["cache", "stats"]);
    assert!(shown.contains("HIT RATE") && shown.contains(&news), "{shown}");
    let refused = place.outwork(&["cache", "purge", "not-a-url"]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("no http or https URL"), "{refused:?}");
    let token = place.must(&["token", "create", "reader", "--role", "viewer"]);
    let denied = place.outwork(&["cache", "purge", "--all", "--token", token.trim()]);
    assert!(text(&denied.stderr).contains("403"), "{denied:?}");
    let token = std::fs::read_to_string(place.data().join("admin.token")).expect("the token of this machine");
    let admin = site.replace(":8080", ":8067/api/v1/audit");
    let audit = get(&admin, &["-H", &format!("authorization: Bearer {}", token.trim())]);
    assert!(audit.contains("cache.purge") && audit.contains("tag: 1 entries left memory"), "{audit}");
}

#[test]
fn viewers_see_what_is_asked_for_most_without_its_queries_and_operators_see_them() {
    let (mut place, site) = place(ROUTES);
    place.start();
    let url = format!("{site}/news?token=secret");
    (0..3).for_each(|_| drop(get(&url, &[])));
    let top = |role: &str| {
        let token = place.must(&["token", "create", role, "--role", role]);
        let api = site.replace(":8080", ":8067/api/v1/cache/top");
        get(&api, &["-H", &format!("authorization: Bearer {}", token.trim())])
    };
    let viewed = top("viewer");
    assert!(viewed.contains("/news\"") && !viewed.contains("secret"), "{viewed}");
    let operated = top("operator");
    assert!(operated.contains("/news?token=secret\""), "{operated}");
}

/// Answers that anybody gets, whatever host, scheme and parameters they asked with.
const SAME_FOR_ALL: &str = "\
[[front.route]]\npath = '/*'\nfiles = { root = 'site' }\n[front.route.cache]\ndefault_ttl = '1h'\ntags = ['pages']\n\
key = { host = false, scheme = false, query = 'none' }\n";

#[test]
fn a_purge_finds_what_was_asked_for_in_other_words_and_what_the_key_leaves_out() {
    let (mut place, site) = place(&format!(
        "{SAME_FOR_ALL}[[front.route]]\npath = '/news'\nrespond = {{ body = 'news' }}\ncache = {{ ttl = '1h' }}\n"
    ));
    place.start();
    let other = ["--path-as-is", "-H", "Host: other.example"];
    let is_hit = |url: &str| status(&get(url, &other)).starts_with("Outwork; hit");
    for (asked, purge) in [
        ("/page.html?a=1", &["/page.html?a=2"][..]),
        ("/page.html", &["--prefix", "/pa"]),
        ("/page.html", &["--prefix", "/page.html?b"]),
        ("/x/../%70age.html", &["/page.html"]),
        ("/page.html", &["//./p%61ge.html"]),
        ("/page.html", &["--tag", "pages"]),
    ] {
        let url = format!("{site}{asked}");
        get(&url, &other);
        assert!(is_hit(&url), "{asked}");
        let purge =
            purge.iter().map(|word| if word.starts_with('/') { format!("{site}{word}") } else { (*word).to_owned() });
        let purge: Vec<String> = ["cache", "purge"].map(str::to_owned).into_iter().chain(purge).collect();
        place.must(&purge.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!is_hit(&url), "{asked} {purge:?}");
    }
    // What is kept by host stays apart from what another host has.
    let news = format!("{site}/news");
    get(&news, &other);
    place.must(&["cache", "purge", &news]);
    assert!(is_hit(&news));
    place.must(&["cache", "purge", "http://other.example/n%65ws"]);
    assert!(!is_hit(&news));
    let refused = place.outwork(&["cache", "purge", "--prefix", "/blog/"]);
    assert!(text(&refused.stderr).contains("not the beginning of an http or https URL"), "{refused:?}");
}

#[test]
fn what_is_warmed_is_there_for_the_first_who_asks() {
    let (mut place, site) = place(&format!("{ROUTES}[cache.warming]\nsite = 'SITE'\non_start = ['/page.html']\n"));
    place.start();
    let warmed = |cause: &str| {
        let stats = place.must(&["stats", "outwork_responses_warmed"]);
        stats
            .lines()
            .any(|line| line.contains(&format!("cause={cause}")) && line.split_whitespace().any(|word| word == "1"))
    };
    until("the start", || warmed("start"));
    assert!(status(&get(&format!("{site}/page.html"), &[])).starts_with("Outwork; hit;"));
    let (news, none) = (format!("{site}/news"), format!("{site}/none"));
    let said = place.must(&["cache", "warm", &news]);
    assert_eq!(said.trim(), "1 of 1 URL fetched into the cache");
    assert!(warmed("asked"));
    let said = place.must(&["cache", "warm", &news, &none]);
    assert!(said.contains(&format!("{none} is not in the cache: 404, ")), "{said}");
    assert!(said.ends_with("1 of 2 URLs fetched into the cache\n"), "{said}");
    assert!(status(&get(&format!("{site}/news"), &[])).starts_with("Outwork; hit;"));
}

/// A server that takes one request and tells its head and body.
fn hook() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            reader.read_line(&mut request).expect("a line");
        }
        let length =
            request.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).expect("a body");
        reader.get_mut().write_all(b"HTTP/1.1 204 X\r\n\r\n").expect("it hears");
        tell.send(request + &text(&body)).expect("the test");
    });
    (url, told)
}

#[test]
fn the_cache_before_it_is_told_how_long_and_of_purges() {
    let (url, told) = hook();
    let (mut place, site) = place(&format!(
        "{ROUTES}[cache.cdn]\nprovider = 'cloudflare'\nurl = '{url}'\ntoken_file = 'token'\nttl = '1d'\n"
    ));
    std::fs::write(place.path().join("token"), "s3cret").expect("a file");
    place.start();
    let news = get(&format!("{site}/news"), &[]);
    assert!(
        news.contains("cdn-cache-control: max-age=86400\r\n") && news.contains("cache-tag: news,front\r\n"),
        "{news}"
    );
    let said = place.must(&["cache", "purge", "--tag", "news"]);
    assert!(said.contains("the CDN is being told"), "{said}");
    let request = told.recv().expect("word of it");
    assert!(
        request.to_ascii_lowercase().contains("authorization: bearer s3cret")
            && request.ends_with(r#"{"tags":["news"]}"#),
        "{request}"
    );
}

#[test]
fn what_is_on_disk_outlives_a_restart() {
    let (mut place, site) = place(&format!("{ROUTES}[cache.l3]\nenabled = true\npath = 'kept'\nsize = '16MiB'\n"));
    place.start();
    let page = format!("{site}/page.html");
    get(&page, &[]);
    assert_eq!(place.stop(15).code(), Some(0));
    write(&place, "second");
    place.start();
    let kept = get(&page, &[]);
    assert!(kept.ends_with("first") && status(&kept).starts_with("Outwork; hit;"), "{kept}");
    place.must(&["cache", "purge", &page]);
    assert!(get(&page, &[]).ends_with("second"));
}

#[test]
fn instances_share_answers_and_purges_through_redis() {
    let redis = Redis::start(&["--unixsocket", "socket"]);
    let url = format!("unix://{}", redis.dir.path().join("socket").display());
    let lines = format!(
        "{}[cache.l2]\nenabled = true\nurl = '{url}'\ntimeout = '5s'\n",
        ROUTES.replace("cache = {}", "cache = { key = { host = false } }")
    );
    let ((mut one, first), (mut other, second)) = (place(&lines), place(&lines));
    one.start();
    other.start();
    let (here, there) = (format!("{first}/news"), format!("{second}/news"));
    // Until both are connected, each has its own.
    let is_shared = |place: &Place| {
        let stats = json(&place.outwork(&["cache", "stats", "--json"]));
        let l2 = &stats["tiers"][1];
        l2["circuit"] == "closed" && ["hits", "misses"].iter().any(|count| l2[count].as_u64() > Some(0))
    };
    until("Redis", || {
        one.must(&["cache", "purge", "--all"]);
        other.must(&["cache", "purge", "--all"]);
        get(&here, &[]);
        get(&there, &[]);
        is_shared(&one) && is_shared(&other)
    });
    one.must(&["cache", "purge", "--tag", "news"]);
    let there_is_a_hit = || status(&get(&there, &["-H", "cache-control: only-if-cached"])).starts_with("Outwork; hit");
    until("the purge", || !there_is_a_hit());
    assert!(!status(&get(&here, &[])).starts_with("Outwork; hit"));
    until("what the other has stored", there_is_a_hit);
}

#[test]
fn a_reload_changes_the_rules_and_keeps_what_is_cached() {
    let (mut place, site) = place(ROUTES);
    place.start();
    let news = format!("{site}/news");
    get(&news, &[]);
    let file = place.path().join("outwork.toml");
    let before = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, before.replace("cache = {}", "cache = { debug = true }")).expect("the file");
    place.must(&["reload"]);
    // Each thread takes it up between two requests.
    until("the reload", || status(&get(&news, &[])).contains("key="));
    assert!(status(&get(&news, &[])).starts_with("Outwork; hit;"));
}

#[test]
fn check_tells_what_rules_cannot_mean() {
    let (place, _) = place(
        "[[front.route]]\npath = '/'\nrespond = {}\ncache = { status_ttl = { 'x' = '1m', '304' = '1m' }, pass_on = ['surrogate-control'], key = { params = ['a'] } }\n\
         [cache.warming]\non_start = ['/']\nscheduled = [{ cron = '61 * * * *', paths = [] }]\n[cache.cdn]\nprovider = 'fastly'\nurl = 'api.fastly.com'\n",
    );
    let said = text(&place.outwork(&["check"]).stderr);
    for fault in [
        "front.route[0].cache.status_ttl.x",
        "front.route[0].cache.status_ttl.304",
        "front.route[0].cache.pass_on[0]",
        "front.route[0].cache.key.params",
        "cache.warming.on_start[0]",
        "cache.warming.scheduled[0].cron",
        "cache.cdn.url",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
}

const READS_AND_WRITES: &str = "\
[web.database.main]\nurl = 'sqlite:main.db'\n\
[[front.route]]\npath = '/values/{id}'\nmethods = ['GET']\ncache = { default_ttl = '1h' }\n\
query = { database = 'main', sql = 'select value from v where id = :id', rows = 'one', params = { id = { type = 'integer' } } }\n\
[[front.route]]\npath = '/values/{id}'\nmethods = ['PUT']\n\
query = { database = 'main', sql = 'update v set value = :value where id = :id', write = true, params = { id = { type = 'integer' }, value = { type = 'text' } } }\n";

#[test]
fn what_one_route_writes_another_does_not_give_out_of_the_cache_any_more() {
    let (mut place, site) = place(READS_AND_WRITES);
    let make = "create table v (id integer primary key, value text); insert into v values (1, 'old'), (2, 'other')";
    let made = std::process::Command::new("sqlite3").arg(place.path().join("main.db")).arg(make).status();
    assert!(made.expect("sqlite3").success());
    place.start();
    let (one, two) = (format!("{site}/values/1"), format!("{site}/values/2"));
    for url in [&one, &two] {
        assert!(status(&get(url, &[])).ends_with("stored"));
        assert!(status(&get(url, &[])).starts_with("Outwork; hit"));
    }
    let refused = get(&one, &["-X", "PUT", "-d", ""]);
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(status(&get(&one, &[])).starts_with("Outwork; hit"), "nothing was written");
    let written = get(&one, &["-X", "PUT", "-d", "value=new"]);
    assert!(written.starts_with("HTTP/1.1 200 "), "{written}");
    let after = get(&one, &[]);
    assert!(after.ends_with("{\"value\":\"new\"}\n") && status(&after).ends_with("stored"), "{after}");
    assert!(status(&get(&two, &[])).starts_with("Outwork; hit"), "it is another address");
    get(&format!("{site}/values//%31"), &["-X", "PUT", "-d", "value=newer"]);
    assert!(get(&one, &[]).ends_with("{\"value\":\"newer\"}\n"), "it is the same address in other words");
}

#[test]
fn what_a_route_answered_with_before_a_reload_is_not_given_once_it_answers_with_something_else() {
    let (mut place, site) = place(ROUTES);
    place.start();
    let news = format!("{site}/news");
    assert!(get(&news, &[]).ends_with("news") && status(&get(&news, &[])).starts_with("Outwork; hit"));
    let file = place.path().join("outwork.toml");
    let settings = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, settings.replace("body = 'news'", "body = 'later news'")).expect("the file");
    place.must(&["reload"]);
    assert!(get(&news, &[]).ends_with("later news"));
}
