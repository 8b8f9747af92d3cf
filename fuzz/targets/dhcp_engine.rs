//! Any bytes as a server's day.
#![no_main]

#[path = "../src/dhcp.rs"]
mod dhcp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dhcp::engine(bytes));
