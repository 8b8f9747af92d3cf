//! Connections: where they come from, how long they live, how they end.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;

use super::*;
use crate::config::{ClientAuthMode, UnknownNames};
use crate::door::Buffers;
use crate::door::metrics::Cut;
use crate::tls::{ClientAuth, Facts};

#[test]
fn a_client_that_moves_keeps_its_connection_whichever_thread_its_datagrams_reach() {
    let running = Running::new(limits(), 4);
    run(async {
        let here = endpoint();
        let first = here.local_addr().unwrap().port();
        let mut client = Client::over(running.quic(&here).await.unwrap()).await;
        for _ in 0..24 {
            here.rebind(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).unwrap();
            let peer = client.get("/peer").await.unwrap();
            assert_eq!(peer.text(), format!("127.0.0.1:{first}"), "its requests are of where it has shown to be");
        }
        assert!(client.get("/file").await.unwrap().content.ends_with(b"last!"));
    });
    assert_eq!(running.metrics.connections.get(), 1);
    // Three of four moves lead to another thread.
    assert!(running.metrics.quic_passed_on.get() > 0);
}

#[test]
fn who_seems_to_be_at_another_address_asks_as_who_it_was_and_has_to_show_itself_by_a_connection_of_its_own() {
    let mut running = Running::new(limits(), 2);
    run(async {
        let here = endpoint();
        let first = here.local_addr().unwrap();
        let quic = running.quic(&here).await.unwrap();
        let (mut begun, mut answer) = quic.open_bi().await.unwrap();
        begun.write_all(&head(&[(":method", "POST"), (":path", "/echo"), ("content-length", "1")])).await.unwrap();
        assert_eq!(status(&exchange(&quic, &head(&[])).await.unwrap()), "200");
        here.rebind(UdpSocket::bind(("127.0.0.2", 0)).unwrap()).unwrap();
        let peer = exchange(&quic, &head(&[(":path", "/peer")])).await.unwrap();
        assert!(String::from_utf8_lossy(&peer).contains(&first.to_string()), "{peer:?}");
        // It is told to go, and what it asks once it knows is not looked at.
        let refused = async {
            loop {
                if let Err(code) = exchange(&quic, &head(&[(":path", "/peer")])).await {
                    break code;
                }
            }
        };
        assert_eq!(refused.await, 0x10b);
        begun.write_all(&frame(0, b"x")).await.unwrap();
        begun.finish().unwrap();
        assert_eq!(status(&answer.read_to_end(1000).await.unwrap()), "200", "what it had begun goes on");
        assert_eq!(closed_with(&quic.closed().await), 0x100);
        let again = running.quic(&here).await.unwrap();
        let peer = exchange(&again, &head(&[(":path", "/peer")])).await.unwrap();
        assert!(String::from_utf8_lossy(&peer).contains("127.0.0.2:"), "{peer:?}");
    });
    drop(running.door.take());
}

/// The names in the certificate that a client got.
fn names(quic: &quinn::Connection) -> Vec<String> {
    let chain = quic.peer_identity().unwrap().downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().unwrap();
    Facts::read(&chain[0]).unwrap().names
}

#[test]
fn new_connections_get_a_new_certificate_and_old_ones_go_on() {
    let running = Running::new(limits(), 2);
    run(async {
        let mut before = running.client().await;
        assert_eq!(names(&before.quic), ["a.test"]);
        Ca::new("another").write(running.dir.path(), "a", &["a.test", "b.test"], DAY);
        let streams = Http3 { streams: 7, ..http3() };
        let mut offer = running.offer.clone();
        offer.profile.http3 = Some(streams);
        running.certificates.prepare(vec![(Arc::clone(&running.tls), offer)], None).unwrap().commit();
        let mut after = running.client().await;
        assert_eq!(names(&after.quic), ["a.test", "b.test"]);
        for client in [&mut before, &mut after] {
            assert_eq!(client.get("/now").await.unwrap().text(), "at once");
        }
    });
}

