//! Any bytes as what the cache finds on disk.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(dir) = tempfile::tempdir() {
        outwork_fuzz::cache::disk(dir.path(), bytes);
    }
});
