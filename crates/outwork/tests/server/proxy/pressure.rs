//! Who takes nothing: no more is taken for it from the other side, in either direction, and all of it comes once it does.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::backend::Backend;
use super::http2::runtime;
use crate::binary::{Place, text};

/// Bytes that are offered at once.
const PART: usize = 1 << 20;
/// How often in a row nothing has to be taken until it is said to stand still. The thread that could take has had a turn each time.
const LOOKS: usize = 20;

/// Bytes that the sockets of two connections may hold, as far as the kernel lets them grow, and windows and buffers besides.
pub(super) fn held() -> usize {
    let most = ["tcp_rmem", "tcp_wmem"].map(|name| {
        let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("a setting of the kernel");
        let most = sizes.split_whitespace().next_back().expect("three sizes");
        most.parse::<usize>().expect("a number")
    });
    2 * most.iter().sum::<usize>() + (2 << 20)
}

/// Bytes of a body that cannot be under way.
pub(super) fn length() -> usize {
    held() + (8 << 20)
}

/// What a client or a backend speaks.
#[derive(Debug, Clone, Copy)]
enum Speech {
    Http1,
    Http2,
}

const EACH: [(Speech, Speech); 4] = [
    (Speech::Http1, Speech::Http1),
    (Speech::Http1, Speech::Http2),
    (Speech::Http2, Speech::Http1),
    (Speech::Http2, Speech::Http2),
];

/// Who gives a body: all of a connection, or a stream of one.
pub(super) enum Giver {
    Plain(TcpStream),
    Stream(SendStream<Bytes>),
}

impl Giver {
    /// Gives as much of so many bytes as is taken now; the last of them end it.
    fn give(&mut self, left: usize) -> usize {
        match self {
            Self::Plain(stream) => match stream.try_write(&vec![b'x'; left.min(PART)]) {
                Ok(given) => given,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    0
                }
            },
            Self::Stream(stream) => {
                stream.reserve_capacity(left.min(PART));
                let given = stream.capacity().min(left);
                if given > 0 {
                    stream.send_data(Bytes::from(vec![b'x'; given]), given == left).expect("it is heard");
                }
                given
            }
        }
    }

    /// Gives so many bytes, and waits for whoever takes them.
    pub(super) async fn give_all(&mut self, mut left: usize) {
        while left > 0 {
            match self {
                Self::Plain(stream) => stream.writable().await.expect("it is open"),
                Self::Stream(stream) => {
                    stream.reserve_capacity(left.min(PART));
                    if stream.capacity() == 0 {
                        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                        room.expect("it is open").expect("a window");
                    }
                }
            }
            left -= self.give(left);
        }
    }
}

/// Who takes it.
enum Taker {
    Plain(TcpStream),
    Stream(RecvStream),
}

impl Taker {
    /// Takes so many bytes, which have to be those that were given, and all of a stream.
    async fn take_all(&mut self, length: usize) {
        let mut come = 0;
        match self {
            Self::Plain(stream) => {
                let mut some = vec![0; PART];
                while come < length {
                    let most = some.len().min(length - come);
                    let read = stream.read(&mut some[..most]).await.expect("the rest");
                    assert!(read > 0 && some[..read].iter().all(|byte| *byte == b'x'), "after {come} of {length}");
                    come += read;
                }
            }
            Self::Stream(stream) => {
                while let Some(part) = stream.data().await {
                    let part = part.expect("whole");
                    assert!(part.iter().all(|byte| *byte == b'x'), "after {come} of {length}");
                    stream.flow_control().release_capacity(part.len()).expect("a window");
                    come += part.len();
                }
            }
        }
        assert_eq!(come, length);
    }
}

/// A connection of somebody else that the same thread serves: whoever is answered there knows that the thread has looked after others, too.
pub(super) struct Turns(TcpStream);

impl Turns {
    pub(super) async fn of(place: &Place, port: u16) -> Self {
        Self(TcpStream::connect((place.host(), port)).await.expect("it listens"))
    }

