//! Datagrams at layer 4: sessions, their limits and ends, and clients of QUIC that move.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::metric;
use crate::binary::{Place, json, until};

fn socket(host: &str) -> UdpSocket {
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket
}

/// A backend that puts its name before what it hears.
fn echo(host: &str, name: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut heard = [0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut heard) {
            let said = [name.as_bytes(), &heard[..length]].concat();
            let _ = socket.send_to(&said, from);
        }
    });
    address
}

fn configure(place: &Place, backends: &[SocketAddr], listener: &str, pool: &str) {
    let list: Vec<String> = backends.iter().map(|backend| format!("{{ url = 'udp://{backend}' }}")).collect();
    let (host, list) = (place.host(), list.join(", "));
    place.change(|text| {
        let kept = text.split("# layer 4").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# layer 4\n[proxy]\nworkers = 2\n[proxy.pool.app]\nbackend = [{list}]\n{pool}\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['{host}:7000']\nprotocol = 'udp'\npool = 'app'\n{listener}\n"
        )
    });
}

fn place_of(backends: &[fn(&str) -> SocketAddr], listener: &str) -> Place {
    let mut place = Place::new();
    let backends: Vec<_> = backends.iter().map(|make| make(place.host())).collect();
    configure(&place, &backends, listener, "");
    place.start();
    place
}

/// What comes back of a datagram, and from whom. One that is lost is sent again.
fn ask(place: &Place, client: &UdpSocket, said: &[u8]) -> (Vec<u8>, SocketAddr) {
    ask_at(place, 7000, client, said)
}

/// The same of a listener at another port.
fn ask_at(place: &Place, port: u16, client: &UdpSocket, said: &[u8]) -> (Vec<u8>, SocketAddr) {
    client.send_to(said, (place.host(), port)).expect("it is sent");
    let mut heard = vec![0; 65_536];
    let (length, from) = client.recv_from(&mut heard).expect("an answer");
    heard.truncate(length);
    (heard, from)
}

#[test]
fn a_client_keeps_its_backend_and_gets_answers_from_where_it_has_asked() {
    let place = place_of(&[|host| echo(host, "one"), |host| echo(host, "two")], "");
    let mut names = BTreeSet::new();
    for _ in 0..20 {
        let client = socket(place.host());
        let (first, from) = ask(&place, &client, b"1");
        assert_eq!(from, format!("{}:7000", place.host()).parse().expect("an address"));
        for number in 2..9_u8 {
            assert_eq!(ask(&place, &client, &[number]).0, [&first[..3], &[number]].concat());
        }
        names.insert(first[..3].to_vec());
    }
    assert_eq!(names.len(), 2, "each thread takes its turns");
    assert_eq!((metric(&place, "active", ""), metric(&place, "opened_total", "")), (20.0, 20.0));
    // Longer than most ways allow: it goes as fragments where there is one.
    let long = vec![b'x'; 20_000];
    assert_eq!(ask(&place, &socket(place.host()), &long).0.len(), 20_003);
}

#[test]
fn many_datagrams_at_once_arrive_each_as_it_was() {
    let place = place_of(&[|host| echo(host, "")], "");
    let client = socket(place.host());
    client.connect((place.host(), 7000)).expect("an address");
    for round in 0..50_u16 {
        // As many as fit into the buffer of a socket.
        for number in 0..20_u16 {
            let length = if number % 5 == 4 { 90 } else { 400 };
            client.send(&[&(round * 20 + number).to_be_bytes()[..], &vec![7; length]].concat()).expect("it is sent");
        }
        let mut numbers = Vec::new();
        for _ in 0..20 {
            let mut heard = [0; 2048];
            let length = client.recv(&mut heard).expect("an answer");
            let number = u16::from_be_bytes([heard[0], heard[1]]);
            assert_eq!(length, 2 + if number % 5 == 4 { 90 } else { 400 });
            numbers.push(number);
        }
        assert!(numbers.is_sorted() && numbers[0] == round * 20, "{numbers:?}");
    }
}

