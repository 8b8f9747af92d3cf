//! Where memory and time go, for the tools that read such profiles, and what threads are doing.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use outwork_front::api::{Admin, Json, Problem, Query};
use outwork_telemetry::threads::{self, Thread};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

/// The longest that is looked at the processor.
const LONGEST: u16 = 300;
/// The most samples a second.
const FINEST: u16 = 1000;

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(heap)).routes(routes!(cpu)).routes(routes!(threads))
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

/// A thread. What the kernel does not tell is absent.
#[derive(Debug, Serialize, ToSchema)]
struct ThreadView {
    /// The kernel's number of it.
    id: u32,
    /// Its name, 15 bytes of it.
    name: String,
    /// `running`: it is on a processor, or would be; `waiting`; `waiting for a device`; `stopped`; or another letter of proc_pid_stat(5).
    state: String,
    /// The processor that it was on last.
    processor: Option<u32>,
    /// Those that it may be on, such as `0-3,8`.
    allowed: Option<String>,
    /// Seconds of its own on a processor.
    user_seconds: f64,
    /// Seconds of the kernel's for it.
    system_seconds: f64,
    /// How often it gave its processor away, to wait.
    voluntary_switches: Option<u64>,
    /// How often that was taken away from it.
    involuntary_switches: Option<u64>,
    /// The function of the kernel that it waits in.
    waits_in: Option<String>,
    /// Where it is in the kernel, from the innermost function out; empty unless the server is root, for nobody else is told.
    stack: Vec<String>,
}

impl From<Thread> for ThreadView {
    fn from(thread: Thread) -> Self {
        let state = match thread.state {
            'R' => "running".to_owned(),
            'S' => "waiting".to_owned(),
            'D' => "waiting for a device".to_owned(),
            'T' | 't' => "stopped".to_owned(),
            other => other.to_string(),
        };
        Self {
            state,
            id: thread.id,
            name: thread.name,
            processor: thread.processor,
            allowed: thread.allowed,
            user_seconds: thread.user_seconds,
            system_seconds: thread.system_seconds,
            voluntary_switches: thread.voluntary_switches,
            involuntary_switches: thread.involuntary_switches,
            waits_in: thread.waits_in,
            stack: thread.stack,
        }
    }
}

/// What each thread of the server is doing now: its processors, its time, and where it waits.
#[utoipa::path(get, path = "/profile/threads", tag = "system",
    responses((status = 200, body = Vec<ThreadView>), (status = 401, body = Problem), (status = 403, body = Problem)))]
async fn threads(Admin(caller): Admin) -> Result<Json<Vec<ThreadView>>, Problem> {
    caller.does("profile.threads", "", "");
    let all = tokio::task::spawn_blocking(threads::all).await.map_err(Problem::internal)?;
    Ok(Json(all.into_iter().map(ThreadView::from).collect()))
}

fn file(name: &str, content: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let fields = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_DISPOSITION, disposition)];
    (fields, content).into_response()
}
