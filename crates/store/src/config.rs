//! The `[store]` section of the configuration file, and what it says to the log and to SQLite.

use std::path::PathBuf;
use std::time::Duration;

use outwork_config::{At, ByteSize, Fault, choice, millis, secs, section};

use crate::database::{DatabaseOptions, JournalMode, Synchronous};
use crate::log::{Compression, Durability, LogOptions};

/// The database's file in the data directory.
const DATABASE: &str = "outwork.db";

section! {
    /// Where Outwork keeps what must outlive it, and how it trades latency, throughput and memory for that.
    pub struct Store {
        /// Directory of everything that is kept. Only one Outwork can use it at a time. A relative path begins at the configuration file's
        /// folder; that of a flag or a variable, at the working directory.
        pub data_dir: PathBuf [restart] = "data",
        /// When a change counts as kept, so that it may be acknowledged.
        pub durability: Durability [restart] = Durability::Fsync,
        /// Changes that one write and sync carries at most.
        pub batch_records: u32 [restart, range 1..=1_000_000] = 65_536,
        /// Bytes that one write and sync carries at most.
        pub batch_bytes: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::mib(256)] = ByteSize::mib(4),
        /// How long after one write and sync changes may gather before the next begins: fewer syncs under load. A change that comes later
        /// than that is written at once. With 0, whatever arrives during one sync shares the next.
        pub batch_delay: Duration [restart, range millis(0)..=secs(1)] = Duration::from_micros(300),
        /// Bytes of changes that may wait in memory while the disk is slow or failing. Beyond it changes are refused.
        pub pending_bytes: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(16)] = ByteSize::mib(64),
        /// Size of one log file, written full of zeroes ahead of need.
        pub segment_bytes: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(4)] = ByteSize::mib(16),
        /// A snapshot replaces the log when it has grown by this much.
        pub compact_at_bytes: ByteSize [restart, range ByteSize::kib(64)..=ByteSize::gib(1024)] = ByteSize::mib(256),
        /// How snapshots are stored.
        pub snapshot_compression: SnapshotCompression [restart] = SnapshotCompression::Zstd,
        /// Zstandard level of snapshots: 1 is fast, 22 is small.
        pub snapshot_level: u8 [restart, range 1..=22] = 1,
        /// The database for what is queried: metrics history, audit log, API tokens.
        pub sqlite: Sqlite,
    }
    check pending_holds_a_batch;
}

choice! {
    /// How snapshots are stored.
    pub enum SnapshotCompression {
        /// As they are.
        None = "none",
        /// Compressed with Zstandard.
        Zstd = "zstd",
    }
}

section! {
    /// How SQLite works on its file. What the words mean: <https://sqlite.org/pragma.html>.
    pub struct Sqlite {
        /// How a transaction is kept atomic.
        pub journal_mode: JournalMode [restart] = JournalMode::Wal,
        /// How often SQLite syncs.
        pub synchronous: Synchronous [restart] = Synchronous::Full,
        /// Memory for pages, for each connection.
        pub cache_size: ByteSize [restart, range ByteSize::bytes(0)..=ByteSize::gib(1024)] = ByteSize::mib(2),
        /// How much of the file is mapped into memory; 0 turns mapping off.
        pub mmap_size: ByteSize [restart, range ByteSize::bytes(0)..=ByteSize::gib(1024)] = ByteSize::bytes(0),
        /// How long a statement waits for another process's lock.
        pub busy_timeout: Duration [restart, range millis(0)..=secs(3600)] = secs(5),
        /// Bytes of a page, a power of two. A file with another page size is rewritten at start.
        pub page_size: u32 [restart, range 512..=65_536] = 4096,
        /// Connections for reading.
        pub readers: u16 [restart, range 1..=64] = 2,
        /// Statements that each connection keeps prepared.
        pub statements: u16 [restart, range 0..=10_000] = 64,
        /// Jobs that may wait for the writer, and as many for the readers. Beyond it they are refused.
        pub queue: u32 [restart, range 1..=1_000_000] = 1024,
    }
    check page_size_is_a_power_of_two;
}

fn pending_holds_a_batch(store: &Store, at: &mut At<'_>) {
    if store.pending_bytes < store.batch_bytes {
        let fault = Fault::new(format!("{} is less than batch_bytes, {}", store.pending_bytes, store.batch_bytes));
        at.fault("pending_bytes", fault.expected("at least batch_bytes"));
    }
}

fn page_size_is_a_power_of_two(sqlite: &Sqlite, at: &mut At<'_>) {
    check_page_size(sqlite.page_size, at);
}

