//! Measures the log: records a second and commit latency with two producers, then how long 1,000,000 records take to
//! recover, from the log and from a snapshot.
//!
//! `cargo run --release -p outwork-store --example measure -- DIRECTORY [SECONDS]`; the directory is used and emptied.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outwork_store::log::{Commit, Cursor, Durability, Log, LogOptions, Slice, Source};
use parking_lot::Mutex;

const RECORD: usize = 100;
const MILLION: u64 = 1_000_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("a directory"));
    let seconds = args.next().map_or(5, |text| text.parse().expect("a number of seconds"));
    for durability in [Durability::Fsync, Durability::Os] {
        throughput(&dir.join("throughput"), durability, None, seconds);
    }
    for rate in [20_000, 100_000] {
        throughput(&dir.join("throughput"), Durability::Fsync, Some(rate), seconds);
    }
    recovery(&dir.join("recovery"));
}

/// Two producers append, as fast as they can or at a rate; a sample of records is timed until it is durable.
fn throughput(dir: &PathBuf, durability: Durability, rate: Option<u64>, seconds: u64) {
    let _ = std::fs::remove_dir_all(dir);
    let options = LogOptions { durability, pending_bytes: 8 << 20, ..LogOptions::new(dir) };
    let log = Arc::new(Log::open(options, &mut |_| Ok(())).unwrap().0);
    let samples = Arc::new(Mutex::new((Vec::<(u64, Instant)>::new(), Vec::<Duration>::new())));
    let sampled = Arc::clone(&samples);
    log.on_commit(Box::new(move |commit: &Commit| {
        let (open, done) = &mut *sampled.lock();
        let now = Instant::now();
        open.retain(|(lsn, since)| {
            let wait = *lsn > commit.durable.0;
            if !wait {
                done.push(now - *since);
            }
            wait
        });
    }));
    let (stop, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let record = [7; RECORD];
                let mut sent: u64 = 0;
                while !stop.load(Ordering::Relaxed) {
                    if let Some(rate) = rate
                        && sent as f64 > start.elapsed().as_secs_f64() * rate as f64 / 2.0
                    {
                        std::thread::sleep(Duration::from_micros(100));
                        continue;
                    }
                    let now = Instant::now();
                    match log.append(&record) {
                        Ok(lsn) if lsn.0 % 64 == 0 => samples.lock().0.push((lsn.0, now)),
                        Ok(_) => {}
                        Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(Duration::from_micros(100));
                        }
                    }
                    sent += 1;
                }
            });
        }
        std::thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
    });
    let elapsed = start.elapsed();
    log.close().unwrap();
    let stats = log.stats();
    let mut latencies = std::mem::take(&mut samples.lock().1);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{durability} at {}: {:.0} records/s, {:.0} records a sync; p50 {:?} p99 {:?} max {:?}; mean commit {:?}; refused {}",
        rate.map_or("full speed".to_owned(), |rate| format!("{rate}/s")),
        stats.records as f64 / elapsed.as_secs_f64(),
        stats.records as f64 / stats.batches as f64,
        at(0.5),
        at(0.99),
        at(1.0),
        stats.commit_time / stats.batches.max(1) as u32,
        refused.load(Ordering::Relaxed),
    );
}

struct Keys;

impl Source for Keys {
    fn slice(&self, cursor: Cursor, out: &mut Slice<'_>) -> Option<Cursor> {
        let end = (cursor.0 + 1000).min(MILLION);
        for key in cursor.0..end {
            out.push(&lease(key));
        }
        (end < MILLION).then_some(Cursor(end))
    }
}

/// A record that compresses about as well as a lease does.
fn lease(key: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    for (index, chunk) in record.chunks_mut(8).enumerate().take(6) {
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32 * 7);
        chunk.copy_from_slice(&mixed.to_le_bytes()[..chunk.len()]);
    }
    record
}

fn recovery(dir: &PathBuf) {
    let _ = std::fs::remove_dir_all(dir);
    let options = LogOptions::new(dir);
    let log = Log::open(options.clone(), &mut |_| Ok(())).unwrap().0;
    for key in 0..MILLION {
        while log.append(&lease(key)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if key % 1000 == 0 {
            log.wait(log.last(), Instant::now() + Duration::from_secs(30)).unwrap();
        }
    }
    drop(log);
    let (log, _) = reopen(&options, "log");
    let started = Instant::now();
    let snapshot = log.compact(&Keys).unwrap();
    println!("snapshot of {} records: {:?}, {} bytes", snapshot.records, started.elapsed(), snapshot.bytes);
    drop(log);
    reopen(&options, "snapshot");
}

fn reopen(options: &LogOptions, from: &str) -> (Log, u64) {
    let started = Instant::now();
    let mut bytes = 0;
    let (log, recovery) = Log::open(options.clone(), &mut |record| {
        bytes += record.len() as u64;
        Ok(())
    })
    .unwrap();
    let records = recovery.snapshot_records + recovery.log_records;
    println!("recovery of {records} records from the {from}: {:?}", started.elapsed());
    (log, bytes)
}
