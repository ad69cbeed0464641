//! A native client for tests: blocking on one answer at a time, pushes kept apart.

use ringmq_namesrv::{Config, Server};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::{Decoded, FramePrefix, PREFACE, decode, encode, flags, header, schema};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Nothing in a test may take longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Running {
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub async fn start(config: Config) -> Self {
        let config = Config {
            listen: "127.0.0.1:0".parse().expect("valid"),
            ..config
        };
        let server = Server::bind(config).await.expect("a free port");
        let address = server.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async {
            stopped.await.ok();
        }));
        Self {
            address,
            stop,
            task,
        }
    }

    pub async fn stop(self) {
        self.stop.send(()).expect("running");
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("stops")
            .expect("no panic");
    }
}

pub struct Frame {
    pub prefix: FramePrefix,
    bytes: Vec<u8>,
}

impl Frame {
    pub fn header(&self) -> &[u8] {
        &self.bytes[self.prefix.header_range()]
    }
    pub fn error(&self) -> Option<ErrorCode> {
        if self.prefix.flags & flags::ERROR == 0 {
            return None;
        }
        let error = header::<schema::ErrorResponse>(self.header()).expect("an error table");
        Some(ErrorCode::from_number(error.code()).expect("registered"))
    }
    pub fn watch(&self) -> schema::RouteWatchResponseT {
        assert_eq!(self.error(), None);
        header::<schema::RouteWatchResponse>(self.header())
            .expect("a push")
            .unpack()
    }
}

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    pushes: VecDeque<Frame>,
    last_id: u64,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::connect_silently(address).await;
        let hello = schema::HelloRequestT {
            version_min: 1,
            version_max: 1,
            client_id: "test".into(),
            ..Default::default()
        };
        let frame = client
            .ask(Kind::Hello, |id| {
                encode(Kind::Hello, 0, id, 0, |b| hello.pack(b))
            })
            .await;
        let answer = header::<schema::HelloResponse>(frame.header()).expect("hello");
        assert_eq!(answer.server(), Some("namesrv"));
        client
    }

    /// Without Hello.
    pub async fn connect_silently(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("listening");
        stream.write_all(&PREFACE).await.ok();
        Self {
            stream,
            buffer: Vec::new(),
            pushes: VecDeque::new(),
            last_id: 0,
        }
    }

    /// A connection that the server closed shows when reading.
    pub async fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).await.ok();
    }

    pub async fn ask(&mut self, kind: Kind, frame: impl FnOnce(u64) -> Vec<u8>) -> Frame {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&frame(id)).await;
        loop {
            let answer = self.read().await.expect("an answer");
            if answer.prefix.correlation_id == id {
                assert_eq!(answer.prefix.kind, kind.number());
                return answer;
            }
            self.pushes.push_back(answer);
        }
    }

    /// Opens a watch; its pushes carry the returned id.
    pub async fn watch(&mut self, topics: &[&str], patterns: &[&str]) -> u64 {
        let request = schema::RouteWatchRequestT {
            topics: Some(topics.iter().map(ToString::to_string).collect()),
            patterns: Some(patterns.iter().map(ToString::to_string).collect()),
        };
        self.last_id += 1;
        let id = self.last_id;
        self.send(&encode(Kind::RouteWatch, 0, id, 0, |b| request.pack(b)))
            .await;
        id
    }

    pub async fn next_push(&mut self) -> Frame {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        self.read().await.expect("a push")
    }

    /// Reads pushes until one satisfies `wanted`.
    pub async fn push_where(
        &mut self,
        wanted: impl Fn(&schema::RouteWatchResponseT) -> bool,
    ) -> schema::RouteWatchResponseT {
        loop {
            let push = self.next_push().await.watch();
            if wanted(&push) {
                return push;
            }
        }
    }

    pub async fn register(&mut self, request: &schema::ShardRegisterRequestT) -> Option<ErrorCode> {
        let kind = Kind::ShardRegister;
        self.ask(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
            .await
            .error()
    }

    pub async fn heartbeat(&mut self, of: &schema::ShardRegisterRequestT) -> Option<ErrorCode> {
        let request = schema::ShardHeartbeatRequestT {
            shard: of.shard.clone(),
            directory_low: of.directory_low,
            epoch: of.epoch,
            version: of.version,
            ..Default::default()
        };
        let kind = Kind::ShardHeartbeat;
        self.ask(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
            .await
            .error()
    }

    pub async fn unregister(&mut self, of: &schema::ShardRegisterRequestT) -> Option<ErrorCode> {
        let request = schema::ShardUnregisterRequestT {
            shard: of.shard.clone(),
            directory_low: of.directory_low,
            epoch: of.epoch,
            ..Default::default()
        };
        let kind = Kind::ShardUnregister;
        self.ask(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
            .await
            .error()
    }

    pub async fn route(
        &mut self,
        topic: &str,
    ) -> (schema::TopicRouteT, Vec<schema::ShardAddressT>) {
        let request = schema::RouteQueryRequestT {
            topics: Some(vec![topic.into()]),
        };
        let kind = Kind::RouteQuery;
        let answer = self
            .ask(kind, |id| encode(kind, 0, id, 0, |b| request.pack(b)))
            .await;
        let answer = header::<schema::RouteQueryResponse>(answer.header())
            .expect("routes")
            .unpack();
        let mut routes = answer.routes.unwrap_or_default();
        assert_eq!(routes.len(), 1);
        (routes.remove(0), answer.shards.unwrap_or_default())
    }

    /// The next frame; none when the server closed the connection.
    pub async fn read(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.read_patiently())
            .await
            .expect("in time")
    }

    async fn read_patiently(&mut self) -> Option<Frame> {
        loop {
            if let Decoded::Ready(prefix) = decode(&self.buffer).expect("a frame")
                && self.buffer.len() >= prefix.frame_bytes
            {
                let rest = self.buffer.split_off(prefix.frame_bytes);
                let bytes = std::mem::replace(&mut self.buffer, rest);
                return Some(Frame { prefix, bytes });
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// A first registration of `shard`, alone in its directory, with these topics on it.
/// A name server that knows whom it will ever know.
pub fn settled() -> Config {
    Config {
        settle_ms: 0,
        ..Config::default()
    }
}

pub fn registration(shard: &str, topics: &[&str]) -> schema::ShardRegisterRequestT {
    schema::ShardRegisterRequestT {
        cluster: "test".into(),
        node: "a".into(),
        shard: shard.into(),
        directory_low: 1,
        epoch: 1,
        address: "127.0.0.1:10911".into(),
        writable: true,
        heartbeat_timeout_ms: 60_000,
        version: 1,
        shares: Some(topics.iter().map(|topic| share(topic, shard)).collect()),
        ..Default::default()
    }
}

pub fn share(topic: &str, shard: &str) -> schema::TopicShareT {
    let mut share = schema::TopicShareT::default();
    share.topic.name = topic.into();
    share.topic.incarnation_low = 9;
    share.topic.queues = 8;
    share.topic.placement = Some(vec![shard.into()]);
    share.topic.version = 1;
    share
}
