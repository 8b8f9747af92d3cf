//! Tunnels of the real binary: to another of its kind, and to other implementations of WireGuard.

mod controlled;
mod hostile;
mod hubs;
mod nats;
mod outside;
mod peer;
mod policies;
mod qos;
mod rotation;
mod sites;
mod soak;
mod teardown;
mod uplinks;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use outwork_net::testing::Namespace;

use super::site::Site;
use super::{PATIENCE, wait_for};
use peer::{Keys, Other, Program};

/// A site and somebody at the other end of a cable: `wan` of both.
struct Pair {
    site: Site,
    /// The machine of the other, and its configuration should it be one of our kind.
    far: Site,
    keys: [Keys; 2],
}

/// Addresses of both ends of the cable, and within the tunnel.
const OUTER: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const INNER: [&str; 2] = ["10.99.0.1", "10.99.0.2"];
const INNER_V6: [&str; 2] = ["fd99::1", "fd99::2"];

impl Pair {
    fn new() -> Pair {
        let (site, far) = (Site::new(""), Site::new(""));
        site.lab.veth((&far.server, "wan"), (&site.server, "wan"));
        for (room, address) in [&site.server, &far.server].into_iter().zip(OUTER) {
            room.ip(&format!("addr add {address}/24 dev wan"));
        }
        Pair { site, far, keys: [Keys::new(), Keys::new()] }
    }

    /// Starts the site, joined to the other by its key, with more of what is said of that.
    fn start(&mut self, more: &str) {
        let section = section(&self.keys[0], &self.keys[1], 0, more);
        self.site.configure(&section);
        self.site.start();
    }

    /// Octets go both ways between the two, whoever begins.
    fn speaks(&self) {
        for (from, to, address) in [
            (&self.site.server, &self.far.server, INNER[1].to_owned()),
            (&self.far.server, &self.site.server, INNER[0].to_owned()),
            (&self.site.server, &self.far.server, format!("[{}]", INNER_V6[1])),
            (&self.far.server, &self.site.server, format!("[{}]", INNER_V6[0])),
        ] {
            transfer(from, to, &address);
        }
    }

    /// Starts wireguard-go at the other end, which begins.
    fn other(&self) -> Other {
        let at = format!("{}:51820", OUTER[0]);
        Other::start(peer::WIREGUARD_GO, &self.far.server, &self.keys[1], &self.keys[0], "", &at)
    }

    fn tunnel(&self) -> serde_json::Value {
        self.site.json(&["tunnels"])["tunnels"][0].clone()
    }
}

/// The configuration of one end.
fn section(own: &Keys, other: &Keys, end: usize, more: &str) -> String {
    format!(
        "[sdwan.tunnel]\naddresses = ['{}/24', '{}/64']\nworkers = 2\n\
         [[sdwan.uplink]]\nname = 'wan'\nprivate_key = '{}'\n\
         [[sdwan.peer]]\nname = 'other'\npublic_key = '{}'\nallowed_ips = ['{}', '{}']\n{more}\n",
        INNER[end],
        INNER_V6[end],
        own.private,
        other.public,
        INNER[1 - end],
        INNER_V6[1 - end],
    )
}

/// Sends some megabytes there, which are heard whole, and comes back with what is said of them.
fn transfer(from: &Namespace, to: &Namespace, address: &str) {
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| ((at * 31) >> 3) as u8).collect();
    let local: SocketAddr = format!("{address}:7777").parse().unwrap();
    let listener = to.run(|| TcpListener::bind(local)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = vec![0; sent.len()];
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.read_exact(&mut heard).unwrap();
            assert!(heard == sent, "what comes is not what was sent");
            stream.write_all(b"whole").unwrap();
        });
        let mut stream = from.run(|| TcpStream::connect_timeout(&local, PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        let mut said = [0; 5];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"whole");
    });
}

#[test]
fn two_of_our_kind_speak_through_a_tunnel_over_both_versions_of_ip() {
    let mut pair = Pair::new();
    pair.start(&format!("endpoint = '{}:51820'", OUTER[1]));
    pair.far.configure(&section(&pair.keys[1], &pair.keys[0], 1, ""));
    pair.far.start();
    pair.speaks();
    let output = pair.site.server.command("ip").args(["-d", "-j", "link", "show", "outwork0"]).output().unwrap();
    let device: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let longest = ["gso_max_size", "gso_max_segs"].map(|name| device[0][name].as_u64().unwrap());
    assert!(longest[0] >= 65_535 && longest[1] >= 65_535, "what is passed on comes whole: {longest:?}");
    let told = pair.tunnel();
    assert_eq!((&told["peer"], &told["endpoint"]), (&"other".into(), &format!("{}:51820", OUTER[1]).into()), "{told}");
    assert!(told["keys_age_seconds"].as_f64().is_some(), "{told}");
    assert_eq!((&told["refused"], &told["foreign"]), (&0.into(), &0.into()), "{told}");
}

