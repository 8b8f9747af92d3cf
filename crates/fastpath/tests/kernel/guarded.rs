//! What the programs turn away, and that they turn away no more than that.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

use outwork_balance::Pool;
use outwork_fastpath::layout::State;
use outwork_fastpath::settings::Rate;
use outwork_fastpath::{ControlPlane as _, Fastpath, Mode, Protocol, Reason, ServiceSettings, Tier};

use crate::frames::{ACK, SYN, Spec, extended};
use crate::site::{FAMILIES, Family, PATIENCE, Site, attended, exchange, pool_settings, serve, serve_all};

const NATIVE: Tier = Tier::Xdp(Mode::Native);

/// What XDP says of a frame that it drops, and of one that it leaves to the kernel.
const DROP: u32 = 1;
const PASS: u32 = 2;

fn tally(fastpath: &Fastpath, reason: Reason) -> u64 {
    fastpath.tallies().unwrap().into_iter().find(|(one, _)| *one == reason).unwrap().1.packets
}

#[test]
fn who_is_denied_reaches_what_is_no_service_and_backends_that_are_denied_answer() {
    for tier in [NATIVE, Tier::Tc] {
        let site = Site::new(tier);
        let mut fastpath = site.open(tier, None);
        serve_all(&mut fastpath, ServiceSettings::default());
        let own = ["10.1.0.1:7000", "[fd01::1]:7000"].map(|text| text.parse::<SocketAddr>().unwrap());
        let _listeners = own.map(|own| site.lab.within("balancer", || TcpListener::bind(own).unwrap()));
        fastpath.deny(["10.1.0.0/24", "fd01::/16"].map(|text| text.parse().unwrap())).unwrap();
        for own in own {
            site.lab.within("client", || TcpStream::connect_timeout(&own, PATIENCE)).unwrap();
        }
        assert_eq!(tally(&fastpath, Reason::DropDenied), 0, "{tier}");
        fastpath.deny(["10.2.0.0/16", "fd02::/16"].map(|text| text.parse().unwrap())).unwrap();
        attended(&site, &fastpath, || FAMILIES.map(|family| exchange(&mut site.connect(family).0, 10_000)));
    }
}

/// Frames that came in by the client's interface: what becomes of each.
fn run(site: &Site, fastpath: &Fastpath, frames: &[Vec<u8>]) -> Vec<u32> {
    let ingress = site.lab.index("balancer", "c0");
    let run = || frames.iter().map(|frame| fastpath.run(NATIVE, frame, ingress, 1).unwrap().result).collect();
    site.lab.within("balancer", run)
}

fn client(family: Family, last: u16) -> SocketAddr {
    let address: IpAddr = match family {
        Family::V4 => "10.1.0.2".parse().unwrap(),
        Family::V6 => "fd01::2".parse().unwrap(),
    };
    SocketAddr::new(address, 1024 + last)
}

#[test]
fn forged_packets_that_ask_for_nothing_are_held_to_the_rate_of_connections_and_make_no_flow_that_lasts() {
    for family in FAMILIES {
        let site = Site::new(NATIVE);
        let mut fastpath = site.open(NATIVE, None);
        let limited =
            ServiceSettings { syn_rate: Some(Rate { per_second: 1, burst: 5 }), ..ServiceSettings::default() };
        let pool = Pool::new(pool_settings(family, &[0, 1, 2])).unwrap();
        serve(&mut fastpath, family, Protocol::Tcp, limited, &pool);
        let forged = |flags: u8| -> Vec<Vec<u8>> {
            (0..100).map(|last| Spec::new(client(family, last), family.vip(), Some(flags)).build()).collect()
        };
        let unasked = run(&site, &fastpath, &forged(SYN | ACK));
        assert!(unasked.iter().all(|result| *result == DROP), "{unasked:?}");
        assert_eq!(tally(&fastpath, Reason::DropUnasked), 100);
        // Those that are let through come again and again: nobody answers.
        (0..3).for_each(|_| drop(run(&site, &fastpath, &forged(ACK))));
        assert!(tally(&fastpath, Reason::DropSynRate) > 200, "{:?}", fastpath.tallies());
        let flows = fastpath.entries().unwrap();
        assert!((10..40).contains(&flows.len()), "{flows:?}");
        assert!(flows.iter().all(|(_, flow)| flow.state == State::Opening as u8), "{flows:?}");
    }
}

#[test]
fn of_the_unusual_what_is_tcp_for_a_service_is_dropped_and_the_rest_is_the_kernels() {
    let site = Site::new(NATIVE);
    let mut fastpath = site.open(NATIVE, None);
    serve_all(&mut fastpath, ServiceSettings::default());
    for family in FAMILIES {
        let (from, vip) = (client(family, 0), family.vip());
        let elsewhere = SocketAddr::new(vip.ip(), vip.port() + 1);
        let before = tally(&fastpath, Reason::DropUnusual);
        for (to, tcp, expected) in [(vip, Some(ACK), DROP), (elsewhere, Some(ACK), PASS), (vip, None, PASS)] {
            let spec = Spec::new(from, to, tcp);
            let mut frames = [0, 44, 60].map(|kind| extended(&spec.build(), kind)).to_vec();
            if family == Family::V4 {
                frames.push(Spec { fragment: 0x2000, ..spec.clone() }.build());
            }
            let results = run(&site, &fastpath, &frames);
            assert!(results.iter().all(|result| *result == expected), "{to} {tcp:?}: {results:?}");
        }
        assert!(tally(&fastpath, Reason::DropUnusual) >= before + 3);
    }
}
