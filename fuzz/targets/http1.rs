//! Any bytes as what a client of HTTP/1 sends.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::http1::requests(bytes));
