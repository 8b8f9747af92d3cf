//! Who may come, as `proxy.acceleration` says it for everybody, where sockets serve.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

use super::{configure, echo, end, hear, metric, place_of, served_of};
use crate::binary::{Place, until};

/// Where clients come from that are told apart from those of a place's own address.
const OTHER: &str = "127.0.0.1";

/// A connection from this address, which may be reset before it is there.
fn from(source: &str, place: &Place) -> io::Result<TcpStream> {
    let address = |host: &str, port| SocketAddr::new(host.parse().expect("an address"), port);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&socket, &address(source, 0))?;
    rustix::net::connect(&socket, &address(place.host(), 7000))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// How many of twenty connections from there are served.
fn served(source: &str, place: &Place) -> usize {
    served_of((0..20).map(|_| from(source, place)).collect())
}

fn refused(place: &Place, reason: &str) -> f64 {
    metric(place, "refused_total", &format!(",reason=\"{reason}\""))
}

#[test]
fn who_is_denied_is_reset_before_any_backend_hears_of_it() {
    let place = place_of(&[|host| echo(host, "one")], "[proxy.acceleration]\ndeny = ['127.0.0.1']", "");
    let ended = from(OTHER, &place).and_then(|mut stream| end(&mut stream));
    assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    until("it to be counted", || refused(&place, "denied") == 1.0);
    assert_eq!(hear(&mut from(place.host(), &place).expect("it is taken"), 3), "one");
    assert_eq!(metric(&place, "opened_total", ""), 1.0);
}

#[test]
fn a_reload_that_denies_a_network_ends_what_it_has_and_nothing_else() {
    let place = place_of(&[|host| echo(host, "one")], "", "");
    let [mut denied, mut other] = [OTHER, place.host()].map(|source| from(source, &place).expect("it is taken"));
    assert_eq!((hear(&mut denied, 3), hear(&mut other, 3)), ("one".to_owned(), "one".to_owned()));
    place.change(|text| text + "[proxy.acceleration]\ndeny = ['127.0.0.1']\n");
    place.must(&["reload"]);
    // To its end, whichever it is.
    drop(end(&mut denied));
    until("it to be counted", || metric(&place, "ended_total", ",reason=\"denied\"") == 1.0);
    other.write_all(b"hello").expect("it is heard");
    assert_eq!(hear(&mut other, 5), "hello");
}

/// A connection that a proxy passes on for this client.
fn passed_on(client: &str, place: &Place) -> TcpStream {
    let mut stream = from(OTHER, place).expect("it is taken");
    let header = format!("PROXY TCP4 {client} 198.51.100.1 4000 80\r\n");
    stream.write_all(header.as_bytes()).expect("it is heard");
    stream
}

#[test]
fn what_a_proxy_passes_on_is_judged_by_whose_it_is() {
    let lines = "proxy_protocol = { from = ['127.0.0.1'] }\n[proxy.acceleration]\ndeny = ['192.0.2.0/24']";
    let place = place_of(&[|host| echo(host, "one")], lines, "");
    assert!(end(&mut passed_on("192.0.2.7", &place)).is_err());
    until("it to be counted", || refused(&place, "denied") == 1.0);
    assert_eq!(hear(&mut passed_on("192.0.3.7", &place), 3), "one");
}

#[test]
fn a_client_behind_a_proxy_is_reset_where_it_has_as_many_connections_as_it_may() {
    let lines = "proxy_protocol = { from = ['127.0.0.1'] }\nmax_connections_per_client = 1";
    let place = place_of(&[|host| echo(host, "one")], lines, "");
    let mut held = passed_on("192.0.2.7", &place);
    assert_eq!(hear(&mut held, 3), "one");
    let ended = end(&mut passed_on("192.0.2.7", &place));
    assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    until("it to be counted", || refused(&place, "client") == 1.0);
    assert_eq!(hear(&mut passed_on("192.0.3.7", &place), 3), "one");
}

#[test]
fn a_source_that_opens_too_many_connections_is_reset_and_others_are_not() {
    let rates = "[proxy.acceleration]\nsource_rate = 1\nsource_burst = 2";
    let place = place_of(&[|host| echo(host, "one")], rates, "");
    let begun = served(OTHER, &place);
    assert!((2..20).contains(&begun), "{begun}");
    until("the others to be counted", || refused(&place, "source_rate") == (20 - begun) as f64);
    assert_eq!(hear(&mut from(place.host(), &place).expect("it is taken"), 3), "one");
}

#[test]
fn connections_begin_no_faster_than_all_listeners_may_unless_theirs_says_otherwise() {
    let rates = "[proxy.acceleration]\nsyn_rate = 1\nsyn_burst = 2";
    let place = place_of(&[|host| echo(host, "one")], rates, "");
    let begun = served(OTHER, &place);
    assert!((2..20).contains(&begun), "{begun}");
    until("the others to be counted", || refused(&place, "syn_rate") == (20 - begun) as f64);
    configure(&place, &[echo(place.host(), "two")], &format!("connection_rate = 100000\n{rates}"), "");
    place.must(&["reload"]);
    assert_eq!(served(OTHER, &place), 20);
}

/// A backend of datagrams that says each again.
fn echo_of_datagrams(host: &str) -> SocketAddr {
    let socket = UdpSocket::bind((host, 0)).expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut heard = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut heard) {
            let _ = socket.send_to(&heard[..length], from);
        }
    });
    address
}

/// A place that passes datagrams on, with more lines.
fn of_datagrams(lines: &str) -> Place {
    let mut place = Place::new();
    let (host, backend) = (place.host().to_owned(), echo_of_datagrams(place.host()));
    place.change(|text| {
        format!(
            "{text}[proxy]\nworkers = 2\n[proxy.pool.app]\nbackend = [{{ url = 'udp://{backend}' }}]\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['{host}:7000']\nprotocol = 'udp'\npool = 'app'\n{lines}\n"
        )
    });
    place.start();
    place
}

fn client(source: &str) -> UdpSocket {
    let socket = UdpSocket::bind((source, 0)).expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    socket
}

#[test]
fn datagrams_of_denied_networks_go_nowhere_and_each_is_counted() {
    let place = of_datagrams("[proxy.acceleration]\ndeny = ['127.0.0.1']");
    let (denied, other) = (client(OTHER), client(place.host()));
    for _ in 0..3 {
        denied.send_to(b"x", (place.host(), 7000)).expect("it is sent");
    }
    until("all to be counted", || refused(&place, "denied") == 3.0);
    other.send_to(b"hello", (place.host(), 7000)).expect("it is sent");
    let mut heard = [0; 9];
    assert_eq!(other.recv(&mut heard).expect("an answer"), 5);
    assert_eq!((metric(&place, "opened_total", ""), metric(&place, "received_bytes_total", "")), (1.0, 5.0));
}

#[test]
fn of_a_source_s_datagrams_those_beyond_its_rate_are_dropped_and_counted() {
    let place = of_datagrams("[proxy.acceleration]\nsource_rate = 1\nsource_burst = 3");
    let (greedy, other) = (client(OTHER), client(place.host()));
    for _ in 0..40 {
        greedy.send_to(b"x", (place.host(), 7000)).expect("it is sent");
    }
    let taken = || metric(&place, "received_bytes_total", "");
    until("all to be taken or counted", || taken() + refused(&place, "source_rate") == 40.0);
    assert!((3.0..40.0).contains(&taken()), "{}", taken());
    other.send_to(b"hello", (place.host(), 7000)).expect("it is sent");
    assert_eq!(other.recv(&mut [0; 9]).expect("an answer"), 5);
}
