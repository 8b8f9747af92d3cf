//! The fast path in the real binary: TCP and UDP clients, a balancer whose kernel passes their packets on, or its ports of user space, and servers that see the
//! clients' own addresses.

mod beside;
#[cfg(feature = "dpdk")]
mod dpdk;
mod flows;
mod followed;
mod kept;
mod outlets;
mod paths;
mod routing;
mod ways;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outwork_net::testing::Namespace;

use super::site::Site;
use super::{PATIENCE, wait_for};

/// Where clients find the service.
const VIP: &str = "198.51.100.1:80";
/// Addresses of the client: each goes to one backend.
const SOURCES: std::ops::Range<u8> = 10..22;

/// A client, a balancer and two backends.
struct Rooms {
    site: Site,
    client: Namespace,
    backends: [Namespace; 2],
}

fn run(namespace: &Namespace, program: &str, words: &[&str]) {
    let output = namespace.command(program).args(words).output().unwrap();
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Rooms {
    /// The rooms, with servers in them and nobody who balances yet.
    fn new() -> Rooms {
        let rooms = Rooms::plain();
        for room in rooms.far_ends() {
            // XDP sees frames as the wire has them, and what it sends to a veth arrives where somebody receives by NAPI.
            run(room, "ethtool", &["-K", "eth0", "tx", "off", "gro", "on"]);
        }
        rooms
    }

    /// The same with cables as the kernel makes them: checksums are left to cards that are none, and nobody receives by NAPI.
    fn plain() -> Rooms {
        let site = Site::new("");
        let room = |name: &str, interface: &str, net: &str| {
            let namespace = site.lab.namespace(name);
            site.lab.veth((&namespace, "eth0"), (&site.server, interface));
            namespace.ip(&format!("addr add {net}.2/24 dev eth0"));
            namespace.ip(&format!("route add default via {net}.1"));
            site.server.ip(&format!("addr add {net}.1/24 dev {interface}"));
            namespace
        };
        let client = room("client", "c0", "10.9.0");
        SOURCES.for_each(|source| client.ip(&format!("addr add 10.9.0.{source}/24 dev eth0")));
        let backends = [room("one", "b1", "10.2.1"), room("two", "b2", "10.2.2")];
        backends.iter().zip(0..).for_each(|(backend, number)| answer(backend, number));
        site.server.ip(&format!("addr add {}/32 dev lo", VIP.trim_end_matches(":80")));
        run(&site.server, "sysctl", &["-qw", "net.ipv4.ip_forward=1"]);
        Rooms { site, client, backends }
    }

    fn far_ends(&self) -> impl Iterator<Item = &Namespace> {
        [&self.client].into_iter().chain(&self.backends)
    }

    /// Configures a listener of each protocol, with more of the section that is about acceleration, by all interfaces.
    fn configure(&self, acceleration: &str) {
        self.configure_alone(&format!("interfaces = ['c0', 'b1', 'b2']\n{acceleration}"));
    }

    /// The same without interfaces.
    fn configure_alone(&self, acceleration: &str) {
        self.configure_as("nat", acceleration);
    }

    /// The same, with how the listeners forward.
    fn configure_as(&self, forwarding: &str, acceleration: &str) {
        let backends = |scheme| format!("[{{ url = '{scheme}://10.2.1.2:80' }}, {{ url = '{scheme}://10.2.2.2:80' }}]");
        let check = "{ interval = '50ms', timeout = '200ms', unhealthy_threshold = 1, healthy_threshold = 1";
        self.site.configure(&format!(
            "[[proxy.listener]]\nname = 'stream'\naddress = ['{VIP}']\npool = 'tcp'\nforwarding = '{forwarding}'\n\
             [[proxy.listener]]\nname = 'datagrams'\nprotocol = 'udp'\naddress = ['{VIP}']\npool = 'udp'\nforwarding = '{forwarding}'\n\
             [proxy.pool.tcp]\npolicy = 'ip_hash'\nbackend = {}\nhealth_check = {check} }}\n\
             [proxy.pool.udp]\npolicy = 'ip_hash'\nbackend = {}\nhealth_check = {check}, port = 80 }}\n\
             [proxy.acceleration]\n{acceleration}\n",
            backends("tcp"),
            backends("udp"),
        ));
    }

    /// Has the client's connections and datagrams come from one of its addresses.
    fn be(&self, source: u8) -> String {
        self.client.ip(&format!("route replace default via 10.9.0.1 src 10.9.0.{source}"));
        format!("10.9.0.{source}")
    }

    /// A connection from an address, and which backend it leads to, which sees that address.
    fn connect(&self, source: u8) -> (TcpStream, u8) {
        let (stream, met, seen) = self.connect_somehow(source);
        assert_eq!(seen, source, "the backend sees 10.9.0.{source}");
        (stream, met)
    }

    /// The same, with the last octet of the address that the backend sees.
    fn connect_somehow(&self, source: u8) -> (TcpStream, u8, u8) {
        self.be(source);
        let address: SocketAddr = VIP.parse().unwrap();
        let mut stream = self.client.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = [0; 2];
        stream.read_exact(&mut hello).unwrap();
        (stream, hello[0], hello[1])
    }

    /// Asks by a datagram from an address until somebody answers, who sees that address.
    fn ask(&self, source: u8) -> u8 {
        let (met, seen) = self.ask_somehow(source);
        assert_eq!(seen, source);
        met
    }

    /// The same, with the last octet of the address that is seen.
    fn ask_somehow(&self, source: u8) -> (u8, u8) {
        self.be(source);
        let socket = self.client.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(VIP).unwrap();
            socket
        });
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let answer = wait_for(
            "an answer to a datagram",
            || self.site.log(),
            || {
                let mut answer = [0; 8];
                socket.send(b"who?").ok()?;
                socket.recv(&mut answer).ok().map(|length| answer[..length].to_vec())
            },
        );
        (answer[0], answer[1])
    }

    /// Which backends connections from all addresses lead to.
    fn met(&self) -> BTreeSet<u8> {
        SOURCES.map(|source| self.connect(source).1).collect()
    }

    /// What is said of the listener of streams.
    fn rule(&self) -> serde_json::Value {
        self.site.json(&["rules"])[0].clone()
    }

    /// Waits until that listener has a tier.
    fn wait_for_tier(&self, word: &str) {
        wait_for(
            word,
            || format!("{}\n{}", self.rule(), self.site.log()),
            || (self.rule()["tier"] == word).then_some(()),
        );
    }

    /// Cuts a backend off, and waits until that is known.
    fn lose_the_second_backend(&self) {
        self.backends[1].ip("link set eth0 down");
        let known = || {
            let told = [&["backends", "list", "tcp"][..], &["listeners"]].map(|words| self.site.admin(words));
            format!("{}\n{}\n{}", told.join("\n"), self.xdp("b2"), self.site.log())
        };
        wait_for("the backend to be found out", known, || {
            self.site.log().contains("a backend is not healthy").then_some(())
        });
        wait_for(
            "the tables to follow",
            || self.site.log(),
            || {
                let stats = self.site.json(&["backends", "list", "tcp"]);
                let states = stats[0]["backends"].as_array().unwrap().clone();
                states.iter().any(|backend| backend["state"] == "unhealthy").then_some(())
            },
        );
    }

    /// What a metric of the fast path reads, with its labels.
    fn metric(&self, name: &str) -> f64 {
        let told = self.site.get("/metrics").unwrap();
        let begin = format!("outwork_proxy_fastpath_{name} ");
        told.lines().find_map(|line| line.strip_prefix(&begin)).map_or(0.0, |count| count.trim().parse().unwrap())
    }

    /// Packets that were dropped because nobody is to hear whom they are from.
    fn denied(&self) -> f64 {
        self.metric("packets_total{verdict=\"dropped\",reason=\"denied\"}")
    }

    /// Waits until there are more of them. What is only late is none.
    fn wait_for_more_denied(&self, before: f64) {
        wait_for("packets to be dropped", || self.site.log(), || (self.denied() > before).then_some(()));
    }

    /// What a program of the kernel's runs as on an interface of the balancer.
    fn xdp(&self, interface: &str) -> String {
        let output = self.site.server.command("ip").args(["-d", "link", "show", "dev", interface]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Says for each connection and datagram who answers, and the last octet of whom it sees; then it says what it hears.
fn answer(room: &Namespace, number: u8) {
    answer_at(room, number, ["0.0.0.0:80"; 2]);
}

/// The same at these addresses: one for connections, and one for datagrams, by which they are answered.
fn answer_at(room: &Namespace, number: u8, [streams, datagrams]: [&str; 2]) {
    let (listener, socket) = room.run(|| (TcpListener::bind(streams).unwrap(), UdpSocket::bind(datagrams).unwrap()));
    let seen = |peer: SocketAddr| match peer {
        SocketAddr::V4(v4) => v4.ip().octets()[3],
        SocketAddr::V6(v6) => v6.ip().octets()[15],
    };
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let peer = stream.peer_addr()?;
                stream.write_all(&[number, seen(peer)])?;
                let mut from = stream.try_clone()?;
                std::io::copy(&mut from, &mut stream)
            });
        }
    });
    std::thread::spawn(move || {
        let mut question = [0; 2048];
        while let Ok((_, peer)) = socket.recv_from(&mut question) {
            let _ = socket.send_to(&[number, seen(peer)], peer);
        }
    });
}

