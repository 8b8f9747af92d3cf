//! The door on real sockets of loopback, spoken to byte by byte.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::*;
use crate::filter::Networks;
use crate::message::{Answer, Body, FilePart, Request, Response, Streamed, Transfer};

mod files;
mod known;
mod paces;
mod places;
mod sizes;
mod threads;

/// What the tests ask for: a path for each kind of answer.
pub(crate) struct Site;

impl Handler for Site {
    fn handle(&self, request: Request) -> Answer {
        match request.head.uri.path() {
            "/now" => Response::full(StatusCode::OK, "text/plain", "at once").into(),
            "/later" => Answer::Later(Box::pin(async {
                tokio::task::yield_now().await;
                Response::full(StatusCode::OK, "text/plain", "in a while")
            })),
            "/file" => {
                let mut response = Response::new(StatusCode::OK);
                response.body = Body::File(FilePart {
                    file: Arc::new(file()),
                    offset: 10,
                    length: FILE - 20,
                    transfer: Transfer::Kernel,
                });
                response.into()
            }
            "/large" => Response::full(StatusCode::OK, "text/plain", vec![b'x'; 1 << 20]).into(),
            "/host" => {
                let host = request.head.headers.get("host").map(|host| host.as_bytes().to_vec());
                Response::full(StatusCode::OK, "text/plain", host.unwrap_or_default()).into()
            }
            "/never" => Answer::Later(Box::pin(std::future::pending())),
            "/stream" => streamed(None).into(),
            "/sized" => streamed(Some(9)).into(),
            "/broken" => streamed(Some(8)).into(),
            "/echo" => Answer::Later(Box::pin(async {
                match request.body.whole(1 << 20).await {
                    Ok(whole) => Response::full(StatusCode::OK, "text/plain", whole),
                    Err(error) => Response::full(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
                }
            })),
            "/upgrade" => {
                let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
                response.headers.insert("upgrade", HeaderValue::from_static("shout"));
                response.headers.insert("connection", HeaderValue::from_static("upgrade"));
                response.upgrade = Some(Box::new(|mut stream| {
                    Box::pin(async move {
                        use tokio::io::{AsyncReadExt, AsyncWriteExt};
                        let mut word = [0; 5];
                        stream.read_exact(&mut word).await.unwrap();
                        stream.write_all(&word.to_ascii_uppercase()).await.unwrap();
                    })
                }));
                response.into()
            }
            _ => Response::new(if request.head.method == Method::OPTIONS {
                StatusCode::NO_CONTENT
            } else {
                StatusCode::NOT_FOUND
            })
            .into(),
        }
    }
}

pub(crate) const FILE: u64 = 3 << 20;

fn file() -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(FILE).unwrap();
    file.write_all_at(b"first", 10).unwrap();
    file.write_all_at(b"last!", FILE - 15).unwrap();
    file
}

fn streamed(length: Option<u64>) -> Response {
    let mut response = Response::new(StatusCode::OK);
    let parts = ["one", "", "two", "six"].map(|part| Ok(Bytes::from_static(part.as_bytes())));
    response.body =
        Body::Stream(Streamed { length, parts: Box::pin(futures_util::stream::iter(parts)), trailers: None });
    response
}

fn place() -> Place {
    Place {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        tls: None,
        http3: false,
        backlog: 64,
        buffers: Buffers::default(),
        proxies: Networks::of(&[]),
    }
}

fn serving(options: Options, handler: impl Handler + 'static) -> Serving {
    Serving { options, handler: Box::new(handler), entry: Entry::default() }
}

pub(crate) struct Running {
    pub(crate) door: Option<Door>,
    pub(crate) metrics: Arc<DoorMetrics>,
}

impl Running {
    pub(crate) fn new(options: Options) -> Self {
        Self::with(options, Site)
    }

    /// Who [asks](Self::ask) ends its side, and waits.
    pub(crate) fn with(options: Options, handler: impl Handler + 'static) -> Self {
        Self::open(Options { abort_on_close: false, ..options }, handler, 2, Vec::new())
    }

