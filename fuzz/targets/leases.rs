//! Entry of the fuzzer; what holds for any input stands in `fuzz/leases.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| egret_fuzz::leases(input));
