use std::collections::VecDeque;
use std::net::SocketAddr;

use outwork_balance::{MemberSettings, Policy, Pool, PoolSettings};
use outwork_wire::MacAddr;

use super::*;
use crate::forward::{Hop, Query};
use crate::frames;
use crate::layout::{Protocol, Vip};
use crate::registry::{Apply, Registry};
use crate::settings::{ServiceSettings, Settings, Sizes};

/// A port whose frames are put there by hand.
#[derive(Debug)]
struct Bench {
    interface: u32,
    chunks: Vec<Vec<u8>>,
    free: Vec<u32>,
    waiting: VecDeque<Packet>,
    sent: Vec<Vec<u8>>,
    given: Vec<Vec<u8>>,
    /// Frames that it sends at most in a burst.
    room: usize,
}

impl Bench {
    fn new(interface: u32, chunks: u32) -> Bench {
        let (waiting, sent, given) = (VecDeque::new(), vec![], vec![]);
        Bench {
            interface,
            chunks: vec![vec![0; 2048]; chunks as usize],
            free: (0..chunks).collect(),
            waiting,
            sent,
            given,
            room: 100,
        }
    }

    fn receive(&mut self, frame: &[u8]) {
        let chunk = self.free.pop().unwrap();
        self.chunks[chunk as usize][256..256 + frame.len()].copy_from_slice(frame);
        self.waiting.push_back(Packet { chunk, start: 256, length: frame.len() as u32 });
    }
}

impl Port for Bench {
    fn interface(&self) -> u32 {
        self.interface
    }

    fn rx_burst(&mut self, into: &mut Vec<Packet>) -> io::Result<usize> {
        into.extend(self.waiting.drain(..));
        Ok(into.len())
    }

    fn tx_burst(&mut self, from: &mut Vec<Packet>) -> io::Result<usize> {
        let count = from.len().min(self.room);
        for packet in from.drain(..count) {
            let bytes = &self.chunks[packet.chunk as usize][packet.start as usize..][..packet.length as usize];
            self.sent.push(bytes.to_vec());
            self.free.push(packet.chunk);
        }
        Ok(count)
    }

