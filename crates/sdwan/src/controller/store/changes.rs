//! What has changed of the network, by the audit log, and what takes a change back.

use std::time::SystemTime;

use outwork_store::database::time;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value as Json;

use super::documents::{Edit, EditError, Expect, get};
use crate::network::Kind;

/// A row of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// Its number, ascending.
    pub id: i64,
    /// When.
    pub at: SystemTime,
    /// Who.
    pub who: String,
    /// What, as `policy.change`.
    pub what: String,
    /// On what.
    pub target: String,
    /// What was there before and after, as JSON.
    pub detail: String,
    /// The version of the network that it has made, with all changes that were made at once; none where it has made none.
    pub revision: Option<u64>,
}

/// The audit log, the latest first, rows before `before`.
pub fn audited(connection: &Connection, before: Option<i64>, limit: usize) -> rusqlite::Result<Vec<Audited>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, timestamp, username, event_type, target, detail, revision FROM audit_logs
         WHERE id < ? ORDER BY id DESC LIMIT ?",
    )?;
    let row = |row: &Row<'_>| {
        Ok(Audited {
            id: row.get(0)?,
            at: time(row.get(1)?),
            who: row.get(2)?,
            what: row.get(3)?,
            target: row.get(4)?,
            detail: row.get(5)?,
            revision: row.get::<_, Option<i64>>(6)?.map(i64::unsigned_abs),
        })
    };
    statement.query_map(params![before.unwrap_or(i64::MAX), limit as i64], row)?.collect()
}

/// Why a change is not taken back.
#[derive(Debug, Clone, PartialEq)]
pub enum UndoError {
    /// There is no such change, or it is gone from the log.
    Unknown,
    /// It is of another kind than changes of documents.
    NotOfDocuments(String),
    /// What it has left was changed since.
    Changed(Box<EditError>),
}

/// A change of one document, by the audit log.
struct Made {
    kind: Kind,
    id: String,
    before: Option<Json>,
    after: Option<Json>,
}

/// What a row says was made of a document; none where it is about something else.
fn made(what: &str, target: String, detail: &str) -> Option<Made> {
    let (kind, verb) = what.split_once('.')?;
    let kind = Kind::ALL.into_iter().find(|one| one.word() == kind)?;
    if !["add", "change", "remove"].contains(&verb) {
        return None;
    }
    let detail: Json = serde_json::from_str(detail).ok()?;
    let side = |key: &str| detail.get(key).filter(|body| body.is_object()).cloned();
    Some(Made { kind, id: target, before: side("before"), after: side("after") })
}

/// The number of the latest change of documents.
fn latest(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT max(id) FROM audit_logs WHERE revision IS NOT NULL")?
        .query_row([], |row| row.get(0))
}

