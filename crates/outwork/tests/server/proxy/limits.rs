//! The most that there may be: of requests and connections, of one pool and of all of them.

use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::backend::{Backend, Seen, answer};
use crate::binary::{Place, field, get, until};
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
    until("the pool to refuse", || ask(&place, "/a").starts_with("HTTP/1.1 503 "));
    assert!(refused(&place, "rate") > 0.0 && ask(&place, "/b").ends_with("two"));
    configure(&place, [&one, &two], "request_rate = 1", "");
    place.must(&["reload"]);
    until("all to refuse", || ["/a", "/b"].iter().any(|path| ask(&place, path).starts_with("HTTP/1.1 503 ")));
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
fn a_burst_without_a_rate_is_refused() {
    fault("[proxy]\nlimits = { request_burst = 5 }\n", "proxy.limits.request_burst");
    let pool = "[proxy.pool.a]\nbackend = [{ url = 'http://192.0.2.1' }]\nlimits = { burst = 5 }\n";
    fault(pool, "proxy.pool.a.limits.burst");
}
