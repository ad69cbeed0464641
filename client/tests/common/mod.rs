//! A small cluster over real sockets on loopback: one name server, shards with queues in memory, and faults on demand.
//!
//! The shard keeps the broker's rules for idempotence, sessions and leases, so that what a client gets wrong shows.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod model;
pub mod server;

use model::{Fault, Shard};
use ringmq::Client;
use ringmq_wire::native::schema;
use server::{Handler, Server};
use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const TOPIC: &str = "t";

/// Shards by index, and the name server that routes to them.
pub struct Cluster {
    pub shards: Vec<Arc<Mutex<Shard>>>,
    pub servers: Vec<Server>,
    pub namesrv: Server,
    routes: Arc<Mutex<Routes>>,
}

/// What the name server says.
#[derive(Default)]
pub struct Routes {
    pub topics: Vec<schema::TopicRecordT>,
    pub addresses: Vec<schema::ShardAddressT>,
    /// Watchers are told of every change.
    pub watchers: Vec<(u64, tokio::sync::mpsc::UnboundedSender<Vec<u8>>)>,
}

impl Cluster {
    /// A topic with `queues` queues over `shards` shards.
    pub async fn start(shards: usize, queues: u32) -> Self {
        let names: Vec<String> = (0..shards).map(|n| format!("s00-n{n}")).collect();
        let record = schema::TopicRecordT {
            name: TOPIC.to_owned(),
            incarnation_high: 1,
            incarnation_low: 7,
            queues,
            placement: Some(names.clone()),
            settings: None,
            version: 1,
        };
        let mut states = Vec::new();
        let mut servers = Vec::new();
        let mut addresses = Vec::new();
        for name in &names {
            let shard = Arc::new(Mutex::new(Shard::new(name, &record)));
            let server = Server::start(0, model::serve(Arc::clone(&shard))).await;
            addresses.push(schema::ShardAddressT {
                shard: name.clone(),
                node: Some(name.clone()),
                cluster: None,
                address: server.address(),
                writable: true,
                epoch: 1,
            });
            states.push(shard);
            servers.push(server);
        }
        let routes = Routes {
            topics: vec![record],
            addresses,
            watchers: Vec::new(),
        };
        let routes = Arc::new(Mutex::new(routes));
        let namesrv = Server::start(0, model::serve_routes(Arc::clone(&routes))).await;
        Self {
            shards: states,
            servers,
            namesrv,
            routes,
        }
    }

    pub async fn client(&self) -> Client {
        init_logs();
        let builder = Client::builder().namesrv([self.namesrv.address()]);
        builder
            .request_timeout(Duration::from_secs(5))
            .build()
            .await
            .expect("the name server runs")
    }

    pub fn route_handler(&self) -> Handler {
        model::serve_routes(Arc::clone(&self.routes))
    }

    pub fn shard_handler(&self, shard: usize) -> Handler {
        model::serve(Arc::clone(&self.shards[shard]))
    }

    /// Another name server that knows the same.
    pub async fn second_name_server(&self) -> Server {
        Server::start(0, self.route_handler()).await
    }

    pub fn shard(&self, index: usize) -> std::sync::MutexGuard<'_, Shard> {
        self.shards[index].lock().expect("no holder panics")
    }

    pub fn fault(&self, shard: usize, faults: impl IntoIterator<Item = Fault>) {
        self.shard(shard).faults.extend(faults);
    }

    /// Stops a shard: its port refuses, its connections break.
    pub async fn stop(&mut self, shard: usize) {
        self.servers[shard].stop().await;
        self.shard(shard).restart();
    }

    /// Starts a stopped shard at a new port and tells the name server's watchers.
    pub async fn start_elsewhere(&mut self, shard: usize) {
        self.servers[shard] = Server::start(0, self.shard_handler(shard)).await;
        let mut routes = self.routes.lock().expect("no holder panics");
        routes.addresses[shard].address = self.servers[shard].address();
        routes.push();
    }

    /// Starts a stopped shard where it was.
    pub async fn start_again(&mut self, shard: usize) {
        let port = self.servers[shard].port();
        self.servers[shard] = Server::start(port, self.shard_handler(shard)).await;
    }

    /// Changes what the name server knows, and tells its watchers.
    pub fn change_routes(&self, change: impl FnOnce(&mut Routes)) {
        let mut routes = self.routes.lock().expect("no holder panics");
        change(&mut routes);
        routes.push();
    }
}

/// Waits for a condition; the test fails if it does not come.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Nothing in these tests may hang.
pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    result.expect("finished in time")
}

fn init_logs() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_test_writer()
        .try_init();
}
