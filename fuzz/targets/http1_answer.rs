//! Any bytes as what a backend answers over HTTP/1.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outwork_fuzz::http1_answer::answers(bytes));
