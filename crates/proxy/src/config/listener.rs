//! What the configuration says of layer 4: where connections and datagrams are passed on as they come.

use std::net::SocketAddr;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, choice, hours, mins, secs, section};
use outwork_front::config::{ProxyProtocol, TlsSettings};
use outwork_front::door::Buffers;
use outwork_front::route::HostPattern;
use outwork_front::tls::Offer;

section! {
    /// Addresses at which connections, or datagrams, are passed on to a pool as they come: layer 4.
    pub struct Listener {
        /// What it is called in metrics, in the API and where rules are listed; unset, its first address.
        pub name: Option<String>,
        /// Addresses and ports.
        pub address: Vec<SocketAddr>,
        /// What is passed on.
        pub protocol: Protocol = Protocol::Tcp,
        /// The pool, by its name in `[proxy.pool]`. Its backends are `tcp://HOST:PORT`, `tls://HOST:PORT` or `unix:/PATH` of TCP, and `udp://HOST:PORT` of UDP. With
        /// `sni` it is for clients that ask for another name, or for none; unset, those are sent away (`unrecognized_name`).
        pub pool: Option<String>,
        /// Other pools, by the name that clients ask for with TLS. Without `tls` it is read on its way past, and the backend has the certificate.
        pub sni: Vec<SniRoute>,
        /// TLS ends here, and backends get what was in it.
        pub tls: Option<TlsSettings>,
        /// The PROXY protocol, by which proxies that pass on connections say whose they are.
        pub proxy_protocol: Option<ProxyProtocol>,
        /// Tells backends whose a connection is by the PROXY protocol: in front of it, or of UDP in the first datagram of a session.
        pub send_proxy: Option<ProxyVersion>,
        /// Whether backends see the client's own address (TPROXY): they have to send what they answer by way of this machine, which needs CAP_NET_ADMIN and a rule
        /// that brings it here. What such a rule diverts to this listener is accepted whatever address it is for.
        pub transparent: bool = false,
        /// Of UDP: QUIC is spoken, and sessions go by connection ids, so that a client whose address changes keeps its backend.
        pub quic: bool = false,
        /// Whether packets may be passed on in the kernel, without a socket here.
        pub forwarding: Forwarding = Forwarding::Sockets,
        /// How long a connection, or a session of UDP, may stand still; unset, 10 minutes and 60 seconds.
        pub idle_timeout: Option<Duration> [range secs(1)..=hours(24 * 7)],
        /// The same of a connection of which one side has ended.
        pub half_close_timeout: Option<Duration> [range secs(1)..=hours(24 * 7)],
        /// Connections, or sessions of UDP, open at once; unset, as many as `proxy.limits` allows.
        pub max_connections: Option<u32> [range 1..=10_000_000],
        /// Those of one client, an IPv4 address or an IPv6 /64; 0 for no limit.
        pub max_connections_per_client: u32 = 0,
        /// Connections, or sessions of UDP, that may begin in a second; 0 for no limit.
        pub connection_rate: u32 = 0,
        /// How many may begin at once; unset, those of a second.
        pub connection_burst: Option<u32> [range 1..=10_000_000],
        /// Connections that may wait to be accepted, for each thread; unset, 4096.
        pub backlog: Option<u32> [range 1..=65_535],
        /// What the kernel keeps of what has come and was not read yet (`SO_RCVBUF`), of each socket; unset, as much as it sees fit.
        pub receive_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
        /// What it keeps of what was sent and has not left yet (`SO_SNDBUF`).
        pub send_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
    }
    check listener;
}

section! {
    /// A pool for clients that ask for certain names.
    #[required_keys]
    pub struct SniRoute {
        /// The names, such as `www.example.org`, or `*.example.org` for all below that.
        pub names: Vec<HostPattern>,
        /// The pool, by its name in `[proxy.pool]`.
        pub pool: String,
    }
    check sni_route;
}

