//! `INVOKE_BROKER_TO_GET_CONSUMER_STATUS` (223): asks the members of a group where they are in a topic (221).

use super::on_one_shard;
use crate::handler::remoting::{Answer, Caller, Refused, Request};
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::stats::{ClientStatus, GroupStatus};
use ringmq_wire::remoting::{Command, body, request_code, response_code};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How long a member may take.
const MEMBER_WAIT: Duration = Duration::from_secs(5);
/// Members that are asked; more would make an answer that nobody reads.
const MEMBERS_MAX: usize = 256;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let topic = request.command.required::<String>("topic")?;
    let group = request.command.required::<String>("group")?;
    let only = request.command.get("clientAddr").unwrap_or_default();
    let directory = shard.directory();
    let Some(consumers) = directory.clients().consumers(&group) else {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(Refused::new(response_code::SYSTEM_ERROR, remark));
    };
    let clients = consumers.clients();
    let members = clients.flat_map(|connections| on_one_shard(shard, connections));
    let wanted = members.filter(|member| {
        let client = &member.client;
        only.is_empty() || *client.client_id == *only || client.address.to_string() == only
    });
    let (answers, answered) = flume::unbounded();
    for member in wanted.take(MEMBERS_MAX).cloned() {
        let command = Command::request(request_code::GET_CONSUMER_STATUS_FROM_CLIENT, 0)
            .field("topic", &topic)
            .field("group", &group);
        let (asking, answers) = (shard.clone(), answers.clone());
        shard.runtime().spawn(async move {
            let called = asking.call_client(member.connection, command, Vec::new(), MEMBER_WAIT);
            // Who does not answer is left out.
            if let Ok((answer, bytes)) = called.await
                && answer.code == response_code::SUCCESS
                && let Ok(status) = body::decode::<ClientStatus>(&bytes)
            {
                let _ = answers.send((member.client.client_id.to_string(), status.queues));
            }
        });
    }
    drop(answers);
    let mut consumers = BTreeMap::new();
    while let Ok((client_id, queues)) = answered.recv_async().await {
        consumers.insert(client_id, queues);
    }
    Ok(Answer::ok().body(GroupStatus { consumers }.encode()))
}
