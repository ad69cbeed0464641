//! Remoting frames, and headers in both forms: what is read and written is read again the same.

use ringmq_wire::remoting::fields::{PullFields, SendFields};
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization};

// As a frame, and the rest of the input as a header in both forms, so that lengths need not be guessed first.
pub fn check(bytes: &[u8]) {
    if let Ok(Some(prefix)) = FramePrefix::parse(bytes) {
        assert_eq!(prefix.encode()[..], bytes[..8]);
        assert!(prefix.header_range().end <= prefix.frame_bytes());
    }
    for serialization in [Serialization::Json, Serialization::Binary] {
        let Ok(header) = Header::parse(serialization, bytes) else {
            continue;
        };
        let _ = SendFields::parse_v1(&header);
        let _ = SendFields::parse_v2(&header);
        let _ = PullFields::parse(&header);
        let command = Command::from_header(&header);
        let again = command.encode(Serialization::Json, b"");
        let header = Header::parse(Serialization::Json, &again[8..]).expect("what was written");
        assert_eq!(Command::from_header(&header), command);
    }
}
