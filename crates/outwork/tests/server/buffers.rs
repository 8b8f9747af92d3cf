//! What the kernel keeps for sockets, as it says itself.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use crate::binary::{Client, Place, said, until_some};
use crate::proxy::backend::Backend;

/// What the kernel says of a socket: octets that it keeps either way, and by how much the window that it tells its peer of can be scaled.
#[derive(Debug, PartialEq)]
struct Kept {
    receive: u64,
    send: u64,
    scale: Option<u8>,
}

/// The sockets that `ss` finds.
fn kept(kind: &str, filter: &[&str]) -> Vec<Kept> {
    let shown = said(Command::new("ss").args([kind, "-n", "-m", "-i", "-H", "-O"]).args(filter));
    let of = |line: &str| {
        let memory = line.split_once("skmem:(")?.1.split_once(')')?.0.to_owned();
        let figure = |name: &str| memory.split(',').find_map(|one| one.strip_prefix(name)?.parse().ok());
        let scale = line.split_once("wscale:").and_then(|(_, rest)| rest.split([',', ' ']).nth(1)?.parse().ok());
        Some(Kept { receive: figure("rb")?, send: figure("tb")?, scale })
    };
    shown.lines().filter_map(of).collect()
}

/// The first of them, once there is one.
fn first(kind: &str, filter: &[&str]) -> Kept {
    until_some("a socket", || kept(kind, filter).into_iter().next())
}

/// A window of a few KiB needs no scaling, which is settled with the handshake: had the socket been told later, it would be scaled as for the kernel's own limit.
fn small(receive: u64, send: u64) -> Kept {
    Kept { receive: receive << 10, send: send << 10, scale: Some(0) }
}

#[test]
fn connections_of_the_front_door_and_to_its_backends_have_the_buffers_that_the_settings_say() {
    let mut place = Place::new();
    let backend = Backend::named(place.host(), "one");
    place.change(|before| {
        format!(
            "{before}[[front.listener]]\naddress = '{host}:8080'\nreceive_buffer = '32KiB'\nsend_buffer = '64KiB'\n\
             [[front.route]]\npath = '/*'\nproxy = {{ pool = 'app' }}\n\
             [proxy.pool.app]\nbackend = [{{ url = '{url}' }}]\nconnections = {{ receive_buffer = '40KiB', send_buffer = '80KiB' }}\n",
            host = place.host(),
            url = backend.url(),
        )
    });
    place.start();
    let door = format!("{}:8080", place.host());
    let mut client = Client::new(&door);
    assert!(client.ask("GET /", "a").ends_with("one"));
    assert_eq!(first("-t", &["state", "established", "src", &door]), small(32, 64));
    assert_eq!(first("-t", &["state", "established", "dst", &backend.address.to_string()]), small(40, 80));
    // A reload holds for those that come then.
    place.change(|before| before.replace("receive_buffer = '32KiB'", "receive_buffer = '48KiB'"));
    place.must(&["reload"]);
    let mut later = Client::new(&door);
    assert!(later.ask("GET /", "a").ends_with("one"));
    let both = kept("-t", &["state", "established", "src", &door]);
    assert!(both.contains(&small(32, 64)) && both.contains(&small(48, 64)), "{both:?}");
}

#[test]
fn http3_has_the_buffers_of_its_listener() {
    let mut place = Place::with(
        "[front]\nworkers = 1\n[[front.listener]]\naddress = 'HOST:8443'\nreceive_buffer = '100KiB'\n\
         tls = { local = ['a.test'], http3 = {} }\n[[front.route]]\npath = '/'\nrespond = {}\n",
    );
    place.start();
    let kept = first("-ua", &["src", &format!("{}:8443", place.host())]);
    // What is not said is as it was: as much as the kernel gives of 4 MiB.
    assert!(kept.receive == 100 << 10 && kept.send > 100 << 10, "{kept:?}");
}

#[test]
fn connections_of_layer_4_have_the_buffers_of_their_listener_or_of_their_pool() {
    let mut place = Place::new();
    let (backend, datagrams) = (TcpListener::bind((place.host(), 0)), UdpSocket::bind((place.host(), 0)));
    let (backend, datagrams) = (backend.expect("a port"), datagrams.expect("a port"));
    let (tcp, udp) = (backend.local_addr().expect("its address"), datagrams.local_addr().expect("its address"));
    place.change(|before| {
        format!(
            "{before}[proxy.pool.tcp]\nbackend = [{{ url = 'tcp://{tcp}' }}]\nconnections = {{ receive_buffer = '40KiB', send_buffer = '80KiB' }}\n\
             [proxy.pool.udp]\nbackend = [{{ url = 'udp://{udp}' }}]\nconnections = {{ receive_buffer = '90KiB' }}\n\
             [[proxy.listener]]\naddress = ['{host}:7000']\npool = 'tcp'\n\
             [[proxy.listener]]\naddress = ['{host}:7001']\npool = 'tcp'\nreceive_buffer = '32KiB'\n\
             [[proxy.listener]]\naddress = ['{host}:7002']\nprotocol = 'udp'\npool = 'udp'\n",
            host = place.host(),
        )
    });
    place.start();
    let (host, to) = (place.host(), tcp.to_string());
    let to = ["state", "established", "dst", &to];
    let of_pool = TcpStream::connect((host, 7000)).expect("it listens");
    assert_eq!(first("-t", &to), small(40, 80));
    drop(of_pool);
    let _of_listener = TcpStream::connect((host, 7001)).expect("it listens");
    until_some("one as its listener has it", || kept("-t", &to).contains(&small(32, 80)).then_some(()));
    assert_eq!(first("-t", &["state", "established", "src", &format!("{host}:7001")]).receive, 32 << 10);
    let client = UdpSocket::bind((host, 0)).expect("a port");
    client.send_to(b"hello", (host, 7002)).expect("it is sent");
    assert_eq!(first("-u", &["dst", &udp.to_string()]).receive, 90 << 10);
}
