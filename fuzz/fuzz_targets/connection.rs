#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| p2pcopy::tests::decoders::connection(data));
