//! The routes of files under `/api/v1/web`.

use axum::extract::State;
use outwork_front::api::{Json, Problem, Viewer};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Inner, Shared};
use crate::metrics::{Lookup, Tier};

/// The routes, to be nested under `/api/v1/web`.
pub fn router(shared: Shared) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(folders)).with_state(shared)
}

/// How often something was.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FileCount)]
pub struct Count {
    /// What.
    name: &'static str,
    /// How often.
    count: u64,
}

/// A folder that is served.
#[derive(Debug, Serialize, ToSchema)]
pub struct FolderView {
    /// Where it is.
    root: String,
    /// Files that are kept.
    files: usize,
    /// Memory of what is kept.
    bytes: usize,
    /// Bytes that it may be: `files.memory`.
    limit: usize,
    /// Compressed forms among it.
    variants: usize,
    /// Their bytes.
    variant_bytes: usize,
    /// Looks into what is kept: `hit`, `changed`, `miss`.
    lookups: Vec<Count>,
    /// Contents sent, by where from: `memory`, `sendfile`, `mapped`, `direct`, `read`.
    sent: Vec<Count>,
    /// Whether the kernel is asked to tell of changes: `files.watch`.
    watch: bool,
    /// Whether it does: false where it could not be asked, or told too much at once.
    watching: bool,
    /// Inodes that it watches.
    watches: usize,
}

impl FolderView {
    fn new(inner: &Inner) -> Self {
        let (figures, (watching, watches)) = (inner.stock.figures(), inner.watch.state());
        let lookup = |one: &Lookup| Count { name: one.as_str(), count: inner.own.lookups.of(*one).get() };
        let tier = |one: &Tier| Count { name: one.as_str(), count: inner.own.sent.of(*one).get() };
        Self {
            root: inner.settings.root.display().to_string(),
            files: figures.files,
            bytes: figures.bytes,
            limit: figures.limit,
            variants: figures.variants,
            variant_bytes: figures.variant_bytes,
            lookups: Lookup::ALL.iter().map(lookup).collect(),
            sent: Tier::ALL.iter().map(tier).collect(),
            watch: inner.settings.watch,
            watching,
            watches,
        }
    }
}

/// The folders that are served.
#[derive(Debug, Serialize, ToSchema)]
pub struct FolderList {
    /// In the order of their routes.
    items: Vec<FolderView>,
}

/// The folders that are served, and what is kept of them.
#[utoipa::path(get, path = "/files", tag = "web",
    responses((status = 200, body = FolderList), (status = 401, body = Problem)))]
async fn folders(_: Viewer, State(shared): State<Shared>) -> Result<Json<FolderList>, Problem> {
    // What is kept is walked through, with its lock held: not for a thread that others wait for.
    let work = move || shared.open_folders().iter().map(|inner| FolderView::new(inner)).collect();
    let items = tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?;
    Ok(Json(FolderList { items }))
}
