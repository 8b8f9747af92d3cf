//! A flood of packets that mean harm, over UDP, against a server on real sockets with its log on a disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod packets;

use outwork_dhcp::config::Dhcp;
use outwork_dhcp::metrics::DhcpMetrics;
use outwork_dhcp::policy::Policy;
use outwork_dhcp::server::{Options, Server, Service};
use outwork_engine::Rng;
use outwork_net::testing::Lab;
use outwork_store::log::LogOptions;
use outwork_telemetry::{Collect, Value};
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PACKETS: u64 = 100_000;
/// Packets sent before the server is waited for: what any socket buffer holds.
const WINDOW: u64 = 50;
/// KiB of memory that the process may have more after the flood than after its first tenth.
const GROWTH: u64 = 4 << 10;

const FILE: &str = "[dhcp]
listen = ['127.0.0.1:0']
conflict_detection = 'off'
leasequery = ['0.0.0.0/0']
[[dhcp.subnet]]
id = 1
prefix = '192.0.2.0/24'
interface = 'lo'
relay = ['10.0.0.9']
pools = [{ range = '192.0.2.10-192.0.2.127' }]
[[dhcp.subnet]]
id = 2
prefix = '10.9.0.0/24'
relay = ['127.0.0.1']
pools = [{ range = '10.9.0.10-10.9.0.99' }]
";

outwork_config::section! {
    /// The file.
    pub struct Root {
        /// The service.
        pub dhcp: Dhcp,
    }
}

/// Memory of this process that is resident, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The counter's cells, by label; the same sums that `/metrics` shows.
fn counted(metrics: &DhcpMetrics, name: &str) -> Vec<(String, u64)> {
    let mut families = Vec::new();
    metrics.collect(&mut families);
    let name = format!("outwork_dhcp_{name}_total");
    let family = families.into_iter().find(|family| family.desc.name == name).unwrap();
    let cell = |sample: outwork_telemetry::Sample| match sample.value {
        Value::Number(number) => (sample.labels[0].1.to_string(), number as u64),
        Value::Histogram(_) => panic!("{name} counts"),
    };
    family.samples.into_iter().map(cell).collect()
}

fn sum(metrics: &DhcpMetrics, name: &str) -> u64 {
    counted(metrics, name).iter().map(|(_, count)| count).sum()
}

/// Dropped before they were taken for requests, and after.
fn dropped(metrics: &DhcpMetrics) -> (u64, u64) {
    let before = |reason: &str| ["too_long", "bad_frame", "no_server_address"].contains(&reason);
    counted(metrics, "dropped").iter().fold((0, 0), |(unread, requests), (reason, count)| match before(reason) {
        true => (unread + count, requests),
        false => (unread, requests + count),
    })
}

/// Packets that have met their fate, whatever it was.
fn received(metrics: &DhcpMetrics) -> u64 {
    let kinds = ["requests", "malformed", "kernel_drops"];
    dropped(metrics).0 + kinds.iter().map(|name| sum(metrics, name)).sum::<u64>()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// DISCOVER and REQUEST of a new client behind a relay agent on this host; true if it gets an address.
fn is_served(server: SocketAddrV4) -> bool {
    let relay = UdpSocket::bind("127.0.0.1:0").unwrap();
    relay.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let ask = |kind: u8, options: &[u8]| {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[24..28].copy_from_slice(&[127, 0, 0, 1]);
        bytes[28..34].copy_from_slice(&[2, 0x0f, 0, 0, 0, 1]);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        // RFC 8357: the answer comes to the port that asked.
        bytes.extend([82, 4, 19, 2, 0, 0, 255]);
        relay.send_to(&bytes, server).unwrap();
        let mut answer = [0; 1500];
        let len = relay.recv(&mut answer).ok()?;
        Some((
            answer[..len].windows(3).find(|option| option[..2] == [53, 1])?[2],
            [answer[16], answer[17], answer[18], answer[19]],
        ))
    };
    let Some((2, [a, b, c, d])) = ask(1, &[]) else { return false };
    ask(3, &[50, 4, a, b, c, d, 54, 4, 127, 0, 0, 1]) == Some((5, [a, b, c, d]))
}

#[test]
fn a_server_counts_each_of_a_hundred_thousand_hostile_packets_does_not_grow_and_goes_on_serving() {
    let lab = Lab::new();
    lab.namespace("alone").run(|| {
        let data = tempfile::TempDir::new().unwrap();
        let sources =
            outwork_config::Sources { file: Some(("test.toml".into(), FILE.to_owned())), ..Default::default() };
        let dhcp = outwork_config::load::<Root>(sources).unwrap_or_else(|faults| panic!("{faults}")).value.dhcp;
        let policy = Arc::new(Policy::compile(&dhcp, 1).unwrap_or_else(|faults| panic!("{faults:?}")));
        let opened = Service::open(LogOptions::new(data.path()), policy, Arc::new(DhcpMetrics::default()), None);
        let service = opened.unwrap().0;
        let server = Server::start(&service, &Options { workers: 2, ..Options::from(&dhcp) }).unwrap();
        let (metrics, to) = (service.metrics(), server.listening()[0]);

        let (corpus, mut rng) = (packets::corpus("dhcp_codec"), Rng::new(1));
        let mut sockets = Vec::new();
        for _ in 0..4 {
            sockets.push(UdpSocket::bind("127.0.0.1:0").unwrap());
        }
        let mut early = 0;
        for sent in 1..=PACKETS {
            let socket = &sockets[rng.below(4) as usize];
            socket.send_to(&packets::hostile(&mut rng, &corpus), to).unwrap();
            if sent.is_multiple_of(WINDOW) {
                until("every packet is counted", || received(metrics) == sent);
            }
            if sent == PACKETS / 10 {
                early = resident();
            }
        }
        until("no answer waits", || metrics.parked.get() == 0);
        let answered = || sum(metrics, "replies") + sum(metrics, "silent") + dropped(metrics).1;
        until("every request has its answer or its reason", || answered() == sum(metrics, "requests"));
        assert_eq!(received(metrics), PACKETS, "none is counted twice");
        for (reason, count) in counted(metrics, "malformed") {
            assert!(count > 0, "{reason} was never met");
        }
        assert!(
            counted(metrics, "requests").iter().all(|(_, count)| *count > 0),
            "each kind of request was among them"
        );
        let late = resident();
        println!("{early} KiB early, {late} KiB late");
        assert!(late < early + GROWTH, "{early} KiB resident early and {late} KiB late");
        assert!(is_served(to), "a client gets its address");
    });
}
