#![no_main]
#[path = "../checks/superblock.rs"]
mod superblock;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| superblock::check(bytes));
