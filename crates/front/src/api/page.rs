//! Paging: lists are read in pages by a cursor, so that a change in between neither repeats nor skips a row.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which page. Flatten it into a list's own query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next` of the page before; absent for the first page.
    pub after: Option<String>,
    /// Rows a page: 100 when absent, 999 at most.
    pub limit: Option<usize>,
}

impl PageQuery {
    /// Rows to give: what was asked for within the bounds.
    pub fn rows(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, 999)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// `after` of the next page; null on the last one.
    pub next: Option<String>,
}
