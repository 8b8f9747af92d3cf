//! What the configuration says of backends, and of what is passed on to them.
//!
//! - this file: pools and their backends.
//! - `resolver`: who knows their names. `check`: how backends are checked. `hash`: what sends the same to the same one. `forward`: what a route says.
//! - [`acceleration`]: packets that the kernel passes on, or user space; [`ports`]: how they get there.
//! - `listener`: where connections and datagrams are passed on as they come. `fitting`: which pools that can go to.
//! - `foreign`: what other programs call all of this.

pub mod acceleration;
mod check;
mod fitting;
mod foreign;
mod forward;
mod hash;
mod listener;
mod pins;
pub mod ports;
mod resolver;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use outwork_balance as balance;
use outwork_config::{Affinity, At, ByteSize, Fault, choice, hours, millis, mins, secs, section};
use outwork_front::door::Buffers;

pub use acceleration::Acceleration;
pub(crate) use check::statuses;
pub use check::{CheckKind, HealthCheck};
pub use forward::{FaultInjection, Forward, Forwarded, HostField, Mirror, Split};
pub use hash::{HashKey, HashKeyError};
pub use listener::{Forwarding, GlobalLimits, Listener, Protocol, ProxyVersion, SniRoute};
pub use pins::Pins;
pub use resolver::Resolver;

use crate::address::BackendUrl;

section! {
    /// Backends, in pools that routes pass requests on to, and listeners connections and datagrams.
    pub struct Proxy {
        /// Pools, by the name that routes and listeners call them by.
        pub pool: BTreeMap<String, Pool>,
        /// Where connections and datagrams are passed on as they come (layer 4).
        pub listener: Vec<Listener>,
        /// The most that there may be of all of these together.
        pub limits: GlobalLimits,
        /// Threads that serve them, each with sockets of its own; 0 means one a core, of those that `affinity` names if it names any. Without a listener there
        /// are none.
        pub workers: u16 [restart, range 0..=1024] = 0,
        /// Whether each of them stays on a core of its own, or processors that they stay on in turn, such as "4-7".
        pub affinity: Affinity [restart] = Affinity::Anywhere,
        /// Packets that are passed on in the kernel.
        pub acceleration: Acceleration,
        /// Benchmarks that the admin API begins.
        pub benchmark: acceleration::Benchmark,
        /// Who knows the names of backends.
        pub resolver: Option<Resolver>,
        /// The zone that this machine is in. Backends of the same zone come first.
        pub zone: Option<String>,
    }
    check fitting::proxy;
    foreign foreign::OF_THE_PROXY;
}

section! {
    /// Servers of which any one can answer.
    pub struct Pool {
        /// The servers.
        pub backend: Vec<Backend>,
        /// How one of them is chosen.
        pub policy: Policy = Policy::RoundRobin,
        /// What goes to the same backend each time, with the policy `maglev`: `client`, `path`, `target`, `host`, `header:NAME` or `cookie:NAME`. With `ip_hash` it is
        /// always the client.
        pub hash: HashKey = HashKey::Client,
        /// Active health checks; without them a backend is taken to be healthy until requests fail.
        pub health_check: Option<HealthCheck>,
        /// Passive health checks: who fails requests is left out for a while.
        pub outlier: Outlier,
        /// Clients that come back to the backend that they had.
        pub sticky: Option<Sticky>,
        /// What is tried again, elsewhere.
        pub retry: Retry,
        /// Requests that another backend is asked, too, where the first takes long; without it there are none.
        pub hedge: Option<Hedge>,
        /// Connections to backends.
        pub connections: Connections,
        /// The most that may be under way.
        pub limits: Limits,
        /// Tells backends whose a connection is by the PROXY protocol, in front of everything else, TLS included; a listener of layer 4 may say another version. A
        /// connection then carries the requests of one client, as far as addresses tell them apart. Checks say that they are ours, unless they have another port.
        pub send_proxy: Option<ProxyVersion>,
        /// How connections to `https` and `tls` backends are encrypted.
        pub tls: UpstreamTls,
        /// How long a backend that comes up takes until it has all of its weight.
        pub slow_start: Option<Duration> [range secs(1)..=hours(24)],
        /// How long a backend that is taken out, or drained, may go on with what it has. Requests, tunnels and connections that last longer are ended.
        pub drain: Duration [range secs(0)..=hours(24)] = secs(30),
        /// In percent: where fewer backends than this are healthy, all of them are used, for those that are left would not bear it. 0 is never.
        pub panic_threshold: u32 [range 0..=100] = 50,
        /// In percent: a priority takes all requests until so many of its backends are gone that those left times this are fewer than all.
        pub overprovisioning: u32 [range 100..=1000] = 140,
        /// Backends that the own zone has to have; with fewer, zones are not looked at.
        pub zone_least: u32 [range 1..=65_535] = 1,
        /// How often names of backends are looked up again where the operating system is asked, which does not say how long an answer holds. With `proxy.resolver`,
        /// and of services, that is as long as name servers say.
        pub resolve: Duration [range millis(100)..=hours(24)] = secs(30),
    }
    check pool;
    foreign foreign::OF_A_POOL;
}

