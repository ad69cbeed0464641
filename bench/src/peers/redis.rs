//! Redis streams: a stream a queue, a batch as one pipeline.

use super::{Peer, Place, failed};
use crate::BenchError;
use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;

/// Entries of one read.
const COUNT: usize = 1000;

/// A connection that its clones share.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: MultiplexedConnection,
    stream: String,
}

impl Peer for Redis {
    /// The entry read last.
    type Cursor = String;

    async fn connect(place: &Place<'_>) -> Result<Self, BenchError> {
        let client = redis::Client::open(format!("redis://{}", place.address));
        let client = client.map_err(|error| failed("connect to redis", error))?;
        let connection = client.get_multiplexed_async_connection().await;
        Ok(Self {
            connection: connection.map_err(|error| failed("connect to redis", error))?,
            stream: format!("{}-{}", place.topic, place.queue),
        })
    }

    /// A stream comes into being with its first entry.
    async fn create(&self, _queues: u32) -> Result<(), BenchError> {
        Ok(())
    }

    async fn send(&self, bodies: &[Bytes]) -> Result<(), BenchError> {
        let mut pipeline = redis::Pipeline::with_capacity(bodies.len());
        for body in bodies {
            pipeline
                .cmd("XADD")
                .arg(&self.stream)
                .arg("*")
                .arg("b")
                .arg(&body[..])
                .ignore();
        }
        let mut connection = self.connection.clone();
        let answered: redis::RedisResult<()> = pipeline.query_async(&mut connection).await;
        answered.map_err(|error| failed("XADD", error))
    }

    async fn open(&self) -> Result<String, BenchError> {
        Ok("0".to_owned())
    }

    async fn read(&self, cursor: &mut String) -> Result<(u64, u64), BenchError> {
        let mut connection = self.connection.clone();
        let mut command = redis::cmd("XRANGE");
        command
            .arg(&self.stream)
            .arg(format!("({cursor}"))
            .arg("+")
            .arg("COUNT")
            .arg(COUNT);
        let reply: redis::RedisResult<StreamRangeReply> =
            command.query_async(&mut connection).await;
        let entries = reply.map_err(|error| failed("XRANGE", error))?.ids;
        let bytes = |value: &redis::Value| match value {
            redis::Value::BulkString(bytes) => bytes.len() as u64,
            _ => 0,
        };
        let bytes = entries
            .iter()
            .flat_map(|entry| entry.map.values())
            .map(bytes)
            .sum();
        if let Some(last) = entries.last() {
            cursor.clone_from(&last.id);
        }
        Ok((entries.len() as u64, bytes))
    }
}
