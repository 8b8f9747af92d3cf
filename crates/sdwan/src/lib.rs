//! Joins sites over every uplink they have, and moves traffic off a bad link before anyone notices.
//!
//! - [`engine`]: decides which paths there are, how they fare, and which of them a flow takes.
//! - [`plane`]: what packets go through on their way.
//!
//! Absent so far: what performs (tunnels, sockets, the controller).

pub mod engine;
pub mod plane;
