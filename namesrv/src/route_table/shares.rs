//! Shares one by one: what clients see that take each shard for a broker of its own. Pure.

use super::{Changed, RouteTable, Shard};
use ringmq_wire::native::schema::{TopicRecordT, TopicSettingsT};
use ringmq_wire::remoting::body::topics::perm;
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
fn local_queues(record: &TopicRecordT, shard: &str) -> u32 {
    let placement = record.placement.as_deref().unwrap_or_default();
    let homes = placement.len().max(1) as u32;
    let at_home = placement.iter().zip(0..).filter(|(home, _)| *home == shard);
    at_home
        .map(|(_, at): (_, u32)| record.queues.saturating_sub(at).div_ceil(homes))
        .sum()
}

/// What RocketMQ's clients may do with the queues of a topic that lie on one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareRights {
    /// RocketMQ's permission bits.
    pub perm: i32,
    pub read_queues: i32,
    pub write_queues: i32,
}

/// The rights in a topic's share on `shard`; `takes_messages`: the shard does, whatever the topic says.
pub fn share_rights(record: &TopicRecordT, shard: &str, takes_messages: bool) -> ShareRights {
    let default = TopicSettingsT::default();
    let settings = record.settings.as_deref().unwrap_or(&default);
    let local = i32::try_from(local_queues(record, shard)).unwrap_or(i32::MAX);
    let queues = |set: i32| if set < 0 { local } else { set.min(local) };
    let bit = |is_set: bool, bit: i32| if is_set { bit } else { 0 };
    ShareRights {
        perm: bit(settings.readable, perm::READ)
            | bit(settings.writable && takes_messages, perm::WRITE)
            | bit(settings.inherit, perm::INHERIT),
        read_queues: queues(settings.read_queues),
        write_queues: queues(settings.write_queues),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_topic_as_far_as_the_shard_allows() {
        let settings = TopicSettingsT {
            inherit: true,
            read_queues: 9,
            write_queues: 1,
            ..TopicSettingsT::default()
        };
        let record = TopicRecordT {
            queues: 5,
            placement: Some(vec!["a".to_owned(), "b".to_owned()]),
            settings: Some(Box::new(settings)),
            ..TopicRecordT::default()
        };
        let rights = share_rights(&record, "a", true);
        assert_eq!(
            (rights.perm, rights.read_queues, rights.write_queues),
            (7, 3, 1)
        );
        assert_eq!(share_rights(&record, "b", false).perm, 5);
    }

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
