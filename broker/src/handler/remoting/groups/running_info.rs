//! `GET_CONSUMER_RUNNING_INFO` (307): asks a member how it is and passes its answer on.

use super::{CALL_WAIT, member_of, unanswered};
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::{Command, response_code};
use std::rc::Rc;

/// The first version whose clients answer: 3.1.8.
const VERSION_MIN: i32 = 62;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    pass_on(shard, &request.command, Vec::new()).await
}

/// Sends the member that the command names the command's fields and this body; its answer is ours.
pub(super) async fn pass_on<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    asked: &Command,
    body: Vec<u8>,
) -> Result<Answer, Refused> {
    let group = asked.required::<String>("consumerGroup")?;
    let client_id = asked.required::<String>("clientId")?;
    let member = member_of(shard, &group, &client_id)?;
    if member.client.version < VERSION_MIN {
        return Err(Refused::new(
            response_code::SYSTEM_ERROR,
            format!(
                "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
                member.client.version
            ),
        ));
    }
    let mut command = Command::request(asked.code, 0);
    command.fields.clone_from(&asked.fields);
    let called = shard.call_client(member.connection, command, body, CALL_WAIT);
    let (answer, body) = called
        .await
        .map_err(|error| unanswered(&group, &client_id, error))?;
    Ok(Answer {
        code: answer.code,
        remark: answer.remark,
        fields: answer.fields,
        body,
    })
}
