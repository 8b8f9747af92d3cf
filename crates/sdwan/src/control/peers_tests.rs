use super::*;

use outwork_wireguard::PrivateKey;
use outwork_wireguard::index::Indices as _;
use outwork_wireguard::message::HEADER;
use outwork_wireguard::session::Opened;

use crate::plane::tunnel::Owner;

/// Predictable, so only for tests.
struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        self.0.fill(buffer);
        true
    }
}

const MTU: u16 = 1420;
const NOW: Time = Time::from_secs(100);

/// One of several machines, each of which has one uplink or more.
struct Machine {
    peers: Peers,
    table: Arc<Table<Receiving>>,
    keys: Vec<PrivateKey>,
    address: [u8; 4],
    news: Vec<News>,
}

fn address(machine: [u8; 4], uplink: u16) -> SocketAddr {
    SocketAddr::from((machine, 51820 + uplink))
}

impl Machine {
    fn new(seed: u64, uplinks: u16) -> Machine {
        let table = Arc::new(Table::new(64));
        let mut entropy = Seeded(Rng::new(seed));
        let keys: Vec<_> = (0..uplinks).map(|_| PrivateKey::generate(&mut entropy).unwrap()).collect();
        let clock = (NOW, Duration::from_secs(1_700_000_000));
        let mut peers = Peers::new(Arc::clone(&table), clock, Box::new(entropy), seed);
        for (uplink, key) in keys.iter().enumerate() {
            assert!(peers.be(NOW, UplinkIndex(uplink as u16), &key.clone().into(), Limits::default()));
        }
        Machine { peers, table, keys, address: [192, 0, 2, seed as u8], news: vec![] }
    }

    /// Adds a tunnel to an uplink of another machine.
    fn join(&mut self, id: u32, uplink: u16, to: &Machine, theirs: u16, dials: bool) -> Arc<Tunnel> {
        let tunnel = Arc::new(Tunnel::new(TunnelId(id), "somebody", UplinkIndex(uplink), Owner(id), MTU));
        let settings = Settings {
            remote: *to.keys[usize::from(theirs)].public(),
            psk: PresharedKey::default(),
            endpoint: dials.then(|| address(to.address, theirs)),
            keepalive: None,
        };
        assert!(self.peers.add(NOW, Arc::clone(&tunnel), settings));
        tunnel
    }

    /// Opens a datagram as a worker does.
    fn open(&self, now: Time, datagram: &mut [u8]) -> Option<(Opened, Arc<Receiving>)> {
        let index = Index(u32::from_le_bytes(datagram[4..8].try_into().unwrap()));
        let receiving = self.table.find(index)?;
        Some((receiving.opener.open(now, datagram).ok()?, receiving))
    }
}

/// Seals a packet as a worker does.
fn seal(now: Time, tunnel: &Tunnel, packet: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = vec![0; HEADER + packet.len() + 32];
    buffer[HEADER..HEADER + packet.len()].copy_from_slice(packet);
    let sealed = tunnel.sealer().as_ref()?.seal(now, &mut buffer, HEADER..HEADER + packet.len(), usize::from(MTU));
    Some(buffer[sealed.ok()?.datagram].to_vec())
}

/// Carries what machines send each other until they are silent. What is data is opened, and what a worker would say of it is said.
fn carry(now: Time, machines: &mut [Machine]) {
    for _ in 0..20 {
        let mut under_way = vec![];
        for machine in machines.iter_mut() {
            while let Some(news) = machine.peers.poll_news() {
                match news {
                    News::Send { uplink, to, datagram, .. } => {
                        under_way.push((address(machine.address, uplink.0), to, datagram))
                    }
                    other => machine.news.push(other),
                }
            }
        }
        if under_way.is_empty() {
            return;
        }
        for (from, to, mut datagram) in under_way {
            let Some(machine) =
                machines.iter_mut().find(|machine| to.ip() == SocketAddr::from((machine.address, 0)).ip())
            else {
                continue;
            };
            let uplink = UplinkIndex(to.port() - 51820);
            if datagram[0] != 4 {
                machine.peers.datagram(now, uplink, (from, None), &datagram).unwrap();
            } else if let Some((opened, receiving)) = machine.open(now, &mut datagram) {
                let id = receiving.tunnel.id;
                if opened.confirms {
                    machine.peers.confirmed(now, id, receiving.opener.local());
                }
                if receiving.tunnel.endpoint() != Some(from) {
                    machine.peers.moved(now, id, from);
                }
            }
        }
    }
    panic!("they do not come to an end");
}

