//! The proxy in the real binary: requests that are passed on to real servers, which do well or not.

mod acceleration;
mod announced;
mod asking;
pub(crate) mod backend;
mod cached;
mod checked;
mod choosing;
mod connect;
mod connections;
mod dns;
mod draining;
mod ejected;
mod encrypted;
mod extras;
mod failing;
mod hints;
mod http2;
mod http3;
mod limits;
mod living;
mod names;
mod pipeline;
mod pressure;
mod roles;
mod split;
mod trailers;
mod watching;
mod websocket;
mod weighed;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value as Json;

use crate::binary::{Client, Place, field, get, json, until};
use backend::{Backend, answer};
use extras::count;

/// A place that passes everything on to backends, which are made once its address is known, with more lines for the pool and for the route.
fn place_of<const N: usize>(make: [fn(&str) -> Backend; N], pool: &str, route: &str) -> (Place, [Backend; N]) {
    let mut place = Place::new();
    let backends = make.map(|make| make(place.host()));
    configure(&place, &backends.each_ref(), pool, route);
    place.start();
    (place, backends)
}

fn configure(place: &Place, backends: &[&Backend], pool: &str, route: &str) {
    let list: Vec<String> = backends.iter().map(|backend| format!("{{ url = '{}' }}", backend.url())).collect();
    let list = list.join(", ");
    place.change(|text| {
        let kept = text.split("# proxy").next().unwrap_or_default().to_owned();
        let host = place.host();
        format!(
            "{kept}# proxy\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app'{route} }}\n\
             [proxy.pool.app]\nbackend = [{list}]\n{pool}\n"
        )
    });
}

fn site(place: &Place) -> String {
    format!("http://{}:8080", place.host())
}

