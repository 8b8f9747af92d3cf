//! Which rules are for the fast path, and what keeps the others from it.
//!
//! A listener of layer 4 is for the fast path where its packets can be passed on without being looked into, and nothing is counted that only sockets count. A
//! route of the front door never is: requests are read. Who is for the fast path is on it only where a tier could be had.

use std::collections::BTreeMap;

use outwork_fastpath::settings::HashBy;
use outwork_fastpath::{Protocol as Number, ServiceSettings, Vip, Way};

use crate::address::{Place, Speech};
use crate::config::acceleration::rate;
use crate::config::{Acceleration, Forwarding, Listener, Policy, Pool, Protocol};

/// What keeps a rule from the fast path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// A short stable word.
    pub word: &'static str,
    /// What it is about, for people.
    pub text: String,
}

impl Obstacle {
    /// An obstacle.
    pub fn new(word: &'static str, text: impl Into<String>) -> Obstacle {
        Obstacle { word, text: text.into() }
    }
}

/// What is known of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it is called.
    pub name: String,
    /// Whether it is a listener of layer 4, or else a route.
    pub is_listener: bool,
    /// What is spoken: `tcp`, `udp` or `http`.
    pub protocol: &'static str,
    /// Where it listens, where it is a listener.
    pub addresses: Vec<std::net::SocketAddr>,
    /// The pools that it passes on to.
    pub pools: Vec<String>,
    /// What keeps it from the fast path; empty where nothing does.
    pub obstacles: Vec<Obstacle>,
}

/// A listener as a rule.
pub(super) fn of_listener(listener: &Listener, pools: &BTreeMap<String, Pool>, acceleration: &Acceleration) -> Rule {
    let mut names: Vec<String> = listener.pools().map(|(_, pool)| pool.to_owned()).collect();
    names.dedup();
    Rule {
        name: listener.label(),
        is_listener: true,
        protocol: listener.protocol.word(),
        addresses: listener.address.clone(),
        pools: names,
        obstacles: obstacles(listener, pools, acceleration),
    }
}

/// What keeps a listener from the fast path.
pub fn obstacles(listener: &Listener, pools: &BTreeMap<String, Pool>, acceleration: &Acceleration) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let counts = "counts connections, which only sockets do";
    let is_udp = listener.protocol == Protocol::Udp;
    let of_listener = [
        (listener.forwarding == Forwarding::Sockets, "forwarding", "its forwarding is \"sockets\"".to_owned()),
        (listener.tls.is_some(), "tls", "TLS ends here".to_owned()),
        (
            !listener.sni.is_empty(),
            "inspection",
            "the pool is chosen by the name that clients ask for (sni)".to_owned(),
        ),
        (listener.proxy_protocol.is_some(), "proxy_protocol", "the PROXY protocol is read (proxy_protocol)".to_owned()),
        (listener.send_proxy.is_some(), "proxy_protocol", "the PROXY protocol is written (send_proxy)".to_owned()),
        (
            listener.transparent,
            "transparent",
            "connections are made with the client's address (transparent)".to_owned(),
        ),
        (listener.quic, "inspection", "sessions go by QUIC's connection ids (quic)".to_owned()),
        (listener.max_connections.is_some(), "limits", format!("max_connections {counts}")),
        (listener.max_connections_per_client > 0, "limits", format!("max_connections_per_client {counts}")),
        (
            is_udp && listener.connection_rate > 0,
            "limits",
            "connection_rate of UDP counts sessions, which only sockets have".to_owned(),
        ),
        (
            listener.idle_timeout.is_some(),
            "timeouts",
            "idle_timeout is kept by sockets; flows of the kernel have proxy.acceleration.timeouts".to_owned(),
        ),
        (
            listener.half_close_timeout.is_some(),
            "timeouts",
            "half_close_timeout is kept by sockets; flows of the kernel have proxy.acceleration.timeouts".to_owned(),
        ),
        (
            listener.address.iter().any(|address| address.ip().is_unspecified()),
            "address",
            "it listens at every address of this machine: name the ones that clients use".to_owned(),
        ),
    ];
    let of_listener = of_listener.into_iter().filter(|(is_so, ..)| *is_so);
    found.extend(of_listener.map(|(_, word, text)| Obstacle::new(word, text)));
    let Some(pool) = listener.pool.as_ref().and_then(|name| pools.get(name)) else { return found };
    if !matches!(pool.policy, Policy::IpHash | Policy::Maglev) {
        let text = format!("the pool's policy is {}; the kernel chooses by \"ip_hash\" or \"maglev\"", pool.policy);
        found.push(Obstacle::new("policy", text));
    }
    if pool.slow_start.is_some() {
        found.push(Obstacle::new("slow_start", "the pool has a slow_start, which tables of the kernel do not know"));
    }
    if pool.send_proxy.is_some() {
        found.push(Obstacle::new("send_proxy", "the pool's backends are told whose connections are"));
    }
    if pool.limits.requests.is_some() || pool.backend.iter().any(|backend| backend.max_requests.is_some()) {
        found.push(Obstacle::new("limits", format!("a limit of the pool or of a backend {counts}")));
    }
    for backend in &pool.backend {
        let url = &backend.url;
        match (&url.place, url.speech) {
            (Place::Unix(_), _) => found.push(Obstacle::new("backend", format!("{url} is a socket of this machine"))),
            (_, Speech::Tls) => found.push(Obstacle::new("tls", format!("{url} is encrypted here"))),
            (Place::Address(at), _) => found.extend(out_of_reach(listener, acceleration, *at)),
            (Place::Name { .. } | Place::Service(_), _) => {}
        }
    }
    found
}

