//! Workers as they are, with queues that tests hold the other ends of, sockets at loopback, and a clock that tests set.

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use outwork_engine::Time;
use outwork_net::carrier::{Options, Socket, Way};
use outwork_net::poll::Waker;
use outwork_net::tun::{Queue, ROOM};
use outwork_wireguard::entropy::System;
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table;
use outwork_wireguard::message::HEADER;
use outwork_wireguard::peer::Settings;
use outwork_wireguard::{Identity, Index, PresharedKey, PrivateKey};

use super::*;
use crate::control::peers::{News, Peers};
use crate::engine::prefix::Prefix;
use crate::plane::frame::{Frame, Part};
use crate::plane::join::Offload;
use crate::plane::relay::{self, Passage, Place, Relay};
use crate::plane::shared::{Clock, Notice, Shared};
use crate::plane::tunnel::{Once, Owner, Tunnel, TunnelId, UplinkIndex};
use crate::plane::view::{Relays, View};
use crate::plane::worker::Worker;

const UPLINK: UplinkIndex = UplinkIndex(0);
/// Whoever is at the other end; and the same by way of itself, as if it were a hub.
const FAR: Owner = Owner(1);
const BY_HUB: Owner = Owner(2);
const MTU: u16 = 1420;

/// One end of a tunnel, with its workers.
struct End {
    key: PrivateKey,
    shared: Arc<Shared>,
    heard: Receiver<Notice>,
    peers: Peers,
    tunnels: [Arc<Tunnel>; 2],
    socket: Arc<Socket>,
    devices: Vec<UnixDatagram>,
    workers: Vec<Worker>,
}

/// Both ends, and their clock.
struct Pair {
    ends: [End; 2],
    now: &'static AtomicU64,
}

impl Pair {
    /// With so many workers at each end, which can tell control so much at once.
    fn new(workers: usize, notices: usize) -> Pair {
        let now: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(Time::from_secs(100).as_nanos())));
        let keys = [(); 2].map(|()| PrivateKey::generate(&mut System::default()).unwrap());
        let groups = [(); 2].map(|()| {
            let local = Options::new("127.0.0.1:0".parse().unwrap());
            let group = Socket::bind_group(&Options { receive_buffer: 8 << 20, ..local }, workers).unwrap();
            group.into_iter().map(Arc::new).collect::<Vec<_>>()
        });
        let publics = keys.each_ref().map(|key| *key.public());
        let at = groups.each_ref().map(|group| group[0].local());
        let mut number = 0;
        let ends = keys.map(|key| {
            let (own, far) = (number, 1 - number);
            number += 1;
            let table = Arc::new(Table::new(64));
            let place = |end: usize| Place::of(&publics[end]);
            let relay = Relay::new(place(own), place(far), FAR);
            let to_hub = relay::address(place(far), FAR);
            let tunnel = |id, owner| Tunnel::new(TunnelId(id), "far", UPLINK, owner, MTU).of_site();
            let tunnels = [Arc::new(tunnel(1, FAR)), Arc::new(tunnel(2, BY_HUB).by(Some(relay)))];
            let clock = (Time::from_nanos(now.load(Relaxed)), Duration::from_secs(1_700_000_000));
            let mut peers = Peers::new(Arc::clone(&table), clock, Box::<System>::default(), 1);
            assert!(peers.be(clock.0, UPLINK, &Identity::from(key.clone()), Limits::default()));
            for (tunnel, endpoint) in tunnels.iter().zip([at[far], to_hub]) {
                let (remote, psk) = (publics[far], PresharedKey::default());
                let settings = Settings { remote, psk, endpoint: Some(endpoint), keepalive: None };
                assert!(peers.add(clock.0, Arc::clone(tunnel), settings));
            }
            let (to, heard) = sync_channel(notices);
            // Behind the first end are 10.0.1.x, behind the second 10.0.2.x.
            let network = Prefix::new([10, 0, 1 + far as u8, 0].into(), 24).unwrap();
            let relays = Relays { own: [(place(own), UPLINK)].into_iter().collect(), ..Relays::default() };
            let view = View::new([(network, FAR)], [Arc::clone(&tunnels[0])], []).passing(Arc::new(relays));
            let wakers = (0..workers).map(|_| Waker::new().unwrap()).collect();
            let mut shared = Shared::new(view, table, to, Arc::new(Waker::new().unwrap()), wakers, 1);
            shared.clock = Clock::set_by(now);
            shared.lines.put(UPLINK, &Arc::from("uplink"), vec![groups[own].clone()]);
            let shared = Arc::new(shared);
            let (queues, devices): (Vec<_>, Vec<_>) = (0..workers).map(|_| Queue::pair().unwrap()).unzip();
            let plain = Offload { tcp: false, udp: false };
            let worker = |(number, queue): (usize, Queue)| Worker::new(number, queue, plain, Arc::clone(&shared));
            let workers = queues.into_iter().enumerate().map(worker).collect();
            End { key, shared, heard, peers, tunnels, socket: Arc::clone(&groups[own][0]), devices, workers }
        });
        Pair { ends, now }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.now.load(Relaxed))
    }

    fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_nanos() as u64, Relaxed);
    }

    /// The first end gets sessions, and the second as well.
    fn shake(&mut self, tunnel: usize) {
        let now = self.now();
        let id = self.ends[0].tunnels[tunnel].id;
        self.ends[0].peers.wanted(now, id).unwrap();
        for turn in [0, 1, 0, 1] {
            let (from, own) = match tunnel {
                0 => (self.ends[turn].socket.local(), Some(self.ends[1 - turn].socket.local().ip())),
                _ => (relay::address(Place::of(self.ends[turn].key.public()), FAR), None),
            };
            while let Some(news) = self.ends[turn].peers.poll_news() {
                let News::Send { mut datagram, .. } = news else { continue };
                let other = &mut self.ends[1 - turn];
                if datagram[0] != 4 {
                    other.peers.datagram(now, UPLINK, (from, own), &datagram).unwrap();
                    continue;
                }
                let index = Index(u32::from_le_bytes(datagram[4..8].try_into().unwrap()));
                if other.shared.sessions.find(index).unwrap().opener.open(now, &mut datagram).unwrap().confirms {
                    other.peers.confirmed(now, id, index);
                }
            }
        }
        assert!(self.ends.iter().all(|end| end.tunnels[tunnel].sealer().is_some()));
    }
}