/// The body of what curl gets.
fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn requests_go_to_the_backends_in_turn_and_connections_are_used_again() {
    let (place, [one, two]) =
        place_of([|host| Backend::named(host, "one"), |host| Backend::named(host, "two")], "", "");
    let mut client = Client::new(&format!("{}:8080", place.host()));
    let answers: Vec<String> = (0..10).map(|_| body(&client.ask("GET /", "a.test")).to_owned()).collect();
    let ones = answers.iter().filter(|answer| *answer == "one").count();
    assert_eq!((ones, answers.len()), (5, 10), "{answers:?}");
    assert_eq!((one.requests(), two.requests()), (5, 5));
    // One connection of a client is served by one thread, which has one connection to each.
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[test]
fn a_backend_is_told_what_the_client_asks_and_who_that_is() {
    let mut place = Place::new();
    let (backend, seen) = Backend::telling(place.host(), "hello");
    configure(&place, &[&backend], "", "");
    place.start();
    let options =
        ["-d", "a=b", "-H", "X-Own: 1", "-H", "X-Forwarded-For: 10.9.9.9", "-H", "Connection: x-hop", "-H", "X-Hop: 1"];
    for version in [&["--http1.1"][..], &["--http2-prior-knowledge"]] {
        let said = get(&format!("{}/path/a?q=%20", site(&place)), &[&options[..], version].concat());
        assert!(said.contains(" 200") && body(&said) == "hello", "{said}");
        let seen = seen.recv().expect("a request");
        assert_eq!((seen.line.as_str(), &*seen.body), ("POST /path/a?q=%20 HTTP/1.1", &b"a=b"[..]));
        let of = |name| seen.field(name);
        let host = format!("{}:8080", place.host());
        assert_eq!((of("host"), of("x-own"), of("x-forwarded-proto")), (Some(&*host), Some("1"), Some("http")));
        assert!(of("x-forwarded-for").is_some_and(|address| address.starts_with("127.")), "{seen:?}");
        assert_eq!((of("content-length"), of("connection")), (Some("3"), None));
    }
}

#[test]
fn bodies_of_any_size_go_through_both_ways() {
    let echo = |host: &str| Backend::acting(host, |seen, to| answer(to, "200 OK", "", &seen.body));
    let (place, [_backend]) = place_of([echo], "", "");
    let content: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let file = place.path().join("content");
    std::fs::write(&file, &content).expect("a file");
    let upload = format!("@{}", file.display());
    for options in
        [&["--http1.1"][..], &["--http1.1", "-H", "Transfer-Encoding: chunked"], &["--http2-prior-knowledge"]]
    {
        let got = place.path().join("got");
        let got_text = got.display().to_string();
        let mut curl = crate::binary::curl();
        curl.args(options).args(["-X", "PUT", "--data-binary", &upload, "-o", &got_text]).arg(site(&place));
        assert!(curl.status().expect("curl").success());
        assert!(std::fs::read(&got).expect("a file") == content, "{options:?}");
    }
}

#[test]
fn an_answer_comes_part_by_part_as_the_backend_makes_it() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut place = Place::new();
    let backend = Backend::acting(place.host(), move |_, to| {
        to.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").expect("it is read");
        wait.lock().expect("one at a time").recv().expect("it goes on");
        to.write_all(b"4\r\nlast\r\n0\r\n\r\n").is_ok()
    });
    configure(&place, &[&backend], "", "");
    place.start();
    let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is heard");
    let mut so_far = String::new();
    while !so_far.contains("first") {
        let mut some = [0; 1024];
        let read = client.read(&mut some).expect("a part");
        assert!(read > 0, "{so_far}");
        so_far.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    assert!(!so_far.contains("last"));
    go.send(()).expect("the backend waits");
    client.read_to_string(&mut so_far).expect("the rest");
    assert!(so_far.ends_with("4\r\nlast\r\n0\r\n\r\n"), "{so_far}");
}

#[test]
fn what_comes_after_an_answer_in_chunks_goes_to_who_takes_it() {
    let said = |host: &str| {
        Backend::acting(host, |_, to| {
            let chunks = "2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=1\r\n\r\n";
            to.write_all(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes()).is_ok()
        })
    };
    let (place, _backend) = place_of([said], "", "");
    let ask = |fields: &str| {
        let mut client = TcpStream::connect(format!("{}:8080", place.host())).expect("it listens");
        let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n");
        client.write_all(head.as_bytes()).expect("it is heard");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        answer
    };
    // On a connection that is new to the backend, and on those that are shared.
    for _ in 0..4 {
        let taken = ask("TE: gzip;q=0.5, trailers\r\n");
        assert!(taken.contains("\r\nok\r\n") && taken.ends_with("0\r\nx-sum: 7\r\n\r\n"), "{taken}");
        let left = ask("");
        assert!(left.contains("\r\nok\r\n") && left.ends_with("0\r\n\r\n"), "{left}");
    }
}

#[test]
fn a_backend_may_refuse_a_body_before_it_is_sent() {
    let mut place = Place::new();
    let listener = std::net::TcpListener::bind((place.host(), 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend_from_slice(&byte);
        }
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").expect("it is read");
        // Nothing of the body comes.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the end");
        (String::from_utf8(head).expect("text"), rest)
    });
    place.change(|text| {
        let host = place.host();
        format!("{text}\n[[front.listener]]\naddress = '{host}:8080'\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n[proxy.pool.app]\nbackend = [{{ url = 'http://{address}' }}]\n")
    });
    place.start();
    let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .expect("it is heard");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("an answer");
    assert!(said.starts_with("HTTP/1.1 401 ") && said.ends_with("\r\n\r\nno"), "{said}");
    let (head, rest) = server.join().expect("the backend");
    assert!(head.contains("expect: 100-continue\r\n") && rest.is_empty(), "{head} {rest:?}");
}

