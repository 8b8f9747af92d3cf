//! Listeners whose packets the kernel is to pass on, and does not, and what is said of that in vain.

use std::collections::BTreeMap;
use std::path::Path;

use outwork_config::{At, Fault};
use outwork_proxy::acceleration::rules::obstacles;
use outwork_proxy::acceleration::{BPF_FILE_SYSTEM, Roots, SynCookies, missing_file_system};
use outwork_proxy::config::acceleration::TierName;
use outwork_proxy::config::{Forwarding, Listener, Pins, Pool, Protocol};

use crate::settings::Settings;

/// What is said of tiers, and looked at by nobody without one.
const OF_TIERS: [&str; 12] = [
    "pins",
    "failed",
    "tunnel_v4",
    "tunnel_v6",
    "tables.flows",
    "tables.services",
    "tables.backends",
    "tables.places",
    "timeouts.datagrams",
    "timeouts.opening",
    "timeouts.established",
    "timeouts.closing",
];
/// What is said of listeners, and looked at by nobody without one.
const OF_LISTENERS: [&str; 3] = ["deny", "source_rate", "syn_rate"];

/// Remarks on what nobody looks at as the rest is.
fn is_read(settings: &Settings, at: &mut At<'_>) {
    let acceleration = &settings.proxy.acceleration;
    let without_tiers = acceleration.tiers.is_empty() && acceleration.sriov.iter().all(|one| one.tier.is_none());
    let without_listeners = settings.proxy.listener.is_empty();
    let of_tiers = OF_TIERS.iter().filter(|_| without_tiers).map(|key| {
        let found = "nobody looks at this, for proxy.acceleration.tiers names none";
        (key, Fault::new(found).help("name a tier, such as tiers = [\"xdp\", \"tc\"], or leave this out"))
    });
    let of_listeners = OF_LISTENERS.iter().filter(|_| without_listeners).map(|key| {
        let found = "nobody looks at this, for there is no listener of layer 4";
        let help = "add a [[proxy.listener]]; for HTTP there are front.addresses and front.rate_limit";
        (key, Fault::new(found).help(help))
    });
    for (key, warning) in of_tiers.chain(of_listeners) {
        let key = format!("proxy.acceleration.{key}");
        if at.is_set(&key) {
            at.warn(&key, warning);
        }
    }
}

/// The first listener that a flood of SYN could keep others out of.
fn can_be_flooded(settings: &Settings) -> Option<String> {
    let layer4 = settings.proxy.listener.iter().position(|listener| listener.protocol == Protocol::Tcp);
    let front = (!settings.front.listener.is_empty()).then(|| "front.listener[0]".to_owned());
    front.or_else(|| layer4.map(|index| format!("proxy.listener[{index}]")))
}

/// A remark on listeners of a kernel that makes no SYN cookies.
fn cookies_are_made(settings: &Settings, found: Option<SynCookies>) -> Option<(String, Fault)> {
    let key = can_be_flooded(settings).filter(|_| found == Some(SynCookies::Off))?;
    let warning = Fault::new("a flood of SYN keeps clients out: the kernel makes no SYN cookies");
    Some((key, warning.expected("net.ipv4.tcp_syncookies = 1").help("`sysctl -w net.ipv4.tcp_syncookies=1`")))
}

/// A remark on a folder for tables of the kernel that is none of a BPF file system now.
fn pins_have_a_place(settings: &Settings) -> Option<(String, Fault)> {
    let acceleration = &settings.proxy.acceleration;
    let folder = match &acceleration.pins {
        Pins::Nowhere => return None,
        Pins::Usual => Path::new(BPF_FILE_SYSTEM),
        Pins::At(folder) => folder.as_path(),
    };
    if acceleration.tiers.is_empty() {
        return None;
    }
    let mount = missing_file_system(folder)?.display().to_string();
    let warning =
        Fault::new(format!("{} is not on a BPF file system: programs cannot be kept there", folder.display()));
    let help = format!(
        "`mount -t bpf -o mode=0700 bpf {mount}`, or name a directory of one; sockets serve until there is one"
    );
    Some(("proxy.acceleration.pins".to_owned(), warning.help(help)))
}

