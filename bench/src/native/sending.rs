//! Produce requests.

use super::connection::{Connection, Frame, Frames};
use crate::BenchError;
use crate::args::Load;
use crate::cluster::Lane;
use crate::outgoing::Outgoing;
use crate::protocol::{Answer, Sending};
use crate::socket::Socket;
use bytes::Bytes;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::{FRAME_PREFIX_BYTES, encode, encode_prefix, schema};

/// Sends in RingMQ's protocol.
#[derive(Debug)]
pub(crate) struct Native {
    /// Encoded request header for each queue of the lane.
    headers: Vec<Vec<u8>>,
}

impl Sending for Native {
    type Framing = Frames;
    const NUMBER_MASK: u64 = u64::MAX;

    async fn connect(address: &str) -> Result<Socket<Frames>, BenchError> {
        Ok(Connection::open(address).await?.socket)
    }

    fn new(lane: &Lane, load: &Load) -> Self {
        let header = |queue: &u32| {
            let request = schema::ProduceRequestT {
                topic: lane.topic.clone(),
                queue: *queue,
                acks: load.acks.into(),
                ..Default::default()
            };
            encode(Kind::Produce, 0, 0, 0, |b| request.pack(b)).split_off(FRAME_PREFIX_BYTES)
        };
        Self {
            headers: lane.queues.iter().map(header).collect(),
        }
    }

    fn put(&self, number: u64, payload: &Bytes, output: &mut Outgoing) {
        let header = &self.headers[number as usize % self.headers.len()];
        let kind = Kind::Produce.number();
        let prefix = encode_prefix(kind, 0, number, header, payload.len());
        output.put(&prefix);
        output.put(header);
        output.put_shared(payload);
    }

    fn answer(frame: &Frame) -> Result<Answer, String> {
        Ok(Answer {
            number: frame.prefix.correlation_id,
            refusal: frame.refusal(),
        })
    }
}
