//! UPDATE_AND_GET_GROUP_FORBIDDEN (353): whether a group may read a topic, changed if that is asked for.

use super::{Answer, Caller, Refused, Request};
use crate::handler::automatic::ensure_group;
use crate::handler::records::{append, settled};
use crate::shard::Shard;
use crate::state::group_settings;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body;
use serde::Serialize;
use std::rc::Rc;

#[derive(Serialize)]
struct Body {
    group: String,
    readable: bool,
    topic: String,
}

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let group: String = request.command.required("group")?;
    let topic: String = request.command.required("topic")?;
    if let Some(readable) = request.command.optional::<bool>("readable")? {
        ensure_group(shard, &group).await?;
        let record = shard.with_state(|state| {
            let mut settings = state.group_settings(&group).cloned().unwrap_or_default();
            settings.set_forbidden(&topic, !readable);
            group_settings::put(state, &group, settings)
        })?;
        if let Some(record) = record {
            append(shard, &record)?;
        }
    }
    let forbidden = shard.with_state(|state| {
        let settings = state.group_settings(&group);
        settings.is_some_and(|settings| settings.is_forbidden(&topic))
    });
    settled(shard).await?;
    let told = Body {
        group,
        readable: !forbidden,
        topic,
    };
    Ok(Answer::ok().body(body::encode(&told)))
}
