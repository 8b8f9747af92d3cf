//! The audit log, newest first.

use std::sync::Arc;

use axum::extract::State;
use outwork_front::api::{Json, Page, PageQuery, Problem, Query, Timestamp, Viewer};
use outwork_store::audit::{self, Filter, StoredEntry};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, Shared};

pub(super) fn router() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(list_changes))
}

/// One change, done or refused.
#[derive(Debug, Serialize, ToSchema)]
struct AuditRow {
    /// Its number, ascending.
    id: i64,
    /// When.
    time: Timestamp,
    /// The name of the token, or what of Outwork itself.
    who: String,
    /// Its role; empty for Outwork itself.
    role: String,
    /// The address it came from, or `cli`.
    peer: String,
    /// What, as `subject.verb`.
    action: String,
    /// On what.
    target: String,
    /// What changed.
    detail: String,
    /// `ok`, or `refused` with the status.
    result: String,
}

impl From<StoredEntry> for AuditRow {
    fn from(StoredEntry { id, entry }: StoredEntry) -> Self {
        // Rows of the API have an object as their detail; those of others may have plain text.
        let detail: Value = serde_json::from_str(&entry.detail).unwrap_or(Value::Null);
        let field = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
        let refused = detail.get("status").map_or_else(|| "refused".to_owned(), |status| format!("refused: {status}"));
        Self {
            id,
            time: entry.at.into(),
            who: entry.actor,
            role: field("role").unwrap_or_default(),
            peer: entry.origin,
            action: entry.action,
            target: entry.target,
            detail: field("change").unwrap_or(entry.detail),
            result: if entry.succeeded { "ok".into() } else { refused },
        }
    }
}

/// Every change: who made it, from where, and whether it was allowed. Newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(PageQuery),
    responses((status = 200, body = Page<AuditRow>), (status = 400, body = Problem), (status = 401, body = Problem)))]
async fn list_changes(
    _: Viewer,
    State(shared): Context,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditRow>>, Problem> {
    let limit = page.rows();
    let before = page.after.map(|after| after.parse::<i64>()).transpose();
    let before = before.map_err(|_| Problem::invalid("after", "expected `next` of the page before"))?;
    // One more than asked for tells whether there is a next page.
    let part = audit::Page { before, limit: u32::try_from(limit + 1).unwrap_or(audit::MAX_PAGE) };
    let mut rows = shared.admin.database.read(move |db| audit::list(db, &Filter::default(), part)).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
    Ok(Json(Page { items: rows.into_iter().map(AuditRow::from).collect(), next }))
}
