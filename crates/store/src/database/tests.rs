use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};

use outwork_telemetry::{By, Gauge};
use tempfile::TempDir;

use super::*;

fn options(dir: &TempDir) -> DatabaseOptions {
    DatabaseOptions::new(dir.path().join("sub/outwork.db"))
}

const THINGS: Migrations =
    Migrations { component: "things", steps: &["CREATE TABLE things (name TEXT NOT NULL) STRICT"] };

fn pragma(connection: &Connection, name: &str) -> String {
    connection
        .pragma_query_value(None, name, |row| {
            Ok(match row.get_ref(0)? {
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => other.as_i64()?.to_string(),
            })
        })
        .unwrap()
}

#[test]
fn every_pragma_reaches_sqlite() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions {
        synchronous: Synchronous::Normal,
        cache_size: 1 << 20,
        mmap_size: 1 << 22,
        busy_timeout: Duration::from_millis(1234),
        page_size: 8192,
        ..options(&dir)
    };
    let database = Database::open(&options, &[]).unwrap();
    let names = ["journal_mode", "synchronous", "cache_size", "mmap_size", "busy_timeout", "page_size"];
    let ask = move |connection: &Connection| Ok(names.map(|name| pragma(connection, name)));
    let expected = ["wal", "1", "-1024", "4194304", "1234", "8192"].map(str::to_owned);
    assert_eq!(database.call(move |connection| ask(connection)).wait().unwrap(), expected);
    assert_eq!(database.read(ask).wait().unwrap(), expected);
}

#[test]
fn statements_stay_prepared_as_long_as_there_is_room_for_them() {
    let runs_before = |statements| {
        let dir = TempDir::new().unwrap();
        let database = Database::open(&DatabaseOptions { statements, ..options(&dir) }, &[]).unwrap();
        let runs = database.call(|connection| {
            connection.prepare_cached("SELECT 1")?.query_row([], |row| row.get::<_, i64>(0))?;
            Ok(connection.prepare_cached("SELECT 1")?.get_status(rusqlite::StatementStatus::Run))
        });
        runs.wait().unwrap()
    };
    assert_eq!((runs_before(1), runs_before(0)), (1, 0));
}

#[test]
fn another_page_size_rewrites_the_file_and_keeps_its_rows() {
    let dir = TempDir::new().unwrap();
    let first = options(&dir);
    let database = Database::open(&first, &[THINGS]).unwrap();
    database.call(|c| c.execute("INSERT INTO things VALUES ('kept')", [])).wait().unwrap();
    drop(database);
    let database = Database::open(&DatabaseOptions { page_size: 16_384, ..first }, &[THINGS]).unwrap();
    let found = database.read(|c| {
        let name: String = c.query_row("SELECT name FROM things", [], |row| row.get(0))?;
        Ok((name, pragma(c, "page_size"), pragma(c, "journal_mode")))
    });
    assert_eq!(found.wait().unwrap(), ("kept".to_owned(), "16384".to_owned(), "wal".to_owned()));
}

