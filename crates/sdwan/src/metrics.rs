//! What workers have counted, read when somebody asks for it: packets pay nothing for that, and of who has left nothing stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use outwork_telemetry::{Collect, Desc, Family, Kind, Labels, Sample, Unit, Value};

use crate::plane::shared::{Counters, Shared};
use crate::plane::tunnel::{Tallies, Tunnel};

/// Tunnels that have figures of their own.
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

const UNNAMED: Desc = desc(
    "outwork_sdwan_names_given_up_total",
    "Flows whose server's name was not waited for to its end, as too many waited, or it was too long or came in disorder: policies know them by ports.",
    Kind::Counter,
    Unit::None,
    false,
);

/// The figures of the service.
pub struct SdwanMetrics(Arc<Shared>);

impl SdwanMetrics {
    /// Those of these workers.
    pub fn of(shared: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(shared)))
    }
}

fn number(counter: &AtomicU64) -> Value {
    Value::Number(counter.load(Relaxed) as f64)
}

/// Why packets came to nothing, and how many.
fn lost(counters: &Counters) -> [(&'static str, &AtomicU64); 10] {
    [
        ("unrouted", &counters.unrouted),
        ("malformed", &counters.malformed),
        ("too-long", &counters.too_long),
        ("no-session", &counters.given_up),
        ("stranger", &counters.strangers),
        ("noise", &counters.noise),
        ("unreadable", &counters.unreadable),
        ("undelivered", &counters.undelivered),
        ("unheard", &counters.unheard),
        ("unsent", &counters.unsent),
    ]
}

impl Collect for SdwanMetrics {
    fn collect(&self, families: &mut Vec<Family>) {
        let view = self.0.view.load();
        let mut tunnels: Vec<&Arc<Tunnel>> = view.tunnels().collect();
        tunnels.sort_by_key(|tunnel| tunnel.id);
        let all = tunnels.len();
        let up = tunnels.iter().filter(|tunnel| tunnel.sealer().is_some()).count();
        for (desc, count) in [(ALL, all), (UP, up)] {
            let sample = Sample { labels: vec![], value: Value::Number(count as f64) };
            families.push(Family { desc, samples: vec![sample], overflow: None });
        }
        // As many as have figures of their own elsewhere.
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
        let lost = lost(&self.0.counters).map(|(reason, counter)| {
            let labels = vec![("reason", reason.into())];
            Sample { labels, value: number(counter) }
        });
        for (desc, samples) in [
            (DATAGRAMS, both(|tallies| &tallies.sent, |tallies| &tallies.received)),
            (PAYLOAD, both(|tallies| &tallies.sent_octets, |tallies| &tallies.received_octets)),
            (REFUSED, one(|tallies| &tallies.refused)),
            (FOREIGN, one(|tallies| &tallies.foreign)),
            (LOST, lost.into()),
            (UNNAMED, vec![Sample { labels: vec![], value: number(&self.0.counters.unnamed) }]),
        ] {
            families.push(Family { desc, samples, overflow: None });
        }
    }
}
