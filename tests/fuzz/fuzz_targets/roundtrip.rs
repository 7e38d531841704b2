#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| tidegate_tests::fuzz::run("roundtrip", octets));