impl End {
    /// A worker does what there is to do.
    fn turn(&mut self, worker: usize) {
        self.shared.waker(worker).unwrap().wake();
        self.workers[worker].turn().unwrap();
    }

    /// A device has a packet for a worker.
    fn give(&self, worker: usize, packet: &[u8]) {
        let whole = [&VnetHeader::default().write()[..], packet].concat();
        assert_eq!(self.devices[worker].send(&whole).unwrap(), whole.len());
    }

    /// What workers have given a device: of each packet the last octet.
    fn taken(&self, worker: usize) -> Vec<u8> {
        let mut room = vec![0; ROOM];
        let mut taken = vec![];
        while let Ok(length) = self.devices[worker].recv(&mut room) {
            taken.push(room[length - 1]);
        }
        taken
    }

    /// Sends what a worker would not: something sealed by one of the tunnels.
    fn send(&self, now: Time, tunnel: usize, text: &[u8]) {
        let datagram = self.seal(now, tunnel, text);
        let way = Way { to: self.tunnels[0].endpoint().unwrap(), from: None, tos: 0, mark: 0 };
        assert_eq!(self.socket.send(&way, &datagram, datagram.len()).octets, datagram.len());
    }

    fn seal(&self, now: Time, tunnel: usize, text: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER + text.len() + 32];
        buffer[HEADER..HEADER + text.len()].copy_from_slice(text);
        let sealer = self.tunnels[tunnel].sealer();
        let sealed = sealer.as_ref().unwrap().seal(now, &mut buffer, HEADER..HEADER + text.len(), MTU.into()).unwrap();
        buffer[sealed.datagram].to_vec()
    }

    /// How often a session was wanted since this was last asked.
    fn wanted(&self) -> usize {
        self.heard.try_iter().filter(|notice| matches!(notice, Notice::Wanted(TunnelId(1)))).count()
    }
}

/// A datagram from behind the first end to behind the second, of a flow, that ends in a number.
fn datagram(flow: u16, number: u8) -> Vec<u8> {
    let mut plain = Plain::new(false, UDP);
    (plain.ports.0, plain.payload) = (flow, vec![number; 50]);
    plain.build()
}

