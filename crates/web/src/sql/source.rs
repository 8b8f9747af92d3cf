//! A database of the configuration, whichever it is.

use std::sync::Arc;

use bytes::Bytes;
use outwork_cache::UnixMillis;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::Shared;
use super::address::{Address, Dialect};
use super::config::Database;
use super::error::QueryError;
use super::metrics::Cause;
use super::parameter::Value;
use super::postgres::Postgres;
use super::query::Prepared;
use super::render::Form;
use super::sqlite::Sqlite;

/// What a query has given.
#[derive(Debug)]
pub struct Output {
    /// The rendered rows; `None` where one was asked for and there is none.
    pub body: Option<Bytes>,
    /// The SHA-256 of that. It is made where the rows are rendered: a large one takes longer than a thread that serves may be kept.
    pub digest: [u8; 32],
    /// The tables that it was made of, or that it has changed, as far as they are known.
    pub tables: Vec<String>,
}

impl Output {
    /// This body, of these tables.
    pub(super) fn new(body: Option<Bytes>, tables: impl IntoIterator<Item = String>) -> Self {
        let digest = Sha256::digest(body.as_deref().unwrap_or_default()).into();
        Self { body, digest, tables: tables.into_iter().collect() }
    }
}

/// What came of a look whether others have changed a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Nobody has.
    Same,
    /// Somebody may have.
    Changed,
    /// It could not be looked.
    Unknown,
}

/// A database, and the settings that it was made with.
#[derive(Debug)]
pub struct Source {
    name: String,
    settings: Database,
    kind: Backend,
    /// Whoever looks for changes: a second one would be told of none that the first has yet to see to.
    looking: Mutex<()>,
}

#[derive(Debug)]
enum Backend {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Source {
    /// A pool for a database. Nothing waits for it to be reached.
    ///
    /// # Errors
    /// When what it needs beside the database cannot be had: certificates, threads.
    pub fn new(name: &str, settings: &Database, shared: &Arc<Shared>) -> Result<Self, String> {
        let kind = match &settings.url {
            Address::Sqlite(path) => Backend::Sqlite(Sqlite::new(name, path, settings, &shared.metrics)),
            Address::Postgres(server) => Backend::Postgres(Postgres::new(name, server, settings, shared)?),
        };
        Ok(Self { name: name.to_owned(), settings: settings.clone(), kind, looking: Mutex::default() })
    }

    /// What the configuration calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was made with.
    pub fn settings(&self) -> &Database {
        &self.settings
    }

    /// The SQL that it speaks.
    pub fn dialect(&self) -> Dialect {
        self.settings.url.dialect()
    }

    /// Runs a query. It is stopped when nobody waits for it any more.
    ///
    /// # Errors
    /// Why it has no answer.
    pub async fn run(&self, query: &Arc<Prepared>, values: Vec<Value>, form: Form) -> Result<Output, QueryError> {
        match &self.kind {
            Backend::Sqlite(sqlite) => sqlite.run(query, values, form).await,
            Backend::Postgres(postgres) => postgres.run(query, values, form).await,
        }
    }

    /// Whether results that are kept are to be given only after a [`look`](Self::look).
    pub fn is_look_due(&self, now: UnixMillis) -> bool {
        match &self.kind {
            Backend::Sqlite(sqlite) => sqlite.is_look_due(now),
            Backend::Postgres(_) => false,
        }
    }

    /// Looks whether others have changed it, and forgets what was made of it if so. True where what is kept may be given.
    pub async fn look(&self, shared: &Shared) -> bool {
        let Backend::Sqlite(sqlite) = &self.kind else { return true };
        let Ok(_turn) = self.looking.try_lock() else { return false };
        match sqlite.look().await {
            Looked::Same => true,
            Looked::Changed => {
                shared.cache.forget_database(&self.name, Cause::Changed).await;
                true
            }
            Looked::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_has_given_bears_its_digest_from_where_it_was_made() {
        let given = Output::new(Some(Bytes::from_static(b"[]\n")), ["users".to_owned()]);
        assert_eq!(given.digest, <[u8; 32]>::from(Sha256::digest("[]\n")));
        assert_eq!(Output::new(None, []).digest, <[u8; 32]>::from(Sha256::digest("")));
    }
}
