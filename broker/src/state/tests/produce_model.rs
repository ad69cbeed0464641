//! Idempotent producers over a network that loses, repeats and reorders, against a shard that crashes.
//!
//! Oracle: in each queue, each producer epoch's sequences are stored once, in order, without gaps; whatever was
//! acknowledged is stored where the answer said.

use super::world::{Logged, World, batch};
use super::{Random, with_seeds};
use crate::state::StateLimits;
use crate::state::produce::{Produce, decide};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::BatchHeader;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::PRODUCER_IN_FLIGHT_MAX;
use std::collections::BTreeMap;

type Acked = bool;

/// One producer writing to one queue.
struct Sender {
    id: u64,
    epoch: u32,
    handle: QueueHandle,
    /// Sent, in order, from the oldest that is not acknowledged on: at most five. Counting only those without an
    /// acknowledgement is not enough; the oldest could be forgotten while later ones come and go.
    window: Vec<(BatchHeader, Acked)>,
    next_sequence: u32,
}

impl Sender {
    fn unacked(&self) -> impl Iterator<Item = BatchHeader> + '_ {
        let unacked = self.window.iter().filter(|(_, acked)| !acked);
        unacked.map(|&(header, _)| header)
    }

    fn ack(&mut self, header: &BatchHeader) {
        for (sent, acked) in &mut self.window {
            *acked |= sent == header;
        }
        while self.window.first().is_some_and(|&(_, acked)| acked) {
            self.window.remove(0);
        }
    }
}

/// An answer that waits until durable has passed `position`.
struct Answer {
    sender: usize,
    header: BatchHeader,
    base_offset: QueueOffset,
    position: Position,
}

type AckKey = (u64, u32, QueueHandle, u32);

struct Model {
    world: World,
    senders: Vec<Sender>,
    network: Vec<(usize, BatchHeader)>,
    answers: Vec<Answer>,
    durable: Position,
    acked: BTreeMap<AckKey, (Position, QueueOffset)>,
}

impl Model {
    fn new(random: &mut Random) -> Self {
        let mut world = World::new(StateLimits::default());
        let handles = world.topic("orders", 2);
        let senders = (0..1 + random.below(4) as u64).flat_map(|id| {
            handles.clone().into_iter().map(move |handle| Sender {
                id: id + 1,
                epoch: 0,
                handle,
                window: Vec::new(),
                next_sequence: 0,
            })
        });
        Self {
            durable: world.end,
            senders: senders.collect(),
            world,
            network: Vec::new(),
            answers: Vec::new(),
            acked: BTreeMap::new(),
        }
    }

    /// A sender sends something new, repeats what is unacknowledged, or starts over with a new epoch.
    fn send(&mut self, random: &mut Random) {
        let index = random.below(self.senders.len());
        let sender = &mut self.senders[index];
        if random.percent(2) {
            sender.epoch += 1;
            sender.next_sequence = 0;
            sender.window.clear();
        }
        if sender.window.len() < PRODUCER_IN_FLIGHT_MAX && random.percent(60) {
            let count = 1 + random.below(3) as u32;
            let header = batch(sender.id, sender.epoch, sender.next_sequence, count);
            sender.next_sequence += count;
            sender.window.push((header, false));
            self.network.push((index, header));
        } else {
            self.network
                .extend(sender.unacked().map(|header| (index, header)));
        }
    }

    /// Takes one request off the network; sometimes it stays for another time, sometimes it is lost.
    fn deliver(&mut self, random: &mut Random) {
        if self.network.is_empty() {
            return;
        }
        let at = if random.percent(70) {
            0
        } else {
            random.below(self.network.len())
        };
        let (index, header) = self.network[at];
        if random.percent(90) {
            self.network.remove(at);
        }
        if random.percent(10) {
            return;
        }
        let handle = self.senders[index].handle;
        let world = &mut self.world;
        let (base_offset, position) =
            match decide(&world.state, handle, &header, world.store_time_ms) {
                Produce::Append { base_offset, evict } => {
                    assert!(evict.is_empty());
                    (base_offset, world.batch(handle, header))
                }
                Produce::Duplicate {
                    base_offset,
                    position,
                    ..
                } => (base_offset, position),
                Produce::Refuse(refuse) => {
                    self.check_refusal(index, &header, refuse.code);
                    return;
                }
            };
        self.answers.push(Answer {
            sender: index,
            header,
            base_offset,
            position,
        });
    }

