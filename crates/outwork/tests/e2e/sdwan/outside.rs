//! What is between two sites: IPv6 alone, a link that is narrow and says nothing of it, a stranger who lies about it, an address that changes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use outwork_net::testing::{self, Namespace};
use serde_json::Value as Json;

use super::super::site::Site;
use super::super::{PATIENCE, wait_for};
use super::peer::Keys;
use super::transfer;

/// Two sites, each with the uplink `wan`.
struct Two {
    sites: [Site; 2],
}

/// The addresses of a site within the tunnels.
fn inner(site: usize) -> [String; 2] {
    [format!("10.{}.0.1", 101 + site), format!("fd00:{}::1", 101 + site)]
}

/// The configuration of a site that listens there, and is joined to the other; who has an endpoint can be dialled.
fn section(site: usize, keys: &[Keys; 2], listen: &str, endpoints: [Option<&str>; 2]) -> String {
    let far = 1 - site;
    let endpoint = |at: Option<&str>| at.map(|at| format!("endpoint = '{at}'\n")).unwrap_or_default();
    let networks = |site: usize| format!("['10.{0}.0.0/16', 'fd00:{0}::/64']", 101 + site);
    let [v4, v6] = inner(site);
    format!(
        "[sdwan]\nsubnets = {}\n[sdwan.tunnel]\naddresses = ['{v4}/16', '{v6}/64']\nworkers = 1\n\
         [sdwan.health]\ntrial = '100ms'\ninterval = '200ms'\n\
         [[sdwan.uplink]]\nname = 'wan'\nlisten = ['{listen}']\nprivate_key = '{}'\n{}\
         [[sdwan.site]]\nname = 'far'\nsubnets = {}\n[[sdwan.site.uplink]]\nname = 'wan'\npublic_key = '{}'\n{}",
        networks(site),
        keys[site].private,
        endpoint(endpoints[site]),
        networks(far),
        keys[far].public,
        endpoint(endpoints[far]),
    )
}

impl Two {
    /// Both, with nothing between them yet.
    fn new() -> Two {
        Two { sites: [Site::new(""), Site::new("")] }
    }

    /// A cable between both, with these addresses.
    fn cable(&self, addresses: [&str; 2]) {
        let [a, b] = &self.sites;
        a.lab.veth((&a.server, "wan"), (&b.server, "wan"));
        for (site, address) in self.sites.iter().zip(addresses) {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            site.server.ip(&format!("addr add {address} dev wan{nodad}"));
        }
    }

    /// Starts both.
    fn start(&mut self, listen: &str, endpoints: [Option<&str>; 2]) {
        let keys = [Keys::new(), Keys::new()];
        for (number, site) in self.sites.iter_mut().enumerate() {
            site.configure(&section(number, &keys, listen, endpoints));
            site.start();
        }
        for site in 0..2 {
            wait_for("the path to be up", || self.told(), || (self.path(site)?["state"] == "up").then_some(()));
        }
    }

    fn told(&self) -> String {
        let told = |site: &Site| format!("{:#}\n{}", site.json(&["paths"]), site.log());
        format!("{}\n{}", told(&self.sites[0]), told(&self.sites[1]))
    }

    /// The path from a site to the other.
    fn path(&self, site: usize) -> Option<Json> {
        self.sites[site].json(&["paths"])["paths"].as_array()?.first().cloned()
    }

    /// How often paths of a site have gone down.
    fn downs(&self, site: usize) -> usize {
        let told = self.sites[site].json(&["paths"]);
        let events = told["events"].as_array().unwrap().iter();
        events.filter(|event| event["kind"] == "path" && event["to"] == "down").count()
    }

    /// Octets go both ways, over both versions of IP.
    fn speaks(&self) {
        let [north, south] = [&self.sites[0].server, &self.sites[1].server];
        for (from, to, site) in [(north, south, 1), (south, north, 0)] {
            let [v4, v6] = inner(site);
            transfer(from, to, &v4);
            transfer(from, to, &format!("[{v6}]"));
        }
    }
}

/// What a counter of a site shows.
fn counted(site: &Site, metric: &str) -> f64 {
    let told = site.get("/metrics").unwrap();
    told.lines().find_map(|line| line.strip_prefix(&format!("{metric} "))?.trim().parse().ok()).unwrap_or(0.0)
}

#[test]
fn sites_whose_uplinks_have_addresses_of_ipv6_alone_speak_over_both_versions_inside() {
    let mut two = Two::new();
    two.cable(["2001:db8::1/64", "2001:db8::2/64"]);
    two.start("[::]:51820", [Some("[2001:db8::1]:51820"), Some("[2001:db8::2]:51820")]);
    let told = two.sites[0].server.command("ip").args(["-4", "-o", "addr", "show", "dev", "wan"]).output().unwrap();
    assert!(told.stdout.is_empty(), "there is no address of IPv4 outside");
    for address in inner(1) {
        let ping = two.sites[0].server.command("busybox").args(["ping", "-c", "3", "-W", "5", &address]).output();
        assert!(ping.unwrap().status.success(), "{address}\n{}", two.told());
    }
    two.speaks();
    let path = two.path(0).unwrap();
    assert_eq!(path["endpoint"], "[2001:db8::2]:51820", "{path}");
}

