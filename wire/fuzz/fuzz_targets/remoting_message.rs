#![no_main]
#[path = "../checks/remoting_message.rs"]
mod remoting_message;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| remoting_message::check(bytes));
