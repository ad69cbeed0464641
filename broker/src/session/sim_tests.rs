//! Whole connections on the simulated machine: the reader, the session and the shard that serve sockets, between
//! pipes that deliver any number of bytes at a time, on a disk whose power is cut at random effect points.
//!
//! Idempotent producers send numbered messages, five batches in flight, and repeat what was not acknowledged in the
//! next life. At the end each queue holds every producer's messages once and in order, every acknowledged batch is
//! where its answer said, and whatever a consumer ever saw is still there.

use super::link::{Link, Phase};
use super::native::Session;
use super::reader::{Reader, Source};
use super::serve::Connection;
use super::source::Receive;
use crate::handler::topic_create;
use crate::limits::Limits;
use crate::node::{NodeHandle, ShardCommand};
use crate::shard::{Shard, ShardSettings};
use crate::state::ShardState;
use crate::state::tests::with_seeds;
use futures_lite::future::poll_fn;
use ringmq_storage_engine::disk::sim::{CrashPolicy, SimDisk, SimDiskOptions};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{Store, StoreOptions};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, BatchView, Record};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self, Decoded, FRAME_PREFIX_BYTES, FramePrefix, PREFACE, flags};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

const QUEUES: u32 = 2;
const PRODUCERS: u64 = 3;
const BATCHES: usize = 30;
const IN_FLIGHT: usize = 5;
const LIVES: u64 = 4;
const SEEDS: u64 = 60;

type SimShard = Shard<SimDisk, SimRuntime>;

/// Bytes in one direction.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    waker: Cell<Option<Waker>>,
}

