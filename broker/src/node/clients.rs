//! RocketMQ clients as shards register them with the node.

use std::sync::Arc;
use std::time::Duration;

use ringmq_wire::remoting::Command;

use super::{
    CallError, ClientAnswer, ControlCommand, ControlError, NodeHandle, Reply, ShardCommand, reply,
};
use crate::directory::clients::{ConnectionId, Heartbeat, ProducerListing};

impl NodeHandle {
    /// Puts a heartbeat into effect that says something new. Answered after all shards can see it; an error names
    /// the first group that was refused, the others are in.
    ///
    /// The command is in the mailbox when this first waits, so it comes before the [`Self::client_closed`] of a
    /// connection that is open when this is called.
    pub async fn register_client(&self, beat: Heartbeat) -> Result<(), ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::ClientRegister { beat, reply })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())?
    }

    /// Keeps memberships alive. Does not wait.
    pub fn client_beat(
        &self,
        connection: ConnectionId,
        consumers: Vec<Arc<str>>,
        producers: Vec<Arc<str>>,
    ) -> Result<(), ControlError> {
        self.control(ControlCommand::ClientBeat {
            connection,
            consumers,
            producers,
        })
    }

    /// The connection leaves one group of each kind that is given; no error if it is not in. Answered after all
    /// shards can see it.
    pub async fn unregister_client(
        &self,
        connection: ConnectionId,
        consumer_group: Option<String>,
        producer_group: Option<String>,
    ) -> Result<(), ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::ClientUnregister {
            connection,
            consumer_group,
            producer_group,
            reply,
        })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())
    }

    /// The connection is gone. Waits for room in the mailbox: a close that is not told would stay a member until it
    /// expires.
    pub async fn client_closed(&self, connection: ConnectionId) {
        let command = ControlCommand::ClientClosed { connection };
        // A stopping node forgets all its clients anyway.
        let _ = self.inner.control.send_async(command).await;
    }

    /// The connections of all producers with their last heartbeats, for people to look at.
    pub async fn producers(&self) -> Result<Vec<ProducerListing>, ControlError> {
        let (reply, answer) = reply();
        self.control(ControlCommand::Producers { reply })?;
        answer
            .recv_async()
            .await
            .map_err(|_| ControlError::stopping())
    }

    /// Calls a client through the shard that holds the connection. To be used from other shards.
    pub async fn call_client(
        &self,
        connection: ConnectionId,
        command: Command,
        body: Vec<u8>,
        timeout: Duration,
    ) -> ClientAnswer {
        let (reply, answer) = reply();
        self.to_client(connection, command, body, Some((timeout, reply)))?;
        // The shard that stops drops the reply.
        let answer = answer.recv_async().await;
        answer.unwrap_or(Err(CallError::Closed))
    }

    /// Sends a client a request that is not answered; lost if its shard has too much to do.
    pub fn notify_client(&self, connection: ConnectionId, command: Command, body: Vec<u8>) {
        if let Err(error) = self.to_client(connection, command, body, None) {
            tracing::warn!(%connection, %error, "a client was not notified");
        }
    }

    fn to_client(
        &self,
        connection: ConnectionId,
        command: Command,
        body: Vec<u8>,
        reply: Option<(Duration, Reply<ClientAnswer>)>,
    ) -> Result<(), CallError> {
        let shard = self.shards().get(connection.shard);
        let command = ShardCommand::CallClient {
            connection: connection.number,
            command,
            body,
            reply,
        };
        let sent = shard.ok_or(CallError::Closed)?.mailbox.try_send(command);
        sent.map_err(|error| match error {
            flume::TrySendError::Full(_) => CallError::Busy,
            flume::TrySendError::Disconnected(_) => CallError::Closed,
        })
    }
}
