//! The service's routes under `/api/v1/dhcp`.
//!
//! - `lease`: one lease: shown, added, changed, released.
//! - `search`: lists of leases, by the table's indexes or in slices.
//! - `subnet`: how full subnets and pools are.
//! - [`reservation`]: reservations as JSON, for the API and for the log.
//! - `transfer`: leases out and in, as Kea's lease file.
//! - `event`: what the live feed tells of an event.
//! - `routes`: the handlers: who may, what the audit log says, and on which thread.
//! - `text`: octets, names and moments as all of them write and read them.
//!
//! All but `routes` is plain functions over the engine. A change is acknowledged once the log has it on stable storage.

mod event;
mod lease;
pub mod reservation;
mod routes;
mod search;
mod subnet;
mod text;
mod transfer;

#[cfg(test)]
mod routes_tests;
#[cfg(test)]
mod tests;

pub use event::{EventData, event_json};
pub use lease::{AddLease, ChangeLease, LeaseState, LeaseView, RelayView};
pub use routes::router;
pub use search::{LeasePage, LeaseQuery};
pub use subnet::{Counts, PoolView, SubnetList, SubnetView, Summary};
pub use transfer::{ImportReport, LineFault};
