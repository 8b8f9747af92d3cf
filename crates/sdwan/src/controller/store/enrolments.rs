//! Tokens for enrolment, and the certificates that were given for them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use outwork_store::database::{millis, time};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use serde_json::{Value as Json, json};

use super::claims;
use super::documents::{Edit, EditError, Expect, audit, edit, get, list as list_documents};
use super::health::left;
use crate::channel::message::UPLINKS;
use crate::channel::token::Token;
use crate::network::Kind;
use crate::network::check::PINNED;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its number.
    pub id: i64,
    /// The site that it is for.
    pub site: String,
    /// The networks that the site may come with; none where nobody has said which.
    pub subnets: Option<Vec<String>>,
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
    /// It does not let its site have the networks that this comes with, and why.
    Networks(String),
}

/// Tokens that may be good at once: in all, and for one site.
const TOKENS: (u32, u32) = (4096, 8);
/// Certificates of a site that may be good at once: one that it has, one that it was given and has lost, and some to spare.
const CERTIFICATES: u32 = 4;

/// Too many tokens are good already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// For this site.
    #[error("{} tokens for this site are good already: withdraw them, or wait until their time is over", TOKENS.1)]
    OfSite,
    /// In all.
    #[error("{} tokens are good already: withdraw some, or wait until their time is over", TOKENS.0)]
    OfAll,
}

/// How a certificate stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is good; from when on, and until when.
    Good(SystemTime, SystemTime),
    /// It is believed no longer, since then, and by whose word.
    Revoked(SystemTime, String),
    /// Its site is not of the network any more.
    Removed,
    /// This controller knows of none like it.
    Unknown,
}

/// Keeps a token for a site, and for the networks that it may come with where somebody says which; of the secret the hash alone.
pub fn add(
    connection: &Connection,
    token: &Token,
    (site, subnets): (&str, Option<Vec<String>>),
    life: Duration,
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Result<Enrolment, TooMany>> {
    let (all, of_site): (u32, u32) = connection
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE site_id = ?) FROM enrolments WHERE used IS NULL AND expires > ?",
        )?
        .query_row(params![site, millis(now)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match (all, of_site) {
        (_, of_site) if of_site >= TOKENS.1 => return Ok(Err(TooMany::OfSite)),
        (all, _) if all >= TOKENS.0 => return Ok(Err(TooMany::OfAll)),
        _ => {}
    }
    let expires = now.checked_add(life).unwrap_or(now);
    let id = connection
        .prepare_cached(
            "INSERT INTO enrolments (key, hash, site_id, created, created_by, expires, subnets) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .insert(params![
            token.key,
            Token::hash(&token.secret),
            site,
            millis(now),
            who,
            millis(expires),
            subnets.as_ref().map(|subnets| json!(subnets).to_string())
        ])?;
    let detail = subnets.as_ref().map(|subnets| json!({ "subnets": subnets }).to_string()).unwrap_or_default();
    audit(connection, now, who, "enrolment.add", site, &detail)?;
    let (created, expires) = (time(millis(now)), time(millis(expires)));
    Ok(Ok(Enrolment { id, site: site.to_owned(), subnets, created, created_by: who.to_owned(), expires, used: None }))
}

