//! 321: entries of a queue: where each message is, how long it is, and the code of its tag.

use super::super::{Answer, Caller, Refused, Request};
use super::{json, not_found, queues};
use crate::shard::Shard;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::store::{ReadLimits, StoredBatch};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::BatchView;
use ringmq_wire::remoting::response_code;
use serde_json::{Value, json};
use std::rc::Rc;

/// Entries of one answer at most.
const ENTRIES_MAX: usize = 1024;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let topic: String = request.command.required("topic")?;
    let id: u32 = request.command.required("queueId")?;
    let from: i64 = request.command.required("index")?;
    let count: usize = request.command.required::<u32>("count")? as usize;
    let found =
        shard.with_state(|state| Some(queues::of_topic(shard, state, state.topic(&topic)?)));
    let found = found.ok_or_else(|| not_found(&topic))?;
    let Some(queue) = found.iter().find(|queue| queue.id == id) else {
        let remark = format!("queue {id} of topic[{topic}] not exist");
        return Err(Refused::new(response_code::INVALID_PARAMETER, remark));
    };
    let range = queue.range;
    let from = QueueOffset(u64::try_from(from).unwrap_or(0)).max(range.min);
    let mut entries = Vec::new();
    if from < range.visible {
        let limits = ReadLimits {
            max_bytes: 1 << 20,
            max_batches: count.clamp(1, ENTRIES_MAX),
        };
        let read = shard.store().read(queue.handle, from, limits).await?;
        for batch in &read.batches {
            entries.extend(describe(batch, from));
        }
        entries.truncate(count.min(ENTRIES_MAX));
    }
    Ok(json(&json!({
        "filterData": null,
        "maxQueueIndex": range.visible.0,
        "minQueueIndex": range.min.0,
        "queueData": entries,
        "subscriptionData": null,
    })))
}

/// The entries of a batch's messages from an offset on. A batch that cannot be read has none.
fn describe<D: Disk>(batch: &StoredBatch<D>, from: QueueOffset) -> Vec<Value> {
    let Ok(view) = BatchView::parse_unverified(&batch.bytes) else {
        return Vec::new();
    };
    let Ok(section) = view.section() else {
        return Vec::new();
    };
    let records = view.records(&section).map_while(Result::ok);
    let entry = |(index, record): (usize, ringmq_wire::batch::RecordView<'_>)| {
        let offset = batch.header.base_offset + u64::from(record.offset_delta);
        (offset >= from.0).then(|| {
            json!({
                "bitMap": null,
                "eval": true,
                "extendDataJson": null,
                "msg": null,
                "physicOffset": batch.position.0 + index as u64,
                "physicSize": record.body.len(),
                "tagsCode": ringmq_wire::batch::tags_code(record.tag) as i32,
            })
        })
    };
    records.enumerate().filter_map(entry).collect()
}
