//! What must outlive the process.
//!
//! * `log`   the append log with group commit: leases, and whatever else is acknowledged by the thousand
mod log;
pub use log::*;
