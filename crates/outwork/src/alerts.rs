//! What slows the services down, or soon will: rules over what is read of them every few seconds, for each the bottleneck
//! that it shows and the settings that widen it. Pure: readings and their moments come in, findings go out.

mod sdwan;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use outwork_config::{millis, mins, secs, section};
use outwork_telemetry::Snapshot;
use outwork_telemetry::alerts::{Finding, Severity};
use outwork_telemetry::process::{Room, ThreadUsage};

pub(crate) use sdwan::{ControlsReading, FollowsReading, SdwanReading};

section! {
    /// Alerts: when the server says that something slows it down.
    pub(crate) struct AlertSettings {
        /// How long a condition has to be gone before its alert ends.
        pub(crate) hold: Duration [range secs(0)..=mins(60)] = secs(30),
        /// Time to write and sync a batch of changes that 99 of 100 batches of a minute may take.
        pub(crate) commit_time: Duration [range millis(1)..=secs(60)] = millis(100),
        /// Part of the room for answers that wait for the disk that may be taken.
        pub(crate) waiting: f64 [range 0.01..=1.0] = 0.8,
        /// Packets a second, over a minute, of clients beyond their rate.
        pub(crate) rate_limited: f64 [range 0.1..=1e9] = 10.0,
        /// Malformed packets a second, over a minute.
        pub(crate) malformed: f64 [range 0.1..=1e9] = 10.0,
        /// Part of the processors' time that may be in use.
        pub(crate) cpu: f64 [range 0.1..=1.0] = 0.9,
        /// Part of the memory that may be in use.
        pub(crate) memory: f64 [range 0.1..=1.0] = 0.9,
    }
}

/// How often the services are read.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// What the rules look back on.
const MINUTE: Duration = Duration::from_secs(60);
/// How long a load has to last before it is an alert: a burst is none.
const LOAD: Duration = Duration::from_secs(15);
/// Batches of a minute below which their times say nothing.
const FEW_COMMITS: u64 = 20;
/// A commit time is far above the usual from this many times it on.
const UNUSUAL: f64 = 10.0;
/// Below this many seconds no commit time is far above the usual.
const UNUSUAL_FROM: f64 = 0.01;
/// Part that one look has in what is usual: it follows in about ten minutes.
const LEARNING: f64 = INTERVAL.as_secs() as f64 / 600.0;
/// Looks before anything is usual: two minutes.
const LEARNED: u32 = 24;
/// Use of a pool from which on its alert goes on, once it had no address left.
const NEARLY_EXHAUSTED: f64 = 0.99;
/// Pools that an alert names; the others are counted.
const NAMED: usize = 5;

/// Every condition that there is an alert for.
pub(crate) const IDS: [&str; 22] = [
    "kernel_drops",
    "disk_behind",
    "commit_slow",
    "log_failed",
    "pools_high",
    "pools_exhausted",
    "clients_unserved",
    "interface_closed",
    "rate_limited",
    "malformed",
    "cpu_saturated",
    "thread_saturated",
    "memory_low",
    "database_behind",
    "backends_gone",
    "sites_cut_off",
    "controller_away",
    "site_behind",
    "site_certificate",
    "sites_away",
    "sites_behind",
    "network_held_back",
];

/// What is read at one moment. Counters are since the start.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// CPU time of the process, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Processors that it may use.
    pub(crate) processors: f64,
    pub(crate) threads: Vec<ThreadUsage>,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    pub(crate) room: Room,
    pub(crate) database: DatabaseReading,
    pub(crate) dhcp: Option<DhcpReading>,
    /// Pools of the proxy none of whose backends is usable, each with what comes of that.
    pub(crate) dead: Vec<String>,
    pub(crate) sdwan: SdwanReading,
    /// By the clock that certificates go by.
    pub(crate) wall: SystemTime,
}

/// What is read of SQLite.
#[derive(Debug, Clone, Default)]
pub(crate) struct DatabaseReading {
    /// Jobs that wait, of the side where more do.
    pub(crate) waiting: u64,
    /// How many may.
    pub(crate) queue: u64,
    /// Jobs refused.
    pub(crate) refused: u64,
}

