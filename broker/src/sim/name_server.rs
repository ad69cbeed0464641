//! A simulated name server: the route table, the watches and the answers of `ringmq-namesrv` behind simulated connections.
//! It forgets everything when it is restarted.

use super::client::connection::{Frame, FrameReader};
use super::net::Stream;
use super::plan::Plan;
use super::world::World;
use futures_lite::future::or;
use ringmq_namesrv::answers;
use ringmq_namesrv::route_table::{Changed, Refusal, RouteLimits, RouteTable, ShardIdentity};
use ringmq_namesrv::watch::{ConnectionId, WatchLimits, Watches};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{self, PREFACE, flags};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

const EXPIRE_EVERY: Duration = Duration::from_millis(500);
/// Topics of one push: few, so that what changed at once often takes several.
const PUSH_TOPICS_MAX: usize = 2;

/// What a process knows, and whom it must tell.
struct Server {
    table: RouteTable,
    watches: Watches,
    connections: BTreeMap<ConnectionId, Bell>,
    next_connection: ConnectionId,
}

/// Wakes a connection whose watch has something to send; gone when it was too slow.
type Bell = flume::Sender<()>;

impl Server {
    fn announce(&mut self, changed: &Changed) {
        let noticed = self.watches.notice(changed);
        for connection in &noticed.wake {
            if let Some(bell) = self.connections.get(connection) {
                ring(bell);
            }
        }
        for connection in &noticed.close {
            self.connections.remove(connection);
        }
    }

    fn next_push(&mut self, connection: ConnectionId) -> Option<Vec<u8>> {
        let push = self.watches.take(connection, PUSH_TOPICS_MAX)?;
        if push.more
            && let Some(bell) = self.connections.get(&connection)
        {
            ring(bell);
        }
        let (id, topics) = (push.correlation_id, &push.topics);
        Some(answers::watch_push(&self.table, id, topics))
    }
}

fn ring(bell: &Bell) {
    // It rings already, or nobody listens any more.
    let _ = bell.try_send(());
}

/// Starts a name server that knows nothing, on a machine of its own.
pub fn start(world: &Rc<World>, server: usize) -> SimRuntime {
    let runtime = world.runtime.machine();
    let listener = world.net.listen(&Plan::name_server_address(server));
    let server = Rc::new(RefCell::new(Server {
        table: RouteTable::new(RouteLimits {
            shards_max: 1_000,
            topics_max: 1_000,
            absent_retention_ms: 60_000,
        }),
        watches: Watches::new(WatchLimits {
            topics_per_watch_max: 1_000,
            pending_max: 10_000,
        }),
        connections: BTreeMap::new(),
        next_connection: 0,
    }));
    let (expiring, clock) = (Rc::clone(&server), runtime.clone());
    runtime.spawn(async move {
        loop {
            clock.sleep(EXPIRE_EVERY).await;
            let now_ms = clock.now().as_millis() as u64;
            let mut server = expiring.borrow_mut();
            let changed = server.table.expire(now_ms);
            server.announce(&changed);
        }
    });
    let machine = runtime.clone();
    runtime.spawn(async move {
        loop {
            let stream = listener.accept().await;
            let (server, clock) = (Rc::clone(&server), machine.clone());
            machine.spawn(async move {
                let (bell, rings) = flume::bounded(1);
                let connection = {
                    let mut server = server.borrow_mut();
                    server.next_connection += 1;
                    let connection = server.next_connection;
                    server.connections.insert(connection, bell);
                    connection
                };
                // A connection that breaks takes nothing with it.
                let _ = serve(&stream, &server, connection, rings, clock).await;
                stream.abort();
                let mut server = server.borrow_mut();
                server.watches.remove(connection);
                server.connections.remove(&connection);
            });
        }
    });
    runtime
}

async fn serve(
    stream: &Stream,
    server: &RefCell<Server>,
    connection: ConnectionId,
    rings: flume::Receiver<()>,
    clock: SimRuntime,
) -> io::Result<()> {
    let mut reader = FrameReader::new();
    reader.skip(stream, PREFACE.len()).await?;
    loop {
        let asked = async { reader.next(stream).await.map(Some) };
        let rung = async {
            let too_slow = |_| io::ErrorKind::ConnectionAborted.into();
            rings.recv_async().await.map(|()| None).map_err(too_slow)
        };
        let said = match or(asked, rung).await? {
            Some(frame) => {
                let now_ms = clock.now().as_millis() as u64;
                let answer = answer(&mut server.borrow_mut(), connection, &frame, now_ms);
                let (kind, id) = (frame.prefix.kind, frame.prefix.correlation_id);
                answer.unwrap_or_else(|refusal| Some(answers::error(kind, id, &refusal)))
            }
            None => server.borrow_mut().next_push(connection),
        };
        if let Some(said) = said {
            stream.write_all(&said).await?;
        }
    }
}

/// Nothing: the answer comes with the first push.
fn answer(
    server: &mut Server,
    connection: ConnectionId,
    frame: &Frame,
    now_ms: u64,
) -> Result<Option<Vec<u8>>, Refusal> {
    let kind = Kind::from_number(frame.prefix.kind).expect("ours");
    let id = frame.prefix.correlation_id;
    let bytes = &frame.header[..];
    let table = &mut server.table;
    let said = match kind {
        Kind::Hello => {
            let response = HelloResponseT {
                version: native::VERSION,
                server: Some(native::NAME_SERVER.to_owned()),
                ..HelloResponseT::default()
            };
            native::encode(kind, flags::RESPONSE, id, 0, |b| response.pack(b))
        }
        Kind::Ping => {
            let response = PingResponseT::default();
            native::encode(kind, flags::RESPONSE, id, 0, |b| response.pack(b))
        }
        Kind::ShardRegister => {
            let request = native::header::<ShardRegisterRequest>(bytes).expect("a table");
            let changed = table.register(request.unpack(), now_ms)?;
            server.announce(&changed);
            let response = ShardRegisterResponseT::default();
            native::encode(kind, flags::RESPONSE, id, 0, |b| response.pack(b))
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
            native::encode(kind, flags::RESPONSE, id, 0, |b| response.pack(b))
        }
        Kind::RouteQuery => {
            let request = native::header::<RouteQueryRequest>(bytes).expect("a table");
            let topics = request.unpack().topics.unwrap_or_default();
            answers::route_query(table, id, &topics)?
        }
        Kind::RouteWatch => {
            let request = native::header::<RouteWatchRequest>(bytes).expect("a table");
            let topics = request.unpack().topics.unwrap_or_default();
            let all = table.topic_names();
            let set = server.watches.set(connection, id, &topics, &[], all);
            set.expect("few topics and few watches");
            if let Some(bell) = server.connections.get(&connection) {
                ring(bell);
            }
            return Ok(None);
        }
        other => unreachable!("nobody asks a name server for {other:?} here"),
    };
    Ok(Some(said))
}
