//! Any bytes as packets that come out of a tunnel in one run.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::sdwan::run(bytes));