section! {
    /// A server.
    #[required_keys]
    pub struct Backend {
        /// Where it is: `http://HOST:PORT`, `https://HOST`, `h2c://HOST:PORT` or `unix:/PATH`; for listeners of layer 4 `tcp://HOST:PORT`, `tls://HOST:PORT`,
        /// `udp://HOST:PORT` or `unix:/PATH`. A name stands for all of its addresses. `http+srv://NAME`, and `+srv` behind each other scheme, is a service such as
        /// `_http._tcp.app.example.org`, whose SRV records say hosts, ports, weights and priorities; with TLS its domain has to be proven, unless `tls.name` says
        /// another.
        pub url: BackendUrl,
        /// Its part of the requests. With 0 it gets only those of clients that are tied to it. Of a service, each record's weight times this.
        pub weight: u32 [range 0..=65_535] = 1,
        /// 0 is used first; higher ones when too few of those are left. Of a service, this is that of its first priority; the next ones follow it.
        pub priority: u32 [range 0..=127] = 0,
        /// Where it is.
        pub zone: Option<String>,
        /// Requests that it may have at once.
        pub max_requests: Option<u32> [range 1..=10_000_000],
    }
    foreign foreign::OF_A_BACKEND;
}

choice! {
    /// How a backend is chosen.
    pub enum Policy {
        /// In turn, by weight.
        RoundRobin = "round_robin",
        /// The fewest requests under way, by weight.
        LeastConn = "least_conn",
        /// The better of two at random: by latency, requests under way and weight.
        Random = "random",
        /// The same one for the same address of a client.
        IpHash = "ip_hash",
        /// The same one for the same `hash`; few move when backends come or go.
        Maglev = "maglev",
    }
}

section! {
    /// Passive health checks.
    pub struct Outlier {
        /// Whether there are any.
        pub enabled: bool = true,
        /// Failures of any kind in a row that eject a backend; 0 is none. An answer that breaks off, or stands still for too long, is one.
        pub consecutive_5xx: u32 [range 0..=100_000] = 5,
        /// Failures in a row that say that nobody answered (no connection, a reset, a timeout, 502, 503, 504), or not to the end; 0 is none.
        pub consecutive_gateway: u32 [range 0..=100_000] = 5,
        /// In percent: a backend that fails more is ejected; 0 is none.
        pub failure_percentage: u32 [range 0..=100] = 0,
        /// Whether a backend is ejected whose successes are far below those of the others.
        pub success_rate: bool = true,
        /// How often rates are compared.
        pub interval: Duration [range millis(100)..=hours(1)] = secs(10),
        /// How long a first ejection lasts; each further one lasts longer.
        pub base_ejection: Duration [range millis(100)..=hours(24)] = secs(30),
        /// How long an ejection lasts at most.
        pub max_ejection: Duration [range millis(100)..=hours(24)] = mins(5),
        /// In percent: so many backends may be ejected at once. One may be in any case, unless this is 0.
        pub max_ejected: u32 [range 0..=100] = 50,
    }
    check outlier;
}

section! {
    /// A cookie that says which backend a client had. It is signed, and says nothing of where that is.
    pub struct Sticky {
        /// Its name.
        pub cookie: String = "OUTWORK_BACKEND",
        /// How long it holds. Who comes back in the second half of that gets another for as long.
        pub ttl: Duration [range secs(1)..=hours(24 * 365)] = hours(1),
    }
    check sticky;
}

