//! NATS JetStream: one stream in files, a subject a queue; every message is published with an acknowledgement.

use super::{Peer, Place, failed};
use crate::BenchError;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use std::time::Duration;

/// Messages of one pull.
const BATCH: usize = 1000;
const PULL_PATIENCE: Duration = Duration::from_millis(500);

/// A connection that its clones share.
#[derive(Clone)]
pub(crate) struct Nats {
    context: jetstream::Context,
    topic: String,
    subject: String,
}

impl Peer for Nats {
    type Cursor = PullConsumer;

    async fn connect(place: &Place<'_>) -> Result<Self, BenchError> {
        let client = async_nats::connect(place.address).await;
        let client = client.map_err(|error| failed("connect to nats", error))?;
        Ok(Self {
            context: jetstream::new(client),
            topic: place.topic.to_owned(),
            subject: format!("{}.{}", place.topic, place.queue),
        })
    }

    async fn create(&self, _queues: u32) -> Result<(), BenchError> {
        let config = stream::Config {
            name: self.topic.clone(),
            subjects: vec![format!("{}.*", self.topic)],
            storage: stream::StorageType::File,
            ..Default::default()
        };
        let created = self.context.get_or_create_stream(config).await;
        created
            .map(|_| ())
            .map_err(|error| failed("make a stream", error))
    }

    async fn send(&self, bodies: &[Bytes]) -> Result<(), BenchError> {
        let mut waiting = Vec::with_capacity(bodies.len());
        for body in bodies {
            let publish = self
                .context
                .publish(self.subject.clone(), body.clone())
                .await;
            waiting.push(publish.map_err(|error| failed("publish", error))?);
        }
        for acknowledgement in waiting {
            acknowledgement
                .await
                .map_err(|error| failed("publish", error))?;
        }
        Ok(())
    }

    async fn open(&self) -> Result<PullConsumer, BenchError> {
        let stream = self.context.get_stream(&self.topic).await;
        let stream = stream.map_err(|error| failed("find the stream", error))?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            filter_subject: self.subject.clone(),
            ..Default::default()
        };
        let consumer = stream.create_consumer(config).await;
        consumer.map_err(|error| failed("make a consumer", error))
    }

    async fn read(&self, consumer: &mut PullConsumer) -> Result<(u64, u64), BenchError> {
        let pull = consumer
            .fetch()
            .max_messages(BATCH)
            .expires(PULL_PATIENCE)
            .messages()
            .await;
        let mut messages = pull.map_err(|error| failed("pull", error))?;
        let (mut count, mut bytes) = (0, 0);
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| failed("pull", error))?;
            count += 1;
            bytes += message.payload.len() as u64;
        }
        Ok((count, bytes))
    }
}
