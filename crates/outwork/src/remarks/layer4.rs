//! Listeners of layer 4 that are in the way of others.

use std::net::SocketAddr;

use outwork_config::{At, Fault};
use outwork_front::config::Listener;
use outwork_proxy::config::{self as proxy, Protocol};

use super::takes;
use crate::settings::Settings;

/// Refuses addresses that something else here listens at.
pub(crate) fn is_apart(settings: &Settings, at: &mut At<'_>) {
    const SEEN: [&str; 3] = ["admin.listen", "front.listener", "proxy.listener"];
    if at.left_out().any(|key| SEEN.iter().any(|seen| key.starts_with(seen))) {
        return;
    }
    for (index, listener) in settings.proxy.listener.iter().enumerate() {
        for (place, address) in listener.address.iter().enumerate() {
            if let Some(holder) = holder(settings, listener.protocol, *address) {
                let fault = Fault::new(format!("{holder} listens there")).expected("an address and port of its own");
                at.fault(
                    &format!("proxy.listener[{index}].address[{place}]"),
                    fault.help("give one of them another port"),
                );
            }
        }
    }
}

/// Refuses certificates by ACME that nobody may order.
pub(crate) fn acme_can_work(settings: &Settings, at: &mut At<'_>) {
    let asks = |one: &proxy::Listener| one.tls.as_ref().is_some_and(|tls| !tls.acme.is_empty());
    if settings.front.acme.accept_terms || at.left_out().any(|key| key.starts_with("front.acme")) {
        return;
    }
    if let Some(index) = settings.proxy.listener.iter().position(asks) {
        let fault = Fault::new("the terms of service of the certificate authority are not accepted");
        let help = "read them, and set front.acme.accept_terms = true; for development there is tls.local";
        let fault = fault.expected("front.acme.accept_terms = true").help(help);
        at.fault(&format!("proxy.listener[{index}].tls.acme"), fault);
    }
}

/// Who has this address, by its key.
fn holder(settings: &Settings, protocol: Protocol, wanted: SocketAddr) -> Option<String> {
    let quic = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.http3.enabled);
    let in_the_way = |other: SocketAddr| takes(other, wanted);
    let mut front = settings.front.listener.iter();
    match protocol {
        Protocol::Tcp => {
            let admin = settings.admin.listen.iter().position(|admin| in_the_way(*admin));
            let admin = admin.map(|index| format!("the admin API (admin.listen[{index}])"));
            let front = front.position(|listener| in_the_way(listener.address));
            admin.or_else(|| front.map(|index| format!("front.listener[{index}]")))
        }
        Protocol::Udp => {
            let http3 = front.position(|listener| quic(listener) && in_the_way(listener.address));
            http3.map(|index| format!("HTTP/3 of front.listener[{index}]"))
        }
    }
}
