//! The server on real sockets: loopback for relayed clients, network namespaces for those on a link.

use super::*;
use crate::codec::{Kind, code};
use crate::engine::Event;
use crate::metrics::{DhcpMetrics, Dropped, ProbeOutcome, ReplyType, RequestType};
use crate::policy::{ClassSet, Identifier, IdentifierKind, Policy, Reservation, Scope};
use outwork_net::bpf::Capture;
use outwork_net::testing::{Lab, Namespace};
use outwork_net::{Interface, PacketSocket, interfaces, packet};
use outwork_store::log::{Health, LogOptions, OpenError};
use outwork_wire::frame::{self, Link};
use outwork_wire::{MacAddr, arp, ethernet};
use std::net::Ipv4Addr;
use tempfile::TempDir;

mod link;
mod overload;

outwork_config::section! {
    /// A file with this service alone.
    pub struct Root {
        /// The service.
        pub dhcp: Dhcp,
    }
}

fn dhcp(toml: &str) -> Dhcp {
    let file = Some(("test.toml".into(), format!("[dhcp]\n{toml}")));
    let sources = outwork_config::Sources { file, ..Default::default() };
    outwork_config::load::<Root>(sources).unwrap_or_else(|faults| panic!("{faults}")).value.dhcp
}

fn policy(toml: &str, generation: u64) -> Arc<Policy> {
    Arc::new(Policy::compile(&dhcp(toml), generation).unwrap_or_else(|faults| panic!("{faults:?}")))
}

/// A server with its data directory; both end with it.
struct Running {
    service: Arc<Service>,
    server: Option<Server>,
    data: Option<TempDir>,
}

fn run_on(log: LogOptions, toml: &str, events: Option<Events>) -> (Arc<Service>, Server) {
    let mut events = events;
    let service = loop {
        match Service::open(log.clone(), policy(toml, 1), Arc::new(DhcpMetrics::default()), events.take()) {
            // A program that another test has just started holds every lock of this process until it runs by itself.
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(2)),
            opened => break opened.unwrap().0,
        }
    };
    let options = Options { workers: 2, ..Options::from(&dhcp(toml)) };
    let server = Server::start(&service, &options).unwrap();
    (service, server)
}

fn run(toml: &str) -> Running {
    let data = TempDir::new().unwrap();
    let (service, server) = run_on(LogOptions::new(data.path()), toml, None);
    Running { service, server: Some(server), data: Some(data) }
}

impl Running {
    fn metrics(&self) -> &DhcpMetrics {
        self.service.metrics()
    }

    fn listening(&self) -> SocketAddrV4 {
        self.server.as_ref().unwrap().listening()[0]
    }

    /// Stops everything and starts anew on the same directory.
    fn restart(mut self, toml: &str) -> Self {
        self.server.take().unwrap().stop(Duration::from_secs(5));
        let data = self.data.take().unwrap();
        // A compaction under way may own the service a moment longer.
        self.service.log().close().unwrap();
        drop(self);
        let (service, server) = run_on(LogOptions::new(data.path()), toml, None);
        Running { service, server: Some(server), data: Some(data) }
    }
}

/// Waits for what the server's threads do by themselves; a minute means that they never do.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn message(kind: Kind, xid: u32, mac: MacAddr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[28..34].copy_from_slice(&mac.0);
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    for (option, value) in [(code::MESSAGE_TYPE, &[kind as u8][..])].iter().chain(options) {
        bytes.extend([*option, value.len() as u8]);
        bytes.extend(*value);
    }
    bytes.push(code::END);
    bytes
}

/// A reply's type, `yiaddr` and server identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reply {
    xid: u32,
    kind: Option<Kind>,
    address: Ipv4Addr,
    server: Ipv4Addr,
}