#[test]
fn what_waited_for_a_session_goes_first_and_in_its_order() {
    let mut pair = Pair::new(1, 16);
    let [near, _] = &mut pair.ends;
    (0..3).for_each(|number| near.give(0, &datagram(7, number)));
    near.turn(0);
    assert_eq!((near.wanted(), near.shared.counters.given_up.load(Relaxed)), (1, 0), "it is asked for once");
    // Keys and another packet come at the same time.
    near.give(0, &datagram(7, 3));
    pair.shake(0);
    pair.ends[0].shared.has_keys();
    pair.ends[0].turn(0);
    pair.ends[1].turn(0);
    assert_eq!(pair.ends[1].taken(0), [0, 1, 2, 3]);
}

#[test]
fn nothing_overtakes_what_waits_though_its_session_came_a_moment_ago() {
    let mut pair = Pair::new(1, 16);
    pair.ends[0].give(0, &datagram(7, 0));
    pair.ends[0].turn(0);
    pair.shake(0);
    // Nobody has told the worker to look.
    pair.ends[0].give(0, &datagram(7, 1));
    pair.ends[0].turn(0);
    pair.ends[1].turn(0);
    assert_eq!(pair.ends[1].taken(0), [0, 1]);
}

#[test]
fn what_has_waited_for_five_seconds_is_given_up_and_what_came_later_is_not() {
    let mut pair = Pair::new(1, 16);
    pair.ends[0].give(0, &datagram(7, 0));
    pair.ends[0].turn(0);
    pair.pass(Duration::from_secs(3));
    pair.ends[0].give(0, &datagram(7, 1));
    pair.ends[0].turn(0);
    pair.pass(Duration::from_secs(2));
    pair.ends[0].turn(0);
    let given_up =
        |end: &End| (end.shared.counters.given_up.load(Relaxed), end.tunnels[0].tallies.unsent.load(Relaxed));
    assert_eq!(given_up(&pair.ends[0]), (1, 1));
    pair.shake(0);
    pair.ends[0].shared.has_keys();
    pair.ends[0].turn(0);
    pair.ends[1].turn(0);
    assert_eq!((pair.ends[1].taken(0), given_up(&pair.ends[0])), (vec![1], (1, 1)));
}

#[test]
fn the_traffic_class_of_a_packet_is_that_of_its_datagram_and_congestion_is_not_told_across() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    let mut room = vec![0; 1 << 16];
    // AF41, EF and none, with each of the marks of RFC 3168 section 5.
    for class in [34 << 2, 34 << 2 | 1, 46 << 2 | 2, 3, 0] {
        let mut plain = Plain::new(false, UDP);
        (plain.class, plain.payload) = (class, vec![7; 50]);
        pair.ends[0].give(0, &plain.build());
        pair.ends[0].turn(0);
        let run = pair.ends[1].socket.receive(&mut room).unwrap().unwrap();
        // RFC 6040 section 4.1: where the end that opens it may not combine both, what is outside says "not ECN-capable".
        assert_eq!(run.tos, class & !3, "{class:#04x}");
        let mut opened = room[..run.length].to_vec();
        let index = Index(u32::from_le_bytes(opened[4..8].try_into().unwrap()));
        let session = pair.ends[1].shared.sessions.find(index).unwrap();
        let inside = session.opener.open(pair.now(), &mut opened).unwrap().packet;
        assert_eq!(opened[inside][1], class, "what is inside keeps both");
    }
}

#[test]
fn a_session_that_control_had_no_ear_for_is_asked_for_again() {
    let mut pair = Pair::new(1, 1);
    let [near, _] = &mut pair.ends;
    assert!(near.shared.tell(Notice::Wanted(TunnelId(9))));
    near.give(0, &datagram(7, 0));
    near.turn(0);
    assert_eq!((near.wanted(), near.shared.counters.unheard.load(Relaxed)), (0, 1), "the queue was full");
    near.give(0, &datagram(7, 1));
    near.turn(0);
    assert_eq!(near.wanted(), 1);
    near.give(0, &datagram(7, 2));
    near.turn(0);
    assert_eq!(near.wanted(), 0, "control knows");
}

