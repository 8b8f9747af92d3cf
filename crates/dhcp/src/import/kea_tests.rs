use super::kea::*;
use crate::expr::{Identifier, Test};
use crate::options::{Definitions, OptionSet, OptionSpec, OptionTable};
use crate::policy::Policy;
use serde_json::Value;

const CAMPUS: &str = include_str!("samples/campus.json");
const NEWER: &str = include_str!("samples/newer.json");

fn parsed(conversion: &Conversion) -> Value {
    let table: toml::Table = conversion.toml.parse().unwrap();
    serde_json::to_value(&table["dhcp"]).unwrap()
}

fn definitions(dhcp: &Value) -> Definitions {
    let specs = dhcp.get("option_definition").cloned().unwrap_or(Value::Array(Vec::new()));
    Definitions::new(&serde_json::from_value::<Vec<OptionSpec>>(specs).unwrap()).unwrap()
}

fn compiled(definitions: &Definitions, options: &Value) -> OptionSet {
    let table: OptionTable = serde_json::from_value(options.clone()).unwrap();
    definitions.compile(table.iter().map(|(key, value)| (key.as_str(), value))).unwrap()
}

fn note<'a>(conversion: &'a Conversion, path: &str) -> &'a Note {
    let found = conversion.notes.iter().find(|note| note.path == path);
    found.unwrap_or_else(|| panic!("no note on {path} in {:#?}", conversion.notes))
}

fn unhex(text: &str) -> Vec<u8> {
    crate::options::parse_hex(text).unwrap()
}

/// The file as it is written; `kea-dhcp4 -t` accepts what it comes from.
#[test]
fn the_campus_file_becomes_the_file_beside_it() {
    let conversion = convert(CAMPUS).unwrap();
    assert_eq!(conversion.toml, include_str!("samples/campus.toml"), "\n{}", conversion.toml);
}

/// What kea-dhcp4 2.2.0 sent to a PXE client on 192.0.2.0/24 when it ran the campus file.
#[test]
fn the_converted_options_are_the_octets_that_kea_sends() {
    let dhcp = parsed(&convert(CAMPUS).unwrap());
    let definitions = definitions(&dhcp);
    let class = dhcp["class"].as_array().unwrap().iter().find(|class| class["name"] == "pxe-bios").unwrap();
    let subnet = dhcp["subnet"].as_array().unwrap().iter().find(|subnet| subnet["id"] == 7).unwrap();
    let scopes =
        [&dhcp["options"], &subnet["options"], &class["options"]].map(|options| compiled(&definitions, options));
    let scopes: Vec<&OptionSet> = scopes.iter().collect();
    for (code, octets) in [
        (3, "c0000201"),
        (6, "c0000235c6336435"),
        (15, "736572766572732e6578616d706c652e6f7267"),
        (26, "2328"),
        (42, "c000027b"),
        (43, "060108"),
        (67, "756e6469206f6e6c79"),
        (78, "01c0000201"),
        (100, "45535435454454342c4d332e322e302f30323a30302c4d31312e312e302f30323a3030"),
        (101, "4575726f70652f4265726c696e"),
        (108, "00000708"),
        (114, "68747470733a2f2f6578616d706c652e6f72672f63617074697665"),
        // Kea repeats "example.org" here instead of pointing at it.
        (119, "03656e67076578616d706c65036f726700c004"),
        (121, "080ac0000201"),
        (124, "0000118b03646f63"),
        (125, "0000118b060204c0000242"),
        (224, "c0000209"),
        (225, "13c4c000020a68656c6c6f"),
        (226, "010400000010"),
        (230, "0a0b"),
    ] {
        assert_eq!(OptionSet::lookup(&scopes, code), Some(unhex(octets).as_slice()), "option {code}");
    }
    assert_eq!(OptionSet::unasked(&scopes).iter().collect::<Vec<_>>(), [6]);
}