fn read(bytes: &[u8]) -> Reply {
    let four = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
    let (mut at, mut kind, mut server) = (240, None, Ipv4Addr::UNSPECIFIED);
    while let [option, len, rest @ ..] = &bytes[at..] {
        match *option {
            code::END => break,
            code::MESSAGE_TYPE => kind = Kind::from_wire(rest[0]),
            code::SERVER_ID => server = four(at + 2).into(),
            _ => {}
        }
        at += 2 + usize::from(*len);
    }
    Reply { xid: u32::from_be_bytes(four(4)), kind, address: four(16).into(), server }
}

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

/// A relay agent on loopback that hears where it sends from (RFC 8357), as any unprivileged one must.
struct Relay {
    socket: std::net::UdpSocket,
    server: SocketAddrV4,
    giaddr: Ipv4Addr,
}

impl Relay {
    fn new(server: SocketAddrV4) -> Self {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, server, giaddr: Ipv4Addr::LOCALHOST }
    }

    fn send(&self, kind: Kind, xid: u32, client: MacAddr, options: &[(u8, &[u8])]) {
        let mut options = options.to_vec();
        options.push((code::RELAY_AGENT, &[19, 2, 0, 0]));
        let mut bytes = message(kind, xid, client, &options);
        bytes[24..28].copy_from_slice(&self.giaddr.octets());
        self.socket.send_to(&bytes, self.server).unwrap();
    }

    fn receive(&self) -> Reply {
        let mut bytes = [0; 1500];
        let (len, from) = loop {
            match self.socket.recv_from(&mut bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        assert_eq!(from, std::net::SocketAddr::V4(self.server), "the answer leaves from where was asked");
        read(&bytes[..len])
    }

    /// Asks until there is an answer of this very exchange: after a failure some are dropped on purpose.
    fn insist(&self, kind: Kind, xid: u32, client: MacAddr, options: &[(u8, &[u8])]) -> Reply {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut bytes = [0; 1500];
        let mut answer = None;
        until("an answer", || {
            self.send(kind, xid, client, options);
            while let Ok(len) = self.socket.recv(&mut bytes) {
                answer = Some(read(&bytes[..len])).filter(|reply| reply.xid == xid).or(answer);
                if answer.is_some() {
                    return true;
                }
            }
            false
        });
        self.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        answer.unwrap()
    }

    fn discover(&self, client: MacAddr) -> Reply {
        self.send(Kind::Discover, 1, client, &[]);
        self.receive()
    }

    fn request(&self, client: MacAddr, offer: Reply) -> Reply {
        let wanted = offer.address.octets();
        let server = offer.server.octets();
        self.send(Kind::Request, 2, client, &[(code::REQUESTED_ADDRESS, &wanted), (code::SERVER_ID, &server)]);
        self.receive()
    }
}

const RELAYED: &str = "listen = ['127.0.0.1:0']\nconflict_detection = 'off'\n\
    [[dhcp.subnet]]\nid = 1\nprefix = '10.9.0.0/24'\nrelay = ['127.0.0.1']\npools = [{ range = '10.9.0.10-10.9.0.99' }]\n";

#[test]
fn a_relayed_client_gets_its_address_and_has_it_after_a_restart() {
    let running = run(RELAYED);
    let relay = Relay::new(running.listening());
    let offer = relay.discover(mac(1));
    assert_eq!(
        (offer.kind, offer.address, offer.server),
        (Some(Kind::Offer), [10, 9, 0, 10].into(), Ipv4Addr::LOCALHOST)
    );
    let ack = relay.request(mac(1), offer);
    assert_eq!((ack.kind, ack.address), (Some(Kind::Ack), offer.address));
    let metrics = running.metrics();
    until("both replies are counted", || metrics.latency.snapshot().count() == 2);
    assert_eq!(metrics.requests.of(RequestType::Request).get(), 1);
    until("none is parked", || metrics.parked.get() == 0);
    assert_eq!(metrics.replies.of(ReplyType::Ack).get(), 1);
    assert_eq!(metrics.parked_limit.get(), 2 * 10_000, "what two workers may hold back");

    let running = running.restart(RELAYED);
    let lease = running.service.read(|engine| engine.leases().at(offer.address).cloned()).unwrap();
    assert_eq!((lease.hardware(), lease.state), (&mac(1).0[..], crate::lease::State::Active));
    let relay = Relay::new(running.listening());
    assert_eq!(relay.discover(mac(2)).address, Ipv4Addr::new(10, 9, 0, 11));
    assert_eq!(relay.discover(mac(1)).address, offer.address);
}

#[test]
fn many_clients_at_once_get_an_address_each() {
    let running =
        run(&RELAYED.replace("listen", "client_rate = 0\nbatch = 8\nqueue_size = 8\nwhen_full = 'wait'\nlisten"));
    let relay = Relay::new(running.listening());
    let (mut offered, mut bound) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for client in 0..90 {
        relay.send(Kind::Discover, client.into(), mac(client), &[]);
    }
    for _ in 0..180 {
        let reply = relay.receive();
        if reply.kind == Some(Kind::Ack) {
            assert!(bound.insert(reply.address), "{reply:?} was bound twice");
            continue;
        }
        assert!(offered.insert(reply.address), "{reply:?} was offered twice");
        let (wanted, server) = (reply.address.octets(), reply.server.octets());
        let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &server)];
        relay.send(Kind::Request, reply.xid, mac(reply.xid as u8), &options);
    }
    assert_eq!(bound, offered);
    assert_eq!(running.service.status().totals.active, 90);
}

