//! Tokens for enrolment, and the certificates that were given for them.

use std::time::{Duration, SystemTime};

use outwork_store::database::{millis, time};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::{Value as Json, json};

use super::documents::{Edit, EditError, Expect, audit, edit, get};
use crate::channel::token::Token;
use crate::network::Kind;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its number.
    pub id: i64,
    /// The site that it is for.
    pub site: String,
    /// When it was made.
    pub created: SystemTime,
    /// By whom.
    pub created_by: String,
    /// From when on it is good no longer.
    pub expires: SystemTime,
    /// When it was used.
    pub used: Option<SystemTime>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Its serial number in hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub site: String,
    /// When it was made.
    pub issued: SystemTime,
    /// Until when it is good.
    pub expires: SystemTime,
    /// From when on it is believed no longer.
    pub revoked: Option<SystemTime>,
}

/// Why a token does not let anybody in. Whoever shows it is told none of this.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenRefusal {
    /// There is none like it.
    Unknown,
    /// It was used already.
    Used,
    /// Its time is over.
    Expired,
    /// What comes with it makes no sense.
    Documents(EditError),
}

/// Keeps a token for a site, of the secret the hash alone.
pub fn add(
    connection: &Connection,
    token: &Token,
    site: &str,
    life: Duration,
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Enrolment> {
    let expires = now.checked_add(life).unwrap_or(now);
    let id = connection
        .prepare_cached(
            "INSERT INTO enrolments (key, hash, site_id, created, created_by, expires) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .insert(params![token.key, Token::hash(&token.secret), site, millis(now), who, millis(expires)])?;
    audit(connection, now, who, "enrolment.add", site, "")?;
    let (created, expires) = (time(millis(now)), time(millis(expires)));
    Ok(Enrolment { id, site: site.to_owned(), created, created_by: who.to_owned(), expires, used: None })
}

/// All tokens, the latest first.
pub fn list(connection: &Connection, before: Option<i64>, limit: usize) -> rusqlite::Result<Vec<Enrolment>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, site_id, created, created_by, expires, used FROM enrolments WHERE id < ? ORDER BY id DESC LIMIT ?",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Enrolment {
            id: row.get(0)?,
            site: row.get(1)?,
            created: time(row.get(2)?),
            created_by: row.get(3)?,
            expires: time(row.get(4)?),
            used: row.get::<_, Option<i64>>(5)?.map(time),
        })
    };
    statement.query_map(params![before.unwrap_or(i64::MAX), limit as i64], read)?.collect()
}

/// Takes a token away; false where there is none of this number that was not used.
pub fn remove(connection: &Connection, id: i64, who: &str, now: SystemTime) -> rusqlite::Result<bool> {
    let gone = connection.execute("DELETE FROM enrolments WHERE id = ? AND used IS NULL", [id])? > 0;
    if gone {
        audit(connection, now, who, "enrolment.remove", &id.to_string(), "")?;
    }
    Ok(gone)
}

/// The site that a token is for, if its secret is this one and it is good still.
pub fn site_of(
    connection: &Connection,
    key: &[u8],
    secret: &[u8],
    now: SystemTime,
) -> rusqlite::Result<Result<String, TokenRefusal>> {
    let read = |row: &Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?, row.get::<_, i64>(2)?, row.get(3)?));
    let found: Option<(Vec<u8>, String, i64, Option<i64>)> = connection
        .prepare_cached("SELECT hash, site_id, expires, used FROM enrolments WHERE key = ?")?
        .query_row([key], read)
        .optional()?;
    Ok(match found {
        Some((hash, site, expires, used)) if Token::is_of(secret, &hash) => match used {
            Some(_) => Err(TokenRefusal::Used),
            None if expires <= millis(now) => Err(TokenRefusal::Expired),
            None => Ok(site),
        },
        _ => Err(TokenRefusal::Unknown),
    })
}

/// What of an uplink its site knows and nobody else.
const TOLD: [&str; 4] = ["public_key", "next_public_key", "first_public_key", "endpoint"];

