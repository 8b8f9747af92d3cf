//! What every HTTP surface of Outwork shares.
//!
//! - [`message`]: what handlers take and give.
//! - [`door`]: the front door's threads, sockets and connections.
//! - `file`: parts of files, read for connections.
//! - `h1`, `h2`, `h3`: the versions of HTTP, each from bytes to requests and back.
//! - `stream`: what those have in common that carry many streams.
//! - [`route`]: which handler answers a request.
//! - [`conditional`]: conditional requests and ranges.
//! - [`cached`]: answers that are kept and given again.
//! - [`filter`]: middleware: what stands between connections and handlers.
//! - [`problem`]: error answers, in one shape. [`grpc`]: how calls of gRPC are told instead.
//! - [`ask`]: questions that are asked before a request goes on, and who sends them.
//! - [`answer`]: handlers that need nothing but their configuration.
//! - [`coding`]: content codings, and a handler that compresses what another one answers.
//! - [`interim`]: answers before the answer.
//! - [`https`]: what brings clients to HTTPS.
//! - [`config`]: what the configuration says of listeners and connections.
//! - `serve`: listeners, connections, limits and the graceful end, for any axum router.
//! - [`traffic`]: what each route gets, and which requests failed lately.
//! - [`tls`]: the certificates of listeners, chosen by name and replaced while serving.
//! - [`acme`]: certificates that an authority gives by itself.
//! - [`api`]: the API kit: callers and roles, problems, extractors, sessions, the audit log.
//! - [`events`]: live events by topic, and their server-sent stream.
//! - `metrics`: what all of it counts.
//!
//! Deliberately absent: routes of its own beyond sessions and events; the services and `admin` bring theirs.

pub mod acme;
pub mod answer;
pub mod api;
pub mod ask;
pub mod cached;
pub mod coding;
pub mod conditional;
pub mod config;
pub mod door;
pub mod events;
mod file;
pub mod filter;
pub mod grpc;
pub mod h1;
mod h2;
mod h3;
pub mod https;
pub mod interim;
pub mod message;
mod metrics;
pub mod problem;
pub mod route;
mod serve;
mod stream;
pub mod tls;
pub mod traffic;

pub use h2::Tunnel;
pub use metrics::{AuthFailure, FrontMetrics, StatusClass};
pub use serve::{Binding, Limits, Peer, ServeError, Server};
pub use tls::{Tls, TlsError, TlsFiles};