#[test]
fn what_is_no_request_is_counted_and_gets_no_answer() {
    let running = run(RELAYED);
    let relay = Relay::new(running.listening());
    relay.discover(mac(1));
    let octets = running.metrics().received.get();
    let garbage: [&[u8]; 4] = [&[1; 100], &[], &[2; 300], &[0xff; 4000]];
    for bytes in garbage {
        relay.socket.send_to(bytes, relay.server).unwrap();
    }
    assert_eq!(relay.discover(mac(1)).kind, Some(Kind::Offer), "the first answer is to the first request");
    let metrics = running.metrics();
    let counted = || {
        let malformed = crate::codec::Malformed::ALL.iter().map(|reason| metrics.malformed.of(*reason).get());
        (malformed.sum::<u64>(), metrics.dropped.of(Dropped::TooLong).get())
    };
    until("all four are counted", || counted() == (3, 1));
    assert_eq!(metrics.received.get(), 2 * octets + 400, "both requests, and what fitted a message");
    until("both offers are counted", || metrics.latency.snapshot().count() == 2);
    // Octets are counted last, and a whole send at a time; no message is shorter than 240.
    until("their octets are counted", || metrics.sent.get() > 2 * 240);
}

#[test]
fn a_new_configuration_holds_from_the_next_batch_on() {
    let running = run(RELAYED);
    let relay = Relay::new(running.listening());
    let offer = relay.discover(mac(1));
    relay.request(mac(1), offer);
    running.service.adopt(policy(&RELAYED.replace("10.9.0.10-", "10.9.0.50-"), 2), |_, _, _| None);
    assert_eq!(relay.discover(mac(2)).address, Ipv4Addr::new(10, 9, 0, 50));
    assert_eq!(running.service.status().generation, 2);
    assert!(running.service.read(|engine| engine.leases().at(offer.address).is_some()), "leases live on");
}

#[test]
fn where_clients_find_no_subnet_is_known_until_a_configuration_has_one() {
    let running = run("listen = ['127.0.0.1:0']");
    let relay = Relay::new(running.listening());
    until("it is told", || {
        relay.send(Kind::Discover, 1, mac(1), &[]);
        running.service.unserved() == [Unserved::Relay(relay.giaddr)]
    });
    running.service.adopt(policy(&lease_subnet(1, "127.0.0.0/8"), 2), |_, _, _| None);
    assert_eq!(running.service.unserved(), []);
}

