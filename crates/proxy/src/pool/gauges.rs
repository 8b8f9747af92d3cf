//! What is read of backends when somebody asks for it: requests pay nothing for that, and of who has left nothing stays.

use std::sync::Arc;

use outwork_balance::Resource;
use outwork_telemetry::{Collect, Desc, Family, Kind, Labels, Sample, Unit, Value};

use super::Pools;
use crate::metrics::BACKENDS;

const ACTIVE: Desc = Desc {
    name: "outwork_proxy_backend_active",
    help: "Requests under way at a backend; of a pool of layer 4, connections or sessions.",
    kind: Kind::Gauge,
    unit: Unit::None,
    history: false,
};
const CHECK: Desc = Desc {
    name: "outwork_proxy_backend_check_duration_seconds",
    help: "How long the last health check of a backend took.",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    history: false,
};

/// Figures of the backends of all pools.
#[derive(Debug)]
pub struct Gauges(Arc<Pools>);

impl Gauges {
    /// Those of these pools.
    pub fn of(pools: &Arc<Pools>) -> Arc<Self> {
        Arc::new(Self(Arc::clone(pools)))
    }
}

impl Collect for Gauges {
    fn collect(&self, families: &mut Vec<Family>) {
        let (mut active, mut checks) = (Vec::new(), Vec::new());
        for pool in self.0.all().values() {
            let (snapshot, watch) = (pool.snapshot(), pool.watch.lock());
            for slot in snapshot.balance.slots() {
                let member = slot.member();
                let labels: Labels =
                    vec![("pool", pool.name.clone().into()), ("backend", member.key().to_owned().into())];
                if let Some(check) = watch.of(member.id()).and_then(|sight| sight.check()) {
                    checks.push(Sample { labels: labels.clone(), value: Value::Number(check.took.as_secs_f64()) });
                }
                let under_way = member.gauge(Resource::Requests).now();
                active.push(Sample { labels, value: Value::Number(under_way.into()) });
            }
        }
        for (desc, mut samples) in [(ACTIVE, active), (CHECK, checks)] {
            // As many as have figures of their own elsewhere.
            samples.truncate(BACKENDS);
            families.push(Family { desc, samples, overflow: None });
        }
    }
}
