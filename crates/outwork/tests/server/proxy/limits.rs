//! The most that there may be: of requests and connections, of one pool and of all of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::backend::{Backend, Seen, answer};
use super::http2::Grpc;
use crate::binary::{Place, field, get, text, until};
use crate::refusals::fault;

/// A backend that tells of each request, and answers it once it is told to.
fn waiting(host: &str) -> (Backend, std::sync::mpsc::Receiver<()>, Sender<()>) {
    let ((come, comes), (go, goes)) = (channel(), channel::<()>());
    let (come, goes) = (Mutex::new(come), Arc::new(Mutex::new(goes)));
    let act = move |_: &Seen, to: &mut TcpStream| {
        let _ = come.lock().expect("one at a time").send(());
        let _ = goes.lock().expect("one at a time").recv();
        answer(to, "200 OK", "", b"waited")
    };
    (Backend::acting(host, act), comes, go)
}

/// Two pools of one backend each, at `/a` and `/b`, with more lines for the whole and for the first pool.
fn configure(place: &Place, backends: [&Backend; 2], all: &str, pool: &str) {
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        format!(
            "{kept}# proxy\n[front]\nworkers = 1\n[[front.listener]]\naddress = '{}:8080'\n\
             [[front.route]]\npath = '/a'\nproxy = {{ pool = 'a' }}\n[[front.route]]\npath = '/b'\nproxy = {{ pool = 'b' }}\n\
             [proxy]\nlimits = {{ {all} }}\n[proxy.pool.a]\nbackend = [{{ url = '{}' }}]\n{pool}\n\
             [proxy.pool.b]\nbackend = [{{ url = '{}' }}]\n",
            place.host(),
            backends[0].url(),
            backends[1].url()
        )
    });
}

fn ask(place: &Place, path: &str) -> String {
    get(&format!("http://{}:8080{path}", place.host()), &[])
}

fn begin(place: &Place, path: &'static str) -> JoinHandle<String> {
    let url = format!("http://{}:8080{path}", place.host());
    std::thread::spawn(move || get(&url, &[]))
}

fn refused(place: &Place, reason: &str) -> f64 {
    let shown = get(&format!("http://{}:8067/metrics", place.host()), &[]);
    let begin = format!("outwork_proxy_refused_total{{reason=\"{reason}\"}} ");
    shown.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0.0, |count| count.parse().expect("a number"))
}

/// That it is turned away by a limit, which is counted as this.
fn is_turned_away(place: &Place, path: &str, reason: &str) {
    let before = refused(place, reason);
    let told = ask(place, path);
    assert!(told.starts_with("HTTP/1.1 503 "), "{told}");
    assert_eq!(field(&told, "retry-after"), Some("1"), "{told}");
    assert_eq!(refused(place, reason), before + 1.0, "{reason}: {told}");
}

#[test]
fn requests_of_all_pools_share_a_limit_until_their_answers_have_ended() {
    let mut place = Place::new();
    let (slow, comes, go) = waiting(place.host());
    let quick = Backend::named(place.host(), "quick");
    configure(&place, [&slow, &quick], "max_requests = 1", "");
    place.start();
    let first = begin(&place, "/a");
    comes.recv().expect("it has come");
    is_turned_away(&place, "/b", "everywhere");
    go.send(()).expect("it waits");
    assert!(first.join().expect("an answer").ends_with("waited"));
    until("there to be room", || ask(&place, "/b").ends_with("quick"));
}

#[test]
fn requests_begin_no_faster_than_a_pool_and_all_pools_allow() {
    let mut place = Place::new();
    let [one, two] = ["one", "two"].map(|name| Backend::named(place.host(), name));
    configure(&place, [&one, &two], "", "limits = { rate = 1, burst = 2 }");
    place.start();
    // Several at once: on a machine that is slow enough, no second has two in it that follow each other.
    let refuses = |paths: [&'static str; 4]| {
        let asked = paths.map(|path| begin(&place, path));
        asked.map(|answer| answer.join().expect("an answer")).iter().any(|answer| answer.starts_with("HTTP/1.1 503 "))
    };
    until("the pool to refuse", || refuses(["/a"; 4]));
    assert!(refused(&place, "rate") > 0.0 && ask(&place, "/b").ends_with("two"));
    configure(&place, [&one, &two], "request_rate = 1", "");
    place.must(&["reload"]);
    until("all to refuse", || refuses(["/a", "/b", "/a", "/b"]));
    assert!(refused(&place, "rate-everywhere") > 0.0);
    until("it to be over", || ask(&place, "/a").ends_with("one"));
}

