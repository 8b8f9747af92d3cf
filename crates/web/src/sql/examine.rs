//! Queries as their databases see them before anybody asks: prepared, and not run.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::address::{Address, Server};
use super::config::{Database, Web};
use super::query::Prepared;
use super::{postgres, sqlite};

/// The longest that a server is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Something that is in the way of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whose it is.
    pub of: Of,
    /// What the database, or the system, says.
    pub why: String,
}

/// Whose a finding is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// That of the database of this name: its queries could not be looked at.
    Database(String),
    /// That of a query, by its place in the list.
    Query(usize),
}

/// Has each database prepare the queries that it is to answer. A file of SQLite's that is not there is passed over: nobody has to open it to see that.
pub fn examine(web: &Web, queries: &[Prepared]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, settings) in &web.database {
        let asked = queries.iter().enumerate().filter(|(_, query)| query.database == *name);
        let statements = asked.flat_map(|(index, query)| query.statements.iter().map(move |one| (index, &*one.sql)));
        let statements: Vec<_> = statements.collect();
        if statements.is_empty() {
            continue;
        }
        let refused = match &settings.url {
            Address::Sqlite(path) if path.is_file() => sqlite::examine(name, path, settings, &statements),
            Address::Sqlite(_) => continue,
            Address::Postgres(server) => of_server(name, server, settings, &statements),
        };
        match refused {
            Ok(refused) => found.extend(refused.into_iter().map(|(index, why)| Finding { of: Of::Query(index), why })),
            Err(why) => found.push(Finding { of: Of::Database(name.clone()), why }),
        }
    }
    found
}

fn of_server(
    name: &str,
    server: &Server,
    settings: &Database,
    statements: &[(usize, &str)],
) -> Result<Vec<(usize, String)>, String> {
    let runtime: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let patience = settings.connect_timeout.min(PATIENCE);
    let outcome = runtime.block_on(async {
        let asked = postgres::examine(name, server, settings, runtime.handle(), statements);
        let late = |_| Err(format!("it has not answered for {} s", patience.as_secs_f32()));
        tokio::time::timeout(patience, asked).await.unwrap_or_else(late)
    });
    // A name that is still being looked up is waited for by nobody.
    runtime.shutdown_background();
    outcome
}
