//! Any bytes as a server's day.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::dhcp::engine(bytes));
