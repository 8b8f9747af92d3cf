//! The `[admin]` section.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{Affinity, At, ByteSize, Fault, days, hours, mins, secs, section};
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
        /// Whether there is `/metrics`, for Prometheus. What is measured is shown in the dashboard either way.
        pub metrics: bool [restart] = true,
        /// Threads that serve it, and the sites of a controller; unset, 2, and for a controller as many as `controller.size` has: 2, 4, 8 or 16.
        pub workers: Option<u16> [restart, range 1..=256],
        /// Processors that its threads stay on, such as "0-3", and what they begin, such as the load of benchmarks; `true`: each on one of its own.
        pub affinity: Affinity [restart] = Affinity::Anywhere,
        /// Connections open at once.
        pub max_connections: u32 [restart, range 1..=65_535] = 512,
        /// From the connection to the end of the first request's head, and for each later head, once `keep_alive` is over.
        pub header_timeout: Duration [restart, range secs(1)..=secs(300)] = secs(10),
        /// How long a connection may wait for its next request.
        pub keep_alive: Duration [restart, range secs(1)..=hours(1)] = secs(75),
        /// How long a request may take until its answer begins. A profile of the processor takes as long as it is asked for, five minutes at most.
        pub request_timeout: Duration [restart, range secs(1)..=hours(1)] = mins(10),
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
    if let Some(warning) = settings.unprotected() {
        at.warn("listen", warning);
    }
}

impl AdminSettings {
    /// The addresses that other machines can reach.
    pub fn exposed(&self) -> Vec<SocketAddr> {
        self.listen.iter().filter(|address| !address.ip().to_canonical().is_loopback()).copied().collect()
    }

    /// What to say of listeners that other machines can reach without TLS.
    pub fn unprotected(&self) -> Option<Fault> {
        let exposed: Vec<_> = self.exposed().iter().map(SocketAddr::to_string).collect();
        if exposed.is_empty() || self.tls.is_some() {
            return None;
        }
        let found =
            format!("other machines can reach {} without TLS: tokens cross the network readable", exposed.join(", "));
        let help = "name a certificate and its key in [admin.tls], or listen on loopback alone";
        Some(Fault::new(found).help(help))
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
            keep_alive: self.keep_alive,
            request_timeout: self.request_timeout,
            body_bytes: self.max_body.as_usize(),
            drain: self.drain,
        }
    }

    /// How many threads serve it; where nobody has said, `usual`.
    pub fn threads(&self, usual: u16) -> usize {
        usize::from(self.workers.unwrap_or(usual))
    }

    /// The certificate's files.
    pub fn tls_files(&self) -> Option<TlsFiles> {
        let tls = self.tls.clone()?;
        Some(TlsFiles { certificate: tls.certificate, key: tls.key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_listeners_allow_is_what_the_file_says() {
        let settings = AdminSettings {
            max_connections: 7,
            header_timeout: secs(3),
            keep_alive: secs(4),
            request_timeout: secs(5),
            max_body: ByteSize::kib(6),
            drain: secs(8),
            ..AdminSettings::default()
        };
        let limits = Limits {
            connections: 7,
            header_timeout: secs(3),
            keep_alive: secs(4),
            request_timeout: secs(5),
            body_bytes: 6 << 10,
            drain: secs(8),
        };
        assert_eq!(settings.limits(), limits);
    }

    #[test]
    fn there_are_as_many_threads_as_is_said_or_else_as_are_usual() {
        let of = |workers| AdminSettings { workers, ..AdminSettings::default() }.threads(2);
        assert_eq!((of(None), of(Some(1)), of(Some(16))), (2, 1, 16));
    }

    #[test]
    fn who_listens_beyond_loopback_without_tls_is_warned() {
        let of = |listen: &str, tls: Option<AdminTls>| {
            let listen = vec![listen.parse().unwrap()];
            AdminSettings { listen, tls, ..AdminSettings::default() }.unprotected()
        };
        let tls = AdminTls { certificate: "c.pem".into(), key: "k.pem".into() };
        assert_eq!(of("127.0.0.1:8067", None), None);
        assert_eq!(of("0.0.0.0:8067", Some(tls)), None);
        let warning = of("[::]:8067", None).unwrap();
        assert!(warning.found().contains("[::]:8067") && warning.advice().unwrap().contains("[admin.tls]"));
    }
}