section! {
    /// What is tried again. A request is tried again where it cannot have been begun with, or where it may be asked twice (GET, HEAD, OPTIONS, PUT, DELETE,
    /// TRACE) and its body is still there.
    pub struct Retry {
        /// How often one request is tried again; 0 is never.
        pub attempts: u32 [range 0..=10] = 2,
        /// Answers that are tried again elsewhere.
        pub statuses: Vec<u16> = vec![502, 503, 504],
        /// Whether a request is tried again whose backend broke off, or took too long, before it answered.
        pub on_failure: bool = true,
        /// Part of the requests under way that may be retries: 0.2 is a fifth.
        pub budget: f64 [range 0.0..=1.0] = 0.2,
        /// Retries a second that are allowed in any case.
        pub floor: u32 [range 0..=1_000_000] = 10,
        /// The largest body that is kept to be sent again.
        pub max_body: ByteSize [range ByteSize::bytes(0)..=ByteSize::mib(16)] = ByteSize::kib(64),
    }
    check retry;
}

section! {
    /// Requests that two backends are asked at once: who may be asked twice (GET, HEAD, OPTIONS, PUT, DELETE, TRACE), and waits for long. Whoever answers first
    /// answers; the other is given up.
    pub struct Hedge {
        /// How long the first is waited for alone. A time that nearly all answers take less than costs little.
        pub after: Duration [range millis(1)..=mins(10)] = millis(100),
        /// Part of the requests under way that may be asked twice: 0.1 is a tenth.
        pub budget: f64 [range 0.0..=1.0] = 0.1,
        /// Requests a second that may be in any case.
        pub floor: u32 [range 0..=1_000_000] = 1,
    }
}

section! {
    /// Connections to backends. Each thread of the front door has its own.
    pub struct Connections {
        /// How long it may take to open one.
        pub connect_timeout: Duration [range millis(1)..=mins(10)] = secs(5),
        /// How long a backend may take until its answer begins, counted from the end of the request.
        pub response_timeout: Duration [range millis(1)..=hours(24)] = secs(60),
        /// How long a body may stand still. An answer that is silent for longer ends, and that is held against the backend where it has said how long the answer is.
        /// Streams of events and calls of gRPC want a heartbeat, or a longer time.
        pub idle_timeout: Duration [range millis(1)..=hours(24)] = secs(60),
        /// How long a WebSocket, a connection that CONNECT has asked for, or another that was switched to, may stand still.
        pub tunnel_timeout: Duration [range secs(1)..=hours(24 * 7)] = hours(1),
        /// Whether a connection is used for one request after the other.
        pub reuse: bool = true,
        /// Connections to one backend that stay open for the next request, of each thread. With `send_proxy`, each is one client's.
        pub max_idle: u32 [range 0..=100_000] = 100,
        /// Connections to one backend that are opened before they are needed, of each thread.
        pub min_idle: u32 [range 0..=10_000] = 0,
        /// How long a connection stays open though nobody needs it. Shorter than that of the backend, or requests meet connections that end.
        pub keep_alive: Duration [range millis(10)..=hours(24)] = secs(55),
        /// How long a connection is used at most.
        pub max_lifetime: Option<Duration> [range secs(1)..],
        /// Requests that one connection carries, one after the other, at most.
        pub max_requests: Option<u32> [range 1..=u32::MAX],
        /// Requests that may be under way at once on a connection of HTTP/1.1, each sent before the ones ahead of it are answered (pipelining); 1 is none. Only
        /// GET, HEAD, OPTIONS and TRACE without a body share one. It spares most system calls where many small answers come fast, and is for backends that are
        /// quick and trusted: an answer that takes long holds up those behind it (of one that has begun, for two seconds at most), and nothing but their order
        /// says which answer is whose. Where a connection ends, those that were behind are asked again by themselves; a backend that does so at once, or errs, is
        /// left alone with this for a minute.
        pub pipeline: u32 [range 1..=256] = 1,
        /// What the kernel keeps of what has come and was not read yet (`SO_RCVBUF`), of each connection; unset, as much as it sees fit. It gives no more than
        /// `net.core.rmem_max`. What a listener of layer 4 says for itself holds for its connections to backends, too.
        pub receive_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
        /// What it keeps of what was sent and has not left yet (`SO_SNDBUF`), likewise; no more than `net.core.wmem_max`.
        pub send_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
    }
    check connections;
}

