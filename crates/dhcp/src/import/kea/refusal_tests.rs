//! What is imported, put through the compiler that `outwork run` uses, does what Kea would do.
use super::*;
use crate::config::Dhcp;
use crate::options::OptionSet;
use crate::policy::{IdentifierKind, Policy};
use outwork_config::{Sources, load, section};

section! {
    /// The file.
    struct Whole {
        /// The service.
        dhcp: Dhcp,
    }
}

fn compiled(conversion: &Conversion) -> Policy {
    let file = Some(("converted.toml".into(), conversion.toml.clone()));
    let root = load::<Whole>(Sources { file, ..Sources::default() });
    let root = root.unwrap_or_else(|faults| panic!("{faults}\n{}", conversion.toml));
    Policy::compile(&root.value.dhcp, 1).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// A file with these settings at the top of `Dhcp4`, whose subnet has those.
fn imported(global: &str, subnet: &str) -> (Conversion, Policy) {
    let text = format!(
        r#"{{ "Dhcp4": {{ {global} "subnet4": [ {{ "id": 1, "subnet": "192.0.2.0/24", {subnet}
            "pools": [ {{ "pool": "192.0.2.10 - 192.0.2.99" }} ] }} ] }} }}"#
    );
    let conversion = convert(&text).unwrap();
    let policy = compiled(&conversion);
    (conversion, policy)
}

#[track_caller]
fn told(conversion: &Conversion, path: &str, kind: NoteKind, reason: &str) {
    let of_path: Vec<_> = conversion.notes.iter().filter(|note| note.path == path).collect();
    let found = of_path.iter().any(|note| note.kind == kind && note.reason.contains(reason));
    assert!(found, "{path}: {:#?}", conversion.notes);
}

/// Option 15 of a client in these classes, in the first subnet.
fn domain<'p>(policy: &'p Policy, classes: &[&str]) -> Option<&'p str> {
    let mut set = crate::policy::ClassSet::default();
    classes.iter().for_each(|name| set.insert(policy.classes.iter().position(|class| class.name == *name).unwrap()));
    let mut scopes = Vec::new();
    policy.scopes(&set, 0, None, None, &mut scopes);
    let options: Vec<&OptionSet> = scopes.iter().map(|scope| &scope.options).collect();
    OptionSet::lookup(&options, 15).map(|octets| std::str::from_utf8(octets).unwrap())
}

const CLASSES: &str = r#""client-classes": [ { "name": "a", "test": "option[60].exists" }, { "name": "b" },
    { "name": "c", "option-data": [ { "name": "domain-name", "data": "own.example" } ] } ],"#;

