//! A watch at a name server, as the client library keeps one: any of them is told what is of interest and tells every change;
//! what was told counts until somebody tells otherwise. The table of what was told is the library's own.

use super::connection::{Connection, Failure, PATIENCE};
use super::route_table::RouteTable;
use super::routes::Route;
use crate::sim::draw::Draw;
use crate::sim::plan::Plan;
use crate::sim::world::World;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native;
use ringmq_wire::native::schema::{PingRequestT, RouteWatchRequestT, RouteWatchResponse};
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// A name server that says nothing for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(1);

/// See the module. Kept up as long as somebody holds it.
pub struct Watch {
    world: Rc<World>,
    topic: String,
    /// The table counts from some moment; simulated time from here.
    origin: Instant,
    table: RefCell<RouteTable>,
}

impl Watch {
    pub fn start(world: &Rc<World>, topic: &str, client_id: &str, draw: Draw) -> Rc<Self> {
        let watch = Rc::new(Self {
            world: Rc::clone(world),
            topic: topic.to_owned(),
            origin: Instant::now(),
            table: RefCell::default(),
        });
        let weak = Rc::downgrade(&watch);
        world.watches.borrow_mut().push(Weak::clone(&weak));
        let name = format!("{client_id}-watch");
        world
            .runtime
            .spawn(keep(Rc::clone(world), weak, name, draw));
        watch
    }

    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What it was told, if anything.
    pub fn route(&self) -> Option<Route> {
        let table = self.table.borrow();
        let told = table.route(&self.topic, self.now())?;
        let live = told.live.iter();
        let address = |shard| Some(table.shard(shard)?.address.clone());
        Some(Route {
            incarnation: told.incarnation.1,
            queues: told.queues,
            placement: told.placement.iter().map(ToString::to_string).collect(),
            addresses: live
                .filter_map(|shard| Some((shard.to_string(), address(shard)?)))
                .collect(),
        })
    }

    fn now(&self) -> Instant {
        self.origin + self.world.runtime.now()
    }
}

async fn keep(world: Rc<World>, watch: Weak<Watch>, name: String, mut draw: Draw) {
    while !world.is_over() && watch.strong_count() > 0 {
        let server = draw.index(world.plan.name_servers);
        if let Err(failure) = at(&world, &watch, &name, server).await {
            world.tell(|| format!("{name} at name server {server}: {failure}"));
        }
        let wait = draw.millis(20, 500);
        world.runtime.sleep(wait).await;
    }
}

/// Watches at one name server until that fails, or nobody is interested any more.
async fn at(
    world: &Rc<World>,
    watch: &Weak<Watch>,
    name: &str,
    server: usize,
) -> Result<(), Failure> {
    let address = Plan::name_server_address(server);
    let mut connection = Connection::open(world, &world.runtime, &address, name).await?;
    let Some(topic) = watch.upgrade().map(|watch| watch.topic.clone()) else {
        return Ok(());
    };
    let request = RouteWatchRequestT {
        topics: Some(vec![topic]),
        ..RouteWatchRequestT::default()
    };
    let encode = |id| native::encode(Kind::RouteWatch, 0, id, 0, |b| request.pack(b));
    let id = connection.send(&[], encode).await?;
    let mut version = 0;
    loop {
        let frame = match world.within(SILENCE, connection.receive()).await {
            Some(frame) => frame?,
            None => {
                let ping = PingRequestT::default();
                let encode = |id| native::encode(Kind::Ping, 0, id, 0, |b| ping.pack(b));
                connection.send(&[], encode).await?;
                let answer = world.within(PATIENCE, connection.receive()).await;
                answer.ok_or(Failure::Lost)??
            }
        };
        let Some(watch) = watch.upgrade().filter(|_| !world.is_over()) else {
            return Ok(());
        };
        let frame = frame.accepted()?;
        if frame.prefix.correlation_id != id {
            continue;
        }
        let response = native::header::<RouteWatchResponse>(&frame.header);
        let told = response.expect("a name server sends tables").unpack();
        assert!(told.version >= version, "an older table was told later");
        version = told.version;
        let routes = told.routes.unwrap_or_default();
        let shards = told.shards.unwrap_or_default();
        watch
            .table
            .borrow_mut()
            .apply(&routes, &shards, watch.now());
    }
}
