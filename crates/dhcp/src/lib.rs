//! The DHCP service.
