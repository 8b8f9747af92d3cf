//! The API over an engine, without HTTP.

use super::lease::{self, AddLease, ChangeLease, LeaseState};
use super::reservation::{self, Kind, Origin, ReservationBody};
use super::search::{LeasePage, LeaseQuery, Search};
use super::subnet::{Summary, subnets};
use super::{event_json, transfer};
use crate::config::Dhcp;
use crate::engine::{Engine, Event, Now};
use crate::lease::{Change, Detail, Details, INFINITE, Lease, State};
use crate::policy::{IdentifierKind, Policy, Reservation};
use outwork_config::Sources;
use outwork_front::api::Problem;
use serde_json::json;
use std::net::Ipv4Addr;
use std::sync::Arc;

pub(super) const NOW: u32 = 1_790_000_000;

pub(super) const CONFIG: &str = r#"
lease_time = "2h"
warn_utilisation = 0.5
option_definition = [{ name = "site-code", code = 224, type = "uint16" }]

[[class]]
name = "phones"

[[network]]
name = "hall"

[[subnet]]
id = 1
prefix = "10.1.0.0/16"
pools = [{ range = "10.1.1.0-10.1.99.255" }]

[[subnet]]
id = 7
name = "upstairs"
prefix = "10.2.0.0/24"
network = "hall"
lease_time = "30m"
pools = [{ range = "10.2.0.10-10.2.0.13" }, { range = "10.2.0.100-10.2.0.199" }]
reservation = [{ mac = "02:00:00:00:00:07", address = "10.2.0.7", hostname = "door", options = { routers = ["10.2.0.1"] } }]

[[subnet]]
id = 9
prefix = "10.3.0.0/24"
network = "hall"
pools = [{ range = "10.3.0.10-10.3.0.20" }]
"#;

pub(super) fn policy(text: &str) -> Arc<Policy> {
    let file = Some(("outwork.toml".into(), text.to_owned()));
    let loaded = outwork_config::load::<Dhcp>(Sources { file, env: Vec::new(), set: Vec::new() });
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults}"));
    Arc::new(Policy::compile(&loaded.value, 0).expect("a configuration without faults"))
}

fn engine() -> Engine {
    let mut engine = Engine::new(policy(CONFIG), 1);
    engine.start(NOW);
    engine
}

const fn now() -> Now {
    Now { unix: NOW, millis: NOW as u64 * 1000 }
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// An active lease of the `n`th client.
pub(super) fn lease_of(n: u32) -> Lease {
    let [_, a, b, c] = n.to_be_bytes();
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[0x52, 0x54, 0, a, b, c]);
    let id = [1, 0x52, 0x54, 0, a, b, c];
    let name = format!("Host-{n}");
    let details = Details::pack([(Detail::ClientId, &id[..]), (Detail::HostName, name.as_bytes())]);
    Lease {
        address: Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 1, 0)) + n),
        subnet: 1,
        starts: NOW,
        expires: NOW + 3600,
        state: State::Active,
        htype: 1,
        hlen: 6,
        due: 0,
        chaddr,
        details,
    }
}

fn with_leases(count: u32) -> Engine {
    let mut engine = engine();
    (0..count).for_each(|n| engine.put_lease(lease_of(n)));
    engine.journal.clear();
    engine
}

fn journal(engine: &Engine) -> Vec<Change> {
    engine.journal.records().map(|record| Change::read(record).expect("a record")).collect()
}

fn list(engine: &Engine, query: LeaseQuery) -> LeasePage {
    let mut search = Search::new(&query).expect("a query");
    while !search.step(engine) {}
    search.finish()
}

fn addresses(page: &LeasePage) -> Vec<String> {
    page.items.iter().map(|lease| lease.address.to_string()).collect()
}

fn text(q: &str) -> LeaseQuery {
    LeaseQuery { q: Some(q.to_owned()), ..LeaseQuery::default() }
}

fn draft(json: serde_json::Value) -> AddLease {
    serde_json::from_value(json).expect("a draft")
}

fn body(json: serde_json::Value) -> ReservationBody {
    serde_json::from_value(json).expect("a reservation")
}

/// Index of the class of that name.
fn phones(policy: &Policy) -> usize {
    policy.classes.iter().position(|class| class.name == "phones").expect("a class")
}

fn blamed<T: std::fmt::Debug>(result: Result<T, Problem>) -> (u16, String) {
    let problem = result.expect_err("a problem");
    (problem.status, problem.key.unwrap_or_default())
}