/// Sends some octets through and wants them back.
fn exchange(stream: &mut TcpStream, octets: usize) {
    let sent: Vec<u8> = (0..octets).map(|at| ((at * 31) >> 3) as u8).collect();
    let mut half = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| half.write_all(&sent).unwrap());
        let mut back = vec![0; octets];
        stream.read_exact(&mut back).unwrap();
        assert!(back == sent, "what comes back is not what was sent");
    });
}

/// A BPF file system of a test's own.
struct FileSystem(tempfile::TempDir);

impl FileSystem {
    fn new() -> FileSystem {
        let directory = tempfile::tempdir().unwrap();
        let status =
            Command::new("mount").args(["-t", "bpf", "-o", "mode=0700", "bpf"]).arg(directory.path()).status().unwrap();
        assert!(status.success());
        FileSystem(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Clients are served by a tier, a backend that fails gets nobody new, and everybody is told.
fn serves(tiers: &str, word: &str) {
    let mut rooms = Rooms::new();
    rooms.configure(tiers);
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let asked: BTreeSet<u8> = SOURCES.map(|source| rooms.ask(source)).collect();
    assert_eq!(asked, BTreeSet::from([0, 1]));
    let (mut stream, _) = rooms.connect(10);
    exchange(&mut stream, 300_000);

    let rules = rooms.site.json(&["rules"]);
    for rule in rules.as_array().unwrap() {
        assert_eq!((rule["path"].as_str(), rule["tier"].as_str()), (Some("fast"), Some(word)), "{rules}");
    }
    let told = rooms.site.json(&["tiers"]);
    let tier = told["tiers"].as_array().unwrap().iter().find(|one| word.starts_with(one["tier"].as_str().unwrap()));
    assert_eq!(tier.unwrap()["interfaces"], serde_json::json!(["b1", "b2", "c0"]), "{told}");
    let own = told["interfaces"].as_array().unwrap().iter().find(|one| one["name"] == "c0").unwrap().clone();
    assert_eq!((own["driver"].as_str(), own["tier"].as_str()), (Some("veth"), Some(word)), "{own}");
    assert!(own["xdp"][1]["works"] == true && own["xdp"][0]["works"] == false, "{own}");
    let counted = wait_for(
        "packets to be counted",
        || rooms.site.log(),
        || {
            let stats = rooms.site.admin(&["stats", "proxy_fastpath"]);
            let is_there =
                |text: &str| stats.lines().any(|line| line.contains(text) && !line.trim_end().ends_with(" 0"));
            (is_there("listener_packets") && is_there("forward") && is_there("backend_packets")).then_some(stats)
        },
    );
    assert!(counted.contains("stream") && counted.contains("10.2.1.2:80"), "{counted}");
    let listener = rooms.site.json(&["listeners"])[0].clone();
    let passed = |one: &serde_json::Value| one["passed"]["packets"].as_u64().is_some_and(|packets| packets > 10);
    assert!(passed(&listener) && listener["passed"]["flows"].as_u64().is_some_and(|flows| flows > 5), "{listener}");
    let pool = rooms.site.json(&["backends", "list", "tcp"])[0].clone();
    assert!(pool["backends"].as_array().unwrap().iter().all(passed), "{pool}");
    for words in [&["listeners"][..], &["backends", "list", "tcp"]] {
        let shown = rooms.site.admin(words);
        assert!(shown.contains("PASSED ON BY A TIER") && shown.contains(" flows, "), "{shown}");
    }
    // Who forwards on whole frames says by which interface they came.
    let is_of_ports = word.starts_with("af_xdp");
    let received =
        counted.lines().find(|line| ["port_packets", word, "c0", "received"].iter().all(|part| line.contains(part)));
    let count = received.and_then(|line| line.split_whitespace().find_map(|word| word.parse::<f64>().ok()));
    assert_eq!(count.is_some_and(|count| count > 10.0), is_of_ports, "{counted}");
    if is_of_ports {
        assert_eq!((&own["queues"], &own["copied"]), (&serde_json::json!([0]), &true.into()), "{own}");
        assert!(own["copied_because"].as_str().unwrap().contains("the driver cannot do without"), "{own}");
    }

    // Whoever fails its checks gets nobody new.
    rooms.lose_the_second_backend();
    assert_eq!(rooms.met(), BTreeSet::from([0]));
    rooms.backends[1].ip("link set eth0 up");
    rooms.backends[1].ip("route add default via 10.2.2.1");
    wait_for("the backend to come back", || rooms.site.log(), || (rooms.met().len() == 2).then_some(()));

    rooms.site.terminate();
    // The kernel takes programs off a moment after the last file that holds them is gone.
    wait_for("programs to go", || rooms.xdp("c0"), || (!rooms.xdp("c0").contains("prog/xdp")).then_some(()));
}

#[test]
fn clients_are_served_by_xdp_and_backends_see_who_they_are() {
    serves("tiers = ['xdp']", "xdp-native");
}

#[test]
fn clients_are_served_by_xdp_behind_the_driver_where_that_is_wanted() {
    serves("tiers = ['xdp']\nmode = 'skb'", "xdp-skb");
}

#[test]
fn clients_are_served_by_tc_and_backends_see_who_they_are() {
    serves("tiers = ['tc']", "tc");
}

#[test]
fn clients_are_served_by_sockets_of_af_xdp_and_backends_see_who_they_are() {
    serves("tiers = ['af_xdp']", "af_xdp-native");
}

#[test]
fn clients_are_served_by_sockets_of_af_xdp_behind_the_driver_where_that_is_wanted() {
    serves("tiers = ['af_xdp']\nmode = 'skb'\naf_xdp = { batch = 16, frames = 512, spin = '50us' }", "af_xdp-skb");
}

/// Clients are served by ports of DPDK on virtual devices; addresses are those of the interfaces that stand for ports.
#[cfg(feature = "dpdk")]
#[test]
fn clients_are_served_by_ports_of_dpdk_and_backends_see_who_they_are() {
    let mut rooms = Rooms::new();
    let vdevs = ["c0", "b1", "b2"].iter().zip(0..).map(|(name, at)| format!("'net_af_packet{at},iface={name}'"));
    let vdevs: Vec<String> = vdevs.collect();
    let dpdk = format!(
        "{{ vdevs = [{}], port_mask = '0x7', interfaces = ['p0'], hugepages = false, memory = 256, frames = 2047, eal = ['--log-level=error'] }}",
        vdevs.join(", ")
    );
    rooms.configure_alone(&format!("tiers = ['dpdk']\ndpdk = {dpdk}"));
    rooms.site.start();
    let links =
        || String::from_utf8_lossy(&rooms.site.server.command("ip").arg("link").output().unwrap().stdout).into_owned();
    assert!(["p0:", "dpdk1:", "dpdk2:"].iter().all(|name| links().contains(name)), "{}\n{}", links(), rooms.site.log());
    // These devices leave all frames to the kernel as well, which is to have none of them: what is not by the way back is dropped, and nobody asks for neighbours.
    for (old, new, net) in [("c0", "p0", "10.9.0"), ("b1", "dpdk1", "10.2.1"), ("b2", "dpdk2", "10.2.2")] {
        rooms.site.server.ip(&format!("addr flush dev {old}"));
        rooms.site.server.ip(&format!("link set {old} arp off"));
        run(&rooms.site.server, "sysctl", &["-qw", &format!("net.ipv4.conf.{old}.rp_filter=1")]);
        rooms.site.server.ip(&format!("addr add {net}.1/24 dev {new}"));
    }
    // Until the addresses had moved, no port led to the backends, and sockets served.
    rooms.wait_for_tier("dpdk");
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let asked: BTreeSet<u8> = SOURCES.map(|source| rooms.ask(source)).collect();
    assert_eq!(asked, BTreeSet::from([0, 1]));
    let (mut stream, _) = rooms.connect(10);
    exchange(&mut stream, 100_000);
    let told = rooms.site.json(&["tiers"]);
    let tier = told["tiers"].as_array().unwrap().iter().find(|one| one["tier"] == "dpdk").unwrap().clone();
    assert_eq!((&tier["in_use"], &tier["interfaces"]), (&true.into(), &serde_json::json!(["dpdk1", "dpdk2", "p0"])));
    wait_for(
        "packets to be counted",
        || rooms.site.admin(&["stats", "proxy_fastpath"]),
        || {
            let stats = rooms.site.admin(&["stats", "proxy_fastpath_port"]);
            let is_it = |line: &&str| ["received", "p0", "dpdk"].iter().all(|part| line.contains(part));
            let count = stats.lines().find(is_it)?.split_whitespace().find_map(|word| word.parse::<f64>().ok())?;
            (count > 10.0).then_some(())
        },
    );
    // Whoever fails its checks gets nobody new, and what is told of sleep is taken up; the rest asks for a restart.
    rooms.lose_the_second_backend();
    assert_eq!(rooms.met(), BTreeSet::from([0]));
    let (mut stream, _) = rooms.connect(10);
    rooms.configure_alone(&format!("tiers = ['dpdk']\ndpdk = {}", dpdk.replace("{ ", "{ sleep = '1ms', ")));
    rooms.site.admin(&["reload"]);
    exchange(&mut stream, 5_000);
    rooms.site.terminate();
    let links =
        || String::from_utf8_lossy(&rooms.site.server.command("ip").arg("link").output().unwrap().stdout).into_owned();
    wait_for("interfaces to go", links, || (!links().contains("dpdk1") && !links().contains("p0:")).then_some(()));
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn a_build_without_dpdk_says_so_and_takes_the_next_tier() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['dpdk', 'xdp']\ndpdk = { vdevs = ['net_null0'] }");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    assert_eq!(rooms.site.json(&["rules"])[0]["tier"], "xdp-native");
    assert!(rooms.site.log().contains("this build has no DPDK"), "{}", rooms.site.log());
}

#[test]
fn interfaces_go_to_the_kernel_together_where_one_gives_no_frames_to_sockets_as_asked() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['af_xdp', 'tc']\naf_xdp = { copy = 'zero_copy' }");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let told = rooms.site.json(&["tiers"]);
    for name in ["b1", "b2", "c0"] {
        let own = told["interfaces"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
        assert_eq!(own["tier"], "tc", "{told}");
        let tried = own["tried"][0].as_str().unwrap();
        assert!(tried.starts_with("af_xdp: ") && tried.contains("queue 0"), "{own}");
    }
    let log = rooms.site.log();
    assert!(log.contains("a tier cannot be had here") && log.contains("af_xdp"), "{log}");
}

#[test]
fn ports_that_stay_keep_their_flows_through_a_reload_and_a_successor_goes_on_with_the_same_backends() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['af_xdp']");
    rooms.site.start();
    let mut streams: Vec<(TcpStream, u8)> = SOURCES.map(|source| rooms.connect(source)).collect();
    let program = rooms.xdp("c0");
    let denied = "tiers = ['af_xdp']\ndeny = ['10.9.0.11']\naf_xdp = { spin = '20us' }";
    rooms.configure(denied);
    rooms.site.admin(&["reload"]);
    assert_eq!(rooms.xdp("c0"), program, "the program and its sockets stay");
    exchange(&mut streams[0].0, 5_000);
    let mut half = streams[1].0.try_clone().unwrap();
    let before = rooms.denied();
    half.write_all(b"who is denied hears nothing").unwrap();
    rooms.wait_for_more_denied(before);
    half.set_nonblocking(true).unwrap();
    assert_eq!(half.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
    rooms.configure("tiers = ['af_xdp']\naf_xdp = { frames = 1024 }");
    rooms.site.admin(&["reload"]);
    streams.iter_mut().skip(2).for_each(|(stream, _)| exchange(stream, 5_000));

    rooms.site.admin(&["upgrade"]);
    streams.iter_mut().skip(2).for_each(|(stream, _)| exchange(stream, 5_000));
    for (source, (_, met)) in SOURCES.zip(&streams) {
        assert_eq!(rooms.connect(source).1, *met, "new flows go where they went");
    }
    rooms.configure("tiers = ['xdp']");
    rooms.site.admin(&["reload"]);
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    assert_eq!(rooms.site.json(&["rules"])[0]["tier"], "xdp-native");
}

#[test]
fn a_frame_of_user_space_that_is_the_kernels_after_all_comes_to_the_sockets_of_this_machine() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['af_xdp']");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    // A packet that is out of hops is none to pass on; to this machine it has come all the same.
    rooms.be(12);
    let socket = rooms.client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.connect(VIP).unwrap();
    socket.set_ttl(1).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let answer = wait_for(
        "an answer by the sockets",
        || rooms.site.admin(&["stats", "proxy_fastpath"]),
        || {
            let mut answer = [0; 8];
            socket.send(b"who?").ok()?;
            socket.recv(&mut answer).ok().map(|length| answer[..length].to_vec())
        },
    );
    assert_eq!(answer[1], 1, "the backend sees who has the sockets");
    let passed = wait_for(
        "what went back to be counted",
        || rooms.site.admin(&["stats", "proxy_fastpath"]),
        || {
            let stats = rooms.site.admin(&["stats", "proxy_fastpath_port"]);
            let is_it = |line: &&str| ["passed", "c0"].iter().all(|part| line.contains(part));
            let line = stats.lines().find(is_it)?;
            line.split_whitespace()
                .any(|word| word.parse::<f64>().is_ok_and(|count| count > 0.0))
                .then(|| line.to_owned())
        },
    );
    assert!(passed.contains("af_xdp-native"), "{passed}");
}

#[test]
fn cables_as_the_kernel_makes_them_lose_nothing_of_what_sockets_of_af_xdp_pass_on() {
    let mut rooms = Rooms::plain();
    rooms.configure("tiers = ['af_xdp', 'tc']");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let asked: BTreeSet<u8> = SOURCES.map(|source| rooms.ask(source)).collect();
    assert_eq!(asked, BTreeSet::from([0, 1]));
    let (mut stream, _) = rooms.connect(10);
    exchange(&mut stream, 300_000);
    assert_eq!(rooms.rule()["tier"], "af_xdp-native");
}

#[test]
fn xdp_is_not_taken_where_it_would_lose_packets_until_it_would_not_and_everybody_is_told() {
    let mut rooms = Rooms::plain();
    rooms.configure("tiers = ['xdp', 'tc']");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let rule = rooms.rule();
    let is_said = |text: &str| text.contains("xdp-native") && text.contains("gro on");
    let reasons = rule["reasons"].as_array().unwrap();
    assert_eq!(rule["tier"], "tc", "{rule}");
    assert!(reasons.iter().any(|one| one["reason"] == "fallback" && is_said(&one["detail"].to_string())), "{rule}");
    let told = rooms.site.json(&["tiers"]);
    let own = told["interfaces"].as_array().unwrap().iter().find(|one| one["name"] == "c0").unwrap().clone();
    assert!(is_said(&own["tried"].to_string()), "{own}");
    let log = rooms.site.log();
    assert!(log.lines().any(|line| line.contains("WARN") && is_said(line)), "{log}");

    // Other ends that receive by NAPI lose nothing, though they leave checksums to cards that are none.
    rooms.far_ends().for_each(|room| run(room, "ethtool", &["-K", "eth0", "gro", "on"]));
    rooms.wait_for_tier("xdp-native");
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let asked: BTreeSet<u8> = SOURCES.map(|source| rooms.ask(source)).collect();
    assert_eq!(asked, BTreeSet::from([0, 1]));
    exchange(&mut rooms.connect(10).0, 300_000);

    // One of them that does not is enough, and there is no other tier.
    rooms.configure("tiers = ['xdp']");
    rooms.site.admin(&["reload"]);
    rooms.wait_for_tier("xdp-native");
    run(&rooms.backends[1], "ethtool", &["-K", "eth0", "gro", "off"]);
    rooms.wait_for_tier("application");
    let reason = rooms.rule()["reasons"][0].clone();
    assert!(reason["reason"] == "tier" && is_said(&reason["detail"].to_string()), "{reason}");
    let (mut stream, _, seen) = rooms.connect_somehow(10);
    exchange(&mut stream, 5_000);
    assert_eq!(seen, 1, "sockets serve");
}

#[test]
fn streams_that_talk_all_the_time_live_through_reloads_that_open_ports_anew_and_through_an_upgrade() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['af_xdp']");
    rooms.site.start();
    let streams: Vec<TcpStream> = SOURCES.map(|source| rooms.connect(source).0).collect();
    let (ends, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for mut stream in streams {
            let (ends, rounds) = (&ends, &rounds);
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    exchange(&mut stream, 3_000);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
                exchange(&mut stream, 3_000);
            });
        }
        let end = end_with(&ends);
        let talk = || {
            let before = rounds.load(Ordering::Relaxed);
            let have_talked = || (rounds.load(Ordering::Relaxed) > before + 100).then_some(());
            wait_for("streams to talk", || rooms.site.log(), have_talked);
        };
        for frames in [1024, 2048, 512] {
            talk();
            rooms.configure(&format!("tiers = ['af_xdp']\naf_xdp = {{ frames = {frames} }}"));
            rooms.site.admin(&["reload"]);
        }
        talk();
        rooms.site.admin(&["upgrade"]);
        talk();
        drop(end);
    });
    assert_eq!(rooms.rule()["tier"], "af_xdp-native", "{}", rooms.site.log());
}

