//! Any bytes as the day of two who speak WireGuard, with somebody between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::wireguard::day(bytes));
