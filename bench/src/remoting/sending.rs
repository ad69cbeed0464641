//! Send requests.

use super::connection::{Outcome, Outcomes};
use crate::BenchError;
use crate::args::{Acks, Load};
use crate::cluster::Lane;
use crate::outgoing::Outgoing;
use crate::protocol::{Answer, Sending};
use crate::socket::Socket;
use bytes::Bytes;
use ringmq_wire::remoting::command::Head;
use ringmq_wire::remoting::{Command, Serialization, request_code};
use std::time::UNIX_EPOCH;

/// What a request's head fits into.
const HEAD_BYTES_USUAL: usize = 512;

/// Sends in RocketMQ's protocol.
#[derive(Debug)]
pub(crate) struct Remoting {
    /// The request for each queue of the lane.
    requests: Vec<Command>,
}

impl Sending for Remoting {
    type Framing = Outcomes;
    const NUMBER_MASK: u64 = u32::MAX as u64;

    async fn connect(address: &str) -> Result<Socket<Outcomes>, BenchError> {
        Socket::connect(address).await
    }

    fn new(lane: &Lane, load: &Load) -> Self {
        let request = |queue: &u32| request(lane, load, *queue);
        Self {
            requests: lane.queues.iter().map(request).collect(),
        }
    }

    fn put(&self, number: u64, payload: &Bytes, output: &mut Outgoing) {
        let request = &self.requests[number as usize % self.requests.len()];
        let head = Head {
            opaque: number as i32,
            ..request.head()
        };
        let mut bytes = Vec::with_capacity(HEAD_BYTES_USUAL);
        let (form, fields) = (Serialization::Json, request.values());
        head.append_to(&mut bytes, form, fields, payload.len());
        output.put(&bytes);
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
