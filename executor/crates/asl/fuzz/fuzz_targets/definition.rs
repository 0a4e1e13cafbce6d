//! Feeds `asl_fuzz::definition`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| asl_fuzz::definition(data));
