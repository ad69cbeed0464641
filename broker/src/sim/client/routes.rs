//! Where queues live, as name servers say. They are hints: a topic that one of them does not know may be there.

use super::connection::{Connection, Failure};
use super::watch::Watch;
use crate::sim::draw::Draw;
use crate::sim::plan::Plan;
use crate::sim::world::World;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::schema::{RouteQueryRequestT, RouteQueryResponse};
use ringmq_wire::native::{self};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A topic and where its shards can be reached.
#[derive(Debug, Clone)]
pub struct Route {
    /// The low half, which requests carry.
    pub incarnation: u64,
    pub queues: u32,
    pub placement: Vec<String>,
    /// Live shards by name.
    pub addresses: BTreeMap<String, String>,
}

impl Route {
    pub fn shard_of(&self, queue: u32) -> &str {
        &self.placement[queue as usize % self.placement.len()]
    }

    /// Where a queue's shard is, if it is up.
    pub fn address_of(&self, queue: u32) -> Option<&str> {
        let address = self.addresses.get(self.shard_of(queue))?;
        Some(address)
    }
}

/// Finds a topic: by a watch, or by asking name servers, any of them.
pub struct Routes {
    world: Rc<World>,
    topic: String,
    client_id: String,
    draw: Draw,
    connection: Option<Connection>,
    watch: Option<Rc<Watch>>,
}

impl Routes {
    pub fn new(world: &Rc<World>, topic: &str, client_id: &str, mut draw: Draw) -> Self {
        let watches = draw.coin();
        let seed = draw.next();
        let watch = watches.then(|| {
            let draw = Draw::new(seed, "watch");
            Watch::start(world, topic, client_id, draw)
        });
        Self {
            world: Rc::clone(world),
            topic: topic.to_owned(),
            client_id: client_id.to_owned(),
            draw,
            connection: None,
            watch,
        }
    }

    /// The route; `None` if the name server that was asked does not know it.
    pub async fn find(&mut self) -> Result<Option<Route>, Failure> {
        let told = self.watch.as_ref().and_then(|watch| watch.route());
        if told.is_some() {
            return Ok(told);
        }
        let found = self.ask().await;
        if found.is_err() {
            self.connection = None;
        }
        found
    }

    async fn ask(&mut self) -> Result<Option<Route>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let server = self.draw.index(self.world.plan.name_servers);
                let address = Plan::name_server_address(server);
                let runtime = &self.world.runtime;
                Connection::open(&self.world, runtime, &address, &self.client_id).await?
            }
        };
        let request = RouteQueryRequestT {
            topics: Some(vec![self.topic.clone()]),
        };
        let frame = connection
            .call(|id| native::encode(Kind::RouteQuery, 0, id, 0, |b| request.pack(b)))
            .await?;
        self.connection = Some(connection);
        let response = native::header::<RouteQueryResponse>(&frame.header);
        let response = response.expect("a name server sends tables").unpack();
        let route = response.routes.unwrap_or_default().into_iter().next();
        let record = route.and_then(|route| route.record);
        let shards = response.shards.unwrap_or_default().into_iter();
        let addresses = shards.map(|shard| (shard.shard, shard.address)).collect();
        Ok(record.map(|record| Route {
            incarnation: record.incarnation_low,
            queues: record.queues,
            placement: record.placement.unwrap_or_default(),
            addresses,
        }))
    }
}
