//! Tables and rules of the real kernel, in a namespace.

use outwork_net::testing::{Lab, Namespace};

use super::*;

const TABLE: u32 = 51_857;
const PRIORITY: u32 = 30_000;
const PORT: u16 = 51_820;

fn net(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: address.parse().unwrap(), length: length.parse().unwrap() }
}

/// A machine with a LAN, an uplink with a default route, and a device that stands for that of tunnels.
struct Machine {
    room: Namespace,
    kernel: Connection,
    links: Vec<u32>,
    _lab: Lab,
}

impl Machine {
    fn new() -> Machine {
        let lab = Lab::new();
        let (room, far) = (lab.namespace("host"), lab.namespace("far"));
        for name in ["lan", "wan", "tunnel", "other"] {
            lab.veth((&room, name), (&far, name));
        }
        for words in [
            "addr add 10.2.0.1/24 dev lan",
            "addr add fd02::1/64 dev lan nodad",
            "addr add 192.0.2.1/24 dev wan",
            "addr add 2001:db8:2::1/64 dev wan nodad",
            "route add default via 192.0.2.2",
            "route add default via 2001:db8:2::2",
            "route add 10.2.9.0/24 via 10.2.0.9",
        ] {
            room.ip(words);
        }
        let mut kernel = room.run(|| Connection::open().unwrap());
        let links = vec![kernel.link("tunnel").unwrap().unwrap().index];
        Machine { room, kernel, links, _lab: lab }
    }

    fn routing(&self, networks: &[&str]) -> Routing {
        self.routing_from(networks, &[])
    }

    /// The same where uplinks have addresses of their own.
    fn routing_from(&self, networks: &[&str], own: &[&str]) -> Routing {
        let own = own.iter().map(|address| address.parse().unwrap()).collect();
        let way = |text: &&str| Way { network: net(text), link: self.links[0], source: None };
        let ways: Vec<Way> = networks.iter().map(way).collect();
        let sockets = ["0.0.0.0", "::"].map(|address| SocketAddr::new(address.parse().unwrap(), PORT));
        Routing::new(TABLE, PRIORITY, &ways, (&sockets, &own))
    }

