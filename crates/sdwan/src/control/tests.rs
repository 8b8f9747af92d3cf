//! Control as it is, by turns that tests say, with sockets at loopback and clocks that tests set.

use std::net::UdpSocket;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;

use outwork_config::{Sources, load};
use outwork_wireguard::entropy::System;
use outwork_wireguard::index::Table;
use outwork_wireguard::peer::Refusal;
use outwork_wireguard::{Index, PrivateKey};
use tempfile::TempDir;

use super::peers::Unheard;
use super::*;
use crate::config::Sdwan;
use crate::engine::hello::{Claim, Hello};
use crate::plan::Numbers;
use crate::plane::shared::Clock;
use crate::qos::Qos;
use crate::uplinks::Uplinks;

const UPLINK: UplinkIndex = UplinkIndex(0);
/// What the wall clock shows at first, in seconds since 1970.
const WALL: u64 = 1_700_000_000;

/// Whoever is at the other end of a tunnel.
struct Far {
    key: PrivateKey,
    peers: Peers,
    socket: UdpSocket,
}

impl Far {
    /// Joined to whoever has a key.
    fn new(remote: PublicKey) -> Far {
        let key = PrivateKey::generate(&mut System::default()).unwrap();
        let now = Time::from_secs(1);
        let clock = (now, Duration::from_secs(WALL));
        let mut peers = Peers::new(Arc::new(Table::new(64)), clock, Box::<System>::default(), 1);
        assert!(peers.be(now, UPLINK, &Identity::from(key.clone()), Limits::default()));
        let tunnel = Arc::new(Tunnel::new(TunnelId(1), "near", UPLINK, Owner(1), 1420));
        let settings = Settings { remote, psk: PresharedKey::default(), endpoint: None, keepalive: None };
        assert!(peers.add(now, tunnel, settings));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Far { key, peers, socket }
    }

    /// Takes what comes next, which is of a handshake, and says what becomes of it.
    fn hear(&mut self, now: Time) -> Result<(), Unheard> {
        let mut octets = [0; 2000];
        let (length, from) = self.socket.recv_from(&mut octets).unwrap();
        self.peers.datagram(now, UPLINK, (from, None), &octets[..length])
    }
}

/// Control of one that is joined to somebody.
struct Near {
    control: Control,
    shared: Arc<Shared>,
    orders: SyncSender<Order>,
    now: &'static AtomicU64,
    wall: &'static AtomicU64,
    _dir: TempDir,
}

impl Near {
    /// With this key, joined to whoever is far away. So many notices wait at most.
    fn new(key: &PrivateKey, far: &Far, notices: usize) -> Near {
        let set = |to: u64| -> &'static AtomicU64 { Box::leak(Box::new(AtomicU64::new(to))) };
        let (now, wall) = (set(Time::from_secs(100).as_nanos()), set(WALL));
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[[uplink]]\nname = 'one'\nlisten = ['127.0.0.1:0']\n[[peer]]\nname = 'far'\npublic_key = '{}'\nendpoint = '{}'\nallowed_ips = ['10.2.0.0/16']\n",
            far.key.public(),
            far.socket.local_addr().unwrap(),
        );
        let settings = read(&text);
        let (to, heard) = sync_channel(notices);
        let (orders, ordered) = sync_channel(16);
        let (sessions, waker) = (Arc::new(Table::new(64)), Arc::new(Waker::new().unwrap()));
        let wakers = Box::new([Waker::new().unwrap()]);
        let mut shared = Shared::new(View::empty(), Arc::clone(&sessions), to, Arc::clone(&waker), wakers, 1);
        shared.clock = Clock::set_by(now).with_wall(wall);
        let shared = Arc::new(shared);
        let clock = (shared.clock.now(), shared.clock.unix());
        let mut peers = Peers::new(sessions, clock, Box::<System>::default(), 1);
        assert!(peers.be(clock.0, UPLINK, &Identity::from(key.clone()), Limits::default()));
        let uplinks = Uplinks::bind(&settings, 1, |_| true).unwrap();
        uplinks.put(&shared.lines);
        let carriers = Carriers::watch(uplinks, Arc::new(Qos::new(dir.path()).unwrap())).unwrap();
        let control = Control::new(Arc::clone(&shared), peers, (heard, ordered), (waker, carriers));
        let mut near = Near { control, shared, orders, now, wall, _dir: dir };
        near.join(&settings);
        near
    }

    fn join(&mut self, settings: &Sdwan) {
        let (done, answer) = sync_channel(1);
        self.orders.send(Order::Join(Box::new(Plan::of(settings, &mut Numbers::default())), done)).unwrap();
        self.control.turn();
        assert!(answer.try_recv().unwrap().is_ok());
    }

    fn now(&self) -> Time {
        self.shared.clock.now()
    }

    fn pass(&self, seconds: u64) {
        self.now.fetch_add(Duration::from_secs(seconds).as_nanos() as u64, Relaxed);
        self.wall.fetch_add(seconds, Relaxed);
    }

    fn tunnel(&self) -> Option<Arc<Tunnel>> {
        self.shared.view.load().tunnels().next().cloned()
    }

    /// A worker wants a session.
    fn want(&mut self) {
        let id = self.tunnel().unwrap().id;
        assert!(self.shared.tell(Notice::Wanted(id)));
        self.control.turn();
    }

    /// Whether control comes back to what it has left, rather than waiting.
    fn goes_on(&self) -> bool {
        let mut entries = [Entry::readable(&*self.control.waker)];
        poll::wait(&mut entries, Some(Duration::ZERO)).unwrap();
        let [entry] = entries;
        entry.is_readable()
    }
}

