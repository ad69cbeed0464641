#![no_main]
#[path = "../checks/control_record.rs"]
mod control_record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| control_record::check(bytes));