/// A remark on flows of the kernel of which nothing is said whether they are to be kept.
fn are_kept(settings: &Settings, at: &mut At<'_>) {
    let proxy = &settings.proxy;
    let is_forwarded = proxy.listener.iter().any(|listener| listener.forwarding != Forwarding::Sockets);
    let is_of_kernel = proxy.acceleration.tiers.iter().any(|tier| matches!(tier, TierName::Xdp | TierName::Tc));
    if is_forwarded && is_of_kernel && !at.is_set("proxy.acceleration.pins") {
        let warning = Fault::new("flows that the kernel passes on are cut by an upgrade, and end with a crash");
        let help = format!(
            "`pins = true` keeps them in a BPF file system (`mount -t bpf -o mode=0700 bpf {BPF_FILE_SYSTEM}`); `pins = false` says that they need not be"
        );
        at.warn("proxy.acceleration.tiers", warning.help(help));
    }
}

/// Remarks on what this kernel has for listeners.
pub(crate) fn of_kernel(settings: &Settings) -> impl Iterator<Item = (String, Fault)> {
    let cookies = cookies_are_made(settings, SynCookies::look(&Roots::default()));
    cookies.into_iter().chain(pins_have_a_place(settings))
}

/// Remarks on listeners that say how the kernel is to forward for them, and cannot have that.
pub(crate) fn has_effect(settings: &Settings, at: &mut At<'_>) {
    if at.left_out().any(|key| key.starts_with("proxy")) {
        return;
    }
    is_read(settings, at);
    are_kept(settings, at);
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
        } else if let Some(warning) = is_not_checked(listener, &proxy.pool) {
            at.warn(&key, warning);
        }
    }
}

/// A remark on a pool of a tier that nobody checks: connections that fail are seen by sockets only.
fn is_not_checked(listener: &Listener, pools: &BTreeMap<String, Pool>) -> Option<Fault> {
    let name = listener.pool.as_ref()?;
    pools.get(name).filter(|pool| pool.health_check.is_none())?;
    let fault = Fault::new(format!(
        "the pool {name:?} has no health_check: a backend that is dead is not noticed where a tier passes packets on"
    ));
    Some(fault.help(match listener.protocol {
        Protocol::Tcp => "add health_check = {} to the pool",
        Protocol::Udp => {
            "add health_check = { port = PORT } to the pool, with a port where its backends take connections"
        }
    }))
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    #[test]
    fn a_kernel_without_syn_cookies_is_warned_of_where_it_shakes_hands() {
        let key = |text: &str, found| {
            let sources = Sources { file: Some(("outwork.toml".into(), text.into())), ..Sources::default() };
            let loaded = load::<Settings>(sources).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
            cookies_are_made(&loaded.value, found).map(|(key, _)| key)
        };
        let listener = |protocol: &str| {
            format!(
                "[proxy.pool.a]\nbackend = [{{ url = '{protocol}://192.0.2.1:53' }}]\n[[proxy.listener]]\n\
                 address = ['127.0.0.1:53']\nprotocol = '{protocol}'\npool = 'a'\n"
            )
        };
        let (tcp, udp, off) = (listener("tcp"), listener("udp"), Some(SynCookies::Off));
        assert_eq!(key(&tcp, off).as_deref(), Some("proxy.listener[0]"));
        assert_eq!(key(&udp, off), None, "nobody shakes hands");
        for found in [None, Some(SynCookies::OnDemand), Some(SynCookies::Always)] {
            assert_eq!(key(&tcp, found), None);
        }
        let front = "[[front.listener]]\naddress = '127.0.0.1:8080'\n";
        assert_eq!(key(front, off).as_deref(), Some("front.listener[0]"));
        assert_eq!(key("", off), None);
    }
}
