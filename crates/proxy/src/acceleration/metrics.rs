//! What the fast path counts: tiers count by themselves, and what has come since the last look is added here.

use std::collections::BTreeMap;

use outwork_fastpath::Reason;
use outwork_fastpath::layout::Tally;
use outwork_fastpath::port::Pumped;
use outwork_fastpath::registry::plane::ServiceStatistics;
use outwork_telemetry::metrics;

use super::held::Taken;

/// Listeners that have figures of their own, and backends.
const LISTENERS: usize = 256;
const BACKENDS: usize = 4096;

metrics! {
    /// Metrics of what the kernel passes on, or user space.
    #[derive(Debug)]
    pub struct FastpathMetrics, prefix "outwork_proxy_fastpath" {
        /// Packets that came in where a tier is, by what became of them: sent, dropped or left to the kernel, and why.
        packets: Counter by ["verdict", "reason"] max 64 => history,
        /// Bytes of their frames.
        frame: Counter in bytes by ["verdict", "reason"] max 64,
        /// Flows that go on.
        flows: Gauge => history,
        /// Packets of clients to a listener.
        listener_packets: Counter by ["listener"] max LISTENERS => history,
        /// Bytes of their frames.
        listener_frame: Counter in bytes by ["listener"] max LISTENERS,
        /// Flows that began.
        listener_flows: Counter by ["listener"] max LISTENERS,
        /// Flows and packets that a listener had no backend for, or that were beyond a rate.
        listener_refused: Counter by ["listener", "reason"] max 1024,
        /// Packets to a backend.
        backend_packets: Counter by ["listener", "backend"] max BACKENDS,
        /// Bytes of their frames.
        backend_frame: Counter in bytes by ["listener", "backend"] max BACKENDS,
        /// Packets that a backend answered with, where they come this way.
        backend_answers: Counter by ["listener", "backend"] max BACKENDS,
        /// Flows that a backend was chosen for.
        backend_flows: Counter by ["listener", "backend"] max BACKENDS,
        /// Frames of an interface in user space: received, sent, passed back to the kernel, or lost for there was no room.
        port_packets: Counter by ["tier", "interface", "event"] max 1024 => history,
        /// Interfaces that a tier has.
        interfaces: Gauge by ["tier"] max 8,
        /// Interfaces on which another tier was taken than the first.
        fallbacks: Counter,
        /// Time from when a pool has changed until the tables of the tier say so.
        update_time: Histogram in seconds => history,
    }
}

/// What was read the last time: of counters that only grow, what has come since.
#[derive(Debug, Default)]
pub(super) struct Readings {
    reasons: BTreeMap<&'static str, Tally>,
    listeners: BTreeMap<String, [u64; 6]>,
    backends: BTreeMap<(String, String), [u64; 4]>,
    ports: BTreeMap<(String, String), [u64; 4]>,
}

/// What has come since the last look. One that begins again has all of it new.
fn since<const N: usize>(now: [u64; N], before: [u64; N]) -> [u64; N] {
    let began_again = now.iter().zip(before).any(|(now, before)| *now < before);
    if began_again { now } else { std::array::from_fn(|at| now.get(at).zip(before.get(at)).map_or(0, |(a, b)| a - b)) }
}

fn verdict(reason: Reason) -> &'static str {
    match (reason.drops(), reason.passes()) {
        (true, _) => "dropped",
        (_, true) => "passed",
        _ => "sent",
    }
}

impl Readings {
    pub(super) fn reasons(&mut self, metrics: &FastpathMetrics, tallies: Vec<(Reason, Tally)>) {
        for (reason, tally) in tallies {
            let before = self.reasons.insert(reason.word(), tally).unwrap_or_default();
            let [packets, bytes] = since([tally.packets, tally.bytes], [before.packets, before.bytes]);
            if packets > 0 {
                let labels = [verdict(reason), reason.word()];
                metrics.packets.cell(labels).add(packets);
                metrics.frame.cell(labels).add(bytes);
            }
        }
    }

    /// `name` knows what listeners are called. What two addresses of a listener got is added up.
    pub(super) fn services(
        &mut self,
        metrics: &FastpathMetrics,
        services: &[ServiceStatistics],
        name: impl Fn(&outwork_fastpath::Vip) -> Option<String>,
    ) {
        let mut listeners: BTreeMap<String, [u64; 6]> = BTreeMap::new();
        let mut backends: BTreeMap<(String, String), [u64; 4]> = BTreeMap::new();
        for service in services {
            let Some(name) = name(&service.vip) else { continue };
            let tally = &service.tally;
            let read = [
                tally.received.packets,
                tally.received.bytes,
                tally.flows,
                tally.no_backend,
                tally.syn_refused,
                tally.source_refused,
            ];
            let sum = listeners.entry(name.clone()).or_default();
            sum.iter_mut().zip(read).for_each(|(sum, read)| *sum += read);
            for (at, tally) in &service.backends {
                let sum = backends.entry((name.clone(), at.to_string())).or_default();
                let read = [tally.to.packets, tally.to.bytes, tally.from.packets, tally.flows];
                sum.iter_mut().zip(read).for_each(|(sum, read)| *sum += read);
            }
        }
        for (name, read) in &listeners {
            let before = self.listeners.get(name).copied().unwrap_or_default();
            let [packets, bytes, flows, no_backend, syn, source] = since(*read, before);
            metrics.listener_packets.cell([name]).add(packets);
            metrics.listener_frame.cell([name]).add(bytes);
            metrics.listener_flows.cell([name]).add(flows);
            for (reason, count) in [("no_backend", no_backend), ("syn_rate", syn), ("source_rate", source)] {
                if count > 0 {
                    metrics.listener_refused.cell([name, reason]).add(count);
                }
            }
        }
        for ((name, backend), read) in &backends {
            let before = self.backends.get(&(name.clone(), backend.clone())).copied().unwrap_or_default();
            let [packets, bytes, answers, flows] = since(*read, before);
            let labels = [name.as_str(), backend.as_str()];
            metrics.backend_packets.cell(labels).add(packets);
            metrics.backend_frame.cell(labels).add(bytes);
            metrics.backend_answers.cell(labels).add(answers);
            metrics.backend_flows.cell(labels).add(flows);
        }
        // Of who is gone nothing is said any more.
        let is_there = |[name]: &[String; 1]| listeners.contains_key(name);
        metrics.listener_packets.retain(is_there);
        metrics.listener_frame.retain(is_there);
        metrics.listener_flows.retain(is_there);
        metrics.listener_refused.retain(|[name, _]| listeners.contains_key(name));
        let is_there = |labels: &[String; 2]| backends.contains_key(&labels.clone().into());
        metrics.backend_packets.retain(is_there);
        metrics.backend_frame.retain(is_there);
        metrics.backend_answers.retain(is_there);
        metrics.backend_flows.retain(is_there);
        (self.listeners, self.backends) = (listeners, backends);
    }

