//! Keys that change: in files, and at a server that publishes them.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::*;
use crate::filter::metrics::KeyFetch;

/// A server that answers what it is told to, and tells of each request.
struct Publisher {
    url: String,
    answer: Arc<Mutex<(u16, String)>>,
    asked: Receiver<()>,
}

impl Publisher {
    fn new(status: u16, body: &Json) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((status, body.to_string())));
        let (tell, asked) = channel();
        let answers = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    line.clear();
                }
                if tell.send(()).is_err() {
                    return;
                }
                let (status, body) = answers.lock().unwrap().clone();
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                // Who asks may have ended meanwhile.
                let _ = reader.get_mut().write_all((head + &body).as_bytes());
            }
        });
        Self { url, answer, asked }
    }

    fn says(&self, status: u16, body: &Json) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    fn gate(&self, more: &str) -> Gate {
        Gate::new(Path::new("/"), &format!("[jwt_issuer.a]\njwks_url = '{}'\naudiences = ['*']\n{more}\n", self.url))
    }

    /// Requests since this was asked before.
    fn asked(&self) -> usize {
        self.asked.try_iter().count()
    }
}

impl Gate {
    /// What is made of a token, however long that takes.
    fn waits(&self, token: &str, clock: u64) -> Checked {
        let now = Moment { clock, unix: NOW };
        let mut head = bearing(token);
        self.runtime.block_on(async {
            match self.bearer.check(&mut head, now) {
                Ok(checked) => checked,
                Err(fetched) => {
                    fetched.await;
                    self.bearer.check_again(&mut head, now)
                }
            }
        })
    }

    fn fetches(&self, outcome: KeyFetch) -> u64 {
        self.metrics.jwt_key_fetches.of(outcome).get()
    }
}

/// A set with nothing but this key.
fn only(id: &str, place: usize) -> Json {
    let mut key = jwks()["keys"][place].clone();
    key["kid"] = id.into();
    json!({ "keys": [key] })
}