    /// Within the rules a sender is never told that something was forgotten while it still waits for it.
    fn check_refusal(&self, index: usize, header: &BatchHeader, code: ErrorCode) {
        let sender = &self.senders[index];
        let waits = sender.unacked().any(|unacked| unacked == *header);
        match code {
            ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducer => {
                assert!(header.base_sequence > 0);
                // Something before it is still on its way.
                let oldest = sender.unacked().next().map(|first| first.base_sequence);
                assert!(!waits || oldest.is_some_and(|oldest| oldest < header.base_sequence));
            }
            ErrorCode::StaleEpoch => assert!(header.producer_epoch < sender.epoch),
            ErrorCode::DuplicateForgotten => assert!(!waits),
            other => panic!("no reason for {other:?}"),
        }
    }

    /// Durable moves on; answers up to it go out, or get lost.
    fn harden(&mut self, random: &mut Random) {
        let ends = self.world.log.iter().map(|(position, _)| *position);
        let ends: Vec<Position> = ends.chain([self.world.end]).collect();
        let ahead: Vec<Position> = ends.into_iter().filter(|end| *end > self.durable).collect();
        if let Some(&durable) = random.pick(&ahead) {
            self.durable = durable;
        }
        let durable = self.durable;
        let waiting = std::mem::take(&mut self.answers);
        let (ready, waiting) = waiting
            .into_iter()
            .partition(|answer| answer.position < durable);
        self.answers = waiting;
        let ready: Vec<Answer> = ready;
        for answer in ready {
            let sender = &mut self.senders[answer.sender];
            let header = &answer.header;
            let key = (
                sender.id,
                header.producer_epoch,
                sender.handle,
                header.base_sequence,
            );
            let told = (answer.position, answer.base_offset);
            assert_eq!(*self.acked.entry(key).or_insert(told), told);
            if random.percent(80) {
                sender.ack(header);
            }
        }
    }

    fn crash(&mut self, random: &mut Random) {
        let ends = self.world.log.iter().map(|(position, _)| *position);
        let kept: Vec<Position> = ends
            .chain([self.world.end])
            .filter(|end| *end >= self.durable)
            .collect();
        let end = *random.pick(&kept).expect("the end is at or above durable");
        self.answers.clear();
        if random.percent(50) {
            self.network.clear();
        }
        self.world.crash(end);
        self.durable = end;
    }

    fn check(&self) {
        let mut next: BTreeMap<(u64, QueueHandle), (u32, u32)> = BTreeMap::new();
        let mut stored: BTreeMap<AckKey, (Position, QueueOffset)> = BTreeMap::new();
        let mut next_offset: BTreeMap<QueueHandle, u64> = BTreeMap::new();
        for (position, logged) in &self.world.log {
            let Logged::Batch(header) = logged else {
                continue;
            };
            let handle = QueueHandle(header.queue_handle);
            let expected = next.entry((header.producer_id, handle)).or_insert((0, 0));
            if header.producer_epoch > expected.0 {
                *expected = (header.producer_epoch, 0);
            }
            assert_eq!((header.producer_epoch, header.base_sequence), *expected);
            expected.1 += header.record_count;
            let queue_next = next_offset.entry(handle).or_insert(0);
            assert_eq!(header.base_offset, *queue_next);
            *queue_next += u64::from(header.record_count);
            let key = (
                header.producer_id,
                header.producer_epoch,
                handle,
                header.base_sequence,
            );
            stored.insert(key, (*position, QueueOffset(header.base_offset)));
        }
        for (key, told) in &self.acked {
            assert_eq!(stored.get(key), Some(told), "acknowledged, so stored there");
        }
    }

    /// The network heals: everything unacknowledged gets through.
    fn settle(&mut self) {
        self.network.clear();
        self.answers.clear();
        for index in 0..self.senders.len() {
            let sender = &self.senders[index];
            for header in sender.unacked().collect::<Vec<_>>() {
                let handle = sender.handle;
                let time = self.world.store_time_ms;
                match decide(&self.world.state, handle, &header, time) {
                    Produce::Append { .. } => {
                        self.world.batch(handle, header);
                    }
                    Produce::Duplicate { .. } => {}
                    Produce::Refuse(refuse) => panic!("cannot settle: {refuse:?}"),
                }
            }
        }
    }
}

#[test]
fn every_sequence_is_stored_once_and_in_order() {
    with_seeds(300, |random| {
        let mut model = Model::new(random);
        for _ in 0..300 {
            model.world.store_time_ms += random.below(3) as i64;
            match random.below(100) {
                0..30 => model.send(random),
                30..75 => model.deliver(random),
                75..98 => model.harden(random),
                _ => model.crash(random),
            }
        }
        model.check();
        model.settle();
        model.check();
    });
}
