//! The DHCPv4 service.
//!
//! - `api`: its routes under `/api/v1/dhcp`.
//! - `bench`: the load generator of `outwork bench dhcp`, against any server.
//! - `config`: what the file says of the service.
//! - `codec`: bytes to messages and back.
//! - `options`: every DHCPv4 option by name and type; the options of a scope, compiled.
//! - `expr`: expressions over a message: client classes and the flex identifier.
//! - `import`: Kea's configuration and its lease file.
//! - `lease`: the lease record, the table of leases, their form on disk.
//! - `policy`: the configuration compiled for lookup: subnets, pools, classes, reservations.
//! - `engine`: decides; sans-IO.
//! - `server`: performs: sockets, threads, the log.
//! - `metrics`: everything the service measures.
//!
//! Absent on purpose: DHCPv6 and dynamic DNS updates.

pub mod api;
pub mod bench;
pub mod codec;
pub mod config;
pub mod engine;
pub mod expr;
pub mod import;
pub mod lease;
pub mod metrics;
pub mod options;
pub mod policy;
pub mod server;
