//! Which pools requests, connections and datagrams can go to, and listeners that are in each other's way.

use outwork_config::expansion::join_key;
use outwork_config::{At, Fault};

use super::{CheckKind, Listener, Pool, Protocol, Proxy};
use crate::address::{Cargo, Speech};

impl Cargo {
    /// The backends that take it, in words.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Requests => "a pool with backends such as http://HOST:PORT or https://HOST",
            Self::Connections => "a pool with backends such as tcp://HOST:PORT, tls://HOST:PORT or unix:/PATH",
            Self::Datagrams => "a pool with backends such as udp://HOST:PORT",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Connections => "connections",
            Self::Datagrams => "datagrams",
        }
    }
}

impl Protocol {
    /// What a listener passes on.
    pub fn cargo(self) -> Cargo {
        match self {
            Self::Tcp => Cargo::Connections,
            Self::Udp => Cargo::Datagrams,
        }
    }
}

impl Pool {
    /// Whether each of its backends takes this.
    pub fn takes(&self, cargo: Cargo) -> bool {
        self.backend.iter().all(|backend| backend.url.takes(cargo))
    }

    /// Whether it is one of layer 4 and of nothing else.
    fn is_of_layer_4(&self) -> bool {
        !self.takes(Cargo::Requests) && !self.backend.is_empty()
    }

    /// What its checks ask.
    pub(crate) fn check_kind(&self) -> CheckKind {
        let given = self.health_check.as_ref().and_then(|check| check.kind);
        given.unwrap_or(if self.is_of_layer_4() { CheckKind::Tcp } else { CheckKind::Http })
    }
}

impl Proxy {
    /// Checks a key that names a pool for this. `section` is where the proxy's own section lies, below the one that checks: empty for itself.
    pub fn check_pool(&self, (key, name): (&str, &str), cargo: Cargo, section: &str, at: &mut At<'_>) {
        let Some(pool) = self.pool.get(name) else {
            // It may be there, and not be readable: itself, or the table that it would be in.
            let own = join_key("pool", name);
            let is_it = |key: &str| match key.starts_with("pool.") {
                true => key == own,
                false => key.is_empty() || key.starts_with("pool"),
            };
            let below = |key: &str| key.strip_prefix(section).is_some_and(|key| is_it(key.trim_start_matches('.')));
            if !at.left_out().any(below) {
                at.certain(key, self.has_no(name, cargo));
            }
            return;
        };
        if let Some(other) = pool.backend.iter().find(|backend| !backend.url.takes(cargo)) {
            let found = format!("the pool {name:?} takes no {}: {} is in it", cargo.noun(), other.url);
            at.fault(key, Fault::new(found).expected(cargo.expected()));
        }
    }

    fn has_no(&self, name: &str, cargo: Cargo) -> Fault {
        let fits = self.pool.iter().filter(|(_, pool)| pool.takes(cargo) && !pool.backend.is_empty());
        let names: Vec<&str> = fits.map(|(name, _)| name.as_str()).collect();
        let expected = if names.is_empty() { "a [proxy.pool.NAME]".to_owned() } else { names.join(" or ") };
        Fault::new(format!("there is no pool {name:?}")).expected(expected)
    }
}

