//! Many clients do anything, time passes, the server dies, the configuration changes. After every step everything is held
//! against a model that knows only what was acknowledged.

use super::*;
use crate::codec::RelayInfo;
use outwork_engine::{Rng, sim};

const CLIENTS: u64 = 24;

/// Settings and tables of one of three configurations: a shared network behind a relay agent and on the link.
fn tables(shape: u64) -> (String, String) {
    let settings = match shape {
        0 => "conflict_detection = 'ping'\nprobe_cache = '5s'\n",
        1 => "lease_cache = 0.3\nrapid_commit = true\n",
        _ => "conflict_detection = 'ping'\nprobe_cache = '5s'\nmax_offers = 6\n",
    };
    let (pool, rest, phones) = match shape {
        0 => ("10-192.0.2.29", "", "198.51.100.10-198.51.100.14"),
        1 => (
            "10-192.0.2.17",
            "exclude = ['192.0.2.12-192.0.2.14']\nreservation = [{ mac = '02:00:00:00:00:03', address = '192.0.2.15' }]\n",
            "198.51.100.4-198.51.100.14",
        ),
        _ => (
            "20-192.0.2.40",
            "exclude = ['192.0.2.21']\nreservation = [{ mac = '02:00:00:00:00:04', address = '192.0.2.50' }]\n",
            "198.51.100.0/28",
        ),
    };
    let times = "lease_time = '100s'\nmin_lease_time = '20s'\nmax_lease_time = '300s'\noffer_time = '10s'\ndecline_time = '60s'\n";
    let tables = format!(
        "[[dhcp.class]]\nname = 'phone'\ntest = \"option[60].text == 'phone'\"\n\
         [[dhcp.network]]\nname = 'n'\nrelay = ['10.0.0.9']\ninterface = 'lan0'\n\
         [[dhcp.subnet]]\nid = 1\nnetwork = 'n'\nprefix = '192.0.2.0/24'\npools = [{{ range = '192.0.2.{pool}' }}]\n{rest}\
         [[dhcp.subnet]]\nid = 2\nnetwork = 'n'\nprefix = '198.51.100.0/28'\n\
         pools = [{{ range = '{phones}', allow_classes = ['phone'] }}]\n"
    );
    (format!("{times}{settings}"), tables)
}

struct World {
    server: Server,
    /// Who holds what until when, by the acknowledgements alone.
    held: BTreeMap<Ipv4Addr, (u8, Seconds)>,
    /// Records on disk when the last acknowledgement left; those after it may be lost with the machine.
    safe: usize,
    offered: BTreeMap<u8, Ipv4Addr>,
    reserved: u64,
}

