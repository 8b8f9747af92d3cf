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
    assert_eq!((metrics.replies.of(ReplyType::Ack).get(), metrics.parked.get()), (1, 0));
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
    assert!(metrics.sent.get() > 2 * 240, "no message is shorter");
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

/// A server and a client on one cable, in namespaces of their own.
struct Cable {
    lab: Lab,
    server: Namespace,
    client: Namespace,
}

const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);

impl Cable {
    fn new() -> Self {
        let cable = Self::unplugged();
        cable.plug();
        cable
    }

    fn unplugged() -> Self {
        let lab = Lab::new();
        let (server, client) = (lab.namespace("server"), lab.namespace("client"));
        Self { lab, server, client }
    }

    fn plug(&self) {
        self.lab.veth((&self.server, "lan0"), (&self.client, "eth0"));
        self.server.ip(&format!("link set lan0 address {SERVER_MAC}"));
        self.server.ip("addr add 10.7.0.1/24 dev lan0");
    }

    fn host(&self) -> Host {
        self.client.run(|| {
            let list = interfaces().unwrap();
            let interface = list.into_iter().find(|interface| interface.name == "eth0").unwrap();
            Host { socket: PacketSocket::open(&interface, Capture::Datagrams { port: 68 }, 0).unwrap(), interface }
        })
    }
}

/// A client without an address.
struct Host {
    socket: PacketSocket,
    interface: Interface,
}

impl Host {
    fn mac(&self) -> MacAddr {
        self.interface.mac.unwrap()
    }

    fn send(&self, to: MacAddr, payload: &[u8], source: &str, destination: &str) {
        let mut outbox = packet::Outbox::new(1);
        let link = Link { destination: to, source: self.mac(), vlan: None };
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        outbox.push(|out| frame::udp_frame(link, source, destination, payload, out)).unwrap();
        assert_eq!(self.socket.send(&mut outbox).sent, 1);
    }

    fn broadcast(&self, payload: &[u8]) {
        self.send(MacAddr::BROADCAST, payload, "0.0.0.0:68", "255.255.255.255:67");
    }

    /// The next reply, who its frame went to, and its IP destination.
    fn receive(&self) -> (Reply, MacAddr, Ipv4Addr) {
        let mut inbox = packet::Inbox::new(1, 1600);
        let wait = poll::wait(&mut [poll::Entry::readable(&self.socket)], Some(Duration::from_secs(20))).unwrap();
        assert_eq!(wait, 1, "an answer comes");
        self.socket.receive(&mut inbox).unwrap();
        let received = inbox.frames().next().unwrap();
        let (ethernet, datagram) = frame::parse_udp(received.bytes, received.checksum).unwrap();
        assert_eq!(datagram.source.port(), 67);
        (read(datagram.payload), ethernet.destination, *datagram.destination.ip())
    }
}

const LINK: &str = "interfaces = ['lan0']\nlisten = []\nconflict_detection = 'off'\n\
    [[dhcp.subnet]]\nid = 1\nprefix = '10.7.0.0/24'\npools = [{ range = '10.7.0.10-10.7.0.99' }]\n";

fn heard(running: &Running) -> bool {
    running.service.status().interfaces.iter().all(|interface| interface.open)
}

