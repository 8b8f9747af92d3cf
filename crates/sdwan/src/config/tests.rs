use outwork_config::{Sources, load};
use serde_json::{Value as Json, json};

use super::*;

fn read(text: &str) -> Result<Sdwan, String> {
    let text = format!("{text}\n[[uplink]]\nname = 'wan'\n");
    let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
    load::<Sdwan>(sources).map(|read| read.value).map_err(|faults| faults.render(false))
}

fn site(name: &str, octet: u8, subnet: &str) -> String {
    let key = PublicKey([octet; 32]);
    format!("[[site]]\nname = '{name}'\nsubnets = ['{subnet}']\n[[site.uplink]]\nname = 'wan'\npublic_key = '{key}'\n")
}

#[test]
fn a_table_of_the_kernels_own_is_refused_as_that_of_tunnels() {
    let settings = read("").unwrap();
    assert_eq!((settings.tunnel.table, settings.tunnel.rule_priority), (51_857, 30_000));
    assert!(read("[tunnel]\ntable = 252").is_ok() && read("[tunnel]\ntable = 256").is_ok());
    for table in 253..=255 {
        let told = read(&format!("[tunnel]\ntable = {table}")).unwrap_err();
        assert!(told.contains("tunnel.table") && told.contains("a table of the kernel's own"), "{told}");
    }
    assert!(read("[tunnel]\nrule_priority = 32766").unwrap_err().contains("tunnel.rule_priority"));
}

#[test]
fn what_is_behind_this_site_is_behind_no_other_but_others_may_have_all_the_rest() {
    let with = |subnet: &str| read(&format!("subnets = ['10.2.0.0/16', 'fd02::/48']\n{}", site("far", 1, subnet)));
    for (subnet, said) in [
        ("10.2.0.0/16", "10.2.0.0/16 is one of the subnets of this site"),
        ("10.2.7.0/24", "10.2.7.0/24 is within 10.2.0.0/16, which is behind this site"),
        ("fd02:0:0:7::/64", "is within fd02::/48"),
    ] {
        let told = with(subnet).unwrap_err();
        assert!(told.contains("site[0].subnets[0]") && told.contains(said), "{told}");
    }
    for subnet in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "10.3.0.0/16", "fd02:0:1::/48"] {
        assert!(with(subnet).is_ok(), "{subnet}: {:?}", with(subnet));
    }
}

#[test]
fn a_network_is_behind_one_site_and_the_narrower_one_of_two_counts() {
    let two = |first, second| read(&(site("one", 1, first) + &site("two", 2, second)));
    let told = two("10.3.0.0/16", "10.3.0.0/16").unwrap_err();
    assert!(told.contains("site[1].subnets[0]") && told.contains("is behind site[0]"), "{told}");
    assert!(two("0.0.0.0/0", "10.3.0.0/16").is_ok());
}

/// The keys that faults of a configuration are told of, each with what is told.
fn faults(text: &str) -> Vec<(String, String)> {
    let sources = Sources { file: Some(("outwork.toml".into(), text.to_owned())), ..Sources::default() };
    let faults = load::<Sdwan>(sources).unwrap_err();
    faults.iter().map(|fault| (fault.key().to_owned(), fault.render(false))).collect()
}

#[test]
fn an_endpoint_without_a_port_is_told_how_it_is_written_with_one() {
    for (text, with) in [
        ("[2001:db8::1]", "[2001:db8::1]:PORT"),
        ("2001:db8::1", "[2001:db8::1]:PORT"),
        ("192.0.2.1", "192.0.2.1:PORT"),
        ("vpn.example.org", "vpn.example.org:PORT"),
    ] {
        let told = faults(&format!("[[uplink]]\nname = 'wan'\n{}endpoint = '{text}'\n", site("far", 1, "10.3.0.0/16")));
        let [(key, told)] = &told[..] else { panic!("{told:#?}") };
        assert_eq!(key, "site[0].uplink[0].endpoint");
        assert!(told.contains("it has no port") && told.contains(&format!("add a port: \"{with}\"")), "{told}");
    }
}

