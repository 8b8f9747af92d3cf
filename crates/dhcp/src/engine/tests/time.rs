use super::limit::Rate;
use super::*;
use crate::lease::INFINITE;
use std::time::Duration;

#[test]
fn an_offer_nobody_asks_for_lapses() {
    let mut server = Server::new("offer_time = '30s'", LAN);
    server.offer(&discover(1));
    assert_eq!(server.engine.poll_timeout(), Some(START + 30));
    server.pass(29);
    assert_eq!(server.state(ip(10)), Some(State::Offered));
    server.pass(1);
    assert_eq!((server.state(ip(10)), server.engine.offers, server.engine.poll_timeout()), (None, 0, None));
    let tables = format!("{LAN}offer_time = '5s'\n");
    let mut server = Server::new("", &tables);
    server.offer(&discover(1));
    assert_eq!(server.engine.poll_timeout(), Some(START + 5));
}

#[test]
fn offers_that_lapse_over_and_over_leave_nothing_behind() {
    let mut server = Server::lan();
    for round in 0..500u32 {
        server.offer(&discover(1).ask(ip(10 + (round % 10) as u8)));
        server.pass(61);
    }
    assert!(server.engine.leases().is_empty() && server.engine.calendar.is_empty());
    let mut given: Vec<_> = (0..10).map(|client| server.offer(&discover(client))).collect();
    given.sort_unstable();
    assert_eq!(given, (10..20).map(ip).collect::<Vec<_>>());
    assert_eq!(server.send(&discover(10)).silent(), Silence::NoAddress, "each address once");
}

#[test]
fn a_lease_ends_in_its_second_and_its_address_is_free() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.pass(43_199);
    assert_eq!(server.state(address), Some(State::Active));
    server.pass(1);
    assert_eq!(server.state(address), Some(State::Expired));
    let given: Vec<_> = (2..12).map(|client| server.bind(&discover(client))).collect();
    assert_eq!(given.last(), Some(&address), "the one used before comes last");
}

#[test]
fn a_renewed_lease_keeps_one_deadline() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    for _ in 0..50 {
        server.pass(1000);
        server.send(&renew(1, address)).heard(Kind::Ack);
        assert!(server.engine.calendar.len() <= 2);
    }
    server.pass(43_200);
    assert_eq!(server.state(address), Some(State::Expired));
}

#[test]
fn an_endless_lease_never_ends() {
    let mut server = Server::new("max_lease_time = '4294967295s'", LAN);
    let ack = server.send(&request(1, ip(10)).time(INFINITE)).heard(Kind::Ack);
    assert_eq!(ack.lease_time(), INFINITE);
    server.pass(1_000_000_000);
    assert_eq!(server.state(ip(10)), Some(State::Active));
    server.restart();
    assert_eq!(server.state(ip(10)), Some(State::Active));
}

#[test]
fn a_declined_address_is_given_to_nobody_until_its_quarantine_ends() {
    let mut server = Server::new("decline_time = '1h'", LAN);
    let address = server.bind(&discover(1));
    server.send(&decline(1, address));
    let rest: Vec<_> = (2..11).map(|client| server.bind(&discover(client).ask(address))).collect();
    assert!(!rest.contains(&address));
    assert_eq!(server.send(&discover(11)).silent(), Silence::NoAddress);
    server.restart();
    assert_eq!(server.send(&discover(11)).silent(), Silence::NoAddress);
    server.pass(3600);
    assert_eq!(server.bind(&discover(11)), address);
}

#[test]
fn a_young_lease_is_confirmed_without_a_write_and_with_the_time_it_has_left() {
    let mut server = Server::new("lease_cache = 0.25\nlease_time = '1000s'", LAN);
    let address = server.bind(&discover(1));
    server.pass(249);
    let ack = server.send(&renew(1, address)).heard(Kind::Ack);
    assert_eq!((ack.lease_time(), server.disk.len(), ack.durable), (751, 1, true));
    server.pass(1);
    let ack = server.send(&renew(1, address)).heard(Kind::Ack);
    assert_eq!((ack.lease_time(), server.disk.len()), (1000, 2));
    // What changed is written at once.
    server.send(&renew(1, address).option(12, b"renamed")).heard(Kind::Ack);
    assert_eq!(server.disk.len(), 3);
}

