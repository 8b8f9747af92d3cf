//! The DHCP service.
pub mod expr;
pub mod import;
pub mod options;