#[test]
fn a_link_on_the_way_that_swallows_long_packets_and_says_nothing_is_found_and_tcp_goes_through() {
    let mut two = Two::new();
    let [a, b] = &two.sites;
    let middle = a.lab.namespace("middle");
    for (number, site) in [a, b].into_iter().enumerate() {
        let name = format!("to{number}");
        a.lab.veth((&site.server, "wan"), (&middle, &name));
        site.server.ip(&format!("addr add 192.0.{}.1/24 dev wan", 2 + number));
        middle.ip(&format!("addr add 192.0.{}.254/24 dev {name}", 2 + number));
        // Only here: what sites send is as long as their own ends of the cables let it be.
        middle.ip(&format!("link set {name} mtu 1400"));
        site.server.ip(&format!("route add default via 192.0.{}.254", 2 + number));
    }
    let silent = "echo 1 > /proc/sys/net/ipv4/ip_forward && \
         nft 'table ip quiet { chain out { type filter hook output priority 0; ip protocol icmp drop; }; }'";
    assert!(middle.command("sh").args(["-c", silent]).status().unwrap().success());
    two.start("0.0.0.0:51820", [Some("192.0.2.1:51820"), Some("192.0.3.1:51820")]);
    two.speaks();
    // Of 1400 octets, 28 are of IP and UDP, and 32 of what seals the packet.
    let longest = 1400 - 28 - 32;
    for site in 0..2 {
        wait_for(
            "the length of packets to be found",
            || two.told(),
            || {
                let mtu = two.path(site)?["mtu"].as_u64()?;
                assert!(mtu <= longest, "{mtu} do not pass");
                (mtu > 1280).then_some(())
            },
        );
    }
    two.speaks();
    assert!((0..2).all(|site| two.path(site).unwrap()["state"] == "up"), "{}", two.told());
}

/// Says of a site's datagrams what is not so, as often as it can, until it is over.
fn lie(room: &Namespace, over: &AtomicBool) {
    let [own, far]: [SocketAddr; 2] = ["192.0.2.1:51820", "192.0.2.2:51820"].map(|at| at.parse().unwrap());
    let socket = room.run(testing::icmp).unwrap();
    // Networks, hosts and ports that cannot be reached, a datagram that is too long, a route of the sender's that failed, a rule.
    let lies: Vec<_> = [0, 1, 3, 4, 5, 13]
        .into_iter()
        .map(|code| testing::unreachable(code, own, far, &[4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0]))
        .collect();
    while !over.load(Ordering::SeqCst) {
        for lie in &lies {
            // What the kernel does not take is one less.
            let _ = socket.send_to(lie, "192.0.2.1:0");
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_stranger_who_floods_a_site_with_icmp_takes_no_path_down_and_is_counted() {
    let mut two = Two::new();
    two.cable(["192.0.2.1/24", "192.0.2.2/24"]);
    let site = &two.sites[0];
    let street = site.lab.namespace("street");
    site.lab.veth((&site.server, "street"), (&street, "wan"));
    site.server.ip("addr add 198.51.100.1/24 dev street");
    street.ip("addr add 198.51.100.2/24 dev wan");
    street.ip("route add default via 198.51.100.1");
    two.start("0.0.0.0:51820", [Some("192.0.2.1:51820"), Some("192.0.2.2:51820")]);
    two.speaks();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever fails below, it ends.
        let _ends = Ends(&over);
        let before = [0, 1].map(|site| two.downs(site));
        scope.spawn(|| lie(&street, &over));
        let known = || counted(&two.sites[0], "outwork_sdwan_icmp_total{reason=\"stranger\"}");
        let wait = |least: f64| {
            wait_for("lies to be counted", || two.told(), || (known() >= least).then_some(()));
        };
        wait(500.0);
        two.speaks();
        wait(known() + 500.0);
        two.speaks();
        assert_eq!([0, 1].map(|site| two.downs(site)), before, "{}", two.told());
        assert_eq!(counted(&two.sites[0], "outwork_sdwan_icmp_total{reason=\"heard\"}"), 0.0, "nobody is believed");
        assert!((0..2).all(|site| two.path(site).unwrap()["state"] == "up"), "{}", two.told());
    });
}

#[test]
fn a_connection_goes_on_when_the_address_of_an_uplink_changes() {
    let mut two = Two::new();
    two.cable(["192.0.2.1/24", "192.0.2.2/24"]);
    // Nobody knows where the first is, until it dials.
    two.start("0.0.0.0:51820", [None, Some("192.0.2.2:51820")]);
    let [here, there] = [&two.sites[0].server, &two.sites[1].server];
    let [at, _] = inner(1);
    let listener = there.run(|| TcpListener::bind((at.as_str(), 7000))).unwrap();
    let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = [0; 8];
            while stream.read_exact(&mut octets).is_ok() {
                stream.write_all(&octets).unwrap();
            }
        });
        scope.spawn(|| {
            let mut stream = here.run(|| TcpStream::connect((at.as_str(), 7000))).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut number = 0_u64;
            while !over.load(Ordering::SeqCst) {
                number += 1;
                stream.write_all(&number.to_be_bytes()).unwrap();
                let mut back = [0; 8];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(u64::from_be_bytes(back), number, "each octet comes once, and in order");
                count.store(number, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let goes_on = |what: &str| {
            let before = count.load(Ordering::SeqCst);
            wait_for(what, || two.told(), || (count.load(Ordering::SeqCst) > before + 50).then_some(()));
        };
        goes_on("the first octets");
        for host in [77, 78] {
            here.ip("addr flush dev wan");
            here.ip(&format!("addr add 192.0.2.{host}/24 dev wan"));
            goes_on("octets from another address");
            wait_for(
                "the other site to know where it is",
                || two.told(),
                || (two.path(1)?["endpoint"] == format!("192.0.2.{host}:51820")).then_some(()),
            );
        }
        goes_on("octets after all that");
        over.store(true, Ordering::SeqCst);
    });
    two.speaks();
}

/// Has others end when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
