use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tempfile::TempDir;

use super::commit::{Core, Writer};
use super::disk::RealDisk;
use super::fault_disk::FaultDisk;
use super::frame::{FRAME_HEADER, FRAMES_START, push_record, seal_frame};
use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn record(number: u64) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.resize(8 + (number % 90) as usize, b'x');
    out
}

/// Opens without threads, so that a test commits step by step and a drop is a crash.
fn open_core(dir: &Path) -> (Core, Writer, Recovery, Vec<Vec<u8>>) {
    let mut replayed = Vec::new();
    let disk = Arc::new(RealDisk::open(dir).unwrap());
    let (core, writer, recovery) = Core::open(disk, LogOptions::new(dir), &mut |record| {
        replayed.push(record.to_vec());
        Ok(())
    })
    .unwrap();
    (core, writer, recovery, replayed)
}

fn open(options: &LogOptions) -> Result<(Log, Recovery, Vec<Vec<u8>>), OpenError> {
    let mut replayed = Vec::new();
    let (log, recovery) = Log::open(options.clone(), &mut |record| {
        replayed.push(record.to_vec());
        Ok(())
    })?;
    Ok((log, recovery, replayed))
}

/// Writes records `first..=last`, one a batch, and crashes.
fn write_and_crash(dir: &Path, first: u64, last: u64) {
    let (core, mut writer, ..) = open_core(dir);
    for number in first..=last {
        core.append(std::iter::once(record(number).as_slice())).unwrap();
        assert!(core.step(&mut writer).unwrap());
    }
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(suffix));
    files.sort();
    files
}

fn segment(dir: &Path) -> PathBuf {
    files(dir, ".seg").pop().unwrap()
}

/// Where record `number` lies in the file.
fn place(path: &Path, number: u64) -> usize {
    let (bytes, wanted) = (fs::read(path).unwrap(), record(number));
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn damage(error: OpenError) -> Damage {
    match error {
        OpenError::Damaged(damage) => *damage,
        other => panic!("expected damage, got: {other}"),
    }
}

#[test]
fn records_come_back_in_order_after_a_clean_close() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::new(dir.path());
    let (log, recovery, _) = open(&options).unwrap();
    assert_eq!(recovery, Recovery::default());
    for number in 1..=5000 {
        assert_eq!(log.append(&record(number)).unwrap(), Lsn(number));
    }
    log.wait(Lsn(5000), soon()).unwrap();
    assert_eq!(log.durable(), Lsn(5000));
    drop(log);
    let (log, recovery, replayed) = open(&options).unwrap();
    assert_eq!((recovery.last, recovery.log_records, recovery.torn), (Lsn(5000), 5000, None));
    assert!(replayed.iter().zip(1..).all(|(bytes, number)| *bytes == record(number)));
    assert_eq!(log.append(b"next").unwrap(), Lsn(5001));
}

#[test]
fn one_sync_covers_every_record_that_waits() {
    let dir = TempDir::new().unwrap();
    let (core, mut writer, ..) = open_core(dir.path());
    for number in 1..=1000 {
        core.append(std::iter::once(record(number).as_slice())).unwrap();
    }
    assert!(core.step(&mut writer).unwrap());
    assert!(!core.step(&mut writer).unwrap());
    let stats = core.stats();
    assert_eq!((stats.batches, stats.syncs, stats.records, stats.pending_bytes), (1, 1, 1000, 0));
}

#[test]
fn a_batch_is_closed_at_its_limits_and_a_larger_group_is_refused() {
    let dir = TempDir::new().unwrap();
    let options =
        LogOptions { batch_records: 10, batch_bytes: 1024, pending_bytes: 4096, ..LogOptions::new(dir.path()) };
    let disk = Arc::new(RealDisk::open(dir.path()).unwrap());
    let (core, mut writer, _) = Core::open(disk, options, &mut |_| Ok(())).unwrap();
    for _ in 0..25 {
        core.append(std::iter::once(b"small".as_slice())).unwrap();
    }
    let mut steps = 0;
    while core.step(&mut writer).unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 3);
    let large = vec![0; 1100];
    assert!(matches!(core.append(std::iter::once(large.as_slice())), Err(AppendError::TooLarge { .. })));
    let many = [b"r".as_slice(); 11];
    assert!(matches!(core.append(many.into_iter()), Err(AppendError::TooLarge { .. })));
}