#[test]
fn paging_meets_every_lease_once_and_says_how_many_there_are() {
    let engine = with_leases(10_000);
    for query in
        [LeaseQuery::default(), LeaseQuery { state: Some(LeaseState::Active), ..LeaseQuery::default() }, text("host-")]
    {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = list(&engine, LeaseQuery { after, limit: Some(999), ..query.clone() });
            assert_eq!(page.total, 10_000);
            seen.extend(page.items.iter().map(|lease| lease.address));
            let Some(next) = page.next else { break };
            after = next.parse().ok();
        }
        assert_eq!(seen.len(), 10_000);
        assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[test]
fn a_search_lets_the_engine_go_every_few_thousand_leases() {
    let engine = with_leases(10_000);
    let mut search = Search::new(&text("nobody")).expect("a query");
    let holds = std::iter::from_fn(|| (!search.step(&engine)).then_some(())).count();
    assert!(holds >= 4, "{holds}");
    assert_eq!(search.finish().total, 0);
}

#[test]
fn a_page_that_ends_with_the_last_match_has_no_next() {
    let engine = with_leases(20);
    let page = list(&engine, LeaseQuery { limit: Some(20), ..LeaseQuery::default() });
    assert_eq!((page.items.len(), page.next), (20, None));
    let page = list(&engine, LeaseQuery { limit: Some(2), ..text("host-1") });
    assert_eq!((page.total, page.next.as_deref()), (11, Some("10.1.1.10")), "host-1 and host-10 to host-19");
    let end = LeaseQuery { after: Some(Ipv4Addr::BROADCAST), ..LeaseQuery::default() };
    assert_eq!(list(&engine, end).items, []);
}

#[test]
fn a_search_finds_addresses_names_and_identifiers_in_every_notation() {
    let engine = with_leases(300);
    for q in [
        "10.1.1.200",
        "52:54:00:00:00:c8",
        "52-54-00-00-00-C8",
        "5254.0000.00c8",
        "5254000000c8",
        "01:52:54:00:00:00:c8",
        "015254000000c8",
        "HOST-200",
        "00:00:c8",
        "0000c8",
    ] {
        assert_eq!(addresses(&list(&engine, text(q))), ["10.1.1.200"], "{q}");
    }
    assert_eq!(list(&engine, text("10.1.1.2")).total, 1, "a whole address that somebody has is that one");
    assert_eq!(list(&engine, text("10.1.1.25")).total, 1);
    assert_eq!(list(&engine, text("10.1.2.4")).total, 1);
    assert_eq!(list(&engine, text("10.1.2.4x")).total, 0);
    assert_eq!(list(&engine, text("0.1.2.4")).total, 5, "10.1.2.4 and 10.1.2.40 to 10.1.2.43");
    assert_eq!(list(&engine, LeaseQuery { subnet: Some(7), ..text("host-200") }).total, 0);
    assert!(Search::new(&text(&"x".repeat(256))).is_err());
}

#[test]
fn what_is_asked_for_in_whole_is_found_by_the_indexes_and_nothing_like_it() {
    let mut engine = with_leases(5000);
    let mut shown = lease_of(7000);
    shown.htype = 6;
    shown.details = Details::pack([(Detail::ShownId, &b"printer"[..])]);
    engine.put_lease(shown);
    let all = LeaseQuery::default;
    let some = |text: &str| Some(text.to_owned());
    let whole = [
        LeaseQuery { mac: some("52-54-00-00-00-C8"), ..all() },
        LeaseQuery { client_id: some("hex:015254000000c8"), ..all() },
        LeaseQuery { client_id: some("01:52:54:00:00:00:c8"), ..all() },
        LeaseQuery { address: Some([10, 1, 1, 200].into()), ..all() },
        LeaseQuery { hostname: some("Host-200"), ..all() },
        LeaseQuery { hostname: some("host-200"), mac: some("5254.0000.00c8"), subnet: Some(1), ..text("10.1.1") },
    ];
    for query in whole {
        let mut search = Search::new(&query).expect("a query");
        let by_index = query.hostname.is_none() || query.mac.is_some();
        assert_eq!(search.step(&engine), by_index, "{query:?} in one look, unless by name alone");
        assert_eq!(addresses(&list(&engine, query.clone())), ["10.1.1.200"], "{query:?}");
    }
    let other = lease_of(7000).address.to_string();
    assert_eq!(addresses(&list(&engine, LeaseQuery { client_id: some("'printer'"), ..all() })), [other.as_str()]);
    let mac = crate::api::text::colons(lease_of(7000).hardware());
    assert_eq!(addresses(&list(&engine, LeaseQuery { mac: Some(mac), ..all() })), [other], "of any hardware type");
    let nothing = [
        LeaseQuery { mac: some("52:54:00:00:00"), ..all() },
        LeaseQuery { client_id: some("hex:0152"), ..all() },
        LeaseQuery { hostname: some("host-20"), ..LeaseQuery { mac: some("52:54:00:00:00:c8"), ..all() } },
        LeaseQuery { address: Some([10, 9, 9, 9].into()), ..all() },
        LeaseQuery { mac: some("52:54:00:00:00:c8"), subnet: Some(7), ..all() },
        LeaseQuery { mac: some("52:54:00:00:00:c8"), ..text("10.1.9") },
    ];
    for query in nothing {
        assert_eq!(list(&engine, query.clone()).total, 0, "{query:?}");
    }
    let blamed = |query: LeaseQuery| blamed(Search::new(&query).map(drop)).1;
    assert_eq!(blamed(LeaseQuery { mac: some("printer"), ..all() }), "mac");
    assert_eq!(blamed(LeaseQuery { client_id: some(""), ..all() }), "client_id");
}

#[test]
fn a_lease_is_shown_with_its_relay_and_its_reservation() {
    let mut engine = engine();
    let relay = [1, 4, b'e', b't', b'h', b'0', 2, 2, 0xab, 0xcd];
    let details = Details::pack([
        (Detail::ShownId, &[0xff_u8, 1][..]),
        (Detail::Relay, &relay),
        (Detail::Giaddr, &[10, 2, 0, 1]),
        (Detail::VendorClass, b"MSFT 5.0"),
    ]);
    let lease = Lease { address: address("10.2.0.7"), subnet: 7, expires: INFINITE, details, ..lease_of(3) };
    engine.put_lease(lease.clone());
    let shown = serde_json::to_value(lease::view(&engine, &lease)).expect("JSON");
    let expected = json!({
        "address": "10.2.0.7", "state": "active", "mac": "52:54:00:00:00:03", "client_id": "ff:01", "hostname": null,
        "subnet_id": 7, "starts": "2026-09-21T14:13:20.000Z", "expires": "9999-12-31T23:59:59.000Z",
        "relay": {"giaddr": "10.2.0.1", "circuit_id": "'eth0'", "remote_id": "ab:cd"},
        "vendor_class": "MSFT 5.0", "mud_url": null, "fixed": true,
    });
    assert_eq!(shown, expected);
}

#[test]
fn a_lease_is_shown_with_the_mud_url_of_its_device() {
    let details = Details::pack([(Detail::MudUrl, &b"https://example.com/bulb"[..])]);
    let mut engine = engine();
    engine.put_lease(Lease { details, ..lease_of(3) });
    let shown = list(&engine, LeaseQuery::default());
    assert_eq!(shown.items[0].mud_url.as_deref(), Some("https://example.com/bulb"));
}

#[test]
fn an_added_lease_is_active_journalled_and_counted() {
    let mut engine = engine();
    let draft = draft(json!({"address": "10.2.0.11", "mac": "52-54-00-00-00-01", "hostname": "nas"}));
    let added = lease::add(&mut engine, now(), &draft).expect("added");
    assert_eq!((added.subnet_id, added.mac.as_deref()), (7, Some("52:54:00:00:00:01")));
    let [Change::Lease(kept)] = &journal(&engine)[..] else { panic!("one record") };
    assert_eq!((kept.state, kept.expires - kept.starts), (State::Active, 1800), "the subnet's lease time");
    let subnet = &subnets(&engine, 1, 1)[0];
    assert_eq!((subnet.counts.active, subnet.pools[0].counts.active), (1, 1));
}

#[test]
fn a_lease_that_cannot_be_names_the_field() {
    let mut engine = with_leases(2);
    let mut blame = |json| blamed(lease::add(&mut engine, now(), &draft(json)));
    let address = |status: u16| (status, "address".to_owned());
    assert_eq!(blame(json!({"address": "192.0.2.1", "mac": "52:54:00:00:01:01"})), address(400));
    assert_eq!(blame(json!({"address": "10.2.0.255", "mac": "52:54:00:00:01:01"})), address(400));
    assert_eq!(blame(json!({"address": "10.1.1.1", "mac": "52:54:00:00:01:01"})), address(409), "another has it");
    assert_eq!(blame(json!({"address": "10.2.0.7", "mac": "52:54:00:00:01:01"})), address(409), "reserved");
    assert_eq!(blame(json!({"address": "10.1.1.9", "mac": "52:54:0"})), (400, "mac".to_owned()));
    assert_eq!(blame(json!({"address": "10.1.1.9"})), (400, "mac".to_owned()));
    let twice = json!({"address": "10.1.1.9", "client_id": "01:52:54:00:00:00:01"});
    assert_eq!(blame(twice), (409, "mac".to_owned()), "this client has 10.1.1.1");
    let soon = json!({"address": "10.1.1.9", "mac": "52:54:00:00:01:01", "lease_time": 0});
    assert_eq!(blame(soon), (400, "lease_time".to_owned()));
    let named = json!({"address": "10.1.1.9", "mac": "52:54:00:00:01:01", "hostname": "a b"});
    assert_eq!(blame(named), (400, "hostname".to_owned()));
    assert!(engine.journal.is_empty());
}

#[test]
fn a_change_of_name_keeps_everything_else() {
    let mut engine = with_leases(2);
    let change: ChangeLease = serde_json::from_value(json!({"hostname": "printer"})).expect("a change");
    let changed = lease::change(&mut engine, now(), address("10.1.1.1"), &change).expect("changed");
    assert_eq!(changed.hostname.as_deref(), Some("printer"));
    assert_eq!(changed.client_id.as_deref(), Some("01:52:54:00:00:00:01"));
    let nameless: ChangeLease = serde_json::from_value(json!({"hostname": null, "lease_time": 60})).expect("a change");
    let changed = lease::change(&mut engine, now(), address("10.1.1.1"), &nameless).expect("changed");
    assert_eq!(changed.hostname, None);
    let Some(Change::Lease(kept)) = journal(&engine).pop() else { panic!("a record") };
    assert_eq!((kept.expires, kept.client_id().map(<[u8]>::len)), (NOW + 60, Some(7)));
    assert_eq!(blamed(lease::change(&mut engine, now(), address("10.1.1.77"), &nameless)).0, 404);
}

#[test]
fn a_released_lease_frees_its_address_and_cannot_be_released_again() {
    let mut engine = with_leases(1);
    lease::release(&mut engine, now(), address("10.1.1.0")).expect("released");
    assert!(matches!(&journal(&engine)[..], [Change::Lease(lease)] if lease.state == State::Released));
    assert_eq!(subnets(&engine, 0, 1)[0].counts.active, 0);
    assert_eq!(blamed(lease::release(&mut engine, now(), address("10.1.1.0"))).0, 409);
    assert_eq!(blamed(lease::release(&mut engine, now(), address("10.1.1.1"))).0, 404);
}

#[test]
fn subnets_and_the_summary_say_how_full_pools_are() {
    let mut engine = with_leases(5);
    for (n, last) in [(100, 10), (101, 11)] {
        engine.put_lease(Lease { address: Ipv4Addr::new(10, 2, 0, last), subnet: 7, ..lease_of(n) });
    }
    let all = subnets(&engine, 0, 10);
    let subnet = serde_json::to_value(&all[1]).expect("JSON");
    assert_eq!(subnet["prefix"], "10.2.0.0/24");
    assert_eq!((&subnet["name"], &subnet["shared_network"]), (&json!("upstairs"), &json!("hall")));
    assert_eq!((&subnet["lease_time_seconds"], &subnet["reservations"]), (&json!(1800), &json!(1)));
    assert_eq!((&subnet["total"], &subnet["active"], &subnet["free"]), (&json!(104), &json!(2), &json!(102)));
    assert_eq!(
        subnet["pools"][0],
        json!({"range": "10.2.0.10-10.2.0.13", "warning": true, "reserved": 0, "total": 4, "active": 2,
        "offered": 0, "declined": 0, "free": 2, "utilisation": 0.5})
    );
    assert_eq!(subnet["pools"][1]["warning"], false);
    let mut summary = Summary::default();
    all.chunks(2).for_each(|some| summary.add(&engine, some));
    assert_eq!((summary.subnets, summary.pools, summary.pools_warned), (3, 4, 1));
    assert_eq!((summary.leases, summary.reservations, summary.counts.active), (7, 1, 7));
}

#[test]
fn a_subnet_counts_every_lease_of_its_prefix_and_its_pools_what_they_hand_out() {
    let mut engine = engine();
    let last = |last| Ipv4Addr::new(10, 2, 0, last);
    for (n, address) in [(100, last(10)), (101, last(7)), (102, last(250))] {
        engine.put_lease(Lease { address, subnet: 7, ..lease_of(n) });
    }
    let figures = |engine: &Engine| {
        let subnet = &subnets(engine, 1, 1)[0];
        let pool = &subnet.pools[0];
        (subnet.counts.active, subnet.counts.free, pool.counts.active, pool.counts.total, pool.reserved)
    };
    assert_eq!(figures(&engine), (3, 103, 1, 4, 0), "10.2.0.7 is reserved, 10.2.0.250 of no pool");
    let draft =
        json!({"subnet_id": 7, "identifier": {"kind": "mac", "value": "52:54:00:00:07:07"}, "address": "10.2.0.11"});
    reservation::add(&mut engine, now(), &body(draft)).expect("reserved");
    assert_eq!(figures(&engine), (3, 102, 1, 3, 1));
    assert_eq!(subnets(&engine, 1, 1)[0].counts.utilisation, 1.0 / 103.0, "of what the pools hand out");
    engine.release_address(last(7), NOW);
    assert_eq!(figures(&engine).0, 2);
}

#[test]
fn a_reservation_comes_back_from_its_json_as_it_was() {
    let mut engine = engine();
    let policy = Arc::clone(engine.policy());
    let sent = json!({
        "subnet_id": 1, "identifier": {"kind": "circuit_id", "value": "'port 7'"}, "address": "10.1.0.5",
        "hostname": "cam", "classes": ["phones"], "next_server": "10.1.0.2", "boot_file": "pxe.0",
        "lease_time_seconds": 600, "min_lease_time_seconds": 60, "max_lease_time_seconds": 900, "renew_time_seconds": 200,
        "rebind_time_seconds": 400,
        "options": {"routers": ["10.1.0.1"], "site-code": {"value": 9, "always_send": true}, "domain-name": {"never_send": true}},
    });
    let made = reservation::add(&mut engine, now(), &body(sent.clone())).expect("made");
    let [Change::Reserve(id, json)] = &journal(&engine)[..] else { panic!("one record") };
    let (read, unfit) = reservation::from_json(&policy, *id, json).expect("readable");
    assert!(unfit.is_empty());
    assert_eq!((read.identifier.kind, read.identifier.bytes.as_slice()), (IdentifierKind::CircuitId, &b"port 7"[..]));
    assert!(read.classes.contains(phones(&policy)));
    assert_eq!(read.scope.options.get(224), Some(&[0, 9][..]));
    assert_eq!((read.scope.times.lease, read.scope.times.rebind), (Some(600), Some(400)));
    assert_eq!((made.id.as_str(), made.source), ("1790000000000", Origin::Api));
    let shown = reservation::to_json(&policy, &read);
    assert_eq!(shown, made);
    let mut shown = serde_json::to_value(shown).expect("JSON");
    let fields = shown.as_object_mut().expect("an object");
    assert_eq!(fields.remove("source"), Some(json!("api")));
    fields.remove("id");
    assert_eq!(shown, sent);
}

#[test]
fn a_reservation_without_a_subnet_holds_in_all_and_its_address_must_be_of_one() {
    let mut engine = engine();
    let sent = json!({"identifier": {"kind": "mac", "value": "52:54:00:00:00:01"}, "hostname": "roamer"});
    let made = reservation::add(&mut engine, now(), &body(sent.clone())).expect("made");
    assert_eq!(made.body.subnet_id, None);
    assert_eq!(blamed(reservation::add(&mut engine, now(), &body(sent))), (409, "identifier".to_owned()));
    let at =
        |address: &str| body(json!({"identifier": {"kind": "mac", "value": "52:54:00:00:00:02"}, "address": address}));
    assert_eq!(blamed(reservation::add(&mut engine, now(), &at("192.0.2.1"))), (400, "address".to_owned()));
    reservation::add(&mut engine, now(), &at("10.1.0.9")).expect("made");
}

#[test]
fn a_flex_reservation_needs_the_expression_that_finds_its_client() {
    let mut engine = engine();
    let flex = body(json!({"identifier": {"kind": "flex", "value": "'port 7'"}, "address": "10.1.0.9"}));
    assert_eq!(blamed(reservation::add(&mut engine, now(), &flex)), (400, "identifier.kind".to_owned()));
    let mac = |value: &str| body(json!({"identifier": {"kind": "mac", "value": value}}));
    let made = reservation::add(&mut engine, now(), &mac("52:54:00:00:00:02")).expect("made");
    let id = reservation::parse_id(&made.id).expect("an id");
    assert_eq!(blamed(reservation::replace(&mut engine, id, &flex)), (400, "identifier.kind".to_owned()));
    engine.adopt(policy(&format!("flex_identifier = \"option[60].hex\"\n{CONFIG}")), Vec::new());
    reservation::add(&mut engine, now(), &flex).expect("made");
}

#[test]
fn every_identifier_reads_back_as_it_is_shown() {
    let policy = policy(&format!("flex_identifier = \"option[60].hex\"\n{CONFIG}"));
    for octets in [&b"\x01"[..], b"\x01\x52", b"a", b"ab:cd", b"it's", b"hex:01", b"'", b"\x00", b"\x7f\x80\x81"] {
        for kind in IdentifierKind::ALL {
            let identifier = crate::policy::Identifier { kind, bytes: octets.to_vec() };
            let reservation = Reservation {
                id: 1,
                subnet: Some(1),
                identifier: identifier.clone(),
                address: None,
                hostname: None,
                classes: Default::default(),
                scope: Default::default(),
            };
            let shown = serde_json::to_vec(&reservation::to_json(&policy, &reservation).body).expect("JSON");
            let (read, _) = reservation::from_json(&policy, 1, &shown).expect("readable");
            assert_eq!(read.identifier, identifier);
        }
    }
    assert_eq!(serde_json::to_value(Kind::ClientId).expect("JSON"), "client_id");
}

#[test]
fn a_reservation_that_cannot_be_names_the_field() {
    let mut engine = engine();
    let good =
        json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": "52:54:00:00:00:01"}, "address": "10.1.0.5"});
    let mut blame = |field: &str, value: serde_json::Value| {
        let mut sent = good.clone();
        *sent.pointer_mut(field).expect("a field") = value;
        blamed(reservation::add(&mut engine, now(), &body(sent)))
    };
    assert_eq!(blame("/subnet_id", json!(5)), (400, "subnet_id".to_owned()));
    assert_eq!(blame("/identifier/value", json!("printer")), (400, "identifier.value".to_owned()));
    assert_eq!(blame("/address", json!("10.2.0.9")), (400, "address".to_owned()));
    assert_eq!(blame("/address", json!("10.1.0.0")), (400, "address".to_owned()));
    let mut more = |key: &str, value: serde_json::Value| {
        let mut sent = good.clone();
        sent[key] = value;
        blamed(reservation::add(&mut engine, now(), &body(sent)))
    };
    assert_eq!(more("classes", json!(["printers"])), (400, "classes[0]".to_owned()));
    assert_eq!(more("options", json!({"routers": "nowhere"})), (400, "options.routers".to_owned()));
    assert_eq!(more("hostname", json!("")), (400, "hostname".to_owned()));
    assert_eq!(more("boot_file", json!("x".repeat(128))), (400, "boot_file".to_owned()));
    assert_eq!(more("lease_time_seconds", json!(0)), (400, "lease_time_seconds".to_owned()));
    assert_eq!(more("max_lease_time_seconds", json!(7199)), (400, "max_lease_time_seconds".to_owned()));
    assert_eq!(more("rebind_time_seconds", json!(7200)), (400, "rebind_time_seconds".to_owned()));
    assert_eq!(more("options", json!({"domain-name": "x".repeat(20_000)})).0, 400);
    reservation::add(&mut engine, now(), &body(good.clone())).expect("made");
    assert_eq!(blamed(reservation::add(&mut engine, now(), &body(good.clone()))), (409, "identifier".to_owned()));
    let mut other = good;
    other["identifier"]["value"] = json!("52:54:00:00:00:02");
    assert_eq!(blamed(reservation::add(&mut engine, now(), &body(other))), (409, "address".to_owned()));
    assert_eq!(journal(&engine).len(), 1);
}

#[test]
fn what_the_configuration_lost_is_left_out_of_a_reservation_and_reported() {
    let stored = json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": "52:54:00:00:00:01"}, "address": "10.1.0.5",
        "hostname": null, "classes": ["phones", "gone"], "options": {"site-code": 9, "routers": ["10.1.0.1"]}});
    let stored = serde_json::to_vec(&stored).expect("JSON");
    let without = policy(&CONFIG.replace("name = \"site-code\"", "name = \"other-code\""));
    let (kept, unfit) = reservation::from_json(&without, 3, &stored).expect("readable");
    assert_eq!(kept.address, Some(address("10.1.0.5")));
    assert!(
        kept.classes.contains(phones(&without))
            && kept.scope.options.get(3).is_some()
            && kept.scope.options.get(224).is_none()
    );
    let keys: Vec<&str> = unfit.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["classes[1]", "options.site-code"]);
    let moved = policy(&CONFIG.replace("10.1.", "10.9."));
    assert_eq!(reservation::from_json(&moved, 3, &stored).expect_err("no such address").key, "address");
}