#[test]
fn an_option_for_some_classes_goes_to_their_members_and_to_nobody_else() {
    let tagged =
        r#""option-data": [ { "name": "domain-name", "data": "x.example", "client-classes": [ "a", "b" ] } ],"#;
    let classes = CLASSES.replace(r#", "option-data": [ { "name": "domain-name", "data": "own.example" } ]"#, "");
    let (conversion, policy) = imported(&format!("{classes}{tagged}"), "");
    assert_eq!(domain(&policy, &[]), None);
    assert_eq!([["a"], ["b"]].map(|classes| domain(&policy, &classes)), [Some("x.example"); 2]);
    assert_eq!(domain(&policy, &["c"]), None);
    told(&conversion, "Dhcp4.option-data[0]", NoteKind::Changed, "class `a`, `b` gives option `domain-name`");
}

#[test]
fn an_option_for_some_classes_that_cannot_be_said_is_lost_and_given_to_nobody() {
    let option = |classes: &str| {
        format!(
            r#""option-data": [ {{ "name": "domain-name", "data": "x.example", "client-classes": [ {classes} ] }} ],"#
        )
    };
    for (global, subnet, path, reason) in [
        (
            format!("{CLASSES}{}", option(r#""a""#)),
            String::new(),
            "Dhcp4.option-data[0]",
            "a class has the option already",
        ),
        (option(r#""KNOWN""#), String::new(), "Dhcp4.option-data[0]", "not defined in the file"),
        (CLASSES.to_owned(), option(r#""a""#), "Dhcp4.subnet4[0].option-data[0]", "members of `a` alone"),
    ] {
        let (conversion, policy) = imported(&global, &subnet);
        assert_eq!(domain(&policy, &[]), None);
        if global.contains("\"c\"") {
            assert_eq!(domain(&policy, &["a", "c"]), Some("own.example"));
        }
        told(&conversion, path, NoteKind::Lost, reason);
    }
}

#[test]
fn an_interface_with_an_address_is_the_interface_and_the_address_is_listened_on() {
    let of = |socket: &str, entries: &str| {
        let config =
            format!(r#""interfaces-config": {{ "dhcp-socket-type": "{socket}", "interfaces": [ {entries} ] }},"#);
        let (conversion, _) = imported(&config, "");
        let dhcp: toml::Table = conversion.toml.parse().unwrap();
        let list = |key: &str| dhcp["dhcp"].get(key).map(ToString::to_string).unwrap_or_default();
        (list("interfaces"), list("listen"), conversion)
    };
    let (interfaces, listen, conversion) = of("raw", r#""eth0/192.0.2.1", "eth0/192.0.2.2""#);
    assert_eq!((interfaces.as_str(), listen.as_str()), (r#"["eth0"]"#, r#"["192.0.2.1:67", "192.0.2.2:67"]"#));
    told(&conversion, "Dhcp4.interfaces-config.interfaces[0]", NoteKind::Changed, "`eth0` is served whole");
    let (interfaces, listen, _) = of("udp", r#""eth0/192.0.2.1""#);
    assert_eq!((interfaces.as_str(), listen.as_str()), ("", r#"["192.0.2.1:67"]"#));
    let (interfaces, _, conversion) = of("raw", r#""eth0/nonsense", "much-too-long-for-linux", "eth1""#);
    assert_eq!(interfaces, r#"["eth0", "eth1"]"#);
    told(&conversion, "Dhcp4.interfaces-config.interfaces[0]", NoteKind::Lost, "no IPv4 address");
    told(&conversion, "Dhcp4.interfaces-config.interfaces[1]", NoteKind::Lost, "no interface");
}

#[test]
fn settings_that_nothing_here_reads_are_named() {
    let global = r#""ddns-send-updates": true, "ddns-ttl": 60, "ddns-replace-client-name": "never", "sanity-checks": {},
        "statistic-default-sample-count": 3, "statistic-default-sample-age": 9, "parked-packet-limit": 64, "xyzzy": 1,"#;
    let (conversion, _) = imported(global, r#""ddns-update-on-renew": false, "hostname-char-replacement": "x","#);
    for (key, kind) in [
        ("ddns-send-updates", NoteKind::Lost),
        ("ddns-ttl", NoteKind::Lost),
        ("ddns-replace-client-name", NoteKind::Lost),
        ("sanity-checks", NoteKind::Changed),
        ("statistic-default-sample-count", NoteKind::Changed),
        ("statistic-default-sample-age", NoteKind::Changed),
        ("parked-packet-limit", NoteKind::Changed),
        ("xyzzy", NoteKind::Lost),
        ("subnet4[0].ddns-update-on-renew", NoteKind::Lost),
        ("subnet4[0].hostname-char-replacement", NoteKind::Lost),
    ] {
        told(&conversion, &format!("Dhcp4.{key}"), kind, "");
    }
}

#[test]
fn lease_caching_and_relay_information_are_the_products_own_settings() {
    let (conversion, policy) = imported(r#""cache-threshold": 0.25, "store-extended-info": false,"#, "");
    assert_eq!((policy.rules.cache_threshold, policy.rules.store_relay), (0.25, false));
    assert!(!conversion.notes.iter().any(|note| note.path.contains("cache") || note.path.contains("store")));
    let subnet = r#""cache-threshold": 0.1, "store-extended-info": false,"#;
    let (conversion, policy) = imported(r#""cache-threshold": 0.75, "cache-max-age": 600,"#, subnet);
    assert_eq!((policy.rules.cache_threshold, policy.rules.store_relay), (0.5, true));
    told(&conversion, "Dhcp4.cache-threshold", NoteKind::Changed, "`lease_cache` is 0.5");
    told(&conversion, "Dhcp4.cache-max-age", NoteKind::Lost, "in seconds");
    told(&conversion, "Dhcp4.subnet4[0].cache-threshold", NoteKind::Lost, "whole server");
    told(&conversion, "Dhcp4.subnet4[0].store-extended-info", NoteKind::Lost, "whole server");
    let (_, policy) = imported(r#""cache-threshold": 0.25, "cache-max-age": 0,"#, "");
    assert_eq!(policy.rules.cache_threshold, 0.0);
}

#[test]
fn a_flex_reservation_comes_with_its_expression_or_not_at_all() {
    let hook = r#""hooks-libraries": [ { "library": "libdhcp_flex_id.so", "parameters": { "identifier-expression": "EXPR" } } ],"#;
    let subnet = r#""reservations": [ { "flex-id": "'port 7'", "ip-address": "192.0.2.9" },
        { "hw-address": "02:00:00:00:00:01", "flex-id": "01:02" }, { "hostname": "nobody" } ],"#;
    let kinds = |policy: &Policy| -> Vec<IdentifierKind> {
        policy.reservations.iter().map(|reservation| reservation.identifier.kind).collect()
    };
    let (conversion, policy) = imported(&hook.replace("EXPR", "relay4[2].hex"), subnet);
    assert!(policy.flex.is_some());
    assert_eq!(kinds(&policy), [IdentifierKind::Flex, IdentifierKind::Mac]);
    told(&conversion, "Dhcp4.subnet4[0].reservations[2]", NoteKind::Lost, "nothing is left that says who");
    for global in ["", &hook.replace("EXPR", "nonsense(")] {
        let (conversion, policy) = imported(global, subnet);
        assert!(policy.flex.is_none());
        assert_eq!(kinds(&policy), [IdentifierKind::Mac]);
        told(&conversion, "Dhcp4.subnet4[0].reservations[0].flex-id", NoteKind::Lost, "identifier-expression");
        told(&conversion, "Dhcp4.subnet4[0].reservations[0]", NoteKind::Lost, "left out");
    }
}

#[test]
fn what_outwork_would_refuse_is_left_out_with_a_note_and_the_file_runs() {
    let long = "x".repeat(128);
    let global = format!(
        r#""boot-file-name": "{long}", "server-hostname": "{long}", "next-server": "nowhere", "valid-lifetime": 0,
        "client-classes": [ {{ "name": "a", "boot-file-name": "{long}" }}, {{ "name": "a" }}, {{ "name": "b" }} ],"#
    );
    let subnet = r#""relay": { "ip-addresses": [ "192.0.2.1", "somewhere" ] },
        "reservations": [ { "hw-address": "02:00:00:00:00:01", "ip-address": "198.51.100.1", "hostname": "kept" },
                          { "hw-address": "02:00:00:00:00:02", "ip-address": "192.0.2.7" },
                          { "hw-address": "02:00:00:00:00:03", "ip-address": "192.0.2.7" } ],"#;
    let (conversion, policy) = imported(&global, subnet);
    assert_eq!((policy.scope.boot.file.as_ref(), policy.scope.boot.server_hostname.as_ref()), (None, None));
    assert_eq!(policy.subnets[0].relays, ["192.0.2.1".parse::<Ipv4Addr>().unwrap()]);
    assert_eq!(policy.reservations.iter().map(|one| one.address.is_some()).collect::<Vec<_>>(), [false, true]);
    for (path, reason) in [
        ("Dhcp4.boot-file-name", "127"),
        ("Dhcp4.server-hostname", "63"),
        ("Dhcp4.next-server", "nowhere"),
        ("Dhcp4.client-classes[0].boot-file-name", "127"),
        ("Dhcp4.client-classes[1].name", "defined already"),
        ("Dhcp4.subnet4[0].relay", "somewhere"),
        ("Dhcp4.subnet4[0].reservations[0].ip-address", "not in 192.0.2.0/24"),
        ("Dhcp4.subnet4[0].reservations[2]", "already reserved"),
    ] {
        told(&conversion, path, NoteKind::Lost, reason);
    }
}

#[test]
fn subnets_of_one_id_get_their_own_and_impossible_prefixes_go() {
    let text = r#"{ "Dhcp4": { "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24" }, { "id": 1, "subnet": "198.51.100.0/24" },
        { "id": 2, "subnet": "203.0.113.0/24" }, { "id": 4, "subnet": "10.0.0.0/40" }, { "id": 5, "subnet": "192.0.2.128/25" },
        { "id": 99999999999, "subnet": "10.9.0.0/24", "pools": [ { "pool": "10.8.0.1 - 10.8.0.9" } ] } ] } }"#;
    let conversion = convert(text).unwrap();
    let policy = compiled(&conversion);
    let ids: Vec<_> = policy.subnets.iter().map(|subnet| (subnet.prefix(), subnet.id)).collect();
    let own = |(prefix, id): (&str, u32)| (prefix.to_owned(), id);
    let expected = [("10.9.0.0/24", 6), ("192.0.2.0/24", 1), ("198.51.100.0/24", 3), ("203.0.113.0/24", 2)].map(own);
    assert_eq!(ids, expected);
    told(&conversion, "Dhcp4.subnet4[1].id", NoteKind::Changed, "it is 3 here");
    told(&conversion, "Dhcp4.subnet4[3].subnet", NoteKind::Lost, "10.0.0.0/40");
    told(&conversion, "Dhcp4.subnet4[4].subnet", NoteKind::Lost, "overlaps");
    told(&conversion, "Dhcp4.subnet4[5].pools", NoteKind::Lost, "10.8.0.1-10.8.0.9");
}

#[test]
fn a_definition_and_an_entry_that_are_not_needed_here_are_told_of() {
    let definitions = r#""option-def": [
        { "name": "ctrl", "code": 43, "type": "empty", "space": "dhcp4", "encapsulate": "ubnt" },
        { "name": "unifi", "code": 1, "type": "ipv4-address", "space": "ubnt" } ],
        "option-data": [ { "name": "vendor-encapsulated-options" },
        { "name": "unifi", "space": "ubnt", "data": "192.0.2.5" } ],"#;
    let (conversion, _) = imported(definitions, "");
    told(&conversion, "Dhcp4.option-def[0]", NoteKind::Changed, "sub-options of `ubnt`");
    told(&conversion, "Dhcp4.option-data[0]", NoteKind::Changed, "vendor-encapsulated-options");
    assert!(conversion.toml.contains("ubnt"), "{}", conversion.toml);
}