#[test]
fn offers_are_limited_and_leases_are_not() {
    let mut server = Server::new("max_offers = 2", LAN);
    let bound = server.bind(&discover(9));
    server.offer(&discover(1));
    server.offer(&discover(2));
    assert_eq!(server.send(&discover(3)).silent(), Silence::OffersFull);
    server.offer(&discover(1));
    assert_eq!(server.offer(&discover(9)), bound);
    server.send(&request(1, ip(11))).heard(Kind::Ack);
    server.offer(&discover(3));
}

#[test]
fn a_client_that_floods_is_held_to_its_rate_and_disturbs_no_other() {
    let mut server = Server::new("client_rate = 2\nclient_burst = 5", LAN);
    let sent = |server: &mut Server, client, count: usize| {
        (0..count).filter(|_| matches!(server.send(&discover(client)), Got::Heard(_))).count()
    };
    assert_eq!(sent(&mut server, 1, 20), 5);
    assert_eq!(server.send(&discover(1)).silent(), Silence::RateLimited);
    assert_eq!(sent(&mut server, 2, 3), 3);
    server.pass(1);
    assert_eq!(sent(&mut server, 1, 20), 2);
    server.pass(100);
    assert_eq!(sent(&mut server, 1, 20), 5);
    server.now -= 1000;
    assert!(sent(&mut server, 1, 1) == 1, "a clock set back starts anew");
}

#[test]
fn high_rates_are_kept_and_absurd_bursts_are_harmless() {
    let mut limiter = Limiter::new(1 << 10);
    let rate = Rate::per_second(4000, 8);
    let admitted = (0..100_000u64).filter(|n| limiter.admit(1, n / 100, rate)).count();
    assert!((3990..=4010).contains(&admitted), "a second at 4000 a second: {admitted}");
    assert!(Rate::per_second(0, 5).is_none() && Rate::within(Duration::MAX, 0).is_none());
    for (rate, burst) in [(1, u32::MAX), (u32::MAX, u32::MAX), (u32::MAX, 0), (1, 0)] {
        for now in [0, 1, u64::MAX / 2, u64::MAX, 5] {
            limiter.admit(2, now, Rate::per_second(rate, burst));
            limiter.admit(3, now, Rate::within(Duration::from_secs(u32::MAX.into()), rate));
        }
    }
}

#[test]
fn an_address_is_probed_before_it_is_offered_and_remembered_as_free() {
    let mut server = Server::new("conflict_detection = 'arp'\nprobe_cache = '60s'", LAN);
    let Got::Probe(address) = server.send(&discover(1)) else { panic!("no probe") };
    assert_eq!((address, server.state(address)), (ip(10), Some(State::Offered)));
    assert!(matches!(server.send(&discover(2)), Got::Probe(other) if other == ip(11)), "held meanwhile");
    server.engine.probed(address, false, server.now());
    assert_eq!(server.offer(&discover(1)), address);
    server.send(&request(1, address)).heard(Kind::Ack);
    server.send(&release(1, address));
    assert_eq!(server.offer(&discover(1)), address, "known to be free");
    server.pass(61);
    assert!(matches!(server.send(&discover(1)), Got::Probe(_)));
}

#[test]
fn an_address_that_answers_a_probe_is_quarantined_and_another_is_tried() {
    let mut server = Server::new("conflict_detection = 'arp'", LAN);
    server.engine.watch(true);
    let Got::Probe(address) = server.send(&discover(1)) else { panic!("no probe") };
    server.engine.probed(address, true, server.now());
    server.save();
    audit(&server.engine);
    assert_eq!((server.state(address), server.disk.len()), (Some(State::Declined), 1));
    assert!(matches!(server.send(&discover(1).ask(address)), Got::Probe(other) if other == ip(11)));
    let mut events = Vec::new();
    server.engine.take_events(&mut events);
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), ["probe", "conflict", "probe"]);
    let holder = server.bind_probed(2);
    server.engine.probed(holder, true, server.now());
    assert_eq!(server.state(holder), Some(State::Active), "a late answer takes no lease away");
}

impl Server {
    fn bind_probed(&mut self, client: u8) -> Ipv4Addr {
        let Got::Probe(address) = self.send(&discover(client)) else { panic!("no probe") };
        self.engine.probed(address, false, self.now());
        self.bind(&discover(client))
    }
}