/// What is read of the DHCP service.
#[derive(Debug, Clone)]
pub(crate) struct DhcpReading {
    pub(crate) kernel_drops: u64,
    /// Answers that wait for the disk.
    pub(crate) parked: u64,
    /// How many may, of all workers.
    pub(crate) parked_room: u64,
    /// Requests dropped because the disk did not follow.
    pub(crate) disk_drops: u64,
    /// Times to write and sync.
    pub(crate) commits: Snapshot,
    /// Why the log does not take changes.
    pub(crate) failure: Option<String>,
    pub(crate) pools: Vec<PoolReading>,
    /// Use of a pool that is warned of, as a part of it; 0 is never.
    pub(crate) warn_at: f64,
    pub(crate) rate_limited: u64,
    pub(crate) malformed: u64,
    /// Places whose clients got no answer in the last minutes: what and where, and what to do.
    pub(crate) unserved: Vec<(String, String)>,
    /// Interfaces of the configuration whose clients are not heard, each with why.
    pub(crate) closed: Vec<String>,
}

/// One pool.
#[derive(Debug, Clone)]
pub(crate) struct PoolReading {
    /// Its range and subnet, for people.
    pub(crate) name: String,
    /// Addresses that somebody holds.
    pub(crate) held: u64,
    /// Addresses that it can hand out.
    pub(crate) total: u64,
}

impl PoolReading {
    fn part(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.held as f64 / self.total as f64 }
    }
}

/// The readings of the last minute, and what is usual.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    readings: VecDeque<Reading>,
    /// The usual 99th percentile of commit times, in seconds, and how many looks it was learned in.
    usual: (f64, u32),
    /// Pools that the alert of the exhausted ones is about, and since when they have addresses again.
    exhausted: BTreeMap<String, Option<Instant>>,
}

/// Where a value stands against its threshold: it is reached, or it is so near that an alert goes on.
fn holds(value: f64, threshold: f64, near: f64) -> Option<bool> {
    (value >= near).then_some(value >= threshold)
}

fn finding(id: &'static str, severity: Severity, holds: bool, patience: Duration, what: String) -> Finding {
    Finding { id, severity, holds, patience, what, advice: String::new(), settings: &[] }
}

fn advise(finding: Finding, advice: impl Into<String>, settings: &'static [&'static str]) -> Finding {
    Finding { advice: advice.into(), settings, ..finding }
}

