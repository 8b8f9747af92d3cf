//! Any bytes as groups of packets, of which some are lost.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::sdwan::groups(bytes));