#[test]
fn a_relay_agent_that_there_is_no_route_to_is_told_with_the_reason() {
    let lab = Lab::new();
    lab.namespace("alone").run(|| {
        let running = run(&RELAYED.replace("relay = ['127.0.0.1']", "relay = ['127.0.0.1', '10.20.0.1']"));
        let near = Relay::new(running.listening());
        let far = Relay { giaddr: [10, 20, 0, 1].into(), ..Relay::new(running.listening()) };
        until("it is told", || {
            far.send(Kind::Discover, 1, mac(1), &[]);
            !running.service.unserved().is_empty()
        });
        assert_eq!(near.discover(mac(2)).kind, Some(Kind::Offer), "others get theirs");
        let unserved = running.service.unserved();
        let said = format!("{}; {}", unserved[0], unserved[0].advice());
        assert!(unserved.len() == 1 && said.contains("10.20.0.1: cannot send to it: Network is unreachable"), "{said}");
        assert!(said.contains("ip route get 10.20.0.1"), "{said}");
        let metrics = running.metrics();
        assert!(metrics.dropped.of(Dropped::SendError).get() > 0);
        // The client may have its answer before the worker that sent it comes to counting it.
        until("the offer is counted", || metrics.latency.snapshot().count() > 0);
        assert_eq!(metrics.replies.of(ReplyType::Offer).get(), 1, "what is not sent is no reply");
    });
}

fn lease_subnet(id: u32, prefix: &str) -> String {
    format!(
        "listen = ['127.0.0.1:0']\n[[dhcp.subnet]]\nid = {id}\nprefix = '{prefix}'\npools = [{{ range = '127.0.0.10-127.0.0.99' }}]"
    )
}

#[test]
fn live_leases_whose_subnet_goes_or_gets_another_id_or_prefix_are_told_and_kept() {
    let running = run(&lease_subnet(1, "127.0.0.0/8"));
    let relay = Relay::new(running.listening());
    let offer = relay.discover(mac(1));
    relay.request(mac(1), offer);
    assert_eq!(running.service.stranded(), []);
    let stranded = |toml: &str| {
        running.service.adopt(policy(toml, 2), |_, _, _| None);
        running.service.stranded()
    };
    let gone = Stranded { subnet: 1, moved: None, prefix: None, leases: 1 };
    assert_eq!(stranded("listen = ['127.0.0.1:0']"), std::slice::from_ref(&gone));
    let other = "[[dhcp.subnet]]\nid = 1\nprefix = '10.0.0.0/8'";
    assert_eq!(stranded(other), [Stranded { prefix: Some("10.0.0.0/8".to_owned()), ..gone.clone() }]);
    let moved = Some((7, "127.0.0.0/8".to_owned()));
    assert_eq!(stranded(&lease_subnet(7, "127.0.0.0/8")), [Stranded { moved, ..gone }]);
    assert_eq!(running.service.status().totals.active, 1);
    assert_eq!(stranded(&lease_subnet(1, "127.0.0.0/8")), []);
}

fn reservation(id: u64, address: [u8; 4]) -> Reservation {
    Reservation {
        id,
        subnet: Some(1),
        identifier: Identifier { kind: IdentifierKind::Mac, bytes: mac(id as u8).0.to_vec() },
        address: Some(address.into()),
        hostname: None,
        classes: ClassSet::default(),
        scope: Scope::default(),
    }
}

#[test]
fn an_edit_is_on_disk_when_it_returns_and_lives_through_a_compaction() {
    let running = run(RELAYED);
    let service = &running.service;
    for (id, json) in [(1, b"first"), (2, b"other"), (3, b"third")] {
        service.edit(|engine, _| engine.reserve(reservation(id, [10, 9, 0, 200 + id as u8]), json)).unwrap().unwrap();
    }
    assert_eq!(service.log().durable(), service.log().last());
    service.edit(|engine, _| engine.unreserve(2).unwrap()).unwrap();
    let relay = Relay::new(running.listening());
    let offer = relay.discover(mac(1));
    assert_eq!(offer.address, Ipv4Addr::new(10, 9, 0, 201), "a reservation holds at once");
    relay.request(mac(1), offer);
    relay.discover(mac(9));
    let snapshot = service.log().compact(&**service).unwrap();
    assert_eq!(snapshot.records, 3, "a lease and two reservations; an offer is nobody's yet");

    let running = running.restart(RELAYED);
    assert_eq!(running.service.reservations(), [(1, b"first".to_vec()), (3, b"third".to_vec())]);
    assert_eq!(running.service.status().totals.active, 1);
}