#[test]
fn a_torn_tail_loses_only_what_was_never_acknowledged() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 20);
    let path = segment(dir.path());
    flip(&path, place(&path, 20));
    let (core, _writer, recovery, replayed) = open_core(dir.path());
    assert_eq!((recovery.last, replayed.len()), (Lsn(19), 19));
    let torn = recovery.torn.expect("the torn tail is reported");
    assert_eq!(torn.path, path);
    assert!(torn.bytes > 0 && torn.offset < place_limit(&path));
    drop(core);
    let (_core, _writer, recovery, _) = open_core(dir.path());
    assert_eq!((recovery.last, recovery.torn), (Lsn(19), None), "cut off, it is gone at the next start");
}

fn place_limit(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len() + 1
}

#[test]
fn what_a_client_put_into_a_record_never_passes_for_a_frame() {
    let dir = TempDir::new().unwrap();
    // A frame as an attacker would forge it: the format is public, the salt of the file is not.
    let mut forged = vec![0; FRAME_HEADER];
    push_record(&mut forged, b"from the future");
    seal_frame(&mut forged, 0, 900, 899, 1);
    let mut aligned = vec![0; 4];
    aligned.extend_from_slice(&forged);
    let (core, mut writer, ..) = open_core(dir.path());
    core.append(std::iter::once(record(1).as_slice())).unwrap();
    core.step(&mut writer).unwrap();
    core.append(std::iter::once(aligned.as_slice())).unwrap();
    core.step(&mut writer).unwrap();
    drop((core, writer));
    let path = segment(dir.path());
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(forged.len()).position(|window| window == forged).unwrap();
    assert_eq!(at % 8, 0, "where a search would look");
    flip(&path, at - 8);
    let (_core, _writer, recovery, _) = open_core(dir.path());
    assert_eq!(recovery.last, Lsn(1));
}

#[test]
fn damage_to_acknowledged_records_is_refused_by_file_offset_and_count() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 20);
    let path = segment(dir.path());
    flip(&path, place(&path, 7));
    flip(&path, place(&path, 8));
    let mut replayed = 0;
    let refused = Log::open(LogOptions::new(dir.path()), &mut |_| {
        replayed += 1;
        Ok(())
    });
    let refused = refused.map(drop).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("2 acknowledged records (7 to 8)") && text.contains("`outwork store repair`"), "{text}");
    let damage = damage(refused);
    assert_eq!((&damage.path, damage.lost, damage.snapshot), (&path, Some((Lsn(7), Lsn(8))), false));
    assert!(damage.offset > FRAMES_START && damage.offset < place(&path, 9) as u64);
    assert_eq!(replayed, 0, "never start with fewer records");
}

#[test]
fn a_check_finds_every_damage_and_what_a_repair_would_give_up_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 20);
    let path = segment(dir.path());
    let sound = check(dir.path()).unwrap();
    assert_eq!((sound.log_records, sound.lost, sound.damage), (20, 0, vec![]));
    for number in [7, 8, 15] {
        flip(&path, place(&path, number));
    }
    let original = fs::read(&path).unwrap();
    let found = check(dir.path()).unwrap();
    let lost: Vec<_> = found.damage.iter().map(|damage| damage.lost.unwrap()).collect();
    assert_eq!(lost, [(Lsn(7), Lsn(8)), (Lsn(15), Lsn(15))]);
    assert!(found.damage[0].offset < found.damage[1].offset && found.damage.iter().all(|damage| damage.path == path));
    assert_eq!((found.log_records, found.lost, found.lost_more), (17, 3, false));
    assert_eq!(fs::read(&path).unwrap(), original);
    let report = repair(dir.path()).unwrap();
    assert_eq!((report.log_records, report.lost, report.lost_more), (17, 3, false));
    let repaired = check(dir.path()).unwrap();
    assert_eq!((repaired.log_records, repaired.given_up, repaired.damage), (17, 3, vec![]));
}

#[test]
fn a_directory_that_is_not_there_or_in_use_is_neither_checked_nor_repaired() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("missing");
    for error in [check(&missing).map(drop).unwrap_err(), repair(&missing).map(drop).unwrap_err()] {
        assert!(error.to_string().contains("cannot open") && !missing.exists(), "{error}");
    }
    let (_log, ..) = open(&LogOptions::new(dir.path())).unwrap();
    for error in [check(dir.path()).map(drop).unwrap_err(), repair(dir.path()).map(drop).unwrap_err()] {
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    }
}

#[test]
fn a_clean_close_makes_even_the_last_record_tell_damage_from_a_torn_tail() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::new(dir.path());
    let (log, ..) = open(&options).unwrap();
    log.append(&record(1)).unwrap();
    log.append(&record(2)).unwrap();
    log.close().unwrap();
    drop(log);
    let path = segment(dir.path());
    flip(&path, place(&path, 2));
    let lost = damage(open(&options).map(drop).unwrap_err()).lost.unwrap();
    assert_eq!(lost.1, Lsn(2));
}