/// Ends what waits for it, though the test fails.
fn end_with(ends: &AtomicBool) -> impl Drop {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    End(ends)
}

#[test]
fn what_could_not_be_had_is_tried_once_a_reload_says_it_otherwise() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['af_xdp', 'tc']\naf_xdp = { copy = 'zero_copy' }");
    rooms.site.start();
    assert_eq!(rooms.rule()["tier"], "tc");
    rooms.configure("tiers = ['af_xdp', 'tc']");
    rooms.site.admin(&["reload"]);
    assert_eq!(rooms.rule()["tier"], "af_xdp-native", "{}", rooms.site.log());
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
}

#[test]
fn a_tier_is_taken_once_what_was_in_its_way_is_mended() {
    let mut rooms = Rooms::new();
    let (plain, file_system) = (tempfile::tempdir().unwrap(), FileSystem::new());
    let place = plain.path().join("place");
    std::os::unix::fs::symlink(plain.path(), &place).unwrap();
    rooms.configure(&format!("tiers = ['tc']\npins = '{}/pins'", place.display()));
    rooms.site.start();
    let rule = rooms.rule();
    assert!(rule["tier"] == "application" && rule.to_string().contains("not on a BPF file system"), "{rule}");
    std::fs::remove_file(&place).unwrap();
    std::os::unix::fs::symlink(file_system.path(), &place).unwrap();
    rooms.wait_for_tier("tc");
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    rooms.site.terminate();
}

