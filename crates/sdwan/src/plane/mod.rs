//! What packets go through.
//!
//! - [`tunnel`]: a tunnel as workers see it.

pub mod tunnel;
