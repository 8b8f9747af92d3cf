//! The API kit: who calls, what they may do, what they sent, what went wrong, and what is written down about it.
//!
//! - `access`: bearer tokens and sessions become a [`Caller`]; [`Viewer`], [`Operator`] and [`Admin`] are the guards.
//! - `attempts`: failed attempts by address, bounded.
//! - `role`: what a caller may do.
//! - `session`: the browser's cookie, and the routes that make and end it.
//! - `audit`: a row for every change, on disk before the change is acknowledged.
//! - `extract`: JSON, query and path, whose rejection is a [`Problem`] that names the field.
//! - `problem`: RFC 9457.
//! - `page`: paging of lists.
//! - `timestamp`: RFC 3339.

mod access;
mod attempts;
mod audit;
mod extract;
mod page;
mod problem;
mod role;
mod session;
mod timestamp;

pub use access::{Access, Admin, Caller, Operator, Viewer};
pub use audit::audited;
pub use extract::{Json, Path, Query};
pub use page::{Page, PageQuery};
pub use problem::{Fault, Problem};
pub use role::Role;
pub use session::{SessionInfo, SignIn, router as session_router};
pub use timestamp::Timestamp;
