//! What every HTTP surface of Outwork shares.
//!
//! - [`message`]: what handlers take and give.
//! - [`door`]: the front door's threads, sockets and connections.
//! - `file`: parts of files, read for connections.
//! - `h1`, `h2`: the versions of HTTP, each from bytes to requests and back.
//! - [`route`]: which handler answers a request.
//! - [`answer`]: handlers that need nothing but their configuration.
//! - [`coding`]: content codings, and a handler that compresses what another one answers.
//! - [`config`]: what the configuration says of listeners and connections.
//! - `serve`: listeners, connections, limits and the graceful end, for any axum router.
//! - `tls`: certificates from PEM files, replaced while serving.
//! - [`api`]: the API kit: callers and roles, problems, extractors, sessions, the audit log.
//! - [`events`]: live events by topic, and their server-sent stream.
//! - `metrics`: what all of it counts.
//!
//! Deliberately absent: routes of its own beyond sessions and events; the services and `admin` bring theirs.

pub mod answer;
pub mod api;
pub mod coding;
pub mod config;
pub mod door;
pub mod events;
mod file;
mod h1;
mod h2;
pub mod message;
mod metrics;
pub mod route;
mod serve;
mod tls;

pub use metrics::{AuthFailure, FrontMetrics, StatusClass};
pub use serve::{Binding, Limits, Peer, ServeError, Server};
pub use tls::{Prepared, Tls, TlsError, TlsFiles};