impl Pipe {
    fn write(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend(bytes);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for bytes, and takes at most `most`.
    async fn read(&self, most: usize) -> Vec<u8> {
        poll_fn(|cx| {
            let mut bytes = self.bytes.borrow_mut();
            if bytes.is_empty() {
                self.waker.set(Some(cx.waker().clone()));
                return Poll::Pending;
            }
            let count = most.min(bytes.len());
            Poll::Ready(bytes.drain(..count).collect())
        })
        .await
    }
}

struct PipeSource {
    pipe: Rc<Pipe>,
    runtime: SimRuntime,
}

impl Source for PipeSource {
    async fn receive<S: Receive>(&self, session: &RefCell<S>) -> io::Result<usize> {
        let most = 1 + self.runtime.random_u64() as usize % 700;
        let room = session.borrow_mut().unfilled().len();
        let bytes = self.pipe.read(most.min(room)).await;
        session.borrow_mut().unfilled()[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    async fn breathe(&self) {
        self.runtime.yield_now().await;
    }
}

/// The client's end of a connection.
struct Peer {
    to_shard: Rc<Pipe>,
    from_shard: Rc<Pipe>,
    received: Vec<u8>,
    next_id: u64,
}

impl Peer {
    async fn connect(shard: &SimShard) -> Self {
        let (to_shard, from_shard) = (Rc::<Pipe>::default(), Rc::<Pipe>::default());
        let runtime = shard.runtime().clone();
        let link = Rc::new(Link::new(shard));
        runtime.spawn(send(
            Rc::clone(&link),
            Rc::clone(&from_shard),
            runtime.clone(),
        ));
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = Connection::new(shard.clone(), Rc::clone(&link), 1, peer);
        let session = Rc::new(RefCell::new(Session::new(*shard.limits(), 0)));
        let source = PipeSource {
            pipe: Rc::clone(&to_shard),
            runtime: runtime.clone(),
        };
        let mut reader = Reader::new(shard.clone(), session, link, connection, source, true);
        runtime.spawn(async move {
            reader.run().await;
        });
        let mut client = Self {
            to_shard,
            from_shard,
            received: Vec::new(),
            next_id: 0,
        };
        client.to_shard.write(&PREFACE);
        let hello = HelloRequestT {
            version_min: 1,
            version_max: 1,
            client_id: "sim".to_owned(),
            ..HelloRequestT::default()
        };
        client.send(&[], |id| {
            native::encode(Kind::Hello, 0, id, 0, |b| hello.pack(b))
        });
        let (prefix, ..) = client.receive().await;
        assert_eq!(prefix.flags & flags::ERROR, 0);
        client
    }

    /// Sends the frame that `encode` makes for the given correlation id.
    fn send(&mut self, payload: &[u8], encode: impl FnOnce(u64) -> Vec<u8>) {
        self.next_id += 1;
        let mut frame = encode(self.next_id);
        frame.extend_from_slice(payload);
        self.to_shard.write(&frame);
    }

    async fn receive(&mut self) -> (FramePrefix, Vec<u8>, Vec<u8>) {
        loop {
            if let Ok(Decoded::Ready(prefix)) = native::decode(&self.received)
                && self.received.len() >= prefix.frame_bytes
            {
                let frame: Vec<u8> = self.received.drain(..prefix.frame_bytes).collect();
                let header = frame[prefix.header_range()].to_vec();
                return (prefix, header, frame[prefix.payload_range()].to_vec());
            }
            assert!(self.received.len() < FRAME_PREFIX_BYTES + (1 << 20));
            let bytes = self.from_shard.read(1 << 16).await;
            self.received.extend(bytes);
        }
    }
}

/// The writer of a connection: takes any number of bytes at a time.
async fn send(link: Rc<Link<SimDisk>>, pipe: Rc<Pipe>, runtime: SimRuntime) {
    while poll_fn(|cx| link.poll_work(cx)).await == Phase::Open {
        let most = 1 + runtime.random_u64() as usize % 900;
        let bytes: Vec<u8> = link.with_outbox(|outbox| {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = outbox.next_slices(&mut slices, usize::MAX);
            let all = slices[..used].iter().flat_map(|slice| slice.iter());
            all.take(most).copied().collect()
        });
        link.sent(bytes.len());
        pipe.write(&bytes);
        runtime.yield_now().await;
    }
}

/// What the outside knows for certain.
#[derive(Default)]
struct Known {
    /// Batches of each producer, in order, that are acknowledged.
    acknowledged: BTreeMap<u64, usize>,
    /// (queue, offset) to body: acknowledged or seen by a consumer.
    messages: BTreeMap<(u32, u64), Vec<u8>>,
    seen: usize,
    duplicates: usize,
}

impl Known {
    fn message(&mut self, queue: u32, offset: u64, body: &[u8]) {
        let earlier = self
            .messages
            .entry((queue, offset))
            .or_insert_with(|| body.to_vec());
        assert_eq!(earlier, body, "queue {queue}, offset {offset} changed");
    }
}

fn body(producer: u64, batch: usize, message: usize) -> Vec<u8> {
    format!("producer {producer} batch {batch:03} message {message}").into_bytes()
}

fn messages(batch: usize) -> usize {
    1 + batch % 3
}

fn encode_batch(producer: u64, batch: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for message in 0..messages(batch) {
        let body = body(producer, batch, message);
        let record = Record {
            born_time_ms: 1,
            keys: &[],
            tag: "",
            properties: &[],
            envelope: None,
            body: &body,
        };
        builder.push(&record).expect("carryable");
    }
    let options = BatchOptions {
        producer_id: producer,
        base_sequence: (0..batch).map(messages).sum::<usize>() as u32,
        ..BatchOptions::default()
    };
    builder.finish(&options).expect("small")
}

async fn produce(shard: SimShard, producer: u64, known: Rc<RefCell<Known>>) {
    let queue = (producer % u64::from(QUEUES)) as u32;
    let mut peer = Peer::connect(&shard).await;
    let acknowledged = known.borrow().acknowledged.get(&producer).copied();
    let mut next = acknowledged.unwrap_or(0);
    let mut open = VecDeque::new();
    while next < BATCHES || !open.is_empty() {
        while next < BATCHES && open.len() < IN_FLIGHT {
            let batch = encode_batch(producer, next);
            let request = ProduceRequestT {
                topic: "orders".to_owned(),
                queue,
                ..ProduceRequestT::default()
            };
            peer.send(&batch, |id| {
                native::encode(Kind::Produce, 0, id, batch.len(), |b| request.pack(b))
            });
            open.push_back((peer.next_id, next));
            next += 1;
        }
        let (prefix, header, _) = peer.receive().await;
        assert_eq!(prefix.flags & flags::ERROR, 0, "{}", error_of(&header));
        let at = open.iter().position(|(id, _)| *id == prefix.correlation_id);
        let (_, batch) = open.remove(at.expect("asked")).expect("there");
        let response = native::header::<ProduceResponse>(&header).expect("a table");
        let mut known = known.borrow_mut();
        known.duplicates += usize::from(response.duplicate());
        for message in 0..messages(batch) {
            let offset = response.base_offset() + message as u64;
            known.message(queue, offset, &body(producer, batch, message));
        }
        // Only a gapless run of acknowledged batches may be skipped in the next life.
        let first_open = open.iter().map(|(_, batch)| *batch).min();
        *known.acknowledged.entry(producer).or_default() = first_open.unwrap_or(next);
    }
}

fn error_of(header: &[u8]) -> String {
    native::header::<ErrorResponse>(header).map_or_else(
        |error| error.to_string(),
        |error| {
            let code = ErrorCode::from_number(error.code());
            format!("{code:?} {:?}", error.message())
        },
    )
}

/// Reads all queues until every message was seen.
async fn consume(shard: SimShard, known: Rc<RefCell<Known>>) -> BTreeMap<u32, Vec<Vec<u8>>> {
    let mut peer = Peer::connect(&shard).await;
    let mut got: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let expected = PRODUCERS as usize * (0..BATCHES).map(messages).sum::<usize>();
    let mut request = FetchRequestT {
        add: Some(
            (0..QUEUES)
                .map(|queue| FetchAddT {
                    slot: queue,
                    topic: "orders".to_owned(),
                    queue,
                    ..FetchAddT::default()
                })
                .collect(),
        ),
        max_wait_ms: 1000,
        max_bytes: 1500,
        ..FetchRequestT::default()
    };
    while got.values().map(Vec::len).sum::<usize>() < expected {
        peer.send(&[], |id| {
            native::encode(Kind::Fetch, 0, id, 0, |b| request.pack(b))
        });
        let (prefix, header, payload) = peer.receive().await;
        assert_eq!(prefix.flags & flags::ERROR, 0, "{}", error_of(&header));
        let response = native::header::<FetchResponse>(&header).expect("a table");
        request = FetchRequestT {
            session: response.session(),
            add: None,
            ..request
        };
        let mut rest = &payload[..];
        for queue in response.queues().iter().flatten() {
            assert_eq!(queue.error(), 0, "{:?}", queue.message());
            for batch in queue.batches().iter().flatten() {
                let (bytes, behind) = rest.split_at(batch.length() as usize);
                rest = behind;
                let of_queue = got.entry(queue.slot()).or_default();
                take(queue.slot(), bytes, of_queue, &known);
            }
        }
    }
    got
}

fn take(queue: u32, bytes: &[u8], of_queue: &mut Vec<Vec<u8>>, known: &Rc<RefCell<Known>>) {
    let view = BatchView::parse_placed(bytes).expect("as stored");
    let section = view.section().expect("plain");
    for record in view.records(&section) {
        let record = record.expect("whole");
        let offset = view.header().base_offset + u64::from(record.offset_delta);
        assert_eq!(offset, of_queue.len() as u64, "nothing lost, nothing twice");
        let mut known = known.borrow_mut();
        known.message(queue, offset, record.body);
        known.seen += 1;
        of_queue.push(record.body.to_vec());
    }
}

async fn open(disk: SimDisk, runtime: SimRuntime) -> (SimShard, flume::Receiver<ShardCommand>) {
    let state = ShardState::default();
    let options = StoreOptions::test_min();
    let store = Store::open(disk, runtime.clone(), options, state).await;
    let store = store.expect("the store opens");
    assert_eq!(store.with_state(|state| state.defect().cloned()), None);
    let (node, mailbox) = NodeHandle::detached("a");
    let settings = ShardSettings::new("test", "a", 0, Limits::TEST_MIN);
    let shard = Shard::new(settings, store, runtime, node);
    let topic = TopicRecordT {
        name: "orders".to_owned(),
        incarnation_low: 7,
        queues: QUEUES,
        placement: Some(vec![shard.name().to_owned()]),
        ..TopicRecordT::default()
    };
    let created = topic_create::create_share(&shard, topic).await;
    created.expect("made, or there already");
    (shard, mailbox)
}

/// One life: until everything is produced and consumed, or the power is cut.
async fn live(disk: SimDisk, runtime: SimRuntime, known: Rc<RefCell<Known>>) {
    let (shard, _mailbox) = open(disk, runtime.clone()).await;
    for producer in 1..=PRODUCERS {
        runtime.spawn(produce(shard.clone(), producer, Rc::clone(&known)));
    }
    let got = consume(shard.clone(), Rc::clone(&known)).await;
    for producer in 1..=PRODUCERS {
        let queue = (producer % u64::from(QUEUES)) as u32;
        let prefix = format!("producer {producer} ").into_bytes();
        let of_producer = got[&queue].iter().filter(|body| body.starts_with(&prefix));
        let expected = (0..BATCHES).flat_map(|batch| {
            (0..messages(batch)).map(move |message| body(producer, batch, message))
        });
        assert!(of_producer.cloned().eq(expected), "once and in order");
    }
    for ((queue, offset), body) in &known.borrow().messages {
        assert_eq!(&got[queue][*offset as usize], body);
    }
    // Every answer is sent and every wait is over: nothing is counted any more.
    while shard.received_budget().used() + shard.unsent_budget().used() > 0 {
        runtime.sleep(Duration::from_millis(1)).await;
    }
    shard.store().stop().await.expect("stopped");
}

/// Returns how many lives were cut short, and how many repeated batches were told to be duplicates.
fn run(seed: u64) -> (usize, usize) {
    let executor = SimExecutor::new(seed);
    // Several times what a life takes: a message that never comes must not cost minutes.
    executor.set_poll_budget(1_000_000);
    let runtime = executor.runtime();
    let mut random = SeededRandom::new(seed, "cuts");
    let known = Rc::new(RefCell::new(Known::default()));
    let mut disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let mut cuts = 0;
    for life in 0..LIVES {
        if life + 1 < LIVES {
            disk.crash_at(disk.effects() + random.below(120));
        }
        let ended = executor.run(live(disk.clone(), runtime.clone(), Rc::clone(&known)));
        if disk.has_crashed() {
            cuts += 1;
        } else {
            ended.expect("without a crash the life ends by itself");
        }
        executor.abort_all();
        let policies = CrashPolicy::ALL;
        disk = disk.crash_onto(&runtime, policies[random.index(policies.len())], seed);
    }
    let duplicates = known.borrow().duplicates;
    (cuts, duplicates)
}

#[test]
fn nothing_is_lost_repeated_reordered_or_undone_by_power_cuts() {
    let total = Cell::new((0, 0));
    with_seeds(SEEDS, |random| {
        let (cuts, duplicates) = run(random.next());
        let (all_cuts, all_duplicates) = total.get();
        total.set((all_cuts + cuts, all_duplicates + duplicates));
    });
    let (cuts, duplicates) = total.get();
    assert!(
        cuts > 0 && duplicates > 0,
        "{cuts} cuts, {duplicates} duplicates"
    );
}

#[test]
fn equal_seeds_give_equal_runs() {
    let hash = |seed| {
        let executor = SimExecutor::new(seed);
        let runtime = executor.runtime();
        let disk = SimDisk::new(&runtime, SimDiskOptions::default());
        let life = live(disk, runtime, Rc::default());
        executor.run(life).expect("no crash");
        executor.trace_hash()
    };
    assert_eq!(hash(11), hash(11));
    assert_ne!(hash(11), hash(12));
}
