#![no_main]
#[path = "../checks/state_chunk.rs"]
mod state_chunk;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| state_chunk::check(bytes));
