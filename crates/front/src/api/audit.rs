//! The audit log: a row for every change that a known caller asked for, on disk before the answer leaves.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use super::access::{blocking, is_safe};
use super::{Access, Caller, Problem, Role, StorageError, Timestamp};
use crate::serve::Peer;

/// One row: who asked for what, from where, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// When.
    pub time: Timestamp,
    /// The name of the token.
    pub who: String,
    /// Its role.
    pub role: Role,
    /// The address it came from.
    pub peer: String,
    /// The method.
    pub action: String,
    /// The path.
    pub target: String,
    /// What changed, as the handler says; empty when it said nothing.
    pub detail: String,
    /// The status answered.
    pub result: u16,
}

/// Where audit rows are kept.
pub trait AuditLog: Send + Sync {
    /// Keeps a row; returns when it is on disk. Blocks.
    ///
    /// # Errors
    /// When the storage fails: the change is then not acknowledged.
    fn append(&self, record: &AuditRecord) -> Result<(), StorageError>;
}

/// What is known of a request so far, filled by the extractors and the handler.
#[derive(Debug, Clone, Default)]
pub(super) struct AuditSlot(Arc<Mutex<Slot>>);

#[derive(Debug, Default)]
struct Slot {
    who: Option<(String, Role)>,
    detail: String,
}

impl AuditSlot {
    pub(super) fn note(&self, detail: String) {
        self.0.lock().detail = detail;
    }

    pub(super) fn called_by(&self, caller: &Caller) {
        self.called(&caller.name, caller.role);
    }

    pub(super) fn called(&self, name: &str, role: Role) {
        self.0.lock().who = Some((name.to_owned(), role));
    }
}

/// Puts an API behind its access layer: handlers can ask for their [`Caller`], and every change is audited.
pub fn audited(router: Router, access: Arc<Access>) -> Router {
    router.layer(from_fn_with_state(access, audit))
}

async fn audit(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let slot = AuditSlot::default();
    let changes = !is_safe(request.method());
    let (action, target) = (request.method().to_string(), request.uri().path().to_owned());
    let peer = request.extensions().get::<Peer>().map(|peer| peer.address.to_string()).unwrap_or_default();
    request.extensions_mut().insert(access.clone());
    request.extensions_mut().insert(slot.clone());
    let response = next.run(request).await;
    if !changes {
        return response;
    }
    let (who, detail) = {
        let mut slot = slot.0.lock();
        (slot.who.take(), std::mem::take(&mut slot.detail))
    };
    // Nobody was let in, so nothing changed; attempts are counted, not written, or they could fill the disk.
    let Some((who, role)) = who else { return response };
    let result = response.status().as_u16();
    tracing::info!(who, %role, peer, action, target, detail, result, "change");
    let record = AuditRecord { time: Timestamp::now(), who, role, peer, action, target, detail, result };
    let log = access.audit.clone();
    match blocking(move || log.append(&record)).await {
        Ok(()) => response,
        Err(problem) => {
            access.metrics.audit_failed.inc();
            let detail =
                format!("the request was carried out (status {result}), but its audit row could not be kept: ");
            Problem { detail: detail + &problem.detail, ..problem }.into_response()
        }
    }
}
