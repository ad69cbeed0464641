//! `CONSUME_MESSAGE_DIRECTLY` (309): lets a member consume one stored message now, and passes on what became of it.

use super::running_info::pass_on;
use crate::handler::remoting::found::Finding;
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let id = request.command.required::<String>("msgId")?;
    let position = id.parse::<MessageId>().ok();
    let position = position.and_then(|id| u64::try_from(id.offset).ok());
    let Some(position) = position.map(Position) else {
        let remark = format!("{id:?} is not the id of a message in a broker's log");
        return Err(Refused::new(response_code::INVALID_PARAMETER, remark));
    };
    let mut finding = Finding::new(shard, caller.store_host());
    if !finding.add(position, |_| true).await? {
        let remark = format!("can not find message by the id, {id}");
        return Err(Refused::new(response_code::SYSTEM_ERROR, remark));
    }
    let command = request.command.clone();
    let command = command.field("brokerName", shard.name());
    pass_on(shard, &command, finding.body).await
}
