//! Any bytes as what another site says inside a tunnel.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::sdwan::inside(bytes));
