//! Flips one bit anywhere in a cleanly closed log: either it does not matter, or it is found; a repair then loses what it
//! hit and nothing else. `OUTWORK_SEED=n` replays one seed.

use std::fs;
use std::path::Path;

use super::fault_disk::Rng;
use super::*;

const RECORDS: u64 = 400;

struct Numbers;

impl Source for Numbers {
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
        (cursor.0..cursor.0 + 50).for_each(|number| out.push(&record(number + 1)));
        (cursor.0 + 50 < RECORDS / 2).then_some(Cursor(cursor.0 + 50))
    }
}

fn record(number: u64) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.resize(8 + (number * 37 % 300) as usize, number as u8);
    out
}

fn options(dir: &Path) -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, batch_bytes: 1024, compression: Compression::None, ..LogOptions::new(dir) }
}

/// Writes the first half, takes a snapshot of it, writes the second half, closes.
fn write(dir: &Path) {
    let (log, _) = Log::open(options(dir), &mut |_| Ok(())).unwrap();
    for number in 1..=RECORDS {
        log.append(&record(number)).unwrap();
        if number == RECORDS / 2 {
            log.compact(&Numbers).unwrap();
        }
    }
    log.close().unwrap();
}

/// What comes back, by number, each once.
fn read(dir: &Path) -> Result<(Recovery, Vec<u64>), OpenError> {
    let mut numbers = Vec::new();
    let (_log, recovery) = Log::open(options(dir), &mut |bytes| {
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert_eq!(bytes, record(number), "never a wrong record");
        numbers.push(number);
        Ok(())
    })?;
    Ok((recovery, numbers))
}

fn flip_a_bit(dir: &Path, rng: &mut Rng) {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "seg" || ending == "snap"));
    files.sort();
    let path = &files[rng.below(files.len() as u64) as usize];
    let mut bytes = fs::read(path).unwrap();
    let at = rng.below(bytes.len() as u64) as usize;
    bytes[at] ^= 1 << rng.below(8);
    fs::write(path, bytes).unwrap();
}

fn flip_and_read(seed: u64) {
    let dir = tempfile::TempDir::new().unwrap();
    write(dir.path());
    let all: Vec<u64> = (1..=RECORDS).collect();
    flip_a_bit(dir.path(), &mut Rng(seed));
    match read(dir.path()) {
        Ok((_, numbers)) => assert_eq!(numbers, all, "nothing is missed in silence"),
        Err(OpenError::Damaged(_)) => {
            let found = check(dir.path()).unwrap();
            let report = repair(dir.path()).unwrap();
            let told = (found.snapshot_records, found.log_records, found.lost, found.lost_more);
            assert_eq!(told, (report.snapshot_records, report.log_records, report.lost, report.lost_more));
            let (recovery, numbers) = read(dir.path()).unwrap();
            assert_eq!(recovery.last, Lsn(RECORDS));
            assert!(numbers.is_sorted_by(|a, b| a < b));
            assert_eq!(numbers.len() as u64, report.snapshot_records + report.log_records);
            assert_eq!(numbers.len() as u64 + report.lost, RECORDS, "{report:?}");
            assert!(report.lost < RECORDS / 2 + 20, "only what was hit: {report:?}");
        }
        Err(OpenError::Version { .. }) => panic!("a version is only believed with its checksum"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn any_flipped_bit_is_harmless_or_found_and_a_repair_loses_only_what_it_hit() {
    let seeds = match std::env::var("OUTWORK_SEED") {
        Ok(seed) => vec![seed.parse().expect("OUTWORK_SEED is a number")],
        Err(_) => (0..60).collect(),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| flip_and_read(seed));
        if let Err(panic) = outcome {
            eprintln!("replay with OUTWORK_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
