//! What a fetch request changes in its session.

use super::answer::Gathered;
use super::{Fetch, Wants};
use crate::handler::Refusal;
use crate::handler::filter::wanted_codes;
use crate::handler::produce::queue_here;
use crate::handler::records::topic;
use crate::session::budget::Permit;
use crate::session::link::{FetchBusy, Link};
use crate::shard::Shard;
use crate::shard::fetch::{SessionId, SlotError, Subscription};
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::QueueOffset;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::FETCH_REQUESTS_MAX;
use ringmq_wire::native::schema::{FetchAdd, FetchRequest};
use std::rc::Rc;

/// Tags of one slot.
const TAGS_MAX: usize = 256;

/// A fetch whose turn may still have to come.
pub struct Claim {
    session: SessionId,
    busy: FetchBusy,
}

impl Claim {
    /// The turn, if no earlier fetch of the session is being served.
    pub fn try_turn(&self) -> Option<Permit> {
        self.busy.try_turn()
    }

    /// Waits for the turn.
    pub async fn turn(&self) -> Permit {
        self.busy.turn().await
    }
}

/// Opens the session, or claims a place in it.
pub fn claim<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    link: &Link<D>,
    request: &FetchRequest<'_>,
) -> Result<Claim, Refusal> {
    let session = match request.session() {
        0 => open(shard, link)?,
        number => SessionId(number),
    };
    match link.fetch_claim(session) {
        None => {
            let message = format!("fetch session {} is not of this connection", session.0);
            Err(Refusal::new(ErrorCode::UnknownSession, message))
        }
        Some(None) => {
            let message = format!(
                "{FETCH_REQUESTS_MAX} fetches of session {} are unanswered",
                session.0
            );
            Err(Refusal::new(ErrorCode::SessionBusy, message))
        }
        Some(Some(busy)) => Ok(Claim { session, busy }),
    }
}

/// Applies the changes, in the claim's turn. What is wrong with one slot is told for that slot: it is then not added,
/// or as it was. A session that the request closes is gone when this returns: a request behind it finds no slots.
pub fn begin<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    link: &Link<D>,
    claim: Claim,
    turn: Permit,
    request: &FetchRequest<'_>,
) -> Fetch<D> {
    let Claim { session, busy } = claim;
    let mut gathered = Gathered::default();
    let mut failed = |slot, offset, refusal: Refusal| {
        let nothing_known = QueueOffset(0)..QueueOffset(0);
        gathered.fail(slot, QueueOffset(offset), nothing_known, &refusal);
    };
    for slot in request.remove().iter().flatten() {
        // A slot that could not be added is not there either; the client need not know which.
        let _ = shard.with_fetch(|fetch| fetch.remove(session, slot));
    }
    for slot in request.pause().iter().flatten() {
        if let Err(error) = shard.with_fetch(|fetch| fetch.pause(session, slot)) {
            failed(slot, 0, error.into());
        }
    }
    for entry in request.add().iter().flatten() {
        if let Err(refusal) = add(shard, session, &entry) {
            failed(entry.slot(), entry.offset(), refusal);
        }
    }
    for seek in request.seek().iter().flatten() {
        let (slot, offset) = (seek.slot(), QueueOffset(seek.offset()));
        let visible = visible(shard, session, slot);
        let moved = shard.with_fetch(|fetch| fetch.seek(session, slot, offset, visible));
        if let Err(error) = moved {
            failed(slot, offset.0, error.into());
        }
    }
    for slot in request.resume().iter().flatten() {
        let visible = visible(shard, session, slot);
        if let Err(error) = shard.with_fetch(|fetch| fetch.resume(session, slot, visible)) {
            failed(slot, 0, error.into());
        }
    }
    if request.close() {
        link.fetch_closed(session);
        shard.with_fetch(|fetch| fetch.close(session));
    }
    Fetch {
        session,
        busy,
        turn,
        wants: Wants::new(request, shard.limits()),
        gathered,
    }
}

fn open<D: Disk, R: Runtime>(shard: &Shard<D, R>, link: &Link<D>) -> Result<SessionId, Refusal> {
    let max = shard.limits().fetch_sessions_max;
    if link.fetch_sessions() >= max {
        let message = format!("a connection has at most {max} fetch sessions");
        return Err(Refusal::busy(message, 0));
    }
    let session = shard.with_fetch(|fetch| fetch.open());
    link.fetch_opened(session);
    Ok(session)
}

fn add<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    session: SessionId,
    entry: &FetchAdd<'_>,
) -> Result<(), Refusal> {
    let name = entry.topic();
    let queue = shard.with_state(|state| {
        let topic = topic(state, name)?;
        if !topic.settings.readable {
            let message = format!("topic {name} is set not to be read");
            return Err(Refusal::new(ErrorCode::TopicNotReadable, message));
        }
        queue_here(topic, name, entry.queue())
    })?;
    let tags = entry.tags().filter(|tags| !tags.is_empty());
    if tags.is_some_and(|tags| tags.len() > TAGS_MAX) {
        return Err(Refusal::invalid(format!(
            "a slot has at most {TAGS_MAX} tags"
        )));
    }
    let tags = tags.map(|tags| Rc::from(wanted_codes(tags.iter())));
    let subscription = Subscription {
        queue,
        offset: QueueOffset(entry.offset()),
        tags,
    };
    let visible = shard.visible_offset(queue);
    shard
        .with_fetch(|fetch| fetch.add(session, entry.slot(), subscription, visible))
        .map_err(Refusal::from)
}

fn visible<D: Disk, R: Runtime>(shard: &Shard<D, R>, session: SessionId, slot: u32) -> QueueOffset {
    let queue = shard.with_fetch(|fetch| fetch.queue(session, slot));
    queue.map_or(QueueOffset(0), |queue| shard.visible_offset(queue))
}

impl From<SlotError> for Refusal {
    fn from(error: SlotError) -> Self {
        let code = match error {
            SlotError::InUse(_) | SlotError::Unknown(_) => ErrorCode::BadSlot,
            SlotError::TooMany(_) => ErrorCode::Busy,
        };
        Self::new(code, error.to_string())
    }
}
