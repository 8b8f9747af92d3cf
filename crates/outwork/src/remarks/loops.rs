//! Backends that are listeners of this very configuration: what is passed on to one comes back.

use std::net::SocketAddr;

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};
use outwork_proxy::address::{BackendUrl, Cargo, Place};

use crate::settings::Settings;

/// Refuses those of layer 4. The front door is only remarked upon: another route of it may be the one that answers. What ends here may well be a backend: the admin API
/// behind a route, or the front door behind a listener of layer 4 that goes by names.
pub(crate) fn are_none(settings: &Settings, at: &mut At<'_>) {
    const SEEN: [&str; 2] = ["front.listener", "proxy"];
    if at.left_out().any(|key| SEEN.iter().any(|seen| key.starts_with(seen))) {
        return;
    }
    for (name, pool) in &settings.proxy.pool {
        for (index, backend) in pool.backend.iter().enumerate() {
            let Place::Address(address) = backend.url.place else { continue };
            let Some((key, own)) = back(settings, name, &backend.url, address) else { continue };
            let found = format!("this is {key} ({own}): what is passed on comes back to it");
            let place = format!("{}.backend[{index}].url", join_key("proxy.pool", name));
            let help = "write where the server is that is to answer";
            match backend.url.takes(Cargo::Requests) {
                true => at.warn(&place, Fault::new(format!("{found}, unless another route answers there")).help(help)),
                false => at.fault(&place, Fault::new(found).expected("another server").help(help)),
            }
        }
    }
}

/// The listener that passes things on to this backend of a pool and gets them itself, with its key.
fn back(settings: &Settings, pool: &str, url: &BackendUrl, backend: SocketAddr) -> Option<(String, SocketAddr)> {
    if url.takes(Cargo::Requests) {
        let mut listeners = settings.front.listener.iter().enumerate();
        let own = listeners.find(|(_, listener)| gets(listener.address, backend));
        return own.map(|(index, listener)| (format!("front.listener[{index}]"), listener.address));
    }
    settings.proxy.listener.iter().enumerate().find_map(|(index, listener)| {
        let passes = url.takes(listener.protocol.cargo()) && listener.pools().any(|(_, name)| name == pool);
        let own = listener.address.iter().find(|address| passes && gets(**address, backend))?;
        Some((format!("proxy.listener[{index}]"), *own))
    })
}

/// Whether who listens at one address gets what this machine sends to the other.
fn gets(listens: SocketAddr, asked: SocketAddr) -> bool {
    let is_here = asked.ip().is_loopback() || asked.ip().is_unspecified();
    // A socket of IPv6 at every address has those of IPv4 in some places, and not here.
    let every = listens.ip().is_unspecified() && is_here && listens.is_ipv4() == asked.is_ipv4();
    listens.port() == asked.port() && listens.port() != 0 && (listens.ip() == asked.ip() || every)
}