section! {
    /// The most that may be under way in a pool.
    pub struct Limits {
        /// Requests.
        pub requests: Option<u32> [range 1..=10_000_000],
        /// Requests that wait until a backend, or the pool, has room for one more.
        pub pending: u32 [range 0..=1_000_000] = 1024,
        /// How long they wait.
        pub pending_timeout: Duration [range millis(1)..=mins(10)] = secs(5),
        /// Requests that may begin in a second; 0 for no limit. What is beyond is answered with 503.
        pub rate: u32 = 0,
        /// How many may begin at once; unset, those of a second.
        pub burst: Option<u32> [range 1..=10_000_000],
        /// Connections to the backends, of all threads, those that wait for their next request included.
        pub connections: Option<u32> [range 1..=10_000_000],
    }
    check limits;
}

section! {
    /// How connections to `https` and `tls` backends are encrypted.
    pub struct UpstreamTls {
        /// Certificates (PEM) of who may vouch for a backend; unset, those of the operating system.
        pub ca: Option<PathBuf>,
        /// The name that a backend has to prove; unset, the host of its URL.
        pub name: Option<String>,
        /// Our certificate (PEM), for backends that ask for one.
        pub certificate: Option<PathBuf>,
        /// Its key (PEM).
        pub key: Option<PathBuf>,
        /// Whether a backend has to prove who it is. Without that, whoever is on the way can read and change everything.
        pub verify: bool = true,
        /// Whether HTTP/2 is offered.
        pub http2: bool = true,
    }
    check tls;
}

fn pool(pool: &Pool, at: &mut At<'_>) {
    if pool.backend.is_empty() && !at.left_out().any(|key| key.contains("backend")) {
        let fault = Fault::new("there is no backend").expected("backend = [{ url = \"http://HOST:PORT\" }]");
        at.fault("backend", fault);
    }
    for (index, backend) in pool.backend.iter().enumerate() {
        let before = pool.backend.iter().take(index).any(|other| other.url == backend.url);
        if before {
            let fault = Fault::new(format!("{} is in this pool already", backend.url));
            at.fault(&format!("backend[{index}].url"), fault.help("give that one a higher weight"));
        }
    }
    if pool.hash != HashKey::Client && pool.policy != Policy::Maglev {
        let fault = Fault::new(format!("the policy {} does not look at this", pool.policy));
        at.fault("hash", fault.expected("policy = \"maglev\""));
    }
    let encrypted = pool.backend.iter().any(|backend| backend.url.speech.is_encrypted());
    if pool.tls != UpstreamTls::default() && !encrypted && !pool.backend.is_empty() {
        let fault = Fault::new("no backend of this pool is encrypted").expected("a backend with https:// or tls://");
        at.fault("tls", fault);
    }
    fitting::pool(pool, at);
}

fn outlier(outlier: &Outlier, at: &mut At<'_>) {
    if outlier.base_ejection > outlier.max_ejection {
        let (base, most) = (outlier.base_ejection, outlier.max_ejection);
        let fault = Fault::new(format!("{base:?} is more than max_ejection, {most:?}: no ejection would last so long"));
        at.fault("base_ejection", fault.expected("at most max_ejection").help("set max_ejection, too"));
    }
}

fn sticky(sticky: &Sticky, at: &mut At<'_>) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if sticky.cookie.is_empty() || !sticky.cookie.bytes().all(token) {
        let fault = Fault::new(format!("{:?} is no name of a cookie", sticky.cookie));
        at.fault("cookie", fault.expected("letters, digits, - and _"));
    }
}

fn retry(retry: &Retry, at: &mut At<'_>) {
    for (index, status) in retry.statuses.iter().enumerate() {
        if !(400..=599).contains(status) {
            let fault = Fault::new(format!("{status} is no failure")).expected("statuses from 400 to 599");
            at.fault(&format!("statuses[{index}]"), fault);
        }
    }
}

