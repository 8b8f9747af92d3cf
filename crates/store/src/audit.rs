//! Who changed what, when, from where, and how it ended. Rows are added and in time dropped, never changed.

use std::time::SystemTime;

use rusqlite::{Connection, Row, ToSql, params};

use crate::database::{Migrations, millis, time};

pub(crate) const MIGRATIONS: Migrations = Migrations {
    component: "audit",
    steps: &["CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        actor TEXT NOT NULL,
        origin TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        succeeded INTEGER NOT NULL,
        detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX audit_at ON audit (at);"],
};

/// One change, done or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: SystemTime,
    /// Who: a token's name, or what of Outwork itself.
    pub actor: String,
    /// From where: an address, or `cli`.
    pub origin: String,
    /// What, as `subject.verb`: `lease.release`, `config.reload`.
    pub action: String,
    /// On what: an address, a subnet, a token's name.
    pub target: String,
    /// Whether it was done.
    pub succeeded: bool,
    /// What changed or why it was refused, as JSON or plain text. No secrets.
    pub detail: String,
}

/// An entry in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// Ascending, never used twice.
    pub id: i64,
    /// What was stored.
    pub entry: Entry,
}

/// Which entries; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// This actor.
    pub actor: Option<String>,
    /// This action; one that ends in `.` means every action that starts with it.
    pub action: Option<String>,
    /// This target.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<SystemTime>,
    /// Before.
    pub until: Option<SystemTime>,
}

/// Which part of a list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only entries with a lower id: the last id of the page before.
    pub before: Option<i64>,
    /// At most so many; capped at `MAX_PAGE`.
    pub limit: u32,
}

/// The largest page.
pub const MAX_PAGE: u32 = 1000;

/// Adds an entry; returns its id.
pub fn append(connection: &Connection, entry: &Entry) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "INSERT INTO audit (at, actor, origin, action, target, succeeded, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .insert(params![
            millis(entry.at),
            entry.actor,
            entry.origin,
            entry.action,
            entry.target,
            entry.succeeded,
            entry.detail
        ])
}

/// Lists entries, newest first.
pub fn list(connection: &Connection, filter: &Filter, page: Page) -> rusqlite::Result<Vec<StoredEntry>> {
    let mut sql = "SELECT id, at, actor, origin, action, target, succeeded, detail FROM audit WHERE 1".to_owned();
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut add = |condition: &str, value: Option<Box<dyn ToSql>>| {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(condition);
            values.push(value);
        }
    };
    let text = |value: &Option<String>| value.clone().map(|value| Box::new(value) as Box<dyn ToSql>);
    let number = |value: Option<i64>| value.map(|value| Box::new(value) as Box<dyn ToSql>);
    add("actor = ?", text(&filter.actor));
    let is_prefix = filter.action.as_ref().is_some_and(|action| action.ends_with('.'));
    add(if is_prefix { "instr(action, ?) = 1" } else { "action = ?" }, text(&filter.action));
    add("target = ?", text(&filter.target));
    add("at >= ?", number(filter.since.map(millis)));
    add("at < ?", number(filter.until.map(millis)));
    add("id < ?", number(page.before));
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(Box::new(page.limit.min(MAX_PAGE)));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(rusqlite::params_from_iter(values), stored)?;
    rows.collect()
}

/// Drops entries from before `before`, at most `limit` of them; returns how many.
pub fn prune(connection: &Connection, before: SystemTime, limit: u32) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)")?
        .execute(params![millis(before), limit])
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredEntry> {
    let entry = Entry {
        at: time(row.get(1)?),
        actor: row.get(2)?,
        origin: row.get(3)?,
        action: row.get(4)?,
        target: row.get(5)?,
        succeeded: row.get(6)?,
        detail: row.get(7)?,
    };
    Ok(StoredEntry { id: row.get(0)?, entry })
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