    pub(super) fn ports<'a>(
        &mut self,
        metrics: &FastpathMetrics,
        interfaces: impl Iterator<Item = (&'a Taken, Pumped)>,
    ) {
        let mut ports = BTreeMap::new();
        for (taken, pumped) in interfaces {
            let labels = (taken.got.to_string(), taken.interface.clone());
            let read = [pumped.received, pumped.sent, pumped.passed, pumped.lost];
            let events = since(read, self.ports.get(&labels).copied().unwrap_or_default());
            for (event, count) in ["received", "sent", "passed", "lost"].into_iter().zip(events) {
                metrics.port_packets.cell([&*labels.0, &*labels.1, event]).add(count);
            }
            ports.insert(labels, read);
        }
        metrics.port_packets.retain(|[tier, interface, _]| ports.contains_key(&(tier.clone(), interface.clone())));
        self.ports = ports;
    }
}

#[cfg(test)]
mod tests {
    use outwork_fastpath::layout::{BackendTally, ServiceTally};
    use outwork_fastpath::{Protocol, Vip};

    use super::*;

    #[test]
    fn what_has_come_since_the_last_look_is_added_and_who_began_again_has_all_of_it_new() {
        let (metrics, mut readings) = (FastpathMetrics::default(), Readings::default());
        let vip = |port| Vip::new(([198, 51, 100, 1], port).into(), Protocol::Tcp);
        let tally = |packets| Tally { packets, bytes: packets * 100 };
        let service = |port, packets, to| ServiceStatistics {
            vip: vip(port),
            tally: ServiceTally { received: tally(packets), flows: 1, no_backend: 2, ..ServiceTally::default() },
            backends: vec![(([10, 0, 0, 1], 80).into(), BackendTally { to: tally(to), ..BackendTally::default() })],
        };
        let name = |at: &Vip| (at.socket().port() < 82).then(|| "web".to_owned());
        readings.services(&metrics, &[service(80, 10, 9), service(81, 5, 5), service(82, 100, 100)], name);
        assert_eq!(metrics.listener_packets.cell(["web"]).get(), 15, "its addresses together, and nobody else's");
        readings.services(&metrics, &[service(80, 20, 1), service(81, 5, 0)], name);
        assert_eq!(metrics.listener_packets.cell(["web"]).get(), 25);
        assert_eq!(metrics.listener_frame.cell(["web"]).get(), 2500);
        assert_eq!(metrics.listener_refused.cell(["web", "no_backend"]).get(), 4);
        assert_eq!(metrics.backend_packets.cell(["web", "10.0.0.1:80"]).get(), 15, "14, and then 1 anew");
        assert_eq!(metrics.listener_packets.cell(["web"]).get(), 25);
        readings.reasons(&metrics, vec![(Reason::SentForward, tally(3)), (Reason::DropDenied, tally(0))]);
        readings.reasons(&metrics, vec![(Reason::SentForward, tally(4)), (Reason::DropDenied, tally(2))]);
        assert_eq!(metrics.packets.cell(["sent", "forward"]).get(), 4);
        assert_eq!(metrics.packets.cell(["dropped", "denied"]).get(), 2);
    }
    #[test]
    fn who_is_gone_is_not_told_of_any_more() {
        let (metrics, mut readings) = (FastpathMetrics::default(), Readings::default());
        let service = |port: u16| ServiceStatistics {
            vip: Vip::new(([198, 51, 100, 1], port).into(), Protocol::Tcp),
            tally: ServiceTally { flows: 7, no_backend: 1, ..ServiceTally::default() },
            backends: vec![(([10, 0, 0, 1], port).into(), BackendTally { flows: 7, ..BackendTally::default() })],
        };
        let name = |at: &Vip| Some(at.socket().port().to_string());
        readings.services(&metrics, &[service(80), service(81)], name);
        readings.services(&metrics, &[service(81)], name);
        let told = |listener: &str, backend: &str| {
            [
                metrics.listener_flows.cell([listener]).get(),
                metrics.listener_refused.cell([listener, "no_backend"]).get(),
                metrics.backend_flows.cell([listener, backend]).get(),
            ]
        };
        assert_eq!((told("80", "10.0.0.1:80"), told("81", "10.0.0.1:81")), ([0, 0, 0], [7, 1, 7]));
    }
}
