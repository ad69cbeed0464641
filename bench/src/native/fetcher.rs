//! One connection that reads: a fetch session over the queues of a lane.

use super::batch;
use super::connection::Connection;
use crate::BenchError;
use crate::cluster::Lane;
use crate::protocol::{Fetched, Fetching, From, Look};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::FETCH_REQUESTS_MAX;
use ringmq_wire::native::{encode, header, schema};
use std::collections::{BTreeMap, VecDeque};

const MAX_WAIT_MS: u32 = 200;

/// An open session. The slot of a queue is its number.
#[derive(Debug)]
pub(crate) struct Fetcher {
    connection: Connection,
    /// Unanswered requests, oldest first.
    asked: VecDeque<u64>,
    request: schema::FetchRequestT,
    next: BTreeMap<u32, u64>,
}

impl Fetching for Fetcher {
    async fn open(lane: &Lane, from: From, fetch_bytes: u32) -> Result<Self, BenchError> {
        let at = match from {
            From::Start => schema::OffsetAt::Earliest,
            From::End => schema::OffsetAt::Latest,
        };
        let mut connection = Connection::open(&lane.address).await?;
        let next = offsets(&mut connection, lane, at).await?;
        let add = |(queue, offset): (&u32, &u64)| schema::FetchAddT {
            slot: *queue,
            topic: lane.topic.clone(),
            queue: *queue,
            offset: *offset,
            ..Default::default()
        };
        let request = schema::FetchRequestT {
            add: Some(next.iter().map(add).collect()),
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: fetch_bytes,
            ..Default::default()
        };
        Ok(Self {
            connection,
            asked: VecDeque::new(),
            request,
            next,
        })
    }

    async fn ends(lane: &Lane) -> Result<BTreeMap<u32, u64>, BenchError> {
        let mut connection = Connection::open(&lane.address).await?;
        offsets(&mut connection, lane, schema::OffsetAt::Latest).await
    }

    fn next(&self) -> &BTreeMap<u32, u64> {
        &self.next
    }

    async fn fetch(&mut self, look: Look) -> Result<Fetched, BenchError> {
        if self.asked.is_empty() {
            self.ask().await?;
        }
        let oldest = self.asked.pop_front().expect("one was just asked for");
        let frame = self.connection.answer(Kind::Fetch, oldest).await?;
        let response =
            header::<schema::FetchResponse>(frame.header()).map_err(|error| self.damaged(error))?;
        self.request.session = response.session();
        // The next answers are on their way while this one is looked at.
        while self.asked.len() < FETCH_REQUESTS_MAX {
            self.ask().await?;
        }
        let mut fetched = Fetched::default();
        let mut rest = frame.payload();
        for queue in response.queues().into_iter().flatten() {
            if queue.error() != 0 {
                return Err(self.refused(&queue));
            }
            for batch in queue.batches().into_iter().flatten() {
                let (bytes, behind) = rest
                    .split_at_checked(batch.length() as usize)
                    .ok_or_else(|| self.damaged("batches beyond the payload"))?;
                batch::count(bytes, look, &mut fetched).map_err(|error| self.damaged(error))?;
                rest = behind;
            }
            self.next.insert(queue.slot(), queue.next_offset());
        }
        Ok(fetched)
    }
}

impl Fetcher {
    async fn ask(&mut self) -> Result<(), BenchError> {
        let request = &self.request;
        let frame = |id| encode(Kind::Fetch, 0, id, 0, |b| request.pack(b));
        self.asked.push_back(self.connection.ask(frame).await?);
        self.request.add = None;
        Ok(())
    }

    fn damaged(&self, what: impl ToString) -> BenchError {
        self.connection.socket.protocol("fetch from", what)
    }

    fn refused(&self, queue: &schema::FetchedQueue<'_>) -> BenchError {
        let code = ErrorCode::from_number(queue.error());
        BenchError::Refused {
            operation: "fetch from",
            address: self.connection.socket.address.clone(),
            code: code.map_or_else(|| queue.error().to_string(), |code| code.name().to_string()),
            message: format!(
                "queue {}: {}",
                queue.slot(),
                queue.message().unwrap_or_default()
            ),
        }
    }
}

/// A point in each queue of the lane.
async fn offsets(
    connection: &mut Connection,
    lane: &Lane,
    at: schema::OffsetAt,
) -> Result<BTreeMap<u32, u64>, BenchError> {
    let request = schema::OffsetQueryRequestT {
        topic: lane.topic.clone(),
        queues: Some(lane.queues.clone()),
        at,
        time_ms: 0,
    };
    let kind = Kind::OffsetQuery;
    let answer = connection
        .call(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
        .await?;
    let answer = header::<schema::OffsetQueryResponse>(answer.header())
        .map_err(|error| connection.socket.protocol("query offsets of", error))?
        .unpack();
    let offsets = answer.offsets.unwrap_or_default();
    if let Some(failed) = offsets.iter().find(|offset| offset.error != 0) {
        let what = format!("queue {}: error {}", failed.queue, failed.error);
        return Err(connection.socket.protocol("query offsets of", what));
    }
    Ok(offsets
        .into_iter()
        .map(|offset| (offset.queue, offset.offset))
        .collect())
}
