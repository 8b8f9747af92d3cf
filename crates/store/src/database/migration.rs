//! Numbered steps that bring a component's tables to what its code expects; each applied once, in a transaction.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::DatabaseError;

/// The steps of one component. Released steps never change: a change is a new step at the end.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// Whose tables, for instance `audit`.
    pub component: &'static str,
    /// One script a step, in order.
    pub steps: &'static [&'static str],
}

const RECORD: &str = "CREATE TABLE IF NOT EXISTS migrations (
    component TEXT NOT NULL,
    step INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (component, step)
) STRICT, WITHOUT ROWID";

impl Migrations {
    /// Applies the steps that are missing.
    pub(super) fn apply(&self, path: &Path, connection: &mut Connection) -> Result<(), DatabaseError> {
        let failed = |source| DatabaseError::Sqlite { path: path.to_owned(), source };
        let refused = |step, fault| DatabaseError::Migration {
            path: path.to_owned(),
            component: self.component.to_owned(),
            step,
            fault,
        };
        let done = self.done(connection).map_err(failed)?;
        if done.len() > self.steps.len() {
            return Err(refused(done.len(), "unknown to this version"));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let checksum = crc32fast::hash(step.as_bytes());
            match done.get(index) {
                Some(recorded) if *recorded == checksum => {}
                Some(_) => return Err(refused(index + 1, "not the one that was applied")),
                None => self.apply_step(connection, index + 1, step, checksum).map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Checksums of the steps applied so far.
    fn done(&self, connection: &Connection) -> rusqlite::Result<Vec<u32>> {
        connection.execute_batch(RECORD)?;
        let mut statement = connection.prepare("SELECT checksum FROM migrations WHERE component = ? ORDER BY step")?;
        statement.query_map([self.component], |row| row.get(0))?.collect()
    }

    fn apply_step(
        &self,
        connection: &mut Connection,
        number: usize,
        step: &str,
        checksum: u32,
    ) -> rusqlite::Result<()> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.execute(
            "INSERT INTO migrations (component, step, checksum) VALUES (?, ?, ?)",
            params![self.component, number as i64, checksum],
        )?;
        transaction.commit()
    }
}
