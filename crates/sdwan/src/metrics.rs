//! What workers have counted, read when somebody asks for it: packets pay nothing for that, and of who has left nothing stays. `qos`: what the kernel has, of shaping.

mod qos;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use outwork_telemetry::{Collect, Desc, Family, Kind, Labels, Sample, Unit, Value, metrics};

use crate::engine::liveness::State;
use crate::plane::account::Account;
use crate::plane::gauge::{Gauge, STATES};
use crate::plane::lines::Figures;
use crate::plane::quoted::WORDS;
use crate::plane::shared::{Counters, REASONS, Shared};
use crate::plane::tunnel::{Tallies, Tunnel};

pub use qos::QosMetrics;

/// Tunnels, and paths, that have figures of their own.
const TUNNELS: usize = 4096;

const fn desc(name: &'static str, help: &'static str, kind: Kind, unit: Unit, history: bool) -> Desc {
    Desc { name, help, kind, unit, history }
}

const ALL: Desc = desc("outwork_sdwan_tunnels", "Tunnels that are configured.", Kind::Gauge, Unit::None, true);
const UP: Desc = desc("outwork_sdwan_tunnels_up", "Tunnels that have keys.", Kind::Gauge, Unit::None, true);
const DATAGRAMS: Desc = desc(
    "outwork_sdwan_tunnel_datagrams_total",
    "Datagrams of a tunnel that were sent, or came and were authentic and new.",
    Kind::Counter,
    Unit::None,
    false,
);
const PAYLOAD: Desc = desc(
    "outwork_sdwan_tunnel_payload_bytes_total",
    "Octets of the packets in the datagrams of a tunnel.",
    Kind::Counter,
    Unit::Bytes,
    false,
);
const REFUSED: Desc = desc(
    "outwork_sdwan_tunnel_refused_total",
    "Datagrams of a tunnel that were forged, altered, replayed or too late.",
    Kind::Counter,
    Unit::None,
    false,
);
const FOREIGN: Desc = desc(
    "outwork_sdwan_tunnel_foreign_total",
    "Packets that came by a tunnel from a source that is not behind it.",
    Kind::Counter,
    Unit::None,
    false,
);
const LOST: Desc = desc(
    "outwork_sdwan_lost_total",
    "Packets from the device, and datagrams, that came to nothing.",
    Kind::Counter,
    Unit::None,
    true,
);
const HANDSHAKES: Desc = desc(
    "outwork_sdwan_handshakes_refused_total",
    "Messages of handshakes that came to nothing, by reason; where that is a cookie, there were so many that their senders had to show where they are.",
    Kind::Counter,
    Unit::None,
    true,
);
const ICMP: Desc = desc(
    "outwork_sdwan_icmp_total",
    "What ICMP says of datagrams of ours, by what becomes of it: heard and looked into; pending, as the same tunnel has not been looked into yet; of a stranger, who knows no session; of what went elsewhere; of other things than length.",
    Kind::Counter,
    Unit::None,
    true,
);

const PATHS: Desc =
    desc("outwork_sdwan_paths", "Paths to other sites, by what they are taken for.", Kind::Gauge, Unit::None, true);
const PATH_UP: Desc = desc(
    "outwork_sdwan_path_up",
    "Whether a path to another site carries traffic: 1 where it is up or suspect, else 0.",
    Kind::Gauge,
    Unit::None,
    true,
);
const PATH_LATENCY: Desc = desc(
    "outwork_sdwan_path_latency_seconds",
    "Half of the round trip of a path to another site; none while it is down.",
    Kind::Gauge,
    Unit::Seconds,
    true,
);
const PATH_JITTER: Desc = desc(
    "outwork_sdwan_path_jitter_seconds",
    "Jitter of what comes by a path to another site, as in RFC 3550; none while it is down.",
    Kind::Gauge,
    Unit::Seconds,
    true,
);
const PATH_LOSS: Desc = desc(
    "outwork_sdwan_path_loss_ratio",
    "The part that a path to another site loses, of the worse direction, from 0 to 1; none while it is down.",
    Kind::Gauge,
    Unit::None,
    true,
);
const UNTOLD: Desc = desc(
    "outwork_sdwan_too_long_untold_total",
    "Packets that were too long for their path whose sender was not told: nobody is told of errors or of broadcasts, more than a hundred were told in that second, or the device took nothing.",
    Kind::Counter,
    Unit::None,
    false,
);
const CROWDED: Desc = desc(
    "outwork_sdwan_streams_crowded_total",
    "Packets of streams that there was no room to know, as a site began too many or all sites together have: those that come twice are handed on twice, and others are not mended.",
    Kind::Counter,
    Unit::None,
    false,
);
const UNNAMED: Desc = desc(
    "outwork_sdwan_names_given_up_total",
    "Flows whose server's name was not waited for to its end, as too many waited, or it was too long or came in disorder: policies know them by ports.",
    Kind::Counter,
    Unit::None,
    false,
);

