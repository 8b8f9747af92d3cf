//! Fields that clients send after the content of requests.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::backend::{Backend, answer};
use super::{body, configure, http2, place_of};
use crate::binary::{Client, Place, text};

/// Content in chunks and what comes after it, as more lines of a head; the last line end is for whoever sends them.
fn chunked(fields: &str, trailers: &str) -> String {
    format!("Host: a.test\r\nTransfer-Encoding: chunked\r\n{fields}\r\n5\r\nhello\r\n0\r\n{trailers}")
}

/// What may stand there, and what has no place there.
const CAME: &str = "X-Sum: 7\r\nAuthorization: x\r\nX_Forwarded_For: 10.0.0.1\r\nX-Request-Id: 1\r\n";

fn client(place: &Place) -> Client {
    Client::new(&format!("{}:8080", place.host()))
}

#[test]
fn fields_after_the_content_of_a_request_go_on_where_the_route_says_so() {
    let mut place = Place::new();
    let (backend, seen) = Backend::telling(place.host(), "hello");
    configure(&place, &[&backend], "", "");
    place.start();
    for (route, expected) in [("", &[][..]), (", trailers = true", &["x-sum: 7"][..])] {
        configure(&place, &[&backend], "", route);
        place.must(&["reload"]);
        let told = client(&place).ask_with("POST /", &chunked("", CAME));
        assert_eq!(body(&told), "hello", "{told}");
        let seen = seen.recv().expect("a request");
        assert_eq!(seen.body, b"hello");
        assert_eq!(seen.trailers, expected, "{route}");
    }
}

#[test]
fn a_field_that_others_give_or_a_route_takes_out_is_not_forged_after_the_content() {
    let mut place = Place::new();
    let asked = Backend::acting(place.host(), |_, to| answer(to, "200 OK", "", b""));
    let (app, seen) = Backend::telling(place.host(), "hello");
    configure(&place, &[&app], "", ", trailers = true");
    place.change(|text| {
        let middleware = format!(
            "forward_auth = {{ url = '{}/', answer_fields = ['x-user'] }}\nrequest_headers = {{ remove = ['x-gone'], set = {{ x-level = '1' }} }}\n",
            asked.url()
        );
        text.replace("[proxy.pool.app]", &format!("{middleware}[proxy.pool.app]"))
    });
    place.start();
    let forged = "X-User: root\r\nX_User: root\r\nX-Gone: 1\r\nX-Level: 9\r\nX-Sum: 7\r\n";
    for kind in ["text/plain", "application/grpc"] {
        let fields = chunked(&format!("X-User: root\r\nContent-Type: {kind}\r\n"), forged);
        let told = client(&place).ask_with("POST /", &fields);
        assert_eq!(body(&told), "hello", "{told}");
        let seen = seen.recv().expect("a request");
        assert_eq!((seen.field("x-user"), seen.field("x-level")), (None, Some("1")), "{seen:?}");
        assert_eq!(seen.trailers, ["x-sum: 7"], "{kind}");
    }
}

#[test]
fn whoever_is_asked_again_gets_the_fields_after_the_content_too() {
    let make: [fn(&str) -> Backend; 2] = [
        |host| Backend::named(host, "away"),
        |host| Backend::acting(host, |seen, to| answer(to, "200 OK", "", seen.trailers.join(",").as_bytes())),
    ];
    let (place, [away, _good]) = place_of(make, "retry = { floor = 1000 }", ", trailers = true");
    away.set_down(true);
    let mut client = client(&place);
    for _ in 0..4 {
        let told = client.ask_with("PUT /", &chunked("", CAME));
        assert_eq!(body(&told), "x-sum: 7", "{told}");
    }
    assert!(away.connections() >= 1, "it had its turn");
}

#[test]
fn fields_after_the_content_of_a_request_of_http_1_reach_a_backend_that_speaks_http_2() {
    let (place, _grpc) = http2::place("");
    let ask = || {
        let mut stream = TcpStream::connect((place.host(), 8080)).expect("it listens");
        let fields = chunked("Connection: close\r\nTE: trailers\r\n", CAME);
        stream.write_all(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes()).expect("it is heard");
        let mut told = Vec::new();
        stream.read_to_end(&mut told).expect("an answer");
        text(&told)
    };
    // It says again what came after the content.
    let told = ask();
    assert!(told.contains("grpc-status: 0\r\n") && !told.contains("x-sum"), "{told}");
    place.change(|text| text.replace("{ pool = 'app' }", "{ pool = 'app', trailers = true }"));
    place.must(&["reload"]);
    let told = ask();
    assert!(told.contains("x-sum: 7\r\n") && !told.contains("authorization") && !told.contains("10.0.0.1"), "{told}");
}