impl Watch {
    /// Takes a reading, and says what holds.
    pub(crate) fn look(&mut self, reading: Reading, settings: &AlertSettings) -> Vec<Finding> {
        let old = |first: &Reading| reading.at.saturating_duration_since(first.at) > MINUTE;
        while self.readings.front().is_some_and(old) {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else { return Vec::new() };
        let before = self.readings.iter().rev().nth(1);
        let now = last.at;
        let mut findings: Vec<_> =
            [memory(last, settings), database(first, last), dead(last)].into_iter().flatten().collect();
        findings.extend(sdwan::findings(&last.sdwan, last.wall));
        if let Some(before) = before {
            findings.extend(processors(before, last, settings));
        }
        if let (Some(first), Some(last)) = (&first.dhcp, &last.dhcp) {
            let commits = last.commits.since(&first.commits);
            let slow = commit_time(&commits, self.usual, settings);
            if slow.as_ref().is_none_or(|slow| !slow.holds) && commits.count() >= FEW_COMMITS {
                self.usual = learn(self.usual, p99(&commits));
            }
            findings.extend(slow);
            exhaust(&mut self.exhausted, &last.pools, now, settings.hold);
            let rules = [
                kernel_drops(first, last),
                disk(first, last, settings),
                log(last),
                pools_high(last, &self.exhausted),
                pools_exhausted(last, &self.exhausted),
                unserved(last),
                closed(last),
                rate_limited(first, last, settings),
                malformed(first, last, settings),
            ];
            findings.extend(rules.into_iter().flatten());
        }
        findings
    }
}

fn p99(times: &Snapshot) -> f64 {
    times.quantile(0.99) as f64 / 1e9
}

fn learn((usual, looks): (f64, u32), now: f64) -> (f64, u32) {
    let part = LEARNING.max(1.0 / f64::from(looks + 1));
    (usual + (now - usual) * part, looks.saturating_add(1))
}

/// A second of the minute, whatever the window: just after the start a burst is no flood.
fn per_second(first: u64, last: u64) -> f64 {
    last.saturating_sub(first) as f64 / MINUTE.as_secs_f64()
}

fn kernel_drops(first: &DhcpReading, last: &DhcpReading) -> Option<Finding> {
    let dropped = last.kernel_drops.saturating_sub(first.kernel_drops);
    let what = format!("the kernel dropped {dropped} datagrams in the last minute, because the sockets were full");
    let found = finding("kernel_drops", Severity::Warning, true, Duration::ZERO, what);
    let advice = "raise dhcp.receive_buffer for bursts; where the workers are busy all the time, raise dhcp.workers or add processors";
    (dropped > 0).then(|| advise(found, advice, &["dhcp.receive_buffer", "dhcp.workers"]))
}

fn disk(first: &DhcpReading, last: &DhcpReading, settings: &AlertSettings) -> Option<Finding> {
    let part = last.parked as f64 / last.parked_room.max(1) as f64;
    let dropped = last.disk_drops.saturating_sub(first.disk_drops);
    let holds = if dropped > 0 { Some(true) } else { holds(part, settings.waiting, settings.waiting / 2.0) }?;
    let mut what = format!("{} of {} answers that may wait for the disk do", last.parked, last.parked_room);
    if dropped > 0 {
        what.push_str(&format!("; {dropped} requests were dropped for it in the last minute"));
    }
    let severity = if dropped > 0 { Severity::Critical } else { Severity::Warning };
    let advice = "the disk of store.data_dir does not follow: use a faster one; dhcp.queue_size bridges longer stalls; \
                  store.durability = \"os\" does not wait for it, at the risk of a power loss";
    let settings = &["store.data_dir", "dhcp.queue_size", "store.durability"];
    Some(advise(finding("disk_behind", severity, holds, Duration::ZERO, what), advice, settings))
}

fn commit_time(commits: &Snapshot, (usual, looks): (f64, u32), settings: &AlertSettings) -> Option<Finding> {
    let now = p99(commits);
    let limit = settings.commit_time.as_secs_f64();
    let unusual = if looks >= LEARNED { (usual * UNUSUAL).max(UNUSUAL_FROM).min(limit) } else { limit };
    let holds = (commits.count() >= FEW_COMMITS).then(|| holds(now, unusual, unusual / 2.0)).flatten()?;
    let ms = |seconds: f64| seconds * 1000.0;
    let mut what = format!("99 of 100 writes to the disk took up to {:.1} ms in the last minute", ms(now));
    if looks >= LEARNED {
        what.push_str(&format!("; {:.1} ms are usual", ms(usual)));
    }
    let advice = "see what else uses the disk of store.data_dir; use a faster one, or one of its own";
    let found = finding("commit_slow", Severity::Warning, holds, LOAD, what);
    Some(advise(found, advice, &["store.data_dir", "store.durability", "alerts.commit_time"]))
}

fn log(last: &DhcpReading) -> Option<Finding> {
    let what = format!("leases are not written, so that no client gets one: {}", last.failure.as_ref()?);
    let found = finding("log_failed", Severity::Critical, true, Duration::ZERO, what);
    let advice = "free space on the disk of store.data_dir, or mend it; the server goes on by itself once it can write";
    Some(advise(found, advice, &["store.data_dir", "store.pending_bytes"]))
}

fn named(pools: &[&PoolReading]) -> String {
    let text =
        |pool: &&PoolReading| format!("{}: {:.0} % ({} of {})", pool.name, pool.part() * 100.0, pool.held, pool.total);
    let mut names: Vec<_> = pools.iter().take(NAMED).map(text).collect();
    if pools.len() > NAMED {
        names.push(format!("and {} more", pools.len() - NAMED));
    }
    names.join(", ")
}

/// Takes note of the pools that have no address left. One that has some again stays for as long as its alert does, so that
/// there is one alert of a pool at a time.
fn exhaust(exhausted: &mut BTreeMap<String, Option<Instant>>, pools: &[PoolReading], now: Instant, hold: Duration) {
    for pool in pools.iter().filter(|pool| pool.part() >= 1.0) {
        exhausted.insert(pool.name.clone(), None);
    }
    exhausted.retain(|name, free_since| {
        let pool = pools.iter().find(|pool| pool.name == *name);
        match pool.is_some_and(|pool| pool.part() >= NEARLY_EXHAUSTED) {
            true => *free_since = None,
            false => _ = free_since.get_or_insert(now),
        }
        pool.is_some() && free_since.is_none_or(|since| now.saturating_duration_since(since) < hold)
    });
}

/// The pools from `near` on, the fullest first, and whether one of them has reached `threshold`.
fn pools(
    last: &DhcpReading,
    threshold: f64,
    near: f64,
    counts: impl Fn(&PoolReading) -> bool,
) -> Option<(bool, String)> {
    let mut pools: Vec<_> =
        last.pools.iter().filter(|pool| pool.total > 0 && pool.part() >= near && counts(pool)).collect();
    pools.sort_by(|a, b| b.part().total_cmp(&a.part()));
    let holds = holds(pools.first()?.part(), threshold, near)?;
    Some((holds, named(&pools)))
}

fn pools_high(last: &DhcpReading, exhausted: &BTreeMap<String, Option<Instant>>) -> Option<Finding> {
    let others = |pool: &PoolReading| !exhausted.contains_key(&pool.name);
    let (holds, names) = pools(last, last.warn_at, last.warn_at - 0.02, others).filter(|_| last.warn_at > 0.0)?;
    let what = format!("pools are running out of addresses: {names}");
    let advice = "widen the pools, or shorten dhcp.lease_time so that addresses come back sooner";
    let settings = &["dhcp.subnet", "dhcp.lease_time", "dhcp.warn_utilisation"];
    Some(advise(finding("pools_high", Severity::Warning, holds, Duration::ZERO, what), advice, settings))
}

fn pools_exhausted(last: &DhcpReading, exhausted: &BTreeMap<String, Option<Instant>>) -> Option<Finding> {
    let these = |pool: &PoolReading| exhausted.contains_key(&pool.name);
    let (holds, names) = pools(last, 1.0, NEARLY_EXHAUSTED, these)?;
    let what = format!("pools have no address left: {names}");
    let advice = "widen the pools, shorten dhcp.lease_time, or find who takes so many: `outwork leases list`";
    let found = finding("pools_exhausted", Severity::Critical, holds, Duration::ZERO, what);
    Some(advise(found, advice, &["dhcp.subnet", "dhcp.lease_time"]))
}

fn rate_limited(first: &DhcpReading, last: &DhcpReading, settings: &AlertSettings) -> Option<Finding> {
    let rate = per_second(first.rate_limited, last.rate_limited);
    let holds = holds(rate, settings.rate_limited, settings.rate_limited / 2.0)?;
    let what = format!(
        "{rate:.0} packets a second went unanswered, of clients beyond their rate: a flood, or a client in a loop"
    );
    let advice = "find the client in a capture on its link; raise dhcp.client_rate or dhcp.circuit_rate if it may send that much";
    let keys = &["dhcp.client_rate", "dhcp.client_burst", "dhcp.circuit_rate", "alerts.rate_limited"];
    Some(advise(finding("rate_limited", Severity::Warning, holds, Duration::ZERO, what), advice, keys))
}

fn malformed(first: &DhcpReading, last: &DhcpReading, settings: &AlertSettings) -> Option<Finding> {
    let rate = per_second(first.malformed, last.malformed);
    let holds = holds(rate, settings.malformed, settings.malformed / 2.0)?;
    let what = format!("{rate:.0} packets a second are no DHCP requests");
    let advice = "`outwork stats malformed` shows which rule they break; keep their sender away with a firewall";
    let found = finding("malformed", Severity::Warning, holds, Duration::ZERO, what);
    Some(advise(found, advice, &["alerts.malformed"]))
}

fn unserved(last: &DhcpReading) -> Option<Finding> {
    let (what, advice) = last.unserved.first()?;
    let more = match last.unserved.len() - 1 {
        0 => String::new(),
        more => format!("; and so at {more} more places: the log names them"),
    };
    let what = format!("no answer to {what}{more}");
    let found = finding("clients_unserved", Severity::Warning, true, Duration::ZERO, what);
    Some(advise(found, advice.as_str(), &["dhcp.subnet", "dhcp.interfaces"]))
}

fn closed(last: &DhcpReading) -> Option<Finding> {
    if last.closed.is_empty() {
        return None;
    }
    let what = format!("clients on interfaces of the configuration are not heard: {}", listed(&last.closed));
    let advice = "see `ip address`: bring the interface up, or name the one that is meant; no restart is needed once it is there";
    Some(advise(finding("interface_closed", Severity::Warning, true, LOAD, what), advice, &["dhcp.interfaces"]))
}

/// Pools without a usable backend: whoever asks for what is behind them gets an error, unless so few are well that all are used.
fn dead(last: &Reading) -> Option<Finding> {
    if last.dead.is_empty() {
        return None;
    }
    let what = format!("no backend is usable of the pools {}", listed(&last.dead));
    let advice = "see `outwork backends list`: what is wrong with each backend, and with names that cannot be looked up, stands there";
    Some(advise(finding("backends_gone", Severity::Critical, true, INTERVAL, what), advice, &["proxy.pool"]))
}

/// The first of them, and how many more there are.
fn listed(all: &[String]) -> String {
    let named: Vec<_> = all.iter().take(NAMED).map(String::as_str).collect();
    let more = match all.len() - named.len() {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    named.join("; ") + &more
}

/// All processors busy, or else one thread that keeps one busy all the time.
fn processors(before: &Reading, last: &Reading, settings: &AlertSettings) -> Option<Finding> {
    let seconds = last.at.saturating_duration_since(before.at).as_secs_f64();
    if seconds <= 0.0 {
        return None;
    }
    let part = (last.cpu_seconds - before.cpu_seconds) / seconds / last.processors.max(1.0);
    let share = |thread: &ThreadUsage| {
        let then = before.threads.iter().find(|then| then.id == thread.id).map_or(0.0, |then| then.cpu_seconds);
        (thread.cpu_seconds - then) / seconds
    };
    let busiest = last.threads.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let (name, busy) = (&busiest.name, share(busiest));
    if let Some(holds) = holds(part, settings.cpu, settings.cpu - 0.1) {
        let what = format!(
            "{:.0} % of {} processors are in use, most by the thread {name} ({:.0} % of one)",
            part * 100.0,
            last.processors,
            busy * 100.0
        );
        let advice =
            "add processors, or move other services away; until then answers take longer and bursts are dropped";
        let found = finding("cpu_saturated", Severity::Warning, holds, LOAD, what);
        return Some(advise(found, advice, &["dhcp.workers", "alerts.cpu"]));
    }
    let holds = holds(busy, 0.95, 0.85)?;
    let what = format!("the thread {name} keeps a whole processor busy ({:.0} %), while others are idle", busy * 100.0);
    let (advice, settings): (_, &[&str]) = match name.as_str() {
        name if name.starts_with("dhcp-worker") => (
            "raise dhcp.workers; relay agents that share one address and port are served by one worker",
            &["dhcp.workers"],
        ),
        "store-commit" => {
            ("raise store.batch_bytes, so that fewer writes carry more", &["store.batch_bytes", "store.batch_delay"])
        }
        "store-upkeep" => (
            "snapshots take this long: lower store.snapshot_level, or raise store.compact_at_bytes so that they are rarer",
            &["store.snapshot_level", "store.snapshot_compression", "store.compact_at_bytes"],
        ),
        name if name.starts_with("sqlite") => (
            "raise store.sqlite.cache_size or store.sqlite.mmap_size",
            &["store.sqlite.cache_size", "store.sqlite.mmap_size"],
        ),
        "admin" => ("see who asks the API so much: `outwork stats http`", &["admin.max_connections"]),
        _ => ("report it, with `outwork stats`", &[]),
    };
    // A snapshot may well take a quarter of an hour of one processor's time.
    let patience = if name == "store-upkeep" { Duration::from_secs(900) } else { LOAD };
    Some(advise(finding("thread_saturated", Severity::Warning, holds, patience, what), advice, settings))
}

fn memory(last: &Reading, settings: &AlertSettings) -> Option<Finding> {
    let Room { limit, total, available } = last.room;
    let part = |used: u64, of: u64| if of == 0 { 0.0 } else { used as f64 / of as f64 };
    let group = limit.map(|limit| (part(last.resident, limit), limit, "its limit"));
    let machine = total.zip(available).map(|(total, available)| {
        (part(total.saturating_sub(available), total), total, "the machine's memory, other processes counted")
    });
    let (used, of, whose) = group.into_iter().chain(machine).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let holds = holds(used, settings.memory, settings.memory - 0.05)?;
    let mib = |bytes: u64| bytes >> 20;
    let what = format!(
        "{:.0} % of {whose} ({} MiB) is in use; this process takes {} MiB",
        used * 100.0,
        mib(of),
        mib(last.resident)
    );
    let advice = "`outwork stats --memory` shows what takes it; give it more, or end what else runs here";
    let found = finding("memory_low", Severity::Warning, holds, LOAD, what);
    Some(advise(found, advice, &["store.pending_bytes", "store.sqlite.cache_size", "dhcp.queue_size", "alerts.memory"]))
}

fn database(first: &Reading, last: &Reading) -> Option<Finding> {
    let DatabaseReading { waiting, queue, refused } = last.database;
    let refused = refused.saturating_sub(first.database.refused);
    let part = waiting as f64 / queue.max(1) as f64;
    let holds = if refused > 0 { Some(true) } else { holds(part, 0.5, 0.25) }?;
    let what =
        format!("{waiting} of {queue} jobs that may wait for SQLite do; {refused} were refused in the last minute");
    let advice = "metrics and audit rows wait for the disk of store.data_dir: use a faster one; store.sqlite.readers and \
                  store.sqlite.cache_size speed up reading";
    let settings =
        &["store.sqlite.queue", "store.sqlite.readers", "store.sqlite.cache_size", "store.sqlite.synchronous"];
    Some(advise(finding("database_behind", Severity::Warning, holds, Duration::ZERO, what), advice, settings))
}

#[cfg(test)]
#[path = "alerts_tests.rs"]
mod tests;
