//! A name server and one shard, in memory, for tests of the tools. Enough of the protocol for one topic's life: no disk,
//! no limits, no idempotence, one member a group.
#![allow(dead_code, reason = "each test file uses a part")]

mod requests;
mod state;
mod wire;

use ringmq_namesrv::{Config, Server};
use ringmq_wire::codes::Kind;
use ringmq_wire::native::{encode, schema};
use state::State;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

pub const SHARD: &str = "s00-fake";

/// Runs until dropped.
pub struct Cluster {
    pub name_server: SocketAddr,
    pub shard: SocketAddr,
    pub shared: Arc<Shared>,
    /// Dropped last: its tasks end with it.
    _runtime: Runtime,
}

/// The shard's state, and a bell that rings when it changes.
pub struct Shared {
    pub state: Mutex<State>,
    pub changed: Notify,
}

impl Cluster {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let local = || "127.0.0.1:0".parse().expect("valid");
        let config = Config {
            listen: local(),
            settle_ms: 0,
            ..Config::default()
        };
        let (name_server, shard, shared) = runtime.block_on(async {
            let server = Server::bind(config).await.expect("a free port");
            let name_server = server.local_addr().expect("bound");
            tokio::spawn(server.run(std::future::pending()));
            let listener = TcpListener::bind::<SocketAddr>(local())
                .await
                .expect("a free port");
            let shard = listener.local_addr().expect("bound");
            let shared = Arc::new(Shared {
                state: Mutex::new(State::default()),
                changed: Notify::new(),
            });
            register(name_server, shard, 1, &[]).await;
            tokio::spawn(accept(listener, name_server, shard, shared.clone()));
            (name_server, shard, shared)
        });
        Self {
            name_server,
            shard,
            shared,
            _runtime: runtime,
        }
    }
}

async fn accept(
    listener: TcpListener,
    names: SocketAddr,
    address: SocketAddr,
    shared: Arc<Shared>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("the listener works");
        tokio::spawn(requests::serve(stream, names, address, shared.clone()));
    }
}

/// Registers the whole table anew.
async fn register(
    name_server: SocketAddr,
    shard: SocketAddr,
    version: u64,
    topics: &[schema::TopicRecordT],
) {
    let share = |topic: &schema::TopicRecordT| schema::TopicShareT {
        topic: Box::new(topic.clone()),
    };
    let request = schema::ShardRegisterRequestT {
        cluster: "fake".into(),
        node: "fake".into(),
        shard: SHARD.into(),
        directory_low: 1,
        epoch: 1,
        address: shard.to_string(),
        writable: true,
        heartbeat_timeout_ms: 600_000,
        version,
        shares: Some(topics.iter().map(share).collect()),
        ..Default::default()
    };
    let stream = TcpStream::connect(name_server).await.expect("it listens");
    let mut link = wire::Link::hello(stream).await;
    link.send(&encode(Kind::ShardRegister, 0, 2, 0, |b| request.pack(b)))
        .await;
    let answer = link.read().await.expect("an answer");
    assert_eq!(
        answer.prefix.flags,
        ringmq_wire::native::flags::RESPONSE,
        "registered"
    );
}
