//! Tagged frames through the programs where they are attached: XDP finds tags in frames, tc beside them. Frames are put on the wire, and taken from it, as they
//! are, by sockets of AF_XDP.

use std::net::SocketAddr;

use outwork_balance::{MemberSettings, Policy, Pool, PoolSettings};
use outwork_engine::Time;
use outwork_fastpath::forward::{Frame, Hop, Query, forward};
use outwork_fastpath::layout::Link;
use outwork_fastpath::port::af_xdp::{AfXdp, PortSettings};
use outwork_fastpath::port::steering::{Frames, Steering};
use outwork_fastpath::port::{Packet, Port};
use outwork_fastpath::tables::Tables;
use outwork_fastpath::{
    Apply, ControlPlane as _, Fastpath, Mode, Protocol, Reason, Registry, ServiceSettings, Tier, Vip, Way,
};
use outwork_wire::MacAddr;

use crate::frames::Spec;
use crate::lab::{Lab, run};
use crate::site::{settings, wait};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 9, 5]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 9, 6]);

fn port() -> PortSettings {
    PortSettings { frames: 64, ..PortSettings::default() }
}

/// Puts a frame on the wire.
fn send(port: &mut AfXdp, frame: &[u8]) {
    let chunk = port.take().unwrap();
    port.chunk(chunk).unwrap()[..frame.len()].copy_from_slice(frame);
    port.tx_burst(&mut vec![Packet { chunk, start: 0, length: frame.len() as u32 }]).unwrap();
}

/// The next frame from the wire.
fn receive(port: &mut AfXdp) -> Option<Vec<u8>> {
    let mut burst = vec![];
    port.rx_burst(&mut burst).unwrap();
    let packet = burst.pop()?;
    let frame = port.chunk(packet.chunk).unwrap()[packet.start as usize..][..packet.length as usize].to_vec();
    port.release(packet.chunk);
    Some(frame)
}

fn a_tag_is_changed_for_that_of_the_other_side(tier: Tier, way: Way, out: Option<u16>) {
    let lab = Lab::new(&["client", "balancer", "backend"]);
    lab.cable(("client", "eth0"), ("balancer", "c0"));
    lab.cable(("backend", "eth0"), ("balancer", "b0"));
    // Interfaces that stand for VLANs: kernels without 802.1Q have none.
    lab.cable(("balancer", "c0v7"), ("client", "unused7"));
    lab.cable(("balancer", "b0v5"), ("backend", "unused5"));
    let leaves_by = if out.is_some() { "b0v5" } else { "b0" };
    lab.ip("balancer", &format!("link set {leaves_by} address {OWN}"));
    lab.ip("balancer", &format!("addr add 10.5.0.1/24 dev {leaves_by}"));
    lab.ip("balancer", &format!("neigh replace 10.5.0.2 lladdr {OTHER} dev {leaves_by} nud permanent"));
    // What is received has its tag in it, where the sender leaves none beside it.
    lab.within("balancer", || run("ethtool", &["-K", "b0", "txvlan", "off"]));
    lab.within("backend", || run("ethtool", &["-K", "eth0", "gro", "on"]));
    let index = |name: &str| lab.index("balancer", name);
    let link = |parent: &str, vlan| Link { parent: index(parent), vlan, zero: 0 };
    let mut links = vec![(index("c0v7"), link("c0", 7))];
    links.extend(out.map(|vlan| (index("b0v5"), link("b0", vlan))));

    let vip = Vip::new("198.51.100.1:80".parse().unwrap(), Protocol::Udp);
    let backend: SocketAddr = "10.5.0.2:8080".parse().unwrap();
    let members = vec![MemberSettings::new(backend.to_string())];
    let pool = Pool::new(PoolSettings { members, policy: Policy::Maglev, ..PoolSettings::default() }).unwrap();
    let service = ServiceSettings { way, ..ServiceSettings::default() };
    let fastpath = lab.within("balancer", || {
        let (mut fastpath, _) = Fastpath::open(settings(), None).unwrap();
        assert_eq!(fastpath.attach("c0", tier).unwrap().got, tier);
        fastpath.link(links.iter().copied()).unwrap();
        fastpath.serve(vip, service, &pool, |key| key.parse().ok(), Time::ZERO).unwrap();
        fastpath
    });
    let (mut registry, begin) = Registry::new(settings());
    let mut tables = Tables::new(&settings().sizes);
    let writes = registry.serve(vip, service, &pool, |key| key.parse().ok(), Time::ZERO).unwrap();
    let linked = registry.link(links.iter().copied());
    begin.iter().chain(&writes).chain(&linked).for_each(|write| tables.apply(write).unwrap());

    let mut from = lab.within("client", || AfXdp::open("eth0", &port()).unwrap());
    let (mut to, _steering) = lab.within("backend", || {
        let mut steering = Steering::load(64).unwrap();
        let to = AfXdp::open("eth0", &port()).unwrap();
        steering.steer(&[vip, Vip::new(backend, Protocol::Udp)].map(|one| (one, Frames::Ours)).into()).unwrap();
        steering.give(0, &to).unwrap();
        steering.attach("eth0", Mode::Native).unwrap();
        (to, steering)
    });
    for (tag, arrives) in [(Some(7), true), (Some(0x6007), true), (Some(8), false), (None, true), (Some(0x6000), true)]
    {
        let sent = Spec { tag, ..Spec::new("203.0.113.1:1024".parse().unwrap(), vip.socket(), None) }.build();
        if !arrives {
            send(&mut from, &sent);
            wait("the counter", || fastpath.tallies().unwrap()[Reason::PassVlan as usize].1.packets.checked_sub(1));
            continue;
        }
        let mut room = [vec![0; 64], sent.clone()].concat();
        let mut own = Frame::new(&mut room, 64, sent.len()).unwrap();
        let hop = |_: &Query| Hop::To { ifindex: index(leaves_by), destination: OTHER, source: OWN };
        forward(&mut own, index("c0"), &mut tables, &hop, Time::ZERO);
        assert_eq!(own.bytes()[12..14] == [0x81, 0], out.is_some());
        // A veth begins to receive a moment after it is set up.
        let received = wait("a frame", || {
            send(&mut from, &sent);
            receive(&mut to)
        });
        assert_eq!(received, own.bytes(), "{tier} {way:?} from {tag:?} to {out:?}");
        while receive(&mut to).is_some() {}
    }
}

#[test]
fn a_tagged_frame_leaves_with_the_tag_of_the_link_that_it_leaves_by_by_xdp() {
    for (way, out) in [(Way::Nat, Some(5)), (Way::Direct, Some(5)), (Way::Nat, None)] {
        a_tag_is_changed_for_that_of_the_other_side(Tier::Xdp(Mode::Native), way, out);
    }
}

#[test]
fn a_tagged_frame_leaves_with_the_tag_of_the_link_that_it_leaves_by_by_tc() {
    for (way, out) in [(Way::Nat, Some(5)), (Way::Direct, Some(5)), (Way::Nat, None)] {
        a_tag_is_changed_for_that_of_the_other_side(Tier::Tc, way, out);
    }
}
