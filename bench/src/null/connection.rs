//! One connection of the null server.

use super::answers::{Answers, Reading};
use ringmq_wire::native::{Decoded, PREFACE, decode};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Read at once. Longer than any header: payloads are skipped piece by piece.
const INPUT_BYTES: usize = 1 << 20;

/// Answers until the peer is gone or says what is no frame.
pub(super) fn serve(mut stream: TcpStream, answers: &Answers) {
    // Whichever way it ends, there is nobody left to tell.
    let _ = converse(&mut stream, answers);
}

fn converse(stream: &mut TcpStream, answers: &Answers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface)?;
    if preface != PREFACE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut input = vec![0; INPUT_BYTES];
    let mut filled = 0;
    let mut conversation = Conversation::default();
    loop {
        match stream.read(&mut input[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
        let used = conversation.hear(&input[..filled], answers, stream)?;
        conversation.say(stream)?;
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// Where a connection is between two reads.
#[derive(Debug, Default)]
struct Conversation {
    /// Bytes of the current request's payload that have not come yet.
    skip: usize,
    /// The answer to that request: it is acknowledged when it is whole, as by a real server.
    late: Vec<u8>,
    output: Vec<u8>,
    reading: Reading,
}

impl Conversation {
    /// Takes what arrived; how much of it is done with.
    fn hear(
        &mut self,
        input: &[u8],
        answers: &Answers,
        writer: &mut impl Write,
    ) -> io::Result<usize> {
        let mut at = self.skip.min(input.len());
        self.skip -= at;
        while self.skip == 0 {
            self.output.append(&mut self.late);
            let decoded = decode(&input[at..]);
            let decoded = decoded.map_err(|error| io::Error::other(error.to_string()))?;
            let Decoded::Ready(prefix) = decoded else {
                break;
            };
            let head = &input[at..][prefix.header_range()];
            let payload = answers.put(&prefix, head, &mut self.reading, &mut self.late);
            if !payload.is_empty() {
                self.output.append(&mut self.late);
                self.say(writer)?;
                writer.write_all(payload)?;
            }
            let here = prefix.frame_bytes.min(input.len() - at);
            self.skip = prefix.frame_bytes - here;
            at += here;
        }
        Ok(at)
    }

    fn say(&mut self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::codes::Kind;
    use ringmq_wire::native::{encode, schema};

    fn produce(id: u64, payload: usize) -> Vec<u8> {
        let request = schema::ProduceRequestT {
            topic: "t".to_owned(),
            ..Default::default()
        };
        let mut frame = encode(Kind::Produce, 0, id, payload, |b| request.pack(b));
        frame.resize(frame.len() + payload, 7);
        frame
    }

    /// Answered correlation ids.
    fn ids(mut bytes: &[u8]) -> Vec<u64> {
        let mut ids = Vec::new();
        while let Ok(Decoded::Ready(prefix)) = decode(bytes) {
            ids.push(prefix.correlation_id);
            bytes = &bytes[prefix.frame_bytes..];
        }
        ids
    }

    #[test]
    fn a_request_is_answered_when_its_last_byte_is_there() {
        let answers = Answers::new(vec![0; 64], 1);
        let mut stream = produce(1, 10);
        stream.extend(produce(2, 3000));
        stream.extend(produce(3, 0));
        for piece in [1, 7, 50, 1000, stream.len()] {
            let mut conversation = Conversation::default();
            let (mut kept, mut arrived) = (Vec::new(), 0);
            let mut said = Vec::new();
            for part in stream.chunks(piece) {
                kept.extend_from_slice(part);
                arrived += part.len();
                let used = conversation
                    .hear(&kept, &answers, &mut said)
                    .expect("frames");
                kept.drain(..used);
                conversation.say(&mut said).expect("memory");
                let ends = [1, 2, 3].map(|n| {
                    [produce(1, 10), produce(2, 3000), produce(3, 0)][..n]
                        .iter()
                        .map(Vec::len)
                        .sum::<usize>()
                });
                let whole = ends.iter().filter(|end| arrived >= **end).count() as u64;
                assert_eq!(ids(&said), (1..=whole).collect::<Vec<_>>(), "{piece}");
            }
        }
    }
}
