//! Any bytes as a datagram of WireGuard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::wireguard::message(bytes));
