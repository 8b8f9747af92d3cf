//! Answers out of databases: SQL with parameters, over SQLite or PostgreSQL, as JSON or CSV.
//!
//! - [`config`]: what the configuration says; `literal`, [`address`]: values in it.
//! - [`tokens`], [`statement`]: SQL as its words: what is a parameter, what a statement does, which tables it names.
//! - [`parameter`], `request`: what clients say, as values of their types.
//! - [`query`]: a query of a route, ready to run; [`examine`]: what its database would say of it.
//! - [`source`]: a database, whichever it is; `sqlite`, `postgres`: their pools.
//! - [`render`], `calendar`: rows as JSON and CSV.
//! - [`cache`]: results that are kept.
//! - `handler`: from a request to an answer.
//! - [`error`]: why there is none; `constraint`: what a change does not keep to.
//! - [`api`]: what the admin API does with it; [`metrics`]: what it counts.
//!
//! What a client sends never becomes part of a statement: statements are made of the configuration alone, once, and values travel beside them.
//!
//! Deliberately absent: an object model, migrations, and queries that are put together at run time.

pub mod address;
pub mod api;
pub mod cache;
mod calendar;
pub mod config;
mod constraint;
pub mod error;
pub mod examine;
mod handler;
mod literal;
pub mod metrics;
pub mod parameter;
mod postgres;
pub mod query;
pub mod render;
mod request;
pub mod source;
mod sqlite;
pub mod statement;
pub mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use outwork_cache::{CacheError, system_clock};
use outwork_telemetry::Collect;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

pub use handler::Queried;
pub use literal::Literal;

use cache::QueryCache;
use config::Web;
use metrics::{Cause, SqlMetrics};
use source::Source;

/// What databases share, those of a later configuration too.
pub struct Shared {
    /// What they count.
    pub metrics: Arc<SqlMetrics>,
    /// Results that are kept.
    pub cache: Arc<QueryCache>,
    threads: usize,
    /// Started for the first who needs it.
    runtime: Mutex<Option<Runtime>>,
}

impl Shared {
    /// As these settings say.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(settings: &Web) -> Result<Arc<Self>, CacheError> {
        let metrics = Arc::<SqlMetrics>::default();
        let cache = QueryCache::new(&settings.query_cache, system_clock(), Arc::clone(&metrics))?;
        let threads = settings.query_threads.into();
        Ok(Arc::new(Self { metrics, cache: Arc::new(cache), threads, runtime: Mutex::new(None) }))
    }

    /// What is measured.
    pub fn collector(&self) -> Arc<dyn Collect + Send + Sync> {
        Arc::clone(&self.cache) as _
    }

    /// Threads for what waits: connections to PostgreSQL, and queries that go on for more than one client.
    ///
    /// # Errors
    /// When they cannot be started.
    fn runtime(&self) -> Result<Handle, String> {
        let mut runtime = self.runtime.lock();
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let started =
            Builder::new_multi_thread().worker_threads(self.threads).thread_name("queries").enable_all().build();
        let started = started.map_err(|error| format!("cannot start the threads of queries: {error}"))?;
        let handle = started.handle().clone();
        *runtime = Some(started);
        Ok(handle)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever drops it may be a thread that must not wait.
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

/// The databases of a configuration.
pub struct Databases {
    shared: Arc<Shared>,
    sources: BTreeMap<String, Arc<Source>>,
}

impl Databases {
    /// Those of the first configuration.
    ///
    /// # Errors
    /// The key of what cannot be used, and why.
    pub fn open(settings: &Web, shared: Arc<Shared>) -> Result<Self, String> {
        Self { shared, sources: BTreeMap::new() }.with(settings)
    }

    /// Those of another configuration. What has not changed keeps its connections.
    ///
    /// # Errors
    /// The key of what cannot be used, and why.
    pub fn with(&self, settings: &Web) -> Result<Self, String> {
        let source = |(name, settings): (&String, &config::Database)| {
            let before = self.sources.get(name).filter(|before| before.settings() == settings);
            let source = match before {
                Some(before) => Arc::clone(before),
                None => {
                    let opened = Source::new(name, settings, &self.shared);
                    Arc::new(opened.map_err(|error| format!("web.database.{name}.{error}"))?)
                }
            };
            Ok((name.clone(), source))
        };
        let sources = settings.database.iter().map(source).collect::<Result<_, String>>()?;
        Ok(Self { shared: Arc::clone(&self.shared), sources })
    }

    /// The database of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Source>> {
        self.sources.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// What they share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Forgets what was kept of a database that is another one now.
    pub async fn forget_replaced(&self, before: &Self) {
        for (name, source) in &before.sources {
            if !self.sources.get(name).is_some_and(|now| now.settings().url == source.settings().url) {
                self.shared.cache.forget_database(name, Cause::Changed).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
