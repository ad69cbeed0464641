//! One connection that reads: a fetch session over the queues of a lane.

use crate::BenchError;
use crate::cluster::Lane;
use crate::connection::{Connection, Frame};
use ringmq_wire::batch::{BatchError, BatchHeader, BatchView};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{encode, header, schema};
use std::collections::BTreeMap;

const MAX_WAIT_MS: u32 = 200;

/// An open session. The slot of a queue is its number.
#[derive(Debug)]
pub(crate) struct Fetcher {
    connection: Connection,
    session: u32,
    request: schema::FetchRequestT,
    /// Where each queue will be read next.
    pub(crate) next: BTreeMap<u32, u64>,
}

/// Answer to one fetch.
#[derive(Debug)]
pub(crate) struct Fetched {
    frame: Frame,
    batches: Vec<std::ops::Range<usize>>,
}

impl Fetched {
    /// The batches as they were stored.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &[u8]> {
        self.batches
            .iter()
            .map(|range| &self.frame.payload()[range.clone()])
    }
}

impl Fetcher {
    /// Opens a session that starts at `at` in every queue.
    pub(crate) async fn open(
        lane: &Lane,
        at: schema::OffsetAt,
        fetch_bytes: u32,
    ) -> Result<Self, BenchError> {
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
            session: 0,
            request,
            next,
        })
    }

    /// The next batches; none if nothing came within the server's wait.
    pub(crate) async fn fetch(&mut self) -> Result<Fetched, BenchError> {
        self.request.session = self.session;
        let (kind, request) = (Kind::Fetch, &self.request);
        let frame = self
            .connection
            .call(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
            .await?;
        self.request.add = None;
        let response = header::<schema::FetchResponse>(frame.header())
            .map_err(|error| self.connection.protocol("fetch from", error))?;
        self.session = response.session();
        let mut batches = Vec::new();
        let mut at = 0;
        for queue in response.queues().into_iter().flatten() {
            if queue.error() != 0 {
                return Err(self.refused(&queue));
            }
            for batch in queue.batches().into_iter().flatten() {
                batches.push(at..at + batch.length() as usize);
                at += batch.length() as usize;
            }
            self.next.insert(queue.slot(), queue.next_offset());
        }
        if at > frame.payload().len() {
            return Err(self
                .connection
                .protocol("fetch from", "batches beyond the payload"));
        }
        Ok(Fetched { frame, batches })
    }

    fn refused(&self, queue: &schema::FetchedQueue<'_>) -> BenchError {
        let code = ErrorCode::from_number(queue.error());
        BenchError::Refused {
            operation: "fetch from",
            address: self.connection.address.clone(),
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
pub(crate) async fn offsets(
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
        .map_err(|error| connection.protocol("query offsets of", error))?
        .unpack();
    let offsets = answer.offsets.unwrap_or_default();
    if let Some(failed) = offsets.iter().find(|offset| offset.error != 0) {
        let what = format!("queue {}: error {}", failed.queue, failed.error);
        return Err(connection.protocol("query offsets of", what));
    }
    Ok(offsets
        .into_iter()
        .map(|offset| (offset.queue, offset.offset))
        .collect())
}

/// Messages in a batch, as its header says; with `verify`, all checksums are checked.
pub(crate) fn messages(batch: &[u8], verify: bool) -> Result<u64, BatchError> {
    let header = if verify {
        *BatchView::parse_placed(batch)?.header()
    } else {
        BatchHeader::parse(batch)?
    };
    Ok(u64::from(header.record_count))
}