/// Has a section whose `page_size` SQLite cannot have say so.
pub fn check_page_size(size: u32, at: &mut At<'_>) {
    if !size.is_power_of_two() {
        let fault = Fault::new(format!("{size} is not a power of two"));
        at.fault("page_size", fault.expected("512, 1024, 2048, 4096, 8192, 16384, 32768 or 65536"));
    }
}

impl Store {
    /// Options of the log called `name`, a directory in the data directory.
    pub fn log(&self, name: &str) -> LogOptions {
        LogOptions {
            dir: self.data_dir.join(name),
            durability: self.durability,
            batch_records: self.batch_records,
            batch_bytes: self.batch_bytes.as_usize(),
            batch_delay: self.batch_delay,
            segment_bytes: self.segment_bytes.get(),
            pending_bytes: self.pending_bytes.as_usize(),
            compact_at_bytes: self.compact_at_bytes.get(),
            compression: match self.snapshot_compression {
                SnapshotCompression::None => Compression::None,
                SnapshotCompression::Zstd => Compression::Zstd(i32::from(self.snapshot_level)),
            },
        }
    }

    /// Options of the database.
    pub fn database(&self) -> DatabaseOptions {
        let Sqlite { journal_mode, synchronous, busy_timeout, page_size, .. } = self.sqlite;
        DatabaseOptions {
            path: self.data_dir.join(DATABASE),
            journal_mode,
            synchronous,
            cache_size: self.sqlite.cache_size.get(),
            mmap_size: self.sqlite.mmap_size.get(),
            busy_timeout,
            page_size,
            readers: usize::from(self.sqlite.readers),
            statements: usize::from(self.sqlite.statements),
            queue: self.sqlite.queue as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use outwork_config::{Sources, load};

    use super::*;

    section! {
        /// A file with nothing else.
        struct Root {
            /// The store.
            store: Store,
        }
    }

    fn read(file: &str) -> Result<Store, String> {
        let sources = Sources { file: Some(("test.toml".into(), file.into())), env: vec![], set: vec![] };
        load::<Root>(sources).map(|loaded| loaded.value.store).map_err(|faults| faults.render(false))
    }

    #[test]
    fn the_defaults_of_the_file_are_the_defaults_of_the_options() {
        let store = read("").unwrap();
        assert_eq!(store.log("leases"), LogOptions::new("data/leases"));
        assert_eq!(store.database(), DatabaseOptions::new("data/outwork.db"));
    }

    #[test]
    fn every_key_reaches_its_option() {
        let store = read(
            "[store]\ndata_dir = '/d'\ndurability = 'os'\nbatch_records = 7\nbatch_bytes = '80KiB'\nbatch_delay = '3ms'\n\
             pending_bytes = '90KiB'\nsegment_bytes = '1MiB'\ncompact_at_bytes = '2MiB'\nsnapshot_compression = 'zstd'\n\
             snapshot_level = 5\n[store.sqlite]\njournal_mode = 'delete'\nsynchronous = 'off'\ncache_size = '3MiB'\n\
             mmap_size = '4MiB'\nbusy_timeout = '6s'\npage_size = 8192\nreaders = 3\nstatements = 9\nqueue = 11\n",
        )
        .unwrap();
        let log = LogOptions {
            dir: "/d/leases".into(),
            durability: Durability::Os,
            batch_records: 7,
            batch_bytes: 80 << 10,
            batch_delay: millis(3),
            segment_bytes: 1 << 20,
            pending_bytes: 90 << 10,
            compact_at_bytes: 2 << 20,
            compression: Compression::Zstd(5),
        };
        assert_eq!(store.log("leases"), log);
        let database = DatabaseOptions {
            path: "/d/outwork.db".into(),
            journal_mode: JournalMode::Delete,
            synchronous: Synchronous::Off,
            cache_size: 3 << 20,
            mmap_size: 4 << 20,
            busy_timeout: secs(6),
            page_size: 8192,
            readers: 3,
            statements: 9,
            queue: 11,
        };
        assert_eq!(store.database(), database);
        assert_eq!(read("[store]\nsnapshot_compression = 'none'").unwrap().log("x").compression, Compression::None);
    }

    #[test]
    fn what_cannot_work_is_refused_where_it_stands() {
        let text = read("[store]\nbatch_bytes = '8MiB'\npending_bytes = '1MiB'\n[store.sqlite]\npage_size = 5000")
            .unwrap_err();
        assert!(text.contains("test.toml:3") && text.contains("at least batch_bytes"), "{text}");
        assert!(text.contains("test.toml:5") && text.contains("not a power of two"), "{text}");
    }
}
