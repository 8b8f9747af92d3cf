//! The proxy: passes requests on to backends, and sees to it that they can answer.
//!
//! - [`config`]: what the configuration says of backends. [`address`]: where they are.
//! - [`pool`]: pools at work: who is in them, and what looks after them.
//! - [`forward`]: the handler that passes requests on.
//! - [`l4`]: listeners that pass connections and datagrams on. `pick`: a backend for a request or a connection. `reach`: a connection to one.
//! - `limits`: how much there may be of all pools together.
//! - [`ask`]: questions that middleware asks others.
//! - [`bench`]: a load for what passes connections and datagrams on.
//! - `announce`: what backends are told of whose a connection is. `upstream`: connections to backends; [`dissect`]: what is made of their answers. `check`: what is asked to see whether one is healthy.
//! - [`acceleration`]: packets that the kernel passes on.
//! - [`api`]: its routes under the admin API.
//! - [`secret`]: what signs cookies that name backends.
//! - [`metrics`]: what it counts. `clock`: the time that balancing counts in.
//!
//! Deliberately absent: how a backend is chosen, which is `outwork-balance`'s, and listeners and routes of HTTP, which are the front door's.

pub mod acceleration;
pub mod address;
mod announce;
pub mod api;
pub mod ask;
pub mod bench;
mod check;
mod clock;
pub mod config;
pub mod forward;
pub mod l4;
mod limits;
pub mod metrics;
mod pick;
pub mod pool;
mod reach;
pub mod secret;
mod upstream;

// For the fuzz target.
#[doc(hidden)]
pub use upstream::h1::pipe::{Told, dissect};
