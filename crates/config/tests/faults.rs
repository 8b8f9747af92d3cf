//! What is wrong, all of it, and where.

mod site;

use outwork_config::Fault;
use serde_json::json;
use site::{bad, good, lines};

#[test]
fn every_fault_of_every_section_is_reported_in_one_run() {
    let file = "\
data_dir = 3
[dhcp]
lease_tim = '1h'
workers = 2000
durability = 'fsnc'
warn_at = 'x'
[dhcp.log]
leases = 'yes'
[[dhcp.subnet]]
id = 0
subnet = '192.0.2.1/24'
[[dhcp.subnet.pool]]
first = '192.0.2.9'
last = '192.0.2.1'
[[dhcp.subnet.pool]]
first = '192.0.2.9'
";
    let faults = bad(file, &[("OUTWORK__ADMIN__LISTN", "x")], &["admin.session=90", "nonsense"]);
    assert_eq!(
        lines(&faults),
        [
            "data_dir @ site.toml:1:12: found the number 3",
            "dhcp.lease_tim @ site.toml:3:1: unknown key",
            "dhcp.workers @ site.toml:4:11: found the number 2000",
            "dhcp.durability @ site.toml:5:14: found the string \"fsnc\"",
            "dhcp.warn_at @ site.toml:6:11: found the string \"x\"",
            "dhcp.log.leases @ site.toml:8:10: found the string \"yes\"",
            "dhcp.subnet[0].id @ site.toml:10:6: found the number 0",
            "dhcp.subnet[0].subnet @ site.toml:11:10: found the string \"192.0.2.1/24\": \
             bits past the prefix are set; the network is 192.0.2.0/24",
            "dhcp.subnet[0].pool[0] @ site.toml:12:1: ends before it starts",
            "dhcp.subnet[0].pool[1].last @ site.toml:15:1: this key is required and missing",
            "admin.listn @ environment variable OUTWORK__ADMIN__LISTN: unknown key",
            "admin.session @ --set admin.session: found the number 90",
            "nonsense @ --set nonsense: there is no value",
        ]
    );
}

