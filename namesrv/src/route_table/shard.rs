//! One registered shard. Pure.

use super::directory;
use ringmq_wire::native::schema::ShardRegisterRequestT;
use std::sync::Arc;

/// Heartbeat timeout of a shard that does not name one.
pub const HEARTBEAT_TIMEOUT_MS_DEFAULT: u32 = 10_000;

/// One registered shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub name: Arc<str>,
    pub node: String,
    pub cluster: String,
    /// Id of the data directory.
    pub directory: u128,
    /// Raised at every start of the shard.
    pub epoch: u64,
    pub address: String,
    /// What the shard says; see also [`Self::takes_messages`].
    pub writable: bool,
    /// Whether an operator took write permission from it.
    pub wiped: bool,
    pub heartbeat_timeout_ms: u32,
    pub last_heartbeat_ms: u64,
    /// Version of its table of shares.
    pub version: u64,
    pub live: bool,
}

/// Who a request claims to come from.
#[derive(Debug, Clone, Copy)]
pub struct ShardIdentity<'a> {
    pub shard: &'a str,
    pub directory: u128,
    pub epoch: u64,
}

impl Shard {
    pub(super) fn registered(
        name: &Arc<str>,
        request: &ShardRegisterRequestT,
        now_ms: u64,
    ) -> Self {
        let timeout_ms = match request.heartbeat_timeout_ms {
            0 => HEARTBEAT_TIMEOUT_MS_DEFAULT,
            given => given,
        };
        Self {
            name: name.clone(),
            node: request.node.clone(),
            cluster: request.cluster.clone(),
            directory: directory(request.directory_high, request.directory_low),
            epoch: request.epoch,
            address: request.address.clone(),
            writable: request.writable,
            wiped: false,
            heartbeat_timeout_ms: timeout_ms,
            last_heartbeat_ms: now_ms,
            version: request.version,
            live: true,
        }
    }

    pub(super) fn is_same_start(&self, identity: &ShardIdentity<'_>) -> bool {
        self.directory == identity.directory && self.epoch == identity.epoch
    }

    /// Whether producers should be sent there.
    pub fn takes_messages(&self) -> bool {
        self.writable && !self.wiped
    }

    /// Whether clients could not tell the two apart.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        (self.live, self.writable, self.epoch) == (other.live, other.writable, other.epoch)
            && (&self.address, &self.node, &self.cluster)
                == (&other.address, &other.node, &other.cluster)
    }
}
