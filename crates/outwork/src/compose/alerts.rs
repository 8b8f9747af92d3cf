//! Reads the services every few seconds, and tells of the alerts that start and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use outwork_admin::routes::AlertRow;
use outwork_dhcp::engine::Silence;
use outwork_dhcp::metrics::{DhcpMetrics, Dropped, SocketKind};
use outwork_dhcp::server::Service;
use outwork_front::api::Timestamp;
use outwork_front::events::Hub;
use outwork_proxy::pool::Pools;
use outwork_sdwan::controller::Controller;
use outwork_sdwan::follower::Follower;
use outwork_sdwan::service::Service as Tunnels;
use outwork_store::database::{Database, Side};
use outwork_store::log::Health;
use outwork_telemetry::alerts::{Alerts, Transition};
use outwork_telemetry::process::{Room, Usage, threads};
use outwork_telemetry::{Cells, Value};
use tokio::time::MissedTickBehavior;

use super::reload::Current;
use super::store::CommitMetrics;
use crate::alerts::{
    ControlsReading, DatabaseReading, DhcpReading, FollowsReading, INTERVAL, PoolReading, Reading, SdwanReading, Watch,
};
use crate::settings::Settings;

/// What is read.
pub(super) struct Sources {
    pub(super) current: Arc<Current>,
    pub(super) database: Arc<Database>,
    pub(super) dhcp: Option<(Arc<Service>, Arc<CommitMetrics>)>,
    pub(super) pools: Arc<Pools>,
    pub(super) tunnels: Option<Arc<Tunnels>>,
    pub(super) follower: Option<Arc<Follower>>,
    pub(super) controller: Option<Arc<Controller>>,
}

/// Who is told.
pub(super) struct Told {
    pub(super) alerts: Arc<Alerts>,
    pub(super) hub: Arc<Hub>,
}

/// Looks until dropped.
pub(super) async fn run(sources: Arc<Sources>, told: Told) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::default();
    loop {
        interval.tick().await;
        let (reading, settings) = (Arc::clone(&sources), sources.current.settings());
        let limits = settings.alerts.clone();
        // Pools and files of /proc: not for a thread that answers requests.
        let reading = match tokio::task::spawn_blocking(move || reading.read(&settings)).await {
            Ok(reading) => reading,
            Err(error) => {
                tracing::error!(%error, "the services were not read for alerts");
                continue;
            }
        };
        let (now, findings) = (reading.at, watch.look(reading, &limits));
        told.tell(told.alerts.observe(now, SystemTime::now(), limits.hold, findings));
    }
}

impl Told {
    fn tell(&self, transitions: Vec<Transition>) {
        for transition in transitions {
            match transition {
                Transition::Started(alert) => {
                    tracing::warn!(alert = alert.id, what = alert.what, advice = alert.advice, "an alert starts");
                    self.hub.publish("system", "alert_started", || AlertRow::from(alert));
                }
                Transition::Ended(alert, lasted) => {
                    tracing::info!(alert = alert.id, ?lasted, "an alert ends");
                    self.hub.publish("system", "alert_ended", || AlertRow::from(alert));
                }
            }
        }
    }
}

impl Sources {
    fn read(&self, settings: &Settings) -> Reading {
        let usage = Usage::read();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let metrics = self.database.metrics();
        let sides = [Side::Write, Side::Read];
        let waiting = sides.map(|side| metrics.waiting.of(side).get()).into_iter().max().unwrap_or(0);
        Reading {
            at: Instant::now(),
            cpu_seconds: usage.cpu_seconds.unwrap_or(0.0),
            processors: processors as f64,
            threads: threads(),
            resident: usage.resident_bytes.unwrap_or(0),
            room: Room::read(),
            database: DatabaseReading {
                waiting: u64::try_from(waiting).unwrap_or(0),
                queue: settings.store.sqlite.queue.into(),
                refused: sides.map(|side| metrics.refused.of(side).get()).into_iter().sum(),
            },
            dhcp: self.dhcp.as_ref().map(|(service, commits)| read_dhcp(service, commits)),
            dead: self.pools.dead(),
            sdwan: SdwanReading {
                cut_off: self.tunnels.as_ref().map(|tunnels| tunnels.cut_off()).unwrap_or_default(),
                follows: self.follower.as_ref().map(|follower| read_follower(follower)),
                controls: self.controller.as_ref().map(|controller| read_controller(controller)),
            },
            wall: SystemTime::now(),
        }
    }
}

