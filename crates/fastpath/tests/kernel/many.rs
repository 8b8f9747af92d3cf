//! As many flows as the tables are made for.

use std::net::Ipv4Addr;

use outwork_balance::{MemberSettings, Policy, Pool, PoolSettings};
use outwork_fastpath::{
    ControlPlane as _, Fastpath, Mode, Protocol, ServiceSettings, Settings, Sink as _, Sizes, Tier, Vip, Way,
};

use crate::frames::Spec;
use crate::lab::Lab;

/// What the kernel's table is asked to hold at once.
const FLOWS: u32 = 1_000_000;

#[test]
fn a_million_flows_are_known_at_once() {
    let lab = Lab::new(&["here", "there"]);
    lab.cable(("here", "h0"), ("there", "t0"));
    lab.ip("here", "addr add 10.0.0.1/8 dev h0");
    let ingress = lab.index("here", "h0");
    let members: Vec<String> = (2..12).map(|last| format!("10.0.0.{last}:80")).collect();
    for member in &members {
        let address = member.trim_end_matches(":80");
        lab.ip("here", &format!("neigh replace {address} lladdr 02:00:00:00:00:02 dev h0 nud permanent"));
    }
    lab.within("here", || {
        let sizes = Sizes { flows: FLOWS, ..Sizes::default() };
        let (mut fastpath, _) = Fastpath::open(Settings { sizes, ..Settings::default() }, None).unwrap();
        let members = members.iter().map(|key| MemberSettings::new(key.clone())).collect();
        let pool = Pool::new(PoolSettings { members, policy: Policy::Maglev, ..PoolSettings::default() }).unwrap();
        let (vip, settings) = (
            Vip::new("198.51.100.1:80".parse().unwrap(), Protocol::Udp),
            ServiceSettings { way: Way::Direct, ..ServiceSettings::default() },
        );
        fastpath.serve(vip, settings, &pool, |key| key.parse().ok(), Fastpath::kernel_time()).unwrap();
        let spec = Spec::new("100.64.0.0:1".parse().unwrap(), "198.51.100.1:80".parse().unwrap(), None);
        let mut frame = Spec { unsummed: true, ..spec }.build();
        for number in 0..FLOWS {
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number / 60_000);
            frame[26..30].copy_from_slice(&address.octets());
            frame[34..36].copy_from_slice(&(1024 + (number % 60_000) as u16).to_be_bytes());
            fastpath.run(Tier::Xdp(Mode::Native), &frame, ingress, 1).unwrap();
        }
        let swept = loop {
            let swept = fastpath.sweep(Fastpath::kernel_time()).unwrap();
            if swept.whole {
                break swept;
            }
        };
        // The kernel keeps some entries ready for each of its processors.
        assert!(swept.flows >= u64::from(FLOWS) * 999 / 1000, "{swept:?}");
    });
}
