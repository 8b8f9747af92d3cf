<<<<<<< HEAD
//! The DHCPv4 service.

pub mod codec;
pub mod lease;
=======
//! The DHCP service.
pub mod expr;
pub mod options;
>>>>>>> options
