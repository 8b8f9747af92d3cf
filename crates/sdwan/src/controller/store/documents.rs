//! Documents in their tables: what there is, and each change of it with who made it.

use std::time::SystemTime;

use outwork_store::database::{millis, time};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::{Value as Json, json};

use super::enrolments;
use crate::channel::frame::MOST;
use crate::channel::message::UPLINKS;
use crate::network::check::{DocumentFault, check};
use crate::network::delta::{Change, Delta};
use crate::network::{Documents, Kind};

/// Documents that are gone and still told of one by one; who missed more gets everything.
const REMEMBERED: u32 = 10_000;

/// Octets of a document.
const LENGTH: usize = 32 << 10;
/// Octets of all documents: text in a text, in which each may take two, is to be no longer than a message.
const WEIGHT: usize = (MOST as usize - (1 << 20)) / 2;
/// Octets around each.
const AROUND: usize = 64;

/// How many documents of a kind there may be.
const fn most(kind: Kind) -> usize {
    match kind {
        Kind::Site => 16_384,
        Kind::Uplink => 65_536,
        // What a site can tell apart is less, and said by the sections that they are read as.
        Kind::Class | Kind::Application | Kind::Policy => 4096,
        Kind::Settings => 1,
    }
}

/// So many versions have marks.
const MARKS: i64 = 1 << 16;
/// By so much the version of the network may be brought forward: beyond it, whoever says so has mistyped.
pub const AHEAD: u64 = 1 << 20;

/// A document as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What it is about.
    pub kind: Kind,
    /// What it is known by.
    pub id: String,
    /// Counts its changes, from 1.
    pub version: u64,
    /// What it says.
    pub body: Json,
    /// When it was made.
    pub created: SystemTime,
    /// By whom.
    pub created_by: String,
    /// When it was changed last.
    pub updated: SystemTime,
    /// By whom.
    pub updated_by: String,
}

/// What a change takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none of that name.
    New,
    /// There is one, of this version.
    Version(u64),
    /// There is one, of whatever version.
    Any,
}

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// What it is about.
    pub kind: Kind,
    /// What it is known by.
    pub id: String,
    /// What it is to say; none where it is to go.
    pub body: Option<Json>,
    /// What it takes for granted.
    pub expect: Expect,
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq)]
pub enum EditError {
    /// There is one already.
    Exists(Box<Stored>),
    /// There is none.
    Missing,
    /// Somebody else has changed it meanwhile.
    Stale(Box<Stored>),
    /// The network would make no sense with it.
    Invalid(Vec<DocumentFault>),
}

/// The columns of a document, in the order in which [`stored`] reads them.
const COLUMNS: &str = "id, version, body, created, created_by, updated, updated_by";

fn stored(kind: Kind, row: &Row<'_>) -> rusqlite::Result<Stored> {
    let body: String = row.get(2)?;
    let unread = |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(error));
    Ok(Stored {
        kind,
        id: row.get(0)?,
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        body: serde_json::from_str(&body).map_err(unread)?,
        created: time(row.get(3)?),
        created_by: row.get(4)?,
        updated: time(row.get(5)?),
        updated_by: row.get(6)?,
    })
}

/// One document.
pub fn get(connection: &Connection, kind: Kind, id: &str) -> rusqlite::Result<Option<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE id = ?", kind.plural());
    connection.prepare_cached(&sql)?.query_row([id], |row| stored(kind, row)).optional()
}

/// Documents of a kind by id, those behind `after`, at most `limit`.
pub fn list(connection: &Connection, kind: Kind, after: &str, limit: usize) -> rusqlite::Result<Vec<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM {} WHERE id > ? ORDER BY id LIMIT ?", kind.plural());
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![after, limit as i64], |row| stored(kind, row))?.collect()
}

/// What the sites are called.
pub fn sites(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached("SELECT id FROM sites")?.query_map([], |row| row.get(0))?.collect()
}

/// All of them, as a site is told.
pub fn all(connection: &Connection) -> rusqlite::Result<Documents> {
    let mut documents = Documents::default();
    for kind in Kind::ALL {
        for Stored { id, body, .. } in list(connection, kind, "", i64::MAX as usize)? {
            documents.insert(kind, id, body);
        }
    }
    Ok(documents)
}

/// The version of the network, and the earliest that a delta can begin at.
pub fn revision(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get::<_, i64>(1)?.unsigned_abs()));
    connection.prepare_cached("SELECT latest, floor FROM revisions")?.query_row([], read)
}

