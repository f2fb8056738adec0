//! Entry of the fuzzer; what holds for any input stands in `fuzz/prev_result.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| egret_fuzz::prev_result(input));
