use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
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
    let file = format!("[edge]\npause = '1ms'\n{lines}");
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

/// Waits until all that was queued is done with.
fn done(edge: Edge) -> Arc<CachedMetrics> {
    let metrics = Arc::clone(&edge.metrics);
    drop(edge);
    while metrics.edge_waiting.get() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    metrics
}

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
    let edge = Edge::start(&settings, &Arc::default()).unwrap();
    assert_eq!((edge.purge(&Purge::Tag("a".into())), edge.purge(&Purge::All)), (Told::Queued, Told::Queued));
    let metrics = done(edge);
    let seen: Vec<_> = told.iter().collect();
    assert!(
        seen.iter().all(|(head, _)| head.starts_with("post /hook http/1.1\r\n")
            && head.contains("authorization: bearer s3cret\r\n")),
        "{seen:?}"
    );
    let bodies: Vec<_> = seen.iter().map(|(_, body)| body.as_str()).collect();
    assert_eq!(bodies, [r#"{"tags":["a"]}"#, r#"{"tags":["a"]}"#, r#"{"tags":["a"]}"#, r#"{"all":true}"#]);
    let count = |outcome| metrics.edge_purges.of(outcome).get();
    assert_eq!((count(EdgeOutcome::Sent), count(EdgeOutcome::Retried), count(EdgeOutcome::Failed)), (2, 2, 0));
}

#[test]
fn what_is_refused_is_not_sent_again_and_what_fails_is_not_sent_for_ever() {
    let (url, _told) = server(&[403, 500, 500]);
    let edge = Edge::start(
        &settings(&format!("provider = 'fastly'\nurl = '{url}/service/S'\nattempts = 2\n")),
        &Arc::default(),
    )
    .unwrap();
    edge.purge(&Purge::All);
    edge.purge(&Purge::All);
    assert_eq!(edge.purge(&Purge::Prefix("https://a/".into())), Told::Unsupported);
    let metrics = done(edge);
    let count = |outcome| metrics.edge_purges.of(outcome).get();
    assert_eq!((count(EdgeOutcome::Failed), count(EdgeOutcome::Retried)), (2, 1));
}

#[test]
fn no_more_wait_than_may() {
    // Nobody answers there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let edge =
        Edge::start(&settings(&format!("provider = 'generic'\nurl = '{url}'\nqueue = 1\n")), &Arc::default()).unwrap();
    let told: Vec<_> = (0..4).map(|_| edge.purge(&Purge::All)).collect();
    assert!(told.contains(&Told::Dropped) && told[0] == Told::Queued, "{told:?}");
    assert!(edge.metrics.edge_purges.of(EdgeOutcome::Dropped).get() >= 2);
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