#[test]
fn whoever_asks_is_answered_by_a_turn_that_has_taken_what_lay_there_and_one_that_was_asked_before_waits_for_nothing() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    pair.ends[0].give(0, &datagram(7, 0));
    pair.ends[0].turn(0);
    let far = &mut pair.ends[1];
    let question = far.shared.knock();
    assert!(!far.shared.have_looked(question));
    // Nothing wakes the worker but that it was asked.
    far.shared.waker(0).unwrap().drain();
    far.workers[0].turn().unwrap();
    assert_eq!((far.shared.have_looked(question), far.taken(0)), (true, vec![0]));
    let question = far.shared.knock();
    far.shared.waker(0).unwrap().drain();
    far.workers[0].turn().unwrap();
    assert!(far.shared.have_looked(question));
}

#[test]
fn a_flow_stays_in_order_whichever_worker_has_it() {
    let mut pair = Pair::new(2, 16);
    pair.shake(0);
    for number in 0..8 {
        let worker = usize::from(number / 2 % 2);
        pair.ends[0].give(worker, &datagram(7, number));
        pair.ends[0].turn(worker);
    }
    (0..2).for_each(|worker| pair.ends[1].turn(worker));
    let mut taken = [0, 1].map(|worker| pair.ends[1].taken(worker));
    taken.sort_by_key(Vec::len);
    assert_eq!(taken, [vec![], (0..8).collect::<Vec<_>>()], "all by the worker that has the path");
}

#[test]
fn more_than_there_is_room_for_at_once_leaves_whole() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    let mut plain = Plain::new(false, TCP);
    plain.payload = vec![7; 44 * 1380];
    let (header, octets) = plain.whole(1380);
    let piece = [&header.write()[..], &octets].concat();
    // These are more than half a megabyte.
    (0..10).for_each(|_| assert_eq!(pair.ends[0].devices[0].send(&piece).unwrap(), piece.len()));
    pair.ends[0].turn(0);
    (0..20).for_each(|_| pair.ends[1].turn(0));
    let tallies = [&pair.ends[0], &pair.ends[1]].map(|end| &end.tunnels[0].tallies);
    assert_eq!((tallies[0].sent.load(Relaxed), tallies[1].received.load(Relaxed)), (440, 440));
    assert_eq!((tallies[1].refused.load(Relaxed), tallies[0].sent_octets.load(Relaxed)), (0, 440 * 1420));
}

#[test]
fn a_frame_makes_nobody_somebody_else_and_what_comes_twice_is_handed_on_once() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    let framed = |number, third: u8| {
        let mut packet = datagram(7, number);
        packet[14] = third;
        let transport = 20;
        finish(&mut packet, transport, UDP);
        let frame = Frame { stream: 5, number: number.into(), part: Part::Twice };
        [&frame.encode()[..], &packet].concat()
    };
    let now = pair.now();
    for text in [framed(1, 1), framed(2, 9), framed(1, 1), framed(3, 1)] {
        pair.ends[0].send(now, 0, &text);
    }
    pair.ends[1].turn(0);
    let (far, counters) = (&pair.ends[1], &pair.ends[1].shared.counters);
    assert_eq!(far.taken(0), [1, 3]);
    assert_eq!((far.tunnels[0].tallies.foreign.load(Relaxed), counters.repeated.load(Relaxed)), (1, 1));
}

#[test]
fn what_was_passed_on_within_what_was_passed_on_goes_nowhere_and_is_counted() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    pair.shake(1);
    let now = pair.now();
    let places = pair.ends.each_ref().map(|end| Place::of(end.key.public()));
    let passed = |to: Place, inner: &[u8]| {
        let length = inner.len() as u16;
        let passage = Passage { to, from: places[0], length, ours: false, passed: true };
        [&passage.encode()[..], inner].concat()
    };
    let near = &pair.ends[0];
    // Twice within each other is what a path by a hub is; that of which this is the content is a packet of nobody behind it.
    let packet = near.seal(now, 1, &datagram(7, 1));
    near.send(now, 0, &passed(places[1], &packet));
    // Three times, to here and to elsewhere.
    for to in [places[1], places[0]] {
        let innermost = near.seal(now, 1, &datagram(7, 2));
        let inner = near.seal(now, 1, &passed(to, &innermost));
        near.send(now, 0, &passed(places[1], &inner));
    }
    pair.ends[1].turn(0);
    let (far, counters) = (&pair.ends[1], &pair.ends[1].shared.counters);
    assert_eq!(far.tunnels[1].tallies.foreign.load(Relaxed), 1);
    assert_eq!((counters.unreadable.load(Relaxed), counters.not_passed.load(Relaxed)), (0, 2));
    assert_eq!((far.taken(0), counters.passed.load(Relaxed)), (vec![], 0));
}

