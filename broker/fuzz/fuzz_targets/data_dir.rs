#![no_main]
#[path = "../checks/data_dir.rs"]
mod data_dir;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| data_dir::check(bytes));
