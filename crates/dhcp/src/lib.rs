//! The DHCP service.
pub mod options;
