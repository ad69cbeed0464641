//! A client that is nothing but a socket and the wire codecs.

use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self, Decoded, FRAME_PREFIX_BYTES, FramePrefix, PREFACE, flags};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct Client {
    pub stream: TcpStream,
    next_id: u64,
}

/// A whole frame from the broker.
pub struct Answer {
    pub prefix: FramePrefix,
    header: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Answer {
    pub fn error(&self) -> Option<(ErrorCode, ErrorResponseT)> {
        if self.prefix.flags & flags::ERROR == 0 {
            return None;
        }
        let table = native::header::<ErrorResponse>(&self.header).expect("an error table");
        let table = table.unpack();
        Some((ErrorCode::from_number(table.code).expect("known"), table))
    }

    pub fn code(&self) -> ErrorCode {
        self.error().expect("an error").0
    }

    pub fn produced(&self) -> ProduceResponseT {
        assert_eq!(self.error(), None);
        native::header::<ProduceResponse>(&self.header)
            .expect("a table")
            .unpack()
    }

    pub fn fetched(&self) -> Fetched {
        assert_eq!(self.error(), None);
        let table = native::header::<FetchResponse>(&self.header).expect("a table");
        let table = table.unpack();
        let mut rest = &self.payload[..];
        let mut queues = Vec::new();
        for queue in table.queues.unwrap_or_default() {
            let mut batches = Vec::new();
            for batch in queue.batches.clone().unwrap_or_default() {
                let (bytes, behind) = rest.split_at(batch.length as usize);
                batches.push((batch.position, bytes.to_vec()));
                rest = behind;
            }
            queues.push((queue, batches));
        }
        assert!(rest.is_empty(), "payload is what the header says");
        Fetched {
            session: table.session,
            queues,
        }
    }

    pub fn found(&self) -> (Vec<FoundMessageT>, Vec<Vec<u8>>) {
        assert_eq!(self.error(), None);
        let table = native::header::<MessageQueryResponse>(&self.header).expect("a table");
        let messages = table.unpack().messages.unwrap_or_default();
        let mut rest = &self.payload[..];
        let mut batches = Vec::new();
        for message in &messages {
            let (bytes, behind) = rest.split_at(message.length as usize);
            batches.push(bytes.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty());
        (messages, batches)
    }
}

/// Position and bytes of a stored batch.
pub type PlacedBatch = (u64, Vec<u8>);

pub struct Fetched {
    pub session: u32,
    pub queues: Vec<(FetchedQueueT, Vec<PlacedBatch>)>,
}

impl Fetched {
    pub fn slots(&self) -> Vec<u32> {
        self.queues.iter().map(|(queue, _)| queue.slot).collect()
    }

    /// (slot, error) of slots with an error.
    pub fn errors(&self) -> Vec<(u32, ErrorCode)> {
        let failed = self.queues.iter().filter(|(queue, _)| queue.error != 0);
        failed
            .map(|(queue, _)| {
                let code = ErrorCode::from_number(queue.error).expect("known");
                (queue.slot, code)
            })
            .collect()
    }

    /// Bodies of a slot, in order.
    pub fn bodies(&self, slot: u32) -> Vec<Vec<u8>> {
        let queues = self.queues.iter().filter(|(queue, _)| queue.slot == slot);
        queues
            .flat_map(|(_, batches)| batches.iter())
            .flat_map(|(_, batch)| bodies(batch))
            .collect()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let mut client = Self::raw(address);
        client.stream.write_all(&PREFACE).expect("sent");
        let hello = client.hello();
        assert_eq!(hello.error(), None);
        client
    }

    /// Connected, nothing sent.
    pub fn raw(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("set");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("set");
        stream.set_write_timeout(patience).expect("set");
        Self { stream, next_id: 1 }
    }

    pub fn hello(&mut self) -> Answer {
        let request = HelloRequestT {
            version_min: 1,
            version_max: 1,
            client_id: "test-client".to_owned(),
            ..HelloRequestT::default()
        };
        let id = self.id();
        let frame = native::encode(Kind::Hello, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        let answer = self.receive();
        assert_eq!(answer.prefix.correlation_id, id);
        answer
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn send_produce(&mut self, topic: &str, queue: u32, acks: Acks, batch: &[u8]) -> u64 {
        let id = self.id();
        let frame = produce_frame(id, topic, queue, acks, batch);
        self.stream.write_all(&frame).expect("sent");
        id
    }

    pub fn produce(&mut self, topic: &str, queue: u32, batch: &[u8]) -> Answer {
        let id = self.send_produce(topic, queue, Acks::Durable, batch);
        self.answer_to(id)
    }

    pub fn send_fetch(&mut self, request: &FetchRequestT) -> u64 {
        let id = self.id();
        let frame = native::encode(Kind::Fetch, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        id
    }

    pub fn fetch(&mut self, request: &FetchRequestT) -> Fetched {
        let id = self.send_fetch(request);
        self.answer_to(id).fetched()
    }

    pub fn query(&mut self, request: &MessageQueryRequestT) -> Answer {
        let id = self.id();
        let frame = native::encode(Kind::MessageQuery, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        self.answer_to(id)
    }

    pub fn send_ping(&mut self) -> u64 {
        let id = self.id();
        self.stream.write_all(&ping_frame(id)).expect("sent");
        id
    }

    pub fn ping(&mut self) {
        let id = self.send_ping();
        assert_eq!(self.answer_to(id).error(), None);
    }

    pub fn create_topic(&mut self, name: &str, queues: u32) -> Answer {
        let topic = TopicRecordT {
            name: name.to_owned(),
            incarnation_low: 77,
            queues,
            placement: Some(vec!["s00-test".to_owned()]),
            ..TopicRecordT::default()
        };
        let request = TopicCreateRequestT {
            topic: Box::new(topic),
            automatic: false,
        };
        let id = self.id();
        let frame = native::encode(Kind::TopicCreate, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        let answer = self.answer_to(id);
        assert_eq!(answer.error(), None);
        answer
    }

    pub fn delete_topic(&mut self, name: &str) {
        let request = TopicDeleteRequestT {
            name: name.to_owned(),
            incarnation_low: 77,
            ..TopicDeleteRequestT::default()
        };
        let id = self.id();
        let frame = native::encode(Kind::TopicDelete, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        assert_eq!(self.answer_to(id).error(), None);
    }

    /// Sets a group's offset in a queue, as an operator does.
    pub fn reset_offset(&mut self, group: &str, topic: &str, queue: u32, offset: u64) {
        let request = OffsetResetRequestT {
            group: group.to_owned(),
            topic: topic.to_owned(),
            resets: Some(vec![OffsetResetT { queue, offset }]),
            ..OffsetResetRequestT::default()
        };
        let id = self.id();
        let frame = native::encode(Kind::OffsetReset, 0, id, 0, |b| request.pack(b));
        self.stream.write_all(&frame).expect("sent");
        assert_eq!(self.answer_to(id).error(), None);
    }

    pub fn answer_to(&mut self, id: u64) -> Answer {
        let answer = self.receive();
        assert_eq!(answer.prefix.correlation_id, id, "the only open request");
        answer
    }

    pub fn receive(&mut self) -> Answer {
        let mut frame = vec![0; FRAME_PREFIX_BYTES];
        self.stream.read_exact(&mut frame).expect("a prefix");
        let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(length + 4, 0);
        self.stream
            .read_exact(&mut frame[FRAME_PREFIX_BYTES..])
            .expect("the rest");
        let Ok(Decoded::Ready(prefix)) = native::decode(&frame) else {
            panic!("not a frame");
        };
        assert_ne!(prefix.flags & flags::RESPONSE, 0);
        Answer {
            prefix,
            header: frame[prefix.header_range()].to_vec(),
            payload: frame[prefix.payload_range()].to_vec(),
        }
    }

    /// Whether the broker ends the connection before the patience is over.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0; 1];
        match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => panic!("an answer instead of an end"),
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

pub fn produce_frame(id: u64, topic: &str, queue: u32, acks: Acks, batch: &[u8]) -> Vec<u8> {
    let request = ProduceRequestT {
        topic: topic.to_owned(),
        queue,
        acks,
        incarnation: 0,
    };
    let mut frame = native::encode(Kind::Produce, 0, id, batch.len(), |b| request.pack(b));
    frame.extend_from_slice(batch);
    frame
}

pub fn ping_frame(id: u64) -> Vec<u8> {
    native::encode(Kind::Ping, 0, id, 0, |b| PingRequestT::default().pack(b))
}

pub fn add(slot: u32, topic: &str, queue: u32, offset: u64) -> FetchAddT {
    FetchAddT {
        slot,
        topic: topic.to_owned(),
        queue,
        offset,
        ..FetchAddT::default()
    }
}

/// A fetch that takes what is there, or waits up to ten seconds for a byte.
pub fn fetch_of(session: u32, adds: Vec<FetchAddT>) -> FetchRequestT {
    FetchRequestT {
        session,
        add: Some(adds),
        max_wait_ms: 10_000,
        min_bytes: 1,
        max_bytes: 1 << 20,
        ..FetchRequestT::default()
    }
}

/// A message of a batch.
#[derive(Clone, Default)]
pub struct Message<'a> {
    pub body: &'a [u8],
    pub tag: &'a str,
    pub keys: &'a [&'a str],
}

pub fn batch_with(messages: &[Message<'_>], options: BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for message in messages {
        let record = Record {
            born_time_ms: 1_700_000_000_000,
            keys: message.keys,
            tag: message.tag,
            properties: &[],
            envelope: None,
            body: message.body,
        };
        builder.push(&record).expect("carryable");
    }
    builder.finish(&options).expect("fits")
}

pub fn batch(bodies: &[&[u8]]) -> Vec<u8> {
    let messages: Vec<Message<'_>> = bodies
        .iter()
        .map(|body| Message {
            body,
            ..Message::default()
        })
        .collect();
    batch_with(&messages, BatchOptions::default())
}

pub fn bodies(stored: &[u8]) -> Vec<Vec<u8>> {
    let shared = bytes::Bytes::copy_from_slice(stored);
    let view = BatchView::parse_placed(&shared).expect("a stored batch");
    let section = view.records_section(&shared).expect("readable");
    let records = view.records(&section);
    records
        .map(|record| record.expect("whole").body.to_vec())
        .collect()
}
