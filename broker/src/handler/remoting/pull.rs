//! 11, 361: a consumer reads a queue. A pull that finds nothing new may be held until there is something.
//!
//! ```text
//!  offset < min        21, go on at min          offset = end    19, or held
//!  offset > end        21, go on at the end      between         0 with messages, or 20: none matched, go on behind
//! ```

use super::delivered::Place;
use super::pulled::{Pulled, Status};
use super::subscription::{Filter, Want};
use super::{Caller, Refused, update_offset};
use crate::handler::records::range;
use crate::session::budget::{Budget, Permit};
use crate::shard::Shard;
use crate::shard::held::Hold;
use crate::shard::traffic::GroupRead;
use crate::state::offsets::QueueRange;
use futures_lite::future::{or, poll_fn};
use ringmq_storage_engine::position::{Position, QueueHandle, QueueOffset};
use ringmq_storage_engine::store::{ReadError, ReadLimits, StoredBatch};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::{BatchError, BatchView};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;
use std::time::Duration;

/// Messages of one answer at most, whatever is asked for.
const MESSAGES_MAX: usize = 32;
/// Bytes of one answer, unless its first message is larger.
const ANSWER_BYTES_MAX: usize = 256 << 10;
/// How long an answer may wait for room.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// Reads for one answer while nothing matches.
const READS_MAX: usize = 4;

/// Answers; `None`: the connection is gone. `slot` is given up while the pull is held: pulls that wait must not keep
/// a client's other requests out.
pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    unsent: &Budget,
    slot: Permit,
    want: Want,
) -> Result<Option<Pulled>, Refused> {
    let mut slot = Some(slot);
    let filter = want.check(shard).await?;
    let handle = want.queue(shard)?;
    let is_reset = shard.with_resets(|resets| resets.holds(&want.group, handle));
    if let Some(offset) = want.commit.filter(|_| !is_reset) {
        // Only bookkeeping: what is wrong with it must not keep the messages back.
        let _ = update_offset::later(shard, &want.group, handle, offset);
    }
    let deadline = want.suspend.map(|suspend| shard.now() + suspend);
    let mut offset = want.offset;
    loop {
        let range = shard.with_state(|state| range(shard, state, handle));
        let reset = shard.with_resets(|resets| resets.take(&want.group, handle));
        if let Some(next) = reset.filter(|next| u64::try_from(offset) != Ok(next.0)) {
            return Ok(Some(Pulled::empty(Status::Reset, next, range)));
        }
        if let Some(status) = outside(offset, range) {
            let moved = QueueOffset(u64::try_from(offset).unwrap_or(0)) != want.first();
            let status = if moved && status == Status::AtEnd {
                // While it was held, messages came that did not match.
                Status::NoneMatched
            } else {
                status
            };
            if !status.may_wait(moved) || !hold(shard, caller, handle, deadline, &mut slot).await {
                let next = status.next(offset, range);
                return Ok(Some(Pulled::empty(status, next, range)));
            }
            if caller.is_closed() {
                return Ok(None);
            }
            continue;
        }
        let mut permit = room(shard, unsent).await?;
        let from = QueueOffset(offset as u64);
        let began = shard.now();
        let read = match gather(shard, caller, &want, &filter, handle, from).await {
            Ok(read) => read,
            // Retention was faster: look again.
            Err(Failure::Moved) => continue,
            Err(Failure::Refused(refused)) => return Err(refused),
        };
        permit.resize(read.body.len());
        if read.messages > 0 {
            let counted = GroupRead {
                queue: want.queue_id,
                next: read.next.0,
                messages: read.messages,
                bytes: read.body.len() as u64,
                took: shard.now() - began,
            };
            shard.count_read(counted.messages, counted.bytes);
            shard.with_traffic(|traffic, clock| {
                traffic.read_by(clock, &want.topic, &want.group, counted);
            });
            return Ok(Some(Pulled::found(read.body, permit, read.next, range)));
        }
        if deadline.is_none() || slot.is_some() {
            return Ok(Some(Pulled::empty(Status::NoneMatched, read.next, range)));
        }
        // It was held already: what does not match does not end that.
        offset = read.next.0 as i64;
    }
}

/// Waits for room for an answer, as long as RocketMQ lets a pull wait for its turn.
async fn room<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    unsent: &Budget,
) -> Result<Permit, Refused> {
    let granted = async { Some(unsent.acquire(ANSWER_BYTES_MAX).await) };
    let late = async {
        shard.runtime().sleep(ROOM_WAIT).await;
        None
    };
    or(granted, late).await.ok_or_else(|| {
        let remark = format!(
            "{} has too many answers that clients do not take",
            shard.name()
        );
        Refused::new(response_code::SYSTEM_BUSY, remark)
    })
}

