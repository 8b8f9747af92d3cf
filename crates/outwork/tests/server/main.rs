//! The real binary: its commands, and servers on loopback addresses of their own. One program, for each takes its time to be linked.
#![allow(missing_docs, clippy::expect_used)]

mod binary;
mod cache;
mod commands;
mod filters;
mod front;
mod http3;
mod local_access;
mod measure;
mod remarks;
mod running;
mod sql;
mod store;
mod tls;
mod upgrade;
