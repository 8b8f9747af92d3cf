//! Two sites in namespaces of their own, and two cables between them, of which datagrams are lost as a test says.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;

use outwork_config::{Sources, load};
use outwork_net::testing::{self, Lab, Namespace};
use outwork_wireguard::PrivateKey;
use tempfile::TempDir;

use super::*;
use crate::engine::policy::Flow;

const LONG: Duration = Duration::from_secs(30);
const CABLES: [&str; 2] = ["one", "two"];
const PORT: u16 = 5060;
const COUNTERS: [&str; 4] = ["lost_first", "lost_second", "second", "handed"];

pub(super) struct Pair {
    pub(super) services: [Service; 2],
    pub(super) rooms: [Namespace; 2],
    /// What they were started with.
    pub(super) texts: [String; 2],
    /// The keys that they began with, and where they are kept.
    keys: [[PrivateKey; 2]; 2],
    /// The cable that datagrams take, and the one by which they go again, or what mends them.
    taken: [&'static str; 2],
    _dirs: [TempDir; 2],
    _lab: Lab,
}

/// The address of a site at a cable.
fn outer(site: usize, cable: usize) -> String {
    format!("192.0.{}.{}:51820", 2 + cable, site + 1)
}

/// The address of a site within the tunnels.
fn inner(site: usize) -> IpAddr {
    format!("10.{}.0.1", 100 + site).parse().unwrap()
}

fn configuration(site: usize, keys: &[[PrivateKey; 2]; 2], strategy: &str) -> String {
    let other = 1 - site;
    let mut text = format!(
        "subnets = ['10.{}.0.0/16']\n[tunnel]\naddresses = ['{}/16']\nworkers = 1\n[health]\ntrial = '100ms'\ninterval = '200ms'\n\
         [class.any]\n[[policy]]\nname = 'all'\nclass = 'any'\nmark = 'EF'\n{strategy}\n",
        100 + site,
        inner(site),
    );
    for (cable, name) in CABLES.iter().enumerate() {
        let at = outer(site, cable);
        text.push_str(&format!(
            "[[uplink]]\nname = '{name}'\ninterface = '{name}'\nlisten = ['{at}']\nendpoint = '{at}'\n",
        ));
    }
    text.push_str(&format!("[[site]]\nname = 'far'\nsubnets = ['10.{}.0.0/16']\n", 100 + other));
    for (cable, name) in CABLES.iter().enumerate() {
        let (at, key) = (outer(other, cable), keys[other][cable].public());
        text.push_str(&format!("[[site.uplink]]\nname = '{name}'\npublic_key = '{key}'\nendpoint = '{at}'\n"));
    }
    text
}

pub(super) fn read(text: &str) -> Sdwan {
    let sources = Sources { file: Some(("outwork.toml".into(), text.to_owned())), ..Sources::default() };
    load::<Sdwan>(sources).map_err(|faults| faults.render(false)).unwrap().value
}

pub(super) fn wait_for(what: &str, told: impl Fn() -> String, is_so: impl Fn() -> bool) {
    testing::wait_for((LONG, Duration::from_millis(10)), what, told, || is_so().then_some(()));
}

impl Pair {
    /// Both, started, with all datagrams by a strategy.
    pub(super) fn new(strategy: &str) -> Pair {
        Pair::with(strategy, true)
    }

