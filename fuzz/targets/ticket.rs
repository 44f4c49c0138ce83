#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis::layers::tls::fuzzing::ticket(data));
