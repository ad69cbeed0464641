//! Whether a batch is appended: the idempotence rules.
//!
//! Known per (queue, producer): epoch, next sequence, the results of the last five batches. A producer has at most
//! five batches to a queue unanswered, so the result of whatever it may repeat is known; a client that breaks that
//! rule may be told `DuplicateForgotten`, never gets a batch stored twice. A producer that wrote nothing for seven
//! days of log time, or the longest silent ones above the cap, are forgotten by a record, never silently.
//! A batch with producer id 0 is always appended.

use super::entries::{Producer, ProducerKey, StoredResult};
use super::{Refuse, ShardState};
use ringmq_storage_engine::mark;
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_wire::batch::{BatchHeader, FLAG_SPARSE};
use ringmq_wire::codes::ErrorCode;

/// What to do with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Produce {
    /// Append it at this offset; if `evict` is not empty, append `ProducersEvict(evict)` first.
    Append {
        base_offset: QueueOffset,
        evict: Vec<ProducerKey>,
    },
    /// It is stored already: answer with this, once durable has passed `position`.
    Duplicate {
        base_offset: QueueOffset,
        position: Position,
        store_time_ms: i64,
    },
    Refuse(Refuse),
}

/// Decides on a batch whose structure and checksum were verified. `store_time_ms`: the log's time now.
pub fn decide(
    state: &ShardState,
    handle: QueueHandle,
    header: &BatchHeader,
    store_time_ms: i64,
) -> Produce {
    let Some(queue) = state.queue(handle) else {
        return refuse(ErrorCode::QueueNotFound, "the queue is gone", 0, 0);
    };
    if header.flags & FLAG_SPARSE != 0 {
        return refuse(
            ErrorCode::BadBatch,
            "a batch to store must not have gaps in its offset deltas",
            0,
            0,
        );
    }
    let append = |evict| Produce::Append {
        base_offset: queue.next_offset,
        evict,
    };
    if header.producer_id == 0 {
        return append(Vec::new());
    }
    match state.producer(handle, header.producer_id) {
        None if header.base_sequence == 0 => append(evictions(state, store_time_ms)),
        None => refuse(
            ErrorCode::UnknownProducer,
            "nothing is known of this producer in this queue; what it sent before may be stored",
            header.producer_epoch,
            0,
        ),
        Some(producer) => match known(producer, header) {
            Known::Next => append(Vec::new()),
            Known::Duplicate(result) => {
                mark!("verdict: a repeated batch gets its first answer");
                Produce::Duplicate {
                    base_offset: result.base_offset,
                    position: result.position,
                    store_time_ms: result.store_time_ms,
                }
            }
            Known::Refuse(code, message) => {
                refuse(code, message, producer.epoch, producer.next_sequence)
            }
        },
    }
}

enum Known {
    Next,
    Duplicate(StoredResult),
    Refuse(ErrorCode, &'static str),
}

fn known(producer: &Producer, header: &BatchHeader) -> Known {
    if header.producer_epoch < producer.epoch {
        return Known::Refuse(
            ErrorCode::StaleEpoch,
            "a newer epoch of this producer wrote to this queue",
        );
    }
    if header.producer_epoch > producer.epoch {
        return if header.base_sequence == 0 {
            Known::Next
        } else {
            Known::Refuse(
                ErrorCode::OutOfOrderSequence,
                "a new epoch must start with sequence 0",
            )
        };
    }
    if header.base_sequence == producer.next_sequence {
        return Known::Next;
    }
    let same = |result: &&StoredResult| {
        result.base_sequence == header.base_sequence && result.record_count == header.record_count
    };
    if let Some(&result) = producer.results().iter().rev().find(same) {
        return Known::Duplicate(result);
    }
    // Sequences wrap: half of their range lies before the next one.
    let before = producer.next_sequence.wrapping_sub(header.base_sequence);
    if before > u32::MAX / 2 {
        return Known::Refuse(
            ErrorCode::OutOfOrderSequence,
            "an earlier batch of this producer is missing",
        );
    }
    let oldest = producer.results().first().map(|r| r.base_sequence);
    let is_remembered =
        oldest.is_some_and(|oldest| before <= producer.next_sequence.wrapping_sub(oldest));
    if is_remembered || header.record_count > before {
        return Known::Refuse(
            ErrorCode::OutOfOrderSequence,
            "overlaps stored batches without being one of them; a repeated batch must be unchanged",
        );
    }
    mark!("verdict: a repeated batch is known, its answer is not");
    Known::Refuse(
        ErrorCode::DuplicateForgotten,
        "stored before, but its result is no longer known",
    )
}

fn refuse(code: ErrorCode, message: &str, epoch: u32, sequence: u32) -> Produce {
    Produce::Refuse(Refuse {
        epoch,
        sequence,
        ..Refuse::new(code, message)
    })
}

/// Producers to forget before another one is taken in: a bounded number of those silent for too long, and as many
/// of the longest silent as keep the table under its cap.
pub fn evictions(state: &ShardState, store_time_ms: i64) -> Vec<ProducerKey> {
    let limits = state.limits();
    let over = (state.producers.len() + 1).saturating_sub(limits.producers_max);
    let oldest_ms = store_time_ms.saturating_sub(limits.producer_idle_ms_max);
    let is_idle = |key: &ProducerKey| {
        let producer = state.producers.get(key);
        producer.is_some_and(|producer| producer.last().store_time_ms < oldest_ms)
    };
    // At the cap, forget a batch of them, so that not every new producer costs a record.
    let forced = if over > 0 {
        over.max(limits.evict_batch)
    } else {
        0
    };
    let most = forced.max(limits.evict_batch);
    let by_age = state.producer_order.values().take(most).enumerate();
    by_age
        .take_while(|&(index, key)| index < forced || is_idle(key))
        .map(|(_, &key)| key)
        .collect()
}
