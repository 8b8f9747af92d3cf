//! Changes that the kernel refuses, at every stage, in namespaces.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use outwork_net::testing::{Lab, Namespace};
use outwork_wireguard::PrivateKey;
use outwork_wireguard::entropy::System;

use super::super::tests::{Pair, read, wait_for};
use super::*;

/// Shapes the uplink `two` as well, has another address, and a peer with its network: what a change is that would be much.
fn much(text: &str) -> String {
    let key = PrivateKey::generate(&mut System::default()).unwrap();
    let text = text.replace("addresses = ['10.100.0.1/16']", "addresses = ['10.100.0.7/16', '10.97.0.1/24']");
    format!(
        "{text}[[peer]]\nname = 'phone'\npublic_key = '{}'\nallowed_ips = ['10.98.0.0/16']\n\
         [qos]\nenabled = true\n[qos.uplink.one]\nrate = 90_000_000\n[qos.uplink.two]\nrate = 80_000_000\n",
        key.public(),
    )
}

/// Everything that a change may touch.
#[derive(Debug, PartialEq)]
struct Picture {
    kernel: Vec<String>,
    tunnels: Vec<usize>,
    said: usize,
    peers: Vec<String>,
    marking: crate::plane::marking::Marking,
}

fn said(room: &Namespace, program: &str, words: &str) -> String {
    let output = room.command(program).args(words.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Picture {
    fn of(pair: &Pair) -> Picture {
        let (service, room) = (&pair.services[0], &pair.rooms[0]);
        let kernel = [
            ("ip", "-4 addr show"),
            ("ip", "-6 addr show"),
            ("ip", "-4 rule show"),
            ("ip", "-6 rule show"),
            ("ip", "-4 route show table all"),
            ("ip", "-6 route show table all"),
            ("tc", "qdisc show dev one"),
            ("tc", "class show dev one"),
            ("tc", "qdisc show dev two"),
            ("tc", "class show dev two"),
        ];
        let kernel = kernel.iter().flat_map(|(program, words)| {
            // What the kernel does with addresses of links it does when it sees fit.
            let told = said(room, program, words);
            told.lines().filter(|line| !line.contains("fe80:")).map(str::to_owned).collect::<Vec<_>>()
        });
        let kernel = kernel.collect();
        let view = service.shared().view.load();
        let mut tunnels: Vec<usize> =
            view.tunnels().filter(|one| one.sealer().is_some()).map(|one| Arc::as_ptr(one) as usize).collect();
        tunnels.sort_unstable();
        Picture {
            kernel,
            tunnels,
            said: Arc::as_ptr(&service.said()) as usize,
            peers: service
                .tell()
                .unwrap()
                .into_iter()
                .filter(|told| told.path.is_none())
                .map(|told| told.name)
                .collect(),
            marking: service.shared().marking.load().as_ref().clone(),
        }
    }
}

/// Whoever refuses, everything is as it was, and goes on.
fn is_as_it_was(pair: &Pair, before: &Picture, settings: &Sdwan, said: &str) {
    let refused = pair.services[0].apply(settings).unwrap_err().to_string();
    assert!(refused.contains(said), "{refused}");
    assert_eq!(&Picture::of(pair), before, "after {refused}");
    pair.send(20);
}

#[test]
fn a_change_that_is_refused_at_any_stage_leaves_everything_as_it_was() {
    let pair = Pair::new("strategy = 'duplicate'");
    let (room, service) = (&pair.rooms[0], &pair.services[0]);
    let before = Picture::of(&pair);
    assert_eq!(before.tunnels.len(), 2);

    let mut settings = read(&much(&pair.texts[0]));
    let one = settings.policy[0].clone();
    settings.policy.extend(std::iter::repeat_n(one, 300));
    is_as_it_was(&pair, &before, &settings, "sdwan.policy: ");

    room.ip("route add 198.18.0.0/15 dev one table 777");
    let before = Picture::of(&pair);
    let text = much(&pair.texts[0]).replace("workers = 1\n", "workers = 1\ntable = 777\n");
    is_as_it_was(&pair, &before, &read(&text), "sdwan.tunnel.table: ");

    said(room, "tc", "qdisc add dev two root handle 9: bfifo limit 44444");
    let before = Picture::of(&pair);
    is_as_it_was(&pair, &before, &read(&much(&pair.texts[0])), "two has a queueing discipline that is not ours");
    said(room, "tc", "qdisc del dev two root");

    // The kernel has no IPv6 on the device: neither an address nor a route.
    said(room, "sysctl", "-w net.ipv6.conf.outwork0.disable_ipv6=1");
    let before = Picture::of(&pair);
    let address = much(&pair.texts[0]).replace("'10.97.0.1/24'", "'10.97.0.1/24', 'fd97::1/64'");
    is_as_it_was(&pair, &before, &read(&address), "cannot add the address fd97::1/64");
    let route = much(&pair.texts[0]).replace("'10.98.0.0/16'", "'10.98.0.0/16', 'fd98::/48'");
    is_as_it_was(&pair, &before, &read(&route), "cannot add the route to fd98::/48");

    // And what nothing stands in the way of is done.
    service.apply(&read(&much(&pair.texts[0]))).unwrap();
    let after = Picture::of(&pair);
    assert_eq!((&after.tunnels, after.peers.as_slice()), (&before.tunnels, &["phone".to_owned()][..]));
    let has = |address: &str| after.kernel.iter().any(|told| told.contains(&format!("inet {address}/")));
    assert!(["10.100.0.7", "10.97.0.1"].into_iter().all(has), "{after:#?}");
    assert!(after.kernel.iter().any(|told| told.contains("10.98.0.0/16 dev outwork0 table 51857")), "{after:#?}");
    service.apply(&read(&pair.texts[0])).unwrap();
    assert_eq!(Picture::of(&pair).kernel, before.kernel);
    pair.send(20);
}

#[test]
fn a_network_that_this_machine_keeps_from_its_tunnels_is_told_of_for_as_long_as_it_does() {
    let pair = Pair::new("strategy = 'duplicate'");
    let (room, service, settings) = (&pair.rooms[0], &pair.services[0], read(&pair.texts[0]));
    let told = || service.hidden().iter().map(|one| (one.to_string(), one.is_dropped)).collect::<Vec<_>>();
    assert_eq!(told(), []);
    room.ip("route add blackhole 10.101.7.0/24");
    service.apply(&settings).unwrap();
    let why =
        "not all goes to 10.101.0.0/16 by tunnels: this machine drops what goes to 10.101.7.0/24, which comes first";
    assert_eq!(told(), [(why.to_owned(), true)]);
    room.ip("route del blackhole 10.101.7.0/24");
    service.apply(&settings).unwrap();
    assert_eq!(told(), []);
}

#[test]
fn shaping_that_was_taken_back_by_hand_is_not_begun_again_by_a_change_that_is_refused() {
    let pair = Pair::new("strategy = 'duplicate'");
    let service = &pair.services[0];
    let shaped = format!("{}[qos]\nenabled = true\n[qos.uplink.one]\nrate = 90_000_000\n", pair.texts[0]);
    service.apply(&read(&shaped)).unwrap();
    service.shape_no_longer().unwrap();
    let before = Picture::of(&pair);
    said(&pair.rooms[0], "sysctl", "-w net.ipv6.conf.outwork0.disable_ipv6=1");
    let before = Picture { kernel: Picture::of(&pair).kernel, ..before };
    let refused = shaped.replace("addresses = ['10.100.0.1/16']", "addresses = ['10.100.0.1/16', 'fd97::1/64']");
    is_as_it_was(&pair, &before, &read(&refused), "cannot add the address");
}

/// A machine, a router, and another machine, each with a network of its own to the router, over IPv4 or IPv6.
#[test]
fn all_that_a_machine_sends_goes_by_a_tunnel_whose_own_datagrams_go_by_the_uplink() {
    for (networks, loopback) in [
        (["192.0.2.1/24", "192.0.2.2/24", "198.51.100.1/24", "198.51.100.2/24"], "203.0.113.9"),
        (["fd01::1/64", "fd01::2/64", "fd02::1/64", "fd02::2/64"], "2001:db8:113::9"),
    ] {
        let lab = Lab::new();
        let [here, router, there] = ["here", "router", "there"].map(|name| lab.namespace(name));
        lab.veth((&here, "wan"), (&router, "here"));
        lab.veth((&there, "wan"), (&router, "there"));
        for ((room, name), net) in
            [(&here, "wan"), (&router, "here"), (&router, "there"), (&there, "wan")].into_iter().zip(networks)
        {
            let nodad = if net.contains(':') { " nodad" } else { "" };
            room.ip(&format!("addr add {net} dev {name}{nodad}"));
        }
        for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            said(&router, "sysctl", &format!("-w {name}=1"));
        }
        let [own, by_here, by_there, other] = networks.map(|net| net.split('/').next().unwrap());
        let own_family = if own.contains(':') { "-6" } else { "-4" };
        here.ip(&format!("{own_family} route add default via {by_here}"));
        there.ip(&format!("{own_family} route add default via {by_there}"));
        there.ip(&format!("addr add {loopback} dev lo"));
        let keys = [(); 2].map(|()| PrivateKey::generate(&mut System::default()).unwrap());
        let (any, inside) =
            if own.contains(':') { ("[::]", ["fd99::1", "fd99::2"]) } else { ("0.0.0.0", ["10.99.0.1", "10.99.0.2"]) };
        let all = if own.contains(':') { "::/0" } else { "0.0.0.0/0" };
        let text = |site: usize, more: String| {
            read(&format!(
                "[tunnel]\naddresses = ['{}/{}']\nworkers = 1\n[[uplink]]\nname = 'wan'\nlisten = ['{any}:51820']\nprivate_key = '{}'\n\
                 [[peer]]\nname = 'other'\npublic_key = '{}'\n{more}\n",
                inside[site],
                if own.contains(':') { 128 } else { 32 },
                keys[site].reveal().as_str(),
                keys[1 - site].public(),
            ))
        };
        let at = SocketAddr::new(other.parse().unwrap(), 51820);
        let settings = [
            text(0, format!("allowed_ips = ['{all}']\nendpoint = '{at}'\nkeepalive = '1s'")),
            text(1, format!("allowed_ips = ['{}']", inside[0])),
        ];
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let start = |site: usize| {
            let room = [&here, &there][site];
            room.run(|| Service::start(&settings[site], dirs[site].path())).unwrap()
        };
        let services = [start(0), start(1)];
        let has_keys = || services.iter().all(|one| one.tell().unwrap()[0].keys.is_some());
        wait_for("both to have keys", || format!("{:?}", services[0].tell().unwrap()), has_keys);
        let to = there.run(|| UdpSocket::bind((loopback, 5060))).unwrap();
        to.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let from = here.run(|| UdpSocket::bind((inside[0], 0))).unwrap();
        from.send_to(b"by the tunnel", (loopback, 5060)).unwrap();
        let mut octets = [0; 100];
        let (length, source) = to.recv_from(&mut octets).unwrap();
        assert_eq!((&octets[..length], source), (&b"by the tunnel"[..], from.local_addr().unwrap()));
        let rules = || said(&here, "ip", &format!("{own_family} rule show"));
        assert!(rules().contains("51857"), "{}", rules());
        services[0].end();
        assert!(!rules().contains("51857") && !rules().contains("30000:"), "{}", rules());
    }
}

/// Somebody far away speaks TCP to an address of a machine whose Internet is behind a peer.
#[test]
fn who_asks_a_machine_at_its_uplink_is_answered_by_that_though_all_else_goes_by_a_tunnel_and_by_its_next_address_too() {
    let lab = Lab::new();
    let (here, far) = (lab.namespace("here"), lab.namespace("far"));
    lab.veth((&here, "wan"), (&far, "wan"));
    here.ip("addr add 192.0.2.1/24 dev wan");
    here.ip("route add default via 192.0.2.2");
    far.ip("addr add 192.0.2.2/24 dev wan");
    far.ip("addr add 198.51.100.9/32 dev lo");
    far.ip("route replace 192.0.2.0/24 dev wan src 198.51.100.9");
    let key = PrivateKey::generate(&mut System::default()).unwrap();
    let settings = read(&format!(
        "[tunnel]\naddresses = ['10.99.0.1/32']\nworkers = 1\n[[uplink]]\nname = 'wan'\n\
         [[peer]]\nname = 'other'\npublic_key = '{}'\nallowed_ips = ['0.0.0.0/0']\n",
        key.public(),
    ));
    let dir = tempfile::tempdir().unwrap();
    let service = here.run(|| Service::start(&settings, dir.path())).unwrap();
    let listener = here.run(|| TcpListener::bind("0.0.0.0:22")).unwrap();
    let speaks = |to: &str| {
        let at = SocketAddr::new(to.parse().unwrap(), 22);
        far.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(20))).unwrap();
        let (_, stranger) = listener.accept().unwrap();
        assert_eq!(stranger.ip().to_string(), "198.51.100.9");
    };
    speaks("192.0.2.1");
    let by = |words: &str| said(&here, "ip", &format!("route get {words}"));
    assert!(by("198.51.100.9").contains("dev outwork0"), "what it begins itself goes by the tunnel");

    // Its provider gives it another address.
    let mut seen = 0;
    service.tend_routes(&mut seen).unwrap();
    here.ip("addr del 192.0.2.1/24 dev wan");
    here.ip("addr add 192.0.2.5/24 dev wan");
    here.ip("route replace default via 192.0.2.2");
    let tended = || {
        service.tend_routes(&mut { seen }).unwrap();
        said(&here, "ip", "rule show").contains("from 192.0.2.5 iif lo lookup main")
    };
    wait_for("the new address to be known", || said(&here, "ip", "rule show"), tended);
    speaks("192.0.2.5");
    wait_for(
        "the old one to be forgotten",
        || said(&here, "ip", "rule show"),
        || {
            service.tend_routes(&mut { seen }).unwrap();
            !said(&here, "ip", "rule show").contains("192.0.2.1 ")
        },
    );
}
