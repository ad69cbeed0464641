//! A shard on a simulated machine, and peers that are connected to it by pipes.

use futures_lite::future::poll_fn;
use ringmq_broker::handler::topic_create;
use ringmq_broker::limits::Limits;
use ringmq_broker::node::{NodeHandle, ShardCommand};
use ringmq_broker::session::link::{Link, Phase};
use ringmq_broker::session::native::Session;
use ringmq_broker::session::reader::Reader;
use ringmq_broker::session::serve::Connection;
use ringmq_broker::session::source::{Receive, Source};
use ringmq_broker::shard::{Shard, ShardSettings};
use ringmq_broker::state::ShardState;
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{Store, StoreOptions};
use ringmq_wire::native::schema::TopicRecordT;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

type SimShard = Shard<SimDisk, SimRuntime>;

/// One machine with one shard.
pub struct Machine {
    executor: SimExecutor,
    shard: SimShard,
    _mailbox: flume::Receiver<ShardCommand>,
}

impl Machine {
    /// With a topic `orders` of two queues.
    pub fn start(seed: u16) -> Self {
        let executor = SimExecutor::new(u64::from(seed));
        executor.set_poll_budget(2_000_000);
        let runtime = executor.runtime();
        let disk = SimDisk::new(&runtime, SimDiskOptions::default());
        let opening = runtime.clone();
        let opened = executor.run(async move {
            let options = StoreOptions::test_min();
            let store = Store::open(disk, opening.clone(), options, ShardState::default()).await;
            let (node, mailbox) = NodeHandle::detached("a");
            let settings = ShardSettings::new("test", "a", 0, Limits::TEST_MIN);
            let shard = Shard::new(settings, store.expect("an empty disk"), opening, node);
            let topic = TopicRecordT {
                name: "orders".to_owned(),
                incarnation_low: 7,
                queues: 2,
                placement: Some(vec![shard.name().to_owned()]),
                ..TopicRecordT::default()
            };
            let created = topic_create::create_share(&shard, topic).await;
            created.expect("there is room");
            (shard, mailbox)
        });
        let (shard, mailbox) = opened.expect("it opens");
        Self {
            executor,
            shard,
            _mailbox: mailbox,
        }
    }

    /// Lets time pass.
    pub fn wait(&self, time: Duration) {
        self.executor.advance(time).expect("nothing runs for ever");
    }

    /// Nothing that the peers were given is kept, and the shard serves.
    pub fn ends_well(&self) {
        // Longer than any wait or timeout of a request.
        self.wait(Duration::from_secs(120));
        let used = self.shard.received_budget().used() + self.shard.unsent_budget().used();
        assert_eq!(
            used, 0,
            "bytes of connections that are gone are still counted"
        );
        let store = self.shard.store();
        assert!(store.health().is_writable(), "{:?}", store.health());
        assert_eq!(self.shard.with_state(|state| state.defect().cloned()), None);
        let stopping = store.clone();
        let stopped = self.executor.run(async move { stopping.stop().await });
        stopped.expect("it ends").expect("no fault");
    }
}

/// Bytes in one direction.
#[derive(Default)]
struct Pipe {
    bytes: RefCell<VecDeque<u8>>,
    closed: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Pipe {
    fn write(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend(bytes);
        self.wake();
    }

    fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// At most `most` bytes; none at the end.
    async fn read(&self, most: usize) -> Vec<u8> {
        poll_fn(|cx| {
            let mut bytes = self.bytes.borrow_mut();
            if bytes.is_empty() && !self.closed.get() {
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

/// The other end of a connection.
pub struct Peer {
    to_shard: Rc<Pipe>,
    from_shard: Rc<Pipe>,
    link: Rc<Link<SimDisk>>,
}

impl Peer {
    pub fn open(machine: &Machine) -> Self {
        let shard = &machine.shard;
        let runtime = machine.executor.runtime();
        let (to_shard, from_shard) = (Rc::<Pipe>::default(), Rc::<Pipe>::default());
        let link = Rc::new(Link::new(shard));
        runtime.spawn(send(
            Rc::clone(&link),
            Rc::clone(&from_shard),
            runtime.clone(),
        ));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let connection = Connection::new(shard.clone(), Rc::clone(&link), 1, address);
        let session = Rc::new(RefCell::new(Session::new(*shard.limits(), 0)));
        let source = PipeSource {
            pipe: Rc::clone(&to_shard),
            runtime: runtime.clone(),
        };
        let served = Rc::clone(&link);
        let mut reader = Reader::new(
            shard.clone(),
            session,
            Rc::clone(&link),
            connection,
            source,
            true,
        );
        runtime.spawn(async move {
            reader.run().await;
            reader.connection.closed();
            served.drain();
        });
        Self {
            to_shard,
            from_shard,
            link,
        }
    }

    pub fn send(&self, bytes: &[u8]) {
        self.to_shard.write(bytes);
    }

    /// Takes what was answered.
    pub fn read(&self) {
        self.from_shard.bytes.borrow_mut().clear();
    }

    /// Goes away, as a socket that was reset.
    pub fn close(self) {
        self.to_shard.close();
        self.link.kill();
    }
}

/// The writing side: takes any number of bytes at a time.
async fn send(link: Rc<Link<SimDisk>>, pipe: Rc<Pipe>, runtime: SimRuntime) {
    while poll_fn(|cx| link.poll_work(cx)).await != Phase::Dead {
        let most = 1 + runtime.random_u64() as usize % 900;
        let bytes: Vec<u8> = link.with_outbox(|outbox| {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = outbox.next_slices(&mut slices, most);
            let all = slices[..used].iter().flat_map(|slice| slice.iter());
            all.copied().collect()
        });
        if bytes.is_empty() {
            return;
        }
        link.sent(bytes.len());
        pipe.write(&bytes);
        runtime.yield_now().await;
    }
}