/// What keeps packets of a listener from a backend.
fn out_of_reach(listener: &Listener, acceleration: &Acceleration, at: std::net::SocketAddr) -> Option<Obstacle> {
    if at.ip().is_loopback() {
        return Some(Obstacle::new("backend", format!("{at} is this machine: packets to it go to sockets")));
    }
    let of_same_kind = listener.address.iter().all(|own| own.is_ipv4() == at.is_ipv4());
    match listener.forwarding {
        Forwarding::Ipip => {
            let (setting, is_set) = match at.is_ipv4() {
                true => ("tunnel_v4", acceleration.tunnel_v4.is_some()),
                false => ("tunnel_v6", acceleration.tunnel_v6.is_some()),
            };
            let text = format!("{at} is reached by a tunnel, and proxy.acceleration.{setting} is not set");
            (!is_set).then(|| Obstacle::new("tunnel", text))
        }
        Forwarding::Nat | Forwarding::Dsr if !of_same_kind => {
            Some(Obstacle::new("address", format!("{at} is of another version of IP than an address of the listener")))
        }
        Forwarding::Dsr if listener.address.iter().any(|own| own.port() != at.port()) => Some(Obstacle::new(
            "address",
            format!("{at} has another port than the listener, which \"dsr\" does not rewrite"),
        )),
        _ => None,
    }
}

/// Where clients find a listener, as programs of the kernel know it.
pub(super) fn vips(listener: &Listener) -> impl Iterator<Item = Vip> {
    let protocol = match listener.protocol {
        Protocol::Tcp => Number::Tcp,
        Protocol::Udp => Number::Udp,
    };
    listener.address.iter().map(move |address| Vip::new(*address, protocol))
}