/// A packet of version 4 that says how long it is.
fn packet() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40];
    packet.resize(40, 7);
    packet
}

#[test]
fn who_is_wanted_is_joined_by_each_pair_of_uplinks_and_each_has_keys_of_its_own() {
    let (a, b) = (Machine::new(1, 2), Machine::new(2, 2));
    let mut machines = [a, b];
    let mut tunnels = vec![];
    for (id, (ours, theirs)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
        let [a, b] = &mut machines;
        tunnels.push((a.join(id as u32, ours, b, theirs, true), b.join(id as u32, theirs, a, ours, false)));
        a.peers.wanted(NOW, TunnelId(id as u32)).unwrap();
    }
    carry(NOW, &mut machines);
    for (index, (ours, theirs)) in tunnels.iter().enumerate() {
        for (tunnel, to) in [(ours, 1), (theirs, 0)] {
            let mut datagram = seal(NOW, tunnel, &packet()).expect("a session");
            let (opened, receiving) = machines[to].open(NOW, &mut datagram).expect("it is for whom it was sealed");
            assert_eq!((receiving.tunnel.id.0 as usize, &datagram[opened.packet]), (index, &packet()[..]));
        }
        assert_eq!(
            theirs.endpoint(),
            Some(address(machines[0].address, ours.uplink.0)),
            "who dialled is known by then"
        );
    }
}

#[test]
fn nobody_is_answered_who_is_not_configured_or_comes_by_the_wrong_uplink() {
    let (mut a, mut b) = (Machine::new(1, 1), Machine::new(2, 2));
    let stranger = a.join(0, 0, &b, 1, true);
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    let Some(News::Send { datagram, .. }) = a.peers.poll_news() else { panic!("it dials") };
    let from = address(a.address, 0);
    assert_eq!(b.peers.datagram(NOW, UplinkIndex(1), (from, None), &datagram), Err(Unheard::Stranger));
    b.join(0, 1, &a, 0, false);
    assert_eq!(
        b.peers.datagram(NOW, UplinkIndex(0), (from, None), &datagram),
        Err(Unheard::Gate(Reason::Mac1)),
        "another key"
    );
    assert_eq!(
        b.peers.datagram(NOW, UplinkIndex(2), (from, None), &datagram),
        Err(Unheard::NoHandshake),
        "there is none"
    );
    assert_eq!(b.peers.poll_news(), None);
    assert!(b.peers.datagram(NOW, UplinkIndex(1), (from, None), &datagram).is_ok());
    assert!(stranger.sealer().is_none() && b.table.used() == 1);
}

#[test]
fn a_tunnel_that_is_removed_leaves_nothing_behind() {
    let mut machines = [Machine::new(1, 1), Machine::new(2, 1)];
    let [a, b] = &mut machines;
    let (ours, _theirs) = (a.join(0, 0, b, 0, true), b.join(0, 0, a, 0, false));
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    carry(NOW, &mut machines);
    let mut datagram = seal(NOW, &ours, &packet()).unwrap();
    machines[1].peers.remove(TunnelId(0));
    assert!(machines[1].open(NOW, &mut datagram).is_none());
    assert_eq!((machines[1].table.used(), machines[1].peers.len()), (0, 0));
    assert!(machines[1].peers.expected.is_empty());
    machines[0].peers.leave(UplinkIndex(0));
    assert!(ours.sealer().is_none() && machines[0].table.used() == 0, "without its key a tunnel ends");
    assert!(machines[0].news.is_empty() || machines[0].peers.is_empty());
}