    /// The same; where `both`, the strategy has both paths taken.
    fn with(strategy: &str, both: bool) -> Pair {
        let lab = Lab::new();
        let rooms = ["here", "there"].map(|name| lab.namespace(name));
        let key = || PrivateKey::generate(&mut System::default()).unwrap();
        let keys = [[key(), key()], [key(), key()]];
        for (cable, name) in CABLES.iter().enumerate() {
            lab.veth((&rooms[0], name), (&rooms[1], name));
            for (site, room) in rooms.iter().enumerate() {
                room.ip(&format!("addr add {}/24 dev {name}", outer(site, cable).trim_end_matches(":51820")));
            }
        }
        let texts = [0, 1].map(|site| configuration(site, &keys, strategy));
        let dirs = [0, 1].map(|_| TempDir::new().unwrap());
        let start = |site: usize| {
            for (key, name) in keys[site].iter().zip(CABLES) {
                std::fs::write(dirs[site].path().join(format!("{name}.key")), key.reveal().as_str()).unwrap();
            }
            let settings = read(&texts[site]);
            rooms[site].run(|| Service::start(&settings, dirs[site].path())).unwrap()
        };
        let services = [start(0), start(1)];
        let mut pair = Pair { services, rooms, texts, keys, taken: CABLES, _dirs: dirs, _lab: lab };
        let told = || format!("{:#?}", [pair.services[0].paths(), pair.services[1].paths()]);
        for service in &pair.services {
            let up = || service.paths().unwrap().paths.iter().filter(|path| path.state == "up").count();
            wait_for("all paths to be up", told, || up() == CABLES.len());
        }
        if !both {
            return pair;
        }
        wait_for("datagrams to take both", told, || pair.look().is_some());
        pair.taken = pair.look().unwrap();
        let paths = pair.services[0].paths().unwrap().paths;
        let chosen: BTreeSet<_> = paths.into_iter().filter(|path| path.chosen).map(|path| path.own).collect();
        assert_eq!(chosen, CABLES.map(str::to_owned).into());
        pair
    }

    /// The cables that datagrams take, if they take both.
    fn look(&self) -> Option<[&'static str; 2]> {
        let (source, destination) = (inner(0), inner(1));
        let flow = Flow {
            source,
            destination,
            protocol: 17,
            source_port: 1,
            destination_port: PORT,
            dscp: 0,
            application: None,
        };
        let paths = self.services[0].explain(Question { flow, name: None }).unwrap().paths;
        let by = |taken: &str| {
            let path = paths.iter().find(|path| path.taken == Some(taken))?;
            CABLES.into_iter().find(|cable| path.name == format!("far {cable}-{cable}"))
        };
        Some([by("first")?, by("second")?])
    }

    /// Of what comes by the first cable and by the second, that which `losing` says is lost. What is lost, what is not lost by the second, and what is handed on is counted.
    fn lose(&self, losing: [&str; 2]) {
        let counters = COUNTERS.map(|name| format!("counter {name} {{ packets 0 bytes 0; }}; ")).concat();
        let [first, second] = self.taken.map(|cable| format!("iifname \"{cable}\" ip dscp ef"));
        let rules = format!(
            "table inet watch {{ {counters} chain in {{ type filter hook input priority 0; \
             {first} {} counter name lost_first drop; {second} {} counter name lost_second drop; {second} counter name second; \
             iifname \"outwork0\" udp dport {PORT} ip dscp ef counter name handed; }}; }}",
            losing[0], losing[1],
        );
        assert!(self.rooms[1].command("nft").arg(rules).status().unwrap().success());
    }

    /// Sends datagrams from one site to the other, each longer than the one before, so that no two leave as one run. Their lengths as they come, after which nothing is to come.
    pub(super) fn send(&self, count: usize) -> Vec<usize> {
        let [from, to] = [0, 1].map(|site| {
            let port = if site == 1 { PORT } else { 0 };
            self.rooms[site].run(|| UdpSocket::bind((inner(site), port))).unwrap()
        });
        to.set_read_timeout(Some(LONG)).unwrap();
        let length = |number: usize| 100 + 16 * number;
        for number in 0..count {
            from.send_to(&vec![7; length(number)], (inner(1), PORT)).unwrap();
        }
        let mut octets = [0; 2000];
        let mut came = |number: usize| to.recv(&mut octets).unwrap_or_else(|error| panic!("{number}: {error}"));
        let lengths: Vec<usize> = (0..count).map(&mut came).collect();
        assert_eq!(lengths.iter().copied().collect::<BTreeSet<_>>(), (0..count).map(length).collect());
        lengths
    }

    fn counts(&self) -> [u64; 4] {
        COUNTERS.map(|name| self.count(name))
    }