#[test]
fn relayed_clients_are_probed_by_echo_and_not_by_arp() {
    let relayed = discover(1).relay(ip(2));
    let mut arp = Server::new("conflict_detection = 'arp'", LAN);
    arp.offer(&relayed);
    let mut ping = Server::new("conflict_detection = 'ping'", LAN);
    assert!(matches!(ping.send(&relayed), Got::Probe(_)));
    assert!(matches!(ping.send(&discover(2)), Got::Probe(_)));
}

#[test]
fn a_probed_request_counts_once_against_its_clients_rate() {
    let mut server = Server::new("conflict_detection = 'arp'\nclient_rate = 1\nclient_burst = 1", LAN);
    let (bytes, via) = (discover(1).bytes(), discover(1).via());
    let request = Request { message: Message::decode(&bytes).unwrap(), via };
    let facts = server.engine.policy().facts(&request);
    assert!(matches!(server.engine.handle(server.now(), &request, &facts), Decision::Probe(_)));
    server.engine.probed(ip(10), false, server.now());
    assert!(matches!(server.engine.handle_again(server.now(), &request, &facts), Decision::Answer(_)));
    assert_eq!(server.send(&discover(1)).silent(), Silence::RateLimited);
}

#[test]
fn a_clock_that_is_set_back_ends_no_lease_and_gives_no_address_twice() {
    for settings in ["", "lease_cache = 0.5"] {
        let mut server = Server::new(settings, LAN);
        let address = server.bind(&discover(1));
        server.now -= 7200;
        let mut given: Vec<_> = (2..11).map(|client| server.bind(&discover(client))).collect();
        assert_eq!(server.send(&discover(20)).silent(), Silence::NoAddress);
        let ack = server.send(&renew(1, address)).heard(Kind::Ack);
        assert_eq!(
            (ack.lease_time(), server.engine.leases().at(address).unwrap().expires),
            (43_200, server.now + 43_200)
        );
        server.restart();
        server.pass(43_199);
        assert_eq!(server.engine.totals().active, 10);
        given.push(address);
        given.sort_unstable();
        given.dedup();
        assert_eq!(given.len(), 10);
        server.pass(1);
        assert_eq!(server.engine.totals().active, 0);
    }
}

#[test]
fn a_renewal_in_the_second_its_lease_ends_comes_before_or_after_and_is_kept_either_way() {
    for ends_first in [true, false] {
        let mut server = Server::lan();
        let address = server.bind(&discover(1));
        server.now += 43_200;
        if ends_first {
            server.pass(0);
        }
        server.send(&renew(1, address)).heard(Kind::Ack);
        server.pass(0);
        assert_eq!(server.state(address), Some(State::Active));
        server.pass(43_200);
        assert_eq!(server.state(address), Some(State::Expired));
    }
}

#[test]
fn a_restart_brings_back_every_lease_and_watches_over_it() {
    let mut server = Server::lan();
    let (kept, released, declined) = (server.bind(&discover(1)), server.bind(&discover(2)), server.bind(&discover(3)));
    server.send(&release(2, released));
    server.send(&decline(3, declined));
    server.offer(&discover(4));
    server.restart();
    let states = [kept, released, declined, ip(13)].map(|address| server.state(address));
    assert_eq!(states, [Some(State::Active), Some(State::Released), Some(State::Declined), None]);
    assert_eq!(server.send(&renew(1, kept)).heard(Kind::Ack).address, kept);
    server.pass(43_200);
    assert_eq!(server.state(kept), Some(State::Expired));
}

#[test]
fn leases_that_ran_out_while_we_were_away_have_ended() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.now += 43_200;
    server.restart();
    assert_eq!(server.state(address), Some(State::Expired));
    assert_eq!(server.bind(&discover(1)), address);
}

#[test]
fn replaying_the_log_twice_changes_nothing() {
    let mut server = Server::lan();
    for client in 0..4 {
        server.bind(&discover(client));
    }
    server.send(&release(1, ip(11)));
    server.disk.extend(server.disk.clone());
    server.restart();
    assert_eq!(server.engine.totals().active, 3);
}