#[test]
fn a_session_ends_when_it_stands_still_and_there_are_no_more_than_so_many() {
    let place = place_of(&[|host| echo(host, "one")], "idle_timeout = '1s'\nmax_connections = 2");
    let clients: Vec<_> = (0..3).map(|_| socket(place.host())).collect();
    clients[..2].iter().for_each(|client| drop(ask(&place, client, b"x")));
    clients[2].send_to(b"x", (place.host(), 7000)).expect("it is sent");
    until("it to be refused", || metric(&place, "refused_total", ",reason=\"full\"") >= 1.0);
    until("the others to have ended", || metric(&place, "ended_total", ",reason=\"idle\"") == 2.0);
    assert_eq!(ask(&place, &clients[2], b"x").0, b"onex");
}

#[test]
fn a_port_that_nobody_listens_at_counts_as_a_failure_and_the_next_datagram_goes_elsewhere() {
    let mut place = Place::new();
    let nobody = socket(place.host()).local_addr().expect("an address");
    let outlier =
        "outlier = { consecutive_gateway = 1, success_rate = false, base_ejection = '1h', max_ejection = '1h' }";
    configure(&place, &[nobody, echo(place.host(), "one")], "", outlier);
    place.start();
    let client = socket(place.host());
    client.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    until("an answer", || {
        client.send_to(b"x", (place.host(), 7000)).expect("it is sent");
        client.recv(&mut [0; 100]).is_ok()
    });
    until("the other to be left out", || {
        socket(place.host()).send_to(b"x", (place.host(), 7000)).expect("it is sent");
        place.must(&["backends", "list", "--json"]).contains("\"ejected\"")
    });
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    assert_eq!(ask(&place, &client, b"y").0, b"oney");
}

#[test]
fn the_first_datagram_of_a_session_says_whose_it_is_where_that_is_wanted() {
    let place = place_of(&[|host| echo(host, "")], "send_proxy = 'v2'");
    let client = socket(place.host());
    let first = ask(&place, &client, b"hello").0;
    let (header, length) = outwork_wire::proxy::Header::read(&first).expect("a header").expect("all of it");
    assert_eq!(&first[length..], b"hello");
    let outwork_wire::proxy::Ends::Internet { source, destination, .. } = header.ends else { panic!("{header:?}") };
    assert_eq!(source, client.local_addr().expect("an address"));
    assert_eq!(destination, format!("{}:7000", place.host()).parse().expect("an address"));
    assert_eq!(ask(&place, &client, b"again").0, b"again");
}

/// A backend that says from which port it was asked.
fn port_teller(host: &str) -> SocketAddr {
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((_, from)) = socket.recv_from(&mut [0; 2048]) {
            let _ = socket.send_to(from.port().to_string().as_bytes(), from);
        }
    });
    address
}

#[test]
fn a_session_goes_on_both_ways_after_its_listener_is_gone_until_its_pool_is_drained() {
    let mut place = Place::new();
    let backend = port_teller(place.host());
    let slow = format!(
        "[proxy.pool.slow]\nbackend = [{{ url = 'udp://{backend}' }}]\ndrain = '10m'\n\
         [[proxy.listener]]\nname = 'slow'\naddress = ['{}:7002']\nprotocol = 'udp'\npool = 'slow'",
        place.host()
    );
    configure(&place, &[backend], &slow, "drain = '1s'");
    place.start();
    let clients = [(); 4].map(|()| socket(place.host()));
    let (ending, going) = clients.split_at(2);
    ending.iter().for_each(|client| drop(ask(&place, client, b"x")));
    let ports: Vec<Vec<u8>> = going.iter().map(|client| ask_at(&place, 7002, client, b"x").0).collect();
    place.change(|text| text.replace(":7000", ":7001").replace(":7002", ":7003"));
    place.must(&["reload"]);
    let other = socket(place.host());
    other.connect((place.host(), 7002)).expect("an address");
    until("nobody to listen", || {
        let _ = other.send(b"x");
        other.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        other.recv(&mut [0; 100]).is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    });
    until("both to have ended", || metric(&place, "ended_total", ",reason=\"drained\"") == 2.0);
    // The time of the other pool is not over.
    for (client, port) in going.iter().zip(&ports) {
        assert_eq!(&ask_at(&place, 7002, client, b"y").0, port, "by the same session");
    }
}