fn read(text: &str) -> Sdwan {
    let sources = Sources { file: Some(("outwork.toml".into(), text.to_owned())), ..Sources::default() };
    load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value
}

fn pair(notices: usize) -> (PrivateKey, Near, Far) {
    let key = PrivateKey::generate(&mut System::default()).unwrap();
    let far = Far::new(*key.public());
    let near = Near::new(&key, &far, notices);
    (key, near, far)
}

#[test]
fn a_clock_that_is_set_after_the_start_is_that_of_the_next_handshake() {
    let (key, mut near, mut far) = pair(16);
    near.want();
    assert_eq!(far.hear(near.now()), Ok(()));
    // It begins again, and has no clock that goes on without power.
    let mut near = Near::new(&key, &far, 16);
    near.pass(60);
    near.wall.store(7, Relaxed);
    near.want();
    let refused = Err(Unheard::Peer(Refusal::Replayed));
    assert_eq!(far.hear(near.now()), refused, "it is of 1970");
    near.pass(6);
    near.control.turn();
    assert_eq!(far.hear(near.now()), refused);
    near.wall.store(WALL + 80, Relaxed);
    near.pass(6);
    near.control.turn();
    assert_eq!(far.hear(near.now()), Ok(()), "somebody has set it");
    near.wall.store(WALL - 1_000_000, Relaxed);
    near.pass(6);
    near.control.turn();
    assert_eq!(far.hear(near.now()), Ok(()), "and back: no stamp is before another one");
}

#[test]
fn what_is_told_beyond_what_a_turn_hears_is_of_the_next_one_which_is_not_waited_for() {
    let (_, mut near, _far) = pair(TURN + 5);
    let tell = |near: &Near| (0..).take_while(|_| near.shared.tell(Notice::Confirmed(TunnelId(99), Index(1)))).count();
    assert_eq!(tell(&near), TURN + 5);
    near.control.waker.drain();
    near.control.turn();
    assert!(near.goes_on());
    near.control.waker.drain();
    assert_eq!(tell(&near), TURN + 1, "so many were heard, and one to see whether there are more");
    near.control.turn();
    near.control.waker.drain();
    near.control.turn();
    assert!(!near.goes_on());
    assert_eq!(tell(&near), TURN + 5);
}

#[test]
fn a_peer_whose_way_takes_less_is_sent_shorter_packets_for_a_while() {
    let (_, mut near, _far) = pair(16);
    let tunnel = near.tunnel().unwrap();
    assert_eq!(tunnel.mtu(), 1420);
    assert!(near.shared.tell(Notice::Hint(tunnel.id, 1400)));
    near.control.turn();
    assert_eq!(tunnel.mtu(), 1340, "without what WireGuard, UDP and IPv4 take");
    near.pass(599);
    near.control.turn();
    assert_eq!(tunnel.mtu(), 1340);
    near.pass(2);
    near.control.turn();
    assert_eq!(tunnel.mtu(), 1420);
    // This host's own word, of whoever is at that address.
    let [elsewhere, there] = ["192.0.2.9", "127.0.0.1"].map(|to| to.parse().unwrap());
    assert!(near.shared.tell(Notice::Narrow { uplink: UPLINK, to: elsewhere, mtu: 1400 }));
    near.control.turn();
    assert_eq!(tunnel.mtu(), 1420);
    assert!(near.shared.tell(Notice::Narrow { uplink: UPLINK, to: there, mtu: 1400 }));
    near.control.turn();
    assert_eq!(tunnel.mtu(), 1340);
}