/// All tokens, the latest first.
pub fn list(connection: &Connection, before: Option<i64>, limit: usize) -> rusqlite::Result<Vec<Enrolment>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, site_id, created, created_by, expires, used, subnets FROM enrolments WHERE id < ? ORDER BY id DESC LIMIT ?",
    )?;
    let read = |row: &Row<'_>| {
        Ok(Enrolment {
            id: row.get(0)?,
            site: row.get(1)?,
            created: time(row.get(2)?),
            created_by: row.get(3)?,
            expires: time(row.get(4)?),
            used: row.get::<_, Option<i64>>(5)?.map(time),
            subnets: row.get::<_, Option<String>>(6)?.and_then(|text| serde_json::from_str(&text).ok()),
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

/// The networks that whoever shows a token may come with; none where nobody has said which.
fn approved(connection: &Connection, key: &[u8]) -> rusqlite::Result<Option<Vec<String>>> {
    let said: Option<Option<String>> = connection
        .prepare_cached("SELECT subnets FROM enrolments WHERE key = ?")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    // What cannot be read lets nobody have anything.
    Ok(said.flatten().map(|text| serde_json::from_str(&text).unwrap_or_default()))
}

/// What a site brings that shows a token: itself with its networks where it is not there yet, and its uplinks.
pub fn brought_by(
    connection: &Connection,
    key: &[u8],
    site: &str,
    subnets: &[String],
    uplinks: &[Json],
) -> rusqlite::Result<Result<Vec<Edit>, TokenRefusal>> {
    if get(connection, Kind::Site, site)?.is_none() {
        let approved = approved(connection, key)?;
        if let Some(why) = claims::refused(connection, site, subnets, approved.as_deref())? {
            return Ok(Err(TokenRefusal::Networks(why)));
        }
    }
    brought(connection, site, subnets, uplinks).map(Ok)
}

/// What of an uplink its site knows and nobody else.
const TOLD: [&str; 4] = ["public_key", "next_public_key", "first_public_key", "endpoint"];

/// Who a site is in the audit log, and as who has made or changed something.
pub fn known_as(site: &str) -> String {
    format!("site {site}")
}

/// What a site brings along, as far as it is not there: itself, and its uplinks. Of uplinks that are there, who they are and where counts; what they are worth is the controller's, but for a bandwidth
/// that it does not know. Those that it has brought before and names no longer go, unless somebody has them stay (`pinned`): nobody is to dial what is not there.
pub fn brought(
    connection: &Connection,
    site: &str,
    subnets: &[String],
    uplinks: &[Json],
) -> rusqlite::Result<Vec<Edit>> {
    let mut edits = vec![];
    if get(connection, Kind::Site, site)?.is_none() {
        let mut body = json!({ "name": site });
        // What it does not say is said by nobody yet, which is another thing than none.
        if !subnets.is_empty() {
            body["subnets"] = json!(subnets);
        }
        edits.push(Edit { kind: Kind::Site, id: site.to_owned(), body: Some(body), expect: Expect::New });
    }
    let beginning = format!("{site}/");
    let mut gone: BTreeMap<String, u64> = BTreeMap::new();
    // Who names none says nothing of them.
    if !uplinks.is_empty() {
        let there = list_documents(connection, Kind::Uplink, &beginning, UPLINKS)?.into_iter();
        let own = there.take_while(|there| there.id.starts_with(&beginning)).filter(|there| {
            there.created_by == known_as(site) && there.body.get(PINNED).and_then(Json::as_bool) != Some(true)
        });
        gone = own.map(|there| (there.id, there.version)).collect();
    }
    for told in uplinks.iter().filter(|told| told.is_object()) {
        let mut body = told.clone();
        body["site"] = Json::from(site);
        drop(body.as_object_mut().and_then(|body| body.remove(PINNED)));
        let Some(id) = Kind::Uplink.id_of(&body) else { continue };
        gone.remove(&id);
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
                // What nobody has said here.
                let bits = |body: &Json| body.get("bandwidth").and_then(Json::as_u64).filter(|bits| *bits > 0);
                let fills = bits(&body).is_none() && bits(told).is_some();
                if fills {
                    body["bandwidth"] = told["bandwidth"].clone();
                }
                let said = |body: &Json, field: &str| body.get(field).filter(|value| !value.is_null()).cloned();
                if !fills && TOLD.iter().all(|field| said(&body, field) == said(&there.body, field)) {
                    continue;
                }
                Expect::Version(there.version)
            }
        };
        edits.push(Edit { kind: Kind::Uplink, id, body: Some(body), expect });
    }
    let removed = |(id, version)| Edit { kind: Kind::Uplink, id, body: None, expect: Expect::Version(version) };
    edits.extend(gone.into_iter().map(removed));
    Ok(edits)
}

/// Makes the changes that a site brings. An uplink that it names no longer, but something else does, such as a policy, stays: all else is done.
pub fn bring(
    connection: &mut Connection,
    edits: &[Edit],
    who: &str,
    now: SystemTime,
) -> rusqlite::Result<Result<(), EditError>> {
    let refused = match edit(connection, edits, who, now)? {
        Ok(_) => return Ok(Ok(())),
        Err(refused) => refused,
    };
    let stay: Vec<Edit> = edits.iter().filter(|edit| edit.body.is_some()).cloned().collect();
    match refused {
        EditError::Invalid(faults) if !stay.is_empty() && stay.len() < edits.len() => {
            let why = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            tracing::warn!(who, why, "uplinks that it names no longer stay");
            edit(connection, &stay, who, now).map(|done| done.map(drop))
        }
        refused => Ok(Err(refused)),
    }
}

