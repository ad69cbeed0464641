#![no_main]
#[path = "../checks/remoting_body.rs"]
mod remoting_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting_body::check(bytes));
