//! Middleware of the front door of the real binary, spoken to over HTTP/1.1 and HTTP/2.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::binary::{Place, command, curl, field, outwork, text, until, until_some};
use crate::redis::Redis;
use serde_json::Value as Json;

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// A server whose front door has these settings, and its address.
struct Site {
    place: Place,
    address: String,
}

impl Site {
    /// One that is not running yet.
    fn new(settings: &str) -> Self {
        // Keys of [front] itself come before its tables.
        let (keys, tables) =
            settings.split_once("\n[").map_or((settings, String::new()), |(keys, rest)| (keys, format!("[{rest}")));
        let listener = "[[front.listener]]\naddress = 'HOST:8080'\n";
        let place = Place::with(&format!("[front]\nworkers = 1\n{keys}\n{listener}{tables}"));
        let address = format!("{}:8080", place.host());
        Self { place, address }
    }

    fn running(settings: &str) -> Self {
        let mut site = Self::new(settings);
        site.place.start();
        site
    }

    /// What curl shows with these arguments: the head and the body of each answer.
    fn curl(&self, version: &str, path: &str, more: &[&str]) -> String {
        let url = format!("http://{}{path}", self.address);
        text(&curl().args(["-i", version, &url]).args(more).output().expect("curl").stdout)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.trim().parse().ok()).unwrap_or(0)
}

/// The lines of a file, once there are as many.
fn lines(path: &Path, count: usize) -> Vec<Json> {
    let text = until_some("the lines of the log", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        (text.lines().count() >= count).then_some(text)
    });
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

const RESPOND: &str = "\n[[front.route]]\npath = '/*'\nrespond = { body = 'fine' }\n";

#[test]
fn every_request_has_an_id_and_a_line_in_the_log_once_its_answer_is_sent() {
    let log = "[front.access_log]\nfile = 'access.log'\nflush = '10ms'\n";
    let mut site = Site::running(&format!(
        "\n[front.request_id]\n{log}\n[[front.route]]\npath = '/a'\nrespond = {{ body = 'fine' }}\n[[front.route]]\npath = '/quiet'\nlogged = false\nrespond = {{}}\n[[front.route]]\npath = '/only'\nmethods = ['PUT']\nrespond = {{}}\n"
    ));
    let mut ids = Vec::new();
    for version in VERSIONS {
        let fine = site.curl(version, "/a?token=secret&x=1", &["-u", "ann:secret"]);
        ids.push(field(&fine, "x-request-id").expect("an id").to_owned());
        site.curl(version, "/quiet", &[]);
        let wrong = site.curl(version, "/only", &["-H", "Accept: application/json"]);
        let id = field(&wrong, "x-request-id").expect("an id").to_owned();
        assert!(status(&wrong) == 405 && wrong.contains(&format!("\"request_id\":\"{id}\"")), "{wrong}");
        assert!(
            wrong.contains("\"fault\":\"client\"") && field(&wrong, "content-type") == Some("application/problem+json")
        );
        ids.push(id);
    }
    // What is no request has a line, too.
    let mut raw = TcpStream::connect(&site.address).expect("the door");
    raw.write_all(b"GET / HTTP/1.1\r\nbad field\r\n\r\n").expect("it hears");
    let mut answer = String::new();
    raw.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("The request is at fault."), "{answer}");
    let access = site.file("access.log");
    let told = lines(&access, 5);
    let of = |key: &str| told.iter().map(|line| line[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("status"), [200, 405, 200, 405, 400]);
    assert_eq!(of("protocol")[..4], ["HTTP/1.1", "HTTP/1.1", "HTTP/2.0", "HTTP/2.0"]);
    assert_eq!(of("id")[..4], ids);
    assert_eq!((of("target")[2].as_str(), of("bytes")[2].as_u64()), (Some("/a?token=***&x=1"), Some(4)));
    assert_eq!(of("aborted"), [false; 5]);
    let moved = site.file("access.log.1");
    std::fs::rename(&access, &moved).expect("a file");
    site.place.hang_up();
    until("the log", || access.exists());
    site.curl(VERSIONS[0], "/a?after", &[]);
    assert_eq!(lines(&access, 1)[0]["target"], "/a?after");
    let all = std::fs::read_to_string(&moved).expect("the file before");
    assert!(!all.contains("secret") && !all.contains("/quiet"), "{all}");
    // The last lines are written before the end.
    site.curl(VERSIONS[1], "/a?last", &[]);
    assert_eq!(site.place.stop(15).code(), Some(0));
    assert!(std::fs::read_to_string(&access).expect("the file").contains("/a?last"));
}