#[test]
fn every_option_table_and_expression_in_the_file_compiles() {
    for text in [CAMPUS, NEWER] {
        let dhcp = parsed(&convert(text).unwrap());
        let definitions = definitions(&dhcp);
        let empty = Vec::new();
        let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).unwrap_or(&empty).clone();
        let mut scopes = vec![dhcp.clone()];
        ["class", "network", "subnet"].iter().for_each(|key| scopes.extend(list(&dhcp, key)));
        for subnet in list(&dhcp, "subnet") {
            scopes.extend(list(&subnet, "pools"));
            scopes.extend(list(&subnet, "reservation"));
        }
        for scope in &scopes {
            if let Some(options) = scope.get("options") {
                compiled(&definitions, options);
            }
            if let Some(test) = scope.get("test") {
                Test::parse(test.as_str().unwrap(), &definitions).unwrap();
            }
        }
        if let Some(flex) = dhcp.get("flex_identifier") {
            Identifier::parse(flex.as_str().unwrap(), &definitions).unwrap();
        }
    }
}

#[test]
fn only_settings_that_outwork_has_are_written() {
    const SERVER: &[&str] = &[
        "interfaces",
        "listen",
        "authoritative",
        "lease_time",
        "min_lease_time",
        "max_lease_time",
        "renew_time",
        "rebind_time",
        "match_client_id",
        "echo_client_id",
        "identifiers",
        "flex_identifier",
        "store_relay",
        "lease_cache",
        "next_server",
        "server_hostname",
        "boot_file",
        "decline_time",
        "options",
        "option_definition",
        "class",
        "network",
        "subnet",
        "reservation",
    ];
    const CLASS: &[&str] = &[
        "name",
        "test",
        "only_if_required",
        "lease_time",
        "min_lease_time",
        "max_lease_time",
        "renew_time",
        "rebind_time",
        "next_server",
        "server_hostname",
        "boot_file",
        "options",
    ];
    const NETWORK: &[&str] = &["name", "options", "interface", "relay"];
    const SUBNET: &[&str] = &[
        "id",
        "prefix",
        "network",
        "interface",
        "relay",
        "lease_time",
        "min_lease_time",
        "max_lease_time",
        "renew_time",
        "rebind_time",
        "next_server",
        "server_hostname",
        "boot_file",
        "options",
        "allow_classes",
        "require_classes",
        "pools",
        "reservation",
    ];
    fn check(tables: &Value, known: &[&str]) {
        for table in tables.as_array().unwrap() {
            table.as_object().unwrap().keys().for_each(|key| assert!(known.contains(&key.as_str()), "{key}"));
        }
    }
    for text in [CAMPUS, NEWER] {
        let dhcp = parsed(&convert(text).unwrap());
        check(&Value::Array(vec![dhcp.clone()]), SERVER);
        check(&dhcp["class"], CLASS);
        dhcp.get("network").into_iter().for_each(|networks| check(networks, NETWORK));
        check(&dhcp["subnet"], SUBNET);
    }
}

/// Puts a setting that nobody knows into every object, one at a time: each must come out as a note.
#[test]
fn nothing_the_file_says_is_lost_in_silence() {
    // What stands below these is replaced or lost as a whole.
    const WHOLE: [&str; 11] = [
        "lease-database",
        "hosts-database",
        "expired-leases-processing",
        "control-socket",
        "multi-threading",
        "dhcp-ddns",
        "sanity-checks",
        "loggers",
        "high-availability",
        "hooks-libraries",
        "user-context",
    ];
    fn objects(value: &Value, pointer: &str, path: &str, found: &mut Vec<(String, String)>) {
        match value {
            Value::Object(map) => {
                found.push((pointer.to_owned(), path.to_owned()));
                for (key, value) in map.iter().filter(|(key, _)| !WHOLE.contains(&key.as_str())) {
                    objects(value, &format!("{pointer}/{key}"), &format!("{path}.{key}"), found);
                }
            }
            Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| {
                objects(item, &format!("{pointer}/{index}"), &format!("{path}[{index}]"), found);
            }),
            _ => {}
        }
    }
    for text in [CAMPUS, NEWER] {
        let file = super::json::parse(text).unwrap();
        let mut found = Vec::new();
        objects(&file["Dhcp4"], "/Dhcp4", "Dhcp4", &mut found);
        assert!(found.len() > 20);
        for (pointer, path) in found {
            let mut file = file.clone();
            file.pointer_mut(&pointer).unwrap().as_object_mut().unwrap().insert("xyzzy".into(), 1.into());
            let conversion = convert(&file.to_string()).unwrap();
            assert_eq!(note(&conversion, &format!("{path}.xyzzy")).kind, NoteKind::Lost);
        }
    }
}