#[test]
fn connections_to_backends_are_no_more_than_there_may_be_and_those_that_wait_make_room() {
    let mut place = Place::new();
    let (slow, comes, go) = waiting(place.host());
    let quick = Backend::named(place.host(), "quick");
    configure(&place, [&slow, &quick], "max_backend_connections = 1", "");
    place.start();
    // One waits for its next request, of another pool than the one that is asked next.
    assert!(ask(&place, "/b").ends_with("quick"));
    let first = begin(&place, "/a");
    comes.recv().expect("it has come");
    is_turned_away(&place, "/b", "connections-everywhere");
    go.send(()).expect("it waits");
    assert!(first.join().expect("an answer").ends_with("waited"));
    until("there to be room", || ask(&place, "/b").ends_with("quick"));
    configure(&place, [&slow, &quick], "", "limits = { connections = 1 }");
    place.must(&["reload"]);
    let first = begin(&place, "/a");
    comes.recv().expect("it has come");
    is_turned_away(&place, "/a", "connections");
    assert!(ask(&place, "/b").ends_with("quick"), "it is a limit of the other pool");
    go.send(()).expect("it waits");
    assert!(first.join().expect("an answer").ends_with("waited"));
}

#[test]
fn connections_that_wait_on_another_thread_make_room_too() {
    let mut place = Place::new();
    let [one, two] = ["one", "two"].map(|name| Backend::named(place.host(), name));
    configure(&place, [&one, &two], "max_backend_connections = 1", "");
    place.change(|text| text.replace("workers = 1", "workers = 2"));
    place.start();
    // Which thread has a client, the kernel says: of so many, both have some.
    for _ in 0..20 {
        for (path, name) in [("/a", "one"), ("/b", "two")] {
            let told = ask(&place, path);
            assert!(told.ends_with(name), "{told}");
        }
    }
    assert_eq!(refused(&place, "connections-everywhere"), 0.0);
}

#[test]
fn sessions_that_wait_make_room_and_so_does_what_waits_for_requests_where_a_connection_is_passed_on() {
    let mut place = Place::new();
    let (many, one) = (Grpc::start(place.host()), Backend::named(place.host(), "one"));
    place.change(|text| {
        let (host, many, one) = (place.host(), many.address, one.address);
        format!(
            "{text}\n[front]\nworkers = 2\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.route]]\npath = '/many'\nproxy = {{ pool = 'many' }}\n[[front.route]]\npath = '/one'\nproxy = {{ pool = 'one' }}\n\
             [proxy]\nworkers = 2\nlimits = {{ max_backend_connections = 1 }}\n[proxy.pool.many]\nbackend = [{{ url = 'h2c://{many}' }}]\n\
             [proxy.pool.one]\nbackend = [{{ url = 'http://{one}' }}]\n[proxy.pool.bare]\nbackend = [{{ url = 'tcp://{one}' }}]\n\
             [[proxy.listener]]\naddress = ['{host}:7000']\npool = 'bare'\n"
        )
    });
    place.start();
    let url = |path: &str| format!("http://{}:8080{path}", place.host());
    for _ in 0..10 {
        let told = get(&url("/many"), &["-d", "hello"]);
        assert!(told.starts_with("HTTP/1.1 200 ") && told.contains("hello"), "{told}");
        let told = get(&url("/one"), &[]);
        assert!(told.ends_with("one"), "{told}");
    }
    // Nothing waits on the threads of layer 4.
    let mut client = TcpStream::connect((place.host(), 7000)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("it is heard");
    let mut heard = String::new();
    while !heard.ends_with("one") {
        let mut some = [0; 1000];
        let read = client.read(&mut some).expect("an answer");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    assert_eq!(refused(&place, "connections-everywhere"), 0.0);
}

#[test]
fn a_websocket_counts_among_connections_for_as_long_as_it_lasts() {
    let mut place = Place::new();
    let switching = Backend::acting(place.host(), |_, to| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello";
        to.write_all(head).expect("it is read");
        // Its client ends it.
        let _ = to.read(&mut [0]);
        false
    });
    let quick = Backend::named(place.host(), "quick");
    configure(&place, [&switching, &quick], "max_backend_connections = 1", "");
    place.start();
    let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    client
        .write_all(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .expect("it is heard");
    let mut heard = String::new();
    while !heard.ends_with("hello") {
        let mut some = [0; 1000];
        let read = client.read(&mut some).expect("more");
        assert!(read > 0, "{heard}");
        heard.push_str(&text(&some[..read]));
    }
    is_turned_away(&place, "/b", "connections-everywhere");
    drop(client);
    until("there to be room", || ask(&place, "/b").ends_with("quick"));
}

#[test]
fn a_burst_without_a_rate_is_refused() {
    fault("[proxy]\nlimits = { request_burst = 5 }\n", "proxy.limits.request_burst");
    let pool = "[proxy.pool.a]\nbackend = [{ url = 'http://192.0.2.1' }]\nlimits = { burst = 5 }\n";
    fault(pool, "proxy.pool.a.limits.burst");
}
