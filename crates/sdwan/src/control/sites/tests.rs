use outwork_engine::{Rng, Time};
use outwork_wireguard::gate::Limits;
use outwork_wireguard::index::Table as Sessions;
use outwork_wireguard::{Entropy, PrivateKey};

use super::*;
use crate::engine::hello::Claim;
use crate::engine::site::Site;
use crate::engine::world::{network, site};

/// Predictable, so only for tests.
struct Seeded(Rng);

impl Entropy for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        self.0.fill(buffer);
        true
    }
}

const NOW: Time = Time::from_secs(100);
const MTU: u16 = 1420;
/// The hub, whose number is beyond all others'.
const HUB: SiteId = crate::engine::world::HUBS[0];

fn key(uplink: UplinkId) -> PrivateKey {
    PrivateKey::generate(&mut Seeded(Rng::new(u64::from(uplink.0) + 1))).unwrap()
}

/// What a site is told of all others.
fn plan(own: &Site, others: &[Site]) -> Plan {
    let remote = |uplink: &crate::engine::site::Uplink| {
        let endpoint = SocketAddr::from(([192, 0, 2, 1], uplink.id.0 as u16));
        let endpoint = Some(endpoint).filter(|_| uplink.reach == Reach::Public);
        (uplink.id, Remote { key: *key(uplink.id).public(), first: *key(uplink.id).public(), next: None, endpoint })
    };
    Plan {
        own: own.uplinks.iter().map(|uplink| uplink.id).zip((0..).map(UplinkIndex)).collect(),
        remote: others.iter().flat_map(|site| &site.uplinks).map(remote).collect(),
        names: others.iter().map(|site| (site.id, format!("site{}", site.id.0))).collect(),
        uplinks: BTreeMap::new(),
        rules: Rules { classes: vec!["voice".into(), "bulk".into()], ..Rules::default() },
        network: network(own.clone(), others.to_vec()),
    }
}

/// One machine.
struct Machine {
    id: SiteId,
    sites: Sites,
    _peers: Peers,
    hellos: u64,
}

impl Machine {
    fn new(own: &Site, others: &[Site]) -> Machine {
        let (plan, mut next) = (plan(own, others), 0);
        let table = Arc::new(Sessions::new(16));
        let entropy = Box::new(Seeded(Rng::new(7)));
        let mut peers = Peers::new(table, (NOW, Duration::from_secs(1_700_000_000)), entropy, 1);
        for (id, index) in &plan.own {
            assert!(peers.be(NOW, *index, &key(*id).into(), Limits::default()));
        }
        let mut sites = Sites::new(plan, 1, NOW).unwrap();
        sites.join(&mut peers, NOW, MTU, &mut next);
        Machine { id: own.id, sites, _peers: peers, hellos: 0 }
    }

    /// Does what is due, and says what is to be heard at the other end of which path.
    fn turn(&mut self, now: Time) -> Vec<(PathKey, [u8; hello::LENGTH])> {
        if self.sites.poll_timeout().is_none_or(|at| at > now) {
            return vec![];
        }
        self.sites.handle_timeout(now);
        let mut said = vec![];
        for todo in self.sites.outputs(now) {
            if let Todo::Hello(tunnel, octets) = todo {
                self.hellos += 1;
                said.push((self.sites.paths[&self.sites.of_tunnel[&tunnel.id]].key, octets));
            }
        }
        said
    }

    fn path(&self, key: &PathKey) -> Option<(PathId, &Path)> {
        self.sites.paths.iter().find(|(_, path)| path.key == *key).map(|(id, path)| (*id, path))
    }
}

/// Has machines hear each other for so long, but for what goes by one of `dead`.
fn talk(now: &mut Time, time: Duration, machines: &mut [Machine], dead: &[UplinkId]) {
    let until = *now + time;
    while *now < until {
        *now += Duration::from_millis(1);
        for from in 0..machines.len() {
            let id = machines[from].id;
            for (key, octets) in machines[from].turn(*now) {
                let back = PathKey { site: id, own: key.remote, remote: key.own, via: key.via };
                let to = machines.iter_mut().find(|to| to.id == key.site);
                let Some(to) = to.filter(|_| ![key.own, key.remote].iter().any(|end| dead.contains(end))) else {
                    continue;
                };
                let tunnel = to.path(&back).map(|(_, path)| path.tunnel.id);
                tunnel.into_iter().for_each(|tunnel| to.sites.control(*now, tunnel, &octets).unwrap());
            }
        }
    }
}

/// A hub with uplinks that anybody can dial, and so many sites that nobody can.
fn hub_and_spokes(spokes: u32, uplinks: u32) -> (Site, Vec<Site>) {
    let hub = site(HUB, uplinks, Reach::Public);
    (hub, (1..=spokes).map(|id| site(SiteId(id), uplinks, Reach::Closed)).collect())
}

