use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use outwork_config::{Sources, load, section};

use super::*;

section! {
    /// What holds the settings in these tests.
    #[required_keys]
    struct Root {
        /// Them.
        edge: Settings,
    }
}

fn settings(lines: &str) -> Settings {
    let pause = if lines.contains("pause") { "" } else { "pause = '1ms'\n" };
    let file = format!("[edge]\n{pause}{lines}");
    load::<Root>(Sources { file: Some(("test.toml".into(), file)), ..Sources::default() }).unwrap().value.edge
}

/// A server that answers with these statuses in turn, and tells the head and the body of each request.
fn server(statuses: &'static [u16]) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            let small = head.to_ascii_lowercase();
            let length =
                small.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            tell.send((small, String::from_utf8(body).unwrap())).unwrap();
        }
    });
    (url, told)
}

/// Waits until all that was queued is done with, and everything is owed or not.
fn settled(edge: &Edge, owed: bool) {
    while edge.metrics.edge_waiting.get() > 0 || (edge.metrics.edge_owed.get() > 0) != owed {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where it is kept what is owed.
fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("owed");
    (dir, file)
}

/// One of anybody's, with these settings beside its place.
fn generic(url: &str, lines: &str, file: &Path) -> Edge {
    let settings = settings(&format!("provider = 'generic'\nurl = '{url}'\n{lines}"));
    Edge::start(&settings, &Arc::default(), file.to_owned()).unwrap()
}

/// A server that takes connections, and answers nobody.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn bodies(told: &Receiver<(String, String)>, count: usize) -> Vec<String> {
    told.iter().take(count).map(|(_, body)| body).collect()
}

fn tag(name: &str) -> Purge {
    Purge::Tag(name.into())
}

const ALL: &str = r#"{"all":true}"#;

const PURGES: [fn() -> Purge; 4] = [
    || Purge::Name("https://www.example.org/a?b".into()),
    || Purge::Prefix("https://www.example.org/blog/".into()),
    || Purge::Tag("news".into()),
    || Purge::All,
];

#[test]
fn each_provider_is_told_in_its_own_way() {
    let told =
        |provider, url: &str| PURGES.map(|purge| word(provider, url, &purge()).map(|word| (word.url, word.body)));
    let url = "https://hook.example/purge";
    let bodies = told(Provider::Generic, url).map(|word| word.unwrap().1.unwrap());
    assert_eq!(
        bodies,
        [
            json!({"urls": ["https://www.example.org/a?b"]}),
            json!({"prefixes": ["https://www.example.org/blog/"]}),
            json!({"tags": ["news"]}),
            json!({"all": true})
        ]
    );
    let url = "https://api.cloudflare.com/client/v4/zones/Z/purge_cache";
    let bodies = told(Provider::Cloudflare, url).map(|word| word.filter(|word| word.0 == url).unwrap().1.unwrap());
    assert_eq!(
        bodies,
        [
            json!({"files": ["https://www.example.org/a?b"]}),
            json!({"prefixes": ["www.example.org/blog/"]}),
            json!({"tags": ["news"]}),
            json!({"purge_everything": true})
        ]
    );
    let words = told(Provider::Fastly, "https://api.fastly.com/service/S/");
    let api = |path: &str| format!("https://api.fastly.com/{path}");
    assert_eq!(
        words,
        [
            Some((api("purge/www.example.org/a?b"), None)),
            None,
            Some((api("service/S/purge"), Some(json!({"surrogate_keys": ["news"]})))),
            Some((api("service/S/purge_all"), None)),
        ]
    );
}

