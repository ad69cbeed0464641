//! A shard's topics in the form in which a RocketMQ broker registers them. Pure.

use std::collections::BTreeSet;

use ringmq_namesrv::route_table::share_rights;
use ringmq_wire::native::schema::{TopicRecordT, TopicSettingsT};
use ringmq_wire::remoting::body::registration::RegisterBody;
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig, TopicFilterType, TopicTable};

use crate::node::ShareTable;

/// Largest body: with its header it stays a frame that name servers take.
pub(super) const BODY_BYTES_MAX: usize = 15 << 20;

/// The version of a table; another start of the broker has other versions.
pub(super) fn version(counter: u64, epoch: u64) -> DataVersion {
    DataVersion {
        counter: counter as i64,
        state_version: 0,
        timestamp: epoch as i64,
    }
}

/// Everything that is to be known of a shard, and the names of its topics. A name server keeps topics that a later
/// registration leaves out: those in `told` that are gone are named once more, without queues and permission.
pub(super) fn body(
    shares: &ShareTable,
    shard: &str,
    epoch: u64,
    told: &BTreeSet<String>,
) -> (RegisterBody, BTreeSet<String>) {
    let mut table = TopicTable {
        data_version: version(shares.version(), epoch),
        mapping_data_version: version(0, epoch),
        ..TopicTable::default()
    };
    for name in told {
        table.topics.insert(name.clone(), gone(name));
    }
    let mut names = BTreeSet::new();
    for record in shares.iter() {
        let config = config(record, shard, shares.writable());
        table.topics.insert(record.name.clone(), config);
        names.insert(record.name.clone());
    }
    let body = RegisterBody {
        filter_servers: Vec::new(),
        topics: table,
    };
    (body, names)
}

fn gone(name: &str) -> TopicConfig {
    TopicConfig {
        name: name.to_owned(),
        perm: 0,
        read_queues: 0,
        write_queues: 0,
        ..TopicConfig::default()
    }
}

fn config(record: &TopicRecordT, shard: &str, writable: bool) -> TopicConfig {
    let rights = share_rights(record, shard, writable);
    let default = TopicSettingsT::default();
    let settings = record.settings.as_deref().unwrap_or(&default);
    TopicConfig {
        name: record.name.clone(),
        order: settings.order,
        perm: rights.perm,
        read_queues: rights.read_queues,
        write_queues: rights.write_queues,
        topic_filter_type: if settings.multi_tag {
            TopicFilterType::MultiTag
        } else {
            TopicFilterType::SingleTag
        },
        sys_flag: settings.sys_flag,
        ..TopicConfig::default()
    }
}
