#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| asset_eraser::fuzzing::envelope(input));
