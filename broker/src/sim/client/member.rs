//! A simulated member of a consumer group: joins at the node of queue 0's home, takes the leases of its share of the
//! queues, reads by fetch sessions, commits. Now and then it falls silent for longer than its leases.

use super::connection::{Connection, Failure};
use super::routes::{Route, Routes};
use crate::sim::draw::Draw;
use crate::sim::message::Message;
use crate::sim::oracle::QueueId;
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::batch::BatchView;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native;
use ringmq_wire::native::schema::*;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TERM_MS: u32 = 3_000;

/// Who reads what.
#[derive(Debug, Clone)]
pub struct MemberPlan {
    pub topic: String,
    pub group: String,
    pub name: String,
}

/// The group that reads a topic.
pub fn group_of(topic: &str) -> String {
    format!("g-{topic}")
}

struct Member {
    world: Rc<World>,
    plan: MemberPlan,
    draw: Draw,
    routes: Routes,
}

/// A queue that is read under a lease.
struct Owned {
    queue: u32,
    lease: u64,
    next: u64,
    /// As far as is committed.
    committed: u64,
    /// Not to be read any more: lost, gone, or of another incarnation.
    over: bool,
}

/// Reads until the run is over.
pub async fn run(world: Rc<World>, plan: MemberPlan, draw: Draw) {
    let mut routes_draw = draw.clone();
    routes_draw.next();
    let mut member = Member {
        routes: Routes::new(&world, &plan.topic, &plan.name, routes_draw),
        world: Rc::clone(&world),
        plan,
        draw,
    };
    while !world.is_over() {
        if let Err(failure) = member.round().await {
            world.tell(|| format!("member {}: {failure}", member.plan.name));
            let wait = member.draw.millis(20, 300);
            world.runtime.sleep(wait).await;
        }
    }
}

impl Member {
    async fn round(&mut self) -> Result<(), Failure> {
        let Some(route) = self.routes.find().await? else {
            return Err(Failure::Lost);
        };
        let members = self.join(&route).await?;
        let mine = members.iter().position(|member| *member == self.plan.name);
        let mine = mine.ok_or(Failure::Lost)?;
        // By shard: what is this member's, and what is not (any more).
        let mut by_shard: BTreeMap<String, [Vec<u32>; 2]> = BTreeMap::new();
        for queue in 0..route.queues {
            if let Some(address) = route.address_of(queue) {
                let others = usize::from(queue as usize % members.len() != mine);
                by_shard.entry(address.to_owned()).or_default()[others].push(queue);
            }
        }
        if by_shard.values().all(|[mine, _]| mine.is_empty()) {
            let wait = self.draw.millis(50, 500);
            self.world.runtime.sleep(wait).await;
        }
        for (address, [mine, others]) in by_shard {
            let mut connection = self.open(&address).await?;
            self.release(&mut connection, &others).await?;
            if !mine.is_empty() {
                self.read_share(connection, &route, &mine).await?;
            }
        }
        Ok(())
    }

    async fn open(&self, address: &str) -> Result<Connection, Failure> {
        let runtime = &self.world.runtime;
        Connection::open(&self.world, runtime, address, &self.plan.name).await
    }

    async fn join(&mut self, route: &Route) -> Result<Vec<String>, Failure> {
        // Queue 0's home, or the next queue's if it is down.
        let home = (0..route.queues).find_map(|queue| route.address_of(queue));
        let mut connection = self.open(home.ok_or(Failure::Lost)?).await?;
        let request = GroupJoinRequestT {
            group: self.plan.group.clone(),
            member: self.plan.name.clone(),
            session_timeout_ms: TERM_MS,
            ..GroupJoinRequestT::default()
        };
        let frame = connection
            .call(|id| native::encode(Kind::GroupJoin, 0, id, 0, |b| request.pack(b)))
            .await?;
        let response = native::header::<GroupJoinResponse>(&frame.header);
        let response = response.expect("a table").unpack();
        let members = response.members.unwrap_or_default().into_iter();
        let members: Vec<String> = members.map(|member| member.member).collect();
        assert!(members.is_sorted() && members.contains(&self.plan.name));
        Ok(members)
    }

    async fn read_share(
        &mut self,
        mut connection: Connection,
        route: &Route,
        queues: &[u32],
    ) -> Result<(), Failure> {
        let mut owned = self.acquire(&mut connection, route, queues).await?;
        let mut session = 0;
        for _ in 0..self.draw.between(1, 8) {
            if owned.iter().all(|queue| queue.over) || self.world.is_over() {
                break;
            }
            session = self
                .fetch(&mut connection, route, &mut owned, session)
                .await?;
            if self.draw.one_in(40) && !self.world.is_settling() {
                // Silent for longer than the lease, then as if nothing had happened.
                self.world.runtime.sleep(Duration::from_millis(3_500)).await;
            }
            if self.draw.coin() {
                self.commit(&mut connection, route, &mut owned).await?;
            }
            if self.draw.one_in(3) {
                self.heartbeat(&mut connection).await?;
            }
        }
        self.commit(&mut connection, route, &mut owned).await?;
        if self.draw.coin() {
            self.release(&mut connection, queues).await?;
        }
        Ok(())
    }

