//! Applying records: each touched entry changes by the record and its own old value alone.
//!
//! The guard is asked for every entry, because after a restore the chunks of the snapshot are current up to
//! different positions. Derived tables (holders, order of producers, counts) follow the entries here and nowhere else.

use super::entries::{Group, GroupQueue, Lease, Producer, ProducerKey, Queue, Topic};
use super::keys::Key;
use super::record::{ControlRecord, GroupOffsets};
use super::{ReplayDefect, ShardState};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::state_machine::RecordRef;
use ringmq_wire::batch::BatchHeader;
use std::collections::btree_map::Entry;
use std::rc::Rc;

impl ShardState {
    pub(super) fn apply_record(
        &mut self,
        position: Position,
        store_time_ms: i64,
        record: RecordRef<'_>,
    ) -> Result<(), ReplayDefect> {
        self.guards.advance(position);
        match record {
            RecordRef::Batch(header) => self.apply_batch(position, header),
            RecordRef::Control(bytes) => {
                let record = ControlRecord::decode(bytes)
                    .map_err(|cause| ReplayDefect::Record { position, cause })?;
                self.apply_control(position, store_time_ms, record);
                Ok(())
            }
        }
    }

    fn apply_batch(
        &mut self,
        position: Position,
        header: &BatchHeader,
    ) -> Result<(), ReplayDefect> {
        let handle = QueueHandle(header.queue_handle);
        if !self.guards.holds(position, Key::Queue(handle)) {
            let base = QueueOffset(header.base_offset);
            match self.queues.get_mut(handle) {
                Some(queue) if queue.next_offset == base => {
                    queue.next_offset = QueueOffset(header.next_offset());
                    queue.last_store_time_ms = header.store_time_ms;
                }
                other => {
                    return Err(ReplayDefect::Gap {
                        position,
                        queue: handle,
                        found: base,
                        expected: other.map(|queue| queue.next_offset),
                    });
                }
            }
        }
        if header.producer_id != 0 {
            let key = ProducerKey {
                queue: handle,
                producer_id: header.producer_id,
            };
            if !self.guards.holds(position, Key::Producer(key)) {
                self.record_producer(position, key, header);
            }
        }
        Ok(())
    }

    fn record_producer(&mut self, position: Position, key: ProducerKey, header: &BatchHeader) {
        let producer = match self.producers.entry(key) {
            Entry::Occupied(entry) => {
                let producer = entry.into_mut();
                self.producer_order.remove(&producer.last().position);
                producer
            }
            Entry::Vacant(entry) => entry.insert(Producer::new(header.producer_epoch, 0)),
        };
        producer.record(position, header);
        self.producer_order.insert(position, key);
    }

    fn apply_control(&mut self, position: Position, store_time_ms: i64, record: ControlRecord) {
        self.note_change(position, store_time_ms, &record);
        match record {
            ControlRecord::TopicPut { name, topic } => self.put_topic(position, &name, topic),
            ControlRecord::TopicRemove { name, handles } => {
                self.remove_topic(position, &name, &handles);
            }
            ControlRecord::QueuesTrim(offsets) => self.trim_queues(position, &offsets),
            ControlRecord::OffsetsPut(groups) => {
                for group in groups {
                    self.put_offsets(position, &group, false);
                }
            }
            ControlRecord::OffsetsReset(group) => self.put_offsets(position, &group, true),
            ControlRecord::LeaseGrant {
                group,
                member,
                term_ms,
                handles,
            } => {
                let lease = Lease {
                    id: position,
                    member: member.into(),
                    term_ms,
                };
                for handle in handles {
                    self.change_group_queue(position, &group, handle, |entry| {
                        entry.lease = Some(lease.clone());
                    });
                }
            }
            ControlRecord::LeaseRelease { group, handles } => {
                for handle in handles {
                    self.change_group_queue(position, &group, handle, |entry| entry.lease = None);
                }
            }
            ControlRecord::GroupRemove { group } => self.remove_group(position, &group),
            ControlRecord::ProducersEvict(keys) => {
                for key in keys {
                    if !self.guards.holds(position, Key::Producer(key)) {
                        self.remove_producer(key);
                    }
                }
            }
            ControlRecord::GroupSettingsPut { group, settings } => {
                if !self.guards.holds(position, Key::GroupSettings(&group)) {
                    self.group_settings.insert(group.into(), *settings);
                }
            }
            ControlRecord::GroupSettingsRemove { group } => {
                if !self.guards.holds(position, Key::GroupSettings(&group)) {
                    self.group_settings.remove(&*group);
                }
            }
        }
    }

    /// Counts the changes of tables whose versions are told to tools.
    fn note_change(&mut self, position: Position, store_time_ms: i64, record: &ControlRecord) {
        let version = match record {
            ControlRecord::TopicPut { .. } | ControlRecord::TopicRemove { .. } => {
                &mut self.meta.topics_version
            }
            ControlRecord::GroupSettingsPut { .. } | ControlRecord::GroupSettingsRemove { .. } => {
                &mut self.meta.groups_version
            }
            _ => return,
        };
        if !self.guards.holds(position, Key::Meta) {
            version.changed(store_time_ms);
        }
    }