#[test]
fn a_repair_keeps_all_that_is_valid_and_sets_the_original_aside() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 20);
    let path = segment(dir.path());
    flip(&path, place(&path, 7));
    let original = fs::read(&path).unwrap();
    let report = repair(dir.path()).unwrap();
    assert_eq!((report.log_records, report.lost, report.lost_more), (19, 1, false));
    let aside = report.set_aside.unwrap();
    assert_eq!(fs::read(aside.join(path.file_name().unwrap())).unwrap(), original);
    let (core, _writer, recovery, replayed) = open_core(dir.path());
    assert_eq!((recovery.last, recovery.given_up, replayed.len()), (Lsn(20), 1, 19));
    assert!(!replayed.contains(&record(7)) && replayed.contains(&record(8)));
    drop(core);
    assert_eq!(repair(dir.path()).unwrap(), RepairReport::default(), "nothing is left to repair");
}

#[test]
fn an_unreadable_segment_head_is_read_from_its_second_copy() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 5);
    let path = segment(dir.path());
    flip(&path, 30);
    let (core, _writer, recovery, _) = open_core(dir.path());
    assert_eq!(recovery.last, Lsn(5));
    drop(core);
    let path = files(dir.path(), ".seg").remove(0);
    flip(&path, 4096 + 30);
    assert_eq!(damage(open(&LogOptions::new(dir.path())).map(drop).unwrap_err()).path, path);
    let report = repair(dir.path()).unwrap();
    assert!(report.lost_more);
    assert_eq!(report.lost, 5, "the next segment's head proves that they existed");
    assert_eq!(open_core(dir.path()).2.last, Lsn(5));
}

/// Keeps the value of each key; the state that the log's records describe.
#[derive(Default)]
struct Owner(Mutex<std::collections::BTreeMap<u64, u64>>);

impl Source for Owner {
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
        let table = self.0.lock();
        let mut next = None;
        for (key, value) in table.range(cursor.0..).take(100) {
            out.push(&[key.to_le_bytes(), value.to_le_bytes()].concat());
            next = Some(Cursor(key + 1));
        }
        next
    }
}

impl Owner {
    fn set(&self, log: &Log, key: u64, value: u64) -> Lsn {
        let mut table = self.0.lock();
        let lsn = log.append(&[key.to_le_bytes(), value.to_le_bytes()].concat()).unwrap();
        table.insert(key, value);
        lsn
    }

    fn replay(&self, record: &[u8]) {
        let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
        self.0.lock().insert(number(0), number(8));
    }

    fn open(options: &LogOptions) -> Result<(Self, Log, Recovery), OpenError> {
        let owner = Self::default();
        let (log, recovery) = Log::open(options.clone(), &mut |record| {
            owner.replay(record);
            Ok(())
        })?;
        Ok((owner, log, recovery))
    }
}

#[test]
fn a_snapshot_replaces_the_segments_before_it() {
    for compression in [Compression::None, Compression::Zstd(3)] {
        let dir = TempDir::new().unwrap();
        let options = LogOptions { segment_bytes: 64 << 10, compression, ..LogOptions::new(dir.path()) };
        let (owner, log, _) = Owner::open(&options).unwrap();
        for round in 0..20 {
            let last = (0..1000).map(|key| owner.set(&log, key, round)).last().unwrap();
            log.wait(last, soon()).unwrap();
        }
        let before = log.stats();
        assert!(before.segments > 3);
        let snapshot = log.compact(&owner).unwrap();
        assert_eq!((snapshot.through, snapshot.records), (Lsn(20_000), 1000));
        assert!(log.stats().segments <= 1, "{:?}", log.stats());
        assert_eq!(log.compact(&owner).unwrap(), snapshot, "nothing new, nothing done");
        owner.set(&log, 5, 77);
        drop(log);
        let (again, _log, recovery) = Owner::open(&options).unwrap();
        assert_eq!((recovery.snapshot_records, recovery.log_records), (1000, 1));
        assert_eq!(*again.0.lock(), *owner.0.lock());
    }
}

