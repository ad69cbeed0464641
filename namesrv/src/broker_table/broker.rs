//! One name of brokers: the one that takes messages, its copies, and their topics. Pure.

use super::{MASTER_ID, Registered, timeout_ms};
use crate::watch::ConnectionId;
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig};
use std::collections::BTreeMap;

/// What a broker says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Registration {
    pub cluster: String,
    pub name: String,
    pub id: i64,
    /// `ip:port` that clients are told.
    pub address: String,
    /// Where it sends its log from.
    pub ha_address: String,
    pub enable_acting_master: bool,
    pub timeout_ms: u64,
    pub version: DataVersion,
    pub topics: BTreeMap<String, TopicConfig>,
    /// The connection that the registration came by.
    pub connection: ConnectionId,
}

/// One registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub address: String,
    pub ha_address: String,
    pub version: DataVersion,
    pub timeout_ms: u64,
    pub connection: ConnectionId,
}

/// The brokers of one name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrokerName {
    pub cluster: String,
    /// By number.
    pub brokers: BTreeMap<i64, Broker>,
    pub enable_acting_master: bool,
    pub topics: BTreeMap<String, TopicConfig>,
    /// Whether an operator took write permission from them.
    pub wiped: bool,
}

impl BrokerName {
    pub(super) fn register(&mut self, registration: Registration) -> Registered {
        let timeout_ms = timeout_ms(&registration);
        self.cluster = registration.cluster;
        self.enable_acting_master = registration.enable_acting_master;
        // A broker that changed its number has one entry, not two.
        let address = &registration.address;
        let id = registration.id;
        self.brokers
            .retain(|known, broker| *known == id || broker.address != *address);
        self.brokers.insert(
            id,
            Broker {
                address: registration.address,
                ha_address: registration.ha_address,
                version: registration.version,
                timeout_ms,
                connection: registration.connection,
            },
        );
        if id == MASTER_ID {
            self.topics.extend(registration.topics);
            return Registered::default();
        }
        let master = self.brokers.get(&MASTER_ID);
        Registered {
            master: master.map(|master| (master.address.clone(), master.ha_address.clone())),
        }
    }
}
