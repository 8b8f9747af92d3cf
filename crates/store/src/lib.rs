//! What must outlive the process.
//!
//! * [`log`]      the append log with group commit: leases, and whatever else is acknowledged by the thousand
//! * [`database`] SQLite for what is queried: one writer, several readers, migrations
//! * [`config`]   the `[store]` section of the configuration file
//! * [`audit`]    the table of who changed what
//! * [`tokens`]   the table of API tokens
//! * [`history`]  the tables of metrics over time
//! * [`lock`]     one process to a directory
//! * [`file`]     files for nobody else's eyes
//!
//! Deliberately absent: what records and series mean, clocks (time is an input wherever it is stored), and any async
//! runtime (callers await a plain future, or block).

pub mod audit;
pub mod config;
pub mod database;
pub mod file;
pub mod history;
pub mod lock;
pub mod log;
pub mod tokens;