fn hello(sequence: u32, now: Time) -> Hello {
    let stamp = now.since(Time::ZERO).as_nanos() as u64;
    Hello {
        sequence,
        count: 1,
        stamp,
        echo: None,
        claim: Claim::Hears,
        hurry: false,
        late: 0,
        sent: sequence,
        expected: 0,
        got: 0,
        pace: 1000,
        want: 1000,
    }
}

#[test]
fn a_hello_costs_a_hub_the_counters_of_its_own_path_however_many_sites_there_are() {
    for spokes in [3, 300] {
        let (hub, others) = hub_and_spokes(spokes, 2);
        let mut hub = Machine::new(&hub, &others);
        assert_eq!(hub.sites.paths.len(), 4 * spokes as usize);
        let tunnels: Vec<TunnelId> = hub.sites.paths.values().map(|path| path.tunnel.id).collect();
        for (place, tunnel) in tunnels.iter().enumerate() {
            let before = hub.sites.reads();
            hub.sites.control(NOW, *tunnel, &hello(1 + place as u32, NOW).encode()).unwrap();
            hub.sites.outputs(NOW);
            assert_eq!(hub.sites.reads(), before + 1, "of {spokes} sites");
        }
    }
}

#[test]
fn a_hello_of_another_version_is_none_and_nothing_of_its_path_is_looked_at() {
    let (hub, others) = hub_and_spokes(1, 1);
    let mut hub = Machine::new(&hub, &others);
    let tunnel = hub.sites.paths.values().next().unwrap().tunnel.id;
    let (octets, before) = (hello(1, NOW).encode(), hub.sites.reads());
    for version in (0..16).filter(|version| *version != VERSION) {
        let mut other = octets;
        other[2] = version << 4 | octets[2] & 0xf;
        assert_eq!(hub.sites.control(NOW, tunnel, &other), Err(Foreign::Version(version)));
    }
    assert_eq!(hub.sites.control(NOW, tunnel, &octets[..20]), Err(Foreign::Unknown), "cut short");
    assert_eq!(hub.sites.reads(), before);
    assert_eq!((hub.sites.control(NOW, tunnel, &octets), hub.sites.reads()), (Ok(()), before + 1));
}

#[test]
fn a_turn_of_a_hub_reads_the_counters_of_what_is_due_and_of_a_few_more_however_many_sites_there_are() {
    let (hub, others) = hub_and_spokes(1000, 1);
    let mut hub = Machine::new(&hub, &others);
    let (mut now, mut turns) = (NOW, 0);
    let (begun, until) = (hub.sites.reads(), NOW + Duration::from_secs(2));
    while now < until {
        now += Duration::from_millis(1);
        let before = hub.sites.reads();
        let said = hub.turn(now).len() as u64;
        turns += 1;
        let read = hub.sites.reads() - before;
        // Of a site something is due about as often as of its path.
        assert!(read <= FED as u64 + 8 * (said + 16), "{read} for {said} hellos");
    }
    let read = hub.sites.reads() - begun;
    assert!(read <= turns / 10 * FED as u64 + 8 * hub.hellos, "{read} in {turns} turns with {} hellos", hub.hellos);
}

#[test]
fn what_a_tunnel_carries_is_told_of_each_path_in_its_turn_and_of_one_that_is_due_at_once() {
    let (hub, others) = hub_and_spokes(2 * FED as u32, 1);
    let mut hub = Machine::new(&hub, &others);
    for path in hub.sites.paths.values() {
        path.tunnel.tallies.sent.store(7, Relaxed);
    }
    let fed = |hub: &Machine| hub.sites.paths.values().filter(|path| path.fed.0 == 7).count();
    for turn in 1..=2 {
        hub.sites.feed_some(NOW);
        assert_eq!(fed(&hub), turn * FED);
    }
    let last = hub.sites.paths.keys().next_back().copied().unwrap();
    hub.sites.paths[&last].tunnel.tallies.received.store(9, Relaxed);
    let tunnel = hub.sites.paths[&last].tunnel.id;
    hub.sites.control(NOW, tunnel, &hello(1, NOW).encode()).unwrap();
    assert_eq!(hub.sites.paths[&last].fed, (7, 9));
}