    fn count(&self, name: &str) -> u64 {
        let output = self.rooms[1].command("nft").args(["list", "counter", "inet", "watch", name]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split("packets ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }
}

#[test]
fn of_groups_that_have_lost_a_packet_all_packets_come_for_a_second_path_mends_them() {
    let pair = Pair::new("strategy = 'fec'\ndata = 4\nparity = 1");
    pair.lose(["numgen inc mod 4 2", "ip length 0"]);
    pair.send(40);
    assert_eq!(pair.counts(), [10, 0, 10, 40]);
    let [here, there] = pair.services.each_ref().map(Service::shared);
    assert_eq!(there.counters.mended.load(Relaxed), 10);
    let sent: Vec<_> =
        here.accounts.load().iter().map(|(name, one)| (name.to_owned(), one.packets.load(Relaxed))).collect();
    assert_eq!(sent, [("all".to_owned(), 40), ("none".to_owned(), 0)]);
}

#[test]
fn what_goes_by_two_paths_comes_if_one_of_them_does_not_lose_it_and_comes_once() {
    let pair = Pair::new("strategy = 'duplicate'");
    pair.lose(["numgen inc mod 3 0", "numgen inc mod 3 1"]);
    pair.send(21);
    // What was sent first has come by both by then.
    pair.send(3);
    assert_eq!(pair.counts(), [8, 8, 16, 24]);
    let [here, there] = pair.services.each_ref().map(Service::shared);
    // Those that neither cable has lost have come twice.
    assert_eq!((here.counters.doubled.load(Relaxed), there.counters.repeated.load(Relaxed)), (24, 24 - 8 - 8));
    let paths = pair.services[0].paths().unwrap();
    let kinds: BTreeSet<_> =
        paths.events.iter().filter_map(|event| event.class.clone().zip(event.strategy.clone())).collect();
    let [any, bulk] =
        [("any", "duplicate"), ("bulk", "best")].map(|(class, strategy)| (class.to_owned(), strategy.to_owned()));
    assert_eq!(kinds, [any, bulk].into(), "of a switch it is said which traffic it is about");
    assert!(paths.paths.iter().all(|path| (1280..=1420).contains(&path.mtu)));
}

#[test]
fn keys_of_both_sites_take_over_while_datagrams_go_through_and_none_is_lost() {
    let strategy = "strategy = 'best'";
    let pair = Pair::with(strategy, false);
    let ids = || pair.services[0].paths().unwrap().paths.iter().map(|path| path.id).collect::<Vec<_>>();
    let before = ids();
    let [from, to] = [0, 1].map(|site| pair.rooms[site].run(|| UdpSocket::bind((inner(site), PORT))).unwrap());
    to.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (sent, came) = std::thread::scope(|scope| {
        let hears = scope.spawn(|| {
            let (mut came, mut octets) = (0_u64, [0; 16]);
            while to.recv(&mut octets).is_ok() {
                came += 1;
            }
            came
        });
        let sends = scope.spawn(|| {
            let mut sent = 0_u64;
            while !done.load(Relaxed) {
                from.send_to(&sent.to_be_bytes(), (inner(1), PORT)).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            sent
        });
        let told = pair.services.each_ref().map(|service| service.rotate_key(None).unwrap());
        for site in 0..2 {
            let mut text = configuration(site, &pair.keys, strategy);
            for told in &told[1 - site] {
                let next = told.published.next.unwrap();
                let key = format!("public_key = '{}'\n", told.published.key);
                text = text.replace(&key, &format!("{key}next_public_key = '{next}'\n"));
            }
            pair.rooms[site].run(|| pair.services[site].apply(&read(&text))).unwrap();
        }
        let states = |service: &Service| {
            service.tend_keys(SystemTime::now()).unwrap();
            let told = service.keys().told().into_iter();
            told.map(|told| told.rotation.map(|rotation| rotation.state)).collect::<Vec<_>>()
        };
        for service in &pair.services {
            let told = || format!("{:#?}", service.keys().told());
            wait_for("all to know the new keys", told, || states(service) == [Some("taken-up"); 2]);
        }
        // As if that much time had gone by.
        for service in &pair.services {
            service.tend_keys(SystemTime::now() + keys::rotation::AFTER).unwrap();
            assert_eq!(states(service), [None; 2]);
        }
        done.store(true, Relaxed);
        (sends.join().unwrap(), hears.join().unwrap())
    });
    assert_eq!((came, ids()), (sent, before), "all come, by the same paths");
    let events = pair.services.iter().flat_map(|service| service.paths().unwrap().events);
    assert_eq!(events.filter(|event| event.to == "down").count(), 0);
    for (service, keys) in pair.services.iter().zip(&pair.keys) {
        let told = service.keys().told();
        assert!(told.iter().zip(keys).all(|(told, key)| told.published.first == Some(*key.public())));
    }
}

/// Whether a thread that is called so runs on these processors alone; none while there is no such thread.
fn runs_on(thread: &str, processors: &str) -> Option<bool> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    // One may end while it is looked at.
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let own = tasks.map(|task| task.path()).find(|task| read(task.join("comm")).trim() == thread)?;
    let status = read(own.join("status"));
    Some(status.lines().any(|line| line.split_once(":\t") == Some(("Cpus_allowed_list", processors))))
}

#[test]
fn threads_that_carry_packets_stay_on_the_processors_that_are_named() {
    let lab = Lab::new();
    let (room, dir) = (lab.namespace("here"), TempDir::new().unwrap());
    let last = thread::all_processors().unwrap().pop().unwrap();
    // More threads than any other test has: by the names of the last ones they are told apart.
    let text = format!("[tunnel]\nworkers = 13\naffinity = \"{last}\"\n[[uplink]]\nname = 'wan'\n");
    let service = room.run(|| Service::start(&read(&text), dir.path())).unwrap();
    for thread in ["sdwan-11", "sdwan-12"] {
        let stays = || runs_on(thread, &last.to_string()) == Some(true);
        wait_for("threads to stay", || thread.to_owned(), stays);
    }
    drop(service);
}

#[test]
fn tunnels_to_sites_are_told_of_with_their_paths_and_their_keys() {
    let pair = Pair::with("", false);
    let told = pair.services[0].tell().unwrap();
    let paths = pair.services[0].paths().unwrap().paths;
    assert_eq!(told.len(), paths.len());
    for tunnel in told {
        let path = tunnel.path.clone().unwrap();
        let same = paths.iter().find(|other| other.id == path.id).unwrap();
        assert_eq!((&tunnel.name, &path.remote, path.via), (&same.site, &same.remote, None));
        assert_eq!(pair.services[0].uplinks()[usize::from(tunnel.uplink.0)].name, same.own);
        let cable = CABLES.iter().position(|name| *name == path.remote).unwrap();
        assert_eq!((tunnel.remote, tunnel.endpoint), (*pair.keys[1][cable].public(), same.endpoint));
        // By cables that lead elsewhere there is nobody.
        assert_eq!(tunnel.keys.is_some(), same.own == same.remote, "{tunnel:?}");
    }
}

#[test]
fn who_is_dialled_by_a_name_is_dialled_where_that_leads_to_by_now() {
    let pair = Pair::with("strategy = 'best'", false);
    let here = &pair.services[0];
    let at = |told: &str| told.parse::<SocketAddr>().unwrap();
    let by_name = pair.texts[0].replace(&format!("endpoint = '{}'", outer(1, 0)), "endpoint = 'far.test:51820'");
    assert_ne!(by_name, pair.texts[0]);
    let endpoint = || {
        let paths = here.paths().unwrap().paths;
        paths.into_iter().find(|path| (path.own.as_str(), path.remote.as_str()) == ("one", "one")).unwrap().endpoint
    };
    let name = "far.test:51820".parse().unwrap();
    here.names().put(&name, at(&outer(1, 0)));
    pair.rooms[0].run(|| here.apply(&read(&by_name))).unwrap();
    assert_eq!(endpoint(), Some(at(&outer(1, 0))));
    // Nothing comes any more from where it was.
    pair.services[1].halt();
    here.names().put(&name, at("192.0.2.77:51820"));
    here.rejoin().unwrap();
    assert_eq!(endpoint(), Some(at("192.0.2.77:51820")));
}