#[test]
fn a_session_stays_with_the_process_that_it_has_begun_at_through_an_upgrade() {
    let mut place = Place::new();
    configure(&place, &[port_teller(place.host())], "idle_timeout = '2s'", "");
    place.start();
    let client = socket(place.host());
    let port = ask(&place, &client, b"x").0;
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    let mut first = place.succeed(&upgraded["process"]);
    until("the process before to listen no longer", || ask(&place, &client, b"y").0 == port);
    for _ in 0..10 {
        assert_eq!(ask(&place, &client, b"y").0, port);
        assert_ne!(ask(&place, &socket(place.host()), b"y").0, port, "who comes now is the new process'");
    }
    assert_eq!(first.wait().expect("it ends").code(), Some(0), "its session stood still");
    assert_ne!(ask(&place, &client, b"z").0, port, "and is begun anew");
}

/// A backend that speaks QUIC, and says its name on each stream before what it hears.
fn quic(host: &str, name: &'static str, key: &CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let private = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).expect("a key");
    let config = quinn::ServerConfig::with_single_cert(vec![key.cert.der().clone()], private).expect("a server");
    let (address, told) = (host.to_owned(), std::sync::mpsc::channel());
    let (tell, told) = told;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let any = format!("{address}:0").parse().expect("an address");
            let endpoint = quinn::Endpoint::server(config, any).expect("a socket");
            tell.send(endpoint.local_addr().expect("an address")).expect("somebody waits");
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    let connection = incoming.await.expect("a handshake");
                    while let Ok((mut to, mut from)) = connection.accept_bi().await {
                        let heard = from.read_to_end(1000).await.expect("a question");
                        to.write_all(&[name.as_bytes(), &heard].concat()).await.expect("it is heard");
                        to.finish().expect("its end");
                    }
                });
            }
        });
    });
    told.recv().expect("an address")
}

/// The way of a client to the place, as a router with address translation is one: at its other end it has an address that may change.
struct Router {
    address: SocketAddr,
    moves: Arc<AtomicBool>,
}

impl Router {
    fn new(place: &Place) -> Self {
        let inner = UdpSocket::bind((place.host(), 0)).expect("a port");
        let address = inner.local_addr().expect("an address");
        let (host, moves) = (place.host().to_owned(), Arc::<AtomicBool>::default());
        let told = Arc::clone(&moves);
        std::thread::spawn(move || {
            let outer = |host: &str| {
                let outer = UdpSocket::bind((host, 0)).expect("a port");
                outer.connect((host, 7000)).expect("an address");
                outer.set_nonblocking(true).expect("an option");
                outer
            };
            let (mut way, mut client) = (outer(&host), None);
            // Those that it had before are somebody else's no sooner than this ends.
            let mut before = Vec::new();
            inner.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
            let mut octets = [0; 65_536];
            loop {
                if let Ok((length, from)) = inner.recv_from(&mut octets) {
                    client = Some(from);
                    // Only now: from every address that it has had, something was sent.
                    if told.swap(false, Ordering::SeqCst) {
                        before.push(std::mem::replace(&mut way, outer(&host)));
                    }
                    let _ = way.send(&octets[..length]);
                }
                while let (Ok(length), Some(client)) = (way.recv(&mut octets), client) {
                    let _ = inner.send_to(&octets[..length], client);
                }
            }
        });
        Self { address, moves }
    }
}

