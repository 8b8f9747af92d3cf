//! What came out of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

use super::connection::{Answer, Client, Failure};
use super::{Options, Protocol};

/// What came out of a load. Counts are of the measured part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was asked for.
    pub url: String,
    /// What was spoken: 1.1, 2 or 3.
    pub http: &'static str,
    /// Connections.
    pub connections: usize,
    /// Requests under way at a time on each.
    pub streams: usize,
    /// Threads that made requests.
    pub threads: usize,
    /// The rate asked for in requests a second; none for as fast as they are answered.
    pub rate: Option<f64>,
    /// Seconds measured.
    pub seconds: f64,
    /// Answers, whatever their status.
    pub answered: u64,
    /// Answers a second, of those that came in the measured time.
    pub requests_per_second: f64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes of content a second.
    pub bytes_per_second: f64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub failures: BTreeMap<&'static str, u64>,
    /// Requests that were due at the rate asked for, and were not sent: those before them were still under way at the end.
    pub missed: u64,
    /// Connections opened, those before the measured part included.
    pub connected: u64,
    /// Requests made again on another connection, because the server said that it had not begun with them; those before the measured part included.
    pub retried: u64,
    /// From a request, or from when it was due, to the end of its answer.
    pub latency: Latency,
    /// Seconds of processor time that this process used, the warm-up included.
    pub cpu_seconds: f64,
}

impl Report {
    /// Whether every request had an answer that is no error.
    pub fn is_clean(&self) -> bool {
        self.answered > 0 && self.failures.is_empty() && self.statuses.keys().all(|status| *status < 400)
    }

    /// What to look at where nothing was answered.
    pub fn hint(&self) -> Option<String> {
        if self.answered > 0 {
            return None;
        }
        let most = self.failures.iter().max_by_key(|(_, count)| **count).map(|(reason, _)| *reason);
        let quic = self.http == "3";
        Some(match most {
            Some("connect") if quic => {
                format!("nobody speaks HTTP/3 at {}: does UDP get through, and is HTTP/3 turned on?", self.url)
            }
            Some("connect") => format!("nobody accepts connections at {}", self.url),
            Some("tls") => "the handshake fails: --insecure takes any certificate, --ca names who to trust".to_owned(),
            Some("rejected") => {
                "the server begins with no request: does it end, or take fewer --streams at a time?".to_owned()
            }
            Some("timeout") => "no answer came in time: --timeout waits longer".to_owned(),
            // Over UDP a port where nobody listens and a server that ends connections look alike.
            _ if quic => format!(
                "nothing answers at {}, or it ends connections: does a server listen there, and does it speak HTTP/3?",
                self.url
            ),
            _ => format!(
                "the server at {} ends connections without an answer: does it speak HTTP/{}?",
                self.url, self.http
            ),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = self.rate.map_or_else(|| "as fast as answered".to_owned(), |rate| format!("{rate} requests/s"));
        let streams = if self.streams > 1 { format!(" of {} requests", self.streams) } else { String::new() };
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        writeln!(
            f,
            "HTTP/{} {}: {} {connections}{streams}, {pace}, {:.2} s\n",
            self.http, self.url, self.connections, self.seconds
        )?;
        writeln!(
            f,
            "  requests/s {:>12.0}    MB/s       {:>12.1}",
            self.requests_per_second,
            self.bytes_per_second / 1e6
        )?;
        let failed: u64 = self.failures.values().sum();
        writeln!(f, "  answered   {:>12}    failed     {failed:>12}\n", self.answered)?;
        write!(f, "  {:<12}", "latency, ms")?;
        Latency::COLUMNS.iter().try_for_each(|name| write!(f, " {name:>10}"))?;
        write!(f, "\n  {:<12}", "")?;
        self.latency.row().iter().try_for_each(|micros| write!(f, " {:>10.3}", micros / 1000.0))?;
        writeln!(f, "\n")?;
        for (status, count) in &self.statuses {
            writeln!(f, "  status {status:<24} {count:>9}")?;
        }
        for (reason, count) in &self.failures {
            writeln!(f, "  failed: {reason:<23} {count:>9}")?;
        }
        if self.missed > 0 {
            writeln!(f, "  due, and not sent               {:>9}", self.missed)?;
        }
        writeln!(f, "  connections opened              {:>9}", self.connected)?;
        if self.retried > 0 {
            writeln!(f, "  retried on another              {:>9}", self.retried)?;
        }
        writeln!(f, "  generator's processor time, s   {:>9.2}", self.cpu_seconds)
    }
}

/// Counts and latencies in the making.
#[derive(Debug)]
pub(super) struct Tally {
    statuses: BTreeMap<u16, u64>,
    failures: BTreeMap<&'static str, u64>,
    /// Of all threads.
    latency: Arc<Histogram>,
    bytes: u64,
    bytes_in_time: u64,
    in_time: u64,
    /// Requests that were due and not sent.
    pub(super) missed: u64,
}

impl Tally {
    pub(super) fn new(latency: &Arc<Histogram>) -> Self {
        let (statuses, failures, latency) = (BTreeMap::new(), BTreeMap::new(), Arc::clone(latency));
        Self { statuses, failures, latency, bytes: 0, bytes_in_time: 0, in_time: 0, missed: 0 }
    }

    /// A request has come to its end after this time; `in_time` is whether that is within the measured part.
    pub(super) fn record(&mut self, answer: &Result<Answer, Failure>, took: Duration, in_time: bool) {
        match answer {
            Ok(Answer { status, bytes }) => {
                *self.statuses.entry(StatusCode::as_u16(status)).or_default() += 1;
                self.latency.record(took);
                self.bytes += bytes;
                if in_time {
                    self.in_time += 1;
                    self.bytes_in_time += bytes;
                }
            }
            Err(failure) => *self.failures.entry(failure.name()).or_default() += 1,
        }
    }

    /// Adds what another thread has counted.
    pub(super) fn add(&mut self, other: Self) {
        other.statuses.into_iter().for_each(|(status, count)| *self.statuses.entry(status).or_default() += count);
        other.failures.into_iter().for_each(|(reason, count)| *self.failures.entry(reason).or_default() += count);
        self.bytes += other.bytes;
        self.bytes_in_time += other.bytes_in_time;
        self.in_time += other.in_time;
        self.missed += other.missed;
    }

    pub(super) fn finish(self, options: &Options, client: &Client, cpu_seconds: f64) -> Report {
        let seconds = options.duration.as_secs_f64();
        Report {
            url: options.url.to_string(),
            http: match options.protocol {
                Protocol::Http1 => "1.1",
                Protocol::Http2 => "2",
                Protocol::Http3 => "3",
            },
            connections: options.connections,
            streams: if options.protocol == Protocol::Http1 { 1 } else { options.streams },
            threads: options.threads,
            rate: options.rate,
            seconds,
            answered: self.statuses.values().sum(),
            requests_per_second: self.in_time as f64 / seconds,
            bytes: self.bytes,
            bytes_per_second: self.bytes_in_time as f64 / seconds,
            statuses: self.statuses,
            failures: self.failures,
            missed: self.missed,
            connected: client.connected.load(Ordering::Relaxed),
            retried: client.retried.load(Ordering::Relaxed),
            latency: Latency::of(&self.latency),
            cpu_seconds,
        }
    }
}
