//! GET_TOPIC_CONFIG (351): one topic of this shard.

use super::config_body::topic_config;
use super::{Answer, Caller, Refused, Request};
use crate::handler::records::settled;
use crate::shard::Shard;
use crate::state::topics::not_found;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let name: String = request.command.required("topic")?;
    let config = shard.with_state(|state| {
        let topic = state.topic(&name)?;
        Some(topic_config(&name, topic))
    });
    settled(shard).await?;
    let config = config.ok_or_else(|| not_found(&name))?;
    Ok(Answer::ok().body(body::encode(&config)))
}
