//! What a fetch has gathered for its answer.

use crate::handler::Refusal;
use crate::session::link::AnswerPiece;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::store::ReadBatches;
use ringmq_wire::native::schema::{FetchResponseT, FetchedBatchT, FetchedQueueT};
use std::collections::BTreeMap;
use std::ops::Range;

/// A batch on its way out.
pub type FetchPiece<D> = AnswerPiece<D>;

/// See the module.
pub struct Gathered<D: Disk> {
    /// By slot, in the order in which slots were first served.
    queues: Vec<(FetchedQueueT, Vec<FetchPiece<D>>)>,
    by_slot: BTreeMap<u32, usize>,
    bytes: usize,
    messages: u64,
    failed: bool,
}

impl<D: Disk> Default for Gathered<D> {
    fn default() -> Self {
        Self {
            queues: Vec::new(),
            by_slot: BTreeMap::new(),
            bytes: 0,
            messages: 0,
            failed: false,
        }
    }
}

impl<D: Disk> Gathered<D> {
    /// Payload so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages in the batches so far, before filters.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether a slot has an error to be told.
    pub fn has_error(&self) -> bool {
        self.failed
    }

    /// A turn was read; `pieces` may be fewer than the batches.
    pub fn add(&mut self, slot: u32, read: &ReadBatches<D>, pieces: Vec<(u64, FetchPiece<D>)>) {
        self.bytes += pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>();
        let batches = read.batches.iter();
        self.messages += batches
            .map(|batch| u64::from(batch.header.record_count))
            .sum::<u64>();
        let (queue, payload) = self.queue(slot);
        queue.next_offset = read.next_offset.0;
        queue.min_offset = read.min_offset.0;
        queue.visible_offset = read.visible_offset.0;
        let batches = queue.batches.get_or_insert_default();
        for (position, piece) in pieces {
            let length = piece.len() as u32;
            batches.push(FetchedBatchT { position, length });
            payload.push(piece);
        }
    }

    /// The slot cannot be served; `offset` is where it stands, `kept` what the queue holds, as far as that is known.
    pub fn fail(
        &mut self,
        slot: u32,
        offset: QueueOffset,
        kept: Range<QueueOffset>,
        refusal: &Refusal,
    ) {
        self.failed = true;
        let (queue, _) = self.queue(slot);
        // A queue that was deleted meanwhile holds nothing, but what was read of it before stands in this answer.
        queue.min_offset = queue.min_offset.max(kept.start.0);
        queue.visible_offset = queue.visible_offset.max(kept.end.0);
        queue.error = refusal.code.number();
        queue.message = Some(refusal.message.clone());
        queue.next_offset = if refusal.next_offset > 0 {
            refusal.next_offset
        } else {
            offset.0
        };
    }

    /// The answer's header and its payload, in the same order.
    pub fn finish(self, session: u32) -> (FetchResponseT, Vec<FetchPiece<D>>) {
        let mut payload = Vec::new();
        let mut queues = Vec::with_capacity(self.queues.len());
        for (queue, pieces) in self.queues {
            queues.push(queue);
            payload.extend(pieces);
        }
        let response = FetchResponseT {
            session,
            queues: Some(queues),
        };
        (response, payload)
    }

    fn queue(&mut self, slot: u32) -> &mut (FetchedQueueT, Vec<FetchPiece<D>>) {
        let new = self.queues.len();
        let index = *self.by_slot.entry(slot).or_insert(new);
        if index == new {
            let queue = FetchedQueueT {
                slot,
                ..FetchedQueueT::default()
            };
            self.queues.push((queue, Vec::new()));
        }
        &mut self.queues[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_storage_engine::disk::sim::SimDisk;
    use ringmq_wire::codes::ErrorCode;

    /// Found by the simulation, seed 7201: such an answer said that none of its messages was visible.
    #[test]
    fn a_queue_deleted_between_two_turns_keeps_what_the_first_one_said() {
        let mut gathered = Gathered::<SimDisk>::default();
        let read = ReadBatches {
            batches: Vec::new(),
            next_offset: QueueOffset(6),
            min_offset: QueueOffset(2),
            visible_offset: QueueOffset(7),
        };
        gathered.add(1, &read, Vec::new());
        let gone = Refusal::new(ErrorCode::TopicNotFound, "the topic was deleted");
        gathered.fail(1, QueueOffset(6), Range::default(), &gone);
        let (response, _) = gathered.finish(0);
        let queue = &response.queues.expect("one")[0];
        assert_eq!(queue.error, ErrorCode::TopicNotFound.number());
        let offsets = (queue.min_offset, queue.next_offset, queue.visible_offset);
        assert_eq!(offsets, (2, 6, 7));
    }
}
