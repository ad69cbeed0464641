//! One shard on a glommio executor, in a directory that goes with the test.

use ringmq_broker::limits::Limits;
use ringmq_broker::metrics::ShardMetrics;
use ringmq_broker::node::{
    NodeHandle, NodeIdentity, SHARD_MAILBOX_MAX, ShardCommand, ShardLink, ShardSeat, reply,
    shard_name,
};
use ringmq_broker::runtime::{NodePlan, Running, ShardPlan, listen, start};
use ringmq_broker::shard::ShardSettings;
use ringmq_storage_engine::store::StoreOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Broker {
    pub address: SocketAddr,
    mailbox: flume::Sender<ShardCommand>,
    running: Option<Running>,
    directory: PathBuf,
    store: StoreOptions,
    _home: Option<TempDir>,
}

impl Broker {
    pub fn new() -> Self {
        Self::with(Limits::DEFAULT)
    }

    pub fn with(limits: Limits) -> Self {
        let store = StoreOptions {
            segment_bytes: 64 << 20,
            ..StoreOptions::default()
        };
        Self::with_store(limits, store)
    }

    pub fn with_store(limits: Limits, store: StoreOptions) -> Self {
        // Not the system's temporary directory: that may be a tmpfs, which has no direct IO.
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let mut broker = Self::open(home.path().to_owned(), limits, store);
        broker._home = Some(home);
        broker
    }

    fn open(directory: PathBuf, limits: Limits, store: StoreOptions) -> Self {
        let listener = listen(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (mailbox, commands) = flume::bounded(SHARD_MAILBOX_MAX);
        let name = shard_name(0, "test");
        let link = ShardLink {
            name: name.clone(),
            address: address.to_string(),
            mailbox: mailbox.clone(),
        };
        let identity = NodeIdentity {
            cluster: "test".to_owned(),
            node: "test".to_owned(),
            directory_id: 1,
            epoch: 1,
            auto_create: false,
            auto_create_queues: 1,
        };
        // Nobody registers anything in these tests.
        let (node, _) = NodeHandle::new(identity, vec![link]);
        let shard = ShardPlan {
            seat: ShardSeat {
                index: 0,
                name,
                listener,
                second: None,
                commands,
            },
            directory: directory.clone(),
            settings: ShardSettings::new("test", "test", 0, limits),
            store: store.clone(),
        };
        let running = start(NodePlan {
            node,
            shards: vec![shard],
            executors: 1,
            pinned: false,
            io_memory_bytes: 64 << 10,
        })
        .expect("the shard starts");
        Self {
            address,
            mailbox,
            running: Some(running),
            directory,
            store,
            _home: None,
        }
    }

    pub fn metrics(&self) -> ShardMetrics {
        let (reply, answer) = reply();
        self.mailbox
            .send(ShardCommand::Metrics { reply })
            .expect("the shard lives");
        *answer
            .recv_timeout(Duration::from_secs(10))
            .expect("the shard answers")
    }

    pub fn set_writable(&self, writable: bool) {
        self.mailbox
            .send(ShardCommand::SetWritable(writable))
            .expect("the shard lives");
        // Commands are handled in order: once this is answered, that is done.
        self.metrics();
    }

    /// Waits until the numbers are as wanted.
    pub fn wait_for(&self, what: &str, condition: impl Fn(&ShardMetrics) -> bool) -> ShardMetrics {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let metrics = self.metrics();
            if condition(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < deadline, "{what} never: {metrics:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A clean stop; the answer says whether the store agrees.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(running) = self.running.take() else {
            return Ok(());
        };
        let (reply, answer) = reply();
        self.mailbox
            .send(ShardCommand::Stop { reply })
            .map_err(|error| error.to_string())?;
        let stopped = answer
            .recv_timeout(Duration::from_secs(30))
            .map_err(|error| error.to_string())?;
        running.join()?;
        stopped
    }

    /// Stops and opens the same directory again.
    pub fn restart(mut self, limits: Limits) -> Self {
        self.stop().expect("a clean stop");
        let mut again = Self::open(self.directory.clone(), limits, self.store.clone());
        again._home = self._home.take();
        again
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let stopped = self.stop();
        if !std::thread::panicking() {
            stopped.expect("a clean stop");
        }
    }
}
