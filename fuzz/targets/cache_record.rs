//! Any bytes as a record of the cache.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::cache::record(bytes));
