#![no_main]
#![allow(dead_code, reason = "each target runs one of the decoders")]

#[path = "../../tests/integration/fuzz/decoders.rs"]
mod decoders;

libfuzzer_sys::fuzz_target!(|data: &[u8]| decoders::handshake(data));
