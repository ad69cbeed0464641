//! What a heartbeat may not ask for.

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::limits::{CLIENT_ID_BYTES_MAX, is_valid_name};

use super::{Clients, Connection, ConnectionId, ConsumerBeat, Heartbeat};
use crate::node::ControlError;

impl Clients {
    pub(super) fn check(&self, beat: &Heartbeat) -> Result<(), ControlError> {
        let id_bytes = beat.client.client_id.len();
        if !(1..=CLIENT_ID_BYTES_MAX).contains(&id_bytes) {
            return Err(ControlError::new(
                ErrorCode::InvalidName,
                format!("a client id has 1 to {CLIENT_ID_BYTES_MAX} bytes, not {id_bytes}"),
            ));
        }
        let known = self.connections.contains_key(&beat.connection);
        if !known && self.connections.len() >= self.limits.connections_max {
            return Err(ControlError::new(
                ErrorCode::Busy,
                format!(
                    "this node keeps the groups of {} connections, which is its limit",
                    self.limits.connections_max
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn check_consumer(
        &self,
        id: ConnectionId,
        consumer: &ConsumerBeat,
    ) -> Result<(), ControlError> {
        let subscriptions = consumer.subscriptions.as_deref().unwrap_or_default();
        if subscriptions.len() > self.limits.subscriptions_max {
            return Err(ControlError::new(
                ErrorCode::InvalidRequest,
                format!(
                    "group {} subscribes to {} topics, the limit is {}",
                    consumer.group,
                    subscriptions.len(),
                    self.limits.subscriptions_max
                ),
            ));
        }
        for subscription in subscriptions {
            let bytes = subscription.expression.len();
            if !is_valid_name(&subscription.topic) || bytes > self.limits.expression_bytes_max {
                return Err(ControlError::new(
                    ErrorCode::InvalidName,
                    format!(
                        "group {}: not a valid subscription: topic {:?}, an expression of {bytes} bytes (the limit is {})",
                        consumer.group, subscription.topic, self.limits.expression_bytes_max
                    ),
                ));
            }
        }
        let connection = self.connections.get(&id);
        self.check_group(
            id,
            &consumer.group,
            connection.is_some_and(|connection| connection.consumers.contains(&*consumer.group)),
        )
    }

    pub(super) fn check_producer(&self, id: ConnectionId, group: &str) -> Result<(), ControlError> {
        let connection = self.connections.get(&id);
        self.check_group(
            id,
            group,
            connection.is_some_and(|connection| connection.producers.contains(group)),
        )
    }

    fn check_group(&self, id: ConnectionId, group: &str, is_in: bool) -> Result<(), ControlError> {
        if is_in {
            return Ok(());
        }
        if !is_valid_name(group) {
            return Err(ControlError::new(
                ErrorCode::InvalidName,
                format!("not a valid group name: {group:?}"),
            ));
        }
        let groups = self.connections.get(&id).map_or(0, Connection::groups);
        if groups >= self.limits.connection_groups_max
            || self.memberships >= self.limits.memberships_max
        {
            return Err(ControlError::new(
                ErrorCode::Busy,
                format!(
                    "group {group}: this connection is in {groups} groups, connections of this node in {} in all; the limits are {} and {}",
                    self.memberships,
                    self.limits.connection_groups_max,
                    self.limits.memberships_max
                ),
            ));
        }
        Ok(())
    }
}