const DOUBLED: Desc =
    desc("outwork_sdwan_doubled_packets_total", "Packets that went by two paths.", Kind::Counter, Unit::None, false);
const REPEATED: Desc = desc(
    "outwork_sdwan_repeated_packets_total",
    "Packets that came by a second path when they had come by the first already, and ended there.",
    Kind::Counter,
    Unit::None,
    false,
);
const MENDED: Desc = desc(
    "outwork_sdwan_mended_packets_total",
    "Packets that were lost on their way, and mended by others of their group.",
    Kind::Counter,
    Unit::None,
    true,
);
const POLICY_PACKETS: Desc = desc(
    "outwork_sdwan_policy_packets_total",
    "Packets of flows to other sites that were sent under a policy; `none` are those under none.",
    Kind::Counter,
    Unit::None,
    false,
);
const POLICY_OCTETS: Desc = desc(
    "outwork_sdwan_policy_bytes_total",
    "Octets of packets of flows to other sites that were sent under a policy; `none` are those under none.",
    Kind::Counter,
    Unit::Bytes,
    false,
);
const PASSED: Desc = desc(
    "outwork_sdwan_relayed_total",
    "Datagrams that this site, as a hub, has passed on between others.",
    Kind::Counter,
    Unit::None,
    true,
);
const PASSED_OCTETS: Desc = desc(
    "outwork_sdwan_relayed_bytes_total",
    "Octets of the datagrams that this site, as a hub, has passed on between others.",
    Kind::Counter,
    Unit::Bytes,
    false,
);

metrics! {
    /// What is measured of paths to other sites.
    #[derive(Debug)]
    pub struct PathMetrics, prefix "outwork_sdwan" {
        /// Time that it took to find the path of a packet, of one in 64.
        path_selection: Histogram in seconds => history,
        /// Time from a hello to the answer to it, without what the other end took.
        health_check: Histogram in seconds => history,
        /// Time from the last sign of life of a path to its being taken for dead, of those that fell silent.
        detection: Histogram in seconds => history,
        /// Time from finding that traffic has to leave a path until all packets take another.
        failover: Histogram in seconds => history,
        /// Times that a path was suspect and nothing came of it.
        doubts: Counter,
        /// Times that no path of a kind of traffic to a site worked any more, and it went on trying the last one that did.
        last_path_kept: Counter => history,
    }
}

const SOCKETS: Desc = desc(
    "outwork_sdwan_uplink_sockets",
    "Sockets of an uplink; none as long as its interface or its addresses are not there.",
    Kind::Gauge,
    Unit::None,
    false,
);
const DROPPED: Desc = desc(
    "outwork_sdwan_uplink_dropped_total",
    "Datagrams that the kernel dropped as they came, those of this process having no room for them; a run counts as one.",
    Kind::Counter,
    Unit::None,
    true,
);
const TRUNCATED: Desc = desc(
    "outwork_sdwan_uplink_truncated_total",
    "Datagrams that came by an uplink and were longer than any of a tunnel; a run counts as one.",
    Kind::Counter,
    Unit::None,
    false,
);
const RUNS_REFUSED: Desc = desc(
    "outwork_sdwan_uplink_runs_refused_total",
    "Sockets of an uplink whose runs of datagrams the kernel or a device refused: they send one by one since, which takes more of the processor.",
    Kind::Counter,
    Unit::None,
    false,
);
const BUFFER: Desc = desc(
    "outwork_sdwan_uplink_receive_buffer_bytes",
    "Octets that may wait to be received at each socket of an uplink, as the kernel has granted.",
    Kind::Gauge,
    Unit::Bytes,
    false,
);

