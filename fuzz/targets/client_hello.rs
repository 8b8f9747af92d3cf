//! Any bytes as the beginning of a connection with TLS.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::first::hello(bytes));