    fn put_topic(&mut self, position: Position, name: &str, topic: Topic) {
        // Shared with the queues, so that a name is in memory once.
        let shared: Rc<str> = match self.topics.get_key_value(name) {
            Some((shared, _)) => Rc::clone(shared),
            None => name.into(),
        };
        for (number, handle) in topic.local() {
            if self.queues.get(handle).is_none() && !self.guards.holds(position, Key::Queue(handle))
            {
                self.queues.insert(
                    handle,
                    Queue {
                        topic: Rc::clone(&shared),
                        queue: number,
                        next_offset: QueueOffset(0),
                        trim_offset: QueueOffset(0),
                        last_store_time_ms: 0,
                    },
                );
            }
        }
        if !self.guards.holds(position, Key::Meta) {
            let last = topic.handles.last().map_or(0, |handle| handle.0);
            let next = &mut self.meta.next_handle;
            *next = (*next).max(last.saturating_add(1));
        }
        if !self.guards.holds(position, Key::Topic(name)) {
            self.topics.insert(shared, topic);
        }
    }

    fn remove_topic(&mut self, position: Position, name: &str, handles: &[QueueHandle]) {
        if !self.guards.holds(position, Key::Topic(name)) {
            self.topics.remove(name);
        }
        for &handle in handles {
            if !self.guards.holds(position, Key::Queue(handle)) {
                self.queues.remove(handle);
            }
            self.remove_producers_of(position, handle);
        }
        let groups: Vec<Rc<str>> = self.groups.keys().cloned().collect();
        for group in groups {
            for &handle in handles {
                self.remove_group_queue(position, &group, handle);
            }
        }
    }

    fn remove_producers_of(&mut self, position: Position, queue: QueueHandle) {
        let key = |producer_id| ProducerKey { queue, producer_id };
        let keys: Vec<ProducerKey> = self
            .producers
            .range(key(0)..=key(u64::MAX))
            .map(|(&key, _)| key)
            .collect();
        for key in keys {
            if !self.guards.holds(position, Key::Producer(key)) {
                self.remove_producer(key);
            }
        }
    }

    fn remove_producer(&mut self, key: ProducerKey) {
        if let Some(producer) = self.producers.remove(&key) {
            self.producer_order.remove(&producer.last().position);
        }
    }

    fn trim_queues(&mut self, position: Position, offsets: &[(QueueHandle, QueueOffset)]) {
        for &(handle, offset) in offsets {
            if self.guards.holds(position, Key::Queue(handle)) {
                continue;
            }
            if let Some(queue) = self.queues.get_mut(handle) {
                queue.trim_offset = queue.trim_offset.max(offset);
            }
        }
    }

    fn put_offsets(&mut self, position: Position, group: &GroupOffsets, reset: bool) {
        for &(handle, offset) in &group.offsets {
            self.change_group_queue(position, &group.group, handle, |entry| {
                entry.committed = Some(offset);
                if reset {
                    entry.lease = None;
                }
            });
        }
    }

    fn remove_group(&mut self, position: Position, group: &str) {
        let handles: Vec<QueueHandle> = match self.groups.get(group) {
            Some(group) => group.queues.keys().copied().collect(),
            None => return,
        };
        for handle in handles {
            self.remove_group_queue(position, group, handle);
        }
    }

    fn remove_group_queue(&mut self, position: Position, group: &str, handle: QueueHandle) {
        let known = self.group_queue(group, handle).is_some();
        if known {
            self.change_group_queue(position, group, handle, |entry| {
                *entry = GroupQueue::default();
            });
        }
    }

    /// Changes one entry, made if absent and dropped if nothing is left in it.
    fn change_group_queue(
        &mut self,
        position: Position,
        group: &str,
        handle: QueueHandle,
        change: impl FnOnce(&mut GroupQueue),
    ) {
        if self.guards.holds(position, Key::GroupQueue(group, handle)) {
            return;
        }
        let mut entry = self.group_queue(group, handle).cloned().unwrap_or_default();
        change(&mut entry);
        self.set_group_queue(group, handle, entry);
    }

    /// The one place that writes group entries; keeps what is derived from them.
    pub(super) fn set_group_queue(&mut self, name: &str, handle: QueueHandle, entry: GroupQueue) {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.into(), Group::default());
        }
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        if let Some(lease) = &entry.lease {
            *group.holders.entry(Rc::clone(&lease.member)).or_insert(0) += 1;
        }
        let is_empty = entry == GroupQueue::default();
        let old = if is_empty {
            group.queues.remove(&handle)
        } else {
            group.queues.insert(handle, entry)
        };
        self.group_queues += usize::from(!is_empty);
        self.group_queues -= usize::from(old.is_some());
        if let Some(lease) = old.and_then(|old| old.lease)
            && let Some(count) = group.holders.get_mut(&lease.member)
        {
            *count -= 1;
            if *count == 0 {
                group.holders.remove(&lease.member);
            }
        }
        if group.queues.is_empty() {
            self.groups.remove(name);
        }
    }

    /// Loads a producer from a snapshot.
    pub(super) fn set_producer(&mut self, key: ProducerKey, producer: Producer) {
        self.producer_order.insert(producer.last().position, key);
        self.producers.insert(key, producer);
    }
}