/// Uses a token up; certificates that its site had before are good no longer. What its site brings is kept first: who shows the token again after a crash in between finds that there.
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
    let who = known_as(&certified.site);
    if !edits.is_empty()
        && let Err(error) = bring(connection, edits, &who, now)?
    {
        return Ok(Err(TokenRefusal::Documents(error)));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let used = transaction
        .execute("UPDATE enrolments SET used = ? WHERE key = ? AND used IS NULL", params![millis(now), key])?;
    if used == 0 {
        return Ok(Err(TokenRefusal::Used));
    }
    // Who was it before is it no longer, and counts its reports no further.
    distrust(&transaction, &certified.site, &who, now)?;
    left(&transaction, &certified.site)?;
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

/// How a certificate stands.
pub fn standing(connection: &Connection, serial: &str, site: &str) -> rusqlite::Result<Standing> {
    let read = |row: &Row<'_>| {
        let revoked = row.get::<_, Option<i64>>(2)?.map(time);
        let by = row.get::<_, Option<String>>(3)?.unwrap_or_default();
        Ok(match (row.get::<_, bool>(4)?, revoked) {
            (false, _) => Standing::Removed,
            (true, Some(at)) => Standing::Revoked(at, by),
            (true, None) => Standing::Good(time(row.get(0)?), time(row.get(1)?)),
        })
    };
    let mut statement = connection.prepare_cached(
        "SELECT issued, expires, revoked, revoked_by, EXISTS (SELECT 1 FROM sites WHERE id = site_id)
         FROM certificates WHERE serial = ? AND site_id = ?",
    )?;
    Ok(statement.query_row(params![serial, site], read).optional()?.unwrap_or(Standing::Unknown))
}

/// Keeps a certificate that is to follow another, if that is good, half of its time is over, and its site has not too many. Says whether it is kept.
pub fn renew(
    connection: &mut Connection,
    serial: &str,
    certified: &Certified,
    now: SystemTime,
) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Standing::Good(issued, expires) = standing(&transaction, serial, &certified.site)? else { return Ok(false) };
    let life = expires.duration_since(issued).unwrap_or_default();
    let lived = now.duration_since(issued).unwrap_or_default();
    let count: u32 = transaction
        .prepare_cached("SELECT count(*) FROM certificates WHERE site_id = ? AND revoked IS NULL AND expires > ?")?
        .query_row(params![certified.site, millis(now)], |row| row.get(0))?;
    if lived < life / 2 || count >= CERTIFICATES {
        return Ok(false);
    }
    certify(&transaction, certified)?;
    transaction.commit()?;
    Ok(true)
}

/// Certificates of a site are good no longer. Says how many those were.
fn distrust(connection: &Connection, site: &str, who: &str, now: SystemTime) -> rusqlite::Result<usize> {
    connection
        .prepare_cached("UPDATE certificates SET revoked = ?, revoked_by = ? WHERE site_id = ? AND revoked IS NULL")?
        .execute(params![millis(now), who, site])
}

fn withdraw(connection: &Connection, site: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM enrolments WHERE site_id = ? AND used IS NULL")?.execute([site]).map(drop)
}

/// A site that is removed has no certificate and no token any more, for when another one gets its name, and no path.
pub fn expel(connection: &Connection, site: &str, who: &str, now: SystemTime) -> rusqlite::Result<()> {
    distrust(connection, site, who, now)?;
    withdraw(connection, site)?;
    left(connection, site)
}

/// Revokes all certificates of a site, and takes away the tokens for it. Says how many certificates those were.
pub fn revoke(connection: &mut Connection, site: &str, who: &str, now: SystemTime) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let revoked = distrust(&transaction, site, who, now)?;
    withdraw(&transaction, site)?;
    audit(&transaction, now, who, "site.revoke", site, "")?;
    transaction.commit()?;
    Ok(revoked)
}
