//! What the live feed tells of an event.

use super::text;
use crate::engine::Event;
use serde::Serialize;
use std::net::Ipv4Addr;

/// An event's fields. The hub puts `time` and `kind` before them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventData {
    address: Option<Ipv4Addr>,
    mac: Option<String>,
    client_id: Option<String>,
    hostname: Option<String>,
    subnet_id: Option<u32>,
    mud_url: Option<String>,
    reason: Option<&'static str>,
}

/// What to publish of an event: `hub.publish("dhcp", event.kind, || event_json(event))`.
pub fn event_json(event: &Event) -> EventData {
    EventData {
        address: event.address,
        mac: Some(text::colons(&event.hardware)).filter(|mac| !mac.is_empty()),
        client_id: event.client_id.as_deref().map(text::colons),
        hostname: event.hostname.clone(),
        subnet_id: event.subnet,
        mud_url: event.mud_url.clone(),
        reason: event.reason,
    }
}
