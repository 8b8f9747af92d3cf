//! Whether a database is sound, and what it can give back: for a file that nobody has open, and for one that a server works on.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::DatabaseError;

/// Pages that are given back in one transaction, so that others come in between.
const SLICE: u32 = 1000;
/// What is wrong is told so often at most.
const FAULTS: u32 = 100;

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintained {
    /// What is wrong with the file; empty where it is sound.
    pub faults: Vec<String>,
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes after.
    pub after: u64,
    /// Bytes in it that hold nothing, and were not given back.
    pub free: u64,
}

/// Looks a database over. Where it is sound and `gives_back`, statistics for queries are brought up to date, and pages that hold nothing go back to the file system, some at a
/// time.
///
/// # Errors
/// When the file cannot be opened, or SQLite refuses.
pub fn maintain(path: &Path, patience: Duration, gives_back: bool) -> Result<Maintained, DatabaseError> {
    let work = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(patience)?;
        let faults = faults(&connection)?;
        let before = size(&connection)?;
        if gives_back && faults.is_empty() {
            optimize(&connection)?;
            while give_back(&connection, SLICE)? {}
            run(&connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        }
        let free = number(&connection, "freelist_count")? * number(&connection, "page_size")?;
        Ok(Maintained { faults, before, after: size(&connection)?, free })
    };
    work().map_err(|source| DatabaseError::Sqlite { path: path.to_owned(), source })
}

/// Gives at most `pages` pages back that hold nothing. Says whether there are more.
///
/// # Errors
/// When SQLite refuses.
pub fn give_back(connection: &Connection, pages: u32) -> rusqlite::Result<bool> {
    let before = number(connection, "freelist_count")?;
    if before == 0 {
        return Ok(false);
    }
    run(connection, &format!("PRAGMA incremental_vacuum({pages})"))?;
    let after = number(connection, "freelist_count")?;
    // A file that is laid out in another way gives nothing back.
    Ok(after > 0 && after < before)
}

/// Has SQLite look at tables again whose content has changed much, for its plans. All of them (0x10000), not only those that this connection has asked: one that was opened for this has asked
/// none. It looks at a part of each (0x10), so that others do not wait for long.
///
/// # Errors
/// When SQLite refuses.
pub fn optimize(connection: &Connection) -> rusqlite::Result<()> {
    run(connection, "PRAGMA optimize = 0x10012")
}

fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
    let told: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(told.into_iter().filter(|line| line != "ok").collect())
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let number: i64 = connection.pragma_query_value(None, pragma, |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

fn size(connection: &Connection) -> rusqlite::Result<u64> {
    Ok(number(connection, "page_count")? * number(connection, "page_size")?)
}

/// Runs a statement to its end, whatever it answers: each step of a pragma may be a part of the work.
fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use tempfile::TempDir;

    use super::*;
    use crate::database::{Database, DatabaseOptions, Migrations};

    const PATIENCE: Duration = Duration::from_secs(5);
    const THINGS: Migrations =
        Migrations { component: "things", steps: &["CREATE TABLE things (name TEXT NOT NULL) STRICT"] };

    /// A database that has had much in it.
    fn emptied(dir: &TempDir) -> (DatabaseOptions, Database) {
        let options = DatabaseOptions::new(dir.path().join("outwork.db"));
        let database = Database::open_apart(&options, &[THINGS]).unwrap();
        let fill = "INSERT INTO things WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
            SELECT hex(randomblob(100)) FROM n";
        database.call(|c| c.execute(fill, [])).wait().unwrap();
        database.call(|c| c.execute("DELETE FROM things", [])).wait().unwrap();
        (options, database)
    }

    #[test]
    fn what_holds_nothing_goes_back_while_a_server_has_the_database_open() {
        let dir = TempDir::new().unwrap();
        let (options, database) = emptied(&dir);
        let found = maintain(&options.path, PATIENCE, false).unwrap();
        assert!(found.faults.is_empty() && found.free > 0 && found.after == found.before, "{found:?}");
        let done = maintain(&options.path, PATIENCE, true).unwrap();
        assert!(done.free == 0 && done.after < done.before, "{done:?}");
        database.call(|c| c.execute("INSERT INTO things VALUES ('still there')", [])).wait().unwrap();
    }

    #[test]
    fn statistics_of_a_table_that_has_grown_since_are_made_anew() {
        let dir = TempDir::new().unwrap();
        let options = DatabaseOptions::new(dir.path().join("outwork.db"));
        let database = Database::open_apart(&options, &[THINGS]).unwrap();
        let fill = |rows: u32| {
            let fill = format!(
                "INSERT INTO things WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                 SELECT 'thing ' || i FROM n"
            );
            database.call(move |c| c.execute(&fill, [])).wait().unwrap();
        };
        database.call(|c| c.execute_batch("CREATE INDEX things_name ON things (name)")).wait().unwrap();
        fill(100);
        database.call(|c| c.execute_batch("ANALYZE")).wait().unwrap();
        fill(100_000);
        maintain(&options.path, PATIENCE, true).unwrap();
        let rows = "SELECT CAST(stat AS INTEGER) FROM sqlite_stat1 WHERE idx = 'things_name'";
        let told: i64 = Connection::open(&options.path).unwrap().query_row(rows, [], |row| row.get(0)).unwrap();
        // It is estimated.
        assert!(told > 10_000, "{told} rows");
    }

    #[test]
    fn a_server_gives_back_some_at_a_time() {
        let dir = TempDir::new().unwrap();
        let (_, database) = emptied(&dir);
        let mut slices = 0;
        while database.call(|c| give_back(c, 10)).wait().unwrap() {
            slices += 1;
        }
        assert!(slices > 3, "{slices}");
    }

    #[test]
    fn a_damaged_file_is_told_of_and_left_alone() {
        let dir = TempDir::new().unwrap();
        let (options, database) = emptied(&dir);
        drop(database);
        let mut file = std::fs::OpenOptions::new().write(true).open(&options.path).unwrap();
        // The second page and those behind it, not the head.
        file.seek(SeekFrom::Start(4096)).unwrap();
        file.write_all(&vec![0x5a; 40_960]).unwrap();
        drop(file);
        let size = std::fs::metadata(&options.path).unwrap().len();
        match maintain(&options.path, PATIENCE, true) {
            Ok(found) => assert!(!found.faults.is_empty(), "{found:?}"),
            // So much may be damaged that SQLite does not even begin.
            Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
        }
        assert_eq!(std::fs::metadata(&options.path).unwrap().len(), size);
    }

    #[test]
    fn a_file_of_before_is_laid_out_so_that_it_can_give_back() {
        let dir = TempDir::new().unwrap();
        let options = DatabaseOptions::new(dir.path().join("outwork.db"));
        let old = Connection::open(&options.path).unwrap();
        old.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE things (name TEXT NOT NULL) STRICT;").unwrap();
        old.execute("INSERT INTO things VALUES ('kept')", []).unwrap();
        drop(old);
        let database = Database::open_apart(&options, &[]).unwrap();
        let ask = |c: &Connection| {
            let vacuum: u32 = c.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
            Ok((vacuum, c.query_row("SELECT name FROM things", [], |row| row.get::<_, String>(0))?))
        };
        assert_eq!(database.read(ask).wait().unwrap(), (2, "kept".to_owned()));
    }
}
