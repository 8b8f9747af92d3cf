//! The route of assets under `/api/v1/web`.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Problem, Viewer};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Pipeline, Workshop};

/// Files of one site that are listed at most.
const LISTED: usize = 2000;

/// The route, to be nested under `/api/v1/web`.
pub fn router(workshop: Arc<Workshop>) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(assets)).with_state(workshop)
}

/// What is made of the files of all sites.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetList {
    /// The sites whose files anything is made of.
    sites: Vec<SiteView>,
}

/// What is made of the files of a site.
#[derive(Debug, Serialize, ToSchema)]
pub struct SiteView {
    /// The host and the path of its route.
    name: String,
    /// The folder.
    root: String,
    /// Something is being made now.
    building: bool,
    /// Builds since the start.
    builds: u64,
    /// When the last was done, in seconds since 1970.
    built: Option<u64>,
    /// Seconds that it took.
    seconds: f64,
    /// Files that were looked at.
    files: usize,
    /// Bytes of the files that something was made of.
    before: u64,
    /// Bytes of what was made of them.
    after: u64,
    /// Why nothing could be put in place; what was made before is served on.
    failure: Option<String>,
    /// What is wrong with files.
    faults: Vec<FaultView>,
    /// What became of files, by path.
    assets: Vec<AssetView>,
    /// Files beyond those listed.
    left_out: usize,
}

/// What is wrong with a file.
#[derive(Debug, Serialize, ToSchema)]
pub struct FaultView {
    /// Its path below the folder.
    path: String,
    /// Its line, from 1, where that is known.
    line: Option<u32>,
    /// Its column, from 1.
    column: Option<u32>,
    /// What is wrong.
    found: String,
    /// What came of it, and what to do.
    help: String,
}

/// What became of a file.
#[derive(Debug, Serialize, ToSchema)]
pub struct AssetView {
    /// Its path below the folder.
    path: String,
    /// The URL that has its content in its name.
    url: Option<String>,
    /// What its content has to be, as browsers are told.
    integrity: Option<String>,
    /// Its bytes, or those of the files that it was put together from.
    before: u64,
    /// The bytes of what was made of it.
    after: u64,
}

impl SiteView {
    fn of(site: &Pipeline) -> Self {
        let progress = site.progress();
        let fault = |fault: &super::fault::AssetFault| FaultView {
            path: fault.path.clone(),
            line: fault.at.map(|(line, _)| line),
            column: fault.at.map(|(_, column)| column),
            found: fault.found.clone(),
            help: fault.help.clone(),
        };
        let asset = |entry: &super::plan::Entry| AssetView {
            path: entry.path.clone(),
            url: entry.url.clone(),
            integrity: entry.integrity.clone(),
            before: entry.before,
            after: entry.after,
        };
        let seconds =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs());
        Self {
            name: site.name().to_owned(),
            root: site.root().display().to_string(),
            building: progress.is_building,
            builds: progress.builds,
            built: progress.built.and_then(seconds),
            seconds: progress.took.as_secs_f64(),
            files: progress.files,
            before: progress.entries.iter().map(|entry| entry.before).sum(),
            after: progress.entries.iter().map(|entry| entry.after).sum(),
            failure: progress.failure,
            faults: progress.faults.iter().map(fault).collect(),
            assets: progress.entries.iter().take(LISTED).map(asset).collect(),
            left_out: progress.entries.len().saturating_sub(LISTED),
        }
    }
}

/// What is made of files before they are served, and what is wrong with them.
#[utoipa::path(get, path = "/assets", tag = "web",
    responses((status = 200, body = AssetList), (status = 401, body = Problem)))]
async fn assets(_: Viewer, State(workshop): State<Arc<Workshop>>) -> Json<AssetList> {
    Json(AssetList { sites: workshop.sites().iter().map(|site| SiteView::of(site)).collect() })
}
