//! Iggy over TCP: a stream of one topic, a partition a queue; a batch is one request.
//!
//! Its client library has one request under way on a connection, so that each worker has a connection of its own.

use super::{Peer, Place, failed};
use crate::BenchError;
use bytes::Bytes;
use iggy::prelude::{
    Client, CompressionAlgorithm, Consumer, DEFAULT_ROOT_PASSWORD, DEFAULT_ROOT_USERNAME,
    Identifier, IggyError, IggyExpiry, IggyMessage, MaxTopicSize, MessageClient, Partitioning,
    PollingStrategy, StreamClient, TcpClient, TcpClientConfig, TopicClient, UserClient,
};
use std::sync::Arc;

/// Messages of one read.
const COUNT: u32 = 1000;

/// A connection that its clones share.
#[derive(Clone)]
pub(crate) struct Iggy {
    client: Arc<TcpClient>,
    /// Of the stream and of its topic.
    name: String,
    id: Identifier,
    partition: u32,
}

impl Peer for Iggy {
    /// The offset to read next.
    type Cursor = u64;

    const PIPELINES: bool = false;

    async fn connect(place: &Place<'_>) -> Result<Self, BenchError> {
        let config = TcpClientConfig {
            server_address: place.address.to_owned(),
            nodelay: true,
            ..TcpClientConfig::default()
        };
        let client = TcpClient::create(Arc::new(config));
        let client = client.map_err(|error| failed("make an iggy client", error))?;
        let connected = client.connect().await;
        connected.map_err(|error| failed("connect to iggy", error))?;
        let known = client
            .login_user(DEFAULT_ROOT_USERNAME, DEFAULT_ROOT_PASSWORD)
            .await;
        known.map_err(|error| failed("log in to iggy", error))?;
        Ok(Self {
            client: Arc::new(client),
            name: place.topic.to_owned(),
            id: Identifier::named(place.topic).map_err(|error| failed("name a stream", error))?,
            partition: place.queue,
        })
    }

    async fn create(&self, queues: u32) -> Result<(), BenchError> {
        let stream = self.client.create_stream(&self.name).await;
        match stream {
            Ok(_) | Err(IggyError::StreamNameAlreadyExists(_)) => {}
            Err(error) => return Err(failed("make a stream", error)),
        }
        let topic = self
            .client
            .create_topic(
                &self.id,
                &self.name,
                queues,
                CompressionAlgorithm::None,
                None,
                IggyExpiry::NeverExpire,
                MaxTopicSize::Unlimited,
            )
            .await;
        match topic {
            Ok(_) | Err(IggyError::TopicNameAlreadyExists(..)) => Ok(()),
            Err(error) => Err(failed("make a topic", error)),
        }
    }

    async fn send(&self, bodies: &[Bytes]) -> Result<(), BenchError> {
        let message = |body: &Bytes| IggyMessage::builder().payload(body.clone()).build();
        let messages: Result<Vec<_>, _> = bodies.iter().map(message).collect();
        let mut messages = messages.map_err(|error| failed("make messages", error))?;
        let partition = Partitioning::partition_id(self.partition);
        let sent = self
            .client
            .send_messages(&self.id, &self.id, &partition, &mut messages)
            .await;
        sent.map_err(|error| failed("send messages", error))
    }

    async fn open(&self) -> Result<u64, BenchError> {
        Ok(0)
    }

    async fn read(&self, next: &mut u64) -> Result<(u64, u64), BenchError> {
        let polled = self
            .client
            .poll_messages(
                &self.id,
                &self.id,
                Some(self.partition),
                &Consumer::default(),
                &PollingStrategy::offset(*next),
                COUNT,
                false,
            )
            .await;
        let messages = polled
            .map_err(|error| failed("poll messages", error))?
            .messages;
        if let Some(last) = messages.last() {
            *next = last.header.offset + 1;
        }
        let bytes = messages.iter().map(|m| m.payload.len() as u64).sum();
        Ok((messages.len() as u64, bytes))
    }
}