#[test]
fn who_is_planned_no_longer_is_joined_no_longer_and_what_workers_say_of_him_is_of_nobody() {
    let (_, mut near, mut far) = pair(16);
    near.want();
    assert_eq!(far.hear(near.now()), Ok(()));
    let tunnel = near.tunnel().unwrap();
    near.join(&read("[[uplink]]\nname = 'one'\nlisten = ['127.0.0.1:0']\n"));
    assert!(near.tunnel().is_none() && tunnel.endpoint().is_none() && tunnel.sealer().is_none());
    for notice in [
        Notice::Wanted(tunnel.id),
        Notice::Stuck(tunnel.id, Reason::HostUnreachable),
        Notice::Hint(tunnel.id, 1300),
        Notice::Moved(tunnel.id, "127.0.0.1:9".parse().unwrap(), None),
        Notice::Confirmed(tunnel.id, Index(7)),
    ] {
        assert!(near.shared.tell(notice));
    }
    near.control.turn();
    assert!(near.tunnel().is_none() && tunnel.endpoint().is_none());
    assert_eq!(tunnel.mtu(), 1420);
}

#[test]
fn a_message_of_nobody_is_counted_by_its_reason_and_one_of_a_peer_makes_keys() {
    let (_, mut near, mut far) = pair(16);
    let counted = |near: &Near, word: &str| {
        let place = crate::plane::shared::REASONS.iter().position(|reason| *reason == word).unwrap();
        near.shared.counters.handshakes[place].load(Relaxed)
    };
    let from = far.socket.local_addr().unwrap();
    let say = |near: &mut Near, datagram: &[u8]| {
        near.shared.tell_handshake(UPLINK, (from, "127.0.0.1".parse().unwrap()), datagram);
        near.control.turn();
    };
    say(&mut near, &[1; 148]);
    assert_eq!((counted(&near, "malformed"), counted(&near, "mac1")), (1, 0));
    say(&mut near, &[&[1, 0, 0, 0][..], &[7; 144]].concat());
    assert_eq!((counted(&near, "malformed"), counted(&near, "mac1")), (1, 1));
    assert!(near.tunnel().unwrap().sealer().is_none());
    near.want();
    assert_eq!(far.hear(near.now()), Ok(()));
    let Some(News::Send { datagram, .. }) =
        std::iter::from_fn(|| far.peers.poll_news()).find(|one| matches!(one, News::Send { .. }))
    else {
        panic!("it answers")
    };
    let before = near.shared.keys();
    say(&mut near, &datagram);
    assert!(near.tunnel().unwrap().sealer().is_some());
    assert_eq!(near.shared.keys(), before + 1, "workers look whether anything waits");
}

#[test]
fn what_a_site_of_another_release_says_is_counted_by_what_it_is() {
    let (_, mut near, _far) = pair(16);
    let (uplink, site) = ("[[uplink]]\nname = 'one'\nlisten = ['127.0.0.1:0']\n", "[[site]]\nname = 'far'\n");
    let key = PublicKey([7; 32]);
    near.join(&read(&format!(
        "{uplink}{site}[[site.uplink]]\nname = 'one'\npublic_key = '{key}'\nendpoint = '127.0.0.1:9'\n"
    )));
    let id = near.tunnel().unwrap().id;
    let hello = Hello {
        sequence: 1,
        count: 1,
        stamp: 1,
        echo: None,
        claim: Claim::Uses,
        hurry: false,
        late: 0,
        sent: 1,
        expected: 0,
        got: 0,
        pace: 50,
        want: 50,
    };
    let mut say = |octets: &[u8]| {
        assert!(near.shared.tell(Notice::Control(id, near.now(), octets.into())));
        near.control.turn();
        let counters = &near.shared.counters;
        (counters.other_version.load(Relaxed), counters.unreadable.load(Relaxed))
    };
    let (octets, mut older) = (hello.encode(), hello.encode());
    older[2] &= 0xf;
    assert_eq!(say(&older), (1, 0), "as those before versions");
    let newer = [&octets[..2], &[2 << 4], &octets[3..]].concat();
    assert_eq!(say(&newer), (2, 0));
    assert_eq!(say(&[0, 99, 1, 2]), (2, 1), "what there may be one day");
    assert_eq!(say(&octets), (2, 1));
}
