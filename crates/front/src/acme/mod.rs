//! Certificates by ACME (RFC 8555).
//!
//! - `challenge`: what ACME servers look for to see that a name is ours.

mod challenge;

pub use challenge::Challenges;
pub(crate) use challenge::WELL_KNOWN;