#[test]
fn notes_say_where_what_became_of_it_and_why() {
    let conversion = convert(CAMPUS).unwrap();
    for (path, kind, reason) in [
        ("Dhcp4.hooks-libraries[0]", NoteKind::Changed, "admin API"),
        ("Dhcp4.hooks-libraries[1]", NoteKind::Lost, "libdhcp_ha.so"),
        ("Dhcp4.lease-database", NoteKind::Changed, "outwork leases import /var/lib/kea/kea-leases4.csv"),
        ("Dhcp4.option-data[14]", NoteKind::Lost, "set `renew_time`"),
        ("Dhcp4.subnet4[0].4o6-interface", NoteKind::Lost, "not served"),
        ("Dhcp4.subnet4[0].reservations[5].duid", NoteKind::Lost, "flex_identifier"),
        ("Dhcp4.dhcp-ddns", NoteKind::Lost, "DNS updates"),
        ("Dhcp4.reservations[1]", NoteKind::Lost, "`reservations-global`"),
    ] {
        let note = note(&conversion, path);
        assert_eq!(note.kind, kind, "{path}");
        assert!(note.reason.contains(reason), "{path}: {}", note.reason);
    }
}

#[test]
fn newer_spellings_and_faulty_parts_are_told_apart() {
    let conversion = convert(NEWER).unwrap();
    let dhcp = parsed(&conversion);
    assert_eq!(dhcp["listen"], serde_json::json!(["192.0.2.1:67", "198.51.100.1:67"]));
    assert_eq!(dhcp.get("interfaces"), None);
    assert_eq!(dhcp["renew_time"], "400s");
    assert_eq!(dhcp["options"]["classless-static-route"][1], "0.0.0.0/0 192.0.2.2");
    assert_eq!(dhcp["options"]["ntp-servers"]["never_send"], true);
    assert_eq!(dhcp["options"]["routers"], serde_json::json!(["192.0.2.1"]));
    assert_eq!(dhcp["options"]["swap-server-233"], 9);
    assert_eq!(dhcp["class"][0]["name"], "nobody");
    assert_eq!(dhcp["class"][1].get("test"), None);
    assert_eq!(dhcp["class"][1]["only_if_required"], true);
    // The class's own type for 224 made these octets; the file's is text, which they are not.
    assert_eq!(dhcp["class"][1]["options"]["ruckus"], "hex:00000102");
    assert_eq!(dhcp["subnet"][0]["allow_classes"], serde_json::json!(["one", "nobody"]));
    assert_eq!(dhcp["subnet"][0]["require_classes"], serde_json::json!(["two"]));
    assert_eq!(dhcp["subnet"][0]["pools"], serde_json::json!([{ "range": "192.0.2.64-192.0.2.95" }]));
    assert_eq!(dhcp["subnet"][0]["reservation"].as_array().unwrap().len(), 1);
    for (path, kind, reason) in [
        ("Dhcp4.lease-database", NoteKind::Lost, "mysql"),
        ("Dhcp4.hosts-database", NoteKind::Lost, "reservations"),
        ("Dhcp4.hooks-libraries[0]", NoteKind::Changed, "probed"),
        ("Dhcp4.hooks-libraries[1]", NoteKind::Lost, "own_hook.so"),
        ("Dhcp4.compatibility.ignore-rai-link-selection", NoteKind::Lost, "RFC 3527"),
        ("Dhcp4.ddns-send-updates", NoteKind::Lost, "not sent"),
        ("Dhcp4.made-up", NoteKind::Lost, "does not know"),
        ("Dhcp4.option-def[1]", NoteKind::Changed, "`swap-server-233`"),
        ("Dhcp4.option-def[2]", NoteKind::Lost, "`psid` is no type"),
        ("Dhcp4.option-data[2]", NoteKind::Changed, "class `one`"),
        ("Dhcp4.option-data[5]", NoteKind::Lost, "given twice"),
        ("Dhcp4.option-data[6]", NoteKind::Lost, "`no-such-option`"),
        ("Dhcp4.option-data[7]", NoteKind::Lost, "`ninety`"),
        ("Dhcp4.option-data[8]", NoteKind::Lost, "hex digits"),
        ("Dhcp4.option-data[9]", NoteKind::Lost, "`unheard-of`"),
        ("Dhcp4.client-classes[0].option-def[0]", NoteKind::Changed, "as hex"),
        ("Dhcp4.client-classes[0].test", NoteKind::Lost, "no message falls into it"),
        ("Dhcp4.client-classes[1].template-test", NoteKind::Lost, "one class for each"),
        ("Dhcp4.subnet4[0].t1-percent", NoteKind::Lost, "inherited lease time"),
        ("Dhcp4.subnet4[0].hostname-char-set", NoteKind::Lost, "as they are sent"),
        ("Dhcp4.subnet4[0].pools[0].pool", NoteKind::Lost, "`192.0.2.9`"),
        ("Dhcp4.subnet4[0].reservations[0].hw-address", NoteKind::Lost, "`nonsense`"),
        ("Dhcp4.subnet4[0]", NoteKind::Lost, "class `nobody`: it is not defined"),
    ] {
        let note = note(&conversion, path);
        assert_eq!(note.kind, kind, "{path}");
        assert!(note.reason.contains(reason), "{path}: {}", note.reason);
    }
}