/// What the kernel is told of a listener.
pub(super) fn service(listener: &Listener, acceleration: &Acceleration) -> ServiceSettings {
    let own = rate(listener.connection_rate, listener.connection_burst);
    ServiceSettings {
        way: match listener.forwarding {
            Forwarding::Sockets | Forwarding::Nat => Way::Nat,
            Forwarding::Dsr => Way::Direct,
            Forwarding::Ipip => Way::Tunnel,
        },
        // As sockets do it, and the only thing that a pool of layer 4 may hash.
        hash: HashBy::Source,
        syn_rate: own.or_else(|| rate(acceleration.syn_rate, acceleration.syn_burst)),
        failed: acceleration.failed(),
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};
    use outwork_fastpath::settings::Rate;

    use super::*;
    use crate::config::Proxy;

    /// What a listener is said to be, with more lines of its own and of its pool.
    fn read(own: &str, pool: &str) -> Proxy {
        let own =
            if own.contains("address") { own.to_owned() } else { format!("address = ['198.51.100.1:80']\n{own}") };
        let text = format!("[[listener]]\npool = 'p'\n{own}\n[pool.p]\n{pool}\n");
        let sources = Sources { file: Some(("outwork.toml".into(), text)), ..Sources::default() };
        load::<Proxy>(sources).map(|loaded| loaded.value).map_err(|faults| faults.render(false)).unwrap()
    }

    fn words(own: &str, pool: &str) -> Vec<&'static str> {
        let proxy = read(own, pool);
        let found = obstacles(&proxy.listener[0], &proxy.pool, &proxy.acceleration);
        found.into_iter().map(|obstacle| obstacle.word).collect()
    }

    const POOL: &str = "policy = 'maglev'\nbackend = [{ url = 'tcp://10.0.0.1:80' }]";

    #[test]
    fn a_listener_that_nobody_looks_into_is_for_the_fast_path() {
        for forwarding in ["nat", "dsr"] {
            assert_eq!(words(&format!("forwarding = '{forwarding}'"), POOL), [""; 0], "{forwarding}");
        }
        assert_eq!(
            words("forwarding = 'nat'\nconnection_rate = 9", POOL),
            [""; 0],
            "the kernel counts new connections of TCP"
        );
        let hashed = POOL.replace("maglev", "ip_hash").replace("10.0.0.1", "db.example.org");
        assert_eq!(words("forwarding = 'nat'", &hashed), [""; 0], "names stand for their addresses");
        let udp = POOL.replace("tcp://", "udp://");
        assert_eq!(words("protocol = 'udp'\nforwarding = 'nat'", &udp), [""; 0]);
    }

    #[test]
    fn each_obstacle_is_told_by_its_word() {
        let nat = "forwarding = 'nat'\n";
        let cases: &[(&str, &str, &str)] = &[
            ("", POOL, "forwarding"),
            ("tls = { local = ['a.test'] }", POOL, "tls"),
            ("sni = [{ names = ['a.test'], pool = 'p' }]", POOL, "inspection"),
            ("proxy_protocol = { from = ['10.0.0.9'] }", POOL, "proxy_protocol"),
            ("send_proxy = 'v2'", POOL, "proxy_protocol"),
            ("transparent = true", POOL, "transparent"),
            ("max_connections = 5", POOL, "limits"),
            ("max_connections_per_client = 5", POOL, "limits"),
            ("idle_timeout = '5s'", POOL, "timeouts"),
            ("half_close_timeout = '5s'", POOL, "timeouts"),
        ];
        for (own, pool, word) in cases {
            assert!(words(own, pool).contains(word), "{own}: {:?}", words(own, pool));
        }
        let url = |url: &str| format!("policy = 'maglev'\nbackend = [{{ url = '{url}' }}]");
        let alone: &[(&str, String, &str)] = &[
            ("max_connections = 5", POOL.to_owned(), "limits"),
            ("idle_timeout = '5s'", POOL.to_owned(), "timeouts"),
            ("address = ['0.0.0.0:80']", POOL.to_owned(), "address"),
            ("", POOL.replace("maglev", "round_robin"), "policy"),
            ("", format!("{POOL}\nslow_start = '5s'"), "slow_start"),
            ("", format!("{POOL}\nlimits = {{ requests = 5 }}"), "limits"),
            ("", url("tcp://10.0.0.1:80").replace(" }]", ", max_requests = 4 }]"), "limits"),
            ("", url("unix:/run/a.sock"), "backend"),
            ("", url("tcp://127.0.0.1:80"), "backend"),
            ("", url("tls://10.0.0.1:80"), "tls"),
            ("", url("tcp://[2001:db8::1]:80"), "address"),
            ("forwarding = 'dsr'", url("tcp://10.0.0.1:81"), "address"),
            ("forwarding = 'ipip'", url("tcp://10.0.0.1:80"), "tunnel"),
            ("protocol = 'udp'\nconnection_rate = 5", url("udp://10.0.0.1:80"), "limits"),
        ];
        for (own, pool, word) in alone {
            let own = if own.contains("forwarding") { (*own).to_owned() } else { format!("{nat}{own}") };
            assert_eq!(words(&own, pool), [*word], "{own} {pool}");
        }
    }

    #[test]
    fn each_forwarding_is_a_way_of_packets_to_their_backends() {
        for (forwarding, way) in [("nat", Way::Nat), ("dsr", Way::Direct), ("ipip", Way::Tunnel)] {
            let proxy = read(&format!("forwarding = '{forwarding}'"), POOL);
            assert_eq!(service(&proxy.listener[0], &proxy.acceleration).way, way, "{forwarding}");
        }
    }

    #[test]
    fn a_backend_behind_a_tunnel_takes_an_address_of_ours_of_its_kind() {
        let words = |backend: &str, tunnel: &str| -> Vec<&'static str> {
            let pool = format!("policy = 'maglev'\nbackend = [{{ url = 'tcp://{backend}:80' }}]");
            let mut proxy = read("forwarding = 'ipip'", &pool);
            let text = Sources { file: Some(("outwork.toml".into(), tunnel.into())), ..Sources::default() };
            proxy.acceleration = load::<Acceleration>(text).unwrap().value;
            let found = obstacles(&proxy.listener[0], &proxy.pool, &proxy.acceleration);
            found.into_iter().map(|obstacle| obstacle.word).collect()
        };
        let (v4, v6) = ("tunnel_v4 = '192.0.2.9'", "tunnel_v6 = '2001:db8::9'");
        assert_eq!((words("10.0.0.1", v4), words("10.0.0.1", v6)), (vec![], vec!["tunnel"]));
        assert_eq!((words("[2001:db8::1]", v6), words("[2001:db8::1]", v4)), (vec![], vec!["tunnel"]));
    }

    #[test]
    fn the_rate_of_a_listener_comes_before_that_of_all() {
        let of = |own: &str, all: &str| {
            let mut proxy = read(&format!("forwarding = 'nat'\n{own}"), POOL);
            let text = Sources { file: Some(("outwork.toml".into(), all.into())), ..Sources::default() };
            proxy.acceleration = load::<Acceleration>(text).unwrap().value;
            service(&proxy.listener[0], &proxy.acceleration).syn_rate
        };
        assert_eq!(of("", ""), None);
        assert_eq!(of("", "syn_rate = 100"), Some(Rate { per_second: 100, burst: 100 }));
        assert_eq!(
            of("connection_rate = 5\nconnection_burst = 9", "syn_rate = 100"),
            Some(Rate { per_second: 5, burst: 9 })
        );
    }
}
