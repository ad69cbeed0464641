//! Batches that are in the log and not yet on disk, in log order: answered when the durable frontier passes them.
//!
//! A task a request would do the same. This is one place in a queue a request, and one wake-up a frame of the log.

use super::budget::Permit;
use super::link::Link;
use super::remoting::Sending;
use crate::handler::Refusal;
use crate::shard::Shard;
use crate::shard::counters::Counters;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::{self, flags, schema::ProduceResponseT};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// One answer to come. It counts as a request of its connection until it is given.
pub struct Acknowledgement<D: Disk> {
    /// What must be durable before it.
    pub end: Position,
    pub link: Rc<Link<D>>,
    pub answer: Awaited<D>,
    /// The request, among the connection's unanswered ones.
    pub slot: Permit,
    /// Its bytes, if they count until it is answered.
    pub bytes: Option<Permit>,
}

/// What is answered, by protocol.
pub enum Awaited<D: Disk> {
    Native {
        correlation_id: u64,
        response: ProduceResponseT,
    },
    Remoting(Sending<D>),
}

/// Those of one shard. Bounded by the permits that they hold.
pub struct Acknowledgements<D: Disk> {
    waiting: RefCell<VecDeque<Acknowledgement<D>>>,
}

impl<D: Disk> Default for Acknowledgements<D> {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
        }
    }
}

impl<D: Disk> Acknowledgement<D> {
    fn stored(self, counters: &Counters) {
        match self.answer {
            Awaited::Native {
                correlation_id: id,
                response,
            } => {
                let pack = |b: &mut _| response.pack(b);
                let frame = native::encode(Kind::Produce, flags::RESPONSE, id, 0, pack);
                self.link.answer(frame);
            }
            Awaited::Remoting(sending) => sending.stored(&self.link, counters),
        }
        done(&self.link, self.slot, self.bytes);
    }

    fn refused(self, counters: &Counters, refusal: &Refusal) {
        match self.answer {
            Awaited::Native { correlation_id, .. } => {
                counters.refusal(refusal.code);
                let kind = Kind::Produce.number();
                self.link.refuse(kind, correlation_id, refusal);
            }
            Awaited::Remoting(sending) => sending.refused(&self.link, counters, refusal),
        }
        done(&self.link, self.slot, self.bytes);
    }
}

fn done<D: Disk>(link: &Link<D>, slot: Permit, bytes: Option<Permit>) {
    drop((slot, bytes));
    link.request_done();
}

impl<D: Disk> Acknowledgements<D> {
    /// Puts one in line behind all others: what it waits for is not before what they wait for.
    pub fn push<R: Runtime>(&self, shard: &Shard<D, R>, acknowledgement: Acknowledgement<D>) {
        self.waiting.borrow_mut().push_back(acknowledgement);
        if self.waiting.borrow().len() == 1 {
            let shard = shard.clone();
            // A new task may run before `spawn` returns: nothing is borrowed here.
            shard
                .runtime()
                .clone()
                .spawn(async move { run(&shard).await });
        }
    }

    fn first_end(&self) -> Option<Position> {
        self.waiting.borrow().front().map(|first| first.end)
    }

    /// The first one, if it waits for `durable` or less.
    fn take(&self, durable: Position) -> Option<Acknowledgement<D>> {
        let mut waiting = self.waiting.borrow_mut();
        let is_durable = waiting.front()?.end <= durable;
        if is_durable {
            waiting.pop_front()
        } else {
            None
        }
    }
}

/// Answers until nothing waits any more.
async fn run<D: Disk, R: Runtime>(shard: &Shard<D, R>) {
    let (store, waiting) = (shard.store(), shard.acknowledgements());
    while let Some(end) = waiting.first_end() {
        let Err(stopped) = store.durable(end).await else {
            let durable = store.frontiers().durable;
            while let Some(acknowledgement) = waiting.take(durable) {
                acknowledgement.stored(shard.counters());
            }
            continue;
        };
        let refusal = Refusal::from(stopped);
        // The log never goes on: whoever waits for more than this one waits in vain as well.
        while let Some(acknowledgement) = waiting.take(Position(u64::MAX)) {
            acknowledgement.refused(shard.counters(), &refusal);
        }
    }
}
