#![no_main]
#[path = "../checks/shard_meta.rs"]
mod shard_meta;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shard_meta::check(bytes));
