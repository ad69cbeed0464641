//! Reads every queue from its beginning, as a consumer would, for the last comparison.

use super::chaos::Chaos;
use super::client::connection::Connection;
use super::client::member::messages;
use super::message::Message;
use super::oracle::QueueId;
use super::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::store::LogMode;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native;
use ringmq_wire::native::schema::*;
use std::rc::Rc;
use std::time::Duration;

/// Clients are gone by then.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);

/// A queue as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    queue: QueueId,
    /// The minimum offset.
    first: u64,
    /// From there; `None`: reported as damaged.
    messages: Vec<Option<Message>>,
    /// The shard reported damage in what it replays: the end may be missing.
    read_only: bool,
}

/// Every queue of every topic that must be there.
pub async fn all(world: &Rc<World>, chaos: &Chaos) -> Vec<Scanned> {
    let topics: Vec<_> = {
        let oracle = world.oracle.borrow();
        let live = oracle
            .topics()
            .filter(|(_, topic)| topic.created && !topic.deleting);
        live.map(|(id, topic)| (id, topic.clone())).collect()
    };
    let mut found = Vec::new();
    for (incarnation, topic) in topics {
        for queue in 0..topic.queues {
            let name = topic.shard_of(queue);
            let shards = chaos.nodes.iter().flat_map(|node| node.shards());
            let shard = shards.into_iter().find(|shard| shard.name() == name);
            let shard = shard.unwrap_or_else(|| panic!("{name} is not there"));
            let read_only = shard.store().health().mode == LogMode::ReadOnly;
            let links = shard.node().shards();
            let address = &links[shard.settings().index].address;
            let (first, messages) = read(world, address, &topic.name, queue, read_only).await;
            found.push(Scanned {
                queue: (incarnation, queue),
                first,
                messages,
                read_only,
            });
        }
    }
    found
}

/// Clients of the run may still be leaving, and a shard's connections are limited.
async fn connect(world: &Rc<World>, address: &str) -> Connection {
    let deadline = world.runtime.now() + LEAVE_LIMIT;
    loop {
        match Connection::open(world, &world.runtime, address, "scan").await {
            Ok(connection) => return connection,
            Err(failure) => {
                let full = failure.code() == Some(ErrorCode::Busy);
                let waits = full && world.runtime.now() < deadline;
                assert!(waits, "nothing breaks, but {address} says: {failure}");
                world.runtime.sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn read(
    world: &Rc<World>,
    address: &str,
    topic: &str,
    queue: u32,
    read_only: bool,
) -> (u64, Vec<Option<Message>>) {
    let mut connection = connect(world, address).await;
    let (mut first, mut found) = (0, Vec::new());
    loop {
        let next = first + found.len() as u64;
        let add = FetchAddT {
            slot: queue,
            topic: topic.to_owned(),
            queue,
            offset: next,
            ..FetchAddT::default()
        };
        // A session each: an error pauses its slot.
        let request = FetchRequestT {
            add: Some(vec![add]),
            max_wait_ms: 0,
            max_bytes: 60_000,
            ..FetchRequestT::default()
        };
        let asked =
            connection.call(|id| native::encode(Kind::Fetch, 0, id, 0, |b| request.pack(b)));
        let Ok(frame) = asked.await else {
            // The sessions of a connection are limited.
            connection = connect(world, address).await;
            continue;
        };
        let response = native::header::<FetchResponse>(&frame.header);
        let queues = response
            .expect("a table")
            .unpack()
            .queues
            .unwrap_or_default();
        let Some(answer) = queues.into_iter().next() else {
            // Nothing is there beyond what was read.
            return (first, found);
        };
        let code = ErrorCode::from_number(answer.error);
        if let Some(code) = code {
            let said = answer.message.as_deref().unwrap_or_default();
            world.tell(|| format!("scan of {topic}/{queue} at {next}: {code:?} {said}"));
        }
        match code {
            None => {}
            Some(ErrorCode::OffsetOutOfRange) if found.is_empty() && answer.next_offset > 0 => {
                first = answer.next_offset;
                continue;
            }
            Some(ErrorCode::Corrupt) if answer.next_offset > next => {
                let behind = (answer.next_offset - first) as usize;
                found.resize(behind, None);
                continue;
            }
            // Damage reaches to the end, or the state that a start could replay ends before this topic was made.
            Some(ErrorCode::Corrupt | ErrorCode::OffsetOutOfRange) => return (first, found),
            Some(ErrorCode::TopicNotFound | ErrorCode::QueueNotFound) if read_only => {
                return (first, found);
            }
            Some(code) => panic!("{topic}/{queue} at {next}: {code:?} {:?}", answer.message),
        }
        let mut rest = &frame.payload[..];
        for batch in answer.batches.unwrap_or_default() {
            let (bytes, behind) = rest.split_at(batch.length as usize);
            rest = behind;
            for (offset, message) in messages(world, bytes) {
                let expected = first + found.len() as u64;
                if offset >= expected {
                    assert_eq!(offset, expected, "{topic}/{queue} has a hole");
                    found.push(Some(message));
                }
            }
        }
        if first + found.len() as u64 >= answer.visible_offset {
            return (first, found);
        }
    }
}

impl Scanned {
    /// Compares with what the outside knows.
    pub fn check(&self, world: &World) {
        let all: Option<Vec<Message>> = self.messages.iter().copied().collect();
        let all = all.unwrap_or_else(|| panic!("{:?} is damaged, but nothing was", self.queue));
        assert!(
            self.first == 0 || world.plan.retention,
            "{:?} begins at {}",
            self.queue,
            self.first
        );
        world
            .oracle
            .borrow()
            .check_queue(self.queue, self.first, &all);
    }

    /// Compares with what was there before something was damaged.
    pub fn check_damaged(&self, before: &Self, retention: bool) {
        let queue = self.queue;
        assert_eq!(queue, before.queue);
        for (message, offset) in self.messages.iter().zip(self.first..) {
            let was = offset
                .checked_sub(before.first)
                .and_then(|at| before.messages.get(at as usize));
            match (message, was) {
                (None, _) => {}
                (Some(message), Some(Some(was))) => {
                    assert_eq!(message, was, "wrong bytes at {offset} of {queue:?}");
                }
                (Some(message), _) => panic!("{message} at {offset} of {queue:?} was not there"),
            }
        }
        let (end, was) = (
            self.first + self.messages.len() as u64,
            before.first + before.messages.len() as u64,
        );
        let whole = end == was && (self.first == before.first || retention);
        let reported = self.read_only || self.messages.contains(&None);
        assert!(
            whole || reported,
            "{queue:?} was {}..{was}, is {}..{end}, and nothing is reported",
            before.first,
            self.first
        );
    }
}