#[test]
fn events_are_told_in_order_while_somebody_listens() {
    let data = TempDir::new().unwrap();
    let heard: Arc<Mutex<Vec<Event>>> = Arc::default();
    let live = Arc::new(AtomicBool::new(false));
    let (listener, asked) = (Arc::clone(&heard), Arc::clone(&live));
    let events = Events {
        live: Box::new(move || asked.load(Ordering::SeqCst)),
        publish: Box::new(move |events| listener.lock().extend_from_slice(events)),
    };
    let (service, server) = run_on(LogOptions::new(data.path()), RELAYED, Some(events));
    let relay = Relay::new(server.listening()[0]);
    relay.discover(mac(1));
    live.store(true, Ordering::SeqCst);
    let offer = relay.discover(mac(2));
    relay.request(mac(2), offer);
    until("both are told", || heard.lock().len() == 2);
    let told: Vec<_> = heard.lock().iter().map(|event| (event.kind, event.address, event.hardware.clone())).collect();
    let of = |kind| (kind, Some(offer.address), mac(2).0.to_vec());
    assert_eq!(told, [of("offer"), of("ack")]);
    server.stop(Duration::from_secs(5));
    drop(service);
}

#[test]
fn an_address_that_a_reservation_or_an_exclusion_lets_go_of_can_be_given_again() {
    let one = RELAYED.replace("10.9.0.10-10.9.0.99", "10.9.0.10-10.9.0.10");
    let running = run(&one);
    let (service, relay) = (&running.service, Relay::new(running.listening()));
    let no_address = &running.metrics().silent;
    let no_address = || no_address.of(crate::engine::Silence::NoAddress).get();
    let refused = |client: MacAddr| {
        let before = no_address();
        relay.send(Kind::Discover, 9, client, &[]);
        until("there is no address", || no_address() > before);
    };
    service.edit(|engine, _| engine.reserve(reservation(1, [10, 9, 0, 10]), b"x")).unwrap().unwrap();
    refused(mac(2));
    service.edit(|engine, _| engine.unreserve(1)).unwrap();
    assert_eq!(relay.discover(mac(2)).address, Ipv4Addr::new(10, 9, 0, 10));
    assert!(service.edit(|engine, now| engine.release_address([10, 9, 0, 10].into(), now.unix)).unwrap());

    let reserved = format!("{one}reservation = [{{ mac = '02:00:00:00:00:01', address = '10.9.0.10' }}]\n");
    service.adopt(policy(&reserved, 2), |_, _, _| None);
    refused(mac(3));
    service.adopt(policy(&format!("{one}exclude = ['10.9.0.10']\n"), 3), |_, _, _| None);
    refused(mac(3));
    service.adopt(policy(&one, 4), |_, _, _| None);
    assert_eq!(relay.discover(mac(3)).address, Ipv4Addr::new(10, 9, 0, 10));
}