#[test]
fn a_handshake_is_tried_again_and_given_up_and_begun_anew_when_somebody_wants_it() {
    let (mut a, b) = (Machine::new(1, 1), Machine::new(2, 1));
    let tunnel = a.join(0, 0, &b, 0, true);
    let wants = || tunnel.first(Once::Wanted);
    assert!(wants() && !wants(), "one worker says so");
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    assert!(wants(), "it may be said again");
    let (mut sent, mut gave_up) = (0, None);
    while let Some(at) = a.peers.poll_timeout().filter(|at| *at < NOW + Duration::from_secs(300)) {
        a.peers.handle_timeout(at);
        while let Some(news) = a.peers.poll_news() {
            match news {
                News::Send { .. } => sent += 1,
                News::GaveUp(id) => gave_up = Some((id, at)),
                other => panic!("{other:?}"),
            }
        }
    }
    let (id, at) = gave_up.expect("nobody is there");
    assert!((16..=19).contains(&sent), "{sent} in ninety seconds");
    assert!(id == TunnelId(0) && at >= NOW + Duration::from_secs(90));
    a.peers.wanted(at + Duration::from_secs(10), TunnelId(0)).unwrap();
    assert!(matches!(a.peers.poll_news(), Some(News::Send { .. })));
}

#[test]
fn what_is_said_by_a_hub_is_not_heard_straight_nor_what_is_said_straight_by_a_hub() {
    let (mut a, mut b) = (Machine::new(1, 1), Machine::new(2, 1));
    let hub = Owner(7);
    let (straight, _) = (a.join(0, 0, &b, 0, true), b.join(0, 0, &a, 0, false));
    let by_hub = |own: &mut Machine, other: &Machine| {
        let [from, to] = [own, other].map(|machine| relay::Place::of(machine.keys[0].public()));
        let relay = relay::Relay::new(from, to, hub);
        let endpoint = Some(relay.address);
        let tunnel = Tunnel::new(TunnelId(1), "by a hub", UplinkIndex(0), Owner(1), MTU).by(Some(relay));
        let settings =
            Settings { remote: *other.keys[0].public(), psk: PresharedKey::default(), endpoint, keepalive: None };
        assert!(own.peers.add(NOW, Arc::new(tunnel), settings));
        relay::address(from, hub)
    };
    let from = by_hub(&mut a, &b);
    by_hub(&mut b, &a);
    let says = |a: &mut Machine, now, id| {
        a.peers.wanted(now, TunnelId(id)).unwrap();
        std::iter::from_fn(|| a.peers.poll_news()).find_map(|news| match news {
            News::Send { datagram, .. } => Some(datagram),
            _ => None,
        })
    };
    let (own, hubs) = (address(a.address, 0), SocketAddr::from(([198, 51, 100, 7], 51820)));
    let forged = Err(Unheard::Gate(Reason::Noise(outwork_wireguard::noise::NoiseError::Forged)));
    let relayed = says(&mut a, NOW, 1).unwrap();
    // The hub has it, and sends it on as its own.
    assert_eq!(b.peers.datagram(NOW, UplinkIndex(0), (hubs, None), &relayed), forged);
    assert_eq!((b.peers.poll_news(), b.peers.tunnel(TunnelId(0)).unwrap().endpoint()), (None, None));
    // Nor does it use up the stamps of the straight way.
    let plain = says(&mut a, NOW, 0).unwrap();
    assert_eq!(b.peers.datagram(NOW, UplinkIndex(0), (from, None), &plain), forged);
    assert_eq!(b.peers.datagram(NOW, UplinkIndex(0), (own, None), &plain), Ok(()));
    assert_eq!(b.peers.datagram(NOW, UplinkIndex(0), (from, None), &relayed), Ok(()));
    drop(straight);
}

#[test]
fn an_initiation_that_somebody_else_sends_moves_nobody_and_what_comes_in_the_session_does() {
    let (mut a, mut b) = (Machine::new(1, 1), Machine::new(2, 1));
    let (ours, theirs) = (a.join(0, 0, &b, 0, true), b.join(0, 0, &a, 0, true));
    let old = theirs.endpoint();
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    let Some(News::Send { datagram, .. }) = a.peers.poll_news() else { panic!("it dials") };
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 9));
    b.peers.datagram(NOW, UplinkIndex(0), (elsewhere, None), &datagram).unwrap();
    let Some(News::Send { to, datagram, .. }) = b.peers.poll_news() else { panic!("it answers") };
    assert_eq!((to, theirs.endpoint()), (elsewhere, old), "the answer goes there, and nothing else does");
    a.peers.datagram(NOW, UplinkIndex(0), (address(b.address, 0), None), &datagram).unwrap();
    let mut datagram = seal(NOW, &ours, &packet()).unwrap();
    let (opened, receiving) = b.open(NOW, &mut datagram).unwrap();
    assert!(opened.confirms);
    b.peers.confirmed(NOW, receiving.tunnel.id, receiving.opener.local());
    b.peers.moved(NOW, receiving.tunnel.id, elsewhere);
    assert_eq!(theirs.endpoint(), Some(elsewhere), "who has the keys is there");
}

