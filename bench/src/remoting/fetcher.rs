//! One connection that reads: a pull for each queue of the lane, answered as messages come.

use super::batch;
use super::connection::{Frame, Frames, call};
use crate::BenchError;
use crate::cluster::Lane;
use crate::protocol::{Fetched, Fetching, From, Look};
use crate::socket::Socket;
use ringmq_wire::remoting::{Command, Serialization, request_code, response_code};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

const GROUP: &str = "ringmq-bench";
/// Wait at the server, and the request says which messages it wants.
const PULL_FLAGS: u32 = 2 | 4;
const SUSPEND_MS: u32 = 15_000;
/// How long nothing may come before a fetch says so. The pulls stay with the server.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// The most messages that a server gives at a time; it has limits of its own.
const MESSAGES_MAX: u32 = 1024;

/// Pulls under way, one a queue; a request's number is its queue.
#[derive(Debug)]
pub(crate) struct Fetcher {
    socket: Socket<Frames>,
    topic: String,
    fetch_bytes: u32,
    next: BTreeMap<u32, u64>,
    /// Queues without a pull under way.
    idle: Vec<u32>,
}

impl Fetching for Fetcher {
    async fn open(lane: &Lane, from: From, fetch_bytes: u32) -> Result<Self, BenchError> {
        let mut socket = Socket::connect(&lane.address).await?;
        let code = match from {
            From::Start => request_code::GET_MIN_OFFSET,
            From::End => request_code::GET_MAX_OFFSET,
        };
        let next = offsets(&mut socket, lane, code).await?;
        Ok(Self {
            socket,
            topic: lane.topic.clone(),
            fetch_bytes,
            idle: next.keys().copied().collect(),
            next,
        })
    }

    async fn ends(lane: &Lane) -> Result<BTreeMap<u32, u64>, BenchError> {
        let mut socket = Socket::connect(&lane.address).await?;
        offsets(&mut socket, lane, request_code::GET_MAX_OFFSET).await
    }

    fn next(&self) -> &BTreeMap<u32, u64> {
        &self.next
    }

    async fn fetch(&mut self, look: Look) -> Result<Fetched, BenchError> {
        for queue in std::mem::take(&mut self.idle) {
            let pull = self.pull(queue).encode(Serialization::Json, &[]);
            self.socket.write(&pull).await?;
        }
        let mut fetched = Fetched::default();
        let mut answer = timeout(MAX_WAIT, self.socket.halves().reader.next())
            .await
            .ok();
        while let Some(frame) = answer {
            self.take(&frame?, look, &mut fetched)?;
            answer = self.socket.halves().reader.buffered().transpose();
        }
        Ok(fetched)
    }
}

impl Fetcher {
    fn pull(&self, queue: u32) -> Command {
        Command::request(request_code::PULL_MESSAGE, queue as i32)
            .field("consumerGroup", GROUP)
            .field("topic", &self.topic)
            .field("queueId", queue)
            .field("queueOffset", self.next[&queue])
            .field("maxMsgNums", MESSAGES_MAX)
            .field("maxMsgBytes", self.fetch_bytes)
            .field("sysFlag", PULL_FLAGS)
            .field("commitOffset", 0)
            .field("suspendTimeoutMillis", SUSPEND_MS)
            .field("subscription", "*")
            .field("expressionType", "TAG")
            .field("subVersion", 0)
    }

    fn take(&mut self, frame: &Frame, look: Look, fetched: &mut Fetched) -> Result<(), BenchError> {
        let damaged = |what: String| self.socket.protocol("pull from", what);
        if !frame.command.is_response() {
            return Ok(());
        }
        match frame.command.code {
            response_code::SUCCESS => {
                batch::count(&frame.body, look, fetched).map_err(damaged)?;
            }
            response_code::PULL_NOT_FOUND
            | response_code::PULL_RETRY_IMMEDIATELY
            | response_code::PULL_OFFSET_MOVED => {}
            _ => {
                let refusal = frame.refusal().expect("its code is an error");
                return Err(refusal.into_error("pull from", &self.socket.address));
            }
        }
        let next = frame.command.required("nextBeginOffset");
        let next = next.map_err(|error| damaged(error.to_string()))?;
        let queue = frame.command.opaque as u32;
        self.next.insert(queue, next);
        self.idle.push(queue);
        Ok(())
    }
}

/// A point in each queue of the lane.
async fn offsets(
    socket: &mut Socket<Frames>,
    lane: &Lane,
    code: i32,
) -> Result<BTreeMap<u32, u64>, BenchError> {
    let mut offsets = BTreeMap::new();
    for queue in &lane.queues {
        let operation = "query offsets of";
        let request = Command::request(code, *queue as i32)
            .field("topic", &lane.topic)
            .field("queueId", queue);
        let answer = call(socket, operation, request).await?;
        let offset = answer.command.required("offset");
        offsets.insert(
            *queue,
            offset.map_err(|error| socket.protocol(operation, error))?,
        );
    }
    Ok(offsets)
}
