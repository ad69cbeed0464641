//! `CHECK_CLIENT_CONFIG` (46): would the broker serve this subscription? A consumer does not start if not.

use super::unreadable;
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::{self, heartbeat::CheckClient};
use ringmq_wire::remoting::response_code;
use std::rc::Rc;

pub async fn handle<D: Disk, R: Runtime>(
    _shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let asked: CheckClient = body::decode(&request.body).map_err(|error| unreadable(&error))?;
    if asked.subscription.is_by_tag() {
        return Ok(Answer::ok());
    }
    Err(Refused::new(
        response_code::SYSTEM_ERROR,
        format!(
            "The broker does not support consumer to filter message by {}",
            asked.subscription.expression_type
        ),
    ))
}
