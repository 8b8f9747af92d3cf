//! Layer 4 in the real binary: connections and datagrams that are passed on as they come, between real clients and servers.

mod datagrams;
mod guarded;
mod living;
mod names;
mod refused;
mod transparent;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value as Json;

use crate::binary::{Place, json, until};

/// A backend that does this with each connection, on a thread of its own.
fn backend(host: &str, act: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((host, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let act = Arc::new(act);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
            let act = Arc::clone(&act);
            std::thread::spawn(move || act(stream));
        }
    });
    address
}

/// One that says its name first, and then what it hears.
fn echo(host: &str, name: &'static str) -> SocketAddr {
    backend(host, move |mut stream| {
        let mut from = stream.try_clone().expect("the same stream");
        // Its client may go before it is done.
        let _ = stream.write_all(name.as_bytes()).and_then(|()| io::copy(&mut from, &mut stream));
        let _ = stream.shutdown(Shutdown::Write);
    })
}

/// An address where nobody listens.
fn nobody(host: &str) -> SocketAddr {
    TcpListener::bind((host, 0)).expect("a port").local_addr().expect("an address")
}

/// Has a place pass connections on to these, with more lines for the listener and for the pool. No front door is needed.
fn configure(place: &Place, backends: &[SocketAddr], listener: &str, pool: &str) {
    let list: Vec<String> = backends.iter().map(|backend| format!("{{ url = 'tcp://{backend}' }}")).collect();
    let (host, list) = (place.host(), list.join(", "));
    place.change(|text| {
        let kept = text.split("# layer 4").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# layer 4\n[proxy]\nworkers = 2\n[proxy.pool.app]\nbackend = [{list}]\n{pool}\n\
             [[proxy.listener]]\nname = 'app'\naddress = ['{host}:7000']\npool = 'app'\n{listener}\n"
        )
    });
}

fn place_of(make: &[fn(&str) -> SocketAddr], listener: &str, pool: &str) -> Place {
    let mut place = Place::new();
    let backends: Vec<_> = make.iter().map(|make| make(place.host())).collect();
    configure(&place, &backends, listener, pool);
    place.start();
    place
}

fn connect(place: &Place) -> TcpStream {
    connect_to(place, 7000)
}