#[test]
fn leases_live_through_a_new_configuration() {
    let mut server = Server::lan();
    let (inside, outside) = (server.bind(&discover(1)), server.bind(&discover(2)));
    server.offer(&discover(3));
    let smaller = LAN.replace("192.0.2.10-192.0.2.19", "192.0.2.10-192.0.2.10' }, { range = '192.0.2.30-192.0.2.31");
    server.adopt("lease_time = '1h'", &smaller);
    assert_eq!(server.send(&renew(1, inside)).heard(Kind::Ack).lease_time(), 3600);
    assert_eq!(server.state(outside), Some(State::Active), "it ends with its lease");
    assert_eq!(server.send(&renew(2, outside)).nak(), "address may not be given to this client");
    assert_eq!(server.bind(&discover(2)), ip(30));
    server.pass(43_200);
    server.adopt("", LAN);
    let mut given: Vec<_> = (10..20).map(|client| server.bind(&discover(client))).collect();
    given.sort_unstable();
    assert_eq!(given, (10..20).map(ip).collect::<Vec<_>>());
}

#[test]
fn a_subnet_that_goes_takes_its_leases_with_it_and_gets_them_back_when_it_returns() {
    let mut server = Server::lan();
    let address = server.bind(&discover(1));
    server.adopt("", &LAN.replace("192.0.2", "198.51.100").replace("id = 1", "id = 2"));
    assert_eq!(server.send(&renew(1, address)).silent(), Silence::NoSubnet);
    assert_eq!(server.state(address), Some(State::Active));
    server.adopt("", LAN);
    assert_eq!(server.send(&renew(1, address)).heard(Kind::Ack).address, address);
}

#[test]
fn a_million_leases_that_end_together_are_taken_in_slices() {
    let tables =
        "[[dhcp.subnet]]\nid = 1\nprefix = '10.0.0.0/8'\ninterface = 'lan0'\npools = [{ range = '10.0.0.0/8' }]\n";
    let mut engine = Engine::new(policy("", tables, 1), 7);
    let mut chaddr = [0; 16];
    for n in 0..1_000_000u32 {
        chaddr[..4].copy_from_slice(&n.to_be_bytes());
        engine.restore(Change::Lease(Lease {
            address: (0x0a00_0001 + n).into(),
            subnet: 1,
            starts: START,
            expires: START + 60,
            state: State::Active,
            htype: 1,
            hlen: 6,
            due: 0,
            chaddr,
            details: Default::default(),
        }));
    }
    engine.start(START);
    assert_eq!(engine.pool_use(0)[0].active, 1_000_000);
    assert_eq!(engine.handle_timeout(START + 59, 1000), 0);
    let mut slices = 0;
    while engine.handle_timeout(START + 60, 1000) == 1000 {
        slices += 1;
    }
    assert_eq!((slices, engine.totals(), engine.poll_timeout()), (1000, Totals::default(), None));
    assert!(engine.journal.is_empty(), "what time does needs no record");
}

#[test]
fn shortened_lifetimes_do_not_fill_the_calendar() {
    let mut server = Server::lan();
    // Offered, refused, offered again: the deadline of an address that comes and goes stays one.
    for _ in 0..1000 {
        server.send_bytes(&discover(1).ask(ip(10)).bytes(), discover(1).via());
        server.send_bytes(&packet(Kind::Request, 1).ask(ip(10)).server(ip(2)).bytes(), discover(1).via());
    }
    assert_eq!(server.engine.calendar.len(), 1);
    // Bound for long, released, offered: the far deadline of each round stays behind, until there are too many.
    let mut server = Server::new("lease_time = '1000d'", LAN);
    for _ in 0..100_000 {
        for packet in [discover(1), request(1, ip(10)), release(1, ip(10))] {
            server.send_bytes(&packet.bytes(), packet.via());
        }
        server.disk.clear();
        server.now += 61;
        server.engine.handle_timeout(server.now, 64);
    }
    assert!(server.engine.calendar.len() <= 65_600, "{}", server.engine.calendar.len());
    audit(&server.engine);
}

#[test]
fn a_quarantine_that_ended_while_we_were_away_leaves_the_address_to_nobody() {
    let mut server = Server::new("decline_time = '1h'", LAN);
    let address = server.bind(&discover(1));
    server.send(&decline(1, address));
    server.now += 3600;
    server.restart();
    assert_eq!(server.state(address), None);
    server.now -= 1800;
    server.restart();
    assert_eq!(server.state(address), None, "the disk knows, whatever the clock says");
    assert_eq!(server.send(&rebind(1, address)).silent(), Silence::UnknownClient, "it is not its decliner's own");
    assert_eq!(server.bind(&discover(2)), address);
}

