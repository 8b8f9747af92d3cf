use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use outwork_config::ByteSize;
use serde_json::{Value as Json, json};

use super::*;
use crate::filter::config::LogFormat;
use crate::filter::tests::session;
use crate::message::{Origin, Request, RequestBody, Response};
use crate::tls::Session;

struct Logged {
    log: Arc<AccessLog>,
    metrics: Arc<FilterMetrics>,
    dir: tempfile::TempDir,
}

impl Logged {
    fn new(settings: AccessLogSettings) -> Self {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Arc::new(FilterMetrics::default()));
        let settings = AccessLogSettings { file: Some(dir.path().join("log")), ..settings };
        Self { log: AccessLog::open(settings, &metrics).unwrap(), metrics, dir }
    }

    /// A request whose answer has this status, and of which so much was sent.
    fn visit(&self, target: &str, status: u16, sent: Option<u64>) {
        let origin = Origin {
            peer: ([192, 0, 2, 7], 4711).into(),
            local: ([127, 0, 0, 1], 80).into(),
            to: None,
            tls: false,
            session: None,
        };
        let (head, ()) = http::Request::builder()
            .uri(target)
            .header("host", "a.example")
            .header("user-agent", "curl/8 \"quoted\"")
            .header("referer", "https://b.example/?token=7&x=1")
            .header("accept-language", "de")
            .header("authorization", "Basic c2VjcmV0")
            .body(())
            .unwrap()
            .into_parts();
        let request = Request { head, body: RequestBody::Empty, origin: Rc::new(origin.clone()) };
        let mut line = Line::begin(&self.log, &request, &origin, Instant::now());
        let mut response = Response::new(StatusCode::from_u16(status).unwrap());
        response.headers.insert("cache-status", HeaderValue::from_static("hit"));
        response.note_mut().user = Some("ann lee".into());
        line.answered(&mut response, Some(&HeaderValue::from_static("id-1")));
        if let Some(sent) = sent {
            line.sent(sent, true);
        }
    }

    /// What is written once all of it is.
    fn text(self) -> String {
        self.log.close();
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_of_json_has_what_was_chosen_and_no_credentials() {
    let fields = [
        "client",
        "method",
        "target",
        "status",
        "bytes",
        "user",
        "id",
        "referer",
        "request:accept-language",
        "response:cache-status",
        "request:x-none",
        "aborted",
    ];
    let fields = fields.map(|field| field.parse().unwrap()).to_vec();
    let logged = Logged::new(AccessLogSettings { fields, ..AccessLogSettings::default() });
    logged.visit("/a?x=1&token=8", 200, Some(12));
    let text = logged.text();
    assert!(!text.contains("c2VjcmV0"), "{text}");
    let expected = json!({
        "client": "192.0.2.7", "method": "GET", "target": "/a?x=1&token=***", "status": 200, "bytes": 12, "user": "ann lee", "id": "id-1",
        "referer": "https://b.example/?token=***&x=1", "request:accept-language": "de", "response:cache-status": "hit",
        "request:x-none": null, "aborted": false,
    });
    assert_eq!(lines(&text), [expected]);
}

#[test]
fn the_usual_line_says_who_asked_for_what_and_how_long_it_took() {
    let logged = Logged::new(AccessLogSettings::default());
    logged.visit("/a", 200, Some(12));
    let line = lines(&logged.text()).remove(0);
    for key in [
        "time",
        "id",
        "client",
        "method",
        "host",
        "target",
        "protocol",
        "status",
        "bytes",
        "duration",
        "wait",
        "user_agent",
    ] {
        assert!(!line[key].is_null(), "{key}: {line}");
    }
    assert!(line["duration"].is_number() && line["host"] == "a.example" && line["user_agent"] == "curl/8 \"quoted\"");
}

#[test]
fn the_combined_format_is_that_of_other_servers() {
    let fields = vec!["request:accept-language".parse().unwrap(), "bytes".parse().unwrap()];
    let logged = Logged::new(AccessLogSettings { format: LogFormat::Combined, fields, ..AccessLogSettings::default() });
    logged.visit("/a%22?x=1", 404, Some(12));
    let text = logged.text();
    let (before, rest) = text.split_once(" [").unwrap();
    let (time, rest) = rest.split_once("] ").unwrap();
    assert_eq!(before, r"192.0.2.7 - ann\x20lee");
    assert!(time.len() == "21/Nov/2026:14:36:57 +0000".len() && time.ends_with(" +0000"), "{time}");
    let expected = "\"GET /a%22?x=1 HTTP/1.1\" 404 12 \"https://b.example/?token=***&x=1\" \"curl/8 \\x22quoted\\x22\" \"de\" \"12\"\n";
    assert_eq!(rest, expected);
}

#[test]
fn the_combined_format_may_have_the_host_before_it() {
    let logged = Logged::new(AccessLogSettings { format: LogFormat::VhostCombined, ..AccessLogSettings::default() });
    logged.visit("/a", 200, Some(12));
    let text = logged.text();
    assert!(text.starts_with(r"a.example 192.0.2.7 - ann\x20lee ["), "{text}");
}

#[test]
fn errors_and_what_was_cut_off_are_told_though_others_are_sampled_or_left_out() {
    let logged = Logged::new(AccessLogSettings { sample: 0.1, ..AccessLogSettings::default() });
    (0..100).for_each(|_| logged.visit("/fine", 200, Some(1)));
    logged.visit("/wrong", 500, Some(1));
    logged.visit("/cut", 200, None);
    let lines_of = |text: &str, target: &str| lines(text).iter().filter(|line| line["target"] == target).count();
    let text = logged.text();
    assert_eq!((lines_of(&text, "/fine"), lines_of(&text, "/wrong"), lines_of(&text, "/cut")), (10, 1, 1));
    assert!(text.contains("\"aborted\":true"));
    let logged = Logged::new(AccessLogSettings { min_status: 400, ..AccessLogSettings::default() });
    logged.visit("/fine", 200, Some(1));
    logged.visit("/wrong", 404, Some(1));
    logged.visit("/cut", 200, None);
    let text = logged.text();
    assert_eq!((lines_of(&text, "/fine"), lines_of(&text, "/wrong"), lines_of(&text, "/cut")), (0, 1, 1));
}

#[test]
fn a_head_that_could_not_be_understood_has_a_line_without_what_it_would_have_said() {
    let fields = ["method", "request:accept", "status"].map(|field| field.parse().unwrap()).to_vec();
    let logged = Logged::new(AccessLogSettings { fields, ..AccessLogSettings::default() });
    let origin = Origin {
        peer: SocketAddr::from(([192, 0, 2, 7], 1)),
        local: ([127, 0, 0, 1], 80).into(),
        to: None,
        tls: false,
        session: None,
    };
    let mut line = Line::empty(&logged.log, &origin, Instant::now());
    line.answered(&mut Response::new(StatusCode::BAD_REQUEST), None);
    drop(line);
    assert_eq!(lines(&logged.text()), [json!({ "method": null, "request:accept": null, "status": 400 })]);
}

#[test]
fn a_line_says_whose_certificate_was_shown() {
    let fields = ["client_subject", "client_issuer", "client_serial", "client_fingerprint"];
    let log = |format, session: Option<Arc<Session>>| {
        let fields = fields.map(|field| field.parse().unwrap()).to_vec();
        let logged = Logged::new(AccessLogSettings { fields, format, ..AccessLogSettings::default() });
        let (peer, local) = (([192, 0, 2, 7], 1).into(), ([127, 0, 0, 1], 443).into());
        drop(Line::empty(&logged.log, &Origin { peer, local, to: None, tls: true, session }, Instant::now()));
        logged.text()
    };
    let shown = session(Some(("CN=ann,O=\"Example\"", "0a")));
    let expected = json!({
        "client_subject": "CN=ann,O=\"Example\"", "client_issuer": "CN=ca", "client_serial": "01", "client_fingerprint": "0a",
    });
    assert_eq!(lines(&log(LogFormat::Json, Some(Arc::clone(&shown)))), [expected]);
    let combined = log(LogFormat::Combined, Some(shown));
    assert!(combined.ends_with(" \"CN=ann,O=\\x22Example\\x22\" \"CN=ca\" \"01\" \"0a\"\n"), "{combined}");
    for nobody in [Some(session(None)), None] {
        assert!(log(LogFormat::Combined, nobody).ends_with(" \"-\" \"-\" \"-\" \"-\"\n"));
    }
}

#[test]
fn lines_that_do_not_fit_are_dropped_and_counted_and_nobody_waits() {
    let settings = AccessLogSettings {
        buffer: ByteSize::bytes(400),
        flush: Duration::from_secs(3600),
        ..AccessLogSettings::default()
    };
    let logged = Logged::new(settings);
    // The thread has taken what there was at its start, which is nothing; it comes early once half is used, and so may take the first.
    let most = 400;
    (0..2000).for_each(|_| logged.log.add(|text, _| text.extend_from_slice(&[b'x'; 300])));
    logged.log.add(|text, _| text.extend_from_slice(&vec![b'x'; most + 1]));
    let (kept, dropped) = (logged.metrics.access_log_lines.get(), logged.metrics.access_log_dropped.get());
    assert!(kept + dropped == 2001 && dropped >= 1 && kept >= 1, "{kept} {dropped}");
    assert_eq!(logged.text().len() as u64, kept * 300);
}

#[test]
fn a_file_that_was_moved_away_is_written_to_its_end_and_another_one_begun() {
    let flush = Duration::from_millis(10);
    let logged = Logged::new(AccessLogSettings { flush, ..AccessLogSettings::default() });
    let (path, moved) = (logged.dir.path().join("log"), logged.dir.path().join("log.1"));
    let wait_for = |path: &Path, target: &str| {
        while !std::fs::read_to_string(path).is_ok_and(|text| text.contains(target)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    logged.visit("/first", 200, Some(1));
    wait_for(&path, "/first");
    std::fs::rename(&path, &moved).unwrap();
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    logged.visit("/second", 200, Some(1));
    wait_for(&path, "/second");
    let first = std::fs::read_to_string(&moved).unwrap();
    assert!(first.contains("/first") && !first.contains("/second"), "{first}");
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let settings = AccessLogSettings { file: Some("/nowhere/at/all".into()), ..AccessLogSettings::default() };
    let error = AccessLog::open(settings, &Arc::default()).unwrap_err().to_string();
    assert!(error.starts_with("cannot open /nowhere/at/all: "), "{error}");
}
