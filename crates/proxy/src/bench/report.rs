//! What came of a load.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use outwork_telemetry::Latency;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Options, Tally};

/// What came of a load, as far as it has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// What was measured.
    pub kind: String,
    /// Who was loaded.
    pub target: String,
    /// By what: `tcp` or `udp`.
    pub protocol: String,
    /// Octets that were sent at a time.
    pub packet_size: usize,
    /// Connections, or sockets of UDP, at once.
    pub connections: usize,
    /// Threads.
    pub workers: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Connections that were opened; of UDP, sockets.
    pub opened: u64,
    /// Those of a second.
    pub opened_per_second: f64,
    /// Packets that had an answer.
    pub exchanges: u64,
    /// Those of a second.
    pub exchanges_per_second: f64,
    /// Packets that were sent.
    pub packets: u64,
    /// Those of a second.
    pub packets_per_second: f64,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Bytes that came back.
    pub received_bytes: u64,
    /// Bits that were sent in a second.
    pub sent_bits_per_second: f64,
    /// Bits that came back in a second.
    pub received_bits_per_second: f64,
    /// Datagrams that had no answer in time.
    pub lost: u64,
    /// Connections that were not opened, or broke.
    pub failures: u64,
    /// What went wrong first.
    pub first_failure: Option<String>,
    /// How long answers took, and with `connections` of TCP how long those took to open.
    #[schema(value_type = Object)]
    pub latency: Latency,
}

impl Report {
    pub(super) fn of(options: &Options, tally: &Tally, elapsed: Duration) -> Report {
        let seconds = elapsed.min(options.duration).as_secs_f64().max(f64::EPSILON);
        let count = |count: &AtomicU64| count.load(Relaxed);
        let rate = |count: &AtomicU64| count.load(Relaxed) as f64 / seconds;
        Report {
            kind: options.kind.word().to_owned(),
            target: options.target.to_string(),
            protocol: options.protocol.word().to_owned(),
            packet_size: options.packet_size,
            connections: options.connections,
            workers: options.workers,
            seconds,
            opened: count(&tally.connections),
            opened_per_second: rate(&tally.connections),
            exchanges: count(&tally.exchanges),
            exchanges_per_second: rate(&tally.exchanges),
            packets: count(&tally.packets),
            packets_per_second: rate(&tally.packets),
            sent_bytes: count(&tally.sent),
            received_bytes: count(&tally.received),
            sent_bits_per_second: rate(&tally.sent) * 8.0,
            received_bits_per_second: rate(&tally.received) * 8.0,
            lost: count(&tally.lost),
            failures: count(&tally.failures),
            first_failure: tally.first.lock().clone(),
            latency: Latency::of(&tally.times),
        }
    }

    /// Whether something was done, and nothing went wrong.
    pub fn is_clean(&self) -> bool {
        self.failures == 0 && self.hint().is_none()
    }

    /// What to look at where nothing came of it.
    pub fn hint(&self) -> Option<String> {
        let is_still = match self.kind.as_str() {
            "latency" | "mixed" => self.exchanges == 0,
            "connections" if self.protocol == "udp" => self.exchanges == 0,
            "connections" => self.opened == 0,
            _ => self.sent_bytes == 0,
        };
        // Who lets nobody in at all is another matter.
        let is_reset = self.first_failure.as_ref().is_some_and(|why| why.contains("reset"));
        if !is_still && is_reset && ["connections", "mixed"].contains(&self.kind.as_str()) {
            return Some(format!(
                "{} resets connections that it has let in: a listener does so beyond max_connections_per_client, max_connections or connection_rate, and one that still closes counts",
                self.target
            ));
        }
        let refused = || format!("nobody accepts connections at {}", self.target);
        is_still.then(|| match &self.first_failure {
            Some(why) if self.opened == 0 => format!("{} ({why})", refused()),
            Some(why) => format!("{} sends nothing back, which this load asks for ({why})", self.target),
            None => format!("{} sends nothing back, which this load asks for", self.target),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mega = |bits: f64| bits / 1e6;
        writeln!(f, "{} of {} over {}, {:.1} s", self.kind, self.target, self.protocol, self.seconds)?;
        writeln!(f, "  opened     {:>12}  {:>12.0} /s", self.opened, self.opened_per_second)?;
        writeln!(f, "  exchanges  {:>12}  {:>12.0} /s", self.exchanges, self.exchanges_per_second)?;
        writeln!(f, "  packets    {:>12}  {:>12.0} /s", self.packets, self.packets_per_second)?;
        writeln!(f, "  sent       {:>12}  {:>12.1} Mbit/s", self.sent_bytes, mega(self.sent_bits_per_second))?;
        writeln!(f, "  received   {:>12}  {:>12.1} Mbit/s", self.received_bytes, mega(self.received_bits_per_second))?;
        writeln!(f, "  lost       {:>12}", self.lost)?;
        writeln!(f, "  failures   {:>12}", self.failures)?;
        if let Some(why) = &self.first_failure {
            writeln!(f, "  the first: {why}")?;
        }
        if self.latency.count > 0 {
            write!(f, "  ms        ")?;
            for (name, micros) in Latency::COLUMNS.iter().zip(self.latency.row()) {
                write!(f, " {name} {:.3}", micros / 1000.0)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