#[test]
fn a_connection_is_switched_to_another_protocol_and_lives_through_a_reload() {
    let echo = |host: &str| {
        Backend::acting(host, |seen, to| {
            let wanted = seen.field("upgrade") == Some("websocket") && seen.field("connection") == Some("upgrade");
            assert!(wanted, "{seen:?}");
            let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello";
            to.write_all(head).expect("it is read");
            let mut from = to.try_clone().expect("the same stream");
            std::io::copy(&mut from, to).expect("an echo");
            false
        })
    };
    let (place, [backend]) = place_of([echo], "", "");
    let mut client = TcpStream::connect((place.host(), 8080)).expect("it listens");
    client.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    client
        .write_all(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        .expect("it is heard");
    let expect = |client: &mut TcpStream, end: &str| {
        let mut said = String::new();
        while !said.ends_with(end) {
            let mut some = [0; 1024];
            let read = client.read(&mut some).expect("more");
            assert!(read > 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&some[..read]));
        }
        said
    };
    let head = expect(&mut client, "helloearly");
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n") && head.contains("upgrade: websocket\r\n"),
        "{head}"
    );
    configure(&place, &[&backend], "policy = 'least_conn'", ", server_timing = true");
    place.must(&["reload"]);
    client.write_all(b" still there").expect("it is heard");
    expect(&mut client, " still there");
    client.shutdown(std::net::Shutdown::Write).expect("a half of it is closed");
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).expect("the end"), 0);
}

#[test]
fn a_client_comes_back_to_the_backend_that_its_cookie_names() {
    let make: [fn(&str) -> Backend; 3] =
        [|host| Backend::named(host, "one"), |host| Backend::named(host, "two"), |host| Backend::named(host, "three")];
    let (place, _backends) = place_of(make, "sticky = { ttl = '1h' }", "");
    let first = get(&site(&place), &[]);
    let cookie = field(&first, "set-cookie").expect("a cookie");
    assert!(
        cookie.starts_with("OUTWORK_BACKEND=") && cookie.ends_with("; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let value = cookie.split(';').next().expect("a pair").to_owned();
    for _ in 0..6 {
        let again = get(&site(&place), &["-H", &format!("Cookie: a=b; {value}")]);
        assert_eq!((body(&again), field(&again, "set-cookie")), (body(&first), None));
    }
    let forged = format!("Cookie: {}", value.replace('=', "=A"));
    assert!(field(&get(&site(&place), &["-H", &forged]), "set-cookie").is_some());
}

#[test]
fn the_same_goes_to_the_same_backend_where_that_is_wanted() {
    let make: [fn(&str) -> Backend; 3] =
        [|host| Backend::named(host, "one"), |host| Backend::named(host, "two"), |host| Backend::named(host, "three")];
    let (place, _backends) = place_of(make, "policy = 'maglev'\nhash = 'header:x-user'", "");
    let mut client = Client::new(&format!("{}:8080", place.host()));
    let mut of =
        |user: &String| body(&client.ask_with("GET /", &format!("Host: a.test\r\nX-User: {user}\r\n"))).to_owned();
    // Ports are given by chance: of so many, none is left out.
    let users: Vec<String> = (0..100).map(|user| format!("user-{user}")).collect();
    let first: Vec<String> = users.iter().map(&mut of).collect();
    let again: Vec<String> = users.iter().map(&mut of).collect();
    assert_eq!(first, again);
    assert!(["one", "two", "three"].iter().all(|name| first.iter().any(|found| found == name)), "{first:?}");
}

#[test]
fn a_pool_changes_while_requests_are_under_way() {
    let (go, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut place = Place::new();
    let old = Backend::acting(place.host(), move |_, to| {
        wait.lock().expect("one at a time").recv().expect("it goes on");
        answer(to, "200 OK", "", b"old")
    });
    let new = Backend::named(place.host(), "new");
    configure(&place, &[&old], "", "");
    place.start();
    let url = site(&place);
    let under_way = std::thread::spawn(move || get(&url, &[]));
    until("the old backend to have it", || old.requests() == 1);
    configure(&place, &[&new], "", ", server_timing = true");
    place.must(&["reload"]);
    let answer = get(&site(&place), &[]);
    assert_eq!(body(&answer), "new");
    assert!(field(&answer, "server-timing").is_some_and(|timing| timing.starts_with("backend;dur=")), "{answer}");
    go.send(()).expect("the backend waits");
    assert_eq!(body(&under_way.join().expect("an answer")), "old");
    let refused = place.outwork(&["--set", "proxy.pool.app.backend=[{url=\"ftp://x\"}]", "check"]);
    assert!(!refused.status.success(), "{refused:?}");
}

#[test]
fn a_name_stands_for_its_addresses_and_a_path_for_a_socket() {
    let mut place = Place::new();
    let backend = Backend::named("127.0.0.1", "named");
    let socket = place.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut some = [0; 4096];
            while stream.read(&mut some).is_ok_and(|read| read > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nunix").expect("it is read");
            }
        }
    });
    let (port, socket) = (backend.address.port(), socket.display());
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.route]]\npath = '/named'\nproxy = {{ pool = 'named', host = 'backend' }}\n\
             [[front.route]]\npath = '/unix'\nproxy = {{ pool = 'unix' }}\n\
             [proxy.pool.named]\nbackend = [{{ url = 'http://localhost:{port}' }}]\n\
             [proxy.pool.unix]\nbackend = [{{ url = 'unix:{socket}' }}]\n"
        )
    });
    place.start();
    assert_eq!(body(&get(&format!("{}/named", site(&place)), &[])), "named");
    assert_eq!(body(&get(&format!("{}/unix", site(&place)), &[])), "unix");
}