/// What takes a change back, with all that was made with it: the one of that number, or the latest. Where what it has left was changed since, it is not taken back: that would take back more.
pub fn undo(connection: &Connection, change: Option<i64>) -> rusqlite::Result<Result<Vec<Edit>, UndoError>> {
    let change = match change {
        Some(change) => Some(change),
        None => latest(connection)?,
    };
    let found: Option<(Option<i64>, String)> = connection
        .prepare_cached("SELECT revision, event_type FROM audit_logs WHERE id = ?")?
        .query_row([change], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((revision, what)) = found else { return Ok(Err(UndoError::Unknown)) };
    let mut statement = connection.prepare_cached(
        "SELECT event_type, target, detail FROM audit_logs WHERE id = ?1 OR revision = ?2 ORDER BY id DESC",
    )?;
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let rows: Vec<_> = statement.query_map(params![change, revision], row)?.collect::<rusqlite::Result<_>>()?;
    let all: Vec<_> = rows.into_iter().filter_map(|(what, target, detail)| made(&what, target, &detail)).collect();
    if all.is_empty() {
        return Ok(Err(UndoError::NotOfDocuments(what)));
    }
    let mut edits = vec![];
    for Made { kind, id, before, after } in all {
        let there = get(connection, kind, &id)?;
        let expect = match (there, after) {
            (None, None) => Expect::New,
            (Some(there), Some(after)) if there.body == after => Expect::Version(there.version),
            (Some(there), Some(_)) => return Ok(Err(UndoError::Changed(Box::new(EditError::Stale(Box::new(there)))))),
            (Some(there), None) => return Ok(Err(UndoError::Changed(Box::new(EditError::Exists(Box::new(there)))))),
            (None, Some(_)) => return Ok(Err(UndoError::Changed(Box::new(EditError::Missing)))),
        };
        edits.push(Edit { kind, id, body: before, expect });
    }
    Ok(Ok(edits))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::super::documents::{all, audit, edit, try_out};
    use super::super::tests::open;
    use super::*;
    use crate::network::Documents;

    const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

    fn of(kind: Kind, body: Json, expect: Expect) -> Edit {
        Edit { kind, id: kind.id_of(&body).unwrap(), body: Some(body), expect }
    }

    fn make(connection: &mut Connection, edits: &[Edit]) {
        edit(connection, edits, "ann", UNIX_EPOCH).unwrap().unwrap();
    }

    fn take_back(connection: &mut Connection, change: Option<i64>) -> Result<(), UndoError> {
        let edits = undo(connection, change).unwrap()?;
        make(connection, &edits);
        Ok(())
    }

    fn documents(connection: &Connection) -> Documents {
        all(connection).unwrap()
    }

    fn policy(class: &str) -> Json {
        json!({ "name": "calls", "class": class })
    }

    #[test]
    fn each_change_is_taken_back_and_that_as_well() {
        let (_dir, mut connection) = open();
        let nothing = documents(&connection);
        make(&mut connection, &[of(Kind::Policy, policy("voice"), Expect::New)]);
        let made = documents(&connection);
        make(&mut connection, &[of(Kind::Policy, policy("video"), Expect::Any)]);
        let changed = documents(&connection);
        take_back(&mut connection, None).unwrap();
        assert_eq!(documents(&connection), made);
        take_back(&mut connection, None).unwrap();
        assert_eq!(documents(&connection), changed, "the last change was that");
        take_back(&mut connection, Some(2)).unwrap();
        take_back(&mut connection, Some(1)).unwrap();
        assert_eq!(documents(&connection), nothing);
    }

    #[test]
    fn settings_of_all_sites_are_taken_back_as_well() {
        let (_dir, mut connection) = open();
        let of_all = |misses: u32| of(Kind::Settings, json!({ "health": { "misses": misses } }), Expect::Any);
        make(&mut connection, &[Edit { expect: Expect::New, ..of_all(4) }]);
        let made = documents(&connection);
        make(&mut connection, &[of_all(5)]);
        take_back(&mut connection, None).unwrap();
        assert_eq!(documents(&connection), made);
    }

    #[test]
    fn a_site_that_was_removed_comes_back_with_its_uplinks() {
        let (_dir, mut connection) = open();
        let uplink = |name: &str, octet: u8| {
            use base64::Engine as _;
            let key = base64::engine::general_purpose::STANDARD.encode([octet; 32]);
            of(Kind::Uplink, json!({ "site": "north", "name": name, "public_key": key }), Expect::New)
        };
        let site = of(Kind::Site, json!({ "name": "north" }), Expect::New);
        make(&mut connection, &[site, uplink("fibre", 1), uplink("lte", 2)]);
        let there = documents(&connection);
        make(&mut connection, &[Edit { kind: Kind::Site, id: "north".to_owned(), body: None, expect: Expect::Any }]);
        assert!(documents(&connection).is_empty());
        take_back(&mut connection, None).unwrap();
        assert_eq!(documents(&connection), there);
    }

    #[test]
    fn what_was_changed_since_is_not_taken_back_nor_what_is_no_change_of_a_document() {
        let (_dir, mut connection) = open();
        make(&mut connection, &[of(Kind::Policy, policy("voice"), Expect::New)]);
        make(&mut connection, &[of(Kind::Policy, policy("video"), Expect::Any)]);
        let late = undo(&connection, Some(1)).unwrap();
        assert!(matches!(late, Err(UndoError::Changed(error)) if matches!(*error, EditError::Stale(_))));
        audit(&connection, UNIX_EPOCH, "ann", "site.revoke", "north", "").unwrap();
        assert_eq!(undo(&connection, Some(3)).unwrap(), Err(UndoError::NotOfDocuments("site.revoke".to_owned())));
        assert_eq!(undo(&connection, Some(99)).unwrap(), Err(UndoError::Unknown));
        assert!(undo(&connection, None).unwrap().is_ok(), "the latest of documents");
    }

    #[test]
    fn what_is_tried_says_what_would_change_and_what_is_wrong_and_changes_nothing() {
        let (_dir, mut connection) = open();
        let site = of(Kind::Site, json!({ "name": "north" }), Expect::New);
        let uplink = of(Kind::Uplink, json!({ "site": "north", "name": "fibre", "public_key": KEY }), Expect::New);
        make(&mut connection, &[site, uplink]);
        let there = documents(&connection);
        let gone = Edit { kind: Kind::Site, id: "north".to_owned(), body: None, expect: Expect::Version(1) };
        let differs = try_out(&connection, std::slice::from_ref(&gone)).unwrap().unwrap();
        let told: Vec<_> =
            differs.iter().map(|one| (one.id.as_str(), one.before.is_some(), one.after.is_some())).collect();
        assert_eq!(told, [("north", true, false), ("north/fibre", true, false)]);
        let odd = of(Kind::Policy, policy("nowhere"), Expect::New);
        assert!(matches!(try_out(&connection, &[odd]).unwrap(), Err(EditError::Invalid(_))));
        let stale = Edit { expect: Expect::Version(7), ..gone };
        assert!(matches!(try_out(&connection, &[stale]).unwrap(), Err(EditError::Stale(_))));
        assert_eq!(documents(&connection), there);
        assert_eq!(audited(&connection, None, 99).unwrap().len(), 2, "nor does the log say so");
    }
}