#[test]
fn a_client_on_the_link_is_answered_where_it_can_hear() {
    let cable = Cable::new();
    let running = cable.server.run(|| run(LINK));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, destination) = host.receive();
    assert_eq!((offer.kind, offer.server), (Some(Kind::Offer), Ipv4Addr::new(10, 7, 0, 1)));
    assert_eq!((to, destination), (host.mac(), offer.address), "to its hardware address, before it can answer ARP");

    let (wanted, server) = (offer.address.octets(), offer.server.octets());
    let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &server)];
    let mut request = message(Kind::Request, 2, host.mac(), &options);
    request[10] = 0x80;
    host.broadcast(&request);
    let (ack, to, destination) = host.receive();
    assert_eq!((ack.kind, ack.address), (Some(Kind::Ack), offer.address));
    assert_eq!((to, destination), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST), "as it asked");

    // Renewing: from its address to ours, and back the same way.
    let mut renewal = message(Kind::Request, 3, host.mac(), &[]);
    renewal[12..16].copy_from_slice(&wanted);
    host.send(SERVER_MAC, &renewal, &format!("{}:68", ack.address), "10.7.0.1:67");
    let (renewed, to, destination) = host.receive();
    assert_eq!((renewed.kind, to, destination), (Some(Kind::Ack), host.mac(), ack.address));

    let wrong = [(code::REQUESTED_ADDRESS, &[192, 168, 1, 1][..])];
    host.broadcast(&message(Kind::Request, 4, host.mac(), &wrong));
    let (nak, to, destination) = host.receive();
    assert_eq!((nak.kind, to, destination), (Some(Kind::Nak), MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
    drop(running);
}

#[test]
fn beside_a_udp_socket_each_packet_is_heard_once() {
    let cable = Cable::new();
    let toml = LINK.replace("listen = []", "listen = ['0.0.0.0:67']");
    let running = cable.server.run(|| run(&toml));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, _) = host.receive();
    assert_eq!(to, host.mac());
    let (wanted, server) = (offer.address.octets(), offer.server.octets());
    let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &server)];
    host.broadcast(&message(Kind::Request, 2, host.mac(), &options));
    assert_eq!(host.receive().0.kind, Some(Kind::Ack));
    cable.client.ip(&format!("addr add {}/24 dev eth0", offer.address));
    let mut renewal = message(Kind::Request, 3, host.mac(), &[]);
    renewal[12..16].copy_from_slice(&wanted);
    host.send(SERVER_MAC, &renewal, &format!("{}:68", offer.address), "10.7.0.1:67");
    let (renewed, ..) = host.receive();
    assert_eq!((renewed.kind, renewed.xid), (Some(Kind::Ack), 3));
    assert_eq!(running.metrics().requests.of(RequestType::Discover).get(), 1);
    assert_eq!(running.metrics().requests.of(RequestType::Request).get(), 2);
}

#[test]
fn without_packet_sockets_a_client_on_the_link_is_answered_by_broadcast() {
    let cable = Cable::new();
    let toml = LINK.replace("interfaces = ['lan0']\nlisten = []", "listen = ['0.0.0.0:67']");
    let _running = cable.server.run(|| run(&toml));
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    let (offer, to, destination) = host.receive();
    assert_eq!((offer.kind, offer.server), (Some(Kind::Offer), Ipv4Addr::new(10, 7, 0, 1)));
    assert_eq!((to, destination), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
}

#[test]
fn an_interface_that_appears_goes_and_comes_back_is_served() {
    let cable = Cable::unplugged();
    let running = cable.server.run(|| run(LINK));
    let missing = &running.service.status().interfaces[0];
    assert!(!missing.open && missing.problem.as_deref().unwrap().contains("does not exist"), "{missing:?}");
    for round in 0..2 {
        cable.plug();
        until("the interface is heard", || heard(&running));
        let host = cable.host();
        // Until its address is known too, nobody can be answered from it.
        until("an offer", || {
            host.broadcast(&message(Kind::Discover, round, host.mac(), &[]));
            let mut entries = [poll::Entry::readable(&host.socket)];
            poll::wait(&mut entries, Some(Duration::from_millis(100))).unwrap() == 1
        });
        assert_eq!(host.receive().0.kind, Some(Kind::Offer));
        cable.server.ip("link del lan0");
        until("the interface is missed", || !heard(&running));
    }
}

#[test]
fn a_star_serves_every_interface_with_an_address_as_it_comes_and_goes() {
    let cable = Cable::unplugged();
    let toml = LINK.replace("'lan0'", "'*', '!spare*'");
    let running = cable.server.run(|| run(&toml));
    let served = || running.service.status().interfaces;
    let names = || served().iter().filter(|one| one.open).map(|one| one.name.clone()).collect::<Vec<_>>();
    let none = served();
    assert_eq!((none.len(), none[0].name.as_str(), none[0].open), (1, "*", false), "loopback is none: {none:?}");
    cable.plug();
    cable.lab.veth((&cable.server, "spare0"), (&cable.client, "eth1"));
    cable.server.ip("addr add 10.8.0.1/24 dev spare0");
    until("the interface is heard", || names() == ["lan0"]);
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    assert_eq!(host.receive().0.kind, Some(Kind::Offer));
    cable.lab.veth((&cable.server, "lan1"), (&cable.client, "eth2"));
    cable.server.ip("addr add 10.9.0.1/24 dev lan1");
    until("the second one is heard too", || names() == ["lan0", "lan1"]);
    cable.server.ip("addr del 10.9.0.1/24 dev lan1");
    until("it is left alone without an address", || names() == ["lan0"]);
    cable.server.ip("link set lan0 down");
    until("what is down is not served", || names().is_empty());
    cable.server.ip("link set lan0 up");
    until("it is served again", || names() == ["lan0"]);
    assert_eq!(served().len(), 1, "what only fits a rule is forgotten when it goes: {:?}", served());
}

#[test]
fn an_address_that_a_stranger_uses_is_not_offered() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let running = cable.server.run(|| run(&toml));
    cable.client.ip("addr add 10.7.0.10/24 dev eth0");
    let host = cable.host();
    let discover = |xid| {
        let mut bytes = message(Kind::Discover, xid, mac(7), &[]);
        bytes[10] = 0x80;
        bytes
    };
    host.broadcast(&discover(1));
    let (offer, ..) = host.receive();
    assert_eq!((offer.kind, offer.address), (Some(Kind::Offer), [10, 7, 0, 11].into()));
    let quarantined = running.service.read(|engine| engine.leases().at([10, 7, 0, 10].into()).map(|lease| lease.state));
    assert_eq!(quarantined, Some(crate::lease::State::Declined));
    let probes = &running.metrics().probes;
    assert_eq!((probes.of(ProbeOutcome::InUse).get(), probes.of(ProbeOutcome::Free).get()), (1, 1));

    // Known to be free now: nobody is asked again.
    host.broadcast(&discover(2));
    assert_eq!(host.receive().0.address, offer.address);
    assert_eq!(probes.of(ProbeOutcome::Free).get(), 1);
}