#[test]
fn what_a_backend_answers_is_cached_and_compressed_where_a_route_says_so() {
    let page = |host: &str| {
        Backend::acting(host, |_, to| {
            answer(
                to,
                "200 OK",
                "content-type: text/html\r\ncache-control: max-age=60\r\n",
                "hello ".repeat(1000).as_bytes(),
            )
        })
    };
    let (place, [backend]) = place_of([page], "", " }\ncache = {}\ncompression = { enabled = true");
    let plain = get(&site(&place), &[]);
    assert_eq!(body(&plain).len(), 6000);
    for _ in 0..3 {
        let packed = get(&site(&place), &["--compressed"]);
        assert!(field(&packed, "content-encoding").is_some() && body(&packed).len() == 6000, "{packed}");
    }
    assert_eq!(backend.requests(), 2, "once for each coding");
}

#[test]
fn what_is_said_of_backends_by_hand_holds_through_upgrades_and_restarts() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "one"), |host| Backend::named(host, "two")];
    let (mut place, [one, two]) = place_of(make, "", "");
    place.must(&["backends", "drain", "app", &one.url(), "--for", "10m"]);
    assert!(place.must(&["status"]).contains("1 backend taken out by hand"));
    let states = |place: &Place| {
        let pools = json(&place.outwork(&["backends", "list", "app", "--json"]));
        let backends = pools[0]["backends"].as_array().expect("a list").clone();
        [&one, &two].map(|wanted| {
            let found = backends.iter().find(|backend| backend["key"] == wanted.url()).expect("a backend");
            found["state"].as_str().unwrap_or_default().to_owned()
        })
    };
    assert!(place.stop(15).success());
    place.start();
    assert_eq!(states(&place), ["draining", "usable"]);
    let said = place.must(&["backends", "eject", "app", &two.url(), "--for", "10m"]);
    assert!(said.contains("is left out; but the pool app is in panic: requests still go to it"), "{said}");
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    assert!(place.succeed(&upgraded["process"]).wait().expect("it ends").success());
    assert_eq!(states(&place), ["draining", "ejected"]);
    let shown = place.must(&["backends", "list", "app"]);
    assert!(shown.contains("left out by hand") && shown.contains("too few are usable: all are used"), "{shown}");
    assert_eq!(count(&place, "outwork_proxy_panics{pool=\"app\"}"), 1);
    for backend in [&one, &two] {
        place.must(&["backends", "admit", "app", &backend.url()]);
    }
    assert_eq!(states(&place), ["usable", "usable"]);
    let upgraded = json(&place.outwork(&["upgrade", "--json"]));
    place.succeed(&upgraded["process"]);
    assert_eq!(states(&place), ["usable", "usable"], "what was taken back is forgotten");
}

