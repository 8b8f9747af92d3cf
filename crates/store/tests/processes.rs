//! The log in real processes on real file systems: killed at random moments, on a full disk and on a read-only one.
//!
//! The children are this test binary, told by `OUTWORK_STORE_CHILD` what to do.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outwork_store::log::{AppendError, Health, Log, LogOptions, Lsn, OpenError, WaitError};

const CHILD: &str = "OUTWORK_STORE_CHILD";
const DIR: &str = "OUTWORK_STORE_DIR";

fn record(number: u64) -> Vec<u8> {
    let mut out = number.to_le_bytes().to_vec();
    out.resize(8 + (number % 200) as usize, number as u8);
    out
}

fn replay(options: LogOptions) -> Result<(Log, BTreeMap<u64, Vec<u8>>), OpenError> {
    let mut records = BTreeMap::new();
    let mut next = 1;
    let (log, _) = Log::open(options, &mut |record| {
        records.insert(next, record.to_vec());
        next += 1;
        Ok(())
    })?;
    Ok((log, records))
}

/// Not a test by itself: what the children run.
#[test]
fn child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let dir = std::env::var(DIR).unwrap();
    match task.as_str() {
        "write" => write_forever(Path::new(&dir)),
        "fill" => fill(Path::new(&dir)),
        "read-only" => open_read_only(Path::new(&dir)),
        other => panic!("unknown task {other}"),
    }
}

/// Writes from two threads and prints every number once it is acknowledged.
fn write_forever(dir: &Path) {
    let options = LogOptions { segment_bytes: 256 << 10, ..LogOptions::new(dir) };
    let (log, _) = replay(options).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nopen").unwrap();
    loop {
        let mut last = Lsn(0);
        for _ in 0..7 {
            last = log.append(&record(log.last().0 + 1)).unwrap();
        }
        log.wait(last, Instant::now() + Duration::from_secs(30)).unwrap();
        writeln!(out, "acknowledged {last}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn after_kill_9_at_any_moment_every_acknowledged_record_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..20 {
        let mut child = this_binary("write", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        while let Some(Ok(line)) = lines.next() {
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged = number.parse().unwrap();
                heard += 1;
            }
            if heard == 1 + round * 13 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard > round * 13, "the child wrote");
        let (log, records) = replay(LogOptions::new(dir.path())).unwrap();
        assert!(log.last().0 >= acknowledged, "{acknowledged} was acknowledged, {} is there", log.last());
        assert!(records.iter().all(|(number, bytes)| *bytes == record(*number)));
        assert_eq!(records.len() as u64, log.last().0);
    }
}

/// On a file system of 1 MiB: fills it, is told so, and goes on once there is room.
fn fill(dir: &Path) {
    let options = LogOptions {
        segment_bytes: 64 << 10,
        batch_bytes: 8 << 10,
        pending_bytes: 64 << 10,
        ..LogOptions::new(dir.join("log"))
    };
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 400 << 10]).unwrap();
    let (log, _) = replay(options.clone()).unwrap();
    let mut acknowledged = Lsn(0);
    let refused = loop {
        match log.append(&record(log.last().0 + 1)) {
            Err(error) => break error,
            Ok(lsn) => match log.wait(lsn, Instant::now() + Duration::from_secs(1)) {
                Ok(()) => acknowledged = lsn,
                Err(WaitError::Failing { failure, .. }) => {
                    assert!(failure.error.contains("No space left"), "{failure}");
                    // Nobody waits any more: the rest shows where memory ends.
                    while log.append(&record(log.last().0 + 1)).is_ok() {}
                }
                Err(error) => panic!("{error}"),
            },
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }));
    assert!(acknowledged > Lsn(0) && log.durable() == acknowledged);
    assert!(matches!(log.health(), Health::Failed(_)));
    std::fs::remove_file(&ballast).unwrap();
    log.wait(log.last(), Instant::now() + Duration::from_secs(60)).unwrap();
    assert_eq!(log.health(), Health::Ok);
    let last = log.last();
    drop(log);
    let (log, records) = replay(options).unwrap();
    assert_eq!((log.last(), records.len() as u64), (last, last.0));
    assert!(records.iter().all(|(number, bytes)| *bytes == record(*number)));
}

fn open_read_only(dir: &Path) {
    let error = replay(LogOptions::new(dir.join("log"))).map(drop).unwrap_err().to_string();
    assert!(error.contains("Read-only file system") && error.contains("remount"), "{error}");
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_is_survived() {
    in_small_file_system("fill", "true");
}

#[test]
fn a_read_only_disk_is_refused_with_what_to_do() {
    in_small_file_system("read-only", "mkdir $OUTWORK_STORE_DIR/log && mount -o remount,ro $OUTWORK_STORE_DIR");
}

/// Runs the child in a mount namespace of its own, on a tmpfs of 1 MiB.
fn in_small_file_system(task: &str, prepare: &str) {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size=1m none $OUTWORK_STORE_DIR && {prepare} && exec \"$@\"");
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(exe)
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, task)
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}

fn this_binary(task: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(CHILD, task).env(DIR, dir);
    command
}
