//! Takes the shard off the writers' routes while its log takes no messages, and puts it back when it does again.

use super::Shard;
use ringmq_storage_engine::mark;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use std::time::Duration;

/// How long writers may be sent to a shard that refuses them.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Looks until the shard stops.
pub async fn run<D: Disk, R: Runtime>(shard: Shard<D, R>) {
    while !shard.is_stopping() {
        look(&shard);
        shard.runtime().sleep(LOOK_EVERY).await;
    }
}

/// One look; tells the node of a change.
pub fn look<D: Disk, R: Runtime>(shard: &Shard<D, R>) {
    let takes_messages = shard.store().is_writable();
    let index = shard.settings().index;
    let node = shard.node();
    if node.shares(index, |table| table.set_able(takes_messages)) {
        node.shares_changed();
        if takes_messages {
            tracing::info!(shard = shard.name(), "takes messages again");
        } else {
            mark!("verdict: a shard is off the writers' routes");
            let condition = shard.condition();
            tracing::warn!(shard = shard.name(), %condition, "takes no messages: off the writers' routes");
        }
    }
}
