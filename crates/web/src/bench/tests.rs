//! Loads on a real front door of loopback, over each protocol.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use http::{HeaderMap, StatusCode};
use outwork_front::answer::Respond;
use outwork_front::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Place, Serving, Threads};
use outwork_front::filter::Networks;
use outwork_front::tls::{Certificates, Offer, Profile, Source};

use super::*;

struct Site {
    door: Option<Door>,
    metrics: Arc<DoorMetrics>,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new(status: StatusCode) -> Self {
        Self::with(status, outwork_front::door::Options::default())
    }

    fn with(status: StatusCode, options: outwork_front::door::Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::Local(vec!["localhost".to_owned()]);
        let http3 = outwork_front::config::Http3Settings::default().http3();
        let offer = Offer { sources: vec![source], profile: Profile { http3, ..Profile::default() } };
        let tls = Certificates::new(dir.path(), None).open(&[offer]).unwrap().pop();
        let place = |tls| Place {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            tls,
            http3: true,
            backlog: 64,
            buffers: Buffers::default(),
            proxies: Networks::of(&[]),
        };
        let metrics = Arc::new(DoorMetrics::default());
        let handler = Box::new(Respond::new(status, HeaderMap::new(), "0123456789"));
        let serving = Serving { options, handler, entry: Default::default() };
        let bound = Bound::bind(&[place(None), place(tls)], Threads::of(1), Vec::new()).unwrap();
        let door = Some(bound.serve(serving, &metrics).unwrap());
        Self { door, metrics, _dir: dir }
    }

    fn load(&self, scheme: &str, protocol: Protocol, change: impl FnOnce(&mut Options)) -> Report {
        let address = self.door.as_ref().unwrap().addresses()[usize::from(scheme == "https")];
        let mut options = Options {
            url: format!("{scheme}://localhost:{}/a?b", address.port()).parse().unwrap(),
            address,
            protocol,
            method: Method::GET,
            fields: HeaderMap::new(),
            content: Bytes::new(),
            connections: 3,
            streams: 4,
            rate: None,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(200),
            timeout: Duration::from_secs(10),
            threads: 2,
            trust: Trust::Anyone,
        };
        change(&mut options);
        run(&options).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.door.take().unwrap().stop(Farewell::Brief, Duration::from_secs(5));
    }
}

#[test]
fn each_protocol_is_spoken_and_every_answer_counted() {
    let site = Site::new(StatusCode::OK);
    let loads = [
        ("http", Protocol::Http1, "1.1"),
        ("http", Protocol::Http2, "2"),
        ("https", Protocol::Http1, "1.1"),
        ("https", Protocol::Http2, "2"),
        ("https", Protocol::Http3, "3"),
    ];
    for (scheme, protocol, http) in loads {
        let report = site.load(scheme, protocol, |_| {});
        assert!(report.is_clean(), "{scheme} {http}: {report}");
        assert_eq!((report.http, report.connected), (http, 3), "{report}");
        assert_eq!(report.bytes, 10 * report.answered);
        assert_eq!((report.statuses.get(&200), report.latency.count), (Some(&report.answered), report.answered));
        assert!(report.requests_per_second > 0.0 && report.hint().is_none());
    }
    assert_eq!(site.metrics.quic_connections.get(), 3);
}

#[test]
fn a_rate_is_kept_and_a_request_has_a_content() {
    let site = Site::new(StatusCode::OK);
    let report = site.load("http", Protocol::Http2, |options| {
        options.rate = Some(100.0);
        options.duration = Duration::from_millis(500);
        (options.method, options.content) = (Method::POST, Bytes::from_static(b"content"));
    });
    // As many as were due, and not one more.
    assert!(report.is_clean() && (1..=50).contains(&report.answered), "{report}");
}

#[test]
fn what_was_due_of_a_server_that_stalls_is_counted_though_it_was_never_sent() {
    // Connections to it are made, and nobody reads what they bear.
    let stalled = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut options = options_of(stalled.local_addr().unwrap());
    (options.connections, options.rate, options.duration) = (2, Some(1000.0), Duration::from_millis(200));
    let report = run(&options).unwrap();
    let failed: u64 = report.failures.values().sum();
    // Each connection waits for the answer to its first request.
    assert!(report.answered == 0 && failed + report.missed == 200 && failed <= 2, "{report}");
    assert!(report.to_string().contains("due, and not sent"), "{report}");
    options.rate = None;
    assert_eq!(run(&options).unwrap().missed, 0, "without a rate nothing is due");
}

