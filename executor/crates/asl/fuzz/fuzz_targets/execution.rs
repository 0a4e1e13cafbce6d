//! Feeds `asl_fuzz::execution`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| asl_fuzz::execution(data));
