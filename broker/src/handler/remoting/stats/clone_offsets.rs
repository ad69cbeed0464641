//! 314: gives one group the committed offsets of another.

use super::super::{Answer, Caller, Refused, Request};
use crate::handler::records::{ENTRIES_MAX, append, settled};
use crate::shard::Shard;
use crate::state::record::GroupOffsets;
use crate::state::{ControlRecord, groups, offsets};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let from: String = request.command.required("srcGroup")?;
    let to: String = request.command.required("destGroup")?;
    let topic: Option<String> = request.command.optional("topic")?;
    let topic = topic.filter(|name| !name.is_empty());
    groups::check_name(&to)?;
    shard.flush_commits();
    let copied: Vec<(QueueHandle, QueueOffset)> = shard.with_state(|state| {
        let queues = state
            .group(&from)
            .into_iter()
            .flat_map(|group| group.queues());
        let is_asked = |handle| {
            let queue = state.queue(handle);
            queue.is_some_and(|queue| topic.as_deref().is_none_or(|name| *queue.topic == *name))
        };
        let copied: Vec<_> = queues
            .filter(|(handle, _)| is_asked(*handle))
            .filter_map(|(handle, queue)| Some((handle, queue.committed?)))
            .filter(|(handle, offset)| state.committed(&to, *handle) != Some(*offset))
            .collect();
        let is_new = |(handle, _): &&(QueueHandle, _)| state.group_queue(&to, *handle).is_none();
        offsets::room(state, copied.iter().filter(is_new).count())?;
        Ok::<_, Refused>(copied)
    })?;
    for offsets in copied.chunks(ENTRIES_MAX) {
        let offsets = GroupOffsets {
            group: to.as_str().into(),
            offsets: offsets.to_vec(),
        };
        append(shard, &ControlRecord::OffsetsPut(vec![offsets]))?;
    }
    settled(shard).await?;
    let (client, queues) = (caller.peer(), copied.len());
    tracing::info!(from, to, topic, queues, %client, "committed offsets copied to another group");
    Ok(Answer::ok())
}