/// Whether sites are told nothing until somebody has looked at what the network is.
pub fn is_held_back(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT held_back FROM revisions")?.query_row([], |row| row.get(0))
}

/// What tells a version from another one of the same number, which was made before this controller came out of a backup: a number by chance. 0 where none is known: of before
/// there were marks, or of what nobody is told the way from.
pub fn mark(connection: &Connection, version: u64) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("SELECT mark FROM marks WHERE revision = ?")?;
    Ok(statement.query_row([version.cast_signed()], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Whether a site was told what this controller does not know of: a later version than there is, or another one of the same number.
pub fn is_unknown(connection: &Connection, held: u64, told: i64) -> rusqlite::Result<bool> {
    let ours = mark(connection, held)?;
    Ok(held > revision(connection)?.0 || (ours != 0 && told != 0 && ours != told))
}

/// Where a site was told, by the mark that this had, a version that [is not known](is_unknown), this controller came out of a backup: the network's version becomes later than that
/// and than its own, as sites never go back, and from then on they are told nothing until [`accept`]. Says whether that is so.
pub fn hold_back(
    connection: &mut Connection,
    site: &str,
    (held, told): (u64, i64),
    now: SystemTime,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Removed meanwhile, it has nothing to say.
    if get(&transaction, Kind::Site, site)?.is_none() || !is_unknown(&transaction, held, told)? {
        return Ok(false);
    }
    let next = bring_forward(&transaction, held.max(revision(&transaction)?.0))?;
    transaction.execute("UPDATE revisions SET held_back = 1", [])?;
    audit(&transaction, now, &enrolments::known_as(site), "network.hold", &next.to_string(), "")?;
    transaction.commit()?;
    Ok(true)
}

/// Has sites told what the network is, which was held back, or though one of them holds a version up to `beyond` and cannot show that it was told that. Gives its version from then on;
/// none where neither is so.
pub fn accept(
    connection: &mut Connection,
    beyond: Option<u64>,
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Option<u64>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (latest, _) = revision(&transaction)?;
    let is_good = match beyond {
        Some(beyond) => (latest..=latest.saturating_add(AHEAD)).contains(&beyond),
        None => is_held_back(&transaction)?,
    };
    if !is_good {
        return Ok(None);
    }
    let version = beyond.map_or(Ok(latest), |beyond| bring_forward(&transaction, beyond))?;
    transaction.execute("UPDATE revisions SET held_back = 0", [])?;
    audit(&transaction, now, who, "network.accept", &version.to_string(), "")?;
    transaction.commit()?;
    Ok(Some(version))
}

/// Makes the network's version the one after this. Nobody holds what was in between: everybody is told everything.
fn bring_forward(connection: &Connection, version: u64) -> rusqlite::Result<u64> {
    let next = version.saturating_add(1);
    connection.execute("UPDATE revisions SET latest = ?1, floor = ?1", [next.cast_signed()])?;
    give_mark(connection, next.cast_signed())?;
    Ok(next)
}

/// Gives a version its mark, and forgets those of versions that nobody is told the way from. Of more than [`MARKS`], nobody is told it from the oldest.
fn give_mark(connection: &Connection, revision: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT OR REPLACE INTO marks VALUES (?, random())")?.execute([revision])?;
    connection.prepare_cached("UPDATE revisions SET floor = max(floor, ?)")?.execute([revision - MARKS])?;
    connection.prepare_cached("DELETE FROM marks WHERE revision < (SELECT floor FROM revisions)")?.execute([])?;
    Ok(())
}

/// What leads a site from the version that it has to that of now; none where it has that. A site that is too far behind, or that has a version that there is none of, is told
/// everything.
pub fn delta(connection: &Connection, network: &str, held: u64) -> rusqlite::Result<Option<Delta>> {
    // What is read is of one moment.
    let connection = connection.unchecked_transaction()?;
    let (to, floor) = revision(&connection)?;
    if held == to {
        return Ok(None);
    }
    let from = Some(held).filter(|held| (floor.max(1)..to).contains(held));
    let mut changes = vec![];
    for kind in Kind::ALL {
        let sql = format!("SELECT id, body FROM {} WHERE revision > ? ORDER BY id", kind.plural());
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([from.unwrap_or(0) as i64])?;
        while let Some(row) = rows.next()? {
            let body: String = row.get(1)?;
            let unread =
                |error: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error));
            let body = Some(serde_json::from_str(&body).map_err(unread)?);
            changes.push(Change { kind, id: row.get(0)?, body });
        }
        if let Some(from) = from {
            let mut gone = connection.prepare_cached("SELECT id FROM removed WHERE kind = ? AND revision > ?")?;
            let mut rows = gone.query(params![kind.word(), from as i64])?;
            while let Some(row) = rows.next()? {
                changes.push(Change { kind, id: row.get(0)?, body: None });
            }
        }
    }
    Ok(Some(Delta { network: network.to_owned(), from, to, changes }))
}

