//! What the service's threads are to the system. Alone in its process, so that every worker in it is of one server.

#![allow(clippy::unwrap_used, clippy::panic)]

use outwork_config::Affinity;
use outwork_dhcp::config::Dhcp;
use outwork_dhcp::metrics::DhcpMetrics;
use outwork_dhcp::policy::Policy;
use outwork_dhcp::server::{Options, Server, Service};
use outwork_store::log::LogOptions;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The processors that each worker may run on, by its name.
fn workers() -> BTreeMap<String, Vec<usize>> {
    let mut workers = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let ranges = list.trim().split(',').filter(|range| !range.is_empty()).flat_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().unwrap()..=last.parse().unwrap()
        });
        if name.starts_with("dhcp-worker-") {
            workers.insert(name.trim().to_owned(), ranges.collect());
        }
    }
    workers
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("never: {what}");
}

#[test]
fn with_affinity_each_worker_runs_on_a_processor_of_its_own_or_where_it_is_told_and_without_on_any() {
    let data = tempfile::tempdir().unwrap();
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let dhcp = Dhcp { listen, affinity: Affinity::Each, ..Dhcp::default() };
    let policy = Arc::new(Policy::compile(&dhcp, 1).unwrap());
    let metrics = Arc::new(DhcpMetrics::default());
    let (service, _) = Service::open(LogOptions::new(data.path()), policy, metrics, None).unwrap();
    let processors = outwork_net::thread::processors().unwrap();

    let server = Server::start(&service, &Options { workers: processors.len(), ..Options::from(&dhcp) }).unwrap();
    let alone: Vec<_> = processors.iter().map(|processor| vec![*processor]).collect();
    let pinned = || {
        let mut all: Vec<_> = workers().into_values().collect();
        all.sort_unstable();
        all
    };
    until("each worker has its processor", || pinned() == alone);
    server.stop(Duration::from_secs(5));

    let last = *processors.last().unwrap();
    let named = Affinity::On(last.to_string().parse().unwrap());
    let server = Server::start(&service, &Options { affinity: named, workers: 2, ..Options::from(&dhcp) }).unwrap();
    until("both have the one that is named", || pinned() == [[last], [last]]);
    server.stop(Duration::from_secs(5));

    let server =
        Server::start(&service, &Options { affinity: Affinity::Anywhere, workers: 3, ..Options::from(&dhcp) }).unwrap();
    until("every worker runs on all", || {
        let all = workers();
        all.len() == 3 && all.values().all(|own| *own == processors)
    });
    server.stop(Duration::from_secs(5));
}
