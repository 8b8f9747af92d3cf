//! Loads on a real front door of loopback, over each protocol.

use std::net::Ipv4Addr;

use http::{HeaderMap, StatusCode};
use outwork_front::answer::Respond;
use outwork_front::door::{Bound, Door, DoorMetrics, Farewell, Place, Serving, Threads};
use outwork_front::tls::{Certificates, Offer, Profile, Source};

use super::*;

struct Site {
    door: Option<Door>,
    metrics: Arc<DoorMetrics>,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new(status: StatusCode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::Local(vec!["localhost".to_owned()]);
        let http3 = outwork_front::config::Http3Settings::default().http3();
        let offer = Offer { sources: vec![source], profile: Profile { http3, ..Profile::default() } };
        let tls = Certificates::new(dir.path(), None).open(&[offer]).unwrap().pop();
        let place = |tls| Place { address: (Ipv4Addr::LOCALHOST, 0).into(), tls, http3: true, backlog: 64 };
        let metrics = Arc::new(DoorMetrics::default());
        let handler = Box::new(Respond::new(status, HeaderMap::new(), "0123456789"));
        let serving = Serving { options: Default::default(), handler, entry: Default::default() };
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
fn errors_and_absent_servers_are_told() {
    let site = Site::new(StatusCode::SERVICE_UNAVAILABLE);
    let refused = site.load("http", Protocol::Http1, |_| {});
    assert!(!refused.is_clean() && refused.statuses.contains_key(&503) && refused.hint().is_none(), "{refused}");
    let untrusted = site.load("https", Protocol::Http1, |options| options.trust = Trust::System);
    assert!(untrusted.answered == 0 && untrusted.hint().unwrap().contains("--insecure"), "{untrusted}");
    let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let absent = site.load("http", Protocol::Http1, |options| options.address = free);
    assert!(absent.failures.contains_key("connect") && absent.hint().is_some(), "{absent}");
    let clear = "http://localhost/".parse().unwrap();
    let http3 = Options { url: clear, protocol: Protocol::Http3, ..options_of(free) };
    assert!(matches!(run(&http3), Err(BenchError::Url(_))));
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
