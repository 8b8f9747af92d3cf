//! The DHCP service.
pub mod expr;
pub mod options;
