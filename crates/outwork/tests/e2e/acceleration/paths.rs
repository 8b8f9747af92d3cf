//! Paths that take less than the interfaces at their ends: packets that do not fit, what is said of them, and those that come in parts.

use std::io::Read;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use outwork_net::testing::Namespace;

use super::ways::{VIP_V6, by_ipv6, configure};
use super::{Rooms, VIP, exchange, run};
use crate::{PATIENCE, wait_for};

/// One more client, to whom the first is the router.
fn far_client(rooms: &Rooms) -> Namespace {
    let (far, router) = (rooms.site.lab.namespace("far"), &rooms.client);
    rooms.site.lab.veth((&far, "eth0"), (router, "r0"));
    run(&far, "ethtool", &["-K", "eth0", "tx", "off"]);
    run(router, "sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    far.ip("addr add 10.8.0.2/24 dev eth0");
    far.ip("-6 addr add fd00:8::2/64 dev eth0 nodad");
    router.ip("addr add 10.8.0.1/24 dev r0");
    router.ip("-6 addr add fd00:8::1/64 dev r0 nodad");
    far.ip("route add default via 10.8.0.1");
    far.ip("-6 route add default via fd00:8::1");
    rooms.site.server.ip("route add 10.8.0.0/24 via 10.9.0.2 dev c0");
    far
}

/// A connection of that client, which the backend sees.
fn connect(rooms: &Rooms, far: &Namespace, vip: &str) -> TcpStream {
    let address: SocketAddr = vip.parse().unwrap();
    let mut stream = far.run(|| TcpStream::connect_timeout(&address, PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = [0; 2];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello[1], 2, "the backend sees who it is: {}", rooms.site.log());
    stream
}

/// Waits until packets are counted of which this has become.
fn wait_for_packets(rooms: &Rooms, reason: &str) {
    let label = format!("reason=\"{reason}\"");
    let is_it = |line: &str| line.contains("fastpath_packets") && line.contains(&label) && !line.ends_with(" 0");
    let are_counted = || rooms.site.get("/metrics")?.lines().any(|line| is_it(line.trim_end())).then_some(());
    wait_for(reason, || rooms.site.admin(&["stats", "proxy_fastpath"]), are_counted);
}

fn a_backend_hears_of_a_narrow_path(tier: &str, word: &str) {
    let mut rooms = Rooms::new();
    let far = far_client(&rooms);
    rooms.configure(&format!("tiers = ['{tier}']"));
    rooms.site.start();
    rooms.wait_for_tier(word);
    rooms.client.ip("route add 10.8.0.2/32 dev r0 mtu lock 1000");
    exchange(&mut connect(&rooms, &far, VIP), 300_000);
    wait_for_packets(&rooms, "icmp_error");
    rooms.site.terminate();
}

#[test]
fn a_backend_hears_by_xdp_that_its_packets_do_not_fit_and_all_of_it_arrives() {
    a_backend_hears_of_a_narrow_path("xdp", "xdp-native");
}

#[test]
fn a_backend_hears_by_tc_that_its_packets_do_not_fit_and_all_of_it_arrives() {
    a_backend_hears_of_a_narrow_path("tc", "tc");
}

#[test]
fn a_backend_hears_by_af_xdp_that_its_packets_do_not_fit_and_all_of_it_arrives() {
    a_backend_hears_of_a_narrow_path("af_xdp", "af_xdp-native");
}

#[test]
fn a_backend_on_ipv6_hears_that_its_packets_do_not_fit_and_all_of_it_arrives() {
    for (tier, word) in [("xdp", "xdp-native"), ("tc", "tc")] {
        let mut rooms = by_ipv6();
        let far = far_client(&rooms);
        rooms.site.server.ip("-6 route add fd00:8::/64 via fd00:9::2 dev c0");
        rooms.client.ip("-6 route replace default via fd00:9::1 dev eth0");
        let acceleration = format!("interfaces = ['c0', 'b1', 'b2']\ntiers = ['{tier}']");
        configure(&rooms, "nat", VIP_V6, ["[fd00:2:1::2]", "[fd00:2:2::2]"], &acceleration);
        rooms.site.start();
        rooms.wait_for_tier(word);
        rooms.client.ip("-6 route add fd00:8::2/128 dev r0 mtu lock 1280");
        exchange(&mut connect(&rooms, &far, VIP_V6), 300_000);
        wait_for_packets(&rooms, "icmp_error");
        rooms.site.terminate();
    }
}

/// A client that lets routers part its packets does not lose its connection by that: what comes in parts is lost until it comes whole.
fn parts_end_no_connection(tier: &str, word: &str) {
    let mut rooms = Rooms::new();
    let far = far_client(&rooms);
    run(&far, "sysctl", &["-qw", "net.ipv4.ip_no_pmtu_disc=1"]);
    rooms.configure(&format!("tiers = ['{tier}']"));
    rooms.site.start();
    rooms.wait_for_tier(word);
    let mut stream = connect(&rooms, &far, VIP);
    exchange(&mut stream, 100);
    let narrow = format!("{}/32", VIP.trim_end_matches(":80"));
    rooms.client.ip(&format!("route add {narrow} via 10.9.0.1 mtu lock 600"));
    std::thread::scope(|scope| {
        let talk = scope.spawn(|| exchange(&mut stream, 5_000));
        wait_for_packets(&rooms, "unusual");
        rooms.client.ip(&format!("route del {narrow}"));
        talk.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
    });
    rooms.site.terminate();
}

#[test]
fn packets_that_come_in_parts_end_no_connection_by_xdp() {
    parts_end_no_connection("xdp", "xdp-native");
}

#[test]
fn packets_that_come_in_parts_end_no_connection_by_tc() {
    parts_end_no_connection("tc", "tc");
}

#[test]
fn packets_that_come_in_parts_end_no_connection_by_af_xdp() {
    parts_end_no_connection("af_xdp", "af_xdp-native");
}

#[test]
fn a_datagram_that_comes_in_parts_is_answered_by_sockets() {
    for (tier, word) in [("xdp", "xdp-native"), ("tc", "tc"), ("af_xdp", "af_xdp-native")] {
        let mut rooms = Rooms::new();
        rooms.configure(&format!("tiers = ['{tier}']"));
        rooms.site.start();
        rooms.wait_for_tier(word);
        rooms.be(12);
        let socket = rooms.client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.connect(VIP).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let ask = || {
            let mut answer = [0; 8];
            socket.send(&[7; 4_000]).ok()?;
            socket.recv(&mut answer).ok().map(|length| answer[..length].to_vec())
        };
        let answer = wait_for("an answer by the sockets", || rooms.site.log(), ask);
        assert_eq!(answer[1], 1, "the backend sees who has the sockets");
        // Ports get what is for their engine, and of parts nobody counts how many went by.
        if tier != "af_xdp" {
            wait_for_packets(&rooms, "fragment");
        }
        rooms.site.terminate();
    }
}

#[test]
fn a_client_hears_that_nobody_listens_where_its_backend_is() {
    for (tier, word) in [("xdp", "xdp-native"), ("tc", "tc"), ("af_xdp", "af_xdp-native")] {
        let mut rooms = Rooms::new();
        rooms.site.configure(&format!(
            "[[proxy.listener]]\nname = 'datagrams'\nprotocol = 'udp'\naddress = ['{VIP}']\npool = 'udp'\nforwarding = 'nat'\n\
             [proxy.pool.udp]\npolicy = 'ip_hash'\nbackend = [{{ url = 'udp://10.2.1.2:81' }}]\n\
             [proxy.acceleration]\ninterfaces = ['c0', 'b1', 'b2']\ntiers = ['{tier}']\n"
        ));
        rooms.site.start();
        rooms.wait_for_tier(word);
        rooms.be(12);
        let socket = rooms.client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        socket.connect(VIP).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let is_refused = || {
            let heard = socket.send(b"who?").and_then(|_| socket.recv(&mut [0; 8]));
            heard.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
        };
        wait_for("it to be refused", || rooms.site.admin(&["stats", "proxy_fastpath"]), is_refused);
        wait_for_packets(&rooms, "icmp_error");
        rooms.site.terminate();
    }
}
