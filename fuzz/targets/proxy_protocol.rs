//! Any bytes as what a proxy writes in front of a connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::proxy::header(bytes));