    async fn pass(&mut self) {
        self.0.write_all(b"GET /turn HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("it is heard");
        let mut heard = Vec::new();
        while !heard.ends_with(b"turned") {
            assert!(self.0.read_buf(&mut heard).await.expect("an answer") > 0, "{}", text(&heard));
        }
    }
}

/// Gives until nothing more is taken however many turns pass, or all is. Returns how much was.
pub(super) async fn fill(giver: &mut Giver, length: usize, turns: &mut Turns) -> usize {
    let (mut taken, mut looks) = (0, 0);
    while taken < length && looks < LOOKS {
        let given = giver.give(length - taken);
        taken += given;
        looks = if given > 0 { 0 } else { looks + 1 };
        if given == 0 {
            turns.pass().await;
        }
    }
    taken
}

/// The head of a request or of an answer, and nothing behind it.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    text(&head)
}

/// Does this, which must not wait for ever.
pub(super) fn run(act: impl Future<Output = ()>) {
    let patient = async { tokio::time::timeout(Duration::from_secs(120), act).await };
    runtime().block_on(patient).expect("it does not stand still");
}

/// A place whose only thread passes everything on to a backend that speaks this, which the caller is.
async fn place(backend: Speech) -> (Place, TcpListener) {
    let mut place = Place::new();
    let listener = TcpListener::bind((place.host(), 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let scheme = match backend {
        Speech::Http1 => "http",
        Speech::Http2 => "h2c",
    };
    place.change(|text| {
        let host = place.host();
        format!(
            "{text}\n[front]\nworkers = 1\nlimits = {{ max_body = '1GiB' }}\n[[front.listener]]\naddress = '{host}:8080'\n\
             [[front.route]]\npath = '/turn'\nrespond = {{ body = 'turned' }}\n[[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = '{scheme}://{address}' }}]\n"
        )
    });
    place.start();
    (place, listener)
}

/// A client's connection of HTTP/2.
async fn http2(place: &Place) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect((place.host(), 8080)).await.expect("it listens");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

async fn http1(place: &Place, asked: &str) -> TcpStream {
    let mut stream = TcpStream::connect((place.host(), 8080)).await.expect("it listens");
    stream.write_all(asked.as_bytes()).await.expect("it is heard");
    stream
}

/// The first request that a backend of HTTP/1.1 gets.
pub(super) async fn plain(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    head(&mut stream).await;
    stream
}

/// The first request that a backend of HTTP/2 gets.
async fn stream(listener: &TcpListener) -> (RecvStream, SendResponse<Bytes>) {
    let (stream, _) = listener.accept().await.expect("a connection");
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    let (request, respond) = connection.accept().await.expect("a request").expect("whole");
    // Frames are read by whoever waits for the next.
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    (request.into_body(), respond)
}

async fn upload(client: Speech, backend: Speech) {
    let (place, listener) = place(backend).await;
    let mut turns = Turns::of(&place, 8080).await;
    let (length, url) = (length(), format!("http://{}:8080/", place.host()));
    // A first byte goes with the request.
    let (mut giver, answer) = match client {
        Speech::Http1 => {
            let asked = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\nx");
            (Giver::Plain(http1(&place, &asked).await), None)
        }
        Speech::Http2 => {
            let request = Request::post(url).header("content-length", length).body(()).expect("a head");
            let (answer, mut up) = http2(&place).await.send_request(request, false).expect("it is heard");
            up.send_data(Bytes::from("x"), false).expect("it is heard");
            (Giver::Stream(up), Some(answer))
        }
    };
    let (mut taker, respond) = match backend {
        Speech::Http1 => (Taker::Plain(plain(&listener).await), None),
        Speech::Http2 => {
            let (body, respond) = stream(&listener).await;
            (Taker::Stream(body), Some(respond))
        }
    };
    let taken = 1 + fill(&mut giver, length - 1, &mut turns).await;
    assert!(taken < held(), "{client:?} to {backend:?}: {taken} bytes were taken for a backend that took none");
    tokio::join!(giver.give_all(length - taken), taker.take_all(length));
    match (taker, respond) {
        (Taker::Plain(mut stream), _) => {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(answer).await.expect("it is heard");
        }
        (Taker::Stream(_), respond) => {
            let mut respond = respond.expect("a stream of HTTP/2");
            respond.send_response(Response::new(()), true).expect("it is heard");
        }
    }
    match (giver, answer) {
        (Giver::Plain(mut stream), _) => assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 ")),
        (Giver::Stream(_), answer) => {
            assert_eq!(answer.expect("a stream of HTTP/2").await.expect("an answer").status(), 200);
        }
    }
}

async fn download(client: Speech, backend: Speech) {
    let (place, listener) = place(backend).await;
    let mut turns = Turns::of(&place, 8080).await;
    let (length, url) = (length(), format!("http://{}:8080/", place.host()));
    let (asked, answer) = match client {
        Speech::Http1 => (Some(http1(&place, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await), None),
        Speech::Http2 => {
            let request = Request::get(url).body(()).expect("a head");
            // No more of the answer is asked for than there is room for without a word of the client's.
            let (answer, _) = http2(&place).await.send_request(request, true).expect("it is heard");
            (None, Some(answer))
        }
    };
    let mut giver = match backend {
        Speech::Http1 => {
            let mut stream = plain(&listener).await;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.expect("it is heard");
            Giver::Plain(stream)
        }
        Speech::Http2 => {
            let (_, mut respond) = stream(&listener).await;
            let head = Response::builder().header("content-length", length).body(()).expect("a head");
            Giver::Stream(respond.send_response(head, false).expect("it is heard"))
        }
    };
    let taken = fill(&mut giver, length, &mut turns).await;
    assert!(taken < held(), "{client:?} of {backend:?}: {taken} bytes were taken for a client that took none");
    let take = async {
        let mut taker = match (asked, answer) {
            (Some(mut stream), _) => {
                assert!(head(&mut stream).await.starts_with("HTTP/1.1 200 "));
                Taker::Plain(stream)
            }
            (None, answer) => {
                let answer = answer.expect("a stream of HTTP/2").await.expect("an answer");
                Taker::Stream(answer.into_body())
            }
        };
        taker.take_all(length).await;
    };
    tokio::join!(giver.give_all(length - taken), take);
}

#[test]
fn a_client_that_takes_nothing_has_nothing_taken_for_it_and_all_of_it_comes_once_it_does() {
    for (client, backend) in EACH {
        run(download(client, backend));
    }
}

#[test]
fn a_backend_that_takes_nothing_has_nothing_taken_for_it_and_all_of_it_comes_once_it_does() {
    for (client, backend) in EACH {
        run(upload(client, backend));
    }
}

#[test]
fn what_is_passed_on_as_it_comes_waits_for_who_takes_nothing_both_ways() {
    run(async {
        let mut place = Place::new();
        let listener = TcpListener::bind((place.host(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let other = Backend::named(place.host(), "turned");
        place.change(|text| {
            let (host, other) = (place.host(), other.address);
            format!(
                "{text}\n[proxy]\nworkers = 1\n[proxy.pool.bare]\nbackend = [{{ url = 'tcp://{address}' }}]\n\
                 [proxy.pool.other]\nbackend = [{{ url = 'tcp://{other}' }}]\n\
                 [[proxy.listener]]\naddress = ['{host}:7000']\npool = 'bare'\n[[proxy.listener]]\naddress = ['{host}:7001']\npool = 'other'\n"
            )
        });
        place.start();
        let mut turns = Turns::of(&place, 7001).await;
        let length = length();
        for of_client in [true, false] {
            let client = TcpStream::connect((place.host(), 7000)).await.expect("it listens");
            let (backend, _) = listener.accept().await.expect("a connection");
            let (gives, takes) = if of_client { (client, backend) } else { (backend, client) };
            let (mut giver, mut taker) = (Giver::Plain(gives), Taker::Plain(takes));
            let taken = fill(&mut giver, length, &mut turns).await;
            assert!(taken < held(), "of the client: {of_client}: {taken} bytes were taken for who took none");
            tokio::join!(giver.give_all(length - taken), taker.take_all(length));
        }
    });
}
