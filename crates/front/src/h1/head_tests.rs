use super::*;

const LIMITS: HeadLimits = HeadLimits { target: 100, head: 1000 };

fn read(text: &str) -> Result<Option<Head>, Reject> {
    parse(text.as_bytes(), &LIMITS)
}

fn head(text: &str) -> Head {
    read(text).unwrap().expect("all of the head is there")
}

/// A request with these lines after its request line and `Host`.
fn with(lines: &str) -> Result<Option<Head>, Reject> {
    read(&format!("POST /p HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

#[test]
fn a_head_is_read_once_all_of_it_is_there_and_says_how_long_it_is() {
    let text = "GET /a?b=c HTTP/1.1\r\nHost: example.org:80\r\nAccept: */*\r\n\r\nnext";
    let end = text.len() - "next".len();
    for cut in 0..end {
        assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
    }
    let head = head(text);
    assert_eq!((head.bytes, head.framing, head.keep_alive, head.expects_continue), (end, Framing::None, true, false));
    assert_eq!((&head.parts.method, head.parts.uri.to_string().as_str()), (&Method::GET, "/a?b=c"));
    assert_eq!(head.parts.headers["accept"], "*/*");
}

#[test]
fn the_target_comes_in_four_forms() {
    let target = |line: &str| {
        let head = read(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        head.map(|head| head.map(|head| (head.parts.uri.to_string(), head.parts.headers["host"].clone())))
    };
    assert_eq!(target("GET http://b.example/x?y").unwrap().unwrap(), ("/x?y".into(), "b.example".parse().unwrap()));
    assert_eq!(target("GET http://b.example").unwrap().unwrap().0, "/");
    assert_eq!(target("CONNECT c.example:443").unwrap().unwrap().0, "c.example:443");
    assert_eq!(target("OPTIONS *").unwrap().unwrap().0, "*");
    for wrong in
        ["GET *", "GET x", "GET ftp://a/", "GET /#f", "CONNECT /x", "CONNECT a", "CONNECT u@a:1", "GET http://a/#x"]
    {
        assert_eq!(target(wrong).unwrap_err().status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[test]
fn what_one_server_reads_as_one_request_and_another_as_two_is_refused() {
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\0\r\n",
        "X\u{e4}: y\r\n",
        ": y\r\n",
        "Host: b\r\n",
    ] {
        assert_eq!(with(lines).expect_err(lines).status, StatusCode::BAD_REQUEST, "{lines:?}");
    }
    for encoding in
        ["gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "\"chunked\"", "identity"]
    {
        let refused = with(&format!("Transfer-Encoding: {encoding}\r\n")).expect_err(encoding);
        assert_eq!(refused.status, StatusCode::NOT_IMPLEMENTED, "{encoding}");
    }
    let twice = with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").unwrap_err();
    assert_eq!(twice.status, StatusCode::NOT_IMPLEMENTED);
    let old = read("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err();
    assert_eq!(old.status, StatusCode::BAD_REQUEST);
}

#[test]
fn one_length_or_chunks_frame_a_body() {
    let framing = |lines| with(lines).unwrap().unwrap().framing;
    assert_eq!(framing("Content-Length: 5\r\n"), Framing::Length(5));
    assert_eq!(framing("Content-Length: 005\r\n"), Framing::Length(5));
    assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
    assert_eq!(framing(""), Framing::None);
}

#[test]
fn a_request_names_one_host() {
    assert_eq!(read("GET / HTTP/1.1\r\n\r\n").unwrap_err().status, StatusCode::BAD_REQUEST);
    assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().is_some());
    for host in ["a b", "a/b", "a@b", "a\"b", "a\\b", "a,b@c", "a:x", "a:1:2", "[::1", "[]", "[::1]x", "a]", "[g]"] {
        assert!(read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).is_err(), "{host}");
    }
    for host in ["", "a.example:8080", "a:", "[2001:db8::1]", "[2001:db8::1]:80"] {
        assert!(read(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().is_some(), "{host}");
    }
}

#[test]
fn connections_persist_as_their_version_and_options_say() {
    let keeps = |version: &str, connection: &str| {
        head(&format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n")).keep_alive
    };
    assert!(head("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
    assert!(!head("GET / HTTP/1.0\r\nHost: a\r\n\r\n").keep_alive);
    assert!(keeps("1.0", "Keep-Alive") && keeps("1.1", "upgrade") && keeps("1.1", "keep-alive"));
    assert!(!keeps("1.1", "Close") && !keeps("1.1", "upgrade, close") && !keeps("1.0", "close, keep-alive"));
}

#[test]
fn a_head_that_grows_past_its_limit_is_refused_before_it_ends() {
    let long = "a".repeat(300);
    assert_eq!(read(&format!("GET /{long}")).unwrap_err().status, StatusCode::URI_TOO_LONG);
    let target = "a".repeat(100);
    let refused = read(&format!("GET /{target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap_err();
    assert_eq!(refused.status, StatusCode::URI_TOO_LONG);
    let fields = "X: y\r\n".repeat(170);
    assert_eq!(
        read(&format!("GET / HTTP/1.1\r\n{fields}")).unwrap_err().status,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    assert_eq!(
        read(&format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(1000))).unwrap_err().status,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
}

#[test]
fn versions_and_expectations_that_are_not_understood_are_refused_with_their_status() {
    assert_eq!(read("GET / HTTP/2.0\r\n\r\n").unwrap_err().status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    assert_eq!(read("GET /\r\n\r\n").unwrap_err().status, StatusCode::BAD_REQUEST);
    assert_eq!(with("Expect: miracles\r\n").unwrap_err().status, StatusCode::EXPECTATION_FAILED);
    assert!(with("Expect: 100-Continue\r\n").unwrap().unwrap().expects_continue);
}