/// Where the offset stands if nothing can be read there.
fn outside(offset: i64, range: QueueRange) -> Option<Status> {
    let Ok(offset) = u64::try_from(offset) else {
        return Some(Status::TooSmall);
    };
    match QueueOffset(offset) {
        _ if range.visible.0 == 0 => Some(Status::Empty(offset == 0)),
        offset if offset < range.min => Some(Status::TooSmall),
        offset if offset == range.visible => Some(Status::AtEnd),
        offset if offset > range.visible => Some(Status::TooLarge),
        _ => None,
    }
}

/// Waits for a message of the queue; false: not allowed, or the time is over.
async fn hold<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    handle: QueueHandle,
    deadline: Option<Duration>,
    slot: &mut Option<Permit>,
) -> bool {
    let Some(deadline) = deadline else {
        return false;
    };
    let left = deadline.saturating_sub(shard.now());
    if left.is_zero() || shard.is_stopping() {
        return false;
    }
    let Some(hold) = Hold::new(shard, handle, caller.number()) else {
        return false;
    };
    drop(slot.take());
    let woken = async {
        poll_fn(|cx| hold.poll(cx)).await;
        true
    };
    let timed_out = async {
        shard.runtime().sleep(left).await;
        false
    };
    or(woken, timed_out).await
}

struct Gathered {
    body: Vec<u8>,
    messages: u64,
    /// Behind the last message that was looked at.
    next: QueueOffset,
}

enum Failure {
    Moved,
    Refused(Refused),
}

async fn gather<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    want: &Want,
    filter: &Filter,
    handle: QueueHandle,
    from: QueueOffset,
) -> Result<Gathered, Failure> {
    let place = Place {
        topic: &want.topic,
        queue_id: want.queue_id,
        store_host: caller.store_host(),
    };
    let limits = ReadLimits {
        max_bytes: ANSWER_BYTES_MAX,
        ..ReadLimits::default()
    };
    let mut gathered = Gathered {
        body: Vec::new(),
        messages: 0,
        next: from,
    };
    for _ in 0..READS_MAX {
        let read = match shard.store().read(handle, gathered.next, limits).await {
            Ok(read) => read,
            Err(ReadError::OffsetOutOfRange { .. }) => return Err(Failure::Moved),
            Err(error) => return Err(Failure::Refused(error.into())),
        };
        for batch in &read.batches {
            let full = gathered
                .take(
                    shard,
                    batch,
                    place,
                    filter,
                    want.messages_max.min(MESSAGES_MAX),
                )
                .map_err(|cause| Failure::Refused(damaged(batch.position, &cause)))?;
            if full {
                return Ok(gathered);
            }
        }
        if gathered.messages > 0 || gathered.next >= read.visible_offset {
            break;
        }
    }
    Ok(gathered)
}

fn damaged(position: Position, cause: &str) -> Refused {
    let remark = format!("the stored batch at position {position} cannot be read: {cause}");
    Refused::new(response_code::SYSTEM_ERROR, remark)
}

impl Gathered {
    /// Takes what matches; true: the answer is full.
    fn take<D: Disk, R: Runtime>(
        &mut self,
        shard: &Shard<D, R>,
        batch: &StoredBatch<D>,
        place: Place<'_>,
        filter: &Filter,
        messages_max: usize,
    ) -> Result<bool, String> {
        let text = |error: BatchError| error.to_string();
        let view = BatchView::parse_unverified(&batch.bytes).map_err(text)?;
        if !view.tags_codes().any(|code| filter.wants(code)) {
            self.next = QueueOffset(batch.header.next_offset());
            return Ok(false);
        }
        let section = shard.section(batch.position, &view).map_err(text)?;
        let records = view.records(&section).zip(view.tags_codes());
        for (index, (record, code)) in (0u64..).zip(records) {
            let record = record.map_err(text)?;
            let offset = batch.header.base_offset + u64::from(record.offset_delta);
            if offset < self.next.0 {
                continue;
            }
            if filter.wants(code) {
                let room = ANSWER_BYTES_MAX.saturating_sub(self.body.len());
                if self.messages > 0 && record.body.len() > room {
                    return Ok(true);
                }
                let position = Position(batch.position.0 + index);
                place
                    .encode(&mut self.body, &batch.header, position, &record)
                    .map_err(|error| error.to_string())?;
                self.messages += 1;
            }
            self.next = QueueOffset(offset + 1);
            if self.messages as usize >= messages_max || self.body.len() >= ANSWER_BYTES_MAX {
                return Ok(true);
            }
        }
        self.next = QueueOffset(batch.header.next_offset());
        Ok(false)
    }
}