#[test]
fn word_of_a_purge_arrives_with_the_token_though_it_takes_a_few_attempts() {
    let (url, told) = server(&[503, 429, 200, 200]);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cret\n").unwrap();
    let settings =
        settings(&format!("provider = 'generic'\nurl = '{url}/hook'\ntoken_file = '{}'\n", token.path().display()));
    let (_dir, file) = place();
    let edge = Edge::start(&settings, &Arc::default(), file.clone()).unwrap();
    assert_eq!((edge.purge(&Purge::Tag("a".into())), edge.purge(&Purge::All)), (Told::Queued, Told::Queued));
    settled(&edge, false);
    let seen: Vec<_> = told.iter().collect();
    assert!(
        seen.iter().all(|(head, _)| head.starts_with("post /hook http/1.1\r\n")
            && head.contains("authorization: bearer s3cret\r\n")),
        "{seen:?}"
    );
    let bodies: Vec<_> = seen.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, [r#"{"tags":["a"]}"#, r#"{"tags":["a"]}"#, r#"{"tags":["a"]}"#, r#"{"all":true}"#]);
    let count = |outcome| edge.metrics.edge_purges.of(outcome).get();
    assert_eq!((count(EdgeOutcome::Sent), count(EdgeOutcome::Retried), count(EdgeOutcome::Failed)), (2, 2, 0));
    assert!(!file.exists(), "nothing is missing");
}

#[test]
fn what_is_refused_or_fails_too_often_is_told_as_a_purge_of_everything_until_that_is_taken() {
    for (statuses, attempts, sent) in [(&[403, 500, 429, 200][..], 6, 1), (&[500, 500, 403, 200], 2, 2)] {
        let (url, told) = server(statuses);
        let (_dir, file) = place();
        let edge = generic(&url, &format!("attempts = {attempts}\n"), &file);
        assert_eq!(edge.purge(&tag("a")), Told::Queued);
        let bodies = bodies(&told, 4);
        assert!(bodies[..sent].iter().all(|body| body == r#"{"tags":["a"]}"#), "{bodies:?}");
        assert!(bodies[sent..].iter().all(|body| body == ALL), "{bodies:?}");
        settled(&edge, false);
        let count = |outcome| edge.metrics.edge_purges.of(outcome).get();
        assert_eq!((count(EdgeOutcome::Failed), count(EdgeOutcome::Retried), count(EdgeOutcome::Sent)), (1, 2, 1));
        assert!(!file.exists(), "nothing is missing any more");
        let fastly = settings(&format!("provider = 'fastly'\nurl = '{url}'\n"));
        let fastly = Edge::start(&fastly, &Arc::default(), file).unwrap();
        assert_eq!(fastly.purge(&Purge::Prefix("https://a/".into())), Told::Unsupported);
    }
}

#[test]
fn what_a_cache_does_not_understand_is_not_made_a_purge_of_everything() {
    let (url, told) = server(&[400, 200]);
    let (_dir, file) = place();
    let edge = generic(&url, "", &file);
    edge.purge(&tag("a"));
    edge.purge(&tag("b"));
    assert_eq!(bodies(&told, 2), [r#"{"tags":["a"]}"#, r#"{"tags":["b"]}"#]);
    settled(&edge, false);
    assert_eq!(edge.metrics.edge_purges.of(EdgeOutcome::Failed).get(), 1);
}

#[test]
fn while_everything_is_owed_newer_purges_are_told_of_and_not_tried_again() {
    let (url, told) = server(&[500, 500, 503, 200]);
    let (_dir, file) = place();
    let edge = generic(&url, "attempts = 1\npause = '5m'\n", &file);
    edge.purge(&tag("a"));
    assert_eq!(bodies(&told, 2), [r#"{"tags":["a"]}"#, ALL]);
    edge.purge(&tag("b"));
    edge.purge(&tag("c"));
    assert_eq!(bodies(&told, 2), [r#"{"tags":["b"]}"#, r#"{"tags":["c"]}"#]);
    settled(&edge, true);
}

#[test]
fn what_finds_no_room_is_told_as_a_purge_of_everything_and_no_more_wait_than_may() {
    let (_listener, url) = silent();
    let (_dir, file) = place();
    let edge = generic(&url, "queue = 1\n", &file);
    let told: Vec<_> = (0..4).map(|_| edge.purge(&tag("a"))).collect();
    assert!(told.contains(&Told::Everything) && told[0] == Told::Queued, "{told:?}");
    assert!(edge.metrics.edge_purges.of(EdgeOutcome::Dropped).get() >= 2);
    assert_eq!(edge.metrics.edge_owed.get(), 1);
}

#[test]
fn what_was_queued_or_owed_when_a_process_ended_is_told_as_a_purge_of_everything_by_the_next() {
    let (_listener, url) = silent();
    let (_dir, file) = place();
    let before = generic(&url, "", &file);
    assert_eq!(before.purge(&tag("a")), Told::Queued);
    // As it stands where the process ends now.
    let (url, told) = server(&[500]);
    let owing = generic(&url, "pause = '5m'\n", &file);
    assert_eq!(bodies(&told, 1), [ALL]);
    settled(&owing, true);
    let (url, told) = server(&[200]);
    let next = generic(&url, "", &file);
    assert_eq!(bodies(&told, 1), [ALL]);
    settled(&next, false);
    assert!(!file.exists());
}

#[test]
fn who_was_followed_by_another_process_leaves_it_what_that_owes() {
    let (_dir, file) = place();
    let owed = Owed::open(file.clone(), Arc::default());
    owed.one_more();
    std::fs::write(&file, "another").unwrap();
    owed.one_less();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "another");
}

#[test]
fn a_debt_that_arises_while_another_is_settled_stays() {
    let (_dir, file) = place();
    let owed = Owed::open(file, Arc::default());
    owed.everything();
    let first = owed.debt().unwrap();
    owed.everything();
    owed.settle(first);
    assert!(owed.debt().is_some());
    owed.settle(owed.debt().unwrap());
    assert_eq!(owed.debt(), None);
}

#[test]
fn the_cache_before_this_one_is_told_how_long_and_by_which_tags() {
    let fields = |provider: &str| {
        EdgeFields::from(&settings(&format!("provider = '{provider}'\nurl = 'http://a'\nttl = '1d'\n")))
    };
    let lifetime =
        |provider: &str| fields(provider).lifetime.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    assert_eq!(lifetime("fastly").unwrap(), "surrogate-control: max-age=86400");
    assert_eq!(lifetime("cloudflare").unwrap(), "cdn-cache-control: max-age=86400");
    assert_eq!(fields("cloudflare").tags, (HeaderName::from_static("cache-tag"), ","));
    assert_eq!(EdgeFields::from(&settings("provider = 'generic'\nurl = 'http://a'\n")).lifetime, None);
}