#[test]
fn a_damaged_snapshot_is_refused_and_a_repair_keeps_its_valid_blocks() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { compression: Compression::None, ..LogOptions::new(dir.path()) };
    let (owner, log, _) = Owner::open(&options).unwrap();
    for key in 0..60_000 {
        owner.set(&log, key, 1);
    }
    log.compact(&owner).unwrap();
    drop(log);
    let path = files(dir.path(), ".snap").remove(0);
    flip(&path, 600_000);
    let damage = damage(Owner::open(&options).map(drop).unwrap_err());
    assert!(damage.snapshot && damage.path == path);
    let (first, last) = damage.lost.unwrap();
    let report = repair(dir.path()).unwrap();
    assert_eq!(report.lost, last.0 - first.0 + 1);
    assert_eq!(report.snapshot_records, 60_000 - report.lost);
    let (again, ..) = Owner::open(&options).unwrap();
    assert_eq!(again.0.lock().len() as u64, report.snapshot_records);
}

#[test]
fn a_missing_snapshot_or_segment_is_refused() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::new(dir.path()) };
    let (owner, log, _) = Owner::open(&options).unwrap();
    for value in 0..2 {
        let last = (0..100).map(|key| owner.set(&log, key, value)).last().unwrap();
        log.wait(last, soon()).unwrap();
        log.compact(&owner).unwrap();
    }
    for round in 0..100 {
        let last = (0..100).map(|key| owner.set(&log, key, round)).last().unwrap();
        log.wait(last, soon()).unwrap();
    }
    drop(log);
    let snapshot = files(dir.path(), ".snap").remove(0);
    // Segments the snapshot replaced may still be there, and nothing on disk vouches for what the last one holds.
    let survey = recovery::survey(&RealDisk::open(dir.path()).unwrap()).unwrap();
    let mut needed: Vec<u64> = survey.runs.iter().filter(|run| run.last > 200).map(|run| run.seq).collect();
    needed.dedup();
    assert!(needed.len() > 2, "{needed:?}");
    needed.pop();
    let segments = needed.iter().map(|seq| dir.path().join(segment::segment_name(*seq)));
    for victim in segments.chain([snapshot]) {
        let bytes = fs::read(&victim).unwrap();
        fs::remove_file(&victim).unwrap();
        let damage = damage(Owner::open(&options).map(drop).unwrap_err());
        assert_eq!(damage.bytes, 0, "{damage}");
        fs::write(&victim, bytes).unwrap();
    }
    assert_eq!(Owner::open(&options).unwrap().2.last, Lsn(10200));
}

#[test]
fn snapshots_are_taken_by_themselves_while_appends_go_on() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, compact_at_bytes: 128 << 10, ..LogOptions::new(dir.path()) };
    let (owner, log, _) = Owner::open(&options).unwrap();
    let owner = Arc::new(owner);
    let source: Arc<dyn Source> = owner.clone();
    log.set_source(Arc::downgrade(&source));
    let deadline = soon();
    let mut round = 0;
    while log.stats().compactions < 3 {
        assert!(Instant::now() < deadline, "no snapshots: {:?}", log.stats());
        round += 1;
        let last = (0..500).map(|key| owner.set(&log, key * 7 % 501, round)).last().unwrap();
        log.wait(last, soon()).unwrap();
    }
    drop(log);
    let (again, ..) = Owner::open(&options).unwrap();
    assert_eq!(*again.0.lock(), *owner.0.lock());
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_directory() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::new(dir.path());
    let (_log, ..) = open(&options).unwrap();
    let error = open(&options).map(drop).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { holder, .. } if *holder == std::process::id().to_string()), "{error}");
}

#[test]
fn a_closed_log_lets_another_process_have_the_directory_though_its_owner_still_has_it() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions::new(dir.path());
    let (log, ..) = open(&options).unwrap();
    log.close().unwrap();
    open(&options).map(drop).unwrap();
    drop(log);
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let options = LogOptions { pending_bytes: 1, ..LogOptions::new("/nowhere") };
    let error = open(&options).map(drop).unwrap_err().to_string();
    assert!(error.contains("pending_bytes is 1: expected at least batch_bytes"), "{error}");
}

#[test]
fn a_failing_disk_is_reported_keeps_records_in_bounds_and_is_written_again_by_itself() {
    let disk = FaultDisk::new(1);
    let options =
        LogOptions { batch_bytes: 1024, pending_bytes: 4096, segment_bytes: 64 << 10, ..LogOptions::new("/simulated") };
    let (log, _) = Log::open_on(Arc::new(disk.clone()), options.clone(), &mut |_| Ok(())).unwrap();
    let first = log.append(&record(1)).unwrap();
    log.wait(first, soon()).unwrap();
    disk.fail(100);
    let second = log.append(&record(2)).unwrap();
    let error = log.wait(second, Instant::now() + Duration::from_millis(200)).unwrap_err();
    assert!(matches!(&error, WaitError::Failing { failure, .. } if failure.pending_records == 1), "{error}");
    assert_eq!(log.durable(), first, "nothing that failed counts");
    let mut last = second;
    let refused = loop {
        match log.append(&[0; 500]) {
            Ok(lsn) => last = lsn,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { limit: 4096, .. }));
    assert!(log.stats().failures > 0 && log.stats().refused == 1);
    disk.fail(0);
    log.wait(last, soon()).unwrap();
    assert_eq!(log.health(), Health::Ok);
    log.close().unwrap();
    drop(log);
    let (_log, recovery) = Log::open_on(Arc::new(disk), options, &mut |_| Ok(())).unwrap();
    assert_eq!(recovery.last, last);
}

