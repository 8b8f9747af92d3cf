//! What is read of backends when somebody asks for it: requests pay nothing for that, and of who has left nothing stays.

use std::sync::Arc;

use outwork_balance::Resource;
use outwork_telemetry::{Collect, Counter, Desc, Family, Kind, Labels, Sample, Unit, Value};

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
pub struct Gauges {
    pools: Arc<Pools>,
    /// Backends that were left out, for there are too many.
    left_out: Counter,
}

impl Gauges {
    /// Those of these pools.
    pub fn of(pools: &Arc<Pools>) -> Arc<Self> {
        Arc::new(Self { pools: Arc::clone(pools), left_out: Counter::default() })
    }
}

impl Collect for Gauges {
    fn collect(&self, families: &mut Vec<Family>) {
        let (mut active, mut checks) = (Vec::new(), Vec::new());
        for pool in self.pools.all().values() {
            let (snapshot, watch) = (pool.snapshot(), pool.watch.lock());
            // As many as have figures of their own elsewhere.
            let room = BACKENDS - active.len();
            let slots = snapshot.balance.slots();
            self.left_out.add(slots.len().saturating_sub(room) as u64);
            for slot in slots.iter().take(room) {
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
        for (desc, samples, overflow) in [(ACTIVE, active, Some(self.left_out.get())), (CHECK, checks, None)] {
            families.push(Family { desc, samples, overflow });
        }
    }
}
