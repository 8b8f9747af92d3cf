//! Any bytes as a datagram.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::dhcp::codec(bytes));
