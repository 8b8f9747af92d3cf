//! The first token. On loopback one is made at the first start; whoever listens elsewhere has made one before.

use std::net::SocketAddr;
use std::time::SystemTime;

use outwork_store::database::{Database, DatabaseError};
use outwork_store::tokens::{self, CreateError, Role, Secret, Token};

use crate::AdminSettings;

/// The token that the first start makes, to be shown once.
#[derive(Debug)]
pub struct FirstToken {
    /// What was stored.
    pub token: Token,
    /// The secret, to be printed and forgotten.
    pub secret: Secret,
}

/// Why the admin API may not start.
#[derive(Debug, thiserror::Error)]
pub enum FirstRunError {
    /// Other machines could reach an API that nobody has a token for.
    #[error(
        "admin.listen: {} can be reached from other machines, and there is no token yet: make one with \
         `outwork token create NAME --role admin --offline` and the same configuration, and start again", list(.0)
    )]
    Exposed(Vec<SocketAddr>),
    /// The token was not made.
    #[error("the first token cannot be made: {0}")]
    Create(#[from] CreateError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Makes the first token where there is none; `None` where there is one. Blocks.
///
/// # Errors
/// When there is none and an address is not loopback, or the database fails.
pub fn first_token(database: &Database, settings: &AdminSettings) -> Result<Option<FirstToken>, FirstRunError> {
    if !database.read(tokens::list).wait()?.is_empty() {
        return Ok(None);
    }
    let exposed = settings.exposed();
    if !exposed.is_empty() {
        return Err(FirstRunError::Exposed(exposed));
    }
    let now = SystemTime::now();
    let created = database.call(move |db| Ok(tokens::create(db, "first-run", Role::Admin, None, now))).wait()?;
    let (token, secret) = created?;
    Ok(Some(FirstToken { token, secret }))
}
