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

#[test]
fn the_starter_file_changes_nothing() {
    assert_eq!(good(&starter::<Site>(), &[], &[]).value, Site::default());
}

#[test]
fn the_starter_file_is_right_once_uncommented() {
    let text: String = starter::<Site>()
        .lines()
        .filter(|line| !line.starts_with("##"))
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let site = good(&text, &[], &[]).value;
    assert_eq!(site.dhcp.subnet.len(), 1);
    assert_eq!(site.dhcp.lease_time, Site::default().dhcp.lease_time);
    assert!(bad(&text.replace("workers = 0", "workers = 1025"), &[], &[]).len() == 1);
}
