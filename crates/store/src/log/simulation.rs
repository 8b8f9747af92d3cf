//! The log on a failing disk, step by step from a seed: appends, commits, snapshots, faults and crashes in any order.
//! After every crash, what had been acknowledged must be there, in order, and nothing that was never appended.
//!
//! `OUTWORK_SEED=n` replays one seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;

use super::commit::{Core, Writer};
use super::compaction::{Compaction, Cursor, Slice, Source, Written};
use super::error::OpenError;
use super::fault_disk::{FaultDisk, Rng};
use super::options::{Compression, Durability, LogOptions};
use super::recovery::Recovery;

type Table = BTreeMap<u8, u64>;

/// An absolute change of one key. Values are unique, so that states differ where histories do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    key: u8,
    value: Option<u64>,
}

impl Change {
    fn encode(self) -> Vec<u8> {
        let mut out = vec![self.key, u8::from(self.value.is_some())];
        let value = self.value.unwrap_or_default();
        out.extend_from_slice(&value.to_le_bytes());
        out.resize(out.len() + (value % 700) as usize, self.key);
        out
    }

    fn decode(bytes: &[u8]) -> Self {
        let value = u64::from_le_bytes(bytes[2..10].try_into().unwrap());
        let change = Self { key: bytes[0], value: (bytes[1] == 1).then_some(value) };
        assert_eq!(change.encode(), bytes, "a record came back changed");
        change
    }

    fn apply(self, table: &mut Table) {
        match self.value {
            Some(value) => table.insert(self.key, value),
            None => table.remove(&self.key),
        };
    }
}

#[derive(Default)]
struct Owner(Mutex<Table>);

impl Source for Owner {
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
        let table = self.0.lock();
        let mut next = None;
        for (key, value) in table.range(cursor.0 as u8..).take(7) {
            out.push(&Change { key: *key, value: Some(*value) }.encode());
            next = key.checked_add(1);
        }
        let key = next?;
        table.range(key..).next().map(|_| Cursor(u64::from(key)))
    }
}

enum Walk {
    None,
    Walking(Compaction),
    Written(Written),
}

/// The last record that has to be there after a crash.
#[derive(Debug, Clone, Copy, Default)]
struct Must {
    survive_process: u64,
    survive_power: u64,
}

struct Simulation {
    rng: Rng,
    disk: FaultDisk,
    durability: Durability,
    /// Every change appended and not lost, record 1 first.
    history: Vec<Change>,
    owner: Owner,
    unique: u64,
}

impl Simulation {
    fn new(seed: u64, durability: Durability) -> Self {
        let mut rng = Rng(seed);
        let disk = FaultDisk::new(rng.next());
        Self { rng, disk, durability, history: Vec::new(), owner: Owner::default(), unique: 0 }
    }

    fn options(&mut self) -> LogOptions {
        let mut options = LogOptions::new("/simulated");
        options.durability = self.durability;
        options.batch_bytes = 4 << 10;
        options.batch_records = 16;
        options.pending_bytes = 32 << 10;
        options.segment_bytes = (16 + self.rng.below(32)) << 10;
        options.compression = if self.rng.chance(50) { Compression::None } else { Compression::Zstd(1) };
        options
    }

    fn open(&mut self) -> Result<(Core, Writer, Recovery, Vec<Change>), OpenError> {
        let options = self.options();
        let mut replayed = Vec::new();
        let (core, writer, report) = Core::open(Arc::new(self.disk.clone()), options, &mut |record| {
            replayed.push(Change::decode(record));
            Ok(())
        })?;
        Ok((core, writer, report, replayed))
    }

    /// Opens, on a disk that may fail at first, and holds what came back to what was acknowledged.
    fn recover(&mut self, must: Must) -> (Core, Writer) {
        let mut acknowledged = must.survive_process;
        loop {
            let percent = if self.rng.chance(30) { 15 } else { 0 };
            self.disk.fail(percent);
            let opened = self.open();
            self.disk.fail(0);
            match opened {
                Ok((core, writer, report, replayed)) => {
                    self.check(acknowledged, &report, &replayed);
                    return (core, writer);
                }
                Err(OpenError::Io { .. }) if percent > 0 => {
                    if self.rng.chance(50) {
                        self.disk.lose_power();
                        acknowledged = must.survive_power;
                    }
                }
                Err(error) => panic!("open failed: {error}"),
            }
        }
    }