#[test]
fn what_was_said_of_a_backend_that_is_gone_is_listed_and_can_be_taken_back() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "one"), |host| Backend::named(host, "two")];
    let (place, [one, two]) = place_of(make, "drain = '0s'", "");
    place.must(&["backends", "drain", "app", &one.url()]);
    configure(&place, &[&two], "drain = '0s'", "");
    place.must(&["reload"]);
    until("it to be gone", || place.must(&["backends", "list", "app"]).contains("\nABSENT BACKEND "));
    let absent = json(&place.outwork(&["backends", "list", "app", "--json"]))[0]["absent"].clone();
    assert!(absent[0]["key"] == one.url().as_str() && absent[0]["drains_for"].is_number(), "{absent}");
    assert!(place.must(&["status"]).contains("1 backend taken out by hand"));
    assert!(!place.outwork(&["backends", "eject", "app", &one.url()]).status.success(), "it is not there");
    place.must(&["backends", "admit", "app", &one.url()]);
    assert!(!place.must(&["backends", "list", "app"]).contains("ABSENT"));
    configure(&place, &[&one, &two], "drain = '0s'", "");
    place.must(&["reload"]);
    let answers: Vec<String> = (0..4).map(|_| body(&get(&site(&place), &[])).to_owned()).collect();
    assert!(answers.iter().any(|answer| answer == "one"), "{answers:?}");
}

#[test]
fn the_access_log_names_who_was_asked_and_how_often() {
    let make: [fn(&str) -> Backend; 2] = [
        |host| Backend::acting(host, |_, to| answer(to, "503 Service Unavailable", "", b"busy")),
        |host| Backend::named(host, "two"),
    ];
    let log =
        "[front.access_log]\nfile = 'access.log'\nfields = ['status', 'pool', 'backend', 'attempts', 'backend_time']";
    let (mut place, [one, two]) = place_of(make, log, "");
    let mut client = Client::new(&format!("{}:8080", place.host()));
    for _ in 0..4 {
        client.ask("GET /", "a.test");
    }
    drop(client);
    for backend in [&one, &two] {
        place.must(&["backends", "drain", "app", &backend.url()]);
    }
    get(&site(&place), &[]);
    assert!(place.stop(15).success());
    let text = std::fs::read_to_string(place.path().join("access.log")).expect("a log");
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let of = |line: &Json| {
        let own = (line["status"].clone(), line["pool"].clone(), line["backend"].clone(), line["attempts"].clone());
        (own, line["backend_time"].is_number())
    };
    let two = Json::from(two.url());
    let tried = |line: &Json| line["attempts"].as_u64().unwrap_or_default();
    let answered = lines.iter().filter(|line| line["status"] == 200);
    assert!(
        answered.clone().all(|line| of(line) == ((200.into(), "app".into(), two.clone(), tried(line).into()), true)),
        "{text}"
    );
    let mut attempts: Vec<u64> = answered.map(tried).collect();
    attempts.sort_unstable();
    attempts.dedup();
    assert_eq!(attempts, [1, 2], "some asked the other one first: {text}");
    let refused = lines.iter().find(|line| line["status"] == 503).expect("a line");
    assert_eq!(of(refused), ((503.into(), "app".into(), Json::Null, 0.into()), false), "{text}");
}

#[test]
fn backends_are_shown_drained_and_let_in_again() {
    let make: [fn(&str) -> Backend; 2] = [|host| Backend::named(host, "one"), |host| Backend::named(host, "two")];
    let (place, [one, _two]) = place_of(make, "", "");
    let answers = || -> Vec<String> { (0..6).map(|_| body(&get(&site(&place), &[])).to_owned()).collect() };
    assert!(answers().iter().any(|answer| answer == "one"));
    let said = place.must(&["backends", "drain", "app", &one.url(), "--for", "10m"]);
    assert_eq!(said, format!("{} of app gets no new requests\n", one.url()));
    assert!(answers().iter().all(|answer| answer == "two"));
    let shown = place.must(&["backends", "list", "app"]);
    assert!(shown.contains("draining for ") && shown.starts_with("app: round_robin, 0 under way\n"), "{shown}");
    place.must(&["backends", "admit", "app", &one.url()]);
    assert!(answers().iter().any(|answer| answer == "one"));
    let wrong = place.outwork(&["backends", "drain", "app", "http://other"]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && told.contains(&one.url()), "{told}");
}