/// Octets go both ways between a site and another implementation, of which only one knows where to begin: first that, then the site.
fn speaks_with(program: Program) {
    let psk = Keys::new().private;
    let at = |end: usize| format!("{}:51820", OUTER[end]);
    for (ours, theirs) in [(String::new(), at(0)), (format!("endpoint = '{}'", at(1)), String::new())] {
        let mut pair = Pair::new();
        pair.start(&format!("preshared_key = '{psk}'\n{ours}"));
        let _other = Other::start(program, &pair.far.server, &pair.keys[1], &pair.keys[0], &psk, &theirs);
        pair.speaks();
        let told = pair.tunnel();
        assert!(told["endpoint"].as_str().is_some_and(|at| at.starts_with(OUTER[1])), "{told}");
        assert_eq!((&told["refused"], &told["foreign"]), (&0.into(), &0.into()), "{told}");
    }
}

#[test]
fn wireguard_go_and_a_site_speak_to_each_other_whoever_begins() {
    speaks_with(peer::WIREGUARD_GO);
}

#[test]
fn boringtun_cli_and_a_site_speak_to_each_other_whoever_begins() {
    if peer::BORINGTUN.is_there() {
        speaks_with(peer::BORINGTUN);
    }
}

#[test]
fn gotatun_cli_and_a_site_speak_to_each_other_whoever_begins() {
    if peer::GOTATUN.is_there() {
        speaks_with(peer::GOTATUN);
    }
}

/// Longer than keys are used (WireGuard whitepaper 6.1: new ones are made after 120 s).
const KEYS: Duration = Duration::from_secs(130);

