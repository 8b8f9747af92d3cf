//! More than the disk or a socket takes, and a stop in the middle of it.

use super::*;
use crate::metrics::SocketKind;

/// One worker that reads four requests at once and holds four answers back, on a log that lets records wait for company:
/// their answers are parked meanwhile.
fn slow(when_full: WhenFull, queue_size: usize, receive_buffer: usize) -> (Arc<Service>, Server, TempDir) {
    let data = TempDir::new().unwrap();
    let log = LogOptions { batch_delay: Duration::from_millis(500), ..LogOptions::new(data.path()) };
    let toml = RELAYED.replace("listen", "client_rate = 0\nlisten");
    let (service, server) = run_on(log, &toml, None);
    drop(server);
    let options =
        Options { workers: 1, batch: 4, queue_size, when_full, receive_buffer, ..Options::from(&dhcp(&toml)) };
    let server = Server::start(&service, &options).unwrap();
    (service, server, data)
}

/// Clients `from` to `to` ask for an address each, all at once.
fn ask(relay: &Relay, from: u8, to: u8) {
    for client in from..to {
        let wanted = [10, 9, 0, client];
        let options = [(code::REQUESTED_ADDRESS, &wanted[..]), (code::SERVER_ID, &[127, 0, 0, 1])];
        relay.send(Kind::Request, client.into(), mac(client), &options);
    }
}

/// Addresses acknowledged within a while of silence.
fn acknowledged(relay: &Relay, silence: Duration) -> Vec<Ipv4Addr> {
    relay.socket.set_read_timeout(Some(silence)).unwrap();
    let mut bytes = [0; 1500];
    let mut all = Vec::new();
    while let Ok(len) = relay.socket.recv(&mut bytes) {
        let reply = read(&bytes[..len]);
        assert_eq!(reply.kind, Some(Kind::Ack));
        all.push(reply.address);
    }
    all.sort_unstable();
    all
}

fn addresses(from: u8, to: u8) -> Vec<Ipv4Addr> {
    (from..to).map(|last| [10, 9, 0, last].into()).collect()
}

#[test]
fn where_answers_wait_in_vain_for_room_requests_are_dropped_and_counted() {
    let (service, server, _data) = slow(WhenFull::Drop, 4, 1 << 20);
    let relay = Relay::new(server.listening()[0]);
    ask(&relay, 10, 30);
    let dropped = || service.metrics().dropped.of(Dropped::QueueFull).get();
    let answered = || service.metrics().replies.of(ReplyType::Ack).get();
    until("each is answered or dropped", || answered() + dropped() == 20);
    assert!(dropped() > 0);
    let known = service.read(|engine| engine.totals().active) as u64;
    assert_eq!(known, answered(), "what is dropped has changed nothing");
    assert_eq!(acknowledged(&relay, Duration::from_millis(100)).len() as u64, answered());
}

#[test]
fn where_requests_wait_for_room_none_is_dropped() {
    let (service, server, _data) = slow(WhenFull::Wait, 4, 1 << 20);
    let relay = Relay::new(server.listening()[0]);
    ask(&relay, 10, 16);
    until("all are answered", || service.metrics().replies.of(ReplyType::Ack).get() == 6);
    assert_eq!(acknowledged(&relay, Duration::from_millis(100)), addresses(10, 16));
    assert_eq!(service.metrics().dropped.of(Dropped::QueueFull).get(), 0);
}

#[test]
fn what_the_kernel_drops_of_a_socket_is_counted() {
    let (service, server, _data) = slow(WhenFull::Wait, 4, 4096);
    let relay = Relay::new(server.listening()[0]);
    for _ in 0..20 {
        ask(&relay, 10, 100);
    }
    until("they are counted", || service.metrics().kernel_drops.of(SocketKind::Udp).get() > 0);
}

#[test]
fn a_stop_waits_for_the_disk_and_loses_no_answer() {
    let (service, server, data) = slow(WhenFull::Drop, 100, 1 << 20);
    let relay = Relay::new(server.listening()[0]);
    ask(&relay, 10, 16);
    until("all are decided", || service.read(|engine| engine.totals().active) == 6);
    server.stop(Duration::from_secs(20));
    assert_eq!(acknowledged(&relay, Duration::from_millis(100)), addresses(10, 16));
    assert_eq!(service.metrics().dropped.of(Dropped::Stopping).get(), 0);
    service.log().close().unwrap();
    drop(service);
    let (service, _server) = run_on(LogOptions::new(data.path()), RELAYED, None);
    assert_eq!(service.read(|engine| engine.totals().active), 6);
}

#[test]
fn a_stop_while_the_disk_fails_sends_no_answer_whose_lease_is_not_on_disk() {
    let disk = SmallDisk::new();
    let log = LogOptions { segment_bytes: 64 << 10, ..LogOptions::new(disk.0.path().join("log")) };
    let toml = RELAYED.replace("listen", "client_rate = 0\nlisten");
    let (service, server) = run_on(log, &toml, None);
    let relay = Relay::new(server.listening()[0]);
    disk.fill();
    // What is reserved ahead of need still takes records; then the disk is noticed, with answers waiting for it.
    let (mut asked, mut answered) = (0, 0);
    until("the disk is full", || {
        ask(&relay, 10, 40);
        asked += 30;
        answered += acknowledged(&relay, Duration::from_millis(20)).len() as u64;
        matches!(service.log().health(), Health::Failed(_))
    });
    let metrics = service.metrics();
    let dropped = |reason| metrics.dropped.of(reason).get();
    let durable = service.log().durable();
    server.stop(Duration::from_millis(100));
    answered += acknowledged(&relay, Duration::from_millis(100)).len() as u64;
    assert!(dropped(Dropped::Stopping) > 0, "some waited");
    assert_eq!(service.log().durable(), durable, "nothing has reached the disk meanwhile");
    assert_eq!(answered, metrics.replies.of(ReplyType::Ack).get());
    let unread = asked - metrics.requests.of(RequestType::Request).get();
    assert_eq!(asked, unread + answered + dropped(Dropped::Stopping) + dropped(Dropped::StoreFailed));
}
