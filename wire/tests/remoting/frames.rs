//! The eight bytes before everything else.

use proptest::prelude::*;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{
    FRAME_BYTES_MAX, FrameError, FramePrefix, HEADER_BYTES_MAX, Serialization,
};

fn words(total: i32, header: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&total.to_be_bytes());
    bytes[4..].copy_from_slice(&header.to_be_bytes());
    bytes
}

#[test]
fn wrong_lengths_are_refused_with_their_numbers() {
    let refused = [
        (words(-1, 0), FrameError::TotalLength(-1)),
        (words(3, 0), FrameError::TotalLength(3)),
        (words(i32::MAX, 0), FrameError::TotalLength(i32::MAX)),
        (
            words(FRAME_BYTES_MAX as i32 + 1, 0),
            FrameError::TotalLength(FRAME_BYTES_MAX as i32 + 1),
        ),
        (words(100, 2 << 24), FrameError::Serialization(2)),
        (words(100, 255 << 24 | 5), FrameError::Serialization(255)),
        (
            words(100, 97),
            FrameError::HeaderLength {
                header_bytes: 97,
                total: 100,
            },
        ),
        (
            words(FRAME_BYTES_MAX as i32, HEADER_BYTES_MAX as u32 + 1),
            FrameError::HeaderLength {
                header_bytes: HEADER_BYTES_MAX as u32 + 1,
                total: FRAME_BYTES_MAX as u32,
            },
        ),
    ];
    for (bytes, error) in refused {
        assert_eq!(FramePrefix::parse(&bytes), Err(error));
    }
}

#[test]
fn a_wrong_total_length_is_refused_before_the_rest_has_come() {
    assert!(FramePrefix::parse(b"GET ").is_err());
    assert_eq!(FramePrefix::parse(&[0, 0, 0]), Ok(None));
    assert_eq!(FramePrefix::parse(&words(100, 96)[..7]), Ok(None));
}

#[test]
fn the_smallest_and_the_largest_frame_are_frames() {
    let smallest = FramePrefix::parse(&words(4, 0)).unwrap().unwrap();
    assert_eq!(smallest.frame_bytes(), FRAME_PREFIX_BYTES);
    let total = FRAME_BYTES_MAX as i32;
    let largest = FramePrefix::parse(&words(total, HEADER_BYTES_MAX as u32));
    let largest = largest.unwrap().unwrap();
    assert_eq!(largest.frame_bytes(), FRAME_BYTES_MAX + 4);
    assert_eq!(largest.header_bytes(), HEADER_BYTES_MAX);
    assert_eq!(largest.body_range().end, largest.frame_bytes());
}

proptest! {
    #[test]
    fn a_prefix_is_read_as_it_was_written(
        header in 0..HEADER_BYTES_MAX, body in 0..FRAME_BYTES_MAX - HEADER_BYTES_MAX - 4, binary: bool,
    ) {
        let serialization = if binary { Serialization::Binary } else { Serialization::Json };
        let prefix = FramePrefix::new(serialization, header, body);
        prop_assert_eq!(FramePrefix::parse(&prefix.encode()), Ok(Some(prefix)));
        prop_assert_eq!((prefix.header_bytes(), prefix.body_bytes()), (header, body));
        prop_assert_eq!(prefix.serialization(), serialization);
    }

    #[test]
    fn any_bytes_are_a_prefix_within_limits_or_an_error(bytes: [u8; 8]) {
        if let Ok(Some(prefix)) = FramePrefix::parse(&bytes) {
            prop_assert!(prefix.frame_bytes() <= FRAME_BYTES_MAX + 4);
            prop_assert!(prefix.header_range().end <= prefix.frame_bytes());
            prop_assert_eq!(prefix.encode(), bytes);
        }
    }
}