#[test]
fn a_close_on_a_failing_disk_says_what_was_not_written() {
    let disk = FaultDisk::new(2);
    let (log, _) = Log::open_on(Arc::new(disk.clone()), LogOptions::new("/simulated"), &mut |_| Ok(())).unwrap();
    disk.fail(100);
    let lsn = log.append(&record(1)).unwrap();
    let failure = log.close().unwrap_err();
    assert_eq!(failure.pending_records, 1);
    assert!(matches!(log.wait(lsn, soon()), Err(WaitError::Closed(_))));
    assert!(matches!(log.append(b"late"), Err(AppendError::Closed)));
}

#[test]
fn without_durability_a_record_counts_at_once_and_a_close_writes_it() {
    let dir = TempDir::new().unwrap();
    let options = LogOptions { durability: Durability::None, ..LogOptions::new(dir.path()) };
    let (log, ..) = open(&options).unwrap();
    for number in 1..=100 {
        let lsn = log.append(&record(number)).unwrap();
        assert!(log.durable() >= lsn);
    }
    drop(log);
    assert_eq!(open(&options).unwrap().1.last, Lsn(100));
}

#[test]
fn what_follows_a_commit_gathers_for_the_next_one() {
    let dir = TempDir::new().unwrap();
    let (log, ..) = open(&LogOptions { batch_delay: Duration::from_secs(1), ..LogOptions::new(dir.path()) }).unwrap();
    let (heard, hear) = std::sync::mpsc::channel();
    log.on_commit(Box::new(move |commit| heard.send(commit.records).unwrap()));
    log.append(b"after a quiet time").unwrap();
    assert_eq!(hear.recv().unwrap(), 1);
    for _ in 0..100 {
        log.append(b"right behind it").unwrap();
    }
    // Closing does not wait for company.
    log.close().unwrap();
    assert_eq!(hear.try_iter().collect::<Vec<_>>(), [100]);
}

#[test]
fn observers_hear_of_every_commit() {
    let dir = TempDir::new().unwrap();
    let (log, ..) = open(&LogOptions { batch_delay: Duration::from_millis(1), ..LogOptions::new(dir.path()) }).unwrap();
    let heard = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let hear = Arc::clone(&heard);
    log.on_commit(Box::new(move |commit| {
        hear.0.fetch_add(u64::from(commit.records), Ordering::Relaxed);
        hear.1.store(commit.durable.0, Ordering::Relaxed);
    }));
    let group = [b"one".as_slice(), b"two", b"three"];
    for _ in 0..100 {
        log.append_all(group).unwrap();
    }
    log.close().unwrap();
    assert_eq!((heard.0.load(Ordering::Relaxed), heard.1.load(Ordering::Relaxed)), (300, 300));
}

#[test]
fn an_owner_may_be_the_source_of_the_log_it_owns() {
    struct Engine {
        log: Log,
        owner: Owner,
    }
    impl Source for Engine {
        fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
            self.owner.slice(cursor, out)
        }
    }
    let dir = TempDir::new().unwrap();
    let options = LogOptions::new(dir.path());
    let (owner, log, _) = Owner::open(&options).unwrap();
    let engine = Arc::new(Engine { log, owner });
    let source: Arc<dyn Source> = engine.clone();
    engine.log.set_source(Arc::downgrade(&source));
    engine.owner.set(&engine.log, 1, 1);
    drop((source, engine));
    assert_eq!(Owner::open(&options).unwrap().2.last, Lsn(1), "dropped, closed, unlocked");
}

#[test]
fn a_replay_error_names_the_record() {
    let dir = TempDir::new().unwrap();
    write_and_crash(dir.path(), 1, 3);
    let mut count = 0;
    let refused = Log::open(LogOptions::new(dir.path()), &mut |_| {
        count += 1;
        if count == 2 { Err("not a lease".into()) } else { Ok(()) }
    });
    assert_eq!(refused.map(drop).unwrap_err().to_string(), "record 2 cannot be replayed: not a lease");
}
