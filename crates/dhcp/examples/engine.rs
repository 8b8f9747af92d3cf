//! How long the engine takes a four-way exchange, alone: `cargo run --release -p outwork-dhcp --example engine`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use outwork_dhcp::codec::Message;
use outwork_dhcp::config::Dhcp;
use outwork_dhcp::engine::{Decision, Engine, Now, encode};
use outwork_dhcp::policy::{Policy, Request, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

const CLIENTS: u32 = 1_000_000;

fn request(kind: u8, client: u32, wanted: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    bytes[..3].copy_from_slice(&[1, 1, 6]);
    bytes[4..8].copy_from_slice(&client.to_be_bytes());
    bytes[24..28].copy_from_slice(&[10, 64, 0, 2]);
    bytes[30..34].copy_from_slice(&client.to_be_bytes());
    bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
    bytes.extend([53, 1, kind, 61, 7, 1, 2, 0]);
    bytes.extend(client.to_be_bytes());
    bytes.extend([55, 6, 1, 3, 6, 15, 51, 54, 12, 9]);
    bytes.extend(format!("host{:05}", client % 100_000).bytes());
    if let Some(wanted) = wanted {
        bytes.extend([50, 4]);
        bytes.extend(wanted.octets());
        bytes.extend([54, 4, 10, 64, 0, 1]);
    }
    bytes.push(255);
    bytes
}

fn main() {
    let toml = "[dhcp]\n[[dhcp.subnet]]\nid=1\nprefix='10.64.0.0/10'\npools=[{range='10.64.1.0-10.127.255.254'}]\n\
                options={routers=['10.64.0.1'], domain-name-servers=['10.64.0.53'], domain-name='example.net'}";
    outwork_config::section! {
        /// The file.
        pub struct Root {
            /// The service.
            pub dhcp: Dhcp,
        }
    }
    let sources = outwork_config::Sources { file: Some(("x.toml".into(), toml.into())), ..Default::default() };
    let root = outwork_config::load::<Root>(sources).unwrap_or_else(|faults| panic!("{faults}")).value;
    let policy = Arc::new(Policy::compile(&root.dhcp, 1).ok().unwrap());
    let mut engine = Engine::new(Arc::clone(&policy), 7);
    let mut out = Vec::new();
    let mut offered = Vec::with_capacity(CLIENTS as usize);
    for round in ["discover", "request", "renew"] {
        let began = Instant::now();
        let (mut decide, mut encoding) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        for client in 0..CLIENTS {
            let wanted = if round == "discover" { None } else { Some(offered[client as usize]) };
            let bytes = request(if round == "discover" { 1 } else { 3 }, client, wanted);
            let via = Via {
                interface: "eth0",
                server: Ipv4Addr::new(10, 64, 0, 1),
                source: SocketAddrV4::new(Ipv4Addr::new(10, 64, 0, 2), 67),
                destination: Ipv4Addr::new(10, 64, 0, 1),
                link: false,
            };
            let request = Request { message: Message::decode(&bytes).unwrap(), via };
            let facts = policy.facts(&request);
            let now = Now { unix: 1_000_000 + client / 1000, millis: 1_000_000_000 + u64::from(client) };
            let start = Instant::now();
            let decision = engine.handle(now, &request, &facts);
            let middle = Instant::now();
            let Decision::Answer(answer) = decision else { panic!("{round} {client}: {decision:?}") };
            encode(&policy, &request, &answer, &mut out);
            decide += middle - start;
            encoding += middle.elapsed();
            engine.journal.clear();
            if round == "discover" {
                offered.push(answer.address);
            }
        }
        println!(
            "{round}: {:.0} ns a packet, of it {:.0} ns deciding and {:.0} ns encoding",
            began.elapsed().as_nanos() as f64 / f64::from(CLIENTS),
            decide.as_nanos() as f64 / f64::from(CLIENTS),
            encoding.as_nanos() as f64 / f64::from(CLIENTS),
        );
    }
}