#[test]
fn leases_that_run_out_are_counted_and_other_deadlines_are_not() {
    let mut server = Server::new("decline_time = '1h'", LAN);
    server.bind(&discover(1));
    let declined = server.bind(&discover(2));
    server.send(&decline(2, declined));
    server.offer(&discover(3));
    server.pass(40_000);
    assert_eq!(server.engine.expired(), 0);
    server.pass(3200);
    assert_eq!(server.engine.expired(), 1);
}

#[test]
fn made_up_clients_leave_half_of_what_is_free_to_those_that_return() {
    let mut server = Server::lan();
    let (stays, comes_back) = (server.bind(&discover(1)), server.bind(&discover(2)));
    server.send(&release(2, comes_back));
    let flood = |server: &mut Server, first| {
        let got = (first..first + 30).map(|client| server.send(&discover(client)));
        got.filter(|got| matches!(got, Got::Heard(_))).count()
    };
    // They might be real. But most of what they are offered is not held for long, and then it shows that they are not.
    assert_eq!(flood(&mut server, 100), 9);
    assert_eq!(server.send(&discover(99)).silent(), Silence::NoAddress);
    server.pass(5);
    assert_eq!(server.engine.offers, 3);
    assert_eq!(flood(&mut server, 130), 2, "five of nine altogether");
    assert_eq!(server.send(&discover(99).ask(ip(19))).silent(), Silence::OfferShare);
    assert_eq!(server.bind(&discover(2)), comes_back);
    server.send(&renew(1, stays)).heard(Kind::Ack);
    let tables = format!("{LAN}reservation = [{{ mac = '02:00:00:00:00:03', address = '192.0.2.19' }}]\n");
    server.adopt("", &tables);
    assert_eq!(server.bind(&discover(3)), ip(19), "who is known by the file is no stranger");
    // Round after round, as long as it lasts.
    for round in 0..30 {
        server.pass(5);
        assert!(flood(&mut server, 160 + round) <= 4 && server.engine.offers <= 4);
    }
    server.pass(61);
    server.bind(&discover(99));
}

#[test]
fn new_clients_after_a_power_cut_all_get_an_address_at_once() {
    let mut server = Server::lan();
    let offered: Vec<_> = (0..10).map(|client| (client, server.offer(&discover(client)))).collect();
    server.pass(2);
    for (client, address) in offered {
        server.send(&request(client, address)).heard(Kind::Ack);
    }
    assert_eq!(server.engine.totals().active, 10);
}

#[test]
fn a_client_that_asks_after_its_short_offer_lapsed_gets_the_address_if_nobody_took_it() {
    let mut server = Server::new("short_offer_time = '2s'", LAN);
    let last = (0..10).map(|client| server.offer(&discover(client))).last().unwrap();
    server.pass(8);
    assert_eq!(server.state(last), None);
    assert_eq!(server.send(&request(9, last)).heard(Kind::Ack).address, last);
}

#[test]
fn a_circuit_is_held_to_its_rate_whatever_clients_it_claims_to_be() {
    let mut server = Server::new("client_rate = 50\ncircuit_rate = 2\ncircuit_burst = 4", LAN);
    let heard = |server: &mut Server, circuit: &[u8], clients: std::ops::Range<u8>| {
        let send = |client| server.send(&discover(client).relay(ip(2)).port(circuit));
        clients.map(send).filter(|got| matches!(got, Got::Heard(_))).count()
    };
    assert_eq!(heard(&mut server, b"port 1", 0..9), 4);
    assert_eq!(server.send(&discover(20).relay(ip(2)).port(b"port 1")).silent(), Silence::CircuitLimited);
    assert_eq!(heard(&mut server, b"port 2", 30..33), 3, "another port");
    assert!(matches!(server.send(&discover(40).relay(ip(2))), Got::Heard(_)), "without a name no bucket");
    server.pass(1);
    assert_eq!(heard(&mut server, b"port 1", 0..4), 2);
    assert!(matches!(server.send(&discover(50).port(b"port 1")), Got::Heard(_)), "its own word makes it no circuit");
}