/// The figures of sockets, by uplink.
fn sockets(figures: &[Figures], families: &mut Vec<Family>) {
    let of = |desc: Desc, value: fn(&Figures) -> u64| {
        let sample = |figures: &Figures| {
            let labels = vec![("uplink", figures.name.to_string().into())];
            Sample { labels, value: Value::Number(value(figures) as f64) }
        };
        Family { desc, samples: figures.iter().map(sample).collect(), overflow: None }
    };
    families.extend([
        of(SOCKETS, |figures| figures.sockets as u64),
        of(DROPPED, |figures| figures.counts.dropped),
        of(TRUNCATED, |figures| figures.counts.truncated),
        of(RUNS_REFUSED, |figures| figures.counts.runs_refused),
        of(BUFFER, |figures| figures.buffer as u64),
    ]);
}

/// The figures of the service.
pub struct SdwanMetrics {
    shared: Arc<Shared>,
    /// Whether it was said that there are more paths or tunnels than have figures of their own.
    is_said: AtomicBool,
}

impl SdwanMetrics {
    /// Those of these workers.
    pub fn of(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self { shared: Arc::clone(shared), is_said: AtomicBool::new(false) })
    }

    fn warn_of(&self, beyond: u64) {
        if beyond > 0 && !self.is_said.swap(true, Relaxed) {
            tracing::warn!(
                beyond,
                most = TUNNELS,
                "some paths or tunnels have no figures of their own in /metrics: outwork_metrics_label_overflow_total counts them"
            );
        }
    }
}

fn number(counter: &AtomicU64) -> Value {
    Value::Number(counter.load(Relaxed) as f64)
}

