//! Servers to pass requests on to, which do what a test says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// A request, as a backend has seen it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Its first line.
    pub(crate) line: String,
    /// Its fields, a line each, in small letters as far as the names go.
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// Its fields after the content, likewise.
    pub(crate) trailers: Vec<String>,
    /// Which connection of the backend it came on, from 0.
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What a backend does with a request: writes something, and says whether it goes on with the connection.
type Act = dyn Fn(&Seen, &mut TcpStream) -> bool + Send + Sync;

/// A server on a thread of its own.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Backend {
    /// One that answers every request with its name.
    pub(crate) fn named(host: &str, name: &'static str) -> Self {
        Self::acting(host, move |_, to| answer(to, "200 OK", "", name.as_bytes()))
    }

    /// One that does as it is told.
    pub(crate) fn acting(host: &str, act: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((host, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, requests): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let down: Arc<AtomicBool> = Arc::default();
        let (act, accepted, seen, closed): (Arc<Act>, _, _, _) =
            (Arc::new(act), Arc::clone(&connections), Arc::clone(&requests), Arc::clone(&down));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (act, seen, closed) = (Arc::clone(&act), Arc::clone(&seen), Arc::clone(&closed));
                let number = accepted.fetch_add(1, SeqCst);
                std::thread::spawn(move || serve(stream, number, &*act, &seen, &closed));
            }
        });
        Self { address, connections, requests, down }
    }

    /// One that tells of each request, and answers it with its name.
    pub(crate) fn telling(host: &str, name: &'static str) -> (Self, Receiver<Seen>) {
        let (tell, told): (Sender<Seen>, _) = channel();
        let backend = Self::acting(host, move |seen, to| {
            let _ = tell.send(seen.clone());
            answer(to, "200 OK", "", name.as_bytes())
        });
        (backend, told)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// From now on it closes connections instead of answering, or answers again.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, SeqCst);
    }
}

fn serve(stream: TcpStream, number: usize, act: &Act, requests: &AtomicUsize, down: &AtomicBool) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    let mut to = stream.try_clone().expect("the same stream");
    let mut from = BufReader::new(stream);
    while let Some(mut seen) = head(&mut from) {
        seen.connection = number;
        if down.load(SeqCst) {
            return;
        }
        if seen.field("expect").is_some() && to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_err() {
            return;
        }
        (seen.body, seen.trailers) = body(&seen, &mut from);
        requests.fetch_add(1, SeqCst);
        if !act(&seen, &mut to) {
            return;
        }
    }
}

fn head(from: &mut impl BufRead) -> Option<Seen> {
    let mut lines = lines(from)?;
    let line = lines.remove(0);
    Some(Seen { line, fields: lines, body: Vec::new(), trailers: Vec::new(), connection: 0 })
}

/// Those up to an empty one.
fn lines(from: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => return Some(lines),
            line => lines.push(line.to_owned()),
        }
    }
}

/// The content, and the fields after it.
fn body(seen: &Seen, from: &mut impl BufRead) -> (Vec<u8>, Vec<String>) {
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    if let Some(length) = seen.field("content-length") {
        body.resize(length.parse().expect("a length"), 0);
        from.read_exact(&mut body).expect("the content");
    }
    while seen.field("transfer-encoding").is_some() {
        let mut line = String::new();
        from.read_line(&mut line).expect("a size");
        let size = usize::from_str_radix(line.trim(), 16).expect("a size");
        if size == 0 {
            trailers = lines(from).expect("the end");
            break;
        }
        let mut chunk = vec![0; size + 2];
        from.read_exact(&mut chunk).expect("a chunk");
        body.extend_from_slice(&chunk[..size]);
    }
    (body, trailers)
}

/// Writes an answer; `fields` are lines that end in CRLF.
pub(crate) fn answer(to: &mut TcpStream, status: &str, fields: &str, body: &[u8]) -> bool {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n", body.len());
    to.write_all(&[head.as_bytes(), body].concat()).is_ok()
}
