#![no_main]
use libfuzzer_sys::fuzz_target;
use ringmq_wire::native::{Decoded, decode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Decoded::Ready(prefix)) = decode(bytes) {
        assert!(prefix.header_range().end <= bytes.len());
        assert_eq!(prefix.payload_range().end, prefix.frame_bytes);
    }
});
