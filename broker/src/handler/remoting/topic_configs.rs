//! GET_ALL_TOPIC_CONFIG (21): all topics of this shard, with the version of the table.

use super::config_body::{data_version, topic_config};
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body;
use ringmq_wire::remoting::body::topics::TopicTable;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let table = shard.with_state(|state| {
        let topics = state.topics();
        let topics = topics.map(|(name, topic)| (name.to_owned(), topic_config(name, topic)));
        let version = data_version(state.meta().topics_version);
        TopicTable {
            data_version: version,
            mapping_data_version: version,
            topics: topics.collect(),
            ..TopicTable::default()
        }
    });
    settled(shard).await?;
    Ok(Answer::ok().body(body::encode(&table)))
}
