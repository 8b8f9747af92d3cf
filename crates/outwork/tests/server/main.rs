//! The real binary: its commands, and servers on loopback addresses of their own. One program, for each takes its time to be linked.
#![allow(missing_docs, clippy::expect_used)]

mod binary;
mod buffers;
mod cache;
mod checking;
mod commands;
mod controller;
mod descriptors;
mod errors;
mod filters;
mod front;
mod grafana;
mod host;
mod http3;
mod layer4;
mod local_access;
mod measure;
mod practice;
mod proxied;
mod proxy;
#[path = "../../../cache/tests/redis/server.rs"]
mod redis;
mod refusals;
mod remarks;
mod running;
mod sql;
mod store;
mod threads;
mod tls;
mod tokens;
mod upgrade;