#[test]
fn a_tier_that_cannot_be_had_falls_back_by_name() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['xdp', 'tc']\nmode = 'hw'");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    let log = rooms.site.log();
    assert!(log.contains("a tier cannot be had here") && log.contains("xdp-hw") && log.contains("xdp-native"), "{log}");
    let told = rooms.site.json(&["tiers"]);
    let own = told["interfaces"].as_array().unwrap().iter().find(|one| one["name"] == "c0").unwrap().clone();
    assert!(own["tried"][0].as_str().unwrap().starts_with("xdp-hw: "), "{own}");
}

#[test]
fn flows_go_on_through_a_crash_a_restart_and_an_upgrade() {
    let mut rooms = Rooms::new();
    let file_system = FileSystem::new();
    rooms.configure(&format!("tiers = ['xdp']\npins = '{}'", file_system.path().display()));
    rooms.site.start();
    let mut streams: Vec<(TcpStream, u8)> = SOURCES.map(|source| rooms.connect(source)).collect();
    rooms.site.kill();
    streams.iter_mut().for_each(|(stream, _)| exchange(stream, 5_000));
    rooms.site.start();
    assert!(rooms.site.log().contains("tables of an earlier process are taken over"), "{}", rooms.site.log());
    streams.iter_mut().for_each(|(stream, _)| exchange(stream, 5_000));
    for (source, (_, met)) in SOURCES.zip(&streams) {
        assert_eq!(rooms.connect(source).1, *met, "new flows go where they went");
    }
    rooms.site.admin(&["upgrade"]);
    streams.iter_mut().for_each(|(stream, _)| exchange(stream, 5_000));
    let log = rooms.site.log();
    assert_eq!(log.matches("tables of an earlier process are taken over").count(), 2, "{log}");
}

