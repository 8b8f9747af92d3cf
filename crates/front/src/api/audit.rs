//! The audit log: a row for every change that a known caller asked for, on disk before the answer leaves.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use outwork_store::audit::{Entry, append};
use parking_lot::Mutex;
use serde_json::json;

use super::access::is_safe;
use super::{Access, Problem, Role};
use crate::serve::Peer;

/// What is known of a request so far, filled by the extractors and the handler.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditSlot(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    caller: Option<(String, Role)>,
    does: Option<(&'static str, String, String)>,
}

impl AuditSlot {
    pub(super) fn does(&self, action: &'static str, target: String, detail: String) {
        self.0.lock().does = Some((action, target, detail));
    }

    pub(super) fn called_by(&self, name: &str, role: Role) {
        self.0.lock().caller = Some((name.to_owned(), role));
    }
}

/// Puts an API behind its access layer: handlers can ask for their [`Caller`](super::Caller), and every change is audited.
pub fn audited(router: Router, access: Arc<Access>) -> Router {
    router.layer(from_fn_with_state(access, audit))
}

/// What a route is about: its path below the API's own, up to what names one thing. The target has that.
fn kind_of(route: &str) -> &str {
    let below = route.strip_prefix("/api/v1").unwrap_or(route);
    below.split_once("/{").map_or(below, |(kind, _)| kind)
}

async fn audit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let slot = AuditSlot::default();
    let changes = !is_safe(request.method());
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().map(|route| route.as_str().to_owned());
    let origin = request.extensions().get::<Peer>().map(|peer| peer.address.to_string()).unwrap_or_default();
    request.extensions_mut().insert(access.clone());
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    if !changes {
        return response;
    }
    let Slot { caller, does } = std::mem::take(&mut *slot.0.lock());
    // Nobody was let in, so nothing changed; attempts are counted, not written, or they could fill the disk.
    let Some((actor, role)) = caller else { return response };
    let status = response.status();
    let (action, target, change) = match does {
        Some((action, target, detail)) => (action.to_owned(), target, detail),
        // It did not come as far as its handler: what was tried is what is known.
        None => (format!("{method} {}", kind_of(&route.unwrap_or_default())), path.clone(), String::new()),
    };
    // Not `target`: so the log calls the module that says it.
    tracing::info!(actor, %role, origin, action, object = target, change, %status, "change");
    let detail = json!({ "role": role, "method": method, "path": path, "status": status.as_u16(), "change": change });
    let succeeded = status.is_success();
    let entry = Entry { at: SystemTime::now(), actor, origin, action, target, succeeded, detail: detail.to_string() };
    match access.database.call(move |database| append(database, &entry)).await {
        Ok(_) => response,
        Err(error) => {
            access.metrics.audit_failed.inc();
            let done = format!("the request was carried out (status {status}), but its audit row could not be kept");
            Problem::internal(format!("{done}: {error}")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_reach_its_handler_is_called_by_its_kind() {
        assert_eq!(kind_of("/api/v1/dhcp/leases/{address}"), "/dhcp/leases");
        assert_eq!(kind_of("/api/v1/reload"), "/reload");
    }
}
