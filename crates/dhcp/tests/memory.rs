//! What a million leases take.
#![allow(clippy::unwrap_used, clippy::panic)]

mod counting;
#[path = "../../../fuzz/src/dhcp.rs"]
#[allow(dead_code, unreachable_pub)]
mod dhcp;

use outwork_dhcp::codec::Message;
use outwork_dhcp::engine::{Decision, Engine, Now};
use outwork_dhcp::policy::{Policy, Pool, Request, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

const LEASES: u32 = 1_000_000;
/// The most a lease may take, everything that grows with leases counted.
const BYTES: usize = 300;
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// One pool of 16 million addresses behind a relay agent.
fn policy() -> Arc<Policy> {
    let mut policy = Arc::into_inner(dhcp::policy()).unwrap();
    policy.rules.detection = outwork_dhcp::policy::Detection::Off;
    policy.rules.client_rate = 0;
    policy.rules.max_offers = usize::MAX;
    policy.subnets.truncate(1);
    policy.networks[0].subnets = vec![0];
    let subnet = &mut policy.subnets[0];
    (subnet.first, subnet.last, subnet.length) = ([10, 0, 0, 0].into(), [10, 255, 255, 255].into(), 8);
    subnet.excluded.clear();
    let (first, last) = ([10, 1, 0, 0].into(), [10, 255, 255, 254].into());
    subnet.pools = vec![Pool {
        first,
        last,
        admission: Default::default(),
        required: Default::default(),
        scope: Default::default(),
    }];
    Arc::new(policy)
}

/// What an office's machine behind a switch sends: identifier, host name, vendor class, and the switch's word on its port.
fn packet(kind: u8, client: u32, address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[24..28].copy_from_slice(&RELAY.octets());
    bytes[28] = 2;
    bytes[30..34].copy_from_slice(&client.to_be_bytes());
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, kind, 61, 7, 1, 2, 0]);
    bytes.extend(client.to_be_bytes());
    bytes.extend([12, 15]);
    bytes.extend(format!("desktop-{client:07}").bytes());
    bytes.extend([60, 8]);
    bytes.extend(b"MSFT 5.0");
    if let Some(address) = address {
        bytes.extend([50, 4]);
        bytes.extend(address.octets());
        bytes.extend([54, 4, 10, 0, 0, 1]);
    }
    bytes.extend([82, 28, 1, 18]);
    bytes.extend(format!("Gi1/0/{:012}", client % 48).bytes());
    bytes.extend([2, 6, 2, 0, 0, 0, 1, (client / 48) as u8, 255]);
    bytes
}

fn address(engine: &mut Engine, policy: &Policy, bytes: &[u8], now: u32) -> Ipv4Addr {
    let source = SocketAddrV4::new(RELAY, 67);
    let (server, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 1));
    let via = Via { interface: "", server, source, destination, link: false };
    let request = Request { message: Message::decode(bytes).unwrap(), via };
    let facts = policy.facts(&request);
    match engine.handle(Now { unix: now, millis: u64::from(now) * 1000 }, &request, &facts) {
        Decision::Answer(answer) => answer.address,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_million_leases_take_300_bytes_each_or_less() {
    let policy = policy();
    let mut engine = Engine::new(Arc::clone(&policy), 7);
    engine.start(1_700_000_000);
    let before = counting::held();
    for client in 0..LEASES {
        let now = 1_700_000_000 + client / 2000;
        let offered = address(&mut engine, &policy, &packet(1, client, None), now);
        address(&mut engine, &policy, &packet(3, client, Some(offered)), now);
        engine.journal.clear();
        engine.handle_timeout(now, 64);
    }
    let bytes = usize::try_from(counting::held() - before).unwrap();
    let each = bytes / LEASES as usize;
    println!("{each} bytes a lease, {} of them the table's", engine.leases().memory() / LEASES as usize);
    assert_eq!(engine.totals().active, LEASES as usize);
    assert!(each <= BYTES, "{each} bytes a lease");
    assert!(engine.leases().memory() <= bytes, "the table's own figure is no more than what is held");
    drop(engine);
    assert!(counting::held() - before < 100_000, "all of it is given back");
}
