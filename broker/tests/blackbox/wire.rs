//! One connection, one request at a time or several in flight, nothing but the codecs.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self, Decoded, FRAME_PREFIX_BYTES, flags};

use crate::harness::PATIENCE;

pub struct Wire {
    stream: TcpStream,
    next_id: u64,
}

pub struct Answer {
    pub id: u64,
    flags: u16,
    header: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Sends a request and reads the answer's table: `ask!(wire, GroupJoin, request)`.
#[macro_export]
macro_rules! ask {
    ($wire:expr, $kind:ident, $table:ident, $request:expr) => {{
        let request = $request;
        let answer = $wire
            .exchange(ringmq_wire::codes::Kind::$kind, |b| request.pack(b))
            .expect("answered");
        answer.table().map(|header| {
            ringmq_wire::native::header::<ringmq_wire::native::schema::$table>(header)
                .expect("a table")
                .unpack()
        })
    }};
}

impl Answer {
    /// The header, or the code of the refusal.
    pub fn table(&self) -> Result<&[u8], ErrorCode> {
        if self.flags & flags::ERROR == 0 {
            return Ok(&self.header);
        }
        let error = native::header::<ErrorResponse<'_>>(&self.header).expect("an error table");
        Err(ErrorCode::from_number(error.code()).expect("a known code"))
    }
}

impl Wire {
    pub fn connect(address: impl ToSocketAddrs) -> Self {
        Self::try_connect(address).expect("connects")
    }

    pub fn try_connect(address: impl ToSocketAddrs) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut wire = Self { stream, next_id: 0 };
        wire.stream.write_all(&native::PREFACE)?;
        let mut hello = HelloRequestT::default();
        hello.version_min = 1;
        hello.version_max = 1;
        hello.client_id = "blackbox".to_owned();
        wire.send(Kind::Hello, 0, |b| hello.pack(b))?;
        let answer = wire.receive()?;
        answer
            .table()
            .map_err(|code| std::io::Error::other(code.name()))?;
        Ok(wire)
    }

    /// The bare connection.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a header; its payload, if any, is to follow.
    pub fn send<T>(
        &mut self,
        kind: Kind,
        payload_bytes: usize,
        pack: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'static>) -> flatbuffers::WIPOffset<T>,
    ) -> std::io::Result<u64> {
        self.next_id += 1;
        let frame = native::encode(kind, 0, self.next_id, payload_bytes, pack);
        self.stream.write_all(&frame)?;
        Ok(self.next_id)
    }

    /// A request and its answer, with no other open.
    pub fn exchange<T>(
        &mut self,
        kind: Kind,
        pack: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'static>) -> flatbuffers::WIPOffset<T>,
    ) -> std::io::Result<Answer> {
        let id = self.send(kind, 0, pack)?;
        let answer = self.receive()?;
        assert_eq!(answer.id, id, "the only open request");
        Ok(answer)
    }

    pub fn receive(&mut self) -> std::io::Result<Answer> {
        let mut frame = vec![0; FRAME_PREFIX_BYTES];
        self.stream.read_exact(&mut frame)?;
        let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(length + 4, 0);
        self.stream.read_exact(&mut frame[FRAME_PREFIX_BYTES..])?;
        let Ok(Decoded::Ready(prefix)) = native::decode(&frame) else {
            return Err(std::io::Error::new(ErrorKind::InvalidData, "not a frame"));
        };
        Ok(Answer {
            id: prefix.correlation_id,
            flags: prefix.flags,
            header: frame[prefix.header_range()].to_vec(),
            payload: frame[prefix.payload_range()].to_vec(),
        })
    }

    pub fn send_produce(&mut self, topic: &str, queue: u32, batch: &[u8]) -> std::io::Result<u64> {
        let mut request = ProduceRequestT::default();
        request.topic = topic.to_owned();
        request.queue = queue;
        let id = self.send(Kind::Produce, batch.len(), |b| request.pack(b))?;
        self.stream.write_all(batch)?;
        Ok(id)
    }

    pub fn produce(
        &mut self,
        topic: &str,
        queue: u32,
        batch: &[u8],
    ) -> Result<ProduceResponseT, ErrorCode> {
        let id = self.send_produce(topic, queue, batch).expect("sent");
        let answer = self.receive().expect("answered");
        assert_eq!(answer.id, id);
        produced(&answer)
    }

    /// Makes a topic on all shards of the node, as a first message does.
    pub fn create(
        &mut self,
        name: &str,
        queues: u32,
        automatic: bool,
    ) -> Result<TopicRecordT, ErrorCode> {
        let mut topic = TopicRecordT::default();
        topic.name = name.to_owned();
        topic.queues = queues;
        let mut request = TopicCreateRequestT::default();
        *request.topic = topic;
        request.automatic = automatic;
        ask!(self, TopicCreate, TopicCreateResponse, &request)
            .map(|response| *response.topic.expect("answered with the topic"))
    }

    /// All bodies of a queue, in order; each batch's base offset is checked on the way.
    pub fn read_all(&mut self, topic: &str, queue: u32) -> Vec<Vec<u8>> {
        let mut add = FetchAddT::default();
        add.topic = topic.to_owned();
        add.queue = queue;
        let mut request = FetchRequestT::default();
        request.add = Some(vec![add]);
        request.max_bytes = 4 << 20;
        let mut bodies = Vec::new();
        loop {
            let id = self
                .send(Kind::Fetch, 0, |b| request.pack(b))
                .expect("sent");
            let answer = self.receive().expect("answered");
            assert_eq!(answer.id, id);
            let header = answer.table().expect("fetched");
            let table = native::header::<FetchResponse<'_>>(header)
                .expect("a table")
                .unpack();
            let mut rest = &answer.payload[..];
            let mut progress = false;
            for queue in table.queues.unwrap_or_default() {
                assert_eq!(queue.error, 0);
                for batch in queue.batches.unwrap_or_default() {
                    let (bytes, behind) = rest.split_at(batch.length as usize);
                    rest = behind;
                    let shared = bytes::Bytes::copy_from_slice(bytes);
                    let view = BatchView::parse_placed(&shared).expect("stored batches are whole");
                    assert_eq!(
                        view.header().base_offset,
                        bodies.len() as u64,
                        "offsets are dense"
                    );
                    let plain = view.records_section(&shared).expect("readable");
                    for record in view.records(&plain) {
                        bodies.push(record.expect("readable").body.to_vec());
                    }
                    progress = true;
                }
            }
            if !progress {
                return bodies;
            }
            request = FetchRequestT::default();
            request.session = table.session;
            request.max_bytes = 4 << 20;
        }
    }
}

pub fn produced(answer: &Answer) -> Result<ProduceResponseT, ErrorCode> {
    let header = answer.table()?;
    Ok(native::header::<ProduceResponse<'_>>(header)
        .expect("a table")
        .unpack())
}

/// A batch of one idempotent producer; `None`: not idempotent.
pub fn batch(producer: Option<(u64, u32)>, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        builder
            .push(&Record {
                born_time_ms: 1,
                keys: &[],
                tag: "",
                properties: &[],
                envelope: None,
                body,
            })
            .expect("carryable");
    }
    let (producer_id, base_sequence) = producer.unwrap_or_default();
    builder
        .finish(&BatchOptions {
            producer_id,
            base_sequence,
            ..BatchOptions::default()
        })
        .expect("encodes")
}

/// How long a lease or a session is asked for where a test waits for its end.
pub const SHORT: Duration = Duration::from_secs(1);
