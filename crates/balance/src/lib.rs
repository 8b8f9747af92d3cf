//! The pure heart of load balancing: who serves this? Numbers and time in, decisions out.
//!
//! Many workers pick without a lock ([`Picker`]); one control thread changes pools ([`Pool::rebuild`]), checks members ([`health`]) and compares them
//! ([`Pool::sweep`]). What they share is atomics in [`Member`]s and in the pool's [`Ledger`], which outlive every change of the pool.
//!
//! - [`settings`]: what the owner of a pool says of it.
//! - [`pool`]: an immutable snapshot of who is in it; [`rank`], its levels of priority and zones.
//! - [`member`]: what is known of a member; [`latency`], how fast it is.
//! - [`picker`]: what a worker asks; [`lease`], what it gets, and tells how it went.
//! - [`policy`]: round robin, fewest requests, two choices, Maglev.
//! - [`health`]: active checks; [`outlier`], passive ones.
//! - [`breaker`]: limits of what is under way; [`budget`], of retries and hedges.
//! - [`slow`]: how members that come up get their weight; [`hash`], hashes that neighbours agree on.
//!
//! Absent on purpose: sockets, clocks, threads and entropy. What a check asks, where members come from, and what is done with a member are the caller's.
//! There is no bounded-load hashing: limits of members do that, with the same next member for everyone.
#![deny(clippy::disallowed_methods)]

mod attempt;
pub mod breaker;
pub mod budget;
pub mod hash;
pub mod health;
pub mod latency;
pub mod lease;
mod ledger;
mod level;
pub mod member;
pub mod outlier;
pub mod picker;
pub mod policy;
pub mod pool;
pub mod rank;
pub mod settings;
pub mod slow;

pub use attempt::Ask;
pub use breaker::{Gauge, Held, Limits, Refused, Resource, Scope};
pub use budget::BudgetSettings;
pub use health::{CheckSettings, Checker};
pub use lease::{How, Lease, Outcome};
pub use ledger::Ledger;
pub use member::{Health, Member, MemberId, Standing};
pub use outlier::{Detector, Ejection, OutlierSettings, Row};
pub use picker::{NoBackend, Picker};
pub use policy::maglev::Maglev;
pub use pool::{Census, Extra, Pool, PoolError, Slot};
pub use settings::{MemberSettings, Policy, PoolSettings, ZonePreference};
pub use slow::SlowStart;
