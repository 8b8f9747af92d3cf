//! The pragmas of SQLite, typed. Meanings: <https://sqlite.org/pragma.html>.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::DatabaseError;

/// What `auto_vacuum` says of files whose free pages are given back when somebody asks for it.
const INCREMENTAL: u32 = 2;

outwork_config::choice! {
    /// How SQLite keeps a transaction atomic.
    pub enum JournalMode {
        /// A write-ahead log: readers and the writer do not wait for each other.
        Wal = "wal",
        /// A rollback journal, deleted after each transaction.
        Delete = "delete",
        /// A rollback journal, cut to nothing after each transaction.
        Truncate = "truncate",
        /// A rollback journal whose head is overwritten after each transaction.
        Persist = "persist",
    }
}

outwork_config::choice! {
    /// How often SQLite syncs.
    pub enum Synchronous {
        /// Never: a power loss may damage the database.
        Off = "off",
        /// At checkpoints: with a write-ahead log, a power loss may take the last transactions.
        Normal = "normal",
        /// At every transaction: what was acknowledged stays.
        Full = "full",
        /// Like `full`, and the directory after a journal was deleted.
        Extra = "extra",
    }
}

/// Where the database lives and how SQLite works on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// The database file; its directory is created where missing.
    pub path: PathBuf,
    /// How a transaction is kept atomic.
    pub journal_mode: JournalMode,
    /// How often SQLite syncs.
    pub synchronous: Synchronous,
    /// Bytes of pages that each connection may cache.
    pub cache_size: u64,
    /// Bytes of the file that are mapped into memory; 0 turns mapping off.
    pub mmap_size: u64,
    /// How long a statement waits for another process's lock.
    pub busy_timeout: Duration,
    /// Bytes of a page, a power of two from 512 to 65,536. A file with another page size is rewritten at open.
    pub page_size: u32,
    /// Connections for reading.
    pub readers: usize,
    /// Statements that each connection keeps prepared.
    pub statements: usize,
    /// Jobs that may wait for the writer, and as many for the readers.
    pub queue: usize,
}

impl DatabaseOptions {
    /// The defaults, at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            journal_mode: JournalMode::Wal,
            synchronous: Synchronous::Full,
            cache_size: 2 << 20,
            mmap_size: 0,
            busy_timeout: Duration::from_secs(5),
            page_size: 4096,
            readers: 2,
            statements: 64,
            queue: 1024,
        }
    }

    pub(super) fn check(&self) -> Result<(), DatabaseError> {
        let refuse = |option, got: String, expected| Err(DatabaseError::Option { option, got, expected });
        if !(512..=65_536).contains(&self.page_size) || !self.page_size.is_power_of_two() {
            return refuse("page_size", self.page_size.to_string(), "a power of two from 512 to 65536");
        }
        if !(1..=64).contains(&self.readers) {
            return refuse("readers", self.readers.to_string(), "1 to 64");
        }
        if self.statements > 10_000 {
            return refuse("statements", self.statements.to_string(), "at most 10000");
        }
        if self.queue == 0 {
            return refuse("queue", self.queue.to_string(), "at least 1");
        }
        if self.cache_size > 1 << 40 || self.mmap_size > 1 << 40 {
            let got = format!("{} and {}", self.cache_size, self.mmap_size);
            return refuse("cache_size, mmap_size", got, "at most 1 TiB");
        }
        if self.busy_timeout > Duration::from_secs(3600) {
            return refuse("busy_timeout", format!("{:?}", self.busy_timeout), "at most 1 h");
        }
        Ok(())
    }

    pub(super) fn connect_writer(&self) -> Result<Connection, DatabaseError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        self.lay_out(&connection).map_err(|source| self.failed(source))?;
        let wanted = self.journal_mode.word();
        let got: String = connection
            .pragma_update_and_check(None, "journal_mode", wanted, |row| row.get(0))
            .map_err(|source| self.failed(source))?;
        if got != wanted {
            return Err(DatabaseError::JournalMode { path: self.path.clone(), wanted, got });
        }
        Ok(connection)
    }

    pub(super) fn connect_reader(&self) -> Result<Connection, DatabaseError> {
        let connection = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "query_only", true).map_err(|source| self.failed(source))?;
        Ok(connection)
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection, DatabaseError> {
        let connect = || {
            let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            connection.busy_timeout(self.busy_timeout)?;
            connection.pragma_update(None, "synchronous", self.synchronous.word())?;
            // Negative means KiB instead of pages.
            let kib = i64::try_from(self.cache_size / 1024).unwrap_or(i64::MAX);
            connection.pragma_update(None, "cache_size", -kib)?;
            let mapped = i64::try_from(self.mmap_size).unwrap_or(i64::MAX);
            connection.pragma_update_and_check(None, "mmap_size", mapped, |_| Ok(())).or_else(no_rows)?;
            connection.pragma_update(None, "foreign_keys", true)?;
            connection.pragma_update(None, "temp_store", "memory")?;
            connection.set_prepared_statement_cache_capacity(self.statements);
            Ok(connection)
        };
        connect().map_err(|source| self.failed(source))
    }

    /// Sets the page size of a new file, and that it gives pages back by and by; an old one that is laid out in another way is rewritten.
    fn lay_out(&self, connection: &Connection) -> rusqlite::Result<()> {
        let current: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let vacuum: u32 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
        if current == self.page_size && vacuum == INCREMENTAL {
            return Ok(());
        }
        let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        if pages > 0 {
            let path = self.path.display();
            tracing::info!(%path, from = current, to = self.page_size, "rewriting the database with another layout of pages");
        }
        if pages > 0 && current != self.page_size {
            // With a write-ahead log the page size cannot change.
            connection.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))?;
        }
        connection.pragma_update(None, "page_size", self.page_size)?;
        connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
        connection.execute_batch("VACUUM")
    }

    fn failed(&self, source: rusqlite::Error) -> DatabaseError {
        DatabaseError::Sqlite { path: self.path.clone(), source }
    }
}

/// Where SQLite is built without memory mapping, its pragma answers nothing.
fn no_rows(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    }
}
