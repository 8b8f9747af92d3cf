//! Any bytes as a datagram.
#![no_main]

#[path = "../src/dhcp.rs"]
mod dhcp;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dhcp::codec(bytes));