#[test]
fn keys_take_over_while_datagrams_are_under_way_and_none_is_lost_or_overtaken() {
    let mut pair = Pair::new(1, 64);
    pair.shake(0);
    let mut numbers = 0..;
    let mut expected = vec![];
    for round in 0..5 {
        let mut give = |pair: &mut Pair| {
            let number = numbers.next().unwrap();
            expected.push(number);
            pair.ends[0].give(0, &datagram(7, number));
            pair.ends[0].turn(0);
        };
        give(&mut pair);
        assert_eq!(pair.ends[0].wanted(), 0, "round {round}");
        // That is still under way when its keys have grown old.
        pair.pass(Duration::from_secs(121));
        give(&mut pair);
        assert_eq!(pair.ends[0].wanted(), 1, "round {round}: whoever began sees to new ones");
        give(&mut pair);
        assert_eq!(pair.ends[0].wanted(), 0, "round {round}: control knows");
        pair.shake(0);
        give(&mut pair);
        pair.ends[1].turn(0);
    }
    let (near, far) = (&pair.ends[0], &pair.ends[1]);
    assert_eq!(far.taken(0), expected);
    assert_eq!((far.tunnels[0].tallies.refused.load(Relaxed), near.shared.counters.given_up.load(Relaxed)), (0, 0));
}

#[test]
fn a_session_that_is_over_seals_nothing_and_whatever_comes_then_waits_for_the_next_one() {
    let mut pair = Pair::new(2, 16);
    pair.shake(0);
    pair.pass(Duration::from_secs(181));
    for worker in 0..2 {
        pair.ends[0].give(worker, &datagram(worker as u16, worker as u8));
        pair.ends[0].turn(worker);
    }
    assert_eq!(pair.ends[0].wanted(), 1, "it is one tunnel's");
    assert_eq!(pair.ends[0].tunnels[0].tallies.sent.load(Relaxed), 0);
    pair.shake(0);
    pair.ends[0].shared.has_keys();
    (0..2).for_each(|worker| pair.ends[0].turn(worker));
    (0..2).for_each(|worker| pair.ends[1].turn(worker));
    let mut taken = [0, 1].map(|worker| pair.ends[1].taken(worker)).concat();
    taken.sort_unstable();
    assert_eq!((taken, pair.ends[0].shared.counters.given_up.load(Relaxed)), (vec![0, 1], 0));
}

#[test]
fn what_does_not_leave_is_counted_and_control_is_told_once_until_it_has_heard() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    // No uplink has a socket any more.
    let near = &mut pair.ends[0];
    near.shared.lines.close();
    for number in 0..3 {
        near.give(0, &datagram(7, number));
        near.turn(0);
    }
    let stuck = |end: &End| end.heard.try_iter().filter(|one| matches!(one, Notice::Stuck(TunnelId(1), _))).count();
    assert_eq!((stuck(near), near.shared.counters.unsent.load(Relaxed)), (1, 3));
    assert_eq!(near.tunnels[0].tallies.sent.load(Relaxed), 0);
    near.tunnels[0].done(Once::Stuck);
    near.give(0, &datagram(7, 3));
    near.turn(0);
    assert_eq!(stuck(near), 1);
}

#[test]
fn what_comes_by_a_way_that_is_not_a_tunnels_own_is_not_opened() {
    let mut pair = Pair::new(1, 16);
    pair.shake(0);
    pair.shake(1);
    let now = pair.now();
    // What is to come by a hub comes straight: whoever captured it uses none of its numbers up.
    let datagram = pair.ends[0].seal(now, 1, &datagram(7, 1));
    let way = Way { to: pair.ends[1].socket.local(), from: None, tos: 0, mark: 0 };
    for _ in 0..2 {
        assert_eq!(pair.ends[0].socket.send(&way, &datagram, datagram.len()).octets, datagram.len());
    }
    pair.ends[1].turn(0);
    let far = &pair.ends[1];
    assert_eq!((far.taken(0), far.tunnels[1].tallies.refused.load(Relaxed)), (vec![], 2));
    assert_eq!((far.shared.counters.elsewhere.load(Relaxed), far.shared.counters.replayed.load(Relaxed)), (2, 0));
}
