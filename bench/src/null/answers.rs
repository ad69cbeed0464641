//! What the null server says: made beforehand as far as it can be.

use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{
    FRAME_PREFIX_BYTES, FramePrefix, VERSION, encode, encode_prefix, flags, header, schema,
};

/// Payload kept ready for fetches; more is never sent at once.
const PAYLOAD_BYTES: usize = 8 << 20;
/// Where every queue ends: further away than anybody reads.
const END: u64 = 1 << 62;

/// Shared by all connections.
#[derive(Debug)]
pub(super) struct Answers {
    produced: Vec<u8>,
    /// Copies of one batch, one behind the other.
    payload: Vec<u8>,
    batch_bytes: usize,
    batch_messages: u64,
}

/// The queue that one connection reads: the first it asked for, without end.
#[derive(Debug, Default)]
pub(super) struct Reading {
    slot: u32,
    next: u64,
}

impl Answers {
    /// `batch` is what consumers are given, over and over.
    pub(super) fn new(batch: Vec<u8>, messages: u32) -> Self {
        let produced = schema::ProduceResponseT::default();
        let mut produced = encode(Kind::Produce, 0, 0, 0, |b| produced.pack(b));
        Self {
            produced: produced.split_off(FRAME_PREFIX_BYTES),
            batch_bytes: batch.len(),
            batch_messages: messages.into(),
            payload: batch.repeat((PAYLOAD_BYTES / batch.len()).max(1)),
        }
    }

    /// Appends the answer to a request; the payload that belongs behind it is returned.
    pub(super) fn put(
        &self,
        request: &FramePrefix,
        head: &[u8],
        reading: &mut Reading,
        output: &mut Vec<u8>,
    ) -> &[u8] {
        let id = request.correlation_id;
        match Kind::from_number(request.kind) {
            Some(Kind::Produce) => {
                let prefix = encode_prefix(request.kind, 0, id, &self.produced, 0);
                output.extend_from_slice(&prefix);
                output.extend_from_slice(&self.produced);
            }
            Some(Kind::Hello) => output.extend(hello(id)),
            Some(Kind::OffsetQuery) => output.extend(offsets(id, head)),
            Some(Kind::Fetch) => return self.fetched(id, head, reading, output),
            _ => output.extend(refusal(request)),
        }
        &[]
    }

    fn fetched(&self, id: u64, head: &[u8], reading: &mut Reading, output: &mut Vec<u8>) -> &[u8] {
        let max_bytes = match header::<schema::FetchRequest>(head) {
            Ok(request) => {
                if let Some(add) = request.add().filter(|add| !add.is_empty()) {
                    let first = add.get(0);
                    *reading = Reading {
                        slot: first.slot(),
                        next: first.offset(),
                    };
                }
                request.max_bytes() as usize
            }
            Err(_) => 0,
        };
        let fits = (max_bytes / self.batch_bytes).max(1);
        let batches = fits.min(self.payload.len() / self.batch_bytes);
        reading.next += batches as u64 * self.batch_messages;
        let batch = schema::FetchedBatchT {
            position: 0,
            length: self.batch_bytes as u32,
        };
        let queue = schema::FetchedQueueT {
            slot: reading.slot,
            next_offset: reading.next,
            visible_offset: END,
            batches: Some(vec![batch; batches]),
            ..Default::default()
        };
        let response = schema::FetchResponseT {
            session: 1,
            queues: Some(vec![queue]),
        };
        let payload = &self.payload[..batches * self.batch_bytes];
        output.extend(encode(Kind::Fetch, 0, id, payload.len(), |b| {
            response.pack(b)
        }));
        payload
    }
}

fn hello(id: u64) -> Vec<u8> {
    let response = schema::HelloResponseT {
        version: VERSION,
        server: Some("null".to_owned()),
        max_frame_bytes: 64 << 20,
        max_batch_bytes: 16 << 20,
        max_message_bytes: 4 << 20,
        in_flight_bytes_max: 1 << 30,
        connection_idle_ms: 120_000,
        ..Default::default()
    };
    encode(Kind::Hello, 0, id, 0, |b| response.pack(b))
}

fn offsets(id: u64, head: &[u8]) -> Vec<u8> {
    let (queues, offset) = match header::<schema::OffsetQueryRequest>(head) {
        Ok(request) => {
            let at_end = request.at() == schema::OffsetAt::Latest;
            let queues = request.queues().map(|queues| queues.iter().collect());
            (queues.unwrap_or_default(), if at_end { END } else { 0 })
        }
        Err(_) => (Vec::new(), 0),
    };
    let offset = |queue| schema::QueueOffsetT {
        queue,
        offset,
        error: 0,
    };
    let response = schema::OffsetQueryResponseT {
        offsets: Some(queues.into_iter().map(offset).collect()),
    };
    encode(Kind::OffsetQuery, 0, id, 0, |b| response.pack(b))
}

fn refusal(request: &FramePrefix) -> Vec<u8> {
    let response = schema::ErrorResponseT {
        code: ErrorCode::UnsupportedKind.number(),
        message: Some("the null server takes messages and forgets them, nothing else".to_owned()),
        ..Default::default()
    };
    let kind = Kind::from_number(request.kind).unwrap_or(Kind::Ping);
    encode(kind, flags::ERROR, request.correlation_id, 0, |b| {
        response.pack(b)
    })
}