#[test]
fn a_hub_passes_on_by_the_tunnel_that_works_and_a_site_takes_the_one_to_the_hub_that_does() {
    let (hub, others) = hub_and_spokes(2, 2);
    let mut machines = vec![Machine::new(&hub, &others)];
    for (place, own) in others.iter().enumerate() {
        machines.push(Machine::new(own, &[hub.clone(), others[1 - place].clone()]));
    }
    let mut now = NOW;
    talk(&mut now, Duration::from_secs(5), &mut machines, &[]);
    // The first uplink of the first site, as the hub reaches it, and what leaves by that for the other site.
    let (own, far) = (others[0].uplinks[0].id, others[1].uplinks[0].id);
    let place = Place::of(key(own).public());
    let reaches = |machines: &[Machine]| {
        let tunnel = machines[0].sites.relays().others[&place].tunnel().id;
        machines[0].sites.paths[&machines[0].sites.of_tunnel[&tunnel]].key.own
    };
    let carries = |machines: &[Machine]| {
        let by_hub = PathKey { site: others[1].id, own, remote: far, via: Some(HUB) };
        let (_, path) = machines[1].path(&by_hub).unwrap();
        let carrier = path.tunnel.relay.as_ref().unwrap().carrier().as_ref().unwrap().id;
        machines[1].sites.paths[&machines[1].sites.of_tunnel[&carrier]].key.remote
    };
    let (out, back) = (reaches(&machines), carries(&machines));
    // Whatever goes by that uplink of the hub is lost.
    talk(&mut now, Duration::from_secs(20), &mut machines, &[out]);
    assert_ne!(reaches(&machines), out);
    assert!(carries(&machines) != out, "{back:?}");
    let is_up = |machines: &[Machine], own| {
        let (id, _) =
            machines[0].path(&PathKey { site: others[0].id, own, remote: others[0].uplinks[0].id, via: None })?;
        Some(machines[0].sites.engine.is_up(id))
    };
    assert_eq!((is_up(&machines, out), is_up(&machines, reaches(&machines))), (Some(false), Some(true)));
}

#[test]
fn a_hub_says_where_it_sees_those_that_are_up_and_paths_are_made_anew_no_more_often_than_it_is_asked() {
    let (hub, others) = hub_and_spokes(2, 1);
    let mut machines = vec![Machine::new(&hub, &others), Machine::new(&others[0], &[hub.clone(), others[1].clone()])];
    let mut now = NOW;
    talk(&mut now, Duration::from_secs(5), &mut machines, &[]);
    let at = |port: u16| SocketAddr::from(([203, 0, 113, 7], port));
    let places: Vec<Place> = others.iter().map(|site| Place::of(key(site.uplinks[0].id).public())).collect();
    let (asks, _) = machines[0].sites.paths.iter().find(|(_, path)| path.key.site == SiteId(1)).unwrap();
    let asks = *asks;
    machines[0].sites.paths.values().for_each(|path| path.tunnel.set_endpoint(Some(at(1))));
    machines[0].sites.heard(now, asks, Word::Where(vec![places[1], places[0]]));
    let said = machines[0].sites.outputs(now);
    let word = |todo: &Todo| match todo {
        Todo::Say(_, octets) => Word::decode(octets),
        _ => None,
    };
    // The other one is not up.
    let words: Vec<_> = said.iter().filter_map(word).collect();
    assert_eq!(words, [Word::There(vec![(places[0], at(1)), (places[0], at(1))])]);
    let spoke = &mut machines[1].sites;
    let to_hub = *spoke.paths.iter().find(|(_, path)| path.key.via.is_none()).unwrap().0;
    let joins = |spoke: &mut Sites, now| {
        let said = spoke.outputs(now);
        said.iter().filter(|todo| matches!(todo, Todo::Join)).count()
    };
    let told = |port| Word::There(vec![(places[0], at(1)), (places[1], at(port))]);
    let mut made = 0;
    for port in 1..=50 {
        spoke.heard(now, to_hub, told(port));
        made += joins(spoke, now);
    }
    assert_eq!(made, 1, "a hub that says something else each time does not keep the site busy");
    let due = spoke.poll_timeout().unwrap();
    assert!(due <= now + spoke.pause());
    let later = now + spoke.pause();
    spoke.handle_timeout(later);
    assert_eq!((joins(spoke, later), spoke.seen[&places[1]]), (1, at(50)), "the last word is not forgotten");
    spoke.handle_timeout(later + spoke.pause());
    assert_eq!(joins(spoke, later + spoke.pause()), 0);
}

#[test]
fn however_many_paths_change_at_once_there_is_one_table_after_them_and_it_is_not_forgotten() {
    let (hub, others) = hub_and_spokes(200, 1);
    let mut hub = Machine::new(&hub, &others);
    let now = NOW + Duration::from_secs(1);
    let views = |hub: &mut Machine, now| {
        let said = hub.sites.outputs(now);
        said.iter().filter(|todo| matches!(todo, Todo::View)).count()
    };
    views(&mut hub, now);
    let mut made = 0;
    let network = hub.sites.plan.network.clone();
    for _ in 0..10 {
        // Each decides all sites anew.
        hub.sites.engine.configure(&network, now).unwrap();
        made += views(&mut hub, now);
    }
    assert!(made <= 1, "{made} tables");
    let due = hub.sites.poll_timeout().unwrap();
    assert!(due <= now + TABLES && views(&mut hub, now + TABLES) == 1);
    assert!(!hub.sites.engine.owes_table());
}
