//! Send requests.

use super::connection::{Frame, Frames};
use crate::BenchError;
use crate::args::{Acks, Load};
use crate::cluster::Lane;
use crate::outgoing::Outgoing;
use crate::protocol::{Answer, Sending};
use crate::socket::Socket;
use bytes::Bytes;
use ringmq_wire::remoting::{Command, Serialization, request_code};
use std::time::UNIX_EPOCH;

/// Sends in RocketMQ's protocol.
#[derive(Debug)]
pub(crate) struct Remoting {
    /// The request for each queue of the lane.
    requests: Vec<Command>,
}

impl Sending for Remoting {
    type Framing = Frames;
    const NUMBER_MASK: u64 = u32::MAX as u64;

    async fn connect(address: &str) -> Result<Socket<Frames>, BenchError> {
        Socket::connect(address).await
    }

    fn new(lane: &Lane, load: &Load) -> Self {
        let request = |queue: &u32| request(lane, load, *queue);
        Self {
            requests: lane.queues.iter().map(request).collect(),
        }
    }

    fn put(&self, number: u64, payload: &Bytes, output: &mut Outgoing) {
        let mut request = self.requests[number as usize % self.requests.len()].clone();
        request.opaque = number as i32;
        output.put(&request.encode_head(Serialization::Json, payload.len()));
        output.put_shared(payload);
    }

    fn answer(frame: &Frame) -> Result<Answer, String> {
        if !frame.command.is_response() {
            return Err(format!("request {} to a producer", frame.command.code));
        }
        Ok(Answer {
            number: u64::from(frame.command.opaque as u32),
            refusal: frame.refusal(),
        })
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
