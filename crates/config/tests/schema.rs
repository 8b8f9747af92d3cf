//! The schema and the starter file.

mod site;

use outwork_config::{schema, starter};
use serde_json::json;
use site::{Site, bad, good};

#[test]
fn the_schema_has_descriptions_defaults_limits_choices_and_requirements() {
    let schema = schema::<Site>();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let dhcp = &schema["properties"]["dhcp"]["properties"];
    assert_eq!(
        dhcp["workers"],
        json!({
            "type": "integer", "minimum": 0, "maximum": 1024, "default": 0,
            "description": "Worker threads; 0 means one a core. Allowed: from 0 to 1024. A change needs a restart.",
        })
    );
    assert_eq!(dhcp["lease_time"]["default"], "12h");
    assert_eq!(dhcp["durability"]["enum"], json!(["fsync", "os", "none"]));
    assert_eq!(dhcp["subnet"]["items"]["required"], json!(["id", "subnet"]));
    assert_eq!(dhcp["sets"]["additionalProperties"]["properties"]["dns"]["type"], "array");
    assert!(dhcp["log"]["properties"].get("type").is_some());
}

const EXAMPLE: &str = "
# An example.
[[dhcp.subnet]]
id = 1
subnet = \"192.0.2.0/24\"
";

/// The starter file with the lines of a single # taken out of their comments that `wanted` picks.
fn uncommented(wanted: impl Fn(&str) -> bool) -> String {
    let line = |line: &str| match line.strip_prefix("# ").filter(|text| wanted(text)) {
        Some(text) => format!("{text}\n"),
        None => format!("{line}\n"),
    };
    starter::<Site>(EXAMPLE).lines().map(line).collect()
}

#[test]
fn the_starter_file_changes_nothing() {
    assert_eq!(good(&starter::<Site>(EXAMPLE), &[], &[]).value, Site::default());
}

#[test]
fn the_starter_file_is_right_once_uncommented() {
    let text = uncommented(|_| true);
    let site = good(&text, &[], &[]).value;
    assert_eq!(site.dhcp.subnet.len(), 1, "the example");
    assert_eq!(site.dhcp.lease_time, Site::default().dhcp.lease_time);
    assert!(bad(&text.replace("workers = 0", "workers = 1025"), &[], &[]).len() == 1);
}

#[test]
fn a_key_of_the_starter_file_needs_no_more_than_its_own_mark_taken_out() {
    for key in ["data_dir = ", "workers = ", "session = "] {
        let text = uncommented(|line| line.starts_with(key));
        assert_ne!(text, starter::<Site>(EXAMPLE), "{key}");
        assert_eq!(good(&text, &[], &[]).value, Site::default(), "{key}");
    }
}

#[test]
fn a_key_without_a_default_is_shown_without_a_value() {
    let text = starter::<Site>("");
    for shown in [
        "\n##   password =   (a text; unset by default)\n",
        "\n##   [[dhcp.subnet]]\n",
        "\n##   id =   (a whole number; required)\n",
        "\n##   lease_time =   (such as \"1m\"; unset by default)\n",
        "\n[dhcp.log]\n",
    ] {
        assert!(text.contains(shown), "{shown}\n{text}");
    }
}