/// What a site brings along, as far as it is not there: itself, and its uplinks. Of uplinks that are there, who they are and where counts; what they are worth is the controller's.
pub fn brought(
    connection: &Connection,
    site: &str,
    subnets: &[String],
    uplinks: &[Json],
) -> rusqlite::Result<Vec<Edit>> {
    let mut edits = vec![];
    if get(connection, Kind::Site, site)?.is_none() {
        let body = Some(json!({ "name": site, "subnets": subnets }));
        edits.push(Edit { kind: Kind::Site, id: site.to_owned(), body, expect: Expect::New });
    }
    for told in uplinks.iter().filter(|told| told.is_object()) {
        let mut body = told.clone();
        body["site"] = Json::from(site);
        let Some(id) = Kind::Uplink.id_of(&body) else { continue };
        let expect = match get(connection, Kind::Uplink, &id)? {
            None => Expect::New,
            Some(there) => {
                body = there.body.clone();
                for field in TOLD {
                    match told.get(field) {
                        Some(value) => body[field] = value.clone(),
                        None => drop(body.as_object_mut().and_then(|body| body.remove(field))),
                    }
                }
                let said = |body: &Json, field: &str| body.get(field).filter(|value| !value.is_null()).cloned();
                if TOLD.iter().all(|field| said(&body, field) == said(&there.body, field)) {
                    continue;
                }
                Expect::Version(there.version)
            }
        };
        edits.push(Edit { kind: Kind::Uplink, id, body: Some(body), expect });
    }
    Ok(edits)
}

/// Uses a token up. What its site brings is kept first: who shows the token again after a crash in between finds that there.
pub fn enrol(
    connection: &mut Connection,
    (key, secret): (&[u8], &[u8]),
    edits: &[Edit],
    certified: &Certified,
    now: SystemTime,
) -> rusqlite::Result<Result<(), TokenRefusal>> {
    match site_of(connection, key, secret, now)? {
        Ok(site) if site == certified.site => {}
        Ok(_) => return Ok(Err(TokenRefusal::Unknown)),
        Err(refusal) => return Ok(Err(refusal)),
    }
    let who = format!("site {}", certified.site);
    if !edits.is_empty()
        && let Err(error) = edit(connection, edits, &who, now)?
    {
        return Ok(Err(TokenRefusal::Documents(error)));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let used = transaction
        .execute("UPDATE enrolments SET used = ? WHERE key = ? AND used IS NULL", params![millis(now), key])?;
    if used == 0 {
        return Ok(Err(TokenRefusal::Used));
    }
    certify(&transaction, certified)?;
    audit(&transaction, now, &who, "site.enrol", &certified.site, &certified.serial)?;
    transaction.commit()?;
    Ok(Ok(()))
}

/// Keeps a certificate.
pub fn certify(connection: &Connection, certified: &Certified) -> rusqlite::Result<()> {
    let Certified { serial, site, issued, expires, .. } = certified;
    connection
        .prepare_cached("INSERT INTO certificates (serial, site_id, issued, expires) VALUES (?, ?, ?, ?)")?
        .execute(params![serial, site, millis(*issued), millis(*expires)])
        .map(drop)
}

/// Certificates that are good yet, of one site or of all, by site.
pub fn certificates(connection: &Connection, site: Option<&str>, now: SystemTime) -> rusqlite::Result<Vec<Certified>> {
    let mut statement = connection.prepare_cached(
        "SELECT serial, site_id, issued, expires, revoked FROM certificates
         WHERE expires > ?1 AND (?2 IS NULL OR site_id = ?2) ORDER BY site_id, issued",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Certified {
            serial: row.get(0)?,
            site: row.get(1)?,
            issued: time(row.get(2)?),
            expires: time(row.get(3)?),
            revoked: row.get::<_, Option<i64>>(4)?.map(time),
        })
    };
    statement.query_map(params![millis(now), site], read)?.collect()
}

/// Whether a certificate is one of a site that is still in the network, and was not revoked.
pub fn is_good(connection: &Connection, serial: &str, site: &str) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM certificates c JOIN sites s ON s.id = c.site_id
         WHERE c.serial = ? AND c.site_id = ? AND c.revoked IS NULL",
    )?;
    statement.exists(params![serial, site])
}

/// Revokes all certificates of a site, and takes away the tokens for it. Says how many certificates those were.
pub fn revoke(connection: &mut Connection, site: &str, who: &str, now: SystemTime) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let revoked = transaction.execute(
        "UPDATE certificates SET revoked = ?, revoked_by = ? WHERE site_id = ? AND revoked IS NULL",
        params![millis(now), who, site],
    )?;
    transaction.execute("DELETE FROM enrolments WHERE site_id = ? AND used IS NULL", [site])?;
    audit(&transaction, now, who, "site.revoke", site, "")?;
    transaction.commit()?;
    Ok(revoked)
}
