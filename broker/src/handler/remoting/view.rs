//! 33: one message by its place in the log, as its id tells it.

use super::found::Finding;
use super::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let offset: i64 = request.command.required("offset")?;
    let not_found = || {
        let remark = format!("can not find message by the offset, {offset}");
        Refused::new(response_code::SYSTEM_ERROR, remark)
    };
    let position = Position(u64::try_from(offset).map_err(|_| not_found())?);
    let mut finding = Finding::new(shard, caller.store_host());
    if !finding.add(position, |_| true).await? {
        return Err(not_found());
    }
    Ok(Answer::ok().body(finding.body))
}