#[test]
fn limits_hold_for_clients_wherever_they_come_through() {
    let site = Site::running(&format!(
        "trusted_proxies = ['127.0.0.9']\nrate_limit = [{{ limit = 3, window = '1h' }}]\n\
         {RESPOND}[[front.route]]\npath = '/free'\nrate_limit = []\nrespond = {{}}\n"
    ));
    let through = |client: &str| {
        vec!["--interface", "127.0.0.9", "-H", client].into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    for (version, client) in VERSIONS.iter().zip(["192.0.2.1", "192.0.2.2"]) {
        let forwarded = through(&format!("X-Forwarded-For: 203.0.113.5, {client}"));
        let more: Vec<&str> = forwarded.iter().map(String::as_str).collect();
        let answers: Vec<String> = (0..4).map(|_| site.curl(version, "/", &more)).collect();
        assert_eq!(
            answers.iter().map(|answer| status(answer)).collect::<Vec<_>>(),
            [200, 200, 200, 429],
            "{answers:?}"
        );
        assert_eq!(field(&answers[0], "ratelimit-remaining"), Some("2"));
        assert_eq!(field(&answers[3], "retry-after"), Some("1200"));
        assert_eq!(status(&site.curl(version, "/free", &more)), 200);
    }
    // Nobody else is believed: however it calls itself, it is one client.
    let made_up = |index: usize| {
        site.curl(VERSIONS[index % 2], "/none", &["-H", &format!("X-Forwarded-For: 198.51.100.{index}")])
    };
    assert_eq!((0..4).map(|index| status(&made_up(index))).collect::<Vec<_>>(), [200, 200, 200, 429]);
}

#[test]
fn addresses_and_connections_are_held_to_what_they_may() {
    let site = Site::new(&format!(
        "addresses = {{ deny_files = ['deny.txt'] }}\n[front.limits]\nmax_connections_per_client = 2\n{RESPOND}"
    ));
    std::fs::write(site.file("deny.txt"), "# bad ones\n127.0.0.13\n").expect("a file");
    let mut site = site;
    site.place.start();
    for version in VERSIONS {
        assert_eq!(status(&site.curl(version, "/", &[])), 200);
        let denied = site.curl(version, "/", &["--interface", "127.0.0.13"]);
        assert!(status(&denied) == 403 && denied.contains("The request is at fault."), "{denied}");
    }
    let held: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = TcpStream::connect(&site.address).expect("the door");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it hears");
            assert!(stream.read(&mut [0; 512]).expect("an answer") > 0);
            stream
        })
        .collect();
    assert_eq!(site.curl(VERSIONS[0], "/", &[]), "", "a third connection is closed");
    assert_eq!(status(&site.curl(VERSIONS[1], "/", &["--interface", "127.0.0.14"])), 200);
    drop(held);
    while site.curl(VERSIONS[0], "/", &[]).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn hash(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut run = command(dir.path(), &[&["hash-password"], arguments].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    run.stdin.take().expect("its input").write_all(b"open sesame\n").expect("it hears");
    let output = run.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout).trim().to_owned()
}

