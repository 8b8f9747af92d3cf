//! Answers that are kept and given again (RFC 9111).

pub mod config;
mod control;
mod key;
mod policy;
pub mod rules;
mod stored;
mod storing;
mod structured;