#[test]
fn rollback_journals_work_too() {
    for journal_mode in [JournalMode::Delete, JournalMode::Truncate, JournalMode::Persist] {
        let dir = TempDir::new().unwrap();
        let database = Database::open(&DatabaseOptions { journal_mode, ..options(&dir) }, &[THINGS]).unwrap();
        database.call(|c| c.execute("INSERT INTO things VALUES ('a')", [])).wait().unwrap();
        let count = database.read(|c| c.query_row("SELECT count(*) FROM things", [], |row| row.get::<_, i64>(0)));
        assert_eq!(count.wait().unwrap(), 1);
    }
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let error = Database::open(&DatabaseOptions { page_size: 1000, ..options(&dir) }, &[]).unwrap_err().to_string();
    assert!(error.contains("page_size is 1000: expected a power of two"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions::new(dir.path().join("outwork.db"));
    std::fs::write(&options.path, vec![b'x'; 8192]).unwrap();
    let error = Database::open(&options, &[]).unwrap_err().to_string();
    assert!(error.contains("outwork.db") && error.contains("move it away"), "{error}");
}

#[test]
fn each_migration_is_applied_once_and_a_later_or_changed_one_is_refused() {
    const TWO: Migrations =
        Migrations { component: "things", steps: &[THINGS.steps[0], "ALTER TABLE things ADD size INTEGER"] };
    const CHANGED: Migrations =
        Migrations { component: "things", steps: &["CREATE TABLE other (a INTEGER)", TWO.steps[1]] };
    let dir = TempDir::new().unwrap();
    for migrations in [THINGS, TWO, TWO] {
        Database::open(&options(&dir), &[migrations]).unwrap();
    }
    let later = Database::open(&options(&dir), &[THINGS]).unwrap_err().to_string();
    assert!(later.contains("migration 2 of things is unknown to this version"), "{later}");
    let changed = Database::open(&options(&dir), &[CHANGED]).unwrap_err().to_string();
    assert!(changed.contains("migration 1 of things is not the one that was applied"), "{changed}");
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() {
    const BROKEN: Migrations =
        Migrations { component: "things", steps: &["CREATE TABLE half (a INTEGER); CREATE NONSENSE"] };
    let dir = TempDir::new().unwrap();
    assert!(Database::open(&options(&dir), &[BROKEN]).is_err());
    let database = Database::open(&options(&dir), &[]).unwrap();
    let count = database
        .read(|c| c.query_row("SELECT count(*) FROM sqlite_master WHERE name = 'half'", [], |r| r.get::<_, i64>(0)));
    assert_eq!(count.wait().unwrap(), 0);
}

#[test]
fn a_reader_cannot_change_anything() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(&options(&dir), &[THINGS]).unwrap();
    assert!(database.read(|c| c.execute("INSERT INTO things VALUES ('a')", [])).wait().is_err());
}

#[test]
fn a_full_queue_refuses_and_counts() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(&DatabaseOptions { queue: 2, ..options(&dir) }, &[]).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel::<()>();
    let first = database.call(move |_| {
        started.send(()).unwrap();
        held.recv().unwrap();
        Ok(1)
    });
    start.recv().unwrap();
    let waiting = [database.call(|_| Ok(2)), database.call(|_| Ok(3))];
    assert!(matches!(database.call(|_| Ok(4)).wait(), Err(DatabaseError::Busy { limit: 2 })));
    let metrics = Arc::clone(database.metrics());
    let now = || {
        let of = |gauge: &By<Side, Gauge>| [gauge.of(Side::Write).get(), gauge.of(Side::Read).get()];
        (of(&metrics.waiting), of(&metrics.busy), metrics.refused.of(Side::Write).get())
    };
    assert_eq!(now(), ([2, 0], [1, 0], 1));
    release.send(()).unwrap();
    assert_eq!(first.wait().unwrap(), 1);
    assert_eq!(waiting.map(|reply| reply.wait().unwrap()), [2, 3]);
    database.read(|_| Ok(())).wait().unwrap();
    database.close();
    assert_eq!(now(), ([0, 0], [0, 0], 1));
    let done = [Side::Write, Side::Read]
        .map(|side| (metrics.queries.of(side).get(), metrics.query_time.of(side).snapshot().count()));
    assert_eq!(done, [(3, 3), (1, 1)]);
}

#[test]
fn a_job_that_panics_or_leaves_a_transaction_open_harms_only_itself() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(&options(&dir), &[THINGS]).unwrap();
    let panicked = database.call::<(), _>(|c| {
        c.execute_batch("BEGIN; INSERT INTO things VALUES ('lost')")?;
        panic!("a job's own fault")
    });
    assert!(matches!(panicked.wait(), Err(DatabaseError::Canceled)));
    let count = database.call(|c| c.query_row("SELECT count(*) FROM things", [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.wait().unwrap(), 0);
    assert_eq!(database.metrics().panics.of(Side::Write).get(), 1);
}

#[test]
fn a_close_does_what_waits_and_refuses_what_comes_later() {
    let dir = TempDir::new().unwrap();
    let database = Database::open(&options(&dir), &[THINGS]).unwrap();
    let replies: Vec<_> =
        (0..100).map(|_| database.call(|c| c.execute("INSERT INTO things VALUES ('a')", []))).collect();
    database.close();
    assert!(replies.into_iter().all(|reply| reply.wait().is_ok()));
    assert!(matches!(database.call(|_| Ok(())).wait(), Err(DatabaseError::Canceled)));
}

#[test]
fn a_close_leaves_everything_in_one_file_though_many_close_it() {
    let dir = TempDir::new().unwrap();
    let options = DatabaseOptions { readers: 8, ..options(&dir) };
    for round in 0..50 {
        let database = Database::open_apart(&options, &[THINGS]).unwrap();
        database.call(|c| c.execute("INSERT INTO things VALUES ('a')", [])).wait().unwrap();
        database.close();
        let names: Vec<_> = std::fs::read_dir(options.path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, [options.path.file_name().unwrap()], "in round {round}");
    }
}

#[test]
fn a_reply_can_be_awaited() {
    struct Flag(AtomicBool, std::thread::Thread);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Release);
            self.1.unpark();
        }
    }
    let dir = TempDir::new().unwrap();
    let database = Database::open(&options(&dir), &[]).unwrap();
    let (release, held) = mpsc::channel::<()>();
    let mut reply = pin!(database.call(move |_| {
        held.recv().unwrap();
        Ok(42)
    }));
    let flag = Arc::new(Flag(AtomicBool::new(false), std::thread::current()));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    assert!(reply.as_mut().poll(&mut context).is_pending());
    release.send(()).unwrap();
    while !flag.0.load(Ordering::Acquire) {
        std::thread::park();
    }
    assert!(matches!(reply.as_mut().poll(&mut context), Poll::Ready(Ok(42))));
}

#[test]
fn times_survive_the_table() {
    for number in [0, 1, -1, 1_800_000_000_123, -62_000_000_000_000] {
        assert_eq!(millis(time(number)), number);
    }
}

#[test]
fn the_database_and_its_log_are_for_nobody_elses_eyes() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    let database = Database::open(&options(&dir), &[THINGS]).unwrap();
    database.call(|c| c.execute("INSERT INTO things VALUES ('a')", [])).wait().unwrap();
    let files: Vec<_> = std::fs::read_dir(dir.path().join("sub")).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}
