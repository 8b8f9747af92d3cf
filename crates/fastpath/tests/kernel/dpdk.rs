//! Forwarding by the engine between ports of DPDK, on virtual devices: the environment is one of the whole process, and so is the test that has it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use outwork_balance::Pool;
use outwork_fastpath::forward::{Hop, Query};
use outwork_fastpath::port::Pump;
use outwork_fastpath::port::dpdk::{DpdkError, DpdkPort, Environment, Shape};
use outwork_fastpath::tables::Tables;
use outwork_fastpath::{Apply, Fastpath, Mode, Protocol, Registry, ServiceSettings, Tier, Vip};
use outwork_wire::MacAddr;

use crate::site::{Family, Site, ask, exchange, pool_settings, settings};

const SHAPE: Shape = Shape { frames: 2047, descriptors: 512, batch: 32 };
const INTERFACES: [&str; 4] = ["c0", "b1", "b2", "b3"];

/// The hardware address of who is at the other end.
fn other_end(number: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 7, number as u8])
}

#[test]
fn everything_arrives_by_ports_of_dpdk() {
    let site = Site::new(Tier::Xdp(Mode::Native));
    for (number, room) in ["client", "one", "two", "three"].iter().enumerate() {
        site.lab.ip(room, &format!("link set eth0 address {}", other_end(number)));
    }
    // The kernel sees these frames as well, and is to have no opinion.
    site.lab.set("balancer", "ipv4.ip_forward=0");
    let indices = INTERFACES.map(|interface| site.lab.index("balancer", interface));
    let (done, (is_ready, ready)) = (AtomicBool::new(false), std::sync::mpsc::channel());
    std::thread::scope(|scope| {
        let (site, done) = (&site, &done);
        let pump = scope.spawn(move || {
            site.lab.within("balancer", || {
                let vdevs = INTERFACES.iter().enumerate().map(|(at, name)| format!("net_af_packet{at},iface={name}"));
                let environment = Environment { memory: 256, vdevs: vdevs.collect(), ..Environment::default() };
                environment.start().unwrap();
                assert_eq!(environment.start(), Err(DpdkError::Twice));
                assert!(DpdkPort::open("net_af_packet9", 1, SHAPE).is_err());
                let ports = indices
                    .iter()
                    .enumerate()
                    .map(|(at, index)| DpdkPort::open(&format!("net_af_packet{at}"), *index, SHAPE).unwrap());
                let mut pump = Pump::new(ports.collect());
                let (mut registry, begin) = Registry::new(settings());
                let mut tables = Tables::new(&settings().sizes);
                begin.iter().for_each(|write| tables.apply(write).unwrap());
                let pool = Pool::new(pool_settings(Family::V4, &[0, 1, 2])).unwrap();
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    let vip = Vip::new(Family::V4.vip(), protocol);
                    let address = |key: &str| key.parse().ok();
                    let now = Fastpath::kernel_time();
                    let writes = registry.serve(vip, ServiceSettings::default(), &pool, address, now).unwrap();
                    writes.iter().for_each(|write| tables.apply(write).unwrap());
                }
                let routes = |query: &Query| {
                    let number = (0..3).find(|number| Family::V4.backend(*number).ip() == query.destination);
                    let number = number.map_or(0, |number| number + 1);
                    Hop::To {
                        ifindex: indices[number],
                        destination: other_end(number),
                        source: MacAddr([2, 0, 0, 0, 8, 1]),
                    }
                };
                is_ready.send(()).unwrap();
                while !done.load(Ordering::Relaxed) {
                    if pump.turn(&mut tables, &routes, Fastpath::kernel_time()).unwrap() == 0 {
                        std::thread::yield_now();
                    }
                }
                pump.pumped()
            })
        });
        let work = || {
            ready.recv().is_ok().then(|| {
                let mut connections: Vec<_> = (0..24).map(|_| site.connect(Family::V4)).collect();
                let met: BTreeSet<usize> = connections.iter().map(|(_, who)| *who).collect();
                assert_eq!(met, BTreeSet::from([0, 1, 2]));
                connections.iter_mut().for_each(|(stream, _)| exchange(stream, 10_000));
                exchange(&mut connections[0].0, 1 << 20);
                let met: BTreeSet<usize> = (0..24u8).map(|flow| ask(&site.socket(Family::V4), &[flow; 1000])).collect();
                assert_eq!(met, BTreeSet::from([0, 1, 2]));
            })
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let pumped = pump.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        result.unwrap_or_else(|cause| std::panic::resume_unwind(cause)).unwrap();
        assert!(pumped.sent > 1500, "{pumped:?}");
    });
}

#[test]
fn what_the_owner_says_is_what_dpdk_is_told() {
    let virtual_only = Environment { memory: 256, vdevs: vec!["net_null0".to_owned()], ..Environment::default() };
    let expected =
        ["outwork", "--no-telemetry", "-m", "256", "--vdev=net_null0", "--no-huge", "--no-shconf", "--no-pci"];
    assert_eq!(virtual_only.arguments(), expected);
    let card = Environment {
        hugepages: true,
        cores: "4-7".to_owned(),
        channels: 4,
        pci: vec!["0000:02:00.0".to_owned()],
        ..Environment::default()
    };
    let expected = ["outwork", "--no-telemetry", "-l", "4-7", "-n", "4", "-a", "0000:02:00.0", "--in-memory"];
    assert_eq!(card.arguments(), expected);
}
