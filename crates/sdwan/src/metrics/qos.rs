//! What the kernel has counted of uplinks that are shaped.

use std::sync::{Arc, Weak};

use outwork_telemetry::{Collect, Desc, Family, Kind, Labels, Sample, Unit, Value};

use super::desc;
use crate::qos::report::{QosClassReport, UplinkReport};
use crate::service::Service;

const BYTES: Desc = desc(
    "outwork_sdwan_qos_bytes_total",
    "Octets of a class that have left by an uplink that is shaped.",
    Kind::Counter,
    Unit::Bytes,
    true,
);
const PACKETS: Desc = desc(
    "outwork_sdwan_qos_packets_total",
    "Packets of a class that have left by an uplink that is shaped; a run that leaves as one counts as its datagrams.",
    Kind::Counter,
    Unit::None,
    false,
);
const DROPS: Desc = desc(
    "outwork_sdwan_qos_drops_total",
    "Packets of a class that found its queue full, or waited too long there, at an uplink that is shaped.",
    Kind::Counter,
    Unit::None,
    true,
);
const BACKLOG: Desc = desc(
    "outwork_sdwan_qos_backlog_bytes",
    "Octets of a class that wait at an uplink that is shaped.",
    Kind::Gauge,
    Unit::Bytes,
    true,
);
const WAITING: Desc = desc(
    "outwork_sdwan_qos_backlog_packets",
    "Packets of a class that wait at an uplink that is shaped.",
    Kind::Gauge,
    Unit::None,
    false,
);
const SHAPED: Desc = desc(
    "outwork_sdwan_qos_shaped",
    "Whether an uplink that is to be shaped is: 1 where it is, else 0.",
    Kind::Gauge,
    Unit::None,
    false,
);

/// The figures of shaping.
pub struct QosMetrics(Weak<Service>);

impl QosMetrics {
    /// Those of this service.
    pub fn of(service: &Arc<Service>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(service)))
    }
}

/// The families of what there is.
fn families(uplinks: &[UplinkReport]) -> Vec<Family> {
    let of = |desc: Desc, value: fn(&QosClassReport) -> u64| {
        let sample = |(uplink, class): (&UplinkReport, &QosClassReport)| {
            let labels: Labels = vec![("uplink", uplink.uplink.clone().into()), ("class", class.class.clone().into())];
            Sample { labels, value: Value::Number(value(class) as f64) }
        };
        let all = uplinks.iter().flat_map(|uplink| uplink.classes.iter().map(move |class| (uplink, class)));
        Family { desc, samples: all.map(sample).collect(), overflow: None }
    };
    let shaped = uplinks.iter().map(|uplink| {
        let labels: Labels = vec![("uplink", uplink.uplink.clone().into())];
        Sample { labels, value: Value::Number(f64::from(u8::from(uplink.state == "shaped"))) }
    });
    vec![
        Family { desc: SHAPED, samples: shaped.collect(), overflow: None },
        of(BYTES, |class| class.bytes),
        of(PACKETS, |class| class.packets),
        of(DROPS, |class| class.drops),
        of(BACKLOG, |class| class.backlog_bytes),
        of(WAITING, |class| class.backlog_packets),
    ]
}

impl Collect for QosMetrics {
    fn collect(&self, all: &mut Vec<Family>) {
        // Whoever looks at the API is told why there is nothing.
        let report = self.0.upgrade().and_then(|service| service.qos().report().ok());
        all.extend(families(&report.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_each_uplink_has_its_figures_and_one_that_is_not_shaped_says_so() {
        let class = |name: &str, bytes| QosClassReport {
            class: name.to_owned(),
            rate: 1,
            ceiling: 2,
            priority: 3,
            dscp: vec![],
            mark: String::new(),
            bytes,
            packets: 5,
            drops: 6,
            backlog_bytes: 7,
            backlog_packets: 8,
        };
        let uplink = |name: &str, state, classes| UplinkReport {
            uplink: name.to_owned(),
            interface: "eth0".to_owned(),
            rate: 9,
            state,
            queue: None,
            classes,
        };
        let told = families(&[
            uplink("fibre", "shaped", vec![class("control", 10), class("bulk", 20)]),
            uplink("lte", "missing", vec![]),
        ]);
        let values = |wanted: Desc| {
            let family = told.iter().find(|family| family.desc == wanted).unwrap();
            let value = |sample: &Sample| match sample.value {
                Value::Number(value) => (sample.labels.last().unwrap().1.to_string(), value),
                Value::Histogram(_) => panic!("no number"),
            };
            family.samples.iter().map(value).collect::<Vec<_>>()
        };
        let both = |control, bulk| vec![("control".to_owned(), control), ("bulk".to_owned(), bulk)];
        assert_eq!((values(BYTES), values(DROPS)), (both(10.0, 20.0), both(6.0, 6.0)));
        assert_eq!(values(SHAPED), [("fibre".to_owned(), 1.0), ("lte".to_owned(), 0.0)]);
    }
}
