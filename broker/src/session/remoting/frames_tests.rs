//! The remoting session fed whole, in pieces, and with what it should not get.

use super::frames::{Session, Step};
use crate::limits::Limits;
use crate::session::inbox::Inbox;
use crate::session::pace::Timeout;
use crate::session::source::Receive;
use proptest::prelude::*;
use ringmq_wire::remoting::{Command, FRAME_BYTES_MAX, FrameError, Serialization};

/// What a session gave.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    frames: Vec<(Vec<u8>, Vec<u8>)>,
    reserved: Vec<usize>,
    broken: Option<FrameError>,
}

struct Fed {
    session: Session,
    seen: Seen,
}

impl Fed {
    fn new() -> Self {
        Self {
            session: Session::new(Limits::TEST_MIN, Inbox::default(), 0),
            seen: Seen::default(),
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.session.is_closed() {
            let space = self.session.unfilled();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.session.filled(count, 0);
            self.steps();
        }
    }

    fn steps(&mut self) {
        loop {
            match self.session.step() {
                Step::Read => return,
                Step::Reserve(bytes) => {
                    self.seen.reserved.push(bytes);
                    self.session.reserved(0);
                }
                Step::Frame(prefix) => {
                    let header = self.session.header(&prefix).to_vec();
                    let body = self.session.body(&prefix).to_vec();
                    self.seen.frames.push((header, body));
                    self.session.consume(&prefix);
                }
                Step::Broken(error) => self.seen.broken = Some(error),
            }
        }
    }
}

fn frame(opaque: i32, binary: bool, body: &[u8]) -> Vec<u8> {
    let serialization = if binary {
        Serialization::Binary
    } else {
        Serialization::Json
    };
    let command = Command::request(34, opaque).field("name", "value");
    command.encode(serialization, body)
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        frames in prop::collection::vec((any::<i32>(), any::<bool>(), 0usize..3000), 1..20),
        cuts in prop::collection::vec(1usize..900, 1..40),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = Vec::new();
        let mut sizes = Vec::new();
        for (opaque, binary, body) in &frames {
            let one = frame(*opaque, *binary, &vec![7; *body]);
            sizes.push(one.len());
            bytes.extend(one);
        }
        bytes.extend(tail);
        let mut whole = Fed::new();
        whole.feed(&bytes);
        let mut pieces = Fed::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.feed(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(&whole.seen, &pieces.seen);
        prop_assert!(whole.seen.frames.len() >= frames.len());
        prop_assert_eq!(&whole.seen.reserved[..frames.len()], &sizes[..]);
    }
}

#[test]
fn a_frame_is_announced_before_it_is_buffered() {
    let mut session = Session::new(Limits::TEST_MIN, Inbox::default(), 0);
    let large = FRAME_BYTES_MAX as i32;
    session.unfilled()[..8].copy_from_slice(&[large.to_be_bytes(), [0, 0, 0, 2]].concat());
    session.filled(8, 0);
    assert_eq!(session.step(), Step::Reserve(FRAME_BYTES_MAX + 4));
    assert!(session.buffer_bytes() < 1 << 20);
    // Waiting to be counted is not the peer's fault; being slow afterwards is.
    assert_eq!(session.check(1 << 40, true), None);
    session.reserved(1 << 40);
    assert!(session.unfilled().len() > FRAME_BYTES_MAX - 64);
    let late = (1 << 40) + (1 << 30);
    assert!(matches!(
        session.check(late, true),
        Some(Timeout::SlowFrame(_))
    ));
}

#[test]
fn what_is_no_frame_ends_the_session() {
    let cases: [&[u8]; 4] = [
        &[1, 0, 0, 1],
        &[0xff, 0, 0, 0],
        &[0, 0, 0, 8, 2, 0, 0, 0],
        &[0, 0, 0, 8, 0, 0, 0, 9],
    ];
    for bytes in cases {
        let mut fed = Fed::new();
        fed.feed(bytes);
        assert!(
            fed.seen.broken.is_some() && fed.session.is_closed(),
            "{bytes:?}"
        );
        assert_eq!((fed.seen.frames.len(), fed.seen.reserved.len()), (0, 0));
    }
}

#[test]
fn silence_counts_from_the_last_answer() {
    let mut fed = Fed::new();
    fed.feed(&frame(1, false, b""));
    let idle_ms = Limits::TEST_MIN.idle_ms;
    assert_eq!(fed.session.check(10 * idle_ms, true), None);
    assert_eq!(fed.session.check(11 * idle_ms, false), None);
    let idle = fed.session.check(11 * idle_ms + 1, false);
    assert!(matches!(idle, Some(Timeout::Idle(_))));
}