#[test]
fn an_uplink_with_a_fault_is_not_said_to_be_missing_as_well() {
    let site = |key: &str| format!("[[site]]\nname = 'far'\n[[site.uplink]]\nname = 'wan'\npublic_key = '{key}'\n");
    let peer = "[[peer]]\npublic_key = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg='\nuplink = 'wan'\n";
    let keys = |text: String| faults(&text).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(format!("[[uplink]]\nname = 'wan'\n{}", site("short"))), ["site[0].uplink[0].public_key"]);
    let own = format!("[[uplink]]\nname = 7\n{}{peer}", site(&PublicKey([1; 32]).to_string()));
    assert_eq!(keys(own), ["uplink[0].name"]);
    // None is none, whatever else there is.
    assert_eq!(keys("[[uplink]]\nname = 'wan'\n[[site]]\nname = 'far'\n".to_owned()), ["site[0].uplink"]);
    assert_eq!(keys(site(&PublicKey([1; 32]).to_string())), ["site"]);
}

/// What is below a schema by a key such as `policy[].class` or `qos.class.NAME`.
fn below<'a>(schema: &'a Json, key: &str) -> &'a Json {
    key.split('.').fold(schema, |table, part| match part.strip_suffix("[]") {
        Some(list) => &table["properties"][list]["items"],
        None if part.chars().all(char::is_uppercase) => &table["additionalProperties"],
        None => &table["properties"][part],
    })
}

/// The parts of a row that name settings: a key, or a section with some of its keys.
fn named(row: &str) -> Vec<String> {
    let Some(cell) = row.split('|').nth(2) else { return vec![] };
    let is_ours = |key: &str| key.split('.').next().is_some_and(|first| ["sdwan", "controller"].contains(&first));
    let of_part = |part: &str| {
        let part = part.trim_matches(['`', ' ']);
        let keys: Vec<String> = match part.split_once("`: `") {
            Some((section, keys)) => keys.split('`').step_by(2).map(|key| format!("{section}.{key}")).collect(),
            None => part.split("`, `").map(str::to_owned).collect(),
        };
        keys.into_iter().filter(|key| is_ours(key)).collect::<Vec<_>>()
    };
    // One that goes on with a key of its own is told of by its section alone.
    cell.split(';').filter(|part| part.matches("`: `").count() < 2).flat_map(of_part).collect()
}

#[test]
fn the_settings_that_the_architecture_page_names_are_settings() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).unwrap();
    let whole = json!({ "properties": {
        "sdwan": outwork_config::schema::<Sdwan>(),
        "controller": outwork_config::schema::<crate::controller::config::ControllerSettings>(),
    } });
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let keys: Vec<_> = rows.flat_map(named).collect();
    assert!(keys.len() > 60 && keys.iter().any(|key| key == "sdwan.health.gain"), "{keys:?}");
    for key in keys {
        assert!(below(&whole, &key).is_object(), "{key}");
    }
}

/// The keys of all settings below a schema, as the page writes them.
fn leaves(schema: &Json, above: &str, all: &mut Vec<String>) {
    let is_section = |schema: &Json| schema["properties"].is_object();
    match (schema["properties"].as_object(), &schema["items"], &schema["additionalProperties"]) {
        (Some(keys), ..) => keys.iter().for_each(|(key, below)| leaves(below, &format!("{above}.{key}"), all)),
        (None, items, _) if is_section(items) => leaves(items, &format!("{above}[]"), all),
        (None, _, named) if is_section(named) => leaves(named, &format!("{above}.NAME"), all),
        _ => all.push(above.to_owned()),
    }
}

#[test]
fn every_setting_of_a_site_and_of_a_controller_has_a_row_on_the_architecture_page() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../ARCHITECTURE.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| SD-WAN: ")).flat_map(named).collect();
    let mut all = vec![];
    leaves(&outwork_config::schema::<Sdwan>(), "sdwan", &mut all);
    leaves(&outwork_config::schema::<crate::controller::config::ControllerSettings>(), "controller", &mut all);
    assert!(all.len() > 110, "{}: {all:?}", all.len());
    for deep in ["sdwan.site[].uplink[].cost", "sdwan.qos.class.NAME.share", "controller.database.readers"] {
        assert!(all.iter().any(|key| key == deep), "{deep}: {all:?}");
    }
    let without: Vec<_> = all.iter().filter(|key| !rows.contains(key)).collect();
    assert!(without.is_empty(), "no row has {without:?}");
}