    fn chunk(&mut self, chunk: u32) -> Option<&mut [u8]> {
        self.chunks.get_mut(chunk as usize).map(Vec::as_mut_slice)
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    fn release(&mut self, chunk: u32) {
        self.free.push(chunk);
    }

    fn give_back(&mut self, packet: Packet) -> bool {
        let bytes = &self.chunks[packet.chunk as usize][packet.start as usize..][..packet.length as usize];
        self.given.push(bytes.to_vec());
        self.free.push(packet.chunk);
        true
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// 10.0.0.0/8 is behind the second interface, all else behind the first.
fn routes(query: &Query) -> Hop {
    let inside = query.destination.to_string().starts_with("10.");
    Hop::To { ifindex: if inside { 2 } else { 1 }, destination: MacAddr::ZERO, source: MacAddr::ZERO }
}

fn tables() -> Tables {
    let sizes = Sizes { flows: 64, services: 4, backends: 8, places: 1 << 19, sources: 64, prefixes: 2 };
    let (mut registry, begin) = Registry::new(Settings { sizes, ..Settings::default() });
    let mut tables = Tables::new(&sizes);
    let members = vec![MemberSettings::new("10.0.0.1:53")];
    let pool = Pool::new(PoolSettings { members, policy: Policy::Maglev, ..PoolSettings::default() }).unwrap();
    let vip = Vip::new(at("198.51.100.1:53"), Protocol::Udp);
    let address = |key: &str| key.parse().ok();
    let writes = registry.serve(vip, ServiceSettings::default(), &pool, address, Time::ZERO).unwrap();
    begin.iter().chain(&writes).for_each(|write| tables.apply(write).unwrap());
    tables
}

fn question(port: u16) -> Vec<u8> {
    frames::Spec::new(SocketAddr::new(at("203.0.113.1:1").ip(), port), at("198.51.100.1:53"), None).build()
}

#[test]
fn frames_cross_from_port_to_port_and_no_chunk_is_lost() {
    let (mut tables, mut pump) = (tables(), Pump::new(vec![Bench::new(1, 8), Bench::new(2, 8)]));
    for round in 0..20 {
        for port in 1..=4 {
            pump.ports[0].port.receive(&question(port));
        }
        pump.ports[1].port.receive(&frames::Spec::new(at("10.0.0.1:53"), at("203.0.113.1:1"), None).build());
        assert_eq!(pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap(), 5);
        assert_eq!(pump.ports().map(|port| port.free.len()).collect::<Vec<_>>(), [8, 8], "round {round}");
    }
    let sent: Vec<usize> = pump.ports().map(|port| port.sent.len()).collect();
    assert_eq!((sent, pump.pumped()), (vec![20, 80], Pumped { received: 100, sent: 100, passed: 0, lost: 0 }));
    assert!(pump.ports().flat_map(|port| &port.sent).all(|frame| frames::fault(frame).is_none()));
}

#[test]
fn what_finds_no_room_is_lost_and_counted_and_its_chunk_is_not() {
    let (mut tables, mut pump) = (tables(), Pump::new(vec![Bench::new(1, 8), Bench::new(2, 4)]));
    pump.ports[1].port.room = 3;
    for port in 1..=6 {
        pump.ports[0].port.receive(&question(port));
    }
    pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap();
    // Four chunks on the other side, of which three find room on the wire.
    assert_eq!(pump.pumped(), Pumped { received: 6, sent: 3, passed: 0, lost: 3 });
    assert_eq!(pump.ports().map(|port| port.free.len()).collect::<Vec<_>>(), [8, 4]);
}

#[test]
fn what_is_the_kernels_goes_back_to_it_and_what_would_leave_by_no_port_goes_there_as_it_came() {
    let (mut tables, mut pump) = (tables(), Pump::new(vec![Bench::new(1, 8)]));
    pump.ports[0].port.receive(&question(1));
    pump.ports[0].port.receive(&frames::Spec::new(at("203.0.113.1:1"), at("198.51.100.9:53"), None).build());
    pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap();
    assert_eq!(pump.pumped(), Pumped { received: 2, sent: 0, passed: 2, lost: 0 });
    assert_eq!(pump.ports[0].port.free.len(), 8);
    let not_ours = frames::Spec::new(at("203.0.113.1:1"), at("198.51.100.9:53"), None).build();
    assert_eq!(pump.ports[0].port.given, [question(1), not_ours]);
}

#[test]
fn flows_of_user_space_are_swept_when_they_are_over() {
    let (mut tables, mut pump) = (tables(), Pump::new(vec![Bench::new(1, 8), Bench::new(2, 8)]));
    pump.ports[0].port.receive(&question(1));
    pump.ports[0].port.receive(&question(2));
    pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap();
    let swept = tables.sweep(100, Time::from_secs(2));
    assert_eq!((swept.flows, swept.removed, swept.whole), (2, 0, true));
    assert!(!tables.sweep(1, Time::from_secs(2)).whole, "a slice is a part of it");
    tables.sweep(100, Time::from_secs(2));
    let swept = tables.sweep(100, Time::from_secs(1000));
    assert_eq!((swept.flows, swept.removed, tables.flows.len()), (0, 4, 0));
}

#[test]
fn what_leaves_by_a_port_that_is_about_to_come_is_lost_and_not_the_kernels() {
    let (mut tables, mut pump) = (tables(), Pump::new(vec![Bench::new(1, 8)]));
    pump.expect(vec![2]);
    pump.ports[0].port.receive(&question(1));
    pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap();
    assert_eq!(pump.pumped(), Pumped { received: 1, sent: 0, passed: 0, lost: 1 });
    pump.expect(vec![]);
    pump.ports[0].port.receive(&question(1));
    pump.turn(&mut tables, &routes, Time::from_secs(1)).unwrap();
    assert_eq!((pump.pumped().passed, pump.ports[0].port.free.len()), (1, 8));
}
