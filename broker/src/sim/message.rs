//! What a simulated message says: who sent it and which of theirs it is. Everything else follows from that.

use super::draw::Draw;
use std::fmt;

/// Names one message within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub producer: u64,
    pub number: u64,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.producer, self.number)
    }
}

impl Message {
    /// The body: the name, then bytes that follow from it.
    pub fn body(self, seed: u64, bytes_max: u64) -> Vec<u8> {
        let mut body = format!("{self}|").into_bytes();
        let mut draw = Draw::numbered(seed ^ self.producer << 32, "body", self.number);
        let padding = draw.below(bytes_max + 1) as usize;
        let fill = draw.next().to_le_bytes();
        body.extend((0..padding).map(|index| fill[index % fill.len()]));
        body
    }

    /// The message whose body this is, bytes and all; `None` for anything else.
    pub fn parse(body: &[u8], seed: u64, bytes_max: u64) -> Option<Self> {
        let end = body.iter().position(|byte| *byte == b'|')?;
        let (producer, number) = std::str::from_utf8(&body[..end]).ok()?.split_once(':')?;
        let message = Self {
            producer: producer.parse().ok()?,
            number: number.parse().ok()?,
        };
        (message.body(seed, bytes_max) == body).then_some(message)
    }
}
