//! CONSUMER_SEND_MSG_BACK (36): a message that could not be processed, to be tried again or to the dead letters.

use super::{Answer, Caller, Refused, Request};
use crate::handler::records::settled;
use crate::handler::retry::{self, SendBack};
use crate::shard::Shard;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

/// Clients below version 3.4.9 send a number of retries that is none.
const VERSION_OF_RETRIES: i32 = 121;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let command = &request.command;
    let offset: i64 = command.required("offset")?;
    let group: String = command.required("group")?;
    let retries_max: Option<i32> = command.optional("maxReconsumeTimes")?;
    let not_found = || {
        let remark = format!("look message by offset failed, {offset}");
        Refused::new(response_code::SYSTEM_ERROR, remark)
    };
    let back = SendBack {
        group: &group,
        position: Position(u64::try_from(offset).map_err(|_| not_found())?),
        delay_level: command.optional("delayLevel")?.unwrap_or_default(),
        retries_max: retries_max.filter(|_| command.version >= VERSION_OF_RETRIES),
        store_host: caller.store_host(),
    };
    match retry::send_back(shard, &back).await {
        Err(refusal) if refusal.code == ErrorCode::MessageNotFound => return Err(not_found()),
        other => other?,
    };
    settled(shard).await?;
    Ok(Answer::ok())
}
