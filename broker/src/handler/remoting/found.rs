//! Single messages, looked up one by one for people and tools.

use super::Refused;
use super::delivered::Place;
use crate::shard::Shard;
use ringmq_storage_engine::position::{Position, QueueHandle};
use ringmq_storage_engine::store::ReadError;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::{BatchView, RecordView};
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

/// What was found so far.
pub struct Finding<'a, D: Disk, R: Runtime> {
    shard: &'a Shard<D, R>,
    store_host: Host,
    /// Messages, one behind the other.
    pub body: Vec<u8>,
    pub messages: usize,
    /// Of the newest.
    pub last_time_ms: i64,
    pub last_position: Position,
}

impl<'a, D: Disk, R: Runtime> Finding<'a, D, R> {
    pub fn new(shard: &'a Shard<D, R>, store_host: Host) -> Self {
        Self {
            shard,
            store_host,
            body: Vec::new(),
            messages: 0,
            last_time_ms: 0,
            last_position: Position(0),
        }
    }

    /// Looks at the message there; takes it if it is wanted. False: there is none, or it is not.
    pub async fn add(
        &mut self,
        position: Position,
        is_wanted: impl Fn(&RecordView<'_>) -> bool,
    ) -> Result<bool, Refused> {
        let found = match self.shard.store().read_position(position).await {
            Ok(found) => found,
            Err(ReadError::PositionNotFound(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let unreadable = |cause: &dyn std::fmt::Display| {
            let remark =
                format!("the stored message at position {position} cannot be read: {cause}");
            Refused::new(response_code::SYSTEM_ERROR, remark)
        };
        let handle = QueueHandle(found.batch.header.queue_handle);
        let queue = self.shard.with_state(|state| {
            let queue = state.queue(handle)?;
            let shards = state.topic(&queue.topic)?.placement.len() as u32;
            Some((Rc::clone(&queue.topic), queue.queue / shards.max(1)))
        });
        // A deleted topic's messages are nobody's any more.
        let Some((topic, queue_id)) = queue else {
            return Ok(false);
        };
        let view = BatchView::parse_unverified(&found.batch.bytes).map_err(|e| unreadable(&e))?;
        let section = self.shard.section(found.batch.position, &view);
        let section = section.map_err(|e| unreadable(&e))?;
        let Some(record) = view.records(&section).nth(found.record_index as usize) else {
            return Ok(false);
        };
        let record = record.map_err(|e| unreadable(&e))?;
        if !is_wanted(&record) {
            return Ok(false);
        }
        let place = Place {
            topic: &topic,
            queue_id: queue_id as i32,
            store_host: self.store_host,
        };
        let header = &found.batch.header;
        place
            .encode(&mut self.body, header, position, &record)
            .map_err(|e| unreadable(&e))?;
        self.messages += 1;
        self.last_time_ms = self.last_time_ms.max(header.store_time_ms);
        self.last_position = self.last_position.max(position);
        Ok(true)
    }
}
