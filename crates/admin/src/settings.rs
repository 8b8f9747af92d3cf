//! The `[admin]` section.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, days, secs, section};
use outwork_front::{Limits, TlsFiles};

section! {
    /// The admin API and the dashboard.
    pub struct AdminSettings {
        /// Where to listen. Other addresses than loopback need a token to exist before the start.
        pub listen: Vec<SocketAddr> [restart] = vec![SocketAddr::from(([127, 0, 0, 1], 8067))],
        /// A certificate, for HTTPS on every listener. A reload reads its files again.
        pub tls: Option<AdminTls> [restart],
        /// Whether `/metrics` needs no token; unset, it needs none where every listener is loopback.
        pub metrics_public: Option<bool> [restart],
        /// Connections open at once.
        pub max_connections: u32 [restart, range 1..=65_535] = 512,
        /// From the connection to the end of the first request's head, and for each later head.
        pub header_timeout: Duration [restart, range secs(1)..=secs(300)] = secs(10),
        /// The largest request body.
        pub max_body: ByteSize [restart, range ByteSize::kib(1)..=ByteSize::mib(256)] = ByteSize::mib(4),
        /// How long requests under way may take to end when Outwork stops.
        pub drain: Duration [restart, range secs(0)..=secs(300)] = secs(5),
        /// How long rows of the audit log are kept.
        pub audit_retention: Duration [range days(1)..] = days(365),
    }
    check somewhere;
}

section! {
    /// A certificate and its key.
    #[required_keys]
    pub struct AdminTls {
        /// The certificate chain, PEM, leaf first. A relative path begins at the configuration file's folder.
        pub certificate: PathBuf,
        /// The private key, PEM. Its path is read likewise.
        pub key: PathBuf,
    }
}

fn somewhere(settings: &AdminSettings, at: &mut At<'_>) {
    if settings.listen.is_empty() {
        let fault = Fault::new("nowhere to listen").expected("at least one address").help("use \"127.0.0.1:8067\"");
        at.fault("listen", fault);
    }
}

impl AdminSettings {
    /// The addresses that other machines can reach.
    pub fn exposed(&self) -> Vec<SocketAddr> {
        self.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback()).copied().collect()
    }

    /// Whether `/metrics` needs no token.
    pub fn metrics_are_public(&self) -> bool {
        self.metrics_public.unwrap_or_else(|| self.exposed().is_empty())
    }

    /// The limits of the listeners.
    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections as usize,
            header_timeout: self.header_timeout,
            body_bytes: self.max_body.as_usize(),
            drain: self.drain,
        }
    }

    /// The certificate's files.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let tls = self.tls.clone()?;
        Some(TlsFiles { certificate: tls.certificate, key: tls.key })
    }
}
