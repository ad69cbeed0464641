//! From a request's header to its answer. No sockets; the only effect is on the directory.

use crate::answers::{self, Answer};
use crate::config::Config;
use crate::directory::{Directory, Signal};
use crate::route_table::{Refusal, ShardIdentity, directory as id};
use crate::watch::{ConnectionId, WatchError};
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::{CLIENT_ID_BYTES_MAX, FRAME_BYTES_MAX};
use ringmq_wire::native::{
    FrameError, FramePrefix, NAME_SERVER, VERSION, encode, flags, header, schema,
};
use std::sync::Arc;

/// Topics in one route query.
const QUERY_TOPICS_MAX: usize = 65_536;

/// What a connection is to the requests that come in by it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: ConnectionId,
    pub(crate) signal: Arc<Signal>,
    /// The client's name for itself, once it said Hello.
    pub(crate) client_id: Option<String>,
}

/// What to do after a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send this and go on.
    Answer(Vec<u8>),
    /// The answer comes by the watch.
    Watching,
    /// Send this and close.
    Close(Vec<u8>),
}

/// Handles one request.
pub(crate) fn handle(
    directory: &Directory,
    config: &Config,
    session: &mut Session,
    prefix: &FramePrefix,
    header_bytes: &[u8],
) -> Next {
    let kind = Kind::from_number(prefix.kind);
    if session.client_id.is_none() && kind != Some(Kind::Hello) {
        let refusal = Refusal::new(ErrorCode::HelloRequired, "the first request must be Hello");
        return Next::Close(answers::error(prefix.kind, prefix.correlation_id, &refusal));
    }
    match dispatch(directory, config, session, kind, prefix, header_bytes) {
        Ok(Some(frame)) => Next::Answer(frame),
        Ok(None) => Next::Watching,
        Err(refusal) => {
            let frame = answers::error(prefix.kind, prefix.correlation_id, &refusal);
            match refusal.code {
                ErrorCode::Malformed | ErrorCode::UnsupportedVersion => Next::Close(frame),
                _ => Next::Answer(frame),
            }
        }
    }
}

fn dispatch(
    directory: &Directory,
    config: &Config,
    session: &mut Session,
    kind: Option<Kind>,
    prefix: &FramePrefix,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, Refusal> {
    let id = prefix.correlation_id;
    if prefix.flags != 0 {
        return Err(Refusal::new(
            ErrorCode::Malformed,
            "a request carries no flags",
        ));
    }
    let Some(kind) = kind else {
        return Err(unsupported(prefix.kind));
    };
    match kind {
        Kind::Hello => hello(config, session, id, bytes),
        Kind::Ping => {
            header::<schema::PingRequest>(bytes).map_err(malformed)?;
            let response = schema::PingResponseT::default();
            Ok(encode(kind, flags::RESPONSE, id, 0, |b| response.pack(b)))
        }
        Kind::ShardRegister => register(directory, id, bytes),
        Kind::ShardHeartbeat => heartbeat(directory, id, bytes),
        Kind::ShardUnregister => unregister(directory, id, bytes),
        Kind::RouteQuery => route_query(directory, id, bytes),
        Kind::RouteWatch => return route_watch(directory, session, id, bytes).map(|()| None),
        Kind::ClusterInfo => cluster_info(directory, id),
        Kind::ClusterTopics => directory.read(|table| answers::cluster_topics(table, id)),
        _ => Err(unsupported(prefix.kind)),
    }
    .map(Some)
}

fn hello(config: &Config, session: &mut Session, id: u64, bytes: &[u8]) -> Answer {
    let request = header::<schema::HelloRequest>(bytes).map_err(malformed)?;
    if !(request.version_min()..=request.version_max()).contains(&VERSION) {
        return Err(Refusal::new(
            ErrorCode::UnsupportedVersion,
            format!(
                "this name server speaks version {VERSION}, the client {} to {}",
                request.version_min(),
                request.version_max()
            ),
        ));
    }
    let client_id = request.client_id();
    if client_id.is_empty() || client_id.len() > CLIENT_ID_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidName,
            format!("a client id has 1 to {CLIENT_ID_BYTES_MAX} bytes"),
        ));
    }
    session.client_id = Some(client_id.to_string());
    let response = schema::HelloResponseT {
        version: VERSION,
        server: Some(NAME_SERVER.to_string()),
        max_frame_bytes: FRAME_BYTES_MAX as u32,
        connection_idle_ms: u32::try_from(config.idle_timeout_ms).unwrap_or(u32::MAX),
        ..Default::default()
    };
    Ok(encode(Kind::Hello, flags::RESPONSE, id, 0, |b| {
        response.pack(b)
    }))
}