    fn check(&mut self, acknowledged: u64, report: &Recovery, replayed: &[Change]) {
        let last = report.last.0;
        assert!(last >= acknowledged, "record {acknowledged} was acknowledged, {last} is the last recovered");
        assert!(last <= self.history.len() as u64, "record {last} was never appended");
        assert_eq!(report.snapshot_records + report.log_records, replayed.len() as u64);
        assert_eq!(report.given_up, 0);
        let log = &replayed[report.snapshot_records as usize..];
        assert_eq!(log, &self.history[last as usize - log.len()..last as usize], "the log's records, in order");
        self.history.truncate(last as usize);
        let (mut expected, mut state) = (Table::new(), Table::new());
        self.history.iter().for_each(|change| change.apply(&mut expected));
        replayed.iter().for_each(|change| change.apply(&mut state));
        assert_eq!(state, expected, "the state after record {last}");
        *self.owner.0.lock() = state;
    }

    fn append(&mut self, core: &Core) {
        let group: Vec<Change> = (0..=self.rng.below(3))
            .map(|_| {
                self.unique += 1 + self.rng.below(900);
                let value = (!self.rng.chance(25)).then_some(self.unique);
                Change { key: self.rng.below(60) as u8, value }
            })
            .collect();
        let encoded: Vec<Vec<u8>> = group.iter().map(|change| change.encode()).collect();
        let mut table = self.owner.0.lock();
        if let Ok(lsn) = core.append(encoded.iter().map(Vec::as_slice)) {
            group.iter().for_each(|change| change.apply(&mut table));
            self.history.extend(group);
            assert_eq!(lsn.0, self.history.len() as u64);
        }
    }

    fn walk(&mut self, core: &Core, walk: Walk) -> Walk {
        match walk {
            Walk::None => Compaction::begin(core).ok().flatten().map_or(Walk::None, Walk::Walking),
            Walk::Walking(mut compaction) => match compaction.step(core, &self.owner) {
                Ok(true) => Walk::Walking(compaction),
                Ok(false) => {
                    compaction.finish(core, UNIX_EPOCH + Duration::from_secs(1)).map_or(Walk::None, Walk::Written)
                }
                Err(_) => Walk::None,
            },
            Walk::Written(written) if core.committed.load(Ordering::Acquire) >= written.end => {
                let _ = written.publish(core);
                Walk::None
            }
            waiting => waiting,
        }
    }

    /// Lives until a crash.
    fn live(&mut self, core: &Core, mut writer: Writer) -> Must {
        let mut walk = Walk::None;
        let fail = if self.rng.chance(60) { self.rng.below(40) } else { 0 };
        for _ in 0..self.rng.below(150) {
            if self.rng.chance(10) {
                let percent = if self.rng.chance(50) { fail } else { 0 };
                self.disk.fail(percent);
            }
            match self.rng.below(10) {
                0..=3 => self.append(core),
                4..=6 => drop(core.step(&mut writer)),
                7 => core.prepare_spare(),
                _ => walk = self.walk(core, walk),
            }
        }
        if self.rng.chance(25) {
            while matches!(core.step(&mut writer), Ok(true)) {}
            let _ = core.finish(&mut writer);
        }
        let durable = core.durable.load(Ordering::Acquire);
        let committed = core.committed.load(Ordering::Acquire);
        let synced = core.synced.load(Ordering::Acquire);
        self.disk.fail(0);
        let survive_power = if self.durability == Durability::Fsync { durable } else { synced };
        if self.rng.chance(60) {
            self.disk.lose_power();
            return Must { survive_process: survive_power, survive_power };
        }
        Must { survive_process: committed, survive_power }
    }

    fn run(&mut self) {
        let mut must = Must::default();
        for _ in 0..6 {
            let (core, writer) = self.recover(must);
            must = self.live(&core, writer);
        }
        self.recover(must);
    }
}

fn simulate(durability: Durability, seeds: u64) {
    let seeds = match std::env::var("OUTWORK_SEED") {
        Ok(seed) => vec![seed.parse().expect("OUTWORK_SEED is a number")],
        Err(_) => (0..seeds).collect(),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed, durability).run());
        if let Err(panic) = outcome {
            eprintln!("replay with OUTWORK_SEED={seed} ({durability:?})");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn with_fsync_every_acknowledged_record_survives_any_crash() {
    simulate(Durability::Fsync, 1000);
}

#[test]
fn with_os_a_power_loss_leaves_a_state_the_log_went_through_and_a_process_crash_loses_nothing_written() {
    simulate(Durability::Os, 500);
}

#[test]
fn with_none_a_crash_leaves_a_state_the_log_went_through() {
    simulate(Durability::None, 500);
}
