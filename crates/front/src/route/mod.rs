//! Which handler answers a request: by host, path, method and header fields.
//!
//! - [`path`]: the path of a request in the one form that is matched, and the patterns of routes.
//! - `hidden`: routes that never answer.
//! - `passed`: routes that others answer before, for requests that they were made for.
//! - `table`: the routes of a configuration, and the one that fits a request best.
//!
//! The most specific route wins, wherever it stands in the file: a host by name before one by wildcard before any; a literal
//! segment before `{name}` before `*`; then the route with more conditions; then the one that stands first.

mod hidden;
mod passed;
pub mod path;
mod table;

pub use hidden::hidden;
pub use passed::{Passed, Probes};
pub(crate) use table::add;
pub use table::{Conditions, Found, HostPattern, HostPatternError, Miss, Table};
