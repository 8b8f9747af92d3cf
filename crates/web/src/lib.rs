//! The web server: what answers requests out of files and databases.
//!
//! - [`files`]: a folder as a site: conditional requests, ranges, index files, lists, compressed variants, media types, small files from memory.
//! - [`sql`]: answers out of SQLite and PostgreSQL: parameters, pools, JSON and CSV, results that are kept.
//! - [`bench`]: a load of requests over HTTP/1.1, HTTP/2 and HTTP/3, and what a server bears.
//! - [`config`]: what the configuration says of files.
//! - [`metrics`]: what it counts.
//!
//! Deliberately absent: connections, routes and what belongs to every response; the front door has them.

pub mod bench;
pub mod config;
pub mod files;
pub mod metrics;
pub mod sql;