    fn said(&self, words: &str) -> String {
        let output = self.room.command("ip").args(words.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The interface that a packet leaves by.
    fn by(&self, words: &str) -> String {
        let told = self.said(&format!("route get {words}"));
        told.split(" dev ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
    }

    /// All rules and routes, but for what the kernel does with addresses of links when it sees fit.
    fn all(&self) -> BTreeSet<String> {
        let told = ["-4", "-6"].map(|family| {
            self.said(&format!("{family} rule show")) + &self.said(&format!("{family} route show table all"))
        });
        told.concat().lines().filter(|line| !line.contains("fe80:")).map(str::to_owned).collect()
    }

    /// Whether anything of ours is there.
    fn has_ours(&self) -> bool {
        self.all().iter().any(|line| line.contains("51857") || line.starts_with("3000"))
    }
}

#[test]
fn what_this_machine_is_connected_to_stays_whatever_is_behind_a_site() {
    let mut machine = Machine::new();
    let routing = machine.routing(&["10.2.0.0/16", "10.2.0.128/25", "192.0.2.0/24", "fd02::/48", "2001:db8:2::/64"]);
    let main = machine.said("route show") + &machine.said("-6 route show");
    routing.establish(&mut machine.kernel, &machine.links, None).unwrap();
    for (to, interface) in [
        ("10.2.0.9", "lan"),
        ("10.2.0.200", "lan"),
        ("10.2.9.9", "lan"),
        ("10.2.7.9", "tunnel"),
        ("192.0.2.9", "wan"),
        ("198.51.100.9", "wan"),
        ("fd02::9", "lan"),
        ("fd02:0:0:7::9", "tunnel"),
        ("2001:db8:2::9", "wan"),
        ("2001:db8:9::9", "wan"),
    ] {
        assert_eq!(machine.by(to), interface, "{to}");
    }
    assert_eq!(machine.said("route show") + &machine.said("-6 route show"), main);
    let mut told: Vec<_> = routing.hidden(&mut machine.kernel, &machine.links).unwrap();
    told.sort_by_key(|one| one.network);
    let hidden = |network, own, is_whole| Hidden { network: net(network), own: net(own), is_whole, is_dropped: false };
    assert_eq!(
        told,
        [
            hidden("10.2.0.0/16", "10.2.0.0/24", false),
            hidden("10.2.0.128/25", "10.2.0.0/24", true),
            hidden("192.0.2.0/24", "192.0.2.0/24", true),
            hidden("2001:db8:2::/64", "2001:db8:2::/64", true),
            hidden("fd02::/48", "fd02::/64", false),
        ]
    );
}

#[test]
fn all_the_internet_may_be_behind_a_site_but_for_datagrams_that_tunnels_leave_by() {
    let mut machine = Machine::new();
    let routing = machine.routing(&["0.0.0.0/0", "::/0"]);
    routing.establish(&mut machine.kernel, &machine.links, None).unwrap();
    for (to, interface) in [
        ("198.51.100.9", "tunnel"),
        ("198.51.100.9 ipproto udp sport 51820", "wan"),
        ("198.51.100.9 ipproto udp sport 51821", "tunnel"),
        ("198.51.100.9 ipproto tcp sport 51820", "tunnel"),
        ("10.2.0.9", "lan"),
        ("2001:db8:9::9", "tunnel"),
        ("2001:db8:9::9 ipproto udp sport 51820", "wan"),
        ("fd02::9", "lan"),
    ] {
        assert_eq!(machine.by(to), interface, "{to}");
    }
    // What others send from that port is theirs.
    let forward = machine.room.command("sysctl").args(["-q", "-w", "net.ipv4.ip_forward=1"]).status().unwrap();
    assert!(forward.success());
    assert_eq!(machine.by("198.51.100.9 from 10.2.0.9 iif lan ipproto udp sport 51820"), "tunnel");
    assert_eq!(routing.hidden(&mut machine.kernel, &machine.links).unwrap(), []);
}

#[test]
fn who_asks_at_the_address_of_an_uplink_is_answered_by_it_and_not_by_a_tunnel_that_all_the_internet_is_behind() {
    let mut machine = Machine::new();
    let networks = ["0.0.0.0/0", "::/0", "10.9.0.0/16", "fd09::/48"];
    let before = machine.routing(&networks);
    before.establish(&mut machine.kernel, &machine.links, None).unwrap();
    assert_eq!(machine.by("198.51.100.9 from 192.0.2.1"), "tunnel");
    let routing = machine.routing_from(&networks, &["192.0.2.1", "2001:db8:2::1"]);
    routing.establish(&mut machine.kernel, &machine.links, Some(&before)).unwrap();
    for (to, interface) in [
        ("198.51.100.9 from 192.0.2.1", "wan"),
        ("198.51.100.9 from 10.2.0.1", "tunnel"),
        ("198.51.100.9", "tunnel"),
        ("10.9.0.9 from 192.0.2.1", "tunnel"),
        ("10.2.0.9 from 192.0.2.1", "lan"),
        ("2001:db8:9::9 from 2001:db8:2::1", "wan"),
        ("2001:db8:9::9 from fd02::1", "tunnel"),
        ("2001:db8:9::9", "tunnel"),
        ("fd09::9 from 2001:db8:2::1", "tunnel"),
    ] {
        assert_eq!(machine.by(to), interface, "{to}");
    }
    // Who asks does not come by the wrong way either, in the eyes of a kernel that looks at that.
    assert!(
        machine.room.command("sysctl").args(["-q", "-w", "net.ipv4.conf.all.rp_filter=1"]).status().unwrap().success()
    );
    machine.said("route get 192.0.2.1 from 198.51.100.9 iif wan");
    // Another address, and none of all that is wide.
    let moved = machine.routing_from(&networks, &["192.0.2.7"]);
    moved.establish(&mut machine.kernel, &machine.links, Some(&routing)).unwrap();
    assert!(!machine.said("rule show").contains("192.0.2.1") && machine.said("rule show").contains("192.0.2.7"));
    let narrow = machine.routing_from(&["10.9.0.0/16", "fd09::/48"], &["192.0.2.7"]);
    narrow.establish(&mut machine.kernel, &machine.links, Some(&moved)).unwrap();
    assert_eq!((moved.is_wide(), narrow.is_wide()), (true, false));
    assert!(!machine.said("rule show").contains("192.0.2.7"));
    narrow.withdraw(&mut machine.kernel, &machine.links).unwrap();
    assert!(!machine.has_ours(), "{:#?}", machine.all());
}

#[test]
fn uplinks_have_the_addresses_that_they_listen_at_or_those_of_their_interface_or_of_the_default_route() {
    let mut machine = Machine::new();
    machine.room.ip("addr add 192.0.2.77/32 dev wan");
    let uplink = |text: &str| {
        let text = format!("[[uplink]]\nname = 'one'\n{text}\n");
        let sources =
            outwork_config::Sources { file: Some(("outwork.toml".into(), text)), ..outwork_config::Sources::default() };
        outwork_config::load::<crate::config::Sdwan>(sources).unwrap().value.uplink
    };
    let mut own = |text: &str| {
        let own = own_addresses(&mut machine.kernel, &uplink(text), &machine.links).unwrap();
        own.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(own("listen = ['192.0.2.1:51820', '[2001:db8:2::1]:51820']"), ["192.0.2.1", "2001:db8:2::1"]);
    assert_eq!(own("interface = 'lan'"), ["10.2.0.1", "fd02::1"]);
    assert_eq!(own(""), ["192.0.2.1", "192.0.2.77", "2001:db8:2::1"]);
    assert_eq!(own("interface = 'gone'"), Vec::<String>::new(), "it is waited for");
    assert_eq!(own("listen = ['127.0.0.1:51820']"), Vec::<String>::new());
}

#[test]
fn what_this_machine_drops_of_what_is_behind_a_site_is_named() {
    let mut machine = Machine::new();
    for words in [
        "route add blackhole 10.9.7.0/24",
        "route add unreachable 10.8.0.0/14",
        "route add throw 10.20.0.0/16",
        "route add unreachable default metric 4000",
        "route add prohibit default metric 100 table 1000",
    ] {
        machine.room.ip(words);
    }
    let routing = machine.routing(&["10.9.0.0/16", "10.9.7.0/25", "10.20.0.0/16", "10.30.0.0/16", "0.0.0.0/0"]);
    routing.establish(&mut machine.kernel, &machine.links, None).unwrap();
    let told = |machine: &mut Machine| {
        let mut told = routing.hidden(&mut machine.kernel, &machine.links).unwrap();
        told.sort_by_key(|one| one.network);
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let whole = |network, own| {
        format!("nothing goes to {network} by tunnels: this machine drops what goes to {own}, which comes first")
    };
    let (wide, narrow) = (whole("10.9.0.0/16", "10.8.0.0/14"), whole("10.9.7.0/25", "10.9.7.0/24"));
    assert_eq!(told(&mut machine), [wide.clone(), narrow.clone()], "the default route comes before what drops");
    assert_eq!(machine.by("10.20.0.9"), "tunnel");
    let is_dropped = |machine: &Machine, to: &str| {
        !machine.room.command("ip").args(["route", "get", to]).output().unwrap().status.success()
    };
    assert!(is_dropped(&machine, "10.9.0.9") && !is_dropped(&machine, "10.30.0.9"));
    // An uplink goes, and its default route with it: nothing comes to ours any more.
    machine.room.ip("route del default via 192.0.2.2");
    assert!(is_dropped(&machine, "10.30.0.9") && is_dropped(&machine, "198.51.100.9"));
    let all = ["0.0.0.0/0", "10.20.0.0/16", "10.30.0.0/16"].map(|network| whole(network, "0.0.0.0/0"));
    let [internet, throw, other] = all;
    assert_eq!(told(&mut machine), [internet, wide, narrow, throw, other]);
}

#[test]
fn only_families_that_have_a_way_have_rules_and_all_of_it_goes_at_the_end() {
    let mut machine = Machine::new();
    let before = machine.all();
    let both = machine.routing(&["10.9.0.0/16", "fd09::/48"]);
    both.establish(&mut machine.kernel, &machine.links, None).unwrap();
    let one = machine.routing(&["10.9.0.0/16", "10.8.0.0/16"]);
    one.establish(&mut machine.kernel, &machine.links, Some(&both)).unwrap();
    assert_eq!((machine.by("10.8.0.1"), machine.by("fd09::1")), ("tunnel".to_owned(), "wan".to_owned()));
    assert!(!machine.said("-6 rule show").contains("51857"));
    // Another table, and other places of rules: nothing of the old ones is left.
    let moved = Routing::new(
        777,
        20_000,
        &[Way { network: net("10.9.0.0/16"), link: machine.links[0], source: None }],
        (&[], &BTreeSet::new()),
    );
    moved.establish(&mut machine.kernel, &machine.links, Some(&one)).unwrap();
    assert!(!machine.has_ours() && machine.by("10.9.0.1") == "tunnel", "{:#?}", machine.all());
    moved.withdraw(&mut machine.kernel, &machine.links).unwrap();
    assert_eq!(machine.all(), before);
}

#[test]
fn a_table_that_somebody_else_uses_is_refused_and_nothing_has_changed() {
    let mut machine = Machine::new();
    machine.room.ip("route add 10.9.0.0/16 dev other table 51857");
    let before = machine.all();
    let refused = machine.routing(&["10.9.0.0/16"]).establish(&mut machine.kernel, &machine.links, None).unwrap_err();
    let told = refused.to_string();
    assert!(
        told.starts_with("sdwan.tunnel.table: there is a route in table 51857 that is not ours: 10.9.0.0/16"),
        "{told}"
    );
    assert!(told.contains("ip route show table 51857"), "{told}");
    assert_eq!(machine.all(), before);
}

#[test]
fn what_a_crash_has_left_is_taken_up_or_swept_away_and_what_others_are_behind_stays() {
    let mut machine = Machine::new();
    let routing = machine.routing(&["10.9.0.0/16", "fd09::/48"]);
    routing.establish(&mut machine.kernel, &machine.links, None).unwrap();
    let whole = machine.all();
    assert_eq!(sweep_but(&mut machine.kernel, None).unwrap(), 0, "somebody is behind it");
    // The device goes with the process, and its routes with the device.
    machine.room.ip("link set tunnel down");
    machine.room.ip("link set tunnel up");
    routing.establish(&mut machine.kernel, &machine.links, None).unwrap();
    assert_eq!(machine.all(), whole);

    machine.room.ip("link del tunnel");
    assert!(machine.has_ours());
    assert_eq!(sweep_but(&mut machine.kernel, None).unwrap(), 6);
    assert!(!machine.has_ours(), "{:#?}", machine.all());
}
