//! API tokens: 256 random bits shown once, of which only the SHA-256 is stored.

use std::fmt;
use std::time::SystemTime;

use outwork_config::NoSuchChoice;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use crate::database::{Migrations, millis, time};

pub(crate) const MIGRATIONS: Migrations = Migrations {
    component: "tokens",
    steps: &["CREATE TABLE tokens (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        role TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        last_used INTEGER,
        expires INTEGER
    ) STRICT;"],
};

/// What every secret starts with, so that scanners for leaked secrets know it.
const PREFIX: &str = "outwork_";
/// What the audit log calls who has shown the secret of the data directory, which is in no table.
pub const LOCAL: &str = "local";
/// The longest name.
const MAX_NAME: usize = 100;

outwork_config::choice! {
    /// What a caller may do; each role may do what the ones before it may.
    pub enum Role {
        /// See.
        Viewer = "viewer",
        /// See, and change what runs: leases, reservations.
        Operator = "operator",
        /// Everything: configuration, tokens.
        Admin = "admin",
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(|error: NoSuchChoice| FromSqlError::Other(Box::new(error)))
    }
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Never used twice.
    pub id: i64,
    /// Unique.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created: SystemTime,
    /// When it was used last, as far as `touch` was told.
    pub last_used: Option<SystemTime>,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

/// A new token's secret, to be shown once. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// 256 random bits from the operating system.
    pub fn random() -> Result<Self, CreateError> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(CreateError::Random)?;
        Ok(Self(bits.iter().fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}"))))
    }

    /// What the caller sends as bearer token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The name is empty, too long or holds control characters.
    #[error("{0:?} is no name for a token: expected 1 to {MAX_NAME} printable characters")]
    Name(String),
    /// The name of who calls from this machine.
    #[error("{LOCAL:?} is what callers from the server's own machine are called: choose another name")]
    Local,
    /// There is one of this name.
    #[error("a token named {0:?} exists already: revoke it first, or choose another name")]
    Exists(String),
    /// The system gave no random bits.
    #[error("the operating system gives no random bits: {0}")]
    Random(getrandom::Error),
    /// SQLite refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Makes a token. A job on the writer returns this result inside `Ok`.
pub fn create(
    connection: &Connection,
    name: &str,
    role: Role,
    expires: Option<SystemTime>,
    now: SystemTime,
) -> Result<(Token, Secret), CreateError> {
    let printable = !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control);
    if !printable {
        return Err(CreateError::Name(name.to_owned()));
    }
    if name == LOCAL {
        return Err(CreateError::Local);
    }
    let secret = Secret::random()?;
    let inserted = connection
        .prepare_cached("INSERT INTO tokens (name, role, hash, created, expires) VALUES (?, ?, ?, ?, ?)")?
        .insert(params![name, role.word(), hash(secret.expose()), millis(now), expires.map(millis)]);
    let id = inserted.map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => CreateError::Exists(name.to_owned()),
        _ => CreateError::Sqlite(error),
    })?;
    let token = Token {
        id,
        name: name.to_owned(),
        role,
        created: time(millis(now)),
        last_used: None,
        expires: expires.map(|expires| time(millis(expires))),
    };
    Ok((token, secret))
}

/// The token whose secret this is, unless it has expired or was revoked.
///
/// The search is by hash: how long it takes tells nothing about any secret.
pub fn verify_lookup(connection: &Connection, secret: &str, now: SystemTime) -> rusqlite::Result<Option<Token>> {
    connection
        .prepare_cached(
            "SELECT id, name, role, created, last_used, expires FROM tokens
             WHERE hash = ? AND (expires IS NULL OR expires > ?)",
        )?
        .query_row(params![hash(secret), millis(now)], stored)
        .optional()
}

/// All tokens by name, the expired ones too.
pub fn list(connection: &Connection) -> rusqlite::Result<Vec<Token>> {
    let mut statement =
        connection.prepare_cached("SELECT id, name, role, created, last_used, expires FROM tokens ORDER BY name")?;
    statement.query_map([], stored)?.collect()
}

/// Deletes a token; false where there is none of this id.
pub fn revoke(connection: &Connection, id: i64) -> rusqlite::Result<bool> {
    Ok(connection.prepare_cached("DELETE FROM tokens WHERE id = ?")?.execute([id])? > 0)
}

/// Notes that a token was used. Callers gather uses and tell them now and then, not at every request.
pub fn touch(connection: &Connection, id: i64, at: SystemTime) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE tokens SET last_used = max(coalesce(last_used, ?2), ?2) WHERE id = ?1")?
        .execute(params![id, millis(at)])
        .map(drop)
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Token> {
    let maybe = |index| row.get::<_, Option<i64>>(index).map(|millis| millis.map(time));
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        created: time(row.get(3)?),
        last_used: maybe(4)?,
        expires: maybe(5)?,
    })
}

/// A random secret of 256 bits needs neither salt nor stretching.
fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
