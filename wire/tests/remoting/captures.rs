//! Frames of real RocketMQ programs, from `golden/remoting-frames.txt`.

use ringmq_wire::remoting::{FramePrefix, Header};

/// One captured frame.
pub struct Frame {
    /// The program that was captured, such as `java5-push`.
    pub program: &'static str,
    /// Who sent it to whom, such as `client>broker`.
    pub direction: &'static str,
    /// `request`, `oneway` or `response`.
    pub kind: &'static str,
    pub code: i32,
    /// What an answer answers.
    pub request_code: Option<i32>,
    pub bytes: Vec<u8>,
}

impl Frame {
    pub fn prefix(&self) -> FramePrefix {
        FramePrefix::parse(&self.bytes).unwrap().unwrap()
    }
    pub fn header_bytes(&self) -> &[u8] {
        &self.bytes[self.prefix().header_range()]
    }
    pub fn header(&self) -> Header<'_> {
        Header::parse(self.prefix().serialization(), self.header_bytes()).unwrap()
    }
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.prefix().body_range()]
    }
    /// Whether it is a request with this code, or the answer to one, in that direction.
    pub fn is(&self, direction: &str, code: i32) -> bool {
        self.direction == direction && self.request_code.unwrap_or(self.code) == code
    }
}

/// All captured frames.
pub fn frames() -> Vec<Frame> {
    let lines = include_str!("../golden/remoting-frames.txt").lines();
    let frames: Vec<Frame> = lines
        .filter(|line| !line.starts_with('#'))
        .map(frame)
        .collect();
    assert!(frames.len() > 150, "the fixture is cut");
    frames
}

fn frame(line: &'static str) -> Frame {
    let words: Vec<&str> = line.split(' ').collect();
    let [program, direction, kind, code, request_code, bytes] = words[..] else {
        panic!("six words expected: {line}")
    };
    Frame {
        program,
        direction,
        kind,
        code: code.parse().unwrap(),
        request_code: request_code.parse().ok(),
        bytes: unhex(bytes),
    }
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