/// What a converted file means: it is loaded and compiled as `outwork run` does.
fn policy(conversion: &Conversion) -> Policy {
    outwork_config::section! {
        /// The file.
        pub struct Root {
            /// The service.
            pub dhcp: crate::config::Dhcp,
        }
    }
    let file = Some(("converted.toml".into(), conversion.toml.clone()));
    let sources = outwork_config::Sources { file, ..Default::default() };
    let root = outwork_config::load::<Root>(sources).unwrap_or_else(|faults| panic!("{faults}\n{}", conversion.toml));
    Policy::compile(&root.value.dhcp, 1).unwrap_or_else(|faults| panic!("{faults:?}"))
}

#[test]
fn a_converted_file_runs() {
    for text in [CAMPUS, NEWER] {
        assert!(!policy(&convert(text).unwrap()).subnets.is_empty());
    }
}

#[test]
fn classes_that_kea_has_by_itself_are_had_here_or_named_and_kept_closed() {
    let text = r#"{ "Dhcp4": { "interfaces-config": { "interfaces": [ "*" ] }, "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24",
        "pools": [ { "pool": "192.0.2.10 - 192.0.2.19", "client-class": "HA_server1" },
                   { "pool": "192.0.2.20 - 192.0.2.29", "client-class": "VENDOR_CLASS_docsis3.0" },
                   { "pool": "192.0.2.30 - 192.0.2.39", "client-class": "KNOWN" },
                   { "pool": "192.0.2.40 - 192.0.2.49", "client-class": "BOOTP" } ],
        "reservations": [ { "hw-address": "02:00:00:00:00:01", "client-classes": [ "DROP" ] },
                          { "hw-address": "02:00:00:00:00:02", "client-classes": [ "SKIP_DDNS" ] } ] } ] } }"#;
    let conversion = convert(text).unwrap();
    let policy = policy(&conversion);
    let guards = policy.subnets[0].pools.iter().map(|pool| pool.admission.0);
    assert!(
        guards.zip(["HA_server1", "VENDOR_CLASS_docsis3.0", "KNOWN", "BOOTP"]).all(|(guard, name)| {
            guard.contains(policy.classes.iter().position(|class| class.name == name).unwrap())
        })
    );
    let notes: Vec<_> = conversion.notes.iter().filter(|note| note.path.contains("subnet4")).collect();
    let told =
        |name: &str| notes.iter().filter(|note| note.reason.contains(name)).map(|note| note.kind).collect::<Vec<_>>();
    assert_eq!(["HA_server1", "BOOTP"].map(told), [[NoteKind::Lost], [NoteKind::Lost]]);
    assert_eq!(told("SKIP_DDNS"), [NoteKind::Changed]);
    assert_eq!(notes.len(), 3, "what comes along needs no note: {notes:?}");
}