#[test]
fn a_client_that_answers_for_its_own_address_is_no_stranger() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let _running = cable.server.run(|| run(&toml));
    cable.client.ip("addr add 10.7.0.10/24 dev eth0");
    let host = cable.host();
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    assert_eq!(host.receive().0.address, Ipv4Addr::new(10, 7, 0, 10));
}

#[test]
fn behind_a_relay_agent_addresses_are_asked_by_ping_and_only_so_many() {
    let lab = Lab::new();
    let alone = lab.namespace("alone");
    alone.run(|| {
        // All of 127/8 answers; 10.9.0.0/24 has no route, so that it can't even be asked and counts as free.
        let used = "listen = ['127.0.0.1:0']\nconflict_detection = 'ping'\nprobe_timeout = '200ms'\nprobe_attempts = 2\n\
            [[dhcp.subnet]]\nid = 1\nprefix = '127.9.0.0/24'\nrelay = ['127.0.0.1']\n\
            pools = [{ range = '127.9.0.10-127.9.0.19' }]\n";
        let running = run(used);
        let relay = Relay::new(running.listening());
        relay.send(Kind::Discover, 1, mac(1), &[]);
        let metrics = running.metrics();
        until("two were tried", || metrics.dropped.of(Dropped::ProbeAttempts).get() == 1);
        assert_eq!(metrics.probes.of(ProbeOutcome::InUse).get(), 2);
        assert_eq!(metrics.requests.of(RequestType::Discover).get(), 1, "it was received once");
        assert_eq!(running.service.read(|engine| engine.totals().declined), 2);
        let running = run(&RELAYED.replace("'off'", "'ping'"));
        assert_eq!(Relay::new(running.listening()).discover(mac(1)).kind, Some(Kind::Offer));
        assert_eq!(running.metrics().probes.of(ProbeOutcome::Failed).get(), 1);
    });
}

#[test]
fn an_arp_packet_of_the_prober_claims_no_address() {
    let cable = Cable::new();
    let toml = LINK.replace("'off'", "'arp'\nprobe_timeout = '200ms'");
    let _running = cable.server.run(|| run(&toml));
    let host = cable.host();
    let listener = cable.client.run(|| PacketSocket::open(&host.interface, Capture::Arp, 0).unwrap());
    host.broadcast(&message(Kind::Discover, 1, host.mac(), &[]));
    poll::wait(&mut [poll::Entry::readable(&listener)], None).unwrap();
    let mut inbox = packet::Inbox::new(1, 128);
    listener.receive(&mut inbox).unwrap();
    let received = inbox.frames().next().unwrap();
    let packet = arp::Packet::parse(ethernet::Frame::parse(received.bytes).unwrap().payload).unwrap();
    assert_eq!(packet, arp::Packet::probe(SERVER_MAC, [10, 7, 0, 10].into()));
    assert_eq!(host.receive().0.kind, Some(Kind::Offer));
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