    async fn acquire(
        &mut self,
        connection: &mut Connection,
        route: &Route,
        queues: &[u32],
    ) -> Result<Vec<Owned>, Failure> {
        let incarnation = route.incarnation;
        let group = self.plan.group.clone();
        let asked: Vec<_> = {
            let mut oracle = self.world.oracle.borrow_mut();
            let ids = queues.iter().map(|queue| (incarnation, *queue));
            ids.map(|id| oracle.place_asked(&group, id)).collect()
        };
        let request = LeaseAcquireRequestT {
            group: group.clone(),
            member: self.plan.name.clone(),
            topic: self.plan.topic.clone(),
            queues: Some(queues.to_vec()),
            term_ms: TERM_MS,
        };
        let frame = connection
            .call(|id| native::encode(Kind::LeaseAcquire, 0, id, 0, |b| request.pack(b)))
            .await?;
        let response = native::header::<LeaseAcquireResponse>(&frame.header);
        let leases = response
            .expect("a table")
            .unpack()
            .leases
            .unwrap_or_default();
        let mut owned = Vec::new();
        // The request names no incarnation: with one of several of that name, nothing is known for certain.
        let certain = !self.world.oracle.borrow().may_be_deleted(incarnation);
        for (lease, asked) in leases.iter().zip(asked) {
            let error = ErrorCode::from_number(lease.error);
            if lease.error != 0 {
                let expected = matches!(
                    error,
                    Some(ErrorCode::LeaseHeld | ErrorCode::QueueNotFound | ErrorCode::WrongShard)
                );
                assert!(expected, "a lease is refused: {error:?}");
                continue;
            }
            let id: QueueId = (incarnation, lease.queue);
            if certain {
                let mut oracle = self.world.oracle.borrow_mut();
                let committed = lease.committed.then_some(lease.offset);
                oracle.placed(&group, id, asked, committed);
                oracle.leased(&group, id, lease.lease);
            }
            let next = if lease.committed { lease.offset } else { 0 };
            owned.push(Owned {
                queue: lease.queue,
                lease: lease.lease,
                next,
                committed: next,
                over: false,
            });
        }
        Ok(owned)
    }

    async fn fetch(
        &mut self,
        connection: &mut Connection,
        route: &Route,
        owned: &mut [Owned],
        session: u32,
    ) -> Result<u32, Failure> {
        let adds = owned
            .iter()
            .filter(|queue| !queue.over)
            .map(|queue| FetchAddT {
                slot: queue.queue,
                topic: self.plan.topic.clone(),
                queue: queue.queue,
                offset: queue.next,
                ..FetchAddT::default()
            });
        let request = FetchRequestT {
            session,
            add: (session == 0).then(|| adds.collect()),
            max_wait_ms: self.draw.between(0, 400) as u32,
            min_bytes: 1,
            max_bytes: self.draw.between(500, 20_000) as u32,
            ..FetchRequestT::default()
        };
        let frame = connection
            .call(|id| native::encode(Kind::Fetch, 0, id, 0, |b| request.pack(b)))
            .await?;
        let response = native::header::<FetchResponse>(&frame.header);
        let response = response.expect("a table").unpack();
        let mut rest = &frame.payload[..];
        let mut moved = false;
        for queue in response.queues.unwrap_or_default() {
            let place = owned.iter_mut().find(|owned| owned.queue == queue.slot);
            let place = place.expect("a queue of the session");
            for batch in queue.batches.unwrap_or_default() {
                let (bytes, behind) = rest.split_at(batch.length as usize);
                rest = behind;
                let seen = messages(&self.world, bytes);
                for (offset, message) in seen {
                    if offset < place.next {
                        continue;
                    }
                    assert_eq!(offset, place.next, "offsets have no holes");
                    assert!(offset < queue.visible_offset, "{offset} is not visible yet");
                    place.next = offset + 1;
                    // A deleted topic may have been made again under the session's feet.
                    if let Some(incarnation) = self.incarnation_of(route, queue.slot) {
                        let mut oracle = self.world.oracle.borrow_mut();
                        oracle.seen((incarnation, queue.slot), offset, message);
                    }
                }
            }
            if queue.error != 0 {
                let (code, text) = (queue.error, queue.message.as_deref());
                moved |= self.take_error(code, text, queue.next_offset, route, place);
            }
        }
        assert!(rest.is_empty(), "a payload that no queue names");
        // A slot with an error is paused: the next session begins anew.
        Ok(if moved { 0 } else { response.session })
    }

    /// The incarnation that an answer without one is about, if it is certain.
    fn incarnation_of(&self, route: &Route, _queue: u32) -> Option<u64> {
        let oracle = self.world.oracle.borrow();
        let of_name = oracle
            .topics()
            .filter(|(_, topic)| topic.name == self.plan.topic);
        (of_name.count() == 1).then_some(route.incarnation)
    }

