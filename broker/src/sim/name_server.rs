//! A simulated name server: the route table of `ringmq-namesrv` behind simulated connections. It forgets everything
//! when it is restarted.

use super::client::connection::{Frame, FrameReader};
use super::net::Stream;
use super::plan::Plan;
use super::world::World;
use ringmq_namesrv::route_table::{Refusal, RouteLimits, RouteTable, ShardIdentity};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self, PREFACE, flags};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const EXPIRE_EVERY: Duration = Duration::from_millis(500);

type Table = Rc<RefCell<RouteTable>>;

/// Starts a name server that knows nothing, on a machine of its own.
pub fn start(world: &Rc<World>, server: usize) -> SimRuntime {
    let runtime = world.runtime.machine();
    let listener = world.net.listen(&Plan::name_server_address(server));
    let table: Table = Rc::new(RefCell::new(RouteTable::new(RouteLimits {
        shards_max: 1_000,
        topics_max: 1_000,
        absent_retention_ms: 60_000,
    })));
    let (expiring, clock) = (Rc::clone(&table), runtime.clone());
    runtime.spawn(async move {
        loop {
            clock.sleep(EXPIRE_EVERY).await;
            let now_ms = clock.now().as_millis() as u64;
            expiring.borrow_mut().expire(now_ms);
        }
    });
    let machine = runtime.clone();
    runtime.spawn(async move {
        loop {
            let stream = listener.accept().await;
            let (table, clock) = (Rc::clone(&table), machine.clone());
            machine.spawn(async move {
                // A connection that breaks takes nothing with it.
                let _ = serve(stream, table, clock).await;
            });
        }
    });
    runtime
}

async fn serve(stream: Stream, table: Table, clock: SimRuntime) -> std::io::Result<()> {
    let mut reader = FrameReader::new();
    reader.skip(&stream, PREFACE.len()).await?;
    loop {
        let frame = reader.next(&stream).await?;
        let now_ms = clock.now().as_millis() as u64;
        let answer = answer(&mut table.borrow_mut(), &frame, now_ms);
        let answer = answer.unwrap_or_else(|refusal| {
            let response = ErrorResponseT {
                code: refusal.code.number(),
                message: Some(refusal.message),
                ..ErrorResponseT::default()
            };
            let kind = Kind::from_number(frame.prefix.kind).expect("ours");
            let bits = flags::RESPONSE | flags::ERROR;
            let id = frame.prefix.correlation_id;
            native::encode(kind, bits, id, 0, |b| response.pack(b))
        });
        stream.write_all(&answer).await?;
    }
}

fn answer(table: &mut RouteTable, frame: &Frame, now_ms: u64) -> Result<Vec<u8>, Refusal> {
    let kind = Kind::from_number(frame.prefix.kind).expect("ours");
    let id = frame.prefix.correlation_id;
    let bytes = &frame.header[..];
    match kind {
        Kind::Hello => {
            let response = HelloResponseT {
                version: native::VERSION,
                server: Some(native::NAME_SERVER.to_owned()),
                ..HelloResponseT::default()
            };
            Ok(native::encode(kind, flags::RESPONSE, id, 0, |b| {
                response.pack(b)
            }))
        }
        Kind::ShardRegister => {
            let request = native::header::<ShardRegisterRequest>(bytes).expect("a table");
            table.register(request.unpack(), now_ms)?;
            let response = ShardRegisterResponseT::default();
            Ok(native::encode(kind, flags::RESPONSE, id, 0, |b| {
                response.pack(b)
            }))
        }
        Kind::ShardHeartbeat => {
            let request = native::header::<ShardHeartbeatRequest>(bytes).expect("a table");
            let identity = ShardIdentity {
                shard: request.shard(),
                directory: u128::from(request.directory_low()),
                epoch: request.epoch(),
            };
            table.heartbeat(&identity, request.version(), now_ms)?;
            let response = ShardHeartbeatResponseT::default();
            Ok(native::encode(kind, flags::RESPONSE, id, 0, |b| {
                response.pack(b)
            }))
        }
        Kind::RouteQuery => {
            let request = native::header::<RouteQueryRequest>(bytes).expect("a table");
            let topics = request.unpack().topics.unwrap_or_default();
            let response = routes(table, &topics);
            Ok(native::encode(kind, flags::RESPONSE, id, 0, |b| {
                response.pack(b)
            }))
        }
        other => unreachable!("nobody asks a name server for {other:?} here"),
    }
}

fn routes(table: &RouteTable, topics: &[String]) -> RouteQueryResponseT {
    let mut serving = BTreeSet::new();
    let mut answers = Vec::new();
    for topic in topics {
        let mut answer = TopicRouteT {
            topic: topic.clone(),
            ..TopicRouteT::default()
        };
        match table.route(topic) {
            Some(route) => {
                answer.record = Some(Box::new((*route.record).clone()));
                serving.extend(route.shards);
            }
            None => answer.error = ErrorCode::TopicNotFound.number(),
        }
        answers.push(answer);
    }
    let live = serving.iter().filter_map(|shard| table.live_shard(shard));
    let shards = live.map(|shard| ShardAddressT {
        shard: shard.name.to_string(),
        node: Some(shard.node.clone()),
        cluster: Some(shard.cluster.clone()),
        address: shard.address.clone(),
        writable: shard.writable,
        epoch: shard.epoch,
    });
    RouteQueryResponseT {
        shards: Some(shards.collect()),
        routes: Some(answers),
    }
}
