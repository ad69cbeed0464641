//! Shares one by one: what clients see that take each shard for a broker of its own. Pure.

use super::{Changed, RouteTable, Shard};
use ringmq_wire::native::schema::TopicRecordT;
use std::sync::Arc;

impl RouteTable {
    /// The shares of a topic on live shards, by shard. They may be of several incarnations: tools of RocketMQ create
    /// a topic on one broker after the other.
    pub fn shares<'a>(
        &'a self,
        topic: &'a str,
    ) -> impl Iterator<Item = (&'a Shard, &'a TopicRecordT)> {
        let holders = self.topics.get(topic).into_iter().flatten();
        holders.filter_map(move |name| {
            let entry = self.shards.get(name)?;
            let share = entry.shares.get(topic)?;
            entry.shard.live.then_some((&entry.shard, share.as_ref()))
        })
    }

    /// Topics of a live shard, by name.
    pub fn topics_of(&self, shard: &str) -> impl Iterator<Item = &Arc<str>> {
        let entry = self.shards.get(shard).filter(|entry| entry.shard.live);
        entry.into_iter().flat_map(|entry| entry.shares.keys())
    }

    /// Takes write permission from a live shard, whatever it registers, or gives it back. `None`: there is no such
    /// shard. A name server that starts anew knows nothing of it.
    pub fn set_wiped(&mut self, shard: &str, wiped: bool) -> Option<Changed> {
        let entry = self.shards.get_mut(shard)?;
        if !entry.shard.live {
            return None;
        }
        if entry.shard.wiped == wiped {
            return Some(Changed::new());
        }
        entry.shard.wiped = wiped;
        self.version += 1;
        Some(entry.shares.keys().cloned().collect())
    }
}

/// Queues of the topic that lie on that shard: queue q is at home at `placement[q % len]`.
pub fn local_queues(record: &TopicRecordT, shard: &str) -> u32 {
    let placement = record.placement.as_deref().unwrap_or_default();
    let homes = placement.len().max(1) as u32;
    let at_home = placement.iter().zip(0..).filter(|(home, _)| *home == shard);
    at_home
        .map(|(_, at): (_, u32)| record.queues.saturating_sub(at).div_ceil(homes))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_queues_add_up_to_all() {
        let names: Vec<String> = ["a", "b", "a", "c"].map(String::from).into();
        for queues in 0..20 {
            let record = TopicRecordT {
                queues,
                placement: Some(names.clone()),
                ..TopicRecordT::default()
            };
            let counted = |shard: &str| {
                let home = |q: u32| &names[q as usize % names.len()];
                (0..queues).filter(|q| home(*q) == shard).count() as u32
            };
            for shard in ["a", "b", "c", "d"] {
                assert_eq!(
                    local_queues(&record, shard),
                    counted(shard),
                    "{shard} of {queues}"
                );
            }
        }
    }
}
