//! What came out of a run.

use std::fmt;
use std::time::Duration;

use outwork_telemetry::{Histogram, Latency};
use serde::Serialize;

/// What came out of a run. Counts are of the measured part; getting addresses before it is not counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The server.
    pub server: String,
    /// The addresses that were relayed from: what a server chooses the subnet by.
    pub relays: Vec<String>,
    /// Whether messages came and went in runs.
    pub offload: bool,
    /// The rate asked for in exchanges a second; none for as fast as the server answers.
    pub rate: Option<f64>,
    /// Exchanges under way at a time, when no rate was asked for.
    pub window: Option<u32>,
    /// Clients.
    pub clients: u32,
    /// Clients that had an address when the measured part began.
    pub prepared: u32,
    /// Seconds measured: as long as exchanges began, or until the last answer when clients ran out before.
    pub seconds: f64,
    /// Exchanges begun.
    pub offered: u64,
    /// Exchanges that came to a good end.
    pub answered: u64,
    /// Exchanges with a message that had no answer within the timeout.
    pub lost: u64,
    /// Exchanges that were due and did not begin, for want of a client that was free to.
    pub unsent: u64,
    /// Messages sent again (only an avalanche does).
    pub retransmissions: u64,
    /// RELEASE messages, which have no answer.
    pub releases: u64,
    /// Exchanges answered a second, within the measured time.
    pub exchanges_per_second: f64,
    /// Messages answered a second, within the measured time.
    pub requests_per_second: f64,
    /// From DISCOVER to OFFER.
    pub discover_to_offer: Latency,
    /// From REQUEST or INFORM to ACK.
    pub request_to_ack: Latency,
    /// Every answer: both of those.
    pub answer: Latency,
    /// The whole exchange.
    pub exchange: Latency,
    /// Requests refused by a DHCPNAK.
    pub naks: u64,
    /// ACKs that gave a client the address of another client's valid lease. Anything but zero is a fault of the server.
    pub duplicate_addresses: u64,
    /// Replies that are no well-formed OFFER, ACK or NAK, or lack what they must have (RFC 2131 table 3).
    pub malformed: u64,
    /// Replies whose hardware address, address or relay agent information is not what the exchange asked for.
    pub mismatched: u64,
    /// Replies to no exchange under way: late, or twice.
    pub orphans: u64,
    /// Clients with an address at the end.
    pub bound: u32,
    /// Seconds until every client had an address, for an avalanche that got there.
    pub all_bound_after: Option<f64>,
    /// Messages that this host would not send.
    pub unsendable: u64,
    /// Replies that this host received and dropped before the generator read them: the generator's fault, not the server's.
    pub dropped_here: u64,
    /// Seconds of processor time that the generator used in the measured part.
    pub cpu_seconds: f64,
}

impl Report {
    /// What to look at where nothing was answered; `None` where something was, or nothing was asked.
    pub fn hint(&self) -> Option<String> {
        if self.answered > 0 || self.offered == 0 {
            return None;
        }
        let server = &self.server;
        if self.naks > 0 {
            return Some(format!(
                "{server} refused every request (DHCPNAK): is another server's range, or another subnet, in its way?"
            ));
        }
        if self.discover_to_offer.count > 0 {
            return Some(format!(
                "{server} makes offers and acknowledges nothing: its log says why, such as a disk that it cannot write"
            ));
        }
        if self.unsendable > 0 {
            return Some(format!("this host would not send to {server}: look at its routes and its firewall"));
        }
        Some(format!(
            "nothing came back. Does a DHCP server listen at {server}? Has it a subnet for the relay agent's address ({}), with a \
             pool that has addresses left? Do the firewalls let UDP through, both ways? A relay agent's port other than 67 \
             needs a server that knows RFC 8357",
            self.relays.join(", ")
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match (self.rate, self.window) {
            (Some(1.0), _) => "1 exchange/s".to_owned(),
            (Some(rate), _) => format!("{rate} exchanges/s"),
            (None, Some(window)) => format!("as fast as answered, {window} at a time"),
            (None, None) => "all at once".to_owned(),
        };
        writeln!(
            f,
            "{} against {}: {} {}, {pace}{}, {:.2} s",
            self.scenario,
            self.server,
            self.clients,
            if self.clients == 1 { "client" } else { "clients" },
            if self.offload { ", in runs" } else { "" },
            self.seconds
        )?;
        writeln!(f)?;
        let share = |part: u64| if self.offered == 0 { 0.0 } else { 100.0 * part as f64 / self.offered as f64 };
        writeln!(
            f,
            "  exchanges/s {:>12.0}    requests/s {:>12.0}",
            self.exchanges_per_second, self.requests_per_second
        )?;
        writeln!(
            f,
            "  offered     {:>12}    answered   {:>12}  ({:.2} %)",
            self.offered,
            self.answered,
            share(self.answered)
        )?;
        writeln!(f, "  lost        {:>12}    refused    {:>12}", self.lost, self.naks)?;
        writeln!(f)?;
        write!(f, "  {:<18}", "latency, ms")?;
        Latency::COLUMNS.iter().try_for_each(|name| write!(f, " {name:>10}"))?;
        writeln!(f)?;
        for (name, latency) in [
            ("DISCOVER to OFFER", self.discover_to_offer),
            ("REQUEST to ACK", self.request_to_ack),
            ("whole exchange", self.exchange),
        ] {
            if latency.count > 0 {
                write!(f, "  {name:<18}")?;
                latency.row().iter().try_for_each(|micros| write!(f, " {:>10.3}", micros / 1000.0))?;
                writeln!(f)?;
            }
        }
        writeln!(f)?;
        if let Some(seconds) = self.all_bound_after {
            writeln!(f, "  every client had an address after {seconds:.3} s")?;
        }
        for (name, count) in [
            ("duplicate addresses", self.duplicate_addresses),
            ("malformed replies", self.malformed),
            ("replies that do not fit", self.mismatched),
            ("late or doubled replies", self.orphans),
            ("messages sent again", self.retransmissions),
            ("releases", self.releases),
            ("exchanges due, not begun", self.unsent),
            ("messages not sent by this host", self.unsendable),
            ("replies dropped by this host", self.dropped_here),
        ] {
            // A zero is worth a line only where it is the point of the run.
            if count > 0 || name == "duplicate addresses" {
                writeln!(f, "  {name:<31} {count:>9}")?;
            }
        }
        writeln!(f, "  generator's processor time, s   {:>9.2}", self.cpu_seconds)
    }
}

/// Counts and latencies in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) report: Report,
    pub(super) offer: Histogram,
    pub(super) ack: Histogram,
    pub(super) answer: Histogram,
    pub(super) exchange: Histogram,
    /// Exchanges answered while exchanges began.
    pub(super) exchanges_in_time: u64,
    /// Messages answered while exchanges began.
    pub(super) requests_in_time: u64,
}

impl Tally {
    /// The report of a measured part that took `elapsed`.
    pub(super) fn finish(self, elapsed: Duration) -> Report {
        let seconds = elapsed.as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Report {
            seconds,
            exchanges_per_second: rate(self.exchanges_in_time),
            requests_per_second: rate(self.requests_in_time),
            discover_to_offer: Latency::of(&self.offer),
            request_to_ack: Latency::of(&self.ack),
            answer: Latency::of(&self.answer),
            exchange: Latency::of(&self.exchange),
            ..self.report
        }
    }
}