/// Why packets came to nothing, and how many.
fn lost(counters: &Counters) -> [(&'static str, &AtomicU64); 19] {
    [
        ("unrouted", &counters.unrouted),
        ("malformed", &counters.malformed),
        ("too-long", &counters.too_long),
        ("narrow", &counters.narrow),
        ("no-session", &counters.given_up),
        ("stranger", &counters.strangers),
        ("noise", &counters.noise),
        ("not-of-a-site", &counters.not_of_a_site),
        ("unreadable", &counters.unreadable),
        ("other-version", &counters.other_version),
        ("undelivered", &counters.undelivered),
        ("unheard", &counters.unheard),
        ("unsent", &counters.unsent),
        ("not-passed", &counters.not_passed),
        ("elsewhere", &counters.elsewhere),
        ("replayed", &counters.replayed),
        ("late", &counters.late),
        ("forged", &counters.forged),
        ("expired", &counters.expired),
    ]
}

/// How many of so many have no figures of their own: as many have as have elsewhere.
fn beyond(count: usize) -> u64 {
    count.saturating_sub(TUNNELS) as u64
}

/// The figures of paths to sites.
fn paths(gauges: &[Arc<Gauge>], families: &mut Vec<Family>) {
    let count = |state: State| gauges.iter().filter(|gauge| gauge.state() == state).count() as f64;
    let by_state = STATES.map(|state| {
        let labels = vec![("state", state.word().into())];
        Sample { labels, value: Value::Number(count(state)) }
    });
    families.push(Family { desc: PATHS, samples: by_state.into(), overflow: None });
    let overflow = Some(beyond(gauges.len()));
    let gauges = gauges.get(..TUNNELS).unwrap_or(gauges);
    let of = |desc: Desc, value: fn(&Gauge) -> Option<f64>| {
        let sample = |gauge: &Arc<Gauge>| {
            let text = |text: &str| text.to_owned().into();
            let mut labels: Labels =
                vec![("site", text(&gauge.site)), ("uplink", text(&gauge.own)), ("remote", text(&gauge.remote))];
            labels.extend((!gauge.via.is_empty()).then(|| ("via", text(&gauge.via))));
            Some(Sample { labels, value: Value::Number(value(gauge)?) })
        };
        Family { desc, samples: gauges.iter().filter_map(sample).collect(), overflow }
    };
    families.extend([
        of(PATH_UP, |gauge| Some(f64::from(u8::from(matches!(gauge.state(), State::Up | State::Suspect))))),
        of(PATH_LATENCY, |gauge| is_heard(gauge).then(|| gauge.figures().latency.as_secs_f64())),
        of(PATH_JITTER, |gauge| is_heard(gauge).then(|| gauge.figures().jitter.as_secs_f64())),
        of(PATH_LOSS, |gauge| is_heard(gauge).then(|| gauge.figures().loss)),
    ]);
}

/// Whether what was measured last is of now.
fn is_heard(gauge: &Gauge) -> bool {
    matches!(gauge.state(), State::Trial | State::Up | State::Suspect)
}

impl Collect for SdwanMetrics {
    fn collect(&self, families: &mut Vec<Family>) {
        paths(&self.shared.gauges.load(), families);
        self.shared.measures.collect(families);
        sockets(&self.shared.lines.figures(), families);
        let view = self.shared.view.load();
        let mut tunnels: Vec<&Arc<Tunnel>> = view.tunnels().collect();
        tunnels.sort_by_key(|tunnel| tunnel.id);
        let all = tunnels.len();
        let up = tunnels.iter().filter(|tunnel| tunnel.sealer().is_some()).count();
        for (desc, count) in [(ALL, all), (UP, up)] {
            let sample = Sample { labels: vec![], value: Value::Number(count as f64) };
            families.push(Family { desc, samples: vec![sample], overflow: None });
        }
        self.warn_of(beyond(all).max(beyond(self.shared.gauges.load().len())));
        tunnels.truncate(TUNNELS);
        let labels = |tunnel: &Tunnel| -> Labels { vec![("peer", tunnel.name.to_string().into())] };
        let both = |sent: fn(&Tallies) -> &AtomicU64, received: fn(&Tallies) -> &AtomicU64| {
            let of = |tunnel: &&Arc<Tunnel>| {
                [("sent", sent(&tunnel.tallies)), ("received", received(&tunnel.tallies))].map(|(way, counter)| {
                    let mut labels = labels(tunnel);
                    labels.push(("direction", way.into()));
                    Sample { labels, value: number(counter) }
                })
            };
            tunnels.iter().flat_map(of).collect::<Vec<_>>()
        };
        let one = |counter: fn(&Tallies) -> &AtomicU64| {
            let of = |tunnel: &&Arc<Tunnel>| Sample { labels: labels(tunnel), value: number(counter(&tunnel.tallies)) };
            tunnels.iter().map(of).collect::<Vec<_>>()
        };
        let accounts = self.shared.accounts.load();
        let by_policy = |counter: fn(&Account) -> &AtomicU64| {
            let of = |(name, account): (&str, &Account)| {
                let labels = vec![("policy", name.to_owned().into())];
                Sample { labels, value: number(counter(account)) }
            };
            accounts.iter().map(of).collect::<Vec<_>>()
        };
        let lost = lost(&self.shared.counters).map(|(reason, counter)| {
            let labels = vec![("reason", reason.into())];
            Sample { labels, value: number(counter) }
        });
        let handshakes = REASONS.iter().zip(&self.shared.counters.handshakes).map(|(reason, counter)| {
            let labels = vec![("reason", (*reason).into())];
            Sample { labels, value: number(counter) }
        });
        let icmp = WORDS.iter().zip(&self.shared.counters.icmp).map(|(reason, counter)| {
            let labels = vec![("reason", (*reason).into())];
            Sample { labels, value: number(counter) }
        });
        for (desc, samples) in [
            (DATAGRAMS, both(|tallies| &tallies.sent, |tallies| &tallies.received)),
            (PAYLOAD, both(|tallies| &tallies.sent_octets, |tallies| &tallies.received_octets)),
            (REFUSED, one(|tallies| &tallies.refused)),
            (FOREIGN, one(|tallies| &tallies.foreign)),
        ] {
            families.push(Family { desc, samples, overflow: Some(beyond(all)) });
        }
        for (desc, samples) in [
            (LOST, lost.into()),
            (POLICY_PACKETS, by_policy(|account| &account.packets)),
            (POLICY_OCTETS, by_policy(|account| &account.octets)),
            (DOUBLED, vec![Sample { labels: vec![], value: number(&self.shared.counters.doubled) }]),
            (REPEATED, vec![Sample { labels: vec![], value: number(&self.shared.counters.repeated) }]),
            (MENDED, vec![Sample { labels: vec![], value: number(&self.shared.counters.mended) }]),
            (PASSED, vec![Sample { labels: vec![], value: number(&self.shared.counters.passed) }]),
            (PASSED_OCTETS, vec![Sample { labels: vec![], value: number(&self.shared.counters.passed_octets) }]),
            (HANDSHAKES, handshakes.collect()),
            (ICMP, icmp.collect()),
            (UNTOLD, vec![Sample { labels: vec![], value: number(&self.shared.counters.untold) }]),
            (CROWDED, vec![Sample { labels: vec![], value: number(&self.shared.counters.crowded) }]),
            (UNNAMED, vec![Sample { labels: vec![], value: number(&self.shared.counters.unnamed) }]),
        ] {
            families.push(Family { desc, samples, overflow: None });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::quality::Figures;

    fn gauge(site: &str, state: State) -> Arc<Gauge> {
        let gauge = Gauge::new(site, "fibre", "dsl");
        gauge.set_state(state);
        let (latency, jitter) = (Duration::from_millis(20), Duration::from_millis(3));
        gauge.set_figures(&Figures { latency, jitter, loss: 0.5 });
        Arc::new(gauge)
    }

    /// The values of a metric, each with the value of its first label.
    fn values(families: &[Family], name: &str) -> Vec<(String, f64)> {
        let family = families.iter().find(|family| family.desc.name == name).unwrap();
        let value = |sample: &Sample| match sample.value {
            Value::Number(value) => (sample.labels.first().unwrap().1.to_string(), value),
            Value::Histogram(_) => panic!("{name} is no number"),
        };
        family.samples.iter().map(value).collect()
    }

    #[test]
    fn a_path_that_is_down_is_counted_and_has_no_latency() {
        let mut families = vec![];
        paths(&[gauge("north", State::Up), gauge("south", State::Down), gauge("east", State::Suspect)], &mut families);
        let of = |name| values(&families, name);
        let north = |value| ("north".to_owned(), value);
        let east = |value| ("east".to_owned(), value);
        assert_eq!(of("outwork_sdwan_path_up"), [north(1.0), ("south".to_owned(), 0.0), east(1.0)]);
        assert_eq!(of("outwork_sdwan_path_latency_seconds"), [north(0.02), east(0.02)]);
        assert_eq!(of("outwork_sdwan_path_jitter_seconds"), [north(0.003), east(0.003)]);
        assert_eq!(of("outwork_sdwan_path_loss_ratio"), [north(0.5), east(0.5)]);
        let states: Vec<_> = of("outwork_sdwan_paths").into_iter().filter(|(_, count)| *count > 0.0).collect();
        assert_eq!(states, [("down".to_owned(), 1.0), ("up".to_owned(), 1.0), ("suspect".to_owned(), 1.0)]);
    }

    #[test]
    fn paths_that_there_is_no_room_for_are_counted_and_none_is_missing_in_the_sum() {
        let mut families = vec![];
        let gauges: Vec<_> = (0..TUNNELS + 3).map(|number| gauge(&format!("site{number}"), State::Up)).collect();
        paths(&gauges, &mut families);
        let family = families.iter().find(|family| family.desc == PATH_UP).unwrap();
        assert_eq!((family.samples.len(), family.overflow), (TUNNELS, Some(3)));
        let up: f64 = values(&families, "outwork_sdwan_paths").iter().map(|(_, count)| count).sum();
        assert_eq!(up, (TUNNELS + 3) as f64);
    }

    #[test]
    fn a_path_is_named_by_its_site_and_both_uplinks() {
        let mut families = vec![];
        paths(&[gauge("north", State::Up)], &mut families);
        let family = families.iter().find(|family| family.desc == PATH_UP).unwrap();
        let labels: Vec<_> = family.samples[0].labels.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        assert_eq!(labels, [("site", "north"), ("uplink", "fibre"), ("remote", "dsl")]);
    }
}
