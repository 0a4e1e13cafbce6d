//! Feeds `asl_fuzz::path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| asl_fuzz::path(data));