#[test]
fn a_reload_changes_tiers_rates_and_who_is_denied_while_flows_go_on() {
    let mut rooms = Rooms::new();
    rooms.configure("tiers = ['tc']");
    rooms.site.start();
    let (mut stream, _) = rooms.connect(10);
    rooms.configure("tiers = ['xdp']\ndeny = ['10.9.0.11']");
    rooms.site.admin(&["reload"]);
    exchange(&mut stream, 5_000);
    assert!(rooms.xdp("c0").contains("prog/xdp"), "{}", rooms.xdp("c0"));
    let before = rooms.denied();
    rooms.be(11);
    let address: SocketAddr = VIP.parse().unwrap();
    let denied = rooms.client.run(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)));
    assert_eq!(denied.unwrap_err().kind(), ErrorKind::TimedOut);
    rooms.wait_for_more_denied(before);
    rooms.configure("tiers = ['xdp']");
    rooms.site.admin(&["reload"]);
    rooms.connect(11);
    exchange(&mut stream, 5_000);

    rooms.configure("tiers = ['xdp']\nsriov = [{ device = 'c0', vfs = 2 }]");
    let refused = rooms.site.outwork(&["reload", "--token", &rooms.site.token()]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("proxy.acceleration.sriov[0]: `c0` has no virtual functions"), "{told}");
    exchange(&mut stream, 5_000);
}

#[test]
fn a_server_that_runs_as_another_user_gives_the_kernel_its_programs_all_the_same() {
    let mut rooms = Rooms::new();
    std::fs::set_permissions(rooms.site.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    rooms.configure("tiers = ['tc']\n[process]\nuser = 'nobody'");
    rooms.site.start();
    assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
    for (tier, word) in [("xdp", "xdp-native"), ("af_xdp", "af_xdp-native")] {
        rooms.configure(&format!("tiers = ['{tier}']\n[process]\nuser = 'nobody'"));
        rooms.site.admin(&["reload"]);
        assert_eq!(rooms.met(), BTreeSet::from([0, 1]), "{}", rooms.site.log());
        let told = rooms.site.json(&["rules"]);
        assert_eq!((&told[0]["rule"], &told[0]["tier"]), (&"stream".into(), &word.into()), "{told}");
    }
}
