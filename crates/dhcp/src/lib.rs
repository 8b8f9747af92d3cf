//! The DHCPv4 service.

pub mod codec;
pub mod lease;