#[test]
fn whoever_writes_too_much_is_sent_a_cookie_and_each_reason_has_its_word() {
    let (mut a, mut b) = (Machine::new(1, 1), Machine::new(2, 1));
    let _ours = a.join(0, 0, &b, 0, true);
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    let Some(News::Send { datagram, .. }) = a.peers.poll_news() else { panic!("it dials") };
    let from = address(a.address, 0);
    let said: Vec<_> = (0..501)
        .map(|_| b.peers.datagram(NOW, UplinkIndex(0), (from, None), &datagram).unwrap_err().reason())
        .collect();
    assert!(said[..500].iter().all(|word| *word == "stranger") && said[500] == "cookie", "{:?}", said.last());
    let Some(News::Send { datagram: cookie, .. }) = b.peers.poll_news() else { panic!("it asks") };
    assert_eq!((cookie.len(), b.peers.is_busy(NOW)), (64, true));
    let all = [
        Unheard::NoHandshake,
        Unheard::Gate(Reason::Mac1),
        Unheard::Busy,
        Unheard::Gate(Reason::Rate),
        Unheard::Peer(Refusal::Noise(outwork_wireguard::noise::NoiseError::Forged)),
        Unheard::Stranger,
        Unheard::Peer(Refusal::Replayed),
        Unheard::Peer(Refusal::TooFast),
        Unheard::Peer(Refusal::NotAwaited),
        Unheard::Peer(Refusal::NoIndex),
    ];
    assert_eq!(all.map(|why| why.reason()), REASONS);
    assert!(all.iter().enumerate().all(|(place, why)| why.place() == place));
}

