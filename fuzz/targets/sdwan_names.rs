//! Any bytes as the beginnings of flows.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::sdwan::names(bytes));
