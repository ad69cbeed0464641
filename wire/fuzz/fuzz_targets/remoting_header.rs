#![no_main]
#[path = "../checks/remoting_header.rs"]
mod remoting_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting_header::check(bytes));