#[test]
fn errors_and_absent_servers_are_told() {
    let site = Site::new(StatusCode::SERVICE_UNAVAILABLE);
    let refused = site.load("http", Protocol::Http1, |_| {});
    assert!(!refused.is_clean() && refused.statuses.contains_key(&503) && refused.hint().is_none(), "{refused}");
    let untrusted = site.load("https", Protocol::Http1, |options| options.trust = Trust::System);
    assert!(untrusted.answered == 0 && untrusted.hint().unwrap().contains("--insecure"), "{untrusted}");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let absent = site.load("http", Protocol::Http1, |options| options.address = free);
    assert!(absent.failures.contains_key("connect") && absent.hint().is_some(), "{absent}");
    let clear = "http://localhost/".parse().unwrap();
    let http3 = Options { url: clear, protocol: Protocol::Http3, ..options_of(free) };
    assert!(matches!(run(&http3), Err(BenchError::Url(_))));
}

/// What a server does with the first request of a connection over HTTP/2, as frames.
enum Does {
    /// It says that it looks at none.
    Goes,
    /// It refuses the stream.
    Refuses,
    /// It answers, and says that this was all.
    Answers,
}

impl Does {
    fn with(self, mut stream: TcpStream) {
        let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
            [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
        };
        let goaway = |last: u8| frame(7, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0]);
        stream.write_all(&frame(4, 0, 0, &[])).unwrap();
        stream.read_exact(&mut [0; 24]).unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            io::copy(&mut (&mut stream).take(length.into()), &mut io::sink()).unwrap();
            if head[3] == 1 {
                break;
            }
        }
        let said = match self {
            Self::Goes => goaway(0),
            Self::Refuses => frame(3, 0, 1, &[0, 0, 0, 7]),
            Self::Answers => [frame(1, 5, 1, &[0x88]), goaway(1)].concat(),
        };
        stream.write_all(&said).unwrap();
        // The client goes first.
        io::copy(&mut stream, &mut io::sink()).unwrap();
    }
}

/// What comes of one request at a time to a server that does this with connection after connection.
fn of_a_server(does: impl Iterator<Item = Does> + Send + 'static, change: impl FnOnce(&mut Options)) -> Report {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (does, stream) in does.zip(listener.incoming()) {
            std::thread::spawn(move || does.with(stream.unwrap()));
        }
    });
    let mut options = Options { protocol: Protocol::Http2, timeout: Duration::from_secs(10), ..options_of(address) };
    change(&mut options);
    run(&options).unwrap()
}

#[test]
fn a_request_that_a_server_has_not_begun_with_is_made_again_on_another_connection() {
    let does = [Does::Goes, Does::Refuses, Does::Answers];
    // The first request is the only one that is due.
    let report = of_a_server(does.into_iter(), |options| options.rate = Some(1.0));
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.answered, report.retried, report.connected), (1, 2, 3), "{report}");
    assert!(report.to_string().contains("retried"), "{report}");
}

#[test]
fn who_never_begins_with_a_request_is_not_asked_for_ever() {
    let never = || std::iter::repeat_with(|| Does::Refuses);
    let report = of_a_server(never(), |options| options.rate = Some(1.0));
    assert_eq!((report.failures.get("rejected"), report.answered), (Some(&1), 0), "{report}");
    assert!(report.hint().unwrap().contains("begins with no request"), "{report}");
}

#[test]
fn connections_that_end_after_their_last_request_fail_none() {
    let options = outwork_front::door::Options { requests_per_connection: 50, ..Default::default() };
    let site = Site::with(StatusCode::OK, options);
    for (scheme, protocol) in [("http", Protocol::Http1), ("http", Protocol::Http2), ("https", Protocol::Http3)] {
        let report = site.load(scheme, protocol, |_| {});
        assert!(report.is_clean() && report.answered > 0, "{report}");
    }
}

fn options_of(address: SocketAddr) -> Options {
    Options {
        url: "http://localhost/".parse().unwrap(),
        address,
        protocol: Protocol::Http1,
        method: Method::GET,
        fields: HeaderMap::new(),
        content: Bytes::new(),
        connections: 1,
        streams: 1,
        rate: None,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(10),
        timeout: Duration::from_secs(1),
        threads: 1,
        trust: Trust::Anyone,
    }
}