#[test]
fn a_password_that_the_command_has_hashed_opens_what_is_closed() {
    let argon2 = hash(&[]);
    let site = Site::new(&format!(
        "cors = {{ origins = ['https://app.example'] }}\n[front.basic_auth]\nrealm = 'Cave'\nfile = 'users'\nusers = {{ ann = '{argon2}' }}\n\
         {RESPOND}[[front.route]]\npath = '/open'\nbasic_auth = {{ enabled = false }}\nrespond = {{}}\n"
    ));
    std::fs::write(site.file("users"), hash(&["--user", "bob", "--bcrypt"]) + "\n").expect("a file");
    let mut site = site;
    site.place.start();
    for version in VERSIONS {
        let asked = site.curl(version, "/", &["-H", "Origin: https://app.example"]);
        assert_eq!(
            (status(&asked), field(&asked, "www-authenticate")),
            (401, Some("Basic realm=\"Cave\", charset=\"UTF-8\""))
        );
        assert_eq!(field(&asked, "access-control-allow-origin"), Some("https://app.example"));
        for user in ["ann:open sesame", "bob:open sesame"] {
            assert_eq!(status(&site.curl(version, "/", &["-u", user])), 200, "{user}");
        }
        assert_eq!(status(&site.curl(version, "/", &["-u", "ann:open barley"])), 401);
        assert_eq!(status(&site.curl(version, "/nowhere/%zz", &[])), 401, "what has no route is closed, too");
        assert_eq!(status(&site.curl(version, "/open", &[])), 200);
        let preflight =
            ["-X", "OPTIONS", "-H", "Origin: https://app.example", "-H", "Access-Control-Request-Method: GET"];
        assert_eq!(status(&site.curl(version, "/", &preflight)), 204);
    }
    assert!(
        outwork(site.place.path(), &["config", "show"]).stdout.windows(7).all(|part| part != b"$argon2"),
        "hashes are not shown"
    );
}

#[test]
fn targets_fields_and_bodies_are_as_each_route_says() {
    let site = Site::new(
        "security_headers = { content_security_policy = \"default-src 'self'\" }\nresponse_headers = { set = { server = 'outwork' } }\n\
         \n[front.limits]\nmax_body = '1KiB'\n\
         [[front.route]]\npath = '/site/*'\nrewrite = { strip_prefix = '/site' }\nfiles = { root = 'files' }\n\
         [[front.route]]\npath = '/old/*'\nreroute = { strip_prefix = '/old', add_prefix = '/site' }\n\
         [[front.route]]\npath = '/small'\nmax_body = '10B'\nresponse_headers = {}\nrespond = {}\n\
         [[front.route]]\npath = '/large'\nmax_body = '1MiB'\nrespond = {}\n\
         [[front.route]]\npath = '/usual'\nrespond = {}\n\
         [[front.route]]\npath = '/closed'\nmaintenance = { message = 'Back at noon.', retry_after = '5m' }\nrespond = {}\n",
    );
    std::fs::create_dir(site.file("files")).expect("a folder");
    std::fs::write(site.file("files/a.html"), "<p>a").expect("a file");
    let mut site = site;
    site.place.start();
    for version in VERSIONS {
        for path in ["/site/a.html", "/old/a.html", "/old/%61.html", "/site//./a.html"] {
            let answer = site.curl(version, path, &[]);
            assert!(status(&answer) == 200 && answer.ends_with("<p>a"), "{path}: {answer}");
            assert_eq!(
                (field(&answer, "server"), field(&answer, "x-content-type-options")),
                (Some("outwork"), Some("nosniff"))
            );
            assert_eq!(field(&answer, "content-security-policy"), Some("default-src 'self'"));
        }
        assert_eq!(status(&site.curl(version, "/old/../../etc/passwd", &[])), 400);
        let post =
            |path: &str, bytes: usize| status(&site.curl(version, path, &["-H", "Expect:", "-d", &"x".repeat(bytes)]));
        assert_eq!(
            [
                post("/small", 10),
                post("/small", 11),
                post("/usual", 1024),
                post("/usual", 1025),
                post("/large", 100_000)
            ],
            [200, 413, 200, 413, 200]
        );
        assert_eq!(field(&site.curl(version, "/small", &[]), "server"), None);
        let closed = site.curl(version, "/closed", &["-H", "Accept: text/html"]);
        assert!(
            status(&closed) == 503 && closed.contains("<p>Back at noon.</p>") && closed.contains("<!doctype html>"),
            "{closed}"
        );
        assert_eq!(field(&closed, "retry-after"), Some("300"));
        assert!(status(&site.curl(version, "/nowhere", &[])) == 404);
    }
}

