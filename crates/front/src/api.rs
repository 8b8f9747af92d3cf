//! The API kit: who calls, what they may do, what they sent, what went wrong, and what is written down about it.
//!
//! - `access`: bearer tokens and sessions become a [`Caller`]; [`Viewer`], [`Operator`] and [`Admin`] are the guards.
//! - `attempts`: failed attempts by address, bounded.
//! - `session`: the browser's cookie, and the routes that make and end it.
//! - `token`: tokens, their hashes, and where they are kept.
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
mod session;
mod timestamp;
mod token;

pub use access::{Access, Admin, Caller, Operator, Role, Viewer};
pub use audit::{AuditLog, AuditRecord, audited};
pub use extract::{Json, Path, Query};
pub use page::{Page, PageQuery};
pub use problem::{Fault, Problem};
pub use session::{SessionInfo, SignIn, router as session_router};
pub use timestamp::Timestamp;
pub use token::{Secret, TokenHash, TokenRecord, TokenStore};

/// Why the storage behind a seam failed.
pub type StorageError = Box<dyn std::error::Error + Send + Sync>;
