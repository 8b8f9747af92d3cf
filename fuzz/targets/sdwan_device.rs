//! Any bytes as a packet of a TUN device.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::sdwan::device(bytes));
