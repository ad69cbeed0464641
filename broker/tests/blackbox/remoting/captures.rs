//! Frames that crossed loopback between programs of RocketMQ (`wire/tests/golden/remoting-frames.txt`), for those who
//! play the clients' part again.

use ringmq_wire::remoting::{Command, FramePrefix, Header};

/// One captured request of a client to its broker.
pub struct Asked {
    pub program: &'static str,
    pub command: Command,
    pub body: Vec<u8>,
}

/// The requests with these codes, in the order in which they were sent.
pub fn asked(wanted: &[i32]) -> Vec<Asked> {
    let lines = include_str!("../../../../wire/tests/golden/remoting-frames.txt").lines();
    let frames = lines.filter(|line| !line.starts_with('#'));
    let asked = frames.filter_map(|line| {
        let words: Vec<&'static str> = line.split(' ').collect();
        let [program, "client>broker", "request", _, _, bytes] = words[..] else {
            return None;
        };
        let bytes = unhex(bytes);
        let prefix = FramePrefix::parse(&bytes).expect("a frame").expect("whole");
        let header = Header::parse(prefix.serialization(), &bytes[prefix.header_range()]);
        let command = Command::from_header(&header.expect("a header"));
        let body = bytes[prefix.body_range()].to_vec();
        wanted.contains(&command.code).then_some(Asked {
            program,
            command,
            body,
        })
    });
    asked.collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}
