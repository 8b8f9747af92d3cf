//! What is measured again and again: each second for whoever watches, every ten seconds for the history, every five minutes
//! the history's upkeep.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use outwork_front::events::Hub;
use outwork_telemetry::history::{History, INTERVAL};
use outwork_telemetry::{Registry, Sampler};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::StoreArchive;

const UPKEEP: Duration = Duration::from_secs(300);

/// The values of one second: the data of a `metrics` event.
#[derive(Serialize)]
struct Values {
    values: BTreeMap<String, f64>,
}

/// What the sampling needs.
#[derive(Clone)]
pub struct Live {
    /// What is measured.
    pub registry: Arc<Registry>,
    /// Where points are kept.
    pub history: Arc<History>,
    /// The history's tables.
    pub archive: Arc<StoreArchive>,
    /// Who watches, on the topic `metrics`.
    pub hub: Arc<Hub>,
    /// How long the history and the audit log are kept: asked at every upkeep, so that a reload takes effect.
    pub retention: Arc<dyn Fn() -> (Duration, Duration) + Send + Sync>,
}

impl Live {
    /// Runs until dropped.
    pub async fn run(self) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sampler = Sampler::default();
        let (mut kept, mut tended) = (slot(SystemTime::now(), INTERVAL), None);
        loop {
            second.tick().await;
            let now = SystemTime::now();
            if self.hub.is_live("metrics") {
                let points = sampler.observe(Instant::now(), &self.registry.gather());
                let values = points.into_iter().map(|point| (point.series, point.value)).collect();
                self.hub.publish("metrics", "sample", || Values { values });
            } else {
                // Whoever comes next gets the rates of a second, not of the time since somebody last looked.
                sampler = Sampler::default();
            }
            if slot(now, INTERVAL) != kept {
                kept = slot(now, INTERVAL);
                self.keep(now).await;
            }
            if tended != Some(slot(now, UPKEEP)) {
                tended = Some(slot(now, UPKEEP));
                self.tend(now);
            }
        }
    }

    async fn keep(&self, now: SystemTime) {
        let (registry, history) = (self.registry.clone(), self.history.clone());
        let at = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let kept = tokio::task::spawn_blocking(move || history.observe(at, Instant::now(), &registry.gather()));
        match kept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the history was not written"),
            Err(error) => tracing::error!(%error, "the history was not sampled"),
        }
    }

    /// Nobody waits for the upkeep: it may take a while after a long downtime.
    fn tend(&self, now: SystemTime) {
        let (archive, retention) = (self.archive.clone(), self.retention.clone());
        tokio::task::spawn_blocking(move || {
            let (history, audit) = retention();
            if let Err(error) = archive.tend(now, history, audit) {
                tracing::warn!(%error, "the history was not rolled up");
            }
        });
    }
}

fn slot(now: SystemTime, length: Duration) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / length.as_secs().max(1)
}