#[test]
fn answers_leave_from_the_address_that_was_asked_and_so_does_what_follows() {
    let (mut a, mut b) = (Machine::new(1, 1), Machine::new(2, 1));
    a.join(0, 0, &b, 0, true);
    let theirs = b.join(0, 0, &a, 0, false);
    let [asked, other]: [IpAddr; 2] = ["198.51.100.1", "198.51.100.2"].map(|own| own.parse().unwrap());
    let from = address(a.address, 0);
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    let Some(News::Send { datagram, from: None, .. }) = a.peers.poll_news() else { panic!("the kernel chooses") };
    b.peers.datagram(NOW, UplinkIndex(0), (from, Some(asked)), &datagram).unwrap();
    let answers: Vec<_> = std::iter::from_fn(|| b.peers.poll_news())
        .filter_map(|news| match news {
            News::Send { to, from, .. } => Some((to, from)),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [(from, Some(asked))]);
    let source = || theirs.way(0, 0).and_then(|way| way.from);
    assert!(b.peers.datagram(NOW, UplinkIndex(0), (from, Some(other)), &datagram).is_err(), "it is replayed");
    assert_eq!(source(), None, "where they are is shown by what comes in the session");
    b.peers.reached(NOW, TunnelId(0), from, Some(asked));
    assert_eq!(source(), Some(asked));
    b.peers.reached(NOW, TunnelId(0), from, Some(other));
    assert_eq!(source(), Some(other));
    b.peers.reached(NOW, TunnelId(0), address(a.address, 7), None);
    assert_eq!(
        (source(), theirs.endpoint()),
        (None, Some(address(a.address, 7))),
        "somewhere else, the kernel chooses"
    );
}

#[test]
fn a_tunnel_goes_on_while_one_key_takes_over_from_another_and_leaves_no_key_behind() {
    let mut machines = [Machine::new(1, 1), Machine::new(2, 1)];
    let [a, b] = &mut machines;
    let (ours, _theirs) = (a.join(0, 0, b, 0, true), b.join(0, 0, a, 0, false));
    a.peers.wanted(NOW, TunnelId(0)).unwrap();
    carry(NOW, &mut machines);
    let old = machines[0].keys[0].clone();
    let fresh = PrivateKey::new([7; 32]).unwrap();
    let both = Identity::from(old.clone()).with_next(fresh.clone(), false);
    assert!(machines[0].peers.be(NOW, UplinkIndex(0), &both, Limits::default()));
    machines[1].peers.know(NOW, TunnelId(0), *old.public(), Some(*fresh.public()));
    assert!(!machines[0].peers.knows(TunnelId(0), fresh.public()));
    let mut now = NOW;
    while let Some(at) = machines[1].peers.poll_timeout().filter(|at| *at < NOW + Duration::from_secs(30)) {
        now = now.max(at);
        machines.iter_mut().for_each(|machine| machine.peers.handle_timeout(now));
        carry(now, &mut machines);
    }
    assert!(machines[0].peers.knows(TunnelId(0), fresh.public()), "who heard of it has tried it");
    assert!(machines[0].peers.be(now, UplinkIndex(0), &fresh.clone().into(), Limits::default()));
    let (own, name) = machines[0].peers.own().next().unwrap();
    assert_eq!((own, name), (UplinkIndex(0), old.public()), "hubs know it by the first");
    let mut datagram = seal(now, &ours, &packet()).expect("the session goes on");
    assert!(machines[1].open(now, &mut datagram).is_some());
    machines[1].peers.know(now, TunnelId(0), *fresh.public(), None);
    assert!(!machines[1].peers.is(TunnelId(0), old.public()) && machines[1].peers.by_key.len() == 1);
    assert!(!machines.iter().any(|machine| machine.news.iter().any(|news| matches!(news, News::Lost(_)))));
    machines[1].peers.remove(TunnelId(0));
    assert!(machines[1].peers.by_key.is_empty());
}

#[test]
fn whoever_began_with_a_wrong_clock_is_believed_again_once_it_is_set() {
    let mut machines = [Machine::new(1, 1), Machine::new(2, 1)];
    let [a, b] = &mut machines;
    a.join(1, 0, b, 0, true);
    b.join(1, 0, a, 0, false);
    a.peers.wanted(NOW, TunnelId(1)).unwrap();
    carry(NOW, &mut machines);
    // It begins again, and knows no time.
    let mut now = NOW + Duration::from_secs(60);
    let [a, b] = &mut machines;
    *a = Machine::new(1, 1);
    a.join(1, 0, b, 0, true);
    let mut say = |a: &mut Machine, now, unix| {
        a.peers.set_clock(now, Duration::from_secs(unix));
        a.peers.handle_timeout(now);
        // There is nothing else to be sent yet.
        let Some(News::Send { datagram, .. }) = a.peers.poll_news() else { panic!("an initiation is due") };
        b.peers.datagram(now, UplinkIndex(0), (address(a.address, 0), None), &datagram)
    };
    a.peers.set_clock(now, Duration::from_secs(7));
    a.peers.wanted(now, TunnelId(1)).unwrap();
    let refused = Err(Unheard::Peer(Refusal::Replayed));
    assert_eq!(say(a, now, 7), refused);
    now += Duration::from_secs(6);
    assert_eq!(say(a, now, 13), refused);
    now += Duration::from_secs(6);
    assert_eq!(say(a, now, 1_700_000_072), Ok(()), "somebody has set it");
    // Another time, to before that.
    now += Duration::from_secs(6);
    assert_eq!(say(a, now, 1_600_000_000), Ok(()), "no stamp is before another one");
}

#[test]
fn a_hub_of_two_thousand_sites_by_sixteen_paths_each_has_room_for_all_their_sessions() {
    let mut hub = Machine::new(1, 4);
    hub.table = Arc::new(Table::new(0));
    hub.peers.table = Arc::clone(&hub.table);
    let paths = 2000 * 16;
    for id in 0..paths {
        let tunnel = Tunnel::new(TunnelId(id), "far", UplinkIndex((id % 4) as u16), Owner(id / 16), MTU);
        let mut remote = [7; 32];
        remote[..4].copy_from_slice(&id.to_le_bytes());
        let psk = PresharedKey::default();
        let settings = Settings { remote: PublicKey(remote), psk, endpoint: None, keepalive: None };
        assert!(hub.peers.add(NOW, Arc::new(tunnel), settings), "{id}");
    }
    // Each with one that takes over from another, and handshakes under way of both sides.
    let mut entropy = Seeded(Rng::new(1));
    let sessions = paths * index::EACH;
    assert!((0..sessions).all(|_| hub.table.reserve(&mut entropy).is_some()));
    assert!(hub.table.reserve(&mut entropy).is_none() && sessions < index::MOST);
}