fn address(rng: &mut Rng) -> Ipv4Addr {
    match rng.below(10) {
        0 => Ipv4Addr::from(rng.next_u32()),
        1..=3 => Ipv4Addr::new(198, 51, 100, rng.below(20) as u8),
        _ => ip(5 + rng.below(50) as u8),
    }
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let (settings, tables) = tables(rng.below(3));
        let server = Server::new(&settings, &tables);
        Self { server, held: BTreeMap::new(), safe: 0, offered: BTreeMap::new(), reserved: 0 }
    }

    /// An address the client might name: what it holds, what it was offered, or anything.
    fn likely(&self, rng: &mut Rng, client: u8) -> Ipv4Addr {
        let own = self.held.iter().find(|(_, (holder, _))| *holder == client).map(|(address, _)| *address);
        let offered = self.offered.get(&client).copied();
        let choice = if rng.chance(0.5) { own.or(offered) } else { offered.or(own) };
        choice.filter(|_| rng.chance(0.85)).unwrap_or_else(|| address(rng))
    }

    fn packet(&self, rng: &mut Rng) -> (u8, Packet) {
        let client = rng.below(CLIENTS) as u8;
        let about = self.likely(rng, client);
        let mut packet = match rng.below(16) {
            0..=4 => discover(client),
            5..=8 => request(client, about),
            9 => reboot(client, about),
            10 => renew(client, about),
            11 => rebind(client, about),
            12 => release(client, about),
            13 => decline(client, about),
            14 => packet(Kind::Inform, client).from(about),
            _ => packet(Kind::Request, client).ask(about).server(ip(9)),
        };
        if packet.kind == Kind::Discover && rng.chance(0.3) {
            packet = packet.ask(about);
        }
        if rng.chance(0.2) {
            packet = packet.time(rng.below(400) as u32);
        }
        if rng.chance(0.1) {
            packet = packet.option(code::RAPID_COMMIT, &[]);
        }
        if client.is_multiple_of(4) || rng.chance(0.1) {
            packet = packet.option(code::VENDOR_CLASS, b"phone");
        }
        if client.is_multiple_of(3) {
            packet = packet.id(&[0, client]);
        }
        if packet.link && rng.chance(0.3) {
            packet = packet.relay([10, 0, 0, 9].into()).option(82, &[RelayInfo::CIRCUIT_ID, 1, client]);
        }
        (client, packet)
    }

    fn exchange(&mut self, rng: &mut Rng) {
        let (client, packet) = self.packet(rng);
        let now = self.server.now;
        match self.server.send(&packet) {
            Got::Probe(address) => {
                let in_use = rng.chance(0.2);
                self.server.engine.probed(address, in_use, self.server.now());
                self.server.save();
            }
            Got::Heard(heard) if heard.kind == Kind::Offer => {
                self.may_be_given(heard.address, client);
                self.offered.insert(client, heard.address);
            }
            Got::Heard(heard) if heard.kind == Kind::Ack && !heard.address.is_unspecified() => {
                assert!(heard.durable);
                self.may_be_given(heard.address, client);
                self.held.retain(|_, (holder, _)| *holder != client);
                self.held.insert(heard.address, (client, now + heard.lease_time()));
                self.safe = self.server.disk.len();
                self.offered.remove(&client);
            }
            Got::Silent(Silence::Done | Silence::DeclineShare | Silence::DeclineLimit) => {
                let about = if packet.kind == Kind::Release { packet.ciaddr } else { packet_asks(&packet) };
                let gone = self.held.remove(&about);
                assert!(gone.is_none_or(|(holder, _)| holder == client), "ended by another");
            }
            Got::Heard(_) | Got::Silent(_) => {}
        }
    }

    /// The address is not another client's, and is one that the configuration lets this client have.
    fn may_be_given(&self, address: Ipv4Addr, client: u8) {
        if let Some((holder, until)) = self.held.get(&address) {
            assert!(*holder == client || *until <= self.server.now, "{address} is held by {holder} until {until}");
        }
        let engine = &self.server.engine;
        let subnet = &engine.policy.subnets[engine.policy.subnet_of(address).unwrap()];
        match engine.reservations.at(address) {
            Some(reservation) => assert_eq!(reservation.identifier.bytes, [2, 0, 0, 0, 0, client], "reserved"),
            None => {
                assert!(subnet.pools.iter().any(|pool| pool.contains(address)), "{address} is in no pool");
                assert!(subnet.excluded.iter().all(|(first, last)| address < *first || *last < address), "{address}");
                assert!(address != subnet.first && address != subnet.last);
            }
        }
    }

    fn step(&mut self, rng: &mut Rng) {
        match rng.below(100) {
            0..=79 => self.exchange(rng),
            80..=91 => {
                let longest = if rng.chance(0.1) { 150 } else { 12 };
                self.server.pass(rng.below(longest) as u32);
            }
            92..=93 => {
                // What was not acknowledged may or may not have reached the disk.
                let written = self.safe + rng.below((self.server.disk.len() - self.safe) as u64 + 1) as usize;
                self.server.disk.truncate(written);
                self.server.restart();
                self.reserved = 0;
                self.offered.clear();
            }
            94..=95 => {
                let (settings, tables) = tables(rng.below(3));
                self.server.adopt(&settings, &tables);
            }
            96..=97 => self.reserve(rng),
            _ => {
                let address = address(rng);
                if self.server.engine.release_address(address, self.server.now) {
                    self.held.remove(&address);
                    self.server.save();
                    self.safe = self.server.disk.len();
                }
            }
        }
    }

    fn reserve(&mut self, rng: &mut Rng) {
        use crate::policy::{Identifier, IdentifierKind, Reservation};
        if self.reserved > 0 && rng.chance(0.5) {
            self.server.engine.unreserve(self.reserved);
            self.reserved -= 1;
        } else {
            let reservation = Reservation {
                id: self.reserved + 1,
                subnet: Some(1),
                identifier: Identifier {
                    kind: IdentifierKind::Mac,
                    bytes: vec![2, 0, 0, 0, 0, rng.below(CLIENTS) as u8],
                },
                address: Some(ip(8 + rng.below(50) as u8)),
                hostname: None,
                classes: ClassSet::default(),
                scope: Default::default(),
            };
            self.reserved += u64::from(self.server.engine.reserve(reservation, b"{}").is_ok());
        }
        self.server.save();
    }

    fn check(&mut self) {
        audit(&self.server.engine);
        let now = self.server.now;
        self.held.retain(|_, (_, until)| *until > now);
        for (address, (client, until)) in &self.held {
            let lease = self.server.engine.leases.at(*address).unwrap_or_else(|| panic!("{address} was lost"));
            assert_eq!(lease.state, State::Active, "{address} was acknowledged to {client} until {until}");
            assert_eq!(lease.hardware(), [2, 0, 0, 0, 0, *client], "{address} changed hands");
            assert!(lease.expires >= *until, "{address} ends before it was said to");
        }
    }
}

