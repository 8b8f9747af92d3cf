//! Any bytes as a datagram of QUIC.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::first::quic(bytes));