section! {
    /// The most that there may be of everything together: of all listeners of layer 4, of all requests that are passed on, and of all backends. What a pool or a
    /// listener may have is said there.
    pub struct GlobalLimits {
        /// Connections and sessions of UDP open at once. Of limits that a reload sets where there were none, what was open or under way before does not count. A connection needs two file descriptors; where a process may not open so many, fewer are taken.
        pub max_connections: u32 [range 1..=10_000_000] = 100_000,
        /// Connections and sessions that may begin in a second; 0 for no limit.
        pub connection_rate: u32 = 0,
        /// How many may begin at once; unset, those of a second.
        pub connection_burst: Option<u32> [range 1..=10_000_000],
        /// Requests under way in all pools, and WebSockets and other tunnels. What is beyond is answered with 503.
        pub max_requests: Option<u32> [range 1..=10_000_000],
        /// Requests to all pools that may begin in a second; 0 for no limit.
        pub request_rate: u32 = 0,
        /// How many may begin at once; unset, those of a second.
        pub request_burst: Option<u32> [range 1..=10_000_000],
        /// Connections of TCP to all backends, those that wait for their next request included.
        pub max_backend_connections: Option<u32> [range 1..=10_000_000],
    }
    check global_limits;
}

choice! {
    /// What a listener of layer 4 passes on.
    pub enum Protocol {
        /// Connections of TCP.
        Tcp = "tcp",
        /// Datagrams of UDP, in sessions.
        Udp = "udp",
    }
}

choice! {
    /// A version of the PROXY protocol.
    pub enum ProxyVersion {
        /// A line of text.
        V1 = "v1",
        /// Octets, which may say more.
        V2 = "v2",
    }
}

choice! {
    /// Who passes packets of a listener on.
    pub enum Forwarding {
        /// This process, by sockets.
        Sockets = "sockets",
        /// The kernel where it can, with addresses rewritten both ways.
        Nat = "nat",
        /// The kernel where it can, with the frame's receiver rewritten: backends are on the same link, have the listener's address, and answer by themselves.
        Dsr = "dsr",
        /// The kernel where it can, with the packet in another one (IP in IP): backends have the listener's address, and answer by themselves.
        Ipip = "ipip",
    }
}

fn listener(listener: &Listener, at: &mut At<'_>) {
    if listener.address.is_empty() && !at.left_out().any(|key| key.starts_with("address")) {
        at.fault("address", Fault::new("it listens nowhere").expected("address = [\"0.0.0.0:5432\"]"));
    }
    for (index, address) in listener.address.iter().enumerate() {
        if address.port() == 0 {
            let fault = Fault::new("port 0 is another one with each start").expected("a port from 1 to 65535");
            at.fault(&format!("address[{index}]"), fault);
        }
    }
    if listener.name.as_deref().is_some_and(str::is_empty) {
        at.fault("name", Fault::new("it is empty").help("leave it out for the address"));
    }
    let unread = |key: &str| key.starts_with("pool") || key.starts_with("sni");
    if listener.pool.is_none() && listener.sni.is_empty() && !at.left_out().any(unread) {
        let fault = Fault::new("nothing says where connections go").expected("pool = \"NAME\" of a [proxy.pool.NAME]");
        at.fault("pool", fault);
    }
    if listener.connection_burst.is_some() && listener.connection_rate == 0 {
        let fault = Fault::new("there is no connection_rate that it would be a burst of");
        at.fault("connection_burst", fault.expected("connection_rate = CONNECTIONS A SECOND"));
    }
    if at.is_set("tls.http3") {
        let fault =
            Fault::new("a listener of layer 4 speaks no HTTP").expected("http3 in the tls of a [[front.listener]]");
        at.fault("tls.http3", fault);
    }
    fits_protocol(listener, at);
    fits_forwarding(listener, at);
}

/// What only one of the protocols has.
fn fits_protocol(listener: &Listener, at: &mut At<'_>) {
    let of_tcp = [
        (
            "tls",
            listener.tls.is_some(),
            "TLS is spoken over TCP; QUIC has its own, which passes through with quic = true",
        ),
        (
            "sni",
            !listener.sni.is_empty(),
            "the name that a client of QUIC asks for is encrypted; give it a listener of its own",
        ),
        ("proxy_protocol", listener.proxy_protocol.is_some(), "leave it out"),
        ("half_close_timeout", listener.half_close_timeout.is_some(), "datagrams have no end; leave it out"),
        ("backlog", listener.backlog.is_some(), "datagrams wait in receive_buffer"),
    ];
    match listener.protocol {
        Protocol::Tcp if listener.quic => {
            let fault = Fault::new("QUIC is spoken over UDP").expected("protocol = \"udp\"");
            at.fault("quic", fault);
        }
        Protocol::Tcp => {}
        Protocol::Udp => {
            for (key, _, help) in of_tcp.into_iter().filter(|(_, given, _)| *given) {
                let fault = Fault::new("a listener of UDP does not look at this").expected("protocol = \"tcp\"");
                at.fault(key, fault.help(help));
            }
            if listener.send_proxy == Some(ProxyVersion::V1) {
                let fault = Fault::new("version 1 knows nothing of UDP").expected("\"v2\"");
                at.fault("send_proxy", fault);
            }
        }
    }
}