/// What changes come to, all of them or none: those that are asked for, and those that go with them. Nothing is written.
fn weigh(connection: &Connection, edits: &[Edit]) -> rusqlite::Result<Result<Vec<Edit>, EditError>> {
    let mut documents = all(connection)?;
    for Edit { kind, id, body, expect } in edits {
        let there = get(connection, *kind, id)?;
        match (expect, there) {
            (Expect::New, Some(there)) => return Ok(Err(EditError::Exists(Box::new(there)))),
            (Expect::Version(_) | Expect::Any, None) => return Ok(Err(EditError::Missing)),
            (Expect::Version(wanted), Some(there)) if there.version != *wanted => {
                return Ok(Err(EditError::Stale(Box::new(there))));
            }
            _ => {}
        }
        match body {
            Some(body) => documents.insert(*kind, id.clone(), body.clone()),
            None => drop(documents.remove(*kind, id)),
        }
    }
    let mut edits = edits.to_vec();
    // The uplinks of a site go with it.
    for Edit { id, .. } in edits.clone().iter().filter(|edit| edit.kind == Kind::Site && edit.body.is_none()) {
        let beginning = format!("{id}/");
        let uplinks: Vec<String> = documents.of(Kind::Uplink, &beginning).map(|(id, _)| id.to_owned()).collect();
        for id in uplinks {
            documents.remove(Kind::Uplink, &id);
            edits.push(Edit { kind: Kind::Uplink, id, body: None, expect: Expect::Any });
        }
    }
    let excess: Vec<_> = edits.iter().filter_map(|edit| excess(&documents, edit)).collect();
    if !excess.is_empty() {
        return Ok(Err(EditError::Invalid(excess)));
    }
    let weight = weight(&documents);
    if weight > WEIGHT {
        let found = format!("the network would be {weight} octets long, and sites could not be told of it");
        let expected = Some(format!("{WEIGHT} octets of all documents at most"));
        let fault = DocumentFault { of: None, field: String::new(), found, expected, help: None };
        return Ok(Err(EditError::Invalid(vec![fault])));
    }
    Ok(check(&documents).map(|_| edits).map_err(EditError::Invalid))
}

/// What a document says, and what it would say.
#[derive(Debug, Clone, PartialEq)]
pub struct Differs {
    /// What it is about.
    pub kind: Kind,
    /// What it is known by.
    pub id: String,
    /// What it says; none where it is not there.
    pub before: Option<Json>,
    /// What it would say; none where it would go.
    pub after: Option<Json>,
}

/// What would come of changes, were they made.
pub fn try_out(connection: &Connection, edits: &[Edit]) -> rusqlite::Result<Result<Vec<Differs>, EditError>> {
    // What is read is of one moment.
    let connection = connection.unchecked_transaction()?;
    let edits = match weigh(&connection, edits)? {
        Ok(edits) => edits,
        Err(error) => return Ok(Err(error)),
    };
    let differs = edits.into_iter().map(|Edit { kind, id, body, .. }| {
        let before = get(&connection, kind, &id)?.map(|before| before.body);
        Ok(Differs { kind, id, before, after: body })
    });
    differs.collect::<rusqlite::Result<_>>().map(Ok)
}

/// Makes changes, all or none, in the name of `who`, each with a row of the audit log. Gives what is there then; none of what is gone.
pub fn edit(
    connection: &mut Connection,
    edits: &[Edit],
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Result<Vec<Option<Stored>>, EditError>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let edits = match weigh(&transaction, edits)? {
        Ok(edits) => edits,
        Err(error) => return Ok(Err(error)),
    };
    let revision = revision(&transaction)?.0 as i64 + 1;
    let mut done = vec![];
    for edit in &edits {
        done.push(write(&transaction, edit, revision, who, now)?);
    }
    for Edit { id, .. } in edits.iter().filter(|edit| edit.kind == Kind::Site && edit.body.is_none()) {
        enrolments::expel(&transaction, id, who, now)?;
    }
    transaction.execute("UPDATE revisions SET latest = ?", [revision])?;
    give_mark(&transaction, revision)?;
    forget(&transaction)?;
    transaction.commit()?;
    Ok(Ok(done))
}