#[test]
fn who_comes_again_resumes_its_session_and_is_shown_no_certificate() {
    let running = Running::new(limits(), 2);
    let shown = Arc::<AtomicUsize>::default();
    let mut tls = handshake::client(&[&rustls::version::TLS13], None);
    tls.dangerous().set_certificate_verifier(Arc::new(handshake::Anyone(Arc::clone(&shown))));
    run(async {
        let endpoint = endpoint_of(tls, TransportConfig::default());
        for _ in 0..3 {
            // The ticket comes before the answer.
            let mut client = Client::over(running.quic(&endpoint).await.unwrap()).await;
            assert_eq!(client.get("/now").await.unwrap().text(), "at once");
        }
        assert_eq!(shown.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn clients_show_certificates_where_they_have_to() {
    let ca = Ca::new("of clients");
    let authorities = ca.pem.clone();
    let running = Running::with(limits(), 1, http3(), |offer, dir| {
        let path = dir.path().join("clients.pem");
        std::fs::write(&path, &authorities).unwrap();
        offer.profile.client_auth = Some(ClientAuth { ca: path, mode: ClientAuthMode::Require });
    });
    run(async {
        let nobody = running.quic(&endpoint()).await;
        // A client of TLS 1.3 believes that it is in until it is told otherwise.
        assert!(match nobody {
            Err(_) => true,
            Ok(quic) => matches!(quic.closed().await, quinn::ConnectionError::ConnectionClosed(_)),
        });
        // The certificates of these tests are of another time: what they are good for is their refusal.
        let from = std::time::SystemTime::now() - DAY;
        let identity = ca.sign_from(&["client.test"], from, 10 * DAY);
        let quic = running.quic(&endpoint_with(Some(&identity), TransportConfig::default())).await.unwrap();
        assert_eq!(Client::over(quic).await.get("/who").await.unwrap().text(), "client.test at a.test HTTP/3.0");
    });
    assert!(running.metrics.connections_cut.of(Cut::Tls).get() >= 1);
}

#[test]
fn unknown_names_are_refused_where_that_is_wanted() {
    let running = Running::with(limits(), 1, http3(), |offer, _| offer.profile.unknown_names = UnknownNames::Refuse);
    run(async {
        assert!(endpoint().connect(running.address(), "b.test").unwrap().await.is_err());
        assert!(running.quic(&endpoint()).await.is_ok());
    });
}

#[test]
fn where_it_is_turned_off_nobody_gets_in_and_nobody_is_told() {
    let running = Running::new(limits(), 1);
    run(async { assert_eq!(running.client().await.get("/now").await.unwrap().text(), "at once") });
    let offer = Offer {
        profile: crate::tls::Profile { http3: None, ..running.offer.profile.clone() },
        ..running.offer.clone()
    };
    running.certificates.prepare(vec![(Arc::clone(&running.tls), offer)], None).unwrap().commit();
    assert_eq!(running.tls.alt_svc(443), None);
    run(async { assert!(running.quic(&endpoint()).await.is_err()) });
}

#[test]
fn a_client_has_as_many_requests_under_way_as_the_settings_let_it() {
    let few = Http3Settings { max_streams: 2, ..Http3Settings::default() }.http3().unwrap();
    let running = Running::with(limits(), 1, few, |_, _| {});
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        let (mut first, mut answer) = quic.open_bi().await.unwrap();
        let _second = quic.open_bi().await.unwrap();
        let mut third = std::pin::pin!(quic.open_bi());
        assert!((&mut third).now_or_never().is_none(), "there is room for two");
        first.write_all(&head(&[])).await.unwrap();
        first.finish().unwrap();
        assert_eq!(status(&answer.read_to_end(1000).await.unwrap()), "200");
        assert!(third.await.is_ok(), "the first has come to its end");
    });
}

#[test]
fn a_connection_that_is_silent_to_its_last_packet_ends_when_the_settings_say() {
    let of = |idle_timeout| Http3Settings { idle_timeout, ..Http3Settings::default() }.http3().unwrap();
    let running = Running::with(limits(), 1, of(Duration::from_secs(1)), |_, _| {});
    run(async {
        let quic = running.quic(&endpoint()).await.unwrap();
        // The shorter of what both sides say holds (RFC 9000 section 10.1), and this client says thirty seconds.
        assert!(matches!(quic.closed().await, quinn::ConnectionError::TimedOut));
    });
    assert_eq!(running.metrics.connections_cut.of(Cut::Late).get(), 0, "it ends by itself");
}

#[test]
fn connections_beyond_the_limit_are_refused_and_counted() {
    let running = Running::new(Options { connections: 1, ..limits() }, 1);
    run(async {
        let mut first = running.client().await;
        assert!(matches!(running.quic(&endpoint()).await, Err(quinn::ConnectionError::ConnectionClosed(_))));
        assert_eq!(first.get("/now").await.unwrap().text(), "at once");
    });
    assert_eq!(running.metrics.connections_cut.of(Cut::Full).get(), 1);
}

#[test]
fn clients_show_that_they_are_where_they_say_when_that_is_asked_of_them() {
    let running = Running::with(limits(), 1, Http3 { retry_above: 0, ..http3() }, |_, _| {});
    run(async { assert_eq!(running.client().await.get("/now").await.unwrap().text(), "at once") });
    assert_eq!((running.metrics.quic_retries.get(), running.metrics.quic_connections.get()), (1, 1));
}

#[test]
fn what_was_asked_before_a_stop_is_answered_whole_and_then_the_connection_ends() {
    let mut running = Running::new(limits(), 2);
    let (door, metrics) = (running.door.take().unwrap(), Arc::clone(&running.metrics));
    let (begun, stop) = std::sync::mpsc::channel();
    let addresses = door.addresses()[0];
    let stopping = std::thread::spawn(move || {
        stop.recv().unwrap();
        door.stop(Farewell::Brief, Duration::from_secs(20));
    });
    run(async {
        let quic = endpoint().connect(addresses, "a.test").unwrap().await.unwrap();
        let mut client = Client::over(quic.clone()).await;
        let mut idle = Client::over(endpoint().connect(addresses, "a.test").unwrap().await.unwrap()).await;
        assert_eq!(idle.get("/now").await.unwrap().text(), "at once");
        let under_way = at_once(&client, 3, "/slow");
        let mut under_way = std::pin::pin!(under_way);
        // It is sent before the stop is asked for, and takes longer.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut under_way).await;
        assert!(early.is_err());
        begun.send(()).unwrap();
        assert!(idle.closed().await.is_h3_no_error(), "an idle one ends at once");
        for answer in under_way.await {
            assert_eq!(answer.unwrap().content.len(), 300_000);
        }
        assert_eq!(closed_with(&quic.closed().await), 0x100);
        assert!(client.get("/now").await.is_err());
    });
    stopping.join().unwrap();
    assert_eq!(metrics.connections_open.get(), 0);
}

#[test]
fn a_connection_ends_after_its_last_request_and_says_so_before() {
    let running = Running::new(Options { requests_per_connection: 3, ..limits() }, 1);
    run(async {
        let mut client = running.client().await;
        for _ in 0..3 {
            assert_eq!(client.get("/now").await.unwrap().text(), "at once");
        }
        assert_eq!(closed_with(&client.quic.closed().await), 0x100);
        assert!(client.closed().await.is_h3_no_error());
    });
}

#[test]
fn who_asks_nothing_more_or_never_anything_is_let_go() {
    let short = Duration::from_millis(100);
    let running = Running::new(Options { keep_alive: short, header_timeout: Duration::from_secs(1), ..limits() }, 1);
    run(async {
        let mut client = running.client().await;
        assert_eq!(client.get("/slow").await.unwrap().status, StatusCode::OK, "it is not idle while it waits");
        assert_eq!(closed_with(&client.quic.closed().await), 0x100);
        let silent = running.quic(&endpoint()).await.unwrap();
        assert_eq!(closed_with(&silent.closed().await), 0x100);
    });
    assert_eq!(running.metrics.connections_cut.of(Cut::Late).get(), 1);
}

#[test]
fn who_takes_too_long_to_send_or_to_take_loses_the_stream_and_not_the_connection() {
    let short = Duration::from_millis(300);
    let options = Options { header_timeout: short, request_timeout: short, send_timeout: short, ..limits() };
    let running = Running::new(options, 1);
    run(async {
        let mut narrow = TransportConfig::default();
        narrow.stream_receive_window(10_000u32.into());
        let quic = running.quic(&endpoint_with(None, narrow)).await.unwrap();
        // One that has asked keeps the connection.
        assert_eq!(status(&exchange(&quic, &head(&[])).await.unwrap()), "200");
        let post = head(&[(":method", "POST"), (":path", "/echo"), ("content-length", "500")]);
        let (mut head_cut, mut head_answer) = quic.open_bi().await.unwrap();
        head_cut.write_all(&post[..5]).await.unwrap();
        let (mut body_cut, mut body_answer) = quic.open_bi().await.unwrap();
        body_cut.write_all(&[&post[..], &frame(0, b"hel")].concat()).await.unwrap();
        let (mut deaf, mut unread) = quic.open_bi().await.unwrap();
        deaf.write_all(&head(&[(":path", "/file")])).await.unwrap();
        deaf.finish().unwrap();
        let reset = head_answer.read_to_end(1000).await;
        assert!(
            matches!(reset, Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) if code.into_inner() == 0x10c)
        );
        let body = body_answer.read_to_end(1000).await.unwrap();
        assert!(status(&body) == "400" && String::from_utf8_lossy(&body).contains("ends early"));
        assert_eq!(unread.received_reset().await.unwrap().unwrap().into_inner(), 0x10c);
        assert_eq!(status(&exchange(&quic, &head(&[])).await.unwrap()), "200");
    });
}

#[test]
fn connections_go_on_while_another_process_has_taken_their_sockets_over() {
    let mut before = Running::new(limits(), 2);
    let address = before.address();
    let handed = before.door.as_ref().unwrap().hand_over().unwrap();
    let place = Place {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: Some(Arc::clone(&before.tls)),
        http3: true,
        backlog: 64,
        buffers: Buffers::default(),
        proxies: crate::filter::Networks::of(&[]),
    };
    let metrics = Arc::new(DoorMetrics::default());
    run(async {
        let clients = (0..8).map(|_| async { Client::over(before.quic(&endpoint()).await.unwrap()).await });
        let mut clients = futures_util::future::join_all(clients).await;
        let under_way: Vec<_> = clients.iter().map(|client| at_once(client, 1, "/slow")).collect();
        let mut under_way = std::pin::pin!(futures_util::future::join_all(under_way));
        // They are sent before the sockets change hands, and take longer.
        let early = tokio::time::timeout(Duration::from_millis(100), &mut under_way).await;
        assert!(early.is_err());
        let bound = Bound::bind(&[place], Threads::of(2), handed).unwrap();
        assert_eq!(bound.addresses(), [address]);
        let serving = Serving { options: limits(), handler: Box::new(Here), entry: Entry::default() };
        let after = bound.serve(serving, &metrics).unwrap();
        let door = before.door.take().unwrap();
        let leaving = std::thread::spawn(move || door.stop(Farewell::Long, Duration::from_secs(60)));
        for answer in under_way.await.into_iter().flatten() {
            assert_eq!(answer.unwrap().content.len(), 300_000);
        }
        for client in &mut clients {
            assert!(client.closed().await.is_h3_no_error());
        }
        drop(clients);
        let quic = endpoint().connect(address, "a.test").unwrap().await.unwrap();
        assert_eq!(Client::over(quic).await.get("/now").await.unwrap().text(), "at once");
        tokio::task::spawn_blocking(move || leaving.join().unwrap()).await.unwrap();
        let quic = endpoint().connect(address, "a.test").unwrap().await.unwrap();
        assert_eq!(Client::over(quic).await.get("/now").await.unwrap().text(), "at once");
        tokio::task::spawn_blocking(move || after.stop(Farewell::Brief, Duration::from_secs(5))).await.unwrap();
    });
    assert!(metrics.quic_connections.get() >= 2 && metrics.quic_passed_on.get() > 0);
}