#[test]
fn who_may_ask_for_leases_asks_as_often_as_it_likes() {
    let settings =
        "leasequery = ['10.9.9.0/24']\nclient_rate = 1\nclient_burst = 1\ncircuit_rate = 1\ncircuit_burst = 1";
    let mut server = Server::new(settings, LAN);
    let asker = |giaddr: [u8; 4]| packet(Kind::LeaseQuery, 1).relay(giaddr.into()).port(b"agent").from(ip(10));
    for _ in 0..20 {
        server.send(&asker([10, 9, 9, 9])).heard(Kind::LeaseUnassigned);
    }
    assert_eq!(server.send(&asker([10, 9, 8, 9])).silent(), Silence::QueryRefused);
    assert_eq!(server.send(&asker([10, 9, 8, 9])).silent(), Silence::RateLimited);
}

#[test]
fn no_client_empties_a_pool_by_declining_it() {
    let mut server = Server::new("decline_limit = 2\ndecline_share = 0.5\ndecline_time = '10h'", LAN);
    let refused = |server: &mut Server, client| {
        let address = server.bind(&discover(client));
        (address, server.send(&decline(client, address)).silent())
    };
    assert_eq!(refused(&mut server, 1), (ip(10), Silence::Done));
    assert_eq!(refused(&mut server, 1), (ip(11), Silence::Done));
    let (address, silence) = refused(&mut server, 1);
    assert_eq!((address, silence, server.state(address)), (ip(12), Silence::DeclineLimit, None));
    assert_eq!(refused(&mut server, 1).0, ip(13), "it gets another one all the same");
    // Another client has a budget of its own, and all of them together no more than half of the pool.
    let told: Vec<_> = (2..6).map(|client| refused(&mut server, client).1).collect();
    assert_eq!(told, [Silence::Done, Silence::Done, Silence::Done, Silence::DeclineShare]);
    assert_eq!(server.engine.totals().declined, 5);
    server.restart();
    assert_eq!((server.engine.totals().declined, server.state(ip(12))), (5, None), "the disk agrees");
    // A fifth of the time gives one back.
    server.pass(36_000);
    assert_eq!(refused(&mut server, 1).1, Silence::Done);
}

#[test]
fn a_circuits_clients_share_one_budget_of_declines() {
    let mut server = Server::new("decline_limit = 1", LAN);
    let relayed = |packet: Packet| packet.relay(ip(2)).port(b"port 1");
    for (client, expected) in [(1, Silence::Done), (2, Silence::DeclineLimit)] {
        let address = server.offer(&relayed(discover(client)));
        server.send(&relayed(request(client, address))).heard(Kind::Ack);
        assert_eq!(server.send(&relayed(decline(client, address))).silent(), expected);
    }
}

#[test]
fn leases_that_ended_long_ago_are_forgotten_a_slice_at_a_time_and_for_good() {
    let mut server = Server::new("keep_ended = '30d'", LAN);
    let (expired, released) = (server.bind(&discover(1)), server.bind(&discover(2)));
    server.send(&release(2, released));
    server.pass(50_000);
    let active = server.bind(&discover(3));
    assert_eq!(server.engine.forget_ended(server.now + 29 * 86_400, 100), 0);
    let later = server.now + 31 * 86_400;
    let slices: Vec<_> = (0..4).map(|_| server.engine.forget_ended(later, 1)).collect();
    assert_eq!(slices, [1, 1, 0, 0], "a lease each, then the first again");
    audit(&server.engine);
    server.save();
    server.restart();
    assert_eq!([expired, released, active].map(|address| server.state(address)), [None, None, Some(State::Active)]);
    let given: Vec<_> = (10..19).map(|client| server.bind(&discover(client))).collect();
    assert!(given.contains(&expired) && given.contains(&released));
}

#[test]
fn leases_of_a_subnet_that_is_gone_for_good_are_forgotten_even_endless_ones() {
    let mut server = Server::new("keep_ended = '30d'\nmax_lease_time = '4294967295s'", LAN);
    server.send(&request(1, ip(10)).time(INFINITE)).heard(Kind::Ack);
    server.bind(&discover(2));
    server.pass(30 * 86_400);
    assert_eq!(server.engine.forget_ended(server.now, 100), 0, "the endless one is its client's");
    server.adopt("keep_ended = '30d'", &LAN.replace("192.0.2", "198.51.100").replace("id = 1", "id = 2"));
    assert_eq!(server.engine.forget_ended(server.now, 100), 1);
    server.pass(86_400);
    assert_eq!(server.engine.forget_ended(server.now, 100), 1);
    assert!(server.engine.leases().is_empty());
}