#[test]
fn what_is_cached_has_the_name_that_clients_know_and_is_warmed_behind_closed_doors() {
    let hash = hash(&[]);
    let log = "[front.access_log]\nfile = 'access.log'\nflush = '10ms'\nfields = ['target', 'response:cache-status']\n";
    let mut site = Site::new(&format!(
        "\n{log}[[front.route]]\npath = '/site/*'\nrewrite = {{ strip_prefix = '/site' }}\nfiles = {{ root = 'files' }}\n\
         cache = {{ default_ttl = '1h' }}\ncors = {{ origins = ['https://app.example'] }}\n\
         [[front.route]]\npath = '/members'\nmethods = ['GET']\nbasic_auth = {{ users = {{ ann = '{hash}' }} }}\n\
         cors = {{ origins = ['https://app.example'], headers = ['authorization'] }}\ncache = {{}}\n\
         rate_limit = [{{ limit = 1, window = '1h', key = ['route', 'header:x-key'] }}]\n\
         respond = {{ body = 'hello', headers = {{ cache-control = 'public, max-age=600' }} }}\n",
    ));
    std::fs::create_dir(site.file("files")).expect("a folder");
    std::fs::write(site.file("files/a.html"), "<p>a").expect("a file");
    site.place.start();
    let page = |path: &str| format!("http://{}{path}", site.address);
    let known = |answer: &str| field(answer, "cache-status").is_some_and(|status| status.contains("hit"));
    assert!(!known(&site.curl(VERSIONS[0], "/site/a.html", &["-H", "Origin: https://app.example"])));
    for version in VERSIONS {
        let again = site.curl(version, "/site/a.html", &["-H", "Origin: https://evil.example"]);
        assert!(known(&again) && again.ends_with("<p>a"), "{again}");
        assert_eq!(
            field(&again, "access-control-allow-origin"),
            None,
            "what one page may read is not cached for another"
        );
    }
    assert!(site.place.outwork(&["cache", "purge", &page("/site/a.html")]).status.success());
    assert!(!known(&site.curl(VERSIONS[0], "/site/a.html", &[])));
    // Warming has no password, and uses up nobody's limit.
    assert!(site.place.outwork(&["cache", "warm", &page("/members")]).status.success());
    let mut turn = 0;
    let mut ask = || {
        turn += 1;
        site.curl(VERSIONS[turn % 2], "/members", &["-u", "ann:open sesame", "-H", &format!("X-Key: {turn}")])
    };
    let warmed = || text(&site.place.outwork(&["stats", "outwork_responses_warmed"]).stdout);
    until("what is warm", || warmed().lines().any(|line| line.contains("asked") && !line.trim_end().ends_with(" 0")));
    assert!(known(&ask()) && ask().ends_with("hello"));
    assert_eq!(status(&site.curl(VERSIONS[0], "/members", &["-H", "X-Key: 0"])), 401);
    assert_eq!(status(&site.curl(VERSIONS[0], "/members", &["-H", "X-Key: 0"])), 429);
    let preflight = [
        "-X",
        "OPTIONS",
        "-H",
        "Origin: https://app.example",
        "-H",
        "Access-Control-Request-Method: GET",
        "-H",
        "X-Key: p",
    ];
    let allowed = site.curl(VERSIONS[0], "/members", &preflight);
    assert_eq!((status(&allowed), field(&allowed, "access-control-allow-headers")), (204, Some("authorization")));
    let told = lines(&site.file("access.log"), 3);
    let status = |index: usize| told[index]["response:cache-status"].as_str().unwrap_or_default().to_owned();
    assert!(status(0).contains("fwd=uri-miss") && status(1).contains("hit; ttl="), "{told:?}");
}

#[test]
fn two_servers_count_in_one_redis_and_each_for_itself_without_it() {
    let mut redis = Redis::start(&[]);
    let settings = format!(
        "rate_limit = [{{ limit = 4, window = '1h', store = 'redis' }}]\n[front.redis]\nurl = 'redis://127.0.0.1:{}'\ntimeout = '5s'\nfailures = 1\nretry = '10m'\n{RESPOND}",
        redis.port
    );
    let sites = [Site::running(&settings), Site::running(&settings)];
    let ask = |turn: usize| status(&sites[turn % 2].curl(VERSIONS[turn / 2 % 2], "/", &[]));
    assert_eq!((0..6).map(ask).collect::<Vec<_>>(), [200, 200, 200, 200, 429, 429]);
    redis.kill();
    // Each has counted nothing for itself so far.
    assert_eq!((0..10).map(ask).collect::<Vec<_>>(), [200, 200, 200, 200, 200, 200, 200, 200, 429, 429]);
}