fn packet_asks(packet: &Packet) -> Ipv4Addr {
    let asked = packet.options.iter().find(|(code, _)| *code == code::REQUESTED_ADDRESS);
    Ipv4Addr::from(<[u8; 4]>::try_from(asked.unwrap().1.as_slice()).unwrap())
}

#[test]
fn no_acknowledged_lease_is_lost_or_given_twice_whatever_happens() {
    sim::seeds(60, |rng: &mut Rng| {
        let mut world = World::new(rng);
        for _ in 0..400 {
            world.step(rng);
            world.check();
        }
    });
}

/// Every address of a pool is somebody's or can still be given, however it was used before.
#[test]
fn no_address_is_lost_to_its_pool() {
    sim::seeds(40, |rng: &mut Rng| {
        let mut world = World::new(rng);
        for _ in 0..250 {
            world.step(rng);
        }
        while world.reserved > 0 {
            world.server.engine.unreserve(world.reserved);
            world.reserved -= 1;
        }
        world.server.adopt("lease_time = '1d'", LAN);
        world.server.pass(100_000);
        let mut given: Vec<_> = (100..110).map(|client| world.server.bind(&discover(client))).collect();
        given.sort_unstable();
        assert_eq!(given, (10..20).map(ip).collect::<Vec<_>>());
    });
}

/// Exclusions that come and go are taken up without a new count of the pool.
#[test]
fn exclusions_that_change_live_leave_every_count_and_every_address_right() {
    sim::seeds(60, |rng: &mut Rng| {
        let mut server = Server::lan();
        for round in 0..40 {
            for _ in 0..rng.below(6) {
                let client = rng.below(14) as u8;
                if let Got::Heard(heard) = server.send(&discover(client)) {
                    match rng.below(4) {
                        0 => {}
                        1 => drop(server.send(&decline(client, heard.address))),
                        _ => drop(server.send(&request(client, heard.address))),
                    }
                    if rng.chance(0.4) {
                        server.send(&release(client, heard.address));
                    }
                }
            }
            let ranges = (0..rng.below(3)).map(|_| {
                let first = 8 + rng.below(12) as u8;
                format!("'192.0.2.{first}-192.0.2.{}'", first + rng.below(5) as u8)
            });
            let ranges = ranges.collect::<Vec<_>>().join(", ");
            let reserved = if round % 5 == 0 {
                "reservation = [{ mac = '02:00:00:00:00:63', address = '192.0.2.13' }]\n"
            } else {
                ""
            };
            server.adopt("", &format!("{LAN}exclude = [{ranges}]\n{reserved}"));
            server.pass(rng.below(20) as u32);
        }
        server.adopt("", LAN);
        server.pass(100_000);
        let mut given: Vec<_> = (100..110).map(|client| server.bind(&discover(client))).collect();
        given.sort_unstable();
        assert_eq!(given, (10..20).map(ip).collect::<Vec<_>>());
    });
}

/// What a restart would bring back is what is in memory, offers aside.
#[test]
fn memory_and_disk_agree_on_every_lease_that_is_no_offer() {
    sim::seeds(60, |rng: &mut Rng| {
        let mut world = World::new(rng);
        for _ in 0..150 {
            world.step(rng);
        }
        let server = &mut world.server;
        server.save();
        let mut again = Engine::new(Arc::clone(server.engine.policy()), 9);
        server.disk.iter().for_each(|record| again.restore(Change::read(record).unwrap()));
        again.start(server.now);
        server.pass(0);
        let kept = |engine: &Engine| {
            let leases = engine.kept(NONE).filter_map(|(_, lease)| lease.cloned());
            leases.map(|lease| Lease { due: 0, ..lease }).collect::<Vec<_>>()
        };
        assert_eq!(kept(&again), kept(&server.engine));
    });
}