#[test]
fn reservations_outside_of_subnets_come_along_where_kea_looks_at_them() {
    let text = |global: &str| {
        r#"{ "Dhcp4": { GLOBAL "subnet4": [ { "id": 1, "subnet": "192.0.2.0/24" } ], "reservations": [
            { "hw-address": "02:00:00:00:00:01", "hostname": "roamer", "client-classes": [ "VENDOR_CLASS_phone" ] },
            { "client-id": "01:02", "ip-address": "192.0.2.7" },
            { "hw-address": "02:00:00:00:00:03", "ip-address": "203.0.113.7", "hostname": "gone" } ] } }"#
            .replace("GLOBAL", global)
    };
    for global in [r#""reservations-global": true,"#, r#""reservation-mode": "global","#] {
        let conversion = convert(&text(global)).unwrap();
        let policy = policy(&conversion);
        let told =
            |one: &crate::policy::Reservation| (one.subnet, one.address.map(|a| a.to_string()), one.hostname.clone());
        let all: Vec<_> = policy.reservations.iter().map(|one| told(one)).collect();
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(all, [(None, None, own("roamer")), (None, own("192.0.2.7"), None), (None, None, own("gone"))]);
        assert_eq!(note(&conversion, "Dhcp4.reservations[2].ip-address").kind, NoteKind::Lost);
    }
    let conversion = convert(&text("")).unwrap();
    assert!(policy(&conversion).reservations.is_empty());
    assert!((0..3).all(|index| note(&conversion, &format!("Dhcp4.reservations[{index}]")).kind == NoteKind::Lost));
}

#[test]
fn a_file_that_cannot_be_read_says_where() {
    let fault = |text: &str| convert(text).unwrap_err().to_string();
    assert_eq!(
        fault("{ // a\n \"Dhcp4\": <?include \"/etc/kea/sub.json\"?> }"),
        "line 2: `<?include \"/etc/kea/sub.json\"?>` is not followed: put the text of that file in its place"
    );
    assert_eq!(fault("{\n/* a"), "line 2: the comment that begins here does not end: add `*/`");
    assert_eq!(fault("{ # a, b\n \"Dhcp4\": nil }"), "line 2, column 12: expected ident");
    assert!(fault(r#"{ "Dhcp6": {} }"#).contains("DHCPv6 is not served"));
    assert!(fault(r#"{ "Dhcp4": [] }"#).contains("no `Dhcp4` object"));
    assert!(fault("").contains("line 1"));
}

#[test]
fn comments_and_trailing_commas_do_not_reach_into_strings() {
    let text = r##"{ "Dhcp4": { "boot-file-name": "http://x/a#b,/*c*/\",}", "subnet4": [ { "id": 3, "subnet": "10.0.0.0/8", }, ], } }"##;
    let dhcp = parsed(&convert(text).unwrap());
    assert_eq!(dhcp["boot_file"], r##"http://x/a#b,/*c*/",}"##);
    assert_eq!(dhcp["subnet"][0]["id"], 3);
    assert_eq!(dhcp["lease_time"], "2h");
}

#[test]
fn hostile_files_end_in_an_error_or_a_file_never_a_panic() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..300 {
        let mut octets = CAMPUS.as_bytes().to_vec();
        for _ in 0..random(6) + 1 {
            let at = random(octets.len());
            match random(3) {
                0 => octets[at] = b"{}[],\"0:#/*\\x"[random(13)],
                1 => drop(octets.drain(at..octets.len().min(at + random(40)))),
                _ => octets.truncate(at.max(octets.len() / 2)),
            }
        }
        if let Ok(conversion) = convert(&String::from_utf8_lossy(&octets)) {
            policy(&conversion);
        }
    }
    assert!(convert(&"[".repeat(100_000)).is_err());
}