#[test]
fn reserving_an_address_that_another_holds_is_allowed_and_says_so() {
    let mut engine = with_leases(3);
    let of = |client: &str, address: &str| {
        body(json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": client}, "address": address}))
    };
    let other = reservation::add(&mut engine, now(), &of("52:54:00:00:00:99", "10.1.1.1")).expect("made");
    assert!(other.warning.is_some_and(|warning| warning.contains("52:54:00:00:00:01")));
    let own = reservation::add(&mut engine, now(), &of("52:54:00:00:00:02", "10.1.1.2")).expect("made");
    assert_eq!(own.warning, None);
    assert_ne!(own.id, other.id);
}

#[test]
fn a_replaced_reservation_lets_go_of_its_address_and_keeps_its_id() {
    let mut engine = engine();
    let of = |client: &str, address: &str| {
        body(json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": client}, "address": address}))
    };
    let one = reservation::add(&mut engine, now(), &of("52:54:00:00:00:01", "10.1.1.1")).expect("made");
    reservation::add(&mut engine, now(), &of("52:54:00:00:00:02", "10.1.1.2")).expect("made");
    let id = reservation::parse_id(&one.id).expect("an id");
    let taken = reservation::replace(&mut engine, id, &of("52:54:00:00:00:01", "10.1.1.2"));
    assert_eq!(blamed(taken), (409, "address".to_owned()));
    assert!(engine.reservations().at(address("10.1.1.1")).is_some(), "a refusal changes nothing");
    let new = reservation::replace(&mut engine, id, &of("52:54:00:00:00:03", "10.1.1.3")).expect("replaced");
    assert_eq!(new.id, one.id);
    assert!(engine.reservations().at(address("10.1.1.1")).is_none());
    assert_eq!(engine.reservations().in_subnet(1), 2);
    reservation::remove(&mut engine, id, false).expect("removed");
    assert_eq!((engine.reservations().in_subnet(1), blamed(reservation::remove(&mut engine, id, false)).0), (1, 404));
    assert!(matches!(journal(&engine).last(), Some(Change::Unreserve(gone)) if *gone == id));
}

#[test]
fn the_files_reservations_are_shown_and_changed_only_in_the_file() {
    let mut engine = engine();
    let shown = reservation::to_json(engine.policy(), &reservation::page(&engine, 0, 10)[0]);
    assert_eq!((shown.id.as_str(), shown.source), ("config-0", Origin::Config));
    assert_eq!(serde_json::to_value(&shown.body.options).expect("JSON"), json!({"routers": ["10.2.0.1"]}));
    let id = reservation::parse_id("config-0").expect("an id");
    let problem = reservation::remove(&mut engine, id, false).expect_err("refused");
    assert_eq!(problem.status, 409);
    assert!(problem.detail.contains("configuration file"), "{}", problem.detail);
    assert_eq!(blamed(reservation::replace(&mut engine, id, &shown.body)).0, 409);
    assert!(engine.journal.is_empty());
    for wrong in ["", "x", "-1", "config-", "9223372036854775808", "config-9223372036854775808"] {
        assert!(reservation::parse_id(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_reservation_gives_way_to_the_files_and_returns_once_when_that_goes() {
    let mut engine = engine();
    let sent =
        json!({"subnet_id": 1, "identifier": {"kind": "mac", "value": "52:54:00:00:00:01"}, "address": "10.1.0.5"});
    let made = reservation::add(&mut engine, now(), &body(sent.clone())).expect("made");
    let id = reservation::parse_id(&made.id).expect("an id");
    let (alone, stored) = (Arc::clone(engine.policy()), serde_json::to_vec(&sent).expect("JSON"));
    let range = "\npools = [{ range = \"10.1.1.0-10.1.99.255\" }]";
    let theirs = "\nreservation = [{ mac = \"52:54:00:00:00:01\", address = \"10.1.0.6\" }]";
    let with_file = policy(&CONFIG.replace(range, &format!("{range}{theirs}")));
    let reload = |engine: &mut Engine, policy: &Arc<Policy>| {
        let (again, _) = reservation::from_json(policy, id, &stored).expect("readable");
        engine.adopt(Arc::clone(policy), vec![again]).is_empty()
    };
    assert!(!reload(&mut engine, &with_file) && !reload(&mut engine, &with_file));
    assert!(engine.reservations().at(address("10.1.0.6")).is_some());
    assert!(engine.reservations().at(address("10.1.0.5")).is_none());
    assert!(reload(&mut engine, &alone), "the file has let go of its client");
    assert_eq!(engine.reservations().at(address("10.1.0.5")).map(|found| found.id), Some(id));
    reservation::remove(&mut engine, id, false).expect("removed");
    engine.adopt(alone, Vec::new());
    assert_eq!(engine.reservations().in_subnet(1), 0, "what was removed stays away");
}

fn import(engine: &mut Engine, file: &str) -> transfer::ImportReport {
    let put = |batch| Ok::<_, std::convert::Infallible>(transfer::put(engine, now(), &batch));
    transfer::import(file.as_bytes(), put).expect("a whole file")
}

#[test]
fn leases_go_out_and_come_in_again_as_they_were() {
    let mut from = with_leases(2500);
    from.put_lease(Lease { expires: INFINITE, ..lease_of(7) });
    from.put_lease(Lease { state: State::Expired, expires: NOW - 5, starts: NOW - 50, ..lease_of(8) });
    from.put_lease(Lease {
        state: State::Declined,
        hlen: 0,
        chaddr: [0; 16],
        details: Details::default(),
        ..lease_of(9)
    });
    let (mut file, mut at) = (Vec::new(), Some(Ipv4Addr::UNSPECIFIED));
    while let Some(address) = at {
        let (rows, next) = transfer::rows(&from, address);
        file.extend(transfer::write(&rows, address.is_unspecified()).expect("in memory"));
        at = next;
    }
    let file = String::from_utf8(file).expect("text");
    assert_eq!(file.lines().count(), 2501);
    assert_eq!(file.matches("address,hwaddr").count(), 1);
    let mut to = engine();
    let report = import(&mut to, &file);
    assert_eq!((report.imported, report.unchanged, report.failed), (2500, 0, 0));
    let plain = |engine: &Engine| -> Vec<Lease> {
        let all = engine.leases().range(Ipv4Addr::UNSPECIFIED);
        all.map(|lease| Lease { due: 0, ..lease.clone() }).collect()
    };
    assert_eq!(plain(&to), plain(&from));
    assert_eq!(journal(&to).len(), 2500);
    let before = plain(&from);
    let report = import(&mut from, &file);
    assert_eq!((report.imported, report.updated, report.unchanged, report.failed), (0, 0, 2500, 0), "its own export");
    assert_eq!(plain(&from), before, "what the file has no column for stays");
}

#[test]
fn every_bad_line_of_an_import_is_reported_and_the_others_are_taken() {
    let mut engine = with_leases(2);
    let later = NOW + 9000;
    let file = format!(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n\
         10.1.2.1,52:54:00:00:09:01,,7200,{later},1,0,0,one,0,\n\
         10.1.2.2,nonsense,,7200,{later},1,0,0,,0,\n\
         192.0.2.1,52:54:00:00:09:03,,7200,{later},1,0,0,,0,\n\
         10.1.2.3\n\
         10.1.1.1,52:54:00:00:09:05,,7200,{later},1,0,0,,0,\n\
         10.1.1.0,52:54:00:00:00:00,01:52:54:00:00:00:00,60,{early},1,0,0,,0,\n\
         10.1.2.4,,,7200,{later},1,0,0,,0,\n\
         10.1.2.1,52:54:00:00:09:01,,0,{later},1,0,0,one,0,\n\
         10.1.2.5,52:54:00:00:09:09,,7200,{later},99,0,0,last&#x2cone,0,",
        early = NOW - 60
    );
    let report = import(&mut engine, &file);
    let lines: Vec<u64> = report.faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [3, 4, 5, 6, 8]);
    assert_eq!((report.imported, report.unchanged, report.failed), (3, 1, 5));
    assert!(report.faults[0].detail.starts_with("hwaddr"), "{:?}", report.faults[0]);
    assert!(report.faults[3].detail.contains("52:54:00:00:00:01"), "who has it: {:?}", report.faults[3]);
    let state = |text: &str| engine.leases().at(address(text)).map(|lease| lease.state);
    assert_eq!(state("10.1.2.1"), Some(State::Released), "the file deletes it further down");
    let last = engine.leases().at(address("10.1.2.5")).expect("a lease");
    assert_eq!((last.subnet, last.host_name().as_deref()), (1, Some("last,one")), "the subnet is the address's");
}

#[test]
fn relay_information_and_releases_go_out_as_kea_writes_them_and_come_in_again() {
    let mut from = engine();
    let details = Details::pack([(Detail::Relay, &[1, 4, 0xaa, 0xbb, 0xcc, 0xdd][..])]);
    from.put_lease(Lease { details, ..lease_of(1) });
    from.put_lease(Lease { state: State::Released, expires: NOW - 5, starts: NOW - 50, ..lease_of(2) });
    let (rows, _) = transfer::rows(&from, Ipv4Addr::UNSPECIFIED);
    let file = String::from_utf8(transfer::write(&rows, true).expect("in memory")).expect("text");
    assert!(file.contains(r#",0,{ "ISC": { "relay-agent-info": "0x0104AABBCCDD" } }"#), "{file}");
    let states: Vec<_> = file.lines().skip(1).filter_map(|line| line.split(',').nth(9)).collect();
    assert_eq!(states, ["0", "3"]);
    let newer = file.replace(
        r#""0x0104AABBCCDD""#,
        r#"{ "remote-id": "00"&#x2c "sub-options": "0x0104AABBCCDD" }&#x2c "client-id": "01" }&#x2c "owner": { "a": 1 "#,
    );
    for (file, told) in [(file, 0), (newer, 1)] {
        let mut to = engine();
        let report = import(&mut to, &file);
        assert_eq!((report.imported, report.updated, report.failed, report.notes.len()), (2, 0, 0, told));
        for note in report.notes {
            assert!(note.detail.contains("owner, client-id"), "{note:?}");
        }
        let mut all = to.leases().range(Ipv4Addr::UNSPECIFIED).map(|lease| Lease { due: 0, ..lease.clone() });
        let mut expected = from.leases().range(Ipv4Addr::UNSPECIFIED).map(|lease| Lease { due: 0, ..lease.clone() });
        assert!(all.by_ref().eq(expected.by_ref()), "{file}");
    }
}

#[test]
fn an_import_tells_new_leases_from_changed_ones_and_what_it_took_in_another_way() {
    let mut engine = with_leases(0);
    let file = format!(
        "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n\
         10.1.2.1,52:54:00:00:09:01,,7200,{later},1,0,0,,0,\n\
         10.1.2.1,52:54:00:00:09:01,,7200,{later},1,0,0,named,0,\n\
         10.1.2.2,52:54:00:00:09:02,,7200,{later},99,0,0,,0,{{ broken\n\
         10.1.2.3,52:54:00:00:09:03,,7200,never,1,0,0,,0,\n",
        later = NOW + 9000
    );
    let report = import(&mut engine, &file);
    assert_eq!((report.imported, report.updated, report.unchanged, report.failed), (3, 1, 0, 1));
    let place = |fault: &transfer::LineFault| (fault.line, fault.address);
    assert_eq!(report.faults.iter().map(place).collect::<Vec<_>>(), [(5, Some(address("10.1.2.3")))]);
    assert_eq!(report.notes.iter().map(place).collect::<Vec<_>>(), [(4, Some(address("10.1.2.2")))]);
    let said = &report.notes[0].detail;
    assert!(said.contains("it is a lease of 1 here") && said.contains("user_context: expected JSON"), "{said}");
}

#[test]
fn a_file_that_is_no_lease_file_changes_nothing() {
    let mut engine = engine();
    let put = |batch| Ok::<_, std::convert::Infallible>(transfer::put(&mut engine, now(), &batch));
    assert!(transfer::import(&b"address,duid\n"[..], put).is_err());
    assert!(engine.journal.is_empty());
}

#[test]
fn an_event_has_the_fields_of_the_feed() {
    let event = Event {
        kind: "ack",
        address: Some(address("10.1.1.1")),
        hardware: vec![0x52, 0x54, 0, 0, 0, 1],
        client_id: Some(vec![1, 2]),
        mud_url: None,
        hostname: None,
        subnet: Some(1),
        reason: None,
    };
    let shown = serde_json::to_value(event_json(&event)).expect("JSON");
    assert_eq!(
        shown,
        json!({"address": "10.1.1.1", "mac": "52:54:00:00:00:01", "client_id": "01:02", "hostname": null,
        "subnet_id": 1, "mud_url": null, "reason": null})
    );
}