fn of(algorithm: &str, id: &str) -> String {
    token_with(&json!({ "alg": algorithm, "kid": id }), &claims(json!({})))
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn the_first_token_waits_for_the_keys_and_an_unknown_key_has_them_fetched_again() {
    let publisher = Publisher::new(200, &only("old", 4));
    let gate = publisher.gate("");
    assert!(gate.waits(&of("EdDSA", "old"), 0).is_ok());
    publisher.says(200, &only("new", 1));
    assert!(gate.waits(&of("ES256", "new"), SECOND).is_ok(), "the issuer has another key now");
    let gone = gate.waits(&of("EdDSA", "old"), SECOND);
    assert!(gone.is_err(), "what an old key had signed and was known is not taken any more");
    assert_eq!((publisher.asked(), gate.fetches(KeyFetch::Fetched)), (2, 2));
}

#[test]
fn keys_that_nobody_has_are_asked_for_once_in_a_while_however_many_tokens_name_some() {
    let publisher = Publisher::new(200, &only("known", 4));
    let gate = publisher.gate("refetch = '30s'");
    assert!(gate.waits(&of("EdDSA", "known"), 0).is_ok());
    for number in 0..20 {
        assert!(gate.waits(&of("EdDSA", &format!("unknown {number}")), SECOND).is_err());
    }
    assert_eq!((gate.fetches(KeyFetch::Unchanged), gate.fetches(KeyFetch::TooSoon)), (1, 19));
    assert!(gate.waits(&of("EdDSA", "unknown"), 32 * SECOND).is_err());
    assert_eq!((publisher.asked(), gate.fetches(KeyFetch::Unchanged)), (3, 2));
    assert!(gate.waits(&of("EdDSA", "known"), 32 * SECOND).is_ok());
}

#[test]
fn while_keys_cannot_be_fetched_those_that_there_were_stay_good() {
    let publisher = Publisher::new(200, &only("good", 4));
    let gate = publisher.gate("refetch = '1s'\nremember = '0s'");
    assert!(gate.waits(&of("EdDSA", "good"), 0).is_ok());
    let failures = [
        (500, json!({})),
        (200, json!("no set")),
        (302, json!({})),
        (200, json!({ "keys": [], "x": "y".repeat(600_000) })),
    ];
    for (number, (status, body)) in failures.into_iter().enumerate() {
        publisher.says(status, &body);
        let clock = (number as u64 + 1) * 10 * SECOND;
        assert!(gate.waits(&of("EdDSA", "another"), clock).is_err());
        assert!(gate.waits(&of("EdDSA", "good"), clock).is_ok(), "after {status}");
        assert!(gate.fetches(KeyFetch::Failed) > number as u64);
    }
    publisher.says(200, &json!({ "keys": [] }));
    assert!(gate.waits(&of("EdDSA", "another"), 100 * SECOND).is_err());
    assert!(gate.waits(&of("EdDSA", "good"), 100 * SECOND).is_err(), "an issuer may take its keys back");
}

#[test]
fn without_any_keys_nobody_can_tell_and_the_issuer_is_at_fault() {
    let publisher = Publisher::new(503, &json!({}));
    let gate = publisher.gate("refetch = '1h'");
    let refusal = gate.waits(&of("EdDSA", "x"), 0).unwrap_err();
    assert_eq!(
        (refusal.response.status, &refusal.response.headers[RETRY_AFTER]),
        (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("1"))
    );
    assert!(refusal.response.headers.get(WWW_AUTHENTICATE).is_none());
    assert_eq!(gate.count(Outcome::NoKeys), 1);
    publisher.says(200, &only("x", 4));
    // The fetcher tries again by itself, and nobody has to ask.
    let good = of("EdDSA", "x");
    while gate.waits(&good, 0).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_server_that_does_not_answer_costs_a_token_no_more_than_its_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let gate = Gate::new(
        Path::new("/"),
        &format!("[jwt_issuer.a]\njwks_url = '{url}'\naudiences = ['*']\ntimeout = '100ms'\n"),
    );
    assert_eq!(gate.waits(&of("EdDSA", "x"), 0).unwrap_err().response.status, StatusCode::SERVICE_UNAVAILABLE);
    // Dropped, the thread that fetches ends, which counts in these.
    let metrics = Arc::downgrade(&gate.metrics);
    drop(gate);
    while metrics.upgrade().is_some() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_file_that_changes_is_read_again_and_one_that_breaks_leaves_the_keys_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("set");
    std::fs::write(&file, only("a", 4).to_string()).unwrap();
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\njwks_file = 'DIR/set'\n");
    let mut clock = 0;
    let mut told = |algorithm, id| {
        clock += 2 * SECOND;
        gate.waits(&of(algorithm, id), clock).is_ok()
    };
    assert!(told("EdDSA", "a") && !told("ES256", "b"));
    std::fs::write(dir.path().join("next"), only("b", 1).to_string()).unwrap();
    std::fs::rename(dir.path().join("next"), &file).unwrap();
    while !told("ES256", "b") {
        std::thread::yield_now();
    }
    assert!(!told("EdDSA", "a"));
    std::fs::write(&file, "{").unwrap();
    assert!((0..3).all(|_| told("ES256", "b")));
    std::fs::remove_file(&file).unwrap();
    assert!((0..3).all(|_| told("ES256", "b")));
}

#[test]
fn files_that_cannot_be_read_or_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("empty", ""), ("text", "text"), ("set", "{\"keys\":[]}")] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let (settings, place) = (
        "public_keys = ['DIR/text', 'DIR/none']\njwks_file = 'DIR/set'\nsecret_file = 'DIR/empty'\nca = 'DIR/text'\njwks_url = 'https://a.test/'\naudiences = ['a']",
        dir.path().to_str().unwrap(),
    );
    let issuer =
        keys(&format!("[jwt_issuer.'a b']\n{}\n", settings.replace("DIR", place))).jwt_issuer.remove("a b").unwrap();
    let told: Vec<_> = missing("a b", &issuer).iter().map(|error| error.to_string().replace(place, "DIR")).collect();
    let expected = [
        "jwt_issuer.\"a b\".public_keys[0]: DIR/text: it has no PUBLIC KEY and no CERTIFICATE",
        "jwt_issuer.\"a b\".public_keys[1]: cannot read DIR/none: No such file or directory (os error 2)",
        "jwt_issuer.\"a b\".jwks_file: DIR/set: it has no key that could verify a token",
        "jwt_issuer.\"a b\".secret_file: DIR/empty: it is empty",
        "jwt_issuer.\"a b\".ca: cannot read DIR/text: it has no CERTIFICATE",
    ];
    assert_eq!(told, expected);
    assert!(Issuer::new("a b", issuer, &Arc::default()).is_err());
}
