#![no_main]
#[path = "../checks/index_bundle.rs"]
mod index_bundle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| index_bundle::check(bytes));
