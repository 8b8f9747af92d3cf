//! The routes of queries under `/api/v1/web`.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Operator, Problem, Viewer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Databases;
use super::metrics::{Cause, Lookup, Outcome};
use super::statement::table_name;

/// Tables that one call may name.
const MOST: usize = 1000;

/// The databases in force.
pub struct Queries(Mutex<Arc<Databases>>);

impl Queries {
    /// With those of the first configuration.
    pub fn new(databases: Arc<Databases>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(databases)))
    }

    /// Those in force.
    pub fn databases(&self) -> Arc<Databases> {
        Arc::clone(&self.0.lock())
    }

    /// Puts others in force, and gives those before.
    pub fn replace(&self, databases: Arc<Databases>) -> Arc<Databases> {
        std::mem::replace(&mut *self.0.lock(), databases)
    }
}

/// The routes, to be nested under `/api/v1/web`.
pub fn router(queries: Arc<Queries>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(summary)).routes(routes!(invalidate)).with_state(queries)
}

/// A database.
#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseView {
    /// What routes call it.
    name: String,
    /// Where it is.
    url: String,
    /// Connections in use.
    used: i64,
    /// Connections that are open and not in use.
    idle: i64,
    /// Connections at most.
    pool_size: u16,
    /// Requests that wait for one.
    waiting: i64,
    /// Connections opened so far.
    opened: u64,
    /// Connections that could not be opened.
    unreachable: u64,
    /// Queries that got no connection: none came free in time, too many waited already, or none could be opened.
    turned_away: u64,
    /// Queries that were stopped because they took too long.
    timeouts: u64,
}

/// How often something was.
#[derive(Debug, Serialize, ToSchema)]
pub struct Count {
    /// What.
    name: &'static str,
    /// How often.
    count: u64,
}

/// Queries in figures.
#[derive(Debug, Serialize, ToSchema)]
pub struct QuerySummary {
    /// The databases.
    databases: Vec<DatabaseView>,
    /// Requests, by how they ended.
    queries: Vec<Count>,
    /// Looks for results that are kept.
    lookups: Vec<Count>,
    /// Results kept.
    kept_results: u64,
    /// Their bytes.
    kept_bytes: u64,
    /// Bytes that they may have: `web.query_cache.size`.
    kept_limit: Option<u64>,
    /// Results that made room for others.
    evicted: u64,
}

/// Queries in figures.
#[utoipa::path(get, path = "/queries", tag = "web",
    responses((status = 200, body = QuerySummary), (status = 401, body = Problem)))]
async fn summary(_: Viewer, State(queries): State<Arc<Queries>>) -> Json<QuerySummary> {
    let databases = queries.databases();
    let shared = databases.shared();
    let metrics = &shared.metrics;
    let view = |(name, source): (&String, &Arc<super::source::Source>)| DatabaseView {
        name: name.clone(),
        url: source.settings().url.to_string(),
        used: metrics.used.cell([name]).get(),
        idle: metrics.idle.cell([name]).get(),
        pool_size: source.settings().pool_size,
        waiting: metrics.waiting.cell([name]).get(),
        opened: metrics.opened.cell([name]).get(),
        unreachable: metrics.unreachable.cell([name]).get(),
        turned_away: metrics.turned_away.cell([name]).get(),
        timeouts: metrics.timeouts.cell([name]).get(),
    };
    let (kept_results, kept_bytes) = shared.cache.kept();
    let count = |name, count| Count { name, count };
    Json(QuerySummary {
        databases: databases.sources.iter().map(view).collect(),
        queries: Outcome::ALL.iter().map(|one| count(one.as_str(), metrics.queries.of(*one).get())).collect(),
        lookups: Lookup::ALL.iter().map(|one| count(one.as_str(), metrics.lookups.of(*one).get())).collect(),
        kept_results,
        kept_bytes,
        kept_limit: shared.cache.limit(),
        evicted: metrics.evicted.get(),
    })
}

/// What has changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InvalidateRequest {
    /// The database; all of them where none is named.
    database: Option<String>,
    /// The tables; all of them where none is named.
    #[serde(default)]
    tables: Vec<String>,
}

/// What was forgotten.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvalidateReport {
    /// Results.
    removed: u64,
    /// The tables of those named of which nothing was kept: there may be none of that name.
    untouched: Vec<String>,
}

/// Forget results of queries whose tables were changed by others.
#[utoipa::path(post, path = "/queries/invalidate", tag = "web", request_body = InvalidateRequest,
    responses((status = 200, body = InvalidateReport), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
async fn invalidate(
    Operator(caller): Operator,
    State(queries): State<Arc<Queries>>,
    Json(request): Json<InvalidateRequest>,
) -> Result<Json<InvalidateReport>, Problem> {
    let databases = queries.databases();
    let named = request.database.as_deref();
    let targets: Vec<&String> =
        databases.sources.keys().filter(|name| named.is_none_or(|named| named == name.as_str())).collect();
    caller.does("queries.invalidate", named.unwrap_or_default(), request.tables.join(", "));
    if request.tables.len() > MOST {
        return Err(Problem::invalid("tables", format!("there are {}; at most {MOST} at once", request.tables.len())));
    }
    if let (Some(named), true) = (named, targets.is_empty()) {
        return Err(Problem::not_found(format!("there is no database {named:?} in web.database")));
    }
    let cache = &databases.shared().cache;
    let mut report = InvalidateReport { removed: 0, untouched: Vec::new() };
    if request.tables.is_empty() {
        for database in &targets {
            report.removed += cache.forget_database(database, Cause::Api).await;
        }
    }
    for table in &request.tables {
        let name = [table_name(table)];
        let mut removed = 0;
        for database in &targets {
            removed += cache.forget_tables(database, &name, Cause::Api).await;
        }
        report.removed += removed;
        if removed == 0 {
            report.untouched.push(table.clone());
        }
    }
    Ok(Json(report))
}
