//! Frames of the native protocol: ranges lie within the input.

use ringmq_wire::native::{Decoded, decode};

pub fn check(bytes: &[u8]) {
    if let Ok(Decoded::Ready(prefix)) = decode(bytes) {
        assert!(prefix.header_range().end <= bytes.len());
        assert_eq!(prefix.payload_range().end, prefix.frame_bytes);
    }
}