fn register(directory: &Directory, id: u64, bytes: &[u8]) -> Answer {
    let request = header::<schema::ShardRegisterRequest>(bytes)
        .map_err(malformed)?
        .unpack();
    tracing::debug!(
        shard = %request.shard,
        address = %request.address,
        base_version = request.base_version,
        version = request.version,
        writable = request.writable,
        "registration"
    );
    directory.change(|table, now_ms| table.register(request, now_ms))?;
    let response = schema::ShardRegisterResponseT::default();
    Ok(encode(Kind::ShardRegister, flags::RESPONSE, id, 0, |b| {
        response.pack(b)
    }))
}

fn heartbeat(directory: &Directory, id: u64, bytes: &[u8]) -> Answer {
    let request = header::<schema::ShardHeartbeatRequest>(bytes).map_err(malformed)?;
    let identity = ShardIdentity {
        shard: request.shard(),
        directory: self::id(request.directory_high(), request.directory_low()),
        epoch: request.epoch(),
    };
    directory.change(|table, now_ms| {
        table.heartbeat(&identity, request.version(), now_ms)?;
        Ok(Default::default())
    })?;
    let response = schema::ShardHeartbeatResponseT::default();
    Ok(encode(Kind::ShardHeartbeat, flags::RESPONSE, id, 0, |b| {
        response.pack(b)
    }))
}

fn unregister(directory: &Directory, id: u64, bytes: &[u8]) -> Answer {
    let request = header::<schema::ShardUnregisterRequest>(bytes).map_err(malformed)?;
    let identity = ShardIdentity {
        shard: request.shard(),
        directory: self::id(request.directory_high(), request.directory_low()),
        epoch: request.epoch(),
    };
    directory.change(|table, now_ms| table.unregister(&identity, now_ms))?;
    tracing::info!(shard = identity.shard, "unregistered");
    let response = schema::ShardUnregisterResponseT::default();
    Ok(encode(Kind::ShardUnregister, flags::RESPONSE, id, 0, |b| {
        response.pack(b)
    }))
}

fn route_query(directory: &Directory, id: u64, bytes: &[u8]) -> Answer {
    let request = header::<schema::RouteQueryRequest>(bytes)
        .map_err(malformed)?
        .unpack();
    let topics = request.topics.unwrap_or_default();
    if topics.len() > QUERY_TOPICS_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "{} topics in one query, the limit is {QUERY_TOPICS_MAX}",
                topics.len()
            ),
        ));
    }
    let unknown = |topic: &String| directory.read(|table| table.route(topic).is_none());
    if directory.is_settling() && topics.iter().any(unknown) {
        return Err(settling());
    }
    directory.read(|table| answers::route_query(table, id, &topics))
}

fn cluster_info(directory: &Directory, id: u64) -> Answer {
    if directory.is_settling() && directory.read(|table| table.live_shards().next().is_none()) {
        return Err(settling());
    }
    directory.read(|table| answers::cluster_info(table, id))
}

fn settling() -> Refusal {
    Refusal::new(
        ErrorCode::Busy,
        "this name server started a moment ago and may not know all brokers yet; try again",
    )
}

fn route_watch(
    directory: &Directory,
    session: &Session,
    id: u64,
    bytes: &[u8],
) -> Result<(), Refusal> {
    let request = header::<schema::RouteWatchRequest>(bytes)
        .map_err(malformed)?
        .unpack();
    directory
        .watch(session.connection, &session.signal, id, &request)
        .map_err(|error| {
            let code = match error {
                WatchError::NoRoom => ErrorCode::Busy,
                _ => ErrorCode::InvalidRequest,
            };
            Refusal::new(code, error.to_string())
        })
}

fn malformed(error: FrameError) -> Refusal {
    Refusal::new(ErrorCode::Malformed, error.to_string())
}

fn unsupported(kind: u16) -> Refusal {
    let name = Kind::from_number(kind).map_or("unknown", Kind::name);
    Refusal::new(
        ErrorCode::UnsupportedKind,
        format!("a name server does not serve requests of kind {kind} ({name})"),
    )
}