    /// With what another had open.
    fn open(options: Options, handler: impl Handler + 'static, threads: usize, handed: Vec<Handed>) -> Self {
        let metrics = Arc::new(DoorMetrics::default());
        let bound = Bound::bind(&[place()], Threads::of(threads), handed).unwrap();
        let door = bound.serve(serving(options, handler), &metrics).unwrap();
        Self { door: Some(door), metrics }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.door.as_ref().unwrap().addresses()[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends `text`, ends our side, and reads to the end.
    pub(crate) fn ask(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read(&mut stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            door.stop(Farewell::Brief, Duration::from_secs(5));
        }
    }
}

fn read(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("an answer has a head").1
}

#[test]
fn requests_on_one_connection_are_answered_in_their_order() {
    let running = Running::new(Options::default());
    let answers = running.ask(&[get("/now"), get("/later"), get("/gone"), get("/now")].concat());
    let statuses: Vec<&str> = answers.match_indices("HTTP/1.1 ").map(|(at, _)| &answers[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "404", "200"], "{answers}");
    assert!(answers.contains("at once") && answers.contains("in a while"), "{answers}");
    assert_eq!(running.metrics.connections.get(), 1);
}

/// A handler that never answers, and says when it is no longer asked to.
struct Asked(Arc<AtomicU64>);

struct Working(Arc<AtomicU64>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Handler for Asked {
    fn handle(&self, request: Request) -> Answer {
        if request.head.uri.path() != "/never" {
            return Site.handle(request);
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        let working = Working(Arc::clone(&self.0));
        Answer::Later(Box::pin(async move {
            let _working = working;
            std::future::pending().await
        }))
    }
}

#[test]
fn nobody_works_for_a_client_that_has_gone_and_what_one_sends_ahead_is_answered_in_its_turn() {
    let working = Arc::new(AtomicU64::new(0));
    let running = Running::open(Options::default(), Asked(Arc::clone(&working)), 1, Vec::new());
    let wait_for = |count| {
        while working.load(Ordering::Relaxed) != count {
            std::thread::yield_now();
        }
    };
    let mut stream = running.connect();
    stream.write_all([get("/now"), get("/never"), get("/now")].concat().as_bytes()).unwrap();
    wait_for(1);
    drop(stream);
    wait_for(0);
    let mut ahead = running.connect();
    ahead.write_all([get("/later"), get("/later"), get("/now")].concat().as_bytes()).unwrap();
    let mut answers = String::new();
    while !answers.ends_with("at once") {
        let mut part = [0; 1024];
        let length = ahead.read(&mut part).unwrap();
        assert!(length > 0, "{answers}");
        answers.push_str(std::str::from_utf8(&part[..length]).unwrap());
    }
    assert_eq!(answers.matches("in a while").count(), 2);
    while running.metrics.requests_abandoned.get() != 1 {
        std::thread::yield_now();
    }
}

#[test]
fn a_file_is_sent_whole_and_from_where_its_part_begins() {
    let running = Running::new(Options::default());
    let answer = running.ask(&get("/file"));
    assert!(answer.contains(&format!("content-length: {}\r\n", FILE - 20)), "{}", &answer[..200]);
    let body = body(&answer);
    assert_eq!(body.len() as u64, FILE - 20);
    assert!(body.starts_with("first") && body.ends_with("last!"));
    let head = running.ask("HEAD /file HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.contains("content-length: 3145708\r\n") && self::body(&head).is_empty(), "{head}");
}

#[test]
fn a_stream_goes_in_chunks_or_by_its_length_and_one_that_breaks_its_word_ends_the_connection() {
    let running = Running::new(Options::default());
    assert_eq!(body(&running.ask(&get("/stream"))), "3\r\none\r\n3\r\ntwo\r\n3\r\nsix\r\n0\r\n\r\n");
    assert_eq!(body(&running.ask(&get("/sized"))), "onetwosix");
    let old = running.ask("GET /stream HTTP/1.0\r\n\r\n");
    assert!(old.contains("connection: close\r\n") && body(&old) == "onetwosix", "{old}");
    let broken = running.ask(&[get("/broken"), get("/now")].concat());
    assert!(!broken.contains("at once"), "{broken}");
}

#[test]
fn a_body_reaches_its_handler_however_it_is_framed_and_the_next_request_follows_it() {
    let running = Running::new(Options::default());
    let sized = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let answers = running.ask(&[sized, chunked, &get("/now")].concat());
    assert_eq!(answers.matches("\r\n\r\nhello").count(), 2, "{answers}");
    assert!(answers.ends_with("at once"), "{answers}");
    let unwanted = "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(running.ask(&unwanted.repeat(3)).matches("at once").count(), 3);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_when_a_handler_wants_it() {
    let running = Running::new(Options::default());
    let mut stream = running.connect();
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut invitation = [0; 25];
    stream.read_exact(&mut invitation).unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(read(&mut stream).ends_with("\r\n\r\nhello"));
    let unwanted = running.ask("POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert!(unwanted.starts_with("HTTP/1.1 200") && unwanted.contains("connection: close"), "{unwanted}");
}

#[test]
fn what_is_not_http_gets_one_answer_and_nothing_after_it_is_read_as_a_request() {
    let running = Running::new(Options::default());
    let smuggled = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = running.ask(&[smuggled, &get("/now")].concat());
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let malformed = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    let answer = running.ask(&[malformed, &get("/now")].concat());
    assert!(answer.starts_with("HTTP/1.1 400 ") && !answer.contains("at once"), "{answer}");
}

#[test]
fn bodies_beyond_the_limit_are_refused_whether_announced_or_not() {
    let running = Running::new(Options { max_body: 4, ..Options::default() });
    let announced = running.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    let chunked =
        running.ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert!(chunked.contains("larger than 4 bytes") && chunked.contains("connection: close"), "{chunked}");
}

#[test]
fn an_upgraded_connection_belongs_to_its_handler_with_all_that_was_read() {
    let running = Running::new(Options::default());
    let answer = running.ask("GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nhello");
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("connection: upgrade\r\n"), "{answer}");
    assert_eq!(body(&answer), "HELLO");
}

#[test]
fn who_sends_its_head_or_body_too_slowly_is_cut_off_and_counted() {
    let short = Duration::from_millis(300);
    let running = Running::new(Options { header_timeout: short, request_timeout: short, ..Options::default() });
    let mut head = running.connect();
    head.write_all(b"GET /now HTTP/1.1\r\nHo").unwrap();
    let mut body = running.connect();
    body.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\nhel").unwrap();
    assert_eq!(read(&mut head), "");
    assert!(read(&mut body).contains("ends early"));
    assert!(running.metrics.connections_cut.of(Cut::Late).get() >= 1);
}

#[test]
fn connections_beyond_the_limit_are_closed_at_once_and_counted() {
    let running = Running::new(Options { connections: 1, ..Options::default() });
    let mut first = running.connect();
    first.write_all(get("/now").as_bytes()).unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).unwrap();
    assert_eq!(read(&mut running.connect()), "");
    assert_eq!(running.metrics.connections_cut.of(Cut::Full).get(), 1);
}

#[test]
fn a_stop_closes_idle_connections_and_lets_requests_under_way_end() {
    let mut running = Running::new(Options::default());
    let (mut idle, mut busy) = (running.connect(), running.connect());
    idle.write_all(get("/now").as_bytes()).unwrap();
    let mut answer = [0; 12];
    idle.read_exact(&mut answer).unwrap();
    busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let door = running.door.take().unwrap();
    let stopping = std::thread::spawn(move || door.stop(Farewell::Brief, Duration::from_secs(10)));
    read(&mut idle);
    busy.write_all(b"lo").unwrap();
    assert!(read(&mut busy).ends_with("hello"));
    stopping.join().unwrap();
}

#[test]
fn another_handler_answers_from_the_next_request_on_and_connections_stay() {
    struct Other;
    impl Handler for Other {
        fn handle(&self, _: Request) -> Answer {
            Response::full(StatusCode::OK, "text/plain", "another").into()
        }
    }
    let running = Running::new(Options::default());
    let mut stream = running.connect();
    stream.write_all(get("/now").as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    let door = running.door.as_ref().unwrap();
    let prepared = door.prepare(&[place()]).unwrap();
    door.replace(serving(Options::default(), Other), prepared);
    loop {
        stream.write_all(get("/now").as_bytes()).unwrap();
        let mut some = [0; 4096];
        let read = stream.read(&mut some).unwrap();
        assert!(read > 0, "the connection stays");
        if String::from_utf8_lossy(&some[..read]).contains("another") {
            break;
        }
    }
}

/// Asks for `path` over HTTP/2 and waits until the server ends the connection, which `meanwhile` may be the reason for.
fn over_http2(address: SocketAddr, path: &str, meanwhile: impl FnOnce()) -> Result<String, h2::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut requests, connection) = h2::client::handshake(tcp).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        let request = http::Request::get(format!("http://a{path}")).body(()).unwrap();
        let mut content = requests.send_request(request, true).unwrap().0.await?.into_body();
        let mut all = Vec::new();
        while let Some(part) = content.data().await {
            let part = part?;
            content.flow_control().release_capacity(part.len())?;
            all.extend_from_slice(&part);
        }
        meanwhile();
        ended.await.unwrap()?;
        Ok(String::from_utf8(all).unwrap())
    })
}

#[test]
fn an_http_2_connection_is_idle_after_its_last_answer_however_that_came() {
    let running = Running::new(Options { keep_alive: Duration::from_millis(100), ..Options::default() });
    let address = running.door.as_ref().unwrap().addresses()[0];
    for (path, answer) in [("/now", "at once"), ("/later", "in a while"), ("/stream", "onetwosix")] {
        assert_eq!(over_http2(address, path, || ()).unwrap(), answer);
    }
}

#[test]
fn a_stop_lets_an_http_2_connection_part() {
    let mut running = Running::new(Options::default());
    let (door, counted) = (running.door.take().unwrap(), Arc::clone(&running.metrics));
    let address = door.addresses()[0];
    let (stop, asked) = std::sync::mpsc::channel();
    let stopping = std::thread::spawn(move || {
        asked.recv().unwrap();
        door.stop(Farewell::Brief, Duration::from_secs(20));
    });
    // It is told before it is closed.
    assert_eq!(over_http2(address, "/later", || stop.send(()).unwrap()).unwrap(), "in a while");
    stopping.join().unwrap();
    assert_eq!(counted.connections_cut.of(Cut::Broken).get(), 0);
}
