//! Kafka: a topic, a partition a queue; a batch is one request, answered when every replica has it (`acks=all`).

use super::{Peer, Place, failed};
use crate::BenchError;
use bytes::Bytes;
use futures_util::StreamExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Message, Offset, TopicPartitionList};
use std::time::Duration;

/// Messages of one read. The client library fetches ahead by itself.
const COUNT: u64 = 1000;
/// Of a batch, as broker, topic and client library allow it; the library's own is 1 MB.
const BATCH_BYTES: &str = "16777216";
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that its clones share.
#[derive(Clone)]
pub(crate) struct Kafka {
    config: ClientConfig,
    producer: FutureProducer,
    topic: String,
    partition: i32,
}

/// Reads up to the end that was seen at its start.
pub(crate) struct Reader {
    consumer: StreamConsumer,
    next: i64,
    end: i64,
}

impl Peer for Kafka {
    type Cursor = Reader;

    async fn connect(place: &Place<'_>) -> Result<Self, BenchError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", place.address);
        let mut producer = config.clone();
        // A request leaves when it holds a batch; the library waits its usual 5 ms for one that is never filled.
        producer
            .set("acks", "all")
            .set("batch.num.messages", place.batch.to_string())
            .set("batch.size", BATCH_BYTES)
            .set("message.max.bytes", BATCH_BYTES);
        let producer = producer.create();
        Ok(Self {
            producer: producer.map_err(|error| failed("make a producer", error))?,
            config,
            topic: place.topic.to_owned(),
            partition: place.queue as i32,
        })
    }

    async fn create(&self, queues: u32) -> Result<(), BenchError> {
        let admin: Result<AdminClient<DefaultClientContext>, _> = self.config.create();
        let admin = admin.map_err(|error| failed("make an admin client", error))?;
        let topic = NewTopic::new(&self.topic, queues as i32, TopicReplication::Fixed(1))
            .set("max.message.bytes", BATCH_BYTES);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let made = admin.create_topics([&topic], &options).await;
        let made = made.map_err(|error| failed("make a topic", error))?;
        match made.into_iter().next() {
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) => Ok(()),
            Some(Err((_, code))) => Err(failed("make a topic", code)),
            None => Err(failed("make a topic", "the answer names no topic")),
        }
    }

    async fn send(&self, bodies: &[Bytes]) -> Result<(), BenchError> {
        let mut waiting = Vec::with_capacity(bodies.len());
        for body in bodies {
            let record = FutureRecord::<(), [u8]>::to(&self.topic)
                .partition(self.partition)
                .payload(body);
            let queued = self.producer.send_result(record);
            waiting.push(queued.map_err(|(error, _)| failed("produce", error))?);
        }
        for delivery in waiting {
            let delivered = delivery.await.map_err(|error| failed("produce", error))?;
            delivered.map_err(|(error, _)| failed("produce", error))?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<Reader, BenchError> {
        let mut config = self.config.clone();
        // A group is asked for although none is joined. Once its queue is full the library waits a second before it
        // fetches again, unless it is told otherwise.
        config
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "1");
        let consumer: StreamConsumer = config
            .create()
            .map_err(|error| failed("make a consumer", error))?;
        // Blocks; threads of the library's own fetch the answer.
        let (start, end) = consumer
            .fetch_watermarks(&self.topic, self.partition, PATIENCE)
            .map_err(|error| failed("ask for the end", error))?;
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&self.topic, self.partition, Offset::Offset(start))
            .and_then(|()| consumer.assign(&from))
            .map_err(|error| failed("begin to consume", error))?;
        Ok(Reader {
            consumer,
            next: start,
            end,
        })
    }

    async fn read(&self, reader: &mut Reader) -> Result<(u64, u64), BenchError> {
        let (mut count, mut bytes) = (0, 0);
        let mut messages = reader.consumer.stream();
        while count < COUNT && reader.next < reader.end {
            let Some(message) = messages.next().await else {
                break;
            };
            let message = message.map_err(|error| failed("consume", error))?;
            reader.next = message.offset() + 1;
            count += 1;
            bytes += message.payload_len() as u64;
        }
        Ok((count, bytes))
    }
}
