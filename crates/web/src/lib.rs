//! The web server: what answers requests out of files.
//!
//! - [`files`]: a folder as a site: conditional requests, ranges, index files, lists, compressed variants, media types, small files from memory.
//! - [`config`]: what the configuration says of it.
//! - [`metrics`]: what it counts.
//!
//! Deliberately absent: connections, routes and what belongs to every response; the front door has them.

pub mod config;
pub mod files;
pub mod metrics;
