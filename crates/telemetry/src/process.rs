//! Metrics of the process itself, read from `/proc/self`: the names that Prometheus client libraries share.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::family::{Collect, Desc, Family, Kind, Labels, Sample, Unit, Value};
use crate::threads::Stat;

/// Clock ticks a second in `/proc/self/stat`: the kernel's `USER_HZ`, 100 on every architecture we build for.
pub(crate) const USER_HZ: f64 = 100.0;

/// Reads the process's CPU time, memory, file descriptors, threads and age, and what passes its disks and networks.
#[derive(Debug)]
pub struct Process {
    started: Instant,
    started_at: SystemTime,
    build: Labels,
}

/// What `/proc/self` says now. A figure that cannot be read is absent.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system CPU time since the start, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory, in bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// What passed between it and disks since the start, in bytes.
    pub disk: Option<Passed>,
    /// What passed its network's interfaces but loopback, whoever it belonged to, in bytes.
    pub network: Option<Passed>,
}

/// Bytes in both directions.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Read, or received.
    pub read: u64,
    /// Written, or sent.
    pub written: u64,
}

impl Passed {
    /// proc_pid_io(5): what was fetched from and sent to storage.
    fn of_disk(io: &str) -> Option<Self> {
        let line = |key: &str| io.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
        Some(Self { read: line("read_bytes:")?, written: line("write_bytes:")? })
    }

    /// proc_pid_net(5): of each interface, bytes received come first and bytes sent ninth.
    fn of_network(dev: &str) -> Option<Self> {
        let interface = |line: &str| {
            let (name, figures) = line.split_once(':')?;
            let figures: Vec<&str> = figures.split_ascii_whitespace().collect();
            let bytes = |index: usize| figures.get(index)?.parse().ok();
            Some((name.trim() != "lo", Self { read: bytes(0)?, written: bytes(8)? }))
        };
        let mut sum = None;
        for (counts, one) in dev.lines().filter_map(interface) {
            let sum: &mut Self = sum.get_or_insert_default();
            if counts {
                (sum.read, sum.written) = (sum.read + one.read, sum.written + one.written);
            }
        }
        sum
    }
}

/// The CPU time of one thread since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadUsage {
    /// The kernel's number of it.
    pub id: u32,
    /// Its name, as far as the kernel keeps it: 15 bytes.
    pub name: String,
    /// User and system CPU time, in seconds.
    pub cpu_seconds: f64,
}

/// The threads of this process; those that end meanwhile are left out.
pub fn threads() -> Vec<ThreadUsage> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let thread = |task: std::fs::DirEntry| {
        let id = task.file_name().to_str()?.parse().ok()?;
        thread_usage(id, &std::fs::read_to_string(task.path().join("stat")).ok()?)
    };
    tasks.filter_map(thread).collect()
}

fn thread_usage(id: u32, stat: &str) -> Option<ThreadUsage> {
    let Stat { name, user_seconds, system_seconds, .. } = Stat::parse(stat)?;
    Some(ThreadUsage { id, name: name.to_owned(), cpu_seconds: user_seconds + system_seconds })
}

/// The memory that there is for this process. A figure that cannot be read is absent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The limit of its control group (version 2) or of one above it, in bytes.
    pub limit: Option<u64>,
    /// The machine's memory, in bytes.
    pub total: Option<u64>,
    /// What of it is free or can be freed, in bytes.
    pub available: Option<u64>,
}

impl Room {
    /// Reads `/proc/meminfo` and the control groups.
    pub fn read() -> Self {
        let file = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
        let groups = file("/proc/self/cgroup".as_ref());
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let root = std::path::Path::new("/sys/fs/cgroup");
        let own = root.join(own);
        let above = own.ancestors().take_while(|group| group.starts_with(root));
        // `max` is no number: no limit.
        let limit = above.filter_map(|group| file(&group.join("memory.max")).trim().parse().ok()).min();
        Self { limit, ..Self::parse(&file("/proc/meminfo".as_ref())) }
    }

    fn parse(meminfo: &str) -> Self {
        let (total, available) = (kib(meminfo, "MemTotal"), kib(meminfo, "MemAvailable"));
        Self { limit: None, total, available }
    }
}

/// The bytes that a line `key: n kB` tells.
fn kib(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

impl Process {
    /// A reader whose uptime starts now; `version` is the product's.
    pub fn new(version: &'static str) -> Self {
        let build = vec![
            ("version", version.into()),
            ("os", std::env::consts::OS.into()),
            ("arch", std::env::consts::ARCH.into()),
            ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }.into()),
        ];
        Self { started: Instant::now(), started_at: SystemTime::now(), build }
    }

    /// How long the process has run.
    pub fn uptime(&self) -> std::time::Duration {
        self.started.elapsed()
    }
}

impl Usage {
    /// Reads `/proc/self`.
    pub fn read() -> Self {
        let file = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        // The listing itself holds one descriptor.
        let open_fds = std::fs::read_dir("/proc/self/fd").ok().map(|fds| (fds.count() as u64).saturating_sub(1));
        let (disk, network) = (Passed::of_disk(&file("io")), Passed::of_network(&file("net/dev")));
        Self { open_fds, disk, network, ..Self::parse(&file("stat"), &file("status")) }
    }

