//! The connections of RocketMQ clients that this shard may have to call: those that registered with a heartbeat.
//!
//! Lives on the shard's executor. A connection is in from its first heartbeat that registers anything until it is
//! closed; then the node is told, so that its groups forget it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::remoting::{Command, request_code};

use super::Shard;
use crate::directory::clients::ConnectionId;
use crate::node::CallError;

/// A call under way.
pub type Calling = Pin<Box<dyn Future<Output = Result<(Command, Vec<u8>), CallError>>>>;

/// A connection as who calls its client sees it.
pub trait ClientChannel {
    /// Sends a request that is not answered. Lost if the connection is closing.
    fn notify(&self, command: Command, body: Vec<u8>);
    /// Sends a request and waits for its answer. `opaque` of the command is the connection's to choose.
    fn call(&self, command: Command, body: Vec<u8>, timeout: Duration) -> Calling;
}

/// See the module.
#[derive(Default)]
pub struct Callers {
    live: RefCell<BTreeMap<u64, Rc<dyn ClientChannel>>>,
}

impl Callers {
    /// The connection registers; nothing changes if it did before.
    pub fn registered<C: ClientChannel + 'static>(&self, number: u64, channel: impl FnOnce() -> C) {
        let mut live = self.live.borrow_mut();
        live.entry(number).or_insert_with(|| Rc::new(channel()));
    }

    /// A connection that registered and is open.
    pub fn find(&self, number: u64) -> Option<Rc<dyn ClientChannel>> {
        self.live.borrow().get(&number).cloned()
    }

    /// Tells clients that the members of their group changed.
    pub fn consumers_changed(&self, group: &str, connections: &[u64]) {
        for channel in connections.iter().filter_map(|number| self.find(*number)) {
            let command = Command::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED, 0)
                .oneway()
                .field("consumerGroup", group);
            channel.notify(command, Vec::new());
        }
    }
}

impl<D: Disk, R: Runtime> Shard<D, R> {
    /// The directory's name for a connection of this shard.
    pub fn connection_id(&self, number: u64) -> ConnectionId {
        ConnectionId {
            shard: self.settings().index,
            number,
        }
    }

    /// To be called when a connection is closed, whatever its protocol: what it registered is forgotten.
    pub fn connection_closed(&self, number: u64) {
        if self.callers().live.borrow_mut().remove(&number).is_none() {
            return;
        }
        let node = self.node().clone();
        let connection = self.connection_id(number);
        self.runtime()
            .spawn(async move { node.client_closed(connection).await });
    }

    /// Calls a client of this node on a connection of its own, through the shard that holds it.
    pub async fn call_client(
        &self,
        connection: ConnectionId,
        command: Command,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(Command, Vec<u8>), CallError> {
        if connection.shard != self.settings().index {
            let node = self.node();
            return node.call_client(connection, command, body, timeout).await;
        }
        let channel = self.callers().find(connection.number);
        let channel = channel.ok_or(CallError::Closed)?;
        channel.call(command, body, timeout).await
    }

    /// Sends a client of this node a request that is not answered.
    pub fn notify_client(&self, connection: ConnectionId, command: Command, body: Vec<u8>) {
        if connection.shard != self.settings().index {
            self.node().notify_client(connection, command, body);
        } else if let Some(channel) = self.callers().find(connection.number) {
            channel.notify(command, body);
        }
    }
}
