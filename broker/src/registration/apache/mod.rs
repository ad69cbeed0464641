//! Registering at a name server of Apache RocketMQ, so that shards of ours and its brokers can share a cluster.
//!
//! - [`plan`] decides what it is told next about one shard; pure.
//! - [`table`] turns a shard's topics into what a RocketMQ broker registers; pure.
//! - [`connection`] carries one request at a time.
//!
//! Each shard has a connection of its own: such a name server takes a broker out of its routes when the broker's
//! connection closes, and only one broker a connection.

mod connection;
mod link;
mod plan;
mod table;

use ringmq_wire::remoting::body::registration::{RegisterBody, checksum};
use ringmq_wire::remoting::body::topics::DataVersion;
use ringmq_wire::remoting::body::{decode, encode};
use ringmq_wire::remoting::{Command, request_code, response_code};

pub(super) use connection::RemotingError;

use connection::RemotingConnection;
use plan::{ApachePlan, Next};

use crate::node::NodeHandle;

/// How long it believes in a silent shard; name servers of RocketMQ 4 believe 120 s.
const HEARTBEAT_TIMEOUT_MS: u64 = 30_000;

/// The field by which our own name server can be told from Apache's.
const SERVER_FIELD: &str = "server";

/// Whether `server` is a name server that speaks the remoting protocol and is none of ours. One of ours that is
/// just starting or stopping may have closed a native connection, and must not be taken for Apache's.
pub(super) async fn is_apache(server: &str) -> bool {
    let Ok(mut connection) = RemotingConnection::open(server).await else {
        return false;
    };
    let question = Command::request(request_code::GET_NAMESRV_CONFIG, 0);
    match connection.request(question, b"").await {
        Ok((answer, _)) => answer.get(SERVER_FIELD).is_none(),
        Err(_) => false,
    }
}

/// One shard at one name server.
pub(super) struct ApacheShard {
    node: NodeHandle,
    shard: usize,
    connection: RemotingConnection,
    plan: ApachePlan,
}

impl ApacheShard {
    pub(super) async fn open(
        node: &NodeHandle,
        server: &str,
        shard: usize,
    ) -> Result<Self, RemotingError> {
        Ok(Self {
            node: node.clone(),
            shard,
            connection: RemotingConnection::open(server).await?,
            plan: ApachePlan::default(),
        })
    }

    /// The version of the shard's topics that the name server has taken.
    pub(super) fn confirmed(&self) -> u64 {
        self.plan.confirmed()
    }

    /// Tells everything there is to tell now; returns when to look again.
    pub(super) async fn tell(&mut self, now_ms: u64) -> Result<u64, RemotingError> {
        loop {
            let plan = &self.plan;
            let next = self
                .node
                .shares(self.shard, |table| plan.next(now_ms, table.version()));
            match next {
                Next::WaitUntil(at_ms) => return Ok(at_ms),
                Next::Register => self.register(now_ms).await?,
                Next::Ask(version) => self.ask(version, now_ms).await?,
            }
        }
    }

    async fn register(&mut self, now_ms: u64) -> Result<(), RemotingError> {
        let epoch = self.node.identity().epoch;
        let link = &self.node.shards()[self.shard];
        let plan = &self.plan;
        let (body, names) = self.node.shares(self.shard, |shares| {
            table::body(shares, &link.name, epoch, plan.told())
        });
        let (bytes, is_folded) = in_a_frame(&body, table::BODY_BYTES_MAX)?;
        let version = body.topics.data_version.counter as u64;
        let request = self
            .about(request_code::REGISTER_BROKER)
            .field("haServerAddr", &link.address)
            .field("heartbeatTimeoutMillis", HEARTBEAT_TIMEOUT_MS)
            .field("enableActingMaster", false)
            .field("compressed", is_folded)
            .field("bodyCrc32", checksum(&bytes));
        accepted(self.connection.request(request, &bytes).await?)?;
        self.plan.registered(now_ms, version, names);
        Ok(())
    }

    /// Asks whether it still knows the shard's topics: a sign of life to all ages of name servers.
    async fn ask(&mut self, version: u64, now_ms: u64) -> Result<(), RemotingError> {
        let ours: DataVersion = table::version(version, self.node.identity().epoch);
        let question = self.about(request_code::QUERY_DATA_VERSION);
        let (answer, body) = self.connection.request(question, &encode(&ours)).await?;
        let knows = answer.code == response_code::SUCCESS
            && answer.get("changed") == Some("false")
            && decode::<DataVersion>(&body).is_ok_and(|theirs| theirs == ours);
        self.plan.asked(now_ms, knows);
        Ok(())
    }

    /// Takes the shard off.
    pub(super) async fn leave(&mut self) -> Result<(), RemotingError> {
        let request = self.about(request_code::UNREGISTER_BROKER);
        accepted(self.connection.request(request, b"").await?)
    }

    fn about(&self, code: i32) -> Command {
        let link = &self.node.shards()[self.shard];
        Command::request(code, 0)
            .field("brokerName", &link.name)
            .field("brokerAddr", &link.address)
            .field("clusterName", &self.node.identity().cluster)
            .field("brokerId", 0)
    }
}

/// The body, and whether it is compressed: only if it must be, for that form says less.
fn in_a_frame(body: &RegisterBody, bytes_max: usize) -> Result<(Vec<u8>, bool), RemotingError> {
    let plain = encode(body);
    if plain.len() <= bytes_max {
        return Ok((plain, false));
    }
    let folded = body.fold()?;
    if folded.len() <= bytes_max {
        return Ok((folded, true));
    }
    Err(RemotingError::TooLarge(folded.len()))
}

fn accepted((answer, _): (Command, Vec<u8>)) -> Result<(), RemotingError> {
    if answer.code == response_code::SUCCESS {
        return Ok(());
    }
    Err(RemotingError::Refused {
        code: answer.code,
        remark: answer.remark.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