fn connect_to(place: &Place, port: u16) -> TcpStream {
    let stream = TcpStream::connect((place.host(), port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream
}

fn hear(stream: &mut TcpStream, length: usize) -> String {
    let mut heard = vec![0; length];
    stream.read_exact(&mut heard).expect("more");
    String::from_utf8(heard).expect("text")
}

/// What the API says of the listener.
fn told(place: &Place) -> Json {
    let token = std::fs::read_to_string(place.data().join("admin.token")).expect("the secret of this machine");
    let url = format!("http://{}:8067/api/v1/proxy/listeners", place.host());
    let mut curl = crate::binary::curl();
    curl.args(["-H", &format!("Authorization: Bearer {}", token.trim()), &url]);
    let output = curl.output().expect("curl");
    json(&output)[0].clone()
}

/// What a metric of the listener reads, with these labels besides.
fn metric(place: &Place, name: &str, labels: &str) -> f64 {
    let shown = crate::binary::get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let begin = format!("outwork_proxy_l4_{name}{{listener=\"app\"{labels}}} ");
    shown.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0.0, |value| value.parse().expect("a number"))
}

/// How a connection has ended that was heard to its end.
fn end(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(|_| rest)
}

#[test]
fn connections_go_to_the_backends_in_turn_and_bytes_both_ways_to_their_end() {
    let place = place_of(&[|host| echo(host, "one"), |host| echo(host, "two")], "", "");
    // Whose turn it is, each thread knows for itself.
    let mut names: Vec<String> = Vec::new();
    for _ in 0..40 {
        let mut client = connect(&place);
        names.push(hear(&mut client, 3));
        client.write_all(b"hello").expect("it is heard");
        assert_eq!(hear(&mut client, 5), "hello");
        client.shutdown(Shutdown::Write).expect("one side of it");
        assert_eq!(end(&mut client).expect("the other"), b"");
    }
    let ones = names.iter().filter(|name| *name == "one").count();
    assert!((15..=25).contains(&ones), "{names:?}");
    until("all to have ended", || metric(&place, "ended_total", ",reason=\"closed\"") == 40.0);
    let listener = told(&place);
    assert_eq!((&listener["name"], &listener["total"], &listener["active"]), (&"app".into(), &40.into(), &0.into()));
    assert_eq!((&listener["received"], &listener["sent"]), (&200.into(), &320.into()));
    let shown = place.must(&["backends", "list", "--json"]);
    assert!(shown.contains("tcp://"), "{shown}");
}

#[test]
fn much_goes_through_as_it_is_both_ways_at_once() {
    const LENGTH: usize = 24 << 20;
    let place = place_of(&[|host| echo(host, "")], "", "");
    let content: Vec<u8> = (0..LENGTH as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let client = connect(&place);
    let mut writing = client.try_clone().expect("the same connection");
    let written = content.clone();
    let writer = std::thread::spawn(move || {
        // In parts of all sizes: some go through the buffer, and some through the pipe.
        let mut rest = &written[..];
        for size in [1, 1000, 65_536, 65_537, 300_000].into_iter().cycle() {
            let (part, after) = rest.split_at(size.min(rest.len()));
            writing.write_all(part).expect("it is taken");
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        writing.shutdown(Shutdown::Write).expect("its end");
    });
    let mut client = client;
    let back = end(&mut client).expect("all of it");
    assert!(back == content, "{} of {LENGTH} bytes came back, or others", back.len());
    writer.join().expect("all of it was taken");
    // Where a read finds the buffer full, what follows is not copied; how often that is depends on who is faster.
    let spliced = || metric(&place, "spliced_bytes_total", "");
    until("its end", || metric(&place, "ended_total", ",reason=\"closed\"") == 1.0);
    assert!(spliced() > f64::from(4 << 20), "{}", spliced());
    let before = spliced();
    let mut short = connect(&place);
    short.write_all(b"hello").expect("it is heard");
    assert_eq!((hear(&mut short, 5).as_str(), spliced()), ("hello", before), "what is short is read and written");
}

#[test]
fn who_has_said_all_may_still_hear_and_an_idle_half_ends_in_its_own_time() {
    let place = place_of(
        &[|host| {
            backend(host, |mut stream| {
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).expect("the end of the question");
                if heard == b"answer me" {
                    stream.write_all(b"answer").expect("it is heard");
                } else {
                    // It says nothing, and waits to be cut off.
                    std::thread::park();
                }
            })
        }],
        "half_close_timeout = '1s'",
        "",
    );
    let mut client = connect(&place);
    client.write_all(b"answer me").expect("it is heard");
    client.shutdown(Shutdown::Write).expect("one side of it");
    assert_eq!(end(&mut client).expect("an answer"), b"answer");
    let mut client = connect(&place);
    client.shutdown(Shutdown::Write).expect("one side of it");
    let _ = end(&mut client);
    until("it to be counted", || metric(&place, "ended_total", ",reason=\"half_closed\"") == 1.0);
}

/// A backend that tells how connections end.
fn telling(host: &str) -> (SocketAddr, Receiver<io::Result<Vec<u8>>>) {
    let (tell, told) = channel();
    let tell = std::sync::Mutex::new(tell);
    let address = backend(host, move |mut stream| {
        let ended = end(&mut stream);
        let _ = tell.lock().expect("one at a time").send(ended);
    });
    (address, told)
}

/// Breaks a connection off.
fn break_off(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("an option");
}

#[test]
fn who_breaks_off_breaks_off_at_the_other_side_too() {
    let mut place = Place::new();
    let (backend_of_client, ended) = telling(place.host());
    configure(&place, &[backend_of_client], "", "");
    place.start();
    let mut client = connect(&place);
    client.write_all(b"hello").expect("it is heard");
    until("it to arrive", || metric(&place, "received_bytes_total", "") == 5.0);
    break_off(client);
    let ended = ended.recv().expect("an end");
    assert_eq!(ended.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    until("it to be counted", || metric(&place, "ended_total", ",reason=\"client\"") == 1.0);
    let breaking = backend(place.host(), |mut stream| {
        stream.write_all(b"bye").expect("it is heard");
        let mut some = [0; 1];
        stream.read_exact(&mut some).expect("a word");
        break_off(stream);
    });
    configure(&place, &[breaking], "", "");
    place.must(&["reload"]);
    let mut client = connect(&place);
    hear(&mut client, 3);
    client.write_all(b"x").expect("it is heard");
    assert_eq!(end(&mut client).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
    until("it to be counted", || metric(&place, "ended_total", ",reason=\"backend\"") == 1.0);
}

#[test]
fn who_finds_one_backend_dead_gets_another_and_the_dead_one_is_left_out() {
    let place = place_of(
        &[|host| echo(host, "one"), nobody],
        "",
        "outlier = { consecutive_gateway = 3, success_rate = false, base_ejection = '1h', max_ejection = '1h' }\nretry = { floor = 1000 }",
    );
    for _ in 0..40 {
        assert_eq!(hear(&mut connect(&place), 3), "one");
    }
    let shown: Json = serde_json::from_str(&place.must(&["backends", "list", "--json"])).expect("JSON");
    let states: Vec<_> = shown[0]["backends"].as_array().expect("two").iter().map(|one| one["state"].clone()).collect();
    assert!(states.contains(&"usable".into()) && states.contains(&"ejected".into()), "{shown}");
    assert_eq!(metric(&place, "refused_total", ",reason=\"backend\""), 0.0);
}

#[test]
fn where_no_backend_answers_connections_are_broken_off_and_counted() {
    let place = place_of(&[nobody], "", "");
    let ended = end(&mut connect(&place)).map_err(|error| error.kind());
    assert_eq!(ended, Err(io::ErrorKind::ConnectionReset));
    until("it to be counted", || metric(&place, "refused_total", ",reason=\"backend\"") == 1.0);
    assert_eq!(metric(&place, "active", ""), 0.0);
}

#[test]
fn what_is_beyond_a_limit_is_broken_off_and_counted_by_which() {
    let place = place_of(
        &[|host| echo(host, "one")],
        "max_connections = 3\nmax_connections_per_client = 2\nidle_timeout = '1h'",
        "",
    );
    let mut open: Vec<TcpStream> = (0..2).map(|_| connect(&place)).collect();
    open.iter_mut().for_each(|client| drop(hear(client, 3)));
    assert!(end(&mut connect(&place)).is_err());
    until("it to be counted", || metric(&place, "refused_total", ",reason=\"client\"") == 1.0);
    // Who has gone makes room.
    drop(open.pop());
    until("room", || metric(&place, "active", "") == 1.0);
    assert_eq!(hear(&mut connect(&place), 3), "one");
    configure(&place, &[echo(place.host(), "two")], "connection_rate = 1\nconnection_burst = 2", "");
    place.must(&["reload"]);
    let begun = served_of((0..20).map(|_| Ok(connect(&place))).collect());
    assert!((2..20).contains(&begun), "{begun}");
    until("the others to be counted", || metric(&place, "refused_total", ",reason=\"rate\"") == (20 - begun) as f64);
}

#[test]
fn a_connection_that_stands_still_ends_in_time_and_one_that_moves_does_not() {
    let place = place_of(&[|host| echo(host, "one")], "idle_timeout = '2s'", "");
    let (mut still, mut moving) = (connect(&place), connect(&place));
    hear(&mut still, 3);
    hear(&mut moving, 3);
    let ended = std::thread::spawn(move || end(&mut still));
    while !ended.is_finished() {
        moving.write_all(b"x").expect("it is heard");
        hear(&mut moving, 1);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(ended.join().expect("an end").expect("no reset"), b"");
    moving.write_all(b"x").expect("it is heard");
    hear(&mut moving, 1);
    assert_eq!(metric(&place, "ended_total", ",reason=\"idle\""), 1.0);
}

#[test]
fn its_listeners_are_among_those_of_the_server() {
    let mut place = Place::new();
    let backend = echo(place.host(), "one");
    configure(&place, &[backend], "", "");
    place.start();
    let status: Json = serde_json::from_str(&place.must(&["status", "--json"])).expect("JSON");
    let listeners = status["listeners"].as_array().expect("a list");
    let own = serde_json::json!({"service": "proxy", "address": format!("{}:7000", place.host()), "protocol": "tcp"});
    assert!(listeners.contains(&own), "{listeners:?}");
}

#[test]
fn listeners_share_what_there_may_be_everywhere() {
    let mut place = Place::new();
    let (one, two) = (echo(place.host(), "one"), echo(place.host(), "two"));
    let limited = |place: &Place, limits: &str| {
        place.change(|text| {
            let (kept, host) = (text.split("# layer 4").next().unwrap_or_default().to_owned(), place.host());
            format!(
                "{kept}# layer 4\n[proxy]\nworkers = 2\nlimits = {{ {limits} }}\n\
                 [proxy.pool.one]\nbackend = [{{ url = 'tcp://{one}' }}]\n[proxy.pool.two]\nbackend = [{{ url = 'tcp://{two}' }}]\n\
                 [[proxy.listener]]\nname = 'app'\naddress = ['{host}:7000']\npool = 'one'\n\
                 [[proxy.listener]]\nname = 'other'\naddress = ['{host}:7001']\npool = 'two'\n"
            )
        });
    };
    limited(&place, "max_connections = 2");
    place.start();
    let other = || {
        let stream = TcpStream::connect((place.host(), 7001)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream
    };
    let (mut first, mut second) = (connect(&place), other());
    assert_eq!((hear(&mut first, 3), hear(&mut second, 3)), ("one".to_owned(), "two".to_owned()));
    assert!(end(&mut connect(&place)).is_err(), "both have one, and that is all");
    until("it to be counted", || metric(&place, "refused_total", ",reason=\"everywhere\"") == 1.0);
    drop(second);
    until("room", || hear_if_any(&mut connect(&place)) == "one");
    limited(&place, "connection_rate = 1");
    place.must(&["reload"]);
    let begun = served_of((0..20).map(|at| Ok(if at % 2 == 0 { connect(&place) } else { other() })).collect());
    assert!((1..20).contains(&begun), "{begun}");
    until("those to be counted", || metric(&place, "refused_total", ",reason=\"rate\"") >= 1.0);
    drop(first);
}

/// How many of connections are served. All of them are begun before the first is heard: a rate a second is not for a machine on which each of them takes
/// longer than that.
fn served_of(connections: Vec<io::Result<TcpStream>>) -> usize {
    let is_served = |mut stream: TcpStream| stream.read_exact(&mut [0; 3]).ok();
    connections.into_iter().flatten().filter_map(is_served).count()
}

/// What a backend says first, of a connection that may be broken off.
fn hear_if_any(stream: &mut TcpStream) -> String {
    let mut heard = [0; 3];
    stream.read_exact(&mut heard).map_or_else(|_| String::new(), |()| String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn backends_of_connections_are_listed_with_what_passes_through_them() {
    let place = place_of(&[|host| echo(host, "one")], "", "");
    let mut client = connect(&place);
    assert_eq!(hear(&mut client, 3), "one");
    let shown = place.must(&["backends", "list"]);
    assert!(shown.starts_with("app: round_robin, 1 open\n"), "{shown}");
    assert!(shown.contains(" OPEN ") && shown.contains(" CONNECTIONS ") && !shown.contains("REQUESTS"), "{shown}");
    assert!(shown.contains("usable, not checked "), "{shown}");
}