fn connections(connections: &Connections, at: &mut At<'_>) {
    if connections.min_idle > connections.max_idle {
        let fault = Fault::new(format!("{} is more than max_idle, {}", connections.min_idle, connections.max_idle));
        at.fault("min_idle", fault.expected("at most max_idle"));
    } else if connections.min_idle > 0 && !connections.reuse {
        let fault = Fault::new("connections end with their first request here, and are not kept for it");
        at.fault("min_idle", fault.expected("reuse = true, or 0 here"));
    }
    if connections.pipeline > 1 && (!connections.reuse || connections.max_idle == 0) {
        let fault = Fault::new("connections end with their first request here, and none is there to be shared");
        at.fault("pipeline", fault.expected("reuse = true and a max_idle of 1 or more, or 1 here"));
    }
}

fn limits(limits: &Limits, at: &mut At<'_>) {
    if limits.burst.is_some() && limits.rate == 0 {
        let fault = Fault::new("there is no rate that it would be a burst of");
        at.fault("burst", fault.expected("rate = REQUESTS A SECOND"));
    }
}

fn tls(tls: &UpstreamTls, at: &mut At<'_>) {
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => at.fault("key", Fault::new("there is a certificate and no key").expected("key = \"FILE\"")),
        (None, Some(_)) => {
            at.fault("certificate", Fault::new("there is a key and no certificate").expected("certificate = \"FILE\""))
        }
        _ => {}
    }
    if !tls.verify {
        let warning = Fault::new("backends do not have to prove who they are");
        at.warn("verify", warning.help("name who vouches for them in ca"));
        if tls.ca.is_some() || tls.name.is_some() {
            let key = if tls.ca.is_some() { "ca" } else { "name" };
            at.fault(key, Fault::new("nothing is verified").expected("verify = true"));
        }
    }
}

impl Connections {
    /// What the kernel keeps for each.
    pub(crate) fn buffers(&self) -> Buffers {
        Buffers { receive: self.receive_buffer, send: self.send_buffer }
    }
}

impl Pool {
    /// One server, with everything as it is where nobody says otherwise.
    pub(crate) fn of(url: BackendUrl) -> Self {
        let backend = Backend { url, weight: 1, priority: 0, zone: None, max_requests: None };
        Self { backend: vec![backend], ..Self::default() }
    }

    /// What balancing takes from it, but for the members.
    pub(crate) fn balanced(&self, zone: Option<&str>) -> balance::PoolSettings {
        let outlier = &self.outlier;
        let count = |count: u32| Some(count).filter(|count| *count > 0);
        let defaults = balance::OutlierSettings::default();
        balance::PoolSettings {
            members: Vec::new(),
            policy: match self.policy {
                Policy::RoundRobin => balance::Policy::RoundRobin,
                Policy::LeastConn => balance::Policy::LeastConn,
                Policy::Random => balance::Policy::Choices,
                Policy::IpHash => balance::Policy::IpHash,
                Policy::Maglev => balance::Policy::Maglev,
            },
            overprovisioning: self.overprovisioning,
            panic_threshold: self.panic_threshold,
            zone: zone.map(|zone| balance::ZonePreference { zone: zone.to_owned(), at_least: self.zone_least }),
            slow_start: self.slow_start.map(|window| balance::SlowStart { window, aggression: 1.0, least: 0.1 }),
            drain: self.drain,
            limits: balance::Limits {
                requests: self.limits.requests,
                connections: self.limits.connections,
                ..balance::Limits::default()
            },
            outlier: outlier.enabled.then(|| balance::OutlierSettings {
                consecutive_5xx: count(outlier.consecutive_5xx),
                consecutive_gateway: count(outlier.consecutive_gateway),
                success_rate: defaults.success_rate.filter(|_| outlier.success_rate),
                failure_percentage: count(outlier.failure_percentage)
                    .map(|threshold| balance::outlier::FailurePercentage { threshold, members: 2, volume: 50 }),
                interval: outlier.interval,
                base_ejection: outlier.base_ejection,
                max_ejection: outlier.max_ejection,
                max_ejected_percent: outlier.max_ejected,
            }),
            retry: balance::BudgetSettings { ratio: self.retry.budget, floor: self.retry.floor },
            hedge: self.hedge.as_ref().map_or_else(balance::BudgetSettings::default, |hedge| balance::BudgetSettings {
                ratio: hedge.budget,
                floor: hedge.floor,
            }),
            ..balance::PoolSettings::default()
        }
    }
}

/// Whether a text is the name of a field, in small letters.
fn field(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}
