//! What other servers leave behind, made ours.
//!
//! - `csv`: Kea's lease file, read and written a row at a time.
//! - `json`: Kea's JSON dialect, and a reader of objects that knows what nobody asked for.
//! - `kea`: a `Dhcp4` configuration to an Outwork file and notes on what did not come along.
//! - `toml`: the text of the file it writes.
//!
//! Absent on purpose: DHCPv6, ISC dhcpd's and dnsmasq's files, and files that include others.
#![deny(clippy::disallowed_methods)]

pub mod csv;
mod json;
pub mod kea;
mod toml;

#[cfg(test)]
mod csv_tests;
#[cfg(test)]
mod kea_tests;