pub(super) fn pool(pool: &Pool, at: &mut At<'_>) {
    let every = [Cargo::Requests, Cargo::Connections, Cargo::Datagrams];
    if !every.iter().any(|cargo| pool.takes(*cargo)) {
        let Some(first) = pool.backend.first() else { return };
        let kind = every.into_iter().rev().find(|cargo| first.url.takes(*cargo)).unwrap_or(Cargo::Requests);
        let other = pool.backend.iter().position(|backend| !backend.url.takes(kind)).unwrap_or_default();
        let fault = Fault::new(format!("{} takes {}, and this backend takes none", first.url, kind.noun()));
        at.fault(
            &format!("backend[{other}].url"),
            fault.expected("a pool for each of requests, connections and datagrams"),
        );
        return;
    }
    if pool.send_proxy.is_some() && pool.takes(Cargo::Datagrams) && !pool.backend.is_empty() {
        let fault = Fault::new("of datagrams, it is the listener that says whose they are");
        at.fault("send_proxy", fault.expected("send_proxy = \"v2\" in the [[proxy.listener]]"));
    }
    if pool.send_proxy.is_some() && pool.connections.min_idle > 0 {
        let fault = Fault::new("of a connection that nobody needs yet, nobody can say whose it is");
        at.fault("connections.min_idle", fault.expected("0 with send_proxy"));
    }
    if pool.send_proxy.is_some() && pool.connections.pipeline > 1 {
        let fault = Fault::new("a connection whose client backends are told of is not shared by others");
        at.fault("connections.pipeline", fault.expected("1 with send_proxy"));
    }
    let speaks_http1 = |backend: &super::Backend| backend.url.speech != Speech::Http2;
    if pool.connections.pipeline > 1 && !pool.backend.is_empty() && !pool.backend.iter().any(speaks_http1) {
        let fault = Fault::new("every backend of this pool speaks HTTP/2, where all requests share a connection");
        at.fault("connections.pipeline", fault.expected("1 with backends such as h2c://HOST:PORT"));
    }
    if !pool.is_of_layer_4() {
        return;
    }
    let of_requests = [
        ("sticky", pool.sticky.is_some()),
        ("hash", pool.hash != super::HashKey::Client),
        ("hedge", pool.hedge.is_some()),
    ];
    const OF_REQUESTS: [&str; 14] = [
        "limits.rate",
        "limits.burst",
        "retry.statuses",
        "retry.on_failure",
        "retry.max_body",
        "connections.response_timeout",
        "connections.idle_timeout",
        "connections.reuse",
        "connections.max_idle",
        "connections.min_idle",
        "connections.keep_alive",
        "connections.max_lifetime",
        "connections.max_requests",
        "connections.pipeline",
    ];
    let set = OF_REQUESTS.map(|key| (key, at.is_set(key)));
    for (key, _) in of_requests.into_iter().chain(set).filter(|(_, given)| *given) {
        let fault = Fault::new("this is about requests, and the pool is for layer 4");
        at.fault(key, fault.expected("backends such as http://HOST:PORT"));
    }
    let Some(check) = &pool.health_check else { return };
    if check.kind.is_none() {
        check.looks_at(CheckKind::Tcp, "health_check.", at);
    }
    if pool.takes(Cargo::Datagrams) && check.port.is_none() {
        let fault = Fault::new("a port of UDP does not say whether anybody is there");
        at.fault("health_check.port", fault.expected("the number of a port of TCP at the same backends"));
    }
}

pub(super) fn proxy(proxy: &Proxy, at: &mut At<'_>) {
    for (index, listener) in proxy.listener.iter().enumerate() {
        for (key, pool) in listener.pools() {
            proxy.check_pool((&format!("listener[{index}].{key}"), pool), listener.protocol.cargo(), "", at);
        }
    }
    if at.left_out().any(tells_listeners_apart) {
        return;
    }
    for (index, listener) in proxy.listener.iter().enumerate() {
        let before = || proxy.listener.iter().take(index).enumerate();
        if let Some((other, _)) = before().find(|(_, other)| other.label() == listener.label()) {
            let key = if listener.name.is_some() { "name" } else { "address" };
            let fault = Fault::new(format!("proxy.listener[{other}] is called {:?} already", listener.label()));
            at.fault(&format!("listener[{index}].{key}"), fault.expected("a name of its own"));
            continue;
        }
        addresses_are_apart(&proxy.listener, index, at);
    }
}

/// Whether a key, which could not be read, may say which listener is which.
fn tells_listeners_apart(key: &str) -> bool {
    let apart = [".name", ".address", ".protocol"];
    key.strip_prefix("listener").is_some_and(|rest| !rest.contains('.') || apart.iter().any(|one| rest.contains(one)))
}

/// Refuses an address that the listener, or one before it, has already.
fn addresses_are_apart(listeners: &[Listener], index: usize, at: &mut At<'_>) {
    let Some(listener) = listeners.get(index) else { return };
    for (place, address) in listener.address.iter().enumerate() {
        let own = listener.address.iter().take(place);
        let others = listeners.iter().take(index).filter(|other| other.protocol == listener.protocol);
        if own.chain(others.flat_map(|other| &other.address)).any(|other| other == address) {
            let fault = Fault::new(format!("another listener of {} has {address}", listener.protocol));
            let fault = fault.expected("an address and port of its own").help("take one of them out");
            at.fault(&format!("listener[{index}].address[{place}]"), fault);
        }
    }
}
