//! Where memory and time go, for the tools that read such profiles.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use outwork_front::api::{Admin, Problem, Query};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

/// The longest that is looked at the processor.
const LONGEST: u16 = 300;
/// The most samples a second.
const FINEST: u16 = 1000;

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(heap)).routes(routes!(cpu))
}

/// Looks at where the process's memory and time go.
pub trait Profiler: Send + Sync {
    /// What memory is in use, by the stacks that it was allocated from, as jemalloc writes it.
    fn heap(&self) -> BoxFuture<'static, Result<Vec<u8>, Problem>>;

    /// Where time goes from now on.
    fn cpu(&self, wanted: CpuProfile) -> BoxFuture<'static, Result<Vec<u8>, Problem>>;
}

/// How to look at the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuProfile {
    /// For how long.
    pub time: Duration,
    /// Samples for each second of processor time.
    pub hertz: u16,
    /// What is made of them.
    pub form: Form,
}

/// The form of a profile of the processor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A line for each stack: thread, functions from the outermost in, and how often; for flame graphs.
    #[default]
    Folded,
    /// The binary form of gperftools, which pprof and jeprof open together with the program.
    Pprof,
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// For how long, up to 300 seconds.
    seconds: u16,
    /// Samples for each second of processor time, up to 1000.
    hertz: u16,
    /// What is made of them.
    #[param(inline)]
    form: Form,
}

impl Default for Wanted {
    fn default() -> Self {
        // Not a divisor of what else happens at round times.
        Self { seconds: 10, hertz: 99, form: Form::Folded }
    }
}

/// What memory is in use, by the stacks that it was allocated from: a profile that jeprof and pprof open together with the program.
#[utoipa::path(get, path = "/profile/heap", tag = "system",
    responses((status = 200, description = "jemalloc's profile", body = String, content_type = "application/octet-stream"),
        (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn heap(Admin(caller): Admin, State(shared): Context) -> Result<Response, Problem> {
    caller.does("profile.heap", "", "");
    Ok(file("outwork.heap", shared.admin.profiler.heap().await?))
}

/// Where processor time goes, from now on for as long as is wanted.
#[utoipa::path(get, path = "/profile/cpu", tag = "system", params(Wanted),
    responses((status = 200, description = "the profile", body = String, content_type = "application/octet-stream"),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, description = "another is being made", body = Problem)))]
async fn cpu(
    Admin(caller): Admin,
    State(shared): Context,
    Query(Wanted { seconds, hertz, form }): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.does("profile.cpu", "", format!("{seconds} s"));
    for (key, value, most) in [("seconds", seconds, LONGEST), ("hertz", hertz, FINEST)] {
        if !(1..=most).contains(&value) {
            return Err(Problem::invalid(key, format!("expected 1 to {most}")));
        }
    }
    let wanted = CpuProfile { time: Duration::from_secs(seconds.into()), hertz, form };
    let name = if form == Form::Folded { "outwork.folded" } else { "outwork.cpu" };
    Ok(file(name, shared.admin.profiler.cpu(wanted).await?))
}

fn file(name: &str, content: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let fields = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, disposition)];
    (fields, content).into_response()
}