#[test]
fn a_fault_points_at_its_line() {
    let faults = bad("[dhcp]\n  lease_time = \"12x\"  # half a day\n", &[], &[]);
    assert_eq!(
        faults.render(false),
        "\
error: dhcp.lease_time: found the string \"12x\"
 --> site.toml:2:16
  |
2 |   lease_time = \"12x\"  # half a day
  |                ^^^^^
  = expected: a duration such as \"250ms\", \"2h\" or \"1d12h\", from \"1m\" to \"1d\"
  = help: write numbers, each with its unit: w, d, h, m, s, ms, us or ns; the last may have a fraction

"
    );
    assert!(faults.render(true).contains("\x1b[1;31m^^^^^\x1b[0m"));
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one_in_the_words_of_its_origin() {
    let help = |faults: outwork_config::Faults| faults.to_json()[0]["help"].as_str().unwrap_or_default().to_owned();
    assert_eq!(help(bad("[dhcp]\nleasetime = '1h'\n", &[], &[])), "did you mean \"lease_time\"?");
    assert_eq!(help(bad("[dhcp]\nlease = '1h'\n", &[], &[])), "did you mean \"lease_time\"?");
    assert_eq!(help(bad("", &[("OUTWORK__DHCP__LEASETIME", "1h")], &[])), "did you mean OUTWORK__DHCP__LEASE_TIME?");
    assert_eq!(help(bad("", &[], &["dhpc.workers=1"])), "did you mean \"dhcp\"?");
    assert!(help(bad("zebra = 1\n", &[], &[])).contains("outwork schema"));
}

#[test]
fn several_syntax_errors_are_reported_together_with_the_faults_of_other_lines() {
    let faults = bad("[dhcp]\nworkers = \nlease_time = '1h' x\ndurability = 'fsnc'\n[admin\n", &[], &[]);
    let places: Vec<_> = faults.iter().map(|fault| fault.origin().to_string()).collect();
    assert_eq!(places, ["site.toml:2:11", "site.toml:3:19", "site.toml:4:14", "site.toml:5:7"], "{faults}");
}

#[test]
fn a_number_without_a_unit_is_told_which_one_to_name() {
    let faults = bad("dhcp.lease_time = 3600\n", &[], &[]);
    assert!(faults.render(false).contains("\"3600s\" if seconds are meant"), "{faults}");
}

#[test]
fn limits_are_shown_as_they_would_be_written() {
    let faults = bad("[dhcp]\nlease_time = '5s'\nbuffer = 12\n", &[], &[]);
    let text = faults.render(false);
    assert!(text.contains("a value from \"1m\" to \"1d\""), "{text}");
    assert!(text.contains("a value \"4KiB\" or more"), "{text}");
}

#[test]
fn a_wrong_secret_is_not_shown() {
    for faults in [
        bad("[admin]\npassword = 987654\n", &[], &[]),
        bad("[admin]\npassword = [\"987654\"]\n", &[], &[]),
        bad("", &[("OUTWORK__ADMIN__PASSWORD", "[987654]")], &[]),
        bad("", &[], &["admin.password=[987654]"]),
    ] {
        assert!(!format!("{} {}", faults.render(false), faults.to_json()).contains("987654"), "{faults}");
    }
}

#[test]
fn a_later_check_names_a_key_and_is_pointed_at_the_nearest_that_was_written() {
    let loaded = good("[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\n", &[], &[]);
    let mut faults = loaded.faults();
    faults.at("dhcp.subnet[0].subnet", Fault::new("overlaps the uplink"));
    faults.at("dhcp.subnet[0].pool[3].first", Fault::new("lies outside"));
    faults.at("admin.listen", Fault::new("is taken"));
    let faults = faults.or(()).expect_err("there are faults");
    assert_eq!(
        lines(&faults),
        [
            "dhcp.subnet[0].pool[3].first @ site.toml:1:1: lies outside",
            "dhcp.subnet[0].subnet @ site.toml:3:10: overlaps the uplink",
            "admin.listen @ default: is taken",
        ]
    );
    assert!(loaded.faults().or(5).is_ok());
}

#[test]
fn a_report_is_bounded_and_says_what_it_left_out() {
    let mut file = String::from("[dhcp.labels]\n");
    (0..500).for_each(|index| file.push_str(&format!("k{index} = {index}\n")));
    let faults = bad(&file, &[], &[]);
    assert_eq!((faults.len(), faults.iter().count()), (500, 200));
    assert!(faults.render(false).ends_with("… and 300 more\n"));
}

#[test]
fn a_long_line_is_cut_around_its_fault() {
    let file = format!("dhcp.labels = {{ y = '{}', z = 1 }}\n", "v".repeat(1000));
    let faults = bad(&file, &[], &[]);
    assert!(faults.render(false).lines().all(|line| line.chars().count() < 200), "{faults}");
    assert!(faults.render(false).contains("z = 1"), "{faults}");
}

#[test]
fn faults_between_values_are_told_beside_values_that_cannot_be_read() {
    let file = "\
[dhcp]
workers = 'many'
[[dhcp.subnet]]
id = 1
subnet = '192.0.2.0/33'
[[dhcp.subnet]]
id = 7
subnet = '198.51.100.0/24'
[[dhcp.subnet]]
id = 7
subnet = '203.0.113.0/24'
[admin]
session = 5
";
    let faults = bad(file, &[], &[]);
    assert_eq!(
        lines(&faults),
        [
            "dhcp.workers @ site.toml:2:11: found the string \"many\"",
            "dhcp.subnet[0].subnet @ site.toml:5:10: found the string \"192.0.2.0/33\": \
             the length is no number from 0 to 32",
            "dhcp.subnet[2].id @ site.toml:10:6: another subnet has this id",
            "admin.session @ site.toml:13:11: found the number 5",
        ]
    );
}

#[test]
fn what_may_come_of_a_value_that_cannot_be_read_is_no_fault_of_its_own() {
    let ids = "[[dhcp.subnet]]\nid = 7\nsubnet = '192.0.2.0/24'\n[[dhcp.subnet]]\nid = 7\n";
    for (rest, count) in [("subnet = '198.51.100.0/24'\n", 1), ("subnet = 1\n", 1), ("lease_time = 'x'\n", 2)] {
        assert_eq!(bad(&format!("{ids}{rest}"), &[], &[]).len(), count, "{rest}");
    }
}

#[test]
fn a_wrong_value_is_told_the_limits_of_its_key() {
    let text = bad("[dhcp]\nworkers = -1\nlease_time = 'x'\nsubnet = [{ id = -1 }]\n", &[], &[]).render(false);
    assert!(text.contains("expected: a whole number from 0 to 1024\n"), "{text}");
    assert!(text.contains("\"1d12h\", from \"1m\" to \"1d\"\n"), "{text}");
    assert!(text.contains("expected: a whole number, 1 or more\n"), "{text}");
}

#[test]
fn a_missing_key_is_told_the_limits_of_its_value() {
    let faults = bad("[[dhcp.subnet]]\nsubnet = '192.0.2.0/24'\n", &[], &[]);
    let json = faults.to_json();
    assert_eq!(
        (&json[0]["key"], &json[0]["expected"]),
        (&json!("dhcp.subnet[0].id"), &json!("a whole number, 1 or more"))
    );
}

#[test]
fn every_fault_says_what_was_expected_and_what_to_do() {
    let file = "\
data_dir = ''
zebra = 1
[dhcp]
workers = 'many'
lease_time = '5s'
interfaces = 'eth0'
durability = 'quick'
buffer = 'big'
warn_at = true
labels = 3
sets = { a = { dns = ['x'] } }
[dhcp.log]
leases = 'yes'
type = 5
[[dhcp.subnet]]
subnet = '192.0.2.1/24'
lease_time = 'x'
[[dhcp.subnet.pool]]
first = '192.0.2.9'
last = '192.0.2.1'
[[dhcp.subnet]]
id = 7
subnet = '198.51.100.0/24'
[[dhcp.subnet]]
id = 7
subnet = '203.0.113.0/24'
[admin]
listen = 'nonsense'
password = 5
session = 90
";
    let wrong = bad(file, &[("OUTWORK__ADMIN__LISTN", "x")], &["admin.session=90", "nonsense", "dhcp.subnet[9].id=1"]);
    let syntax = bad("[dhcp]\nworkers = \n[admin\n", &[("OUTWORK____X", "1")], &[]);
    let deep = bad(&format!("a = {}1\n", "[".repeat(200)), &[], &[]);
    let dotted = bad(&format!("a{} = 1\n", ".a".repeat(50)), &[], &[]);
    for faults in [wrong, syntax, deep, dotted] {
        for fault in faults.to_json().as_array().into_iter().flatten() {
            assert!(fault["expected"].is_string() && fault["help"].is_string(), "{fault:#}");
        }
    }
}

#[test]
fn the_advice_is_about_what_was_written() {
    for (line, help) in [
        ("[[dhcp.subnet]]\nid = 1\nsubnet = '10.9.0.1/8'", "write \"10.0.0.0/8\""),
        ("[[dhcp.subnet]]\nid = 1", "add `subnet` to this table, such as subnet = \"192.0.2.0/24\""),
        ("[[dhcp.subnet]]\nsubnet = '192.0.2.0/24'", "add `id` to this table"),
        ("[dhcp]\ndurability = 'quick'", "choose one of \"fsync\", \"os\" or \"none\""),
        ("[dhcp]\ndurability = 'fsnc'", "did you mean \"fsync\"?"),
        ("[dhcp]\nsets = { a = { dns = ['x'] } }", "write it like \"192.0.2.1\""),
        ("[dhcp]\nworkers = 'many'", "write a whole number, without quotes"),
        ("[dhcp]\nlog = { leases = 'yes' }", "write true or false, without quotes"),
        ("[dhcp]\nlog = { type = 5 }", "write it in quotes"),
        ("[dhcp]\ninterfaces = 'eth0'", "write it in brackets, as in [\"eth0\"]"),
        ("[dhcp]\nlabels = 3", "make it a table: [dhcp.labels], and its keys below"),
        ("[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\npool = 'x'", "write it in brackets, as in [\"x\"]"),
        (
            "[[dhcp.subnet]]\nid = 1\nsubnet = '192.0.2.0/24'\n[dhcp.subnet.pool]",
            "write [[dhcp.subnet.pool]] above it, with two brackets on each side",
        ),
        ("[dhcp]\nlease_time = '5s'", "choose a value within these limits"),
    ] {
        let faults = bad(&format!("{line}\n"), &[], &[]);
        assert_eq!(faults.iter().next().and_then(Fault::advice), Some(help), "{line}");
    }
}

#[test]
fn a_list_that_a_flag_gives_is_shown_as_a_shell_leaves_it() {
    for given in ["eth0", "[eth0]"] {
        let faults = bad("", &[], &[&format!("dhcp.interfaces={given}")]);
        let help = faults.iter().next().and_then(Fault::advice).unwrap_or_default();
        assert!(help.starts_with("write --set 'dhcp.interfaces=[\"eth0\"]'"), "{given}: {help}");
    }
}

#[test]
fn a_line_that_is_no_toml_is_told_once() {
    for line in [
        "a = \"x",
        "a = 'x",
        "[dhcp",
        "workers =",
        "workers = [1, 2",
        "x y = 3",
        "[[[ what",
        "a = abc",
        "a = 1 2",
        "a = \"\\q\"",
        "= 1",
    ] {
        let faults = bad(&format!("{line}\n[admin]\n"), &[], &[]);
        let json = faults.to_json();
        let lines: Vec<_> = json.as_array().into_iter().flatten().filter_map(|fault| fault["line"].as_u64()).collect();
        let once = lines.iter().enumerate().all(|(index, line)| !lines[..index].contains(line));
        assert!(once && !lines.is_empty(), "{line}: {}", faults.render(false));
    }
}

#[test]
fn an_unknown_key_is_not_answered_with_every_key_there_is() {
    let expected = |file| bad(file, &[], &[]).to_json()[0]["expected"].as_str().unwrap_or_default().to_owned();
    assert_eq!(expected("zebra = 1\n"), "one of data_dir, dhcp, admin");
    assert_eq!(expected("[dhcp]\nleasetime = '1h'\n"), "a key such as lease_time; `outwork schema` has all 10");
    let many = expected("[dhcp]\nzebra = '1h'\n");
    assert!(many.matches(',').count() == 7 && many.ends_with("; `outwork schema` has all 10"), "{many}");
}

#[test]
fn a_fault_inside_a_text_points_at_its_part() {
    let loaded = good("[dhcp]\ninterfaces = [\"lan\", \"e\\\"th=0\"]\n", &[], &[]);
    let mut faults = loaded.faults();
    faults.at("dhcp.interfaces[1]", Fault::new("has `=`").within(4, 1));
    let text = faults.or(()).expect_err("a fault").render(false);
    assert!(text.contains("site.toml:2:28\n"), "{text}");
    assert!(text.contains("\"e\\\"th=0\"]\n  |                            ^\n"), "{text}");
}

#[test]
fn a_key_at_the_top_that_a_section_has_is_told_where_it_belongs() {
    let faults = bad("workers = 4\npool = []\n", &[], &["session=1h"]);
    let help: Vec<_> = faults.iter().map(Fault::advice).collect();
    let expected = ["it belongs in [dhcp]", "it belongs in [[dhcp.subnet]]", "it belongs in [admin]"];
    assert_eq!(help, expected.map(Some));
}

#[test]
fn what_nobody_wrote_has_no_line_of_the_file() {
    let loaded = good("# A comment.\n[admin]\n", &[], &[]);
    let mut faults = loaded.faults();
    faults.at("dhcp.workers", Fault::new("are too few").help("set it"));
    assert_eq!(faults.render(false), "error: dhcp.workers: are too few\n  = help: set it\n\n");
}

#[test]
fn the_json_of_kea_is_known_for_what_it_is() {
    for text in
        ["{ \"Dhcp4\": { \"subnet4\": [] } }", "// DHCP\n# of the site\n/* all\n of it */\n{\n  \"Dhcp4\": {}\n}\n"]
    {
        let faults = bad(text, &[], &[]);
        assert_eq!(faults.len(), 1, "{}", faults.render(false));
        let said = faults.render(false);
        assert!(said.contains("this is JSON") && said.contains("`outwork import kea site.toml`"), "{said}");
    }
    let torn = bad("# a comment\nx = {\n", &[], &[]).render(false);
    assert!(!torn.contains("JSON"), "{torn}");
}

#[test]
fn a_table_header_that_cannot_be_read_is_told_of_without_the_keys_that_stand_below_it() {
    let faults = bad("[admin]\nlistn = 'x'\n[[dhcp.subnet]\nid = 1\nsubnet = '192.0.2.0/24'\n", &[], &[]);
    let places: Vec<_> = faults.iter().map(|fault| fault.origin().to_string()).collect();
    assert_eq!(places, ["site.toml:2:1", "site.toml:3:15"], "{faults}");
}

#[test]
fn a_key_that_other_programs_have_is_answered_with_what_is_written_here() {
    let faults = bad("[dhcp]\nlog = { Severity = 'info' }\n", &[], &[]);
    assert_eq!(faults.to_json()[0]["help"], "write leases = true", "{faults}");
}