#[test]
fn a_client_of_quic_whose_address_changes_keeps_its_backend_and_its_connection() {
    let mut place = Place::new();
    let key = generate_simple_self_signed(vec!["a.test".to_owned()]).expect("a certificate");
    let backends = [quic(place.host(), "one", &key), quic(place.host(), "two", &key)];
    configure(&place, &backends, "quic = true", "");
    place.start();
    let router = Router::new(&place);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(key.cert.der().clone()).expect("a root");
        let config = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).expect("a client");
        let endpoint = quinn::Endpoint::client(format!("{}:0", place.host()).parse().expect("an address"));
        let endpoint = endpoint.expect("a socket");
        let connecting = endpoint.connect_with(config, router.address, "a.test").expect("an address");
        let connection = connecting.await.expect("a handshake");
        let ask = async || {
            let (mut to, mut from) = connection.open_bi().await.expect("a stream");
            to.write_all(b"?").await.expect("it is heard");
            to.finish().expect("its end");
            String::from_utf8(from.read_to_end(100).await.expect("an answer")).expect("text")
        };
        let name = ask().await;
        // So often that the other backend and the other thread would have had their turns.
        for _ in 0..12 {
            router.moves.store(true, Ordering::SeqCst);
            assert_eq!(ask().await, name);
        }
    });
    assert_eq!(
        metric(&place, "opened_total", ""),
        13.0,
        "each address has a socket of its own, so that the backend sees it move"
    );
}

/// A backend that says in a long header which id it has chosen, and then from which port it was asked.
fn with_an_id(host: &str) -> SocketAddr {
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut heard = [0; 2048];
        while let Ok((_, from)) = socket.recv_from(&mut heard) {
            let head = [&[0xc0, 0, 0, 0, 1, 0, 8][..], b"server-1"].concat();
            let _ = socket.send_to(&[&head[..], from.port().to_string().as_bytes()].concat(), from);
        }
    });
    address
}

#[test]
fn who_knows_the_id_of_a_quic_connection_gets_nothing_that_goes_to_its_client() {
    let place = place_of(&[with_an_id], "quic = true");
    let (client, other) = (socket(place.host()), socket(place.host()));
    let port = |asked: (Vec<u8>, SocketAddr)| String::from_utf8(asked.0[15..].to_vec()).expect("a port");
    let own = port(ask(&place, &client, b"\xc0\0\0\0\x01\x08original\0hello"));
    assert_eq!(port(ask(&place, &client, b"\x40server-1 sealed")), own, "its own session");
    let moved = port(ask(&place, &other, b"\x40server-1 sealed"));
    assert_ne!(moved, own, "the backend is asked from elsewhere, and so looks whether its client is there");
    assert_eq!(port(ask(&place, &client, b"\x40server-1 sealed")), own, "what the client asks is still answered to it");
}

#[test]
fn an_empty_datagram_arrives_as_one_both_ways() {
    let place = place_of(&[|host| echo(host, "")], "");
    let client = socket(place.host());
    for said in [&b""[..], b"x", b"", b""] {
        let (heard, from) = ask(&place, &client, said);
        assert_eq!((heard, from.port()), (said.to_vec(), 7000));
    }
    assert_eq!(metric(&place, "opened_total", ""), 1.0);
}

#[test]
fn an_empty_datagram_that_is_the_first_of_its_session_says_whose_it_is_and_nothing_else() {
    let place = place_of(&[|host| echo(host, "")], "send_proxy = 'v2'");
    let client = socket(place.host());
    let first = ask(&place, &client, b"").0;
    let (_, length) = outwork_wire::proxy::Header::read(&first).expect("a header").expect("all of it");
    assert_eq!(length, first.len());
    assert_eq!(ask(&place, &client, b"again").0, b"again");
}