    /// True: the queue goes on somewhere else.
    fn take_error(
        &self,
        error: u16,
        message: Option<&str>,
        next_offset: u64,
        route: &Route,
        place: &mut Owned,
    ) -> bool {
        place.over = true;
        let code = ErrorCode::from_number(error).expect("a registered code");
        let (topic, queue) = (&self.plan.topic, place.queue);
        self.world
            .tell(|| format!("{topic}/{queue} cannot be read: {code:?} {message:?}"));
        let deleting = self.world.oracle.borrow().may_be_deleted(route.incarnation);
        let named_twice = self.incarnation_of(route, queue).is_none();
        let expected = match code {
            // Reads that the disk refused, once or again: for a shard that is no different from a bad sector. What is
            // there is read once more when nothing breaks any longer.
            ErrorCode::Internal | ErrorCode::Corrupt => !self.world.plan.every.disk_fault.is_zero(),
            ErrorCode::TopicNotFound | ErrorCode::QueueNotFound => deleting || named_twice,
            ErrorCode::OffsetOutOfRange => self.world.plan.retention || deleting || named_twice,
            _ => false,
        };
        assert!(
            expected,
            "{topic}/{queue} from {}: {code:?} {message:?}",
            place.next
        );
        // Retention was faster than the group: on from where there is something.
        let moves = code == ErrorCode::OffsetOutOfRange && next_offset > place.next;
        if moves {
            place.over = false;
            place.next = next_offset;
        }
        moves
    }

    async fn commit(
        &mut self,
        connection: &mut Connection,
        route: &Route,
        owned: &mut [Owned],
    ) -> Result<(), Failure> {
        let group = self.plan.group.clone();
        let moved: Vec<&mut Owned> = owned
            .iter_mut()
            .filter(|queue| queue.next > queue.committed)
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        let commits = moved.iter().map(|queue| OffsetCommitT {
            topic: self.plan.topic.clone(),
            queue: queue.queue,
            offset: queue.next,
            lease: queue.lease,
        });
        let request = OffsetCommitRequestT {
            group: group.clone(),
            member: Some(self.plan.name.clone()),
            commits: Some(commits.collect()),
        };
        let asked: Vec<_> = {
            let mut oracle = self.world.oracle.borrow_mut();
            let ids = moved.iter().map(|queue| (route.incarnation, queue.queue));
            ids.map(|id| oracle.commit_asked(&group, id)).collect()
        };
        let frame = connection
            .call(|id| native::encode(Kind::OffsetCommit, 0, id, 0, |b| request.pack(b)))
            .await?;
        let response = native::header::<OffsetCommitResponse>(&frame.header);
        let errors = response
            .expect("a table")
            .unpack()
            .errors
            .unwrap_or_default();
        for ((queue, asked), error) in moved.into_iter().zip(asked).zip(errors) {
            match ErrorCode::from_number(error) {
                None => {
                    queue.committed = queue.next;
                    if self.incarnation_of(route, queue.queue).is_some() {
                        let mut oracle = self.world.oracle.borrow_mut();
                        let id = (route.incarnation, queue.queue);
                        oracle.committed(&group, id, asked, queue.lease, queue.next);
                    }
                }
                Some(ErrorCode::LeaseLost) => queue.over = true,
                Some(code) => {
                    let deleting = self.world.oracle.borrow().may_be_deleted(route.incarnation);
                    let named_twice = self.incarnation_of(route, queue.queue).is_none();
                    assert!(deleting || named_twice, "a commit is refused: {code:?}");
                    queue.over = true;
                }
            }
        }
        Ok(())
    }

    async fn heartbeat(&mut self, connection: &mut Connection) -> Result<(), Failure> {
        let request = GroupHeartbeatRequestT {
            group: self.plan.group.clone(),
            member: self.plan.name.clone(),
        };
        let beat = connection
            .call(|id| native::encode(Kind::GroupHeartbeat, 0, id, 0, |b| request.pack(b)))
            .await;
        match beat {
            // Joined at another node: the leases here are renewed all the same.
            Err(failure) if failure.code() == Some(ErrorCode::UnknownMember) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn release(
        &mut self,
        connection: &mut Connection,
        queues: &[u32],
    ) -> Result<(), Failure> {
        let request = LeaseReleaseRequestT {
            group: self.plan.group.clone(),
            member: self.plan.name.clone(),
            topic: self.plan.topic.clone(),
            queues: Some(queues.to_vec()),
        };
        connection
            .call(|id| native::encode(Kind::LeaseRelease, 0, id, 0, |b| request.pack(b)))
            .await
            .map(|_| ())
    }
}

/// The messages of a stored batch with their offsets. Every byte is checked.
pub fn messages(world: &World, bytes: &[u8]) -> Vec<(u64, Message)> {
    let view = BatchView::parse_placed(bytes).expect("a batch as stored");
    let section = view.section().expect("not compressed");
    let plan = &world.plan;
    view.records(&section)
        .map(|record| {
            let record = record.expect("a record as sent");
            let message = Message::parse(record.body, plan.seed, plan.body_bytes_max);
            let offset = view.header().base_offset + u64::from(record.offset_delta);
            (offset, message.expect("a body that somebody sent"))
        })
        .collect()
}
