//! Listeners whose packets the kernel is to pass on, and does not.

use std::path::Path;

use outwork_config::{At, Fault};
use outwork_proxy::acceleration::rules::obstacles;
use outwork_proxy::config::Forwarding;

use crate::settings::Settings;

/// Remarks on listeners that say how the kernel is to forward for them, and cannot have that.
pub(crate) fn has_effect(settings: &Settings, at: &mut At<'_>) {
    if at.left_out().any(|key| key.starts_with("proxy")) {
        return;
    }
    let proxy = &settings.proxy;
    for (index, name) in proxy.acceleration.interfaces.iter().enumerate() {
        // A configuration may be written for another machine, or before an interface is there.
        if !Path::new("/sys/class/net").join(name).exists() {
            let warning = Fault::new(format!("this machine has no interface {name:?} now"));
            let help = "`outwork tiers` lists those that there are";
            at.warn(&format!("proxy.acceleration.interfaces[{index}]"), warning.help(help));
        }
    }
    for (index, listener) in proxy.listener.iter().enumerate() {
        if listener.forwarding == Forwarding::Sockets {
            continue;
        }
        let found = obstacles(listener, &proxy.pool, &proxy.acceleration);
        let key = format!("proxy.listener[{index}].forwarding");
        if let Some(obstacle) = found.first() {
            let fault = Fault::new(format!("the kernel does not pass this on: {}", obstacle.text));
            at.warn(&key, fault.help("`outwork rules` lists all reasons; sockets serve it"));
        } else if proxy.acceleration.tiers.is_empty() {
            let fault = Fault::new("the kernel passes nothing on, for proxy.acceleration.tiers names none");
            at.warn(&key, fault.help("write [proxy.acceleration] with tiers = [\"xdp\", \"tc\"] and interfaces"));
        }
    }
}
