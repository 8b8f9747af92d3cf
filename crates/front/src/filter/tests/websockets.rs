//! WebSockets through everything that may stand before a handler, in clear text and over TLS, for as long as they last.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use http::header::{CONNECTION, UPGRADE};
use outwork_cache::{Settings as Tiers, UnixMillis};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::cached::config::Cache;
use crate::cached::{Rules, Store};
use crate::coding::{Compression, Compressor};
use crate::door::{Bound, Buffers, Door, DoorMetrics, Farewell, Options, Place, Serving, Threads};
use crate::https::{Https, Rule};
use crate::tls::Certificates;
use crate::tls::tests::{Ca, DAY, handshake, offer, opened};

/// The example of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Sends every message of a WebSocket back.
struct Sockets;

impl Handler for Sockets {
    fn handle(&self, request: Request) -> Answer {
        assert_eq!(
            (&request.head.headers["sec-websocket-key"], request.head.uri.path()),
            (&HeaderValue::from_static(KEY), "/live/chat")
        );
        let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS);
        for (name, value) in [(UPGRADE, "websocket"), (CONNECTION, "upgrade")] {
            response.headers.insert(name, HeaderValue::from_static(value));
        }
        response.headers.insert("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
        response.upgrade = Some(Box::new(|mut stream| {
            Box::pin(async move {
                // Short messages alone: two bytes, the mask, the content.
                let mut head = [0; 6];
                while stream.read_exact(&mut head).await.is_ok() && head[0] == 0x82 {
                    let mut content = vec![0; usize::from(head[1] & 0x7f)];
                    stream.read_exact(&mut content).await.unwrap();
                    content.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
                    stream.write_all(&[&[0x82, head[1] & 0x7f], &content[..]].concat()).await.unwrap();
                }
            })
        }));
        response.into()
    }
}

const EVERYTHING: &str = "
cors = { origins = ['*'] }
security_headers = {}
rate_limit = [{ limit = 100, window = '1m' }]
response_headers = { set = { x-added = 'here' } }
rewrite = { add_prefix = '/live' }
";

/// A door whose every request passes through everything, as the binary puts it together.
fn serving(options: Options, addresses: &[SocketAddr]) -> Serving {
    let (general, own, kit) = (keys(""), keys(EVERYTHING), Kit::default());
    let mut prepared = kit.prepare(of(&general)).unwrap();
    let clock: outwork_cache::Clock = Arc::new(|| UnixMillis(0));
    let tiers = outwork_cache::Tiers::open(&Tiers::default(), Arc::clone(&clock)).unwrap();
    let layers = Layers {
        middleware: route_of(&own, 0),
        cache: Some((Rules::new(&Cache::default(), "test", None), Store::new(tiers, clock, 1 << 20, 10))),
        rewrite: own.rewrite.as_ref(),
        pages: None,
        compression: Some((Compression::default(), Compressor::new(1, Arc::default()))),
    };
    let route = layers.before(Arc::new(Sockets), &mut prepared).unwrap();
    let path = "/chat".parse().unwrap();
    let conditions = Conditions { hosts: vec![], path, methods: vec![], fields: vec![] };
    let routed = Routed::new(Table::new(vec![(conditions, route)]));
    let rule = Rule { redirect: None, hsts: Some(HeaderValue::from_static("max-age=1")) };
    let rules = addresses.iter().map(|address| (*address, rule.clone())).collect();
    let handler = Https::new(rules, Arc::default(), Box::new(routed));
    Serving { options, handler: Box::new(handler), entry: prepared.entry() }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A client whose connection has become a WebSocket.
struct Client(Box<dyn Stream>);

impl Client {
    fn new(mut stream: Box<dyn Stream>, is_encrypted: bool) -> Self {
        let lines = "GET /chat HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                     Origin: https://b.test\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ";
        stream.write_all(format!("{lines}{KEY}\r\n\r\n").as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) && head.contains("x-added: here"), "{head}");
        assert_eq!(head.contains("strict-transport-security: max-age=1\r\n"), is_encrypted, "{head}");
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
        Self(stream)
    }

    fn says(&mut self, text: &str) {
        let mask = [7, 1, 255, 0];
        let mut frame = vec![0x82, 0x80 | text.len() as u8];
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).unwrap();
        let mut answer = vec![0; 2 + text.len()];
        self.0.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [&[0x82, text.len() as u8], text.as_bytes()].concat());
    }
}

fn clients(door: &Door) -> [Client; 2] {
    let connect = |index: usize| {
        let stream = TcpStream::connect(door.addresses()[index]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut config = handshake::client(&[&rustls::version::TLS13], None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from("a.test").unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    [Client::new(Box::new(connect(0)), false), Client::new(Box::new(rustls::StreamOwned::new(tls, connect(1))), true)]
}

#[test]
fn a_websocket_passes_through_all_middleware_and_outlives_reloads_silence_and_an_upgrade() {
    let dir = tempfile::tempdir().unwrap();
    let files = Ca::new("ca").write(dir.path(), "a", &["a.test"], DAY);
    let tls = opened(&Certificates::new(dir.path(), None), &offer(&[&files]));
    let place = |tls| Place {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        tls,
        http3: false,
        backlog: 64,
        buffers: Buffers::default(),
        proxies: Networks::of(&[]),
    };
    let places = [place(None), place(Some(tls))];
    let short = Duration::from_millis(100);
    let options = Options {
        header_timeout: Duration::from_secs(20),
        keep_alive: short,
        request_timeout: short,
        send_timeout: short,
        ..Options::default()
    };
    let metrics = Arc::new(DoorMetrics::default());
    let bound = Bound::bind(&places, Threads::of(1), Vec::new()).unwrap();
    let addresses = bound.addresses();
    let door = bound.serve(serving(options.clone(), &addresses), &metrics).unwrap();
    let mut clients = clients(&door);
    clients.iter_mut().for_each(|client| client.says("hello"));
    door.replace(serving(options, &addresses), door.prepare(&places[..1]).unwrap());
    // Longer than any time that a request has.
    std::thread::sleep(Duration::from_millis(500));
    clients.iter_mut().for_each(|client| client.says("are you there?"));
    let leaving = std::thread::spawn(move || door.stop(Farewell::Long, Duration::from_secs(60)));
    std::thread::sleep(Duration::from_millis(300));
    clients.iter_mut().for_each(|client| client.says("still?"));
    assert!(!leaving.is_finished());
    drop(clients);
    leaving.join().unwrap();
    assert_eq!(metrics.connections_open.get(), 0);
}
