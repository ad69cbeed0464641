//! MessageQuery: single messages by position, by queue and offset, or by key. For people and tools.

use super::Refusal;
use super::produce::queue_here;
use super::records::topic;
use crate::session::budget::{Budget, Permit};
use crate::session::link::AnswerPiece;
use crate::session::outbox::Piece;
use crate::shard::Shard;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::{ReadError, ReadLimits, StoredBatch};
use ringmq_wire::batch::{BatchView, key_hash};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::{
    FoundMessageT, MessageQueryBy, MessageQueryRequestT, MessageQueryResponseT,
};

/// Batches that hold the messages, and what they count until they are sent.
pub struct Found<D: Disk> {
    pub response: MessageQueryResponseT,
    pub payload: Vec<AnswerPiece<D>>,
    pub permit: Permit,
}

/// Positions looked at for one message wanted: hashes of other keys collide.
const CANDIDATES_FACTOR: usize = 4;

/// Answers; `unsent` is the connection's budget.
pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    unsent: &Budget,
    request: MessageQueryRequestT,
) -> Result<Found<D>, Refusal> {
    // One batch at least is read whatever its size; what it really has is counted once it is there.
    let permit = unsent.acquire(1).await;
    let mut found = Found {
        response: MessageQueryResponseT {
            messages: Some(Vec::new()),
        },
        payload: Vec::new(),
        permit,
    };
    match request.by {
        MessageQueryBy::Position => {
            let position = Position(request.position);
            let batch = shard.store().read_position(position).await?;
            found.add(shard, &batch.batch, batch.record_index)?;
        }
        MessageQueryBy::Offset => by_offset(shard, &request, &mut found).await?,
        MessageQueryBy::Key => by_key(shard, &request, &mut found).await?,
        other => {
            let message = format!("cannot look for messages by {}", other.0);
            return Err(Refusal::invalid(message));
        }
    }
    Ok(found)
}

async fn by_offset<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    request: &MessageQueryRequestT,
    found: &mut Found<D>,
) -> Result<(), Refusal> {
    let name = topic_name(request)?;
    let queue = shard.with_state(|state| queue_here(topic(state, name)?, name, request.queue))?;
    let limits = ReadLimits {
        max_bytes: 1,
        max_batches: 1,
    };
    let from = QueueOffset(request.offset);
    let read = shard.store().read(queue, from, limits).await?;
    let Some(batch) = read.batches.first() else {
        let message = format!(
            "queue {} of topic {name} ends at offset {}",
            request.queue, read.visible_offset
        );
        return Err(Refusal::new(ErrorCode::MessageNotFound, message));
    };
    let delta = request.offset.saturating_sub(batch.header.base_offset);
    found.add(shard, batch, delta as u32)
}

async fn by_key<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    request: &MessageQueryRequestT,
    found: &mut Found<D>,
) -> Result<(), Refusal> {
    let name = topic_name(request)?;
    let Some(key) = request.key.as_deref().filter(|key| !key.is_empty()) else {
        return Err(Refusal::invalid("a query by key needs a key"));
    };
    let queues: Vec<QueueHandle> = shard.with_state(|state| {
        let topic = topic(state, name)?;
        Ok::<_, Refusal>(topic.local().map(|(_, handle)| handle).collect())
    })?;
    let limits = *shard.limits();
    let max = (request.max_messages as usize).clamp(1, limits.query_messages_max);
    let to_ms = match request.to_ms {
        0 => i64::MAX,
        to_ms => to_ms,
    };
    let mut positions = Vec::new();
    for queue in queues {
        let of_queue = shard
            .store()
            .find_key(
                queue,
                key_hash(key),
                request.from_ms,
                to_ms,
                max * CANDIDATES_FACTOR,
            )
            .await?;
        positions.extend(of_queue);
    }
    // Newest first over all queues: positions are in the order of the log.
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions.dedup();
    for position in positions {
        if found.len() >= max || found.permit.amount() >= limits.fetch_bytes_max {
            break;
        }
        let batch = match shard.store().read_position(position).await {
            Ok(batch) => batch,
            // Retention was faster.
            Err(ReadError::PositionNotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        if has_key(&batch.batch.bytes, batch.record_index, key) {
            found.add(shard, &batch.batch, batch.record_index)?;
        }
    }
    Ok(())
}

fn topic_name(request: &MessageQueryRequestT) -> Result<&str, Refusal> {
    let name = request.topic.as_deref();
    name.ok_or_else(|| Refusal::invalid("the query needs a topic"))
}

/// Whether the record has that very key; a batch that cannot be read has none.
fn has_key(stored: &[u8], record_index: u32, key: &str) -> bool {
    let Ok(view) = BatchView::parse_unverified(stored) else {
        return false;
    };
    let Ok(section) = view.section() else {
        return false;
    };
    let record = view.records(&section).nth(record_index as usize);
    matches!(record, Some(Ok(record)) if record.keys.split(' ').any(|k| k == key))
}

impl<D: Disk> Found<D> {
    fn len(&self) -> usize {
        self.response.messages.as_ref().map_or(0, Vec::len)
    }

    fn add<R: Runtime>(
        &mut self,
        shard: &Shard<D, R>,
        batch: &StoredBatch<D>,
        record_index: u32,
    ) -> Result<(), Refusal> {
        let handle = QueueHandle(batch.header.queue_handle);
        let of_queue = shard.with_state(|state| {
            let queue = state.queue(handle)?;
            Some((queue.topic.to_string(), queue.queue))
        });
        let Some((topic, queue)) = of_queue else {
            let message = "the topic of that message was deleted";
            return Err(Refusal::new(ErrorCode::MessageNotFound, message));
        };
        let message = FoundMessageT {
            topic: Some(topic),
            queue,
            offset: batch.header.base_offset + u64::from(record_index),
            position: batch.position.0 + u64::from(record_index),
            length: batch.bytes.len() as u32,
        };
        self.permit.resize(self.permit.amount() + batch.bytes.len());
        self.response.messages.get_or_insert_default().push(message);
        self.payload.push(Piece::Shared(batch.bytes.clone()));
        Ok(())
    }
}