fn read_follower(follower: &Follower) -> FollowsReading {
    let told = follower.told();
    FollowsReading {
        is_connected: told.connected.is_some(),
        version: told.version,
        error: told.error,
        certificate: told.certificate_late.zip(told.certificate_expires),
    }
}

fn read_controller(controller: &Controller) -> ControlsReading {
    let standing = controller.standing();
    let away = |(site, since): &(String, SystemTime)| format!("{site}, since {}", Timestamp::from(*since));
    let behind = |(site, why): &(String, String)| format!("{site}: {why}");
    ControlsReading {
        away: (standing.away, standing.first_away.iter().map(away).collect()),
        behind: (standing.behind, standing.first_behind.iter().map(behind).collect()),
        is_held_back: controller.is_held_back(),
    }
}

fn read_dhcp(service: &Service, commits: &CommitMetrics) -> DhcpReading {
    let (metrics, status) = (service.metrics(), service.status());
    let drops = [Dropped::QueueFull, Dropped::StoreFull, Dropped::StoreSlow];
    DhcpReading {
        kernel_drops: SocketKind::ALL.iter().map(|kind| metrics.kernel_drops.of(*kind).get()).sum(),
        parked: u64::try_from(metrics.parked.get()).unwrap_or(0),
        parked_room: u64::try_from(metrics.parked_limit.get()).unwrap_or(0),
        disk_drops: drops.map(|reason| metrics.dropped.of(reason).get()).into_iter().sum(),
        commits: commits.commit.snapshot(),
        failure: match status.store {
            Health::Failed(failure) => Some(failure.to_string()),
            Health::Ok => status.refused,
        },
        pools: pools(metrics),
        warn_at: service.read(|engine| f64::from(engine.policy().rules.warn_at)),
        rate_limited: metrics.silent.of(Silence::RateLimited).get(),
        malformed: total(&metrics.malformed),
        unserved: service.unserved().iter().map(|place| (place.to_string(), place.advice())).collect(),
        closed: status
            .interfaces
            .iter()
            .filter(|interface| !interface.open)
            .map(|interface| format!("{}: {}", interface.name, interface.problem.as_deref().unwrap_or("not open yet")))
            .collect(),
    }
}

fn number(value: &Value) -> u64 {
    match value {
        Value::Number(number) => *number as u64,
        Value::Histogram(snapshot) => snapshot.count(),
    }
}

fn total(cells: &impl Cells) -> u64 {
    cells.read().0.iter().map(|sample| number(&sample.value)).sum()
}

/// The pools as their gauges tell, a second old at most: no lock that a packet waits for.
fn pools(metrics: &DhcpMetrics) -> Vec<PoolReading> {
    let mut held: BTreeMap<_, u64> = BTreeMap::new();
    for gauge in [&metrics.pool_active, &metrics.pool_offered, &metrics.pool_declined] {
        for sample in gauge.read().0 {
            *held.entry(sample.labels).or_default() += number(&sample.value);
        }
    }
    let pool = |sample: outwork_telemetry::Sample| {
        let label = |name| sample.labels.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.as_ref());
        PoolReading {
            name: format!("{} of subnet {}", label("pool"), label("subnet")),
            held: held.get(&sample.labels).copied().unwrap_or(0),
            total: number(&sample.value),
        }
    };
    metrics.pool_addresses.read().0.into_iter().map(pool).collect()
}
