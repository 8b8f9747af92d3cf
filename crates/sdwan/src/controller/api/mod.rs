//! The routes of the controller, under `/api/v1/controller`: what the network is to be, and how it is.
//!
//! - `documents`: sites, uplinks, classes, applications, policies: read, made, changed, removed.
//! - `health`: paths and tunnels, their history, and events. `changes`: who has changed what, and taking that back.
//! - `traffic`: what policies have carried.
//! - `sites`: tokens for enrolment, certificates, and which sites are there.
//!
//! Operators change documents and revoke; tokens are for admins alone. What this process itself does as a site is under `/api/v1/sdwan`: one process may be both.

mod changes;
mod documents;
pub(crate) mod health;
mod sites;
mod traffic;

use std::sync::Arc;

use outwork_front::api::{Json, Page, Problem};
use utoipa_axum::router::OpenApiRouter;

use super::Controller;

/// The routes, to be nested under `/api/v1/controller`.
pub fn router(controller: Arc<Controller>) -> OpenApiRouter {
    OpenApiRouter::new()
        .merge(changes::router())
        .merge(documents::router())
        .merge(health::router())
        .merge(sites::router())
        .merge(traffic::router())
        .with_state(controller)
}

/// A page of rows, of which one more than `limit` was read where there is a next.
pub(crate) fn page<T, V>(
    mut rows: Vec<T>,
    limit: usize,
    cursor: impl Fn(&T) -> String,
    view: impl FnMut(T) -> V,
) -> Json<Page<V>> {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    Json(Page { items: rows.into_iter().map(view).collect(), next })
}

/// A cursor that is a number.
fn number(after: Option<String>) -> Result<Option<i64>, Problem> {
    let number = after.map(|after| after.parse::<i64>()).transpose();
    number.map_err(|_| Problem::invalid("after", "expected `next` of the page before"))
}

#[cfg(test)]
pub(crate) mod tests;