/// Sends octets from one end to the other for so long, a few at a time, and has them back.
fn goes_on(from: &Namespace, to: &Namespace, address: &str, time: Duration) {
    let local: SocketAddr = format!("{address}:7779").parse().unwrap();
    let listener = to.run(|| TcpListener::bind(local)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut octets = [0; 4096];
            while let Ok(()) = stream.read_exact(&mut octets) {
                stream.write_all(&octets).unwrap();
            }
        });
        let mut stream = from.run(|| TcpStream::connect_timeout(&local, PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (begun, mut number) = (Instant::now(), 0_u64);
        let mut heard = [0; 4096];
        while begun.elapsed() < time {
            let octets = number.to_be_bytes().repeat(512);
            stream.write_all(&octets).unwrap();
            stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("after {:?}: {error}", begun.elapsed()));
            assert!(heard[..] == octets[..], "what comes back is not what was sent, after {:?}", begun.elapsed());
            number += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

/// A conversation with another implementation that is longer than its keys are used, whoever has begun: who has makes new ones.
fn goes_on_with(program: Program) {
    let at = |end: usize| format!("{}:51820", OUTER[end]);
    std::thread::scope(|scope| {
        for (ours, theirs) in [(String::new(), at(0)), (format!("endpoint = '{}'", at(1)), String::new())] {
            scope.spawn(move || {
                let mut pair = Pair::new();
                pair.start(&ours);
                let _other = Other::start(program, &pair.far.server, &pair.keys[1], &pair.keys[0], "", &theirs);
                // Whoever knows where to begin says the first word.
                let (from, to, address) = match ours.is_empty() {
                    true => (&pair.far.server, &pair.site.server, INNER[0]),
                    false => (&pair.site.server, &pair.far.server, INNER[1]),
                };
                goes_on(from, to, address, KEYS);
                let told = pair.tunnel();
                let age = told["keys_age_seconds"].as_f64().unwrap();
                assert!(age < KEYS.as_secs_f64() / 2.0, "no keys have taken over: {told}");
                assert_eq!((&told["refused"], &told["foreign"]), (&0.into(), &0.into()), "{told}");
            });
        }
    });
}

#[test]
fn a_conversation_with_wireguard_go_goes_on_while_keys_take_over_from_each_other() {
    if peer::WIREGUARD_GO.has_time() {
        goes_on_with(peer::WIREGUARD_GO);
    }
}

#[test]
fn a_conversation_with_boringtun_cli_goes_on_while_keys_take_over_from_each_other() {
    if peer::BORINGTUN.has_time() {
        goes_on_with(peer::BORINGTUN);
    }
}

#[test]
fn a_conversation_with_gotatun_cli_goes_on_while_keys_take_over_from_each_other() {
    if peer::GOTATUN.has_time() {
        goes_on_with(peer::GOTATUN);
    }
}

#[test]
fn an_upgrade_leaves_the_device_as_it_is_and_who_is_joined_is_joined_again() {
    let mut pair = Pair::new();
    pair.start("");
    // Only the other end knows where to begin, and it does not know of the upgrade.
    let _other = pair.other();
    pair.speaks();
    let device = || {
        let output = pair.site.server.command("cat").arg("/proc/net/dev_snmp6/outwork0").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().next().unwrap().split_whitespace().nth(1).unwrap().parse::<u32>().unwrap()
    };
    let before = device();
    let listener = pair.site.server.run(|| TcpListener::bind((INNER[0], 7778))).unwrap();
    let mut stream = pair.far.server.run(|| TcpStream::connect((INNER[0], 7778))).unwrap();
    let (mut heard, _) = listener.accept().unwrap();
    let mut say = |what: &[u8]| {
        stream.write_all(what).unwrap();
        heard.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut octets = [0; 5];
        heard.read_exact(&mut octets).unwrap();
        assert_eq!(octets, what);
    };
    say(b"hello");
    pair.site.admin(&["upgrade"]);
    say(b"again");
    wait_for(
        "the other process to answer",
        || pair.site.log(),
        || {
            let keys = pair.tunnel()["keys_age_seconds"].as_f64();
            keys.filter(|_| pair.site.log().contains("another process serves in the place of this one"))
        },
    );
    assert_eq!(device(), before, "it is the same device");
    pair.speaks();
}

#[test]
fn an_uplink_that_is_left_to_the_kernel_is_carried_by_it_or_else_by_this_process_or_not_at_all() {
    let mut pair = Pair::new();
    let own = section(&pair.keys[0], &pair.keys[1], 0, &format!("endpoint = '{}:51820'", OUTER[1]));
    let left = |carrier: &str| own.replace("name = 'wan'\n", &format!("name = 'wan'\ncarrier = '{carrier}'\n"));
    pair.site.configure(&left("auto"));
    pair.site.start();
    pair.far.configure(&section(&pair.keys[1], &pair.keys[0], 1, ""));
    pair.far.start();
    pair.speaks();
    let carrier = pair.tunnel()["carrier"].clone();
    pair.site.terminate();
    pair.site.configure(&left("kernel"));
    if carrier == "kernel" {
        pair.site.start();
        return pair.speaks();
    }
    assert_eq!(carrier, "process");
    let told = pair.site.start_in_vain();
    assert!(told.contains("sdwan.uplink wan is to be carried by the kernel, and it has no WireGuard"), "{told}");
    assert!(told.contains("carrier = \"auto\""), "{told}");
}

#[test]
fn packets_of_sources_that_are_not_behind_a_peer_are_dropped_and_counted() {
    let mut pair = Pair::new();
    pair.start("");
    let other = pair.other();
    pair.speaks();
    pair.far.server.ip(&format!("addr add 10.99.0.77/32 dev {}", other.device));
    let socket = pair.far.server.run(|| UdpSocket::bind("10.99.0.77:0")).unwrap();
    wait_for(
        "a packet to be counted as foreign",
        || pair.site.log(),
        || {
            let _ = socket.send_to(b"who am I?", (INNER[0], 9));
            (pair.tunnel()["foreign"].as_u64()? > 0).then_some(())
        },
    );
}

#[test]
fn who_is_taken_out_of_the_configuration_is_heard_no_more_and_who_stays_goes_on() {
    let mut pair = Pair::new();
    pair.start("");
    let _other = pair.other();
    pair.speaks();
    let stranger = Keys::new();
    let with = section(&pair.keys[0], &pair.keys[1], 0, "");
    let more = format!(
        "{with}[[sdwan.peer]]\nname = 'more'\npublic_key = '{}'\nallowed_ips = ['10.98.0.0/16']\n",
        stranger.public
    );
    pair.site.configure(&more);
    pair.site.admin(&["reload"]);
    let age = pair.tunnel()["keys_age_seconds"].as_f64();
    assert!(age.is_some(), "it goes on with the keys that it has");
    let routes =
        pair.site.server.command("ip").args(["route", "show", "dev", "outwork0", "table", "51857"]).output().unwrap();
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    assert!(routes.contains("10.98.0.0/16"), "{routes}");
    pair.speaks();
    let without = with.split("[[sdwan.peer]]").next().unwrap().to_owned();
    pair.site.configure(&without);
    pair.site.admin(&["reload"]);
    assert_eq!(pair.site.json(&["tunnels"])["tunnels"], serde_json::json!([]));
    let socket = pair.far.server.run(|| UdpSocket::bind((INNER[1], 0))).unwrap();
    let strangers = || {
        let told = pair.site.get("/metrics").unwrap();
        let begin = "outwork_sdwan_lost_total{reason=\"stranger\"} ";
        told.lines().find_map(|line| line.strip_prefix(begin)).map_or(0.0, |count| count.trim().parse().unwrap())
    };
    wait_for(
        "what comes by the old keys to be of nobody",
        || pair.site.log(),
        || {
            let _ = socket.send_to(b"still there?", (INNER[0], 9));
            (strangers() > 0.0).then_some(())
        },
    );
}