#[test]
fn a_pool_that_runs_out_is_warned_of_once_until_it_has_addresses_again() {
    let data = TempDir::new().unwrap();
    let toml = RELAYED.replace("10.9.0.10-10.9.0.99", "10.9.0.10-10.9.0.11");
    let (service, _) =
        Service::open(LogOptions::new(data.path()), policy(&toml, 1), Arc::new(DhcpMetrics::default()), None).unwrap();
    let lease = |address: [u8; 4], now: crate::engine::Now| crate::lease::Lease {
        address: address.into(),
        subnet: 1,
        starts: now.unix,
        expires: now.unix + 3600,
        state: crate::lease::State::Active,
        htype: 1,
        hlen: 6,
        due: 0,
        chaddr: [address[3]; 16],
        details: crate::lease::Details::default(),
    };
    let high = || {
        let warnings = service.edit(|engine, _| engine.pool_warnings()).unwrap();
        warnings.iter().map(|warning| (warning.held, warning.total, warning.high)).collect::<Vec<_>>()
    };
    service.edit(|engine, now| engine.put_lease(lease([10, 9, 0, 10], now))).unwrap();
    assert_eq!(high(), []);
    service.edit(|engine, now| engine.put_lease(lease([10, 9, 0, 11], now))).unwrap();
    assert_eq!((high(), high()), (vec![(2, 2, true)], vec![]));
    service.edit(|engine, now| engine.release_address([10, 9, 0, 11].into(), now.unix)).unwrap();
    assert_eq!((high(), high()), (vec![(1, 2, false)], vec![]));
}

/// A file system that can be filled.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mount =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path()).status();
        assert!(mount.unwrap().success(), "root may mount");
        Self(dir)
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn while_the_disk_is_full_nobody_is_promised_anything_and_then_service_resumes() {
    let disk = SmallDisk::new();
    let log = LogOptions { segment_bytes: 64 << 10, ..LogOptions::new(disk.0.path().join("log")) };
    let toml = RELAYED.replace("listen", "client_rate = 0\nlisten");
    let (service, server) = run_on(log.clone(), &toml, None);
    let relay = Relay::new(server.listening()[0]);
    let offer = relay.discover(mac(1));
    assert_eq!(relay.request(mac(1), offer).kind, Some(Kind::Ack));

    disk.fill();
    // What is reserved ahead of need still takes records; then the disk is noticed.
    relay.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let metrics = service.metrics();
    let mut confirmed = 0;
    let mut bytes = [0; 1500];
    until("the disk is full", || {
        let (wanted, server) = (offer.address.octets(), offer.server.octets());
        relay.send(Kind::Request, 3, mac(1), &[(code::REQUESTED_ADDRESS, &wanted), (code::SERVER_ID, &server)]);
        confirmed += u32::from(relay.socket.recv(&mut bytes).is_ok());
        matches!(service.log().health(), Health::Failed(_))
    });
    assert!(confirmed > 0);
    while relay.socket.recv(&mut bytes).is_ok() {}
    relay.send(Kind::Discover, 4, mac(2), &[]);
    until("the request is dropped and counted", || metrics.dropped.of(Dropped::StoreFailed).get() > 0);
    let refused = service.edit(|engine, _| engine.reserve(reservation(1, [10, 9, 0, 200]), b"x").map(drop));
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    assert!(service.read(|engine| engine.reservations().is_empty()), "nothing was changed");
    assert!(relay.socket.recv(&mut bytes).is_err(), "silence");

    disk.free();
    assert_eq!(relay.insist(Kind::Discover, 5, mac(3), &[]).kind, Some(Kind::Offer));
    service.edit(|engine, _| engine.reserve(reservation(1, [10, 9, 0, 200]), b"x").map(drop)).unwrap().unwrap();
    server.stop(Duration::from_secs(10));
    service.log().close().unwrap();
    drop(service);
    let (service, _server) = run_on(log, &toml, None);
    assert_eq!(service.read(|engine| engine.leases().len()), 1);
}

#[test]
fn too_many_sockets_and_an_address_in_use_are_refused() {
    let running = run(RELAYED);
    let listen = vec![running.listening()];
    let options = Options { listen, ..Options::from(&dhcp(RELAYED)) };
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let std::net::SocketAddr::V4(address) = taken.local_addr().unwrap() else { panic!("IPv4") };
    let error = Server::start(&running.service, &Options { listen: vec![address], ..options.clone() }).err().unwrap();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let interfaces = (0..64).map(|number| format!("lan{number}").parse().unwrap()).collect();
    let error = Server::start(&running.service, &Options { interfaces, ..options }).err().unwrap();
    assert!(matches!(error, StartError::TooMany { sockets: 65, .. }), "{error}");
}