#[test]
fn check_tells_what_cannot_work_together() {
    let site = Site::new(
        "rate_limit = [{ store = 'redis' }]\nrequest_id = { trust = 'proxies' }\n\
         \n[[front.route]]\npath = '/a'\nreroute = { strip_prefix = '/a' }\ncors = {}\ntimeout = '1s'\n\
         [[front.route]]\npath = '/b'\nrespond = {}\nbasic_auth = { users = { ann = 'secret' } }\n",
    );
    let said = text(&site.place.outwork(&["check"]).stderr);
    for fault in [
        "front.rate_limit[0].store: there is no Redis",
        "front.request_id.trust: there are no trusted proxies",
        "front.route[0].cors: the route that a request is sent on to says this",
        "front.route[0].timeout",
        "front.route[1].basic_auth.users.ann: this is no hash of Argon2 or bcrypt",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    assert!(!said.contains("'secret'"), "{said}");
    let lacking = Site::new(&format!("\n[front.basic_auth]\nfile = 'nowhere'\n{RESPOND}"));
    let run = lacking.place.outwork(&["run"]);
    assert!(text(&run.stderr).contains("front.basic_auth.file: cannot read"), "{run:?}");
}

#[test]
fn a_folder_below_a_path_of_its_own_sends_who_left_the_slash_out_to_where_it_is_for_clients() {
    let site = Site::new(
        "[[front.route]]\npath = '/docs/*'\nrewrite = { strip_prefix = '/docs' }\nfiles = { root = 'site' }\n",
    );
    let folder = site.place.path().join("site/sub");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("index.html"), "sub").expect("a file");
    let mut site = site;
    site.place.start();
    let moved = site.curl("--http1.1", "/docs/sub?a=1", &[]);
    assert!(moved.starts_with("HTTP/1.1 301 ") && field(&moved, "location") == Some("/docs/sub/?a=1"), "{moved}");
    assert!(site.curl("--http1.1", "/docs/sub/", &[]).ends_with("sub"));
}

#[test]
fn a_folder_s_redirection_stays_on_its_site_whatever_its_client_asked_for() {
    let site = Site::new(
        "[[front.route]]\npath = '/*'\nrewrite = { pattern = '.*', replacement = '/sub' }\nfiles = { root = 'site' }\n",
    );
    std::fs::create_dir_all(site.place.path().join("site/sub")).expect("a folder");
    let mut site = site;
    site.place.start();
    for version in VERSIONS {
        for path in ["//evil.example", "/\\evil.example", "/\\/\\evil.example"] {
            let moved = site.curl(version, path, &["--path-as-is"]);
            assert_eq!(field(&moved, "location"), Some("/evil.example/"), "{path} {moved}");
        }
    }
}

#[test]
fn a_client_that_leaves_before_its_answer_has_a_line_in_the_log() {
    let mut site = Site::new(
        "\n[front.access_log]\nfile = 'access.log'\nflush = '10ms'\n[front.request_id]\n[web.database.main]\nurl = 'sqlite:main.db'\nquery_timeout = '1m'\n\
         [[front.route]]\npath = '/slow'\nquery = { database = 'main', sql = 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) from n' }\n",
    );
    let made = std::process::Command::new("sqlite3").arg(site.file("main.db")).arg("create table t (a)").status();
    assert!(made.expect("sqlite3").success());
    site.place.start();
    for version in VERSIONS {
        site.curl(version, "/slow", &["--max-time", "0.3"]);
    }
    let told = lines(&site.file("access.log"), 2);
    for line in told {
        assert!(line["status"] == 499 && line["aborted"] == true && line["id"].is_string(), "{line}");
    }
}
