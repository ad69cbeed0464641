//! Send requests.

use super::connection::{Outcome, Outcomes};
use crate::BenchError;
use crate::args::{Acks, Load};
use crate::cluster::Lane;
use crate::outgoing::Outgoing;
use crate::protocol::{Answer, Sending};
use crate::socket::Socket;
use bytes::Bytes;
use ringmq_wire::remoting::frame::FRAME_PREFIX_BYTES;
use ringmq_wire::remoting::{Command, FramePrefix, Serialization, request_code};
use std::time::UNIX_EPOCH;

/// Sends in RocketMQ's protocol.
#[derive(Debug)]
pub(crate) struct Remoting {
    /// The request for each queue of the lane.
    requests: Vec<Numbered>,
}

impl Sending for Remoting {
    type Framing = Outcomes;
    const NUMBER_MASK: u64 = u32::MAX as u64;

    async fn connect(address: &str) -> Result<Socket<Outcomes>, BenchError> {
        Socket::connect(address).await
    }

    fn new(lane: &Lane, load: &Load) -> Self {
        let request = |queue: &u32| Numbered::new(&request(lane, load, *queue));
        Self {
            requests: lane.queues.iter().map(request).collect(),
        }
    }

    fn put(&self, number: u64, payload: &Bytes, output: &mut Outgoing) {
        let request = &self.requests[number as usize % self.requests.len()];
        request.put(number as i32, payload.len(), output);
        output.put_shared(payload);
    }

    fn answer(outcome: &Outcome) -> Result<Answer, String> {
        if !outcome.is_response {
            return Err(format!("request {} to a producer", outcome.code));
        }
        Ok(Answer {
            number: u64::from(outcome.opaque as u32),
            refusal: outcome.refusal(),
        })
    }
}

/// The header of a request that is sent again and again under other numbers.
#[derive(Debug)]
struct Numbered {
    before: Vec<u8>,
    behind: Vec<u8>,
}

impl Numbered {
    fn new(request: &Command) -> Self {
        const NUMBER: &[u8] = b"\"opaque\":0";
        let head = request.encode_head(Serialization::Json, 0);
        let header = &head[FRAME_PREFIX_BYTES..];
        let mut places = header.windows(NUMBER.len());
        // Behind the fields, whatever they say.
        let place = places.rposition(|bytes| bytes == NUMBER);
        let end = place.expect("a header has its number") + NUMBER.len();
        Self {
            before: header[..end - 1].to_vec(),
            behind: header[end..].to_vec(),
        }
    }

    fn put(&self, number: i32, body_bytes: usize, output: &mut Outgoing) {
        let digits = number.to_string();
        let header_bytes = self.before.len() + digits.len() + self.behind.len();
        let prefix = FramePrefix::new(Serialization::Json, header_bytes, body_bytes);
        output.put(&prefix.encode());
        output.put(&self.before);
        output.put(digits.as_bytes());
        output.put(&self.behind);
    }
}

/// With the short names of fields, as Java's producers send it.
fn request(lane: &Lane, load: &Load, queue: u32) -> Command {
    let is_batch = load.batch > 1;
    let code = match is_batch {
        true => request_code::SEND_BATCH_MESSAGE,
        false => request_code::SEND_MESSAGE_V2,
    };
    let wait = load.acks == Acks::Durable;
    let born_time_ms = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    let request = Command::request(code, 0)
        .field("a", "ringmq-bench")
        .field("b", &lane.topic)
        .field("c", "TBW102")
        .field("d", 4)
        .field("e", queue)
        .field("f", 0)
        .field("g", born_time_ms)
        .field("h", 0)
        .field("i", format!("WAIT\u{1}{wait}\u{2}"))
        .field("j", 0)
        .field("k", false)
        .field("m", is_batch);
    match load.acks {
        Acks::None => request.oneway(),
        Acks::Durable | Acks::Received => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_request_is_the_request_with_that_number() {
        let mut request = Command::request(request_code::SEND_MESSAGE_V2, 0)
            .field("b", "topic")
            .field("i", "odd\"opaque\":0\u{1}x\u{2}");
        let numbered = Numbered::new(&request);
        for number in [0, 7, i32::MAX, -1] {
            let mut output = Outgoing::default();
            numbered.put(number, 5, &mut output);
            request.opaque = number;
            assert_eq!(
                output.len(),
                request.encode_head(Serialization::Json, 5).len()
            );
            assert_eq!(output.tail(), request.encode_head(Serialization::Json, 5));
        }
    }
}