/// What needs a socket here. Packets that the kernel passes on are looked into by nobody.
fn fits_forwarding(listener: &Listener, at: &mut At<'_>) {
    if listener.forwarding == Forwarding::Sockets {
        return;
    }
    let by_sockets = [
        ("tls", listener.tls.is_some()),
        ("sni", !listener.sni.is_empty()),
        ("proxy_protocol", listener.proxy_protocol.is_some()),
        ("send_proxy", listener.send_proxy.is_some()),
        ("transparent", listener.transparent),
        ("quic", listener.quic),
    ];
    for (key, _) in by_sockets.into_iter().filter(|(_, given)| *given) {
        let fault =
            Fault::new(format!("packets passed on by the kernel ({}) are not looked into", listener.forwarding));
        at.fault(key, fault.expected("forwarding = \"sockets\""));
    }
}

fn sni_route(route: &SniRoute, at: &mut At<'_>) {
    if route.names.is_empty() && !at.left_out().any(|key| key.starts_with("names")) {
        at.fault("names", Fault::new("there is no name").expected("names = [\"www.example.org\"]"));
    }
}

fn global_limits(limits: &GlobalLimits, at: &mut At<'_>) {
    if limits.connection_burst.is_some() && limits.connection_rate == 0 {
        let fault = Fault::new("there is no connection_rate that it would be a burst of");
        at.fault("connection_burst", fault.expected("connection_rate = CONNECTIONS A SECOND"));
    }
    if limits.request_burst.is_some() && limits.request_rate == 0 {
        let fault = Fault::new("there is no request_rate that it would be a burst of");
        at.fault("request_burst", fault.expected("request_rate = REQUESTS A SECOND"));
    }
}

/// How long a connection may stand still where nothing else is said.
const IDLE_TCP: Duration = mins(10);
/// A session of UDP.
const IDLE_UDP: Duration = secs(60);
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

impl Listener {
    /// What it is called.
    pub fn label(&self) -> String {
        let unnamed = || self.address.first().map(ToString::to_string).unwrap_or_default();
        self.name.clone().unwrap_or_else(unnamed)
    }

    /// What it offers to clients whose TLS ends here.
    pub fn offer(&self) -> Option<Offer> {
        self.tls.as_ref().map(TlsSettings::offer_of_any)
    }

    /// How long a connection, or a session, may stand still.
    pub fn idle(&self) -> Duration {
        self.idle_timeout.unwrap_or(match self.protocol {
            Protocol::Tcp => IDLE_TCP,
            Protocol::Udp => IDLE_UDP,
        })
    }

    /// The same of a connection of which one side has ended.
    pub fn half_closed(&self) -> Duration {
        self.half_close_timeout.unwrap_or_else(|| self.idle())
    }

    /// What the kernel keeps for each of its sockets.
    pub fn buffers(&self) -> Buffers {
        Buffers { receive: self.receive_buffer, send: self.send_buffer }
    }

    /// Connections that may wait to be accepted.
    pub fn waiting(&self) -> i32 {
        i32::try_from(self.backlog.unwrap_or(BACKLOG)).unwrap_or(i32::MAX)
    }

    /// Every pool that it names, with the key that names it below the listener.
    pub fn pools(&self) -> impl Iterator<Item = (String, &str)> {
        let usual = self.pool.iter().map(|pool| ("pool".to_owned(), pool.as_str()));
        let by_name = self.sni.iter().enumerate();
        usual.chain(by_name.map(|(index, route)| (format!("sni[{index}].pool"), route.pool.as_str())))
    }
}