    fn parse(stat: &str, status: &str) -> Self {
        let line = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Self {
            cpu_seconds: Stat::parse(stat).map(|stat| stat.user_seconds + stat.system_seconds),
            resident_bytes: kib(status, "VmRSS"),
            virtual_bytes: kib(status, "VmSize"),
            threads: line("Threads"),
            ..Self::default()
        }
    }
}

impl Collect for Process {
    fn collect(&self, families: &mut Vec<Family>) {
        use Kind::{Counter, Gauge};
        let usage = Usage::read();
        let number = |n: Option<u64>| n.map(|n| n as f64);
        let mut push = |name, help, kind, unit, labels: &Labels, value: Option<f64>| {
            let sample = |value| Sample { labels: labels.clone(), value: Value::Number(value) };
            let history = labels.is_empty() && name != "process_start_time_seconds";
            let desc = Desc { name, help, kind, unit, history };
            families.push(Family { desc, samples: value.map(sample).into_iter().collect(), overflow: None });
        };
        let none = Labels::new();
        let started = self.started_at.duration_since(UNIX_EPOCH).ok().map(|at| at.as_secs_f64());
        let (cpu, rss, virt) = (usage.cpu_seconds, number(usage.resident_bytes), number(usage.virtual_bytes));
        push("process_cpu_seconds_total", "User and system CPU time.", Counter, Unit::Seconds, &none, cpu);
        push("process_resident_memory_bytes", "Resident memory.", Gauge, Unit::Bytes, &none, rss);
        push("process_virtual_memory_bytes", "Virtual memory.", Gauge, Unit::Bytes, &none, virt);
        push("process_open_fds", "Open file descriptors.", Gauge, Unit::None, &none, number(usage.open_fds));
        push("process_threads", "Threads.", Gauge, Unit::None, &none, number(usage.threads));
        push("process_start_time_seconds", "When the process started (Unix).", Gauge, Unit::Seconds, &none, started);
        let passed = |of: Option<Passed>| of.map(|of| (of.read as f64, of.written as f64)).unzip();
        let ((read, written), (received, sent)) = (passed(usage.disk), passed(usage.network));
        push("process_disk_read_bytes_total", "Fetched from storage.", Counter, Unit::Bytes, &none, read);
        push("process_disk_written_bytes_total", "Sent to storage.", Counter, Unit::Bytes, &none, written);
        push(
            "process_network_receive_bytes_total",
            "Received through the network interfaces, loopback left out.",
            Counter,
            Unit::Bytes,
            &none,
            received,
        );
        push(
            "process_network_transmit_bytes_total",
            "Sent through the network interfaces, loopback left out.",
            Counter,
            Unit::Bytes,
            &none,
            sent,
        );
        let uptime = Some(self.uptime().as_secs_f64());
        push("outwork_uptime_seconds", "How long the process has run.", Gauge, Unit::Seconds, &none, uptime);
        push("outwork_build_info", "What is running; always 1.", Gauge, Unit::None, &self.build, Some(1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_full_of_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        let usage = Usage::parse(stat, "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t 1024 kB\nThreads:\t9\n");
        assert_eq!(usage.cpu_seconds, Some(3.0));
        assert_eq!((usage.resident_bytes, usage.virtual_bytes), (Some(1 << 20), Some(2 << 20)));
        assert_eq!(usage.threads, Some(9));
    }

    #[test]
    fn each_thread_has_its_name_and_its_own_time() {
        let stat = "42 (a) b (c)) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 1";
        let usage = thread_usage(42, stat).unwrap();
        assert_eq!(usage, ThreadUsage { id: 42, name: "a) b (c)".into(), cpu_seconds: 3.0 });
        let named = std::thread::Builder::new().name("look-at-me".into());
        let names = named.spawn(|| threads().into_iter().map(|thread| thread.name).collect::<Vec<_>>()).unwrap();
        let names = names.join().unwrap();
        assert!(names.contains(&"look-at-me".to_owned()), "{names:?}");
    }

    #[test]
    fn the_room_is_the_machines_memory() {
        let room = Room::parse("MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n");
        assert_eq!(room, Room { limit: None, total: Some(2 << 20), available: Some(1 << 20) });
        assert!(Room::read().total > Some(0));
    }

    #[test]
    fn what_passes_disks_and_networks_is_read_and_loopback_is_no_network() {
        let io = "rchar: 9\nwchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        assert_eq!(Passed::of_disk(io), Some(Passed { read: 4096, written: 8192 }));
        let dev = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo:     700 1 0 0 0 0 0 0 700 1 0 0 0 0 0 0\n\
                     eth0:10 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0\n  eth1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(Passed::of_network(dev), Some(Passed { read: 11, written: 22 }));
        assert_eq!((Passed::of_disk(""), Passed::of_network("")), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        assert_eq!(Usage::parse("", "VmRSS: many kB"), Usage::default());
    }

    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let usage = Usage::read();
        assert!(usage.cpu_seconds.is_some() && usage.resident_bytes > Some(0));
        assert!(usage.threads > Some(0) && usage.open_fds > Some(0));
    }

    #[test]
    fn every_figure_is_exposed_under_its_shared_name() {
        let registry = crate::Registry::default();
        registry.register(std::sync::Arc::new(Process::new("1.2.3"))).unwrap();
        let text = registry.prometheus();
        for name in
            ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "outwork_build_info{version=\"1.2.3\""]
        {
            assert!(text.contains(&format!("\n{name}")), "{name} in {text}");
        }
    }
}
