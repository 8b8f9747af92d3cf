//! The `[front]` section's own parts: where the door listens, and what connections may do. Routes are the binary's: it knows every handler.
//!
//! - `acme`: certificates by ACME.
//! - `https`: redirects and strict transport security.
//! - `proxy`: whose word is taken for whose connection it is.
//! - `tls`: certificates of listeners, and how they speak.

use std::net::SocketAddr;
use std::time::Duration;

use outwork_config::{ByteSize, hours, millis, mins, secs, section};

use crate::door::Options;

mod acme;
mod https;
mod proxy;
mod tls;

pub use acme::{AcmeChallenge, AcmeDirectory, AcmeSettings, ExternalAccount};
pub use https::{Hsts, RedirectHttps};
pub use proxy::ProxyProtocol;
pub use tls::{
    Alpn, CertificateFiles, Ciphers, ClientAuthMode, ClientAuthSettings, HostName, Http3Settings, LocalName,
    TlsSettings, TlsVersion, UnknownNames,
};

section! {
    /// An address that the front door listens on.
    #[required_keys]
    pub struct Listener {
        /// The address and port.
        pub address: SocketAddr,
        /// TLS, for HTTPS with HTTP/1.1, HTTP/2 and HTTP/3. Without it, the listener speaks clear text.
        pub tls: Option<TlsSettings>,
        /// In clear text: sends clients to HTTPS with the same host and path, at the port given here. `true` is 443, or the port of the listener with
        /// TLS where that is another one: as clients know it, if its `http3.advertise_port` says so.
        pub redirect_https: RedirectHttps = RedirectHttps::Off,
        /// With TLS: strict transport security.
        pub hsts: Option<Hsts>,
        /// The PROXY protocol, by which proxies that pass on connections say whose they are.
        pub proxy_protocol: Option<ProxyProtocol>,
        /// Connections that may wait to be accepted, for each thread.
        pub backlog: u32 [range 1..=65_535] = 4096,
        /// What the kernel keeps of what has come and was not read yet (`SO_RCVBUF`), of each connection, and for HTTP/3 of each thread; unset, as much as it sees fit,
        /// and 4 MiB for HTTP/3. It gives no more than `net.core.rmem_max`.
        pub receive_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
        /// What it keeps of what was sent and has not left yet (`SO_SNDBUF`), likewise; no more than `net.core.wmem_max`.
        pub send_buffer: Option<ByteSize> [range ByteSize::kib(4)..=ByteSize::gib(1)],
        /// Whether other processes may listen there, too; the kernel shares connections out among them. Otherwise it is an error where one does.
        pub shared: bool = false,
    }
    check https::fitting;
}

section! {
    /// What connections may do, and for how long.
    pub struct Limits {
        /// Connections open at once. Each needs a file descriptor: where the hard limit of these (`LimitNOFILE` of systemd) is too low, there are fewer. One
        /// over HTTP/3 may keep 2 MiB that its client has not acknowledged, and nothing bounds them together: where all clients are slow, memory for
        /// so many times 2 MiB is needed at worst.
        pub max_connections: u32 [range 1..=10_000_000] = 100_000,
        /// Connections that one client, an IPv4 address or an IPv6 /64, may have open on a listener; 0 for no limit. Trusted proxies
        /// have none.
        pub max_connections_per_client: u32 = 0,
        /// From the first byte of a request's head to its end; for the first request, from the connection on.
        pub header_timeout: Duration [range millis(100)..=mins(10)] = secs(10),
        /// How long a connection may wait for its next request.
        pub keep_alive: Duration [range millis(100)..=hours(24)] = secs(75),
        /// How long a handler may take, and how long the body of a request may be silent. What arrives of it earns more time, but never
        /// more than this from then on.
        pub request_timeout: Duration [range millis(100)..=hours(24)] = secs(60),
        /// How long a client may take nothing of its answer. What it takes earns more time, but never more than this from then on.
        pub send_timeout: Duration [range millis(100)..=hours(24)] = secs(30),
        /// Bytes a second that bodies have to move with at least, once the times above are used up. Who is slower than this is cut off,
        /// however evenly it sends or takes; who is not is never, however long it takes.
        pub min_rate: ByteSize [range ByteSize::bytes(1)..=ByteSize::gib(1)] = ByteSize::kib(1),
        /// The largest body of a request.
        pub max_body: ByteSize [range ByteSize::bytes(0)..=ByteSize::gib(1024)] = ByteSize::mib(16),
        /// The longest target of a request.
        pub max_target: ByteSize [range ByteSize::bytes(64)..=ByteSize::kib(64)] = ByteSize::kib(8),
        /// The largest head of a request.
        pub max_head: ByteSize [range ByteSize::bytes(256)..=ByteSize::mib(1)] = ByteSize::kib(32),
        /// Requests that one connection serves before it is closed.
        pub requests_per_connection: u32 [range 1..] = 1_000_000,
        /// Whether a request is given up whose client ends its side of the connection while the answer is made, as clients do that go away.
        /// One that means by that only that it will ask for nothing else loses its answer. Over HTTP/2 and 3 clients say which request they give up.
        pub abort_on_close: bool = true,
        /// How long connections may go on that another process has taken the listeners over from, as after `outwork upgrade`.
        pub drain: Duration [range secs(0)..=hours(24)] = mins(10),
    }
}

impl Limits {
    /// As the door takes them.
    pub fn options(&self) -> Options {
        Options {
            connections: self.max_connections as usize,
            per_client: self.max_connections_per_client,
            header_timeout: self.header_timeout,
            keep_alive: self.keep_alive,
            request_timeout: self.request_timeout,
            send_timeout: self.send_timeout,
            min_rate: self.min_rate.get(),
            max_body: self.max_body.get(),
            max_target: self.max_target.as_usize(),
            max_head: self.max_head.as_usize(),
            requests_per_connection: self.requests_per_connection,
            abort_on_close: self.abort_on_close,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Limits::default().options()
    }
}