/// What of its bounds a change does not keep.
fn excess(documents: &Documents, Edit { kind, id, body, .. }: &Edit) -> Option<DocumentFault> {
    let body = body.as_ref()?;
    let (length, most) = (body.to_string().len(), most(*kind));
    let site = id.split_once('/').map(|(site, _)| format!("{site}/")).filter(|_| *kind == Kind::Uplink);
    let of_site = site.map_or(0, |beginning| documents.of(Kind::Uplink, &beginning).count());
    let (found, expected) = if length > LENGTH {
        (format!("it is {length} octets long"), format!("{LENGTH} at most"))
    } else if documents.of(*kind, "").count() > most {
        (format!("there would be more than {most} {}", kind.plural()), format!("{most} at most"))
    } else if of_site > UPLINKS {
        (format!("its site would have more than {UPLINKS} uplinks"), format!("{UPLINKS} at most"))
    } else {
        return None;
    };
    let of = Some((*kind, id.clone()));
    Some(DocumentFault { of, field: String::new(), found, expected: Some(expected), help: None })
}

/// Octets of all documents, as they are sent.
fn weight(documents: &Documents) -> usize {
    documents.iter().map(|(_, id, body)| AROUND + id.len() + body.to_string().len()).sum()
}

fn write(
    connection: &Connection,
    edit: &Edit,
    revision: i64,
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Option<Stored>> {
    let Edit { kind, id, body, .. } = edit;
    let before = get(connection, *kind, id)?;
    let verb = match (&before, body) {
        (None, _) => "add",
        (Some(_), Some(_)) => "change",
        (Some(_), None) => "remove",
    };
    match body {
        Some(body) => {
            let sql = format!(
                "INSERT INTO {} (id, body, version, revision, created, created_by, updated, updated_by)
                 VALUES (?1, ?2, 1, ?3, ?4, ?5, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = version + 1,
                 revision = excluded.revision, updated = excluded.updated, updated_by = excluded.updated_by",
                kind.plural()
            );
            connection.prepare_cached(&sql)?.execute(params![id, body.to_string(), revision, millis(now), who])?;
            connection
                .prepare_cached("DELETE FROM removed WHERE kind = ? AND id = ?")?
                .execute(params![kind.word(), id])?;
        }
        None => {
            connection.prepare_cached(&format!("DELETE FROM {} WHERE id = ?", kind.plural()))?.execute([id])?;
            connection
                .prepare_cached("INSERT OR REPLACE INTO removed (kind, id, revision) VALUES (?, ?, ?)")?
                .execute(params![kind.word(), id, revision])?;
        }
    }
    let detail = json!({ "before": before.map(|before| before.body), "after": body });
    audit(connection, now, who, &format!("{kind}.{verb}"), id, &detail.to_string())?;
    connection
        .prepare_cached("UPDATE audit_logs SET revision = ? WHERE id = last_insert_rowid()")?
        .execute([revision])?;
    get(connection, *kind, id)
}

/// Adds a row to the audit log.
pub fn audit(
    connection: &Connection,
    now: SystemTime,
    who: &str,
    what: &str,
    target: &str,
    detail: &str,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO audit_logs (timestamp, username, event_type, target, detail) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![millis(now), who, what, target, detail])
        .map(drop)
}

/// Forgets what has been gone for longest, where that is too much.
fn forget(connection: &Connection) -> rusqlite::Result<()> {
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT revision FROM removed ORDER BY revision DESC LIMIT 1 OFFSET ?")?
        .query_row([REMEMBERED], |row| row.get(0))
        .optional()?;
    let Some(oldest) = oldest else { return Ok(()) };
    connection.execute("DELETE FROM removed WHERE revision <= ?", [oldest])?;
    connection.execute("UPDATE revisions SET floor = max(floor, ?)", [oldest]).map(drop)
}

#[cfg(test)]
#[path = "documents_tests.rs"]
mod tests;
