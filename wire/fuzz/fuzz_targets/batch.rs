#![no_main]
#[path = "../checks/batch.rs"]
mod batch;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| batch::check(bytes));
