//! `SEND_REPLY_MESSAGE` (324, and 325 with names of one letter): the answer to a message whose sender waits for one.
//!
//! The reply is pushed to the client that the property `REPLY_TO_CLIENT` names, on a connection of its own at any
//! shard of the node (326). The responder is told whether that client took it. The reply is also stored, in the topic
//! that it was sent to, so that it can be looked up.

use super::{Answer, Caller, Refused, Request};
use crate::delay::{self, Stored};
use crate::handler::records::settled;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::batch::{Envelope, Record};
use ringmq_wire::remoting::message::body_crc;
use ringmq_wire::remoting::message_id::MessageId;
use ringmq_wire::remoting::properties::{self, name};
use ringmq_wire::remoting::{Command, request_code, response_code};
use std::rc::Rc;
use std::time::Duration;

/// How long the client that asked may take to take its reply.
const PUSH_WAIT: Duration = Duration::from_secs(10);

/// The fields of the two requests that are needed here.
struct Reply {
    producer_group: String,
    topic: String,
    default_topic: String,
    default_topic_queues: i32,
    queue: i32,
    sys_flag: i32,
    born_ms: i64,
    flag: i32,
    properties: String,
    reconsume_times: i32,
    unit_mode: bool,
}

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let mut reply = Reply::read(&request.command)?;
    let queues = queues_of(shard, &reply.topic)?;
    let queue = match u32::try_from(reply.queue) {
        Ok(queue) if queue < queues => queue,
        Ok(queue) => {
            let remark = format!("request queueId[{queue}] is illegal: topic {}", reply.topic);
            return Err(Refused::new(response_code::INVALID_PARAMETER, remark));
        }
        Err(_) => (shard.runtime().random_u64() % u64::from(queues)) as u32,
    };
    let cluster = &shard.node().identity().cluster;
    properties::set(&mut reply.properties, name::CLUSTER, cluster);
    let pushed = push(shard, caller, &reply, queue, &request.body).await;
    let stored = store(shard, caller, &reply, queue, &request.body)?;
    settled(shard).await?;
    let answer = match pushed {
        Ok(()) => Answer::ok(),
        Err(why) => Answer::error(response_code::SYSTEM_ERROR, why),
    };
    let id = MessageId {
        host: caller.store_host(),
        offset: stored.position.0 as i64,
    };
    Ok(answer
        .field("msgId", id)
        .field("queueId", queue)
        .field("queueOffset", stored.offset.0)
        .field("MSG_REGION", "DefaultRegion")
        .field("TRACE_ON", true))
}

impl Reply {
    fn read(command: &Command) -> Result<Self, Refused> {
        // The short names are the letters in the order of the long ones.
        let short = command.code == request_code::SEND_REPLY_MESSAGE_V2;
        let name = |long: &'static str, letter: &'static str| if short { letter } else { long };
        Ok(Self {
            producer_group: command.required(name("producerGroup", "a"))?,
            topic: command.required(name("topic", "b"))?,
            default_topic: command.required(name("defaultTopic", "c"))?,
            default_topic_queues: command.required(name("defaultTopicQueueNums", "d"))?,
            queue: command.required(name("queueId", "e"))?,
            sys_flag: command.required(name("sysFlag", "f"))?,
            born_ms: command.required(name("bornTimestamp", "g"))?,
            flag: command.required(name("flag", "h"))?,
            properties: command
                .optional(name("properties", "i"))?
                .unwrap_or_default(),
            reconsume_times: command.optional(name("reconsumeTimes", "j"))?.unwrap_or(0),
            unit_mode: command.optional(name("unitMode", "k"))?.unwrap_or(false),
        })
    }
}

fn queues_of<D: Disk, R: Runtime>(shard: &Shard<D, R>, topic: &str) -> Result<u32, Refused> {
    let found = shard.with_state(|state| {
        let topic = state.topic(topic)?;
        Some((topic.write_queues(), topic.settings.writable))
    });
    let remark = |what: &str| format!("the sending message topic[{topic}] {what}");
    match found {
        None => Err(Refused::new(
            response_code::TOPIC_NOT_EXIST,
            remark("not exist"),
        )),
        Some((0, _) | (_, false)) => {
            let remark = remark("is forbidden");
            Err(Refused::new(response_code::NO_PERMISSION, remark))
        }
        Some((queues, true)) => Ok(queues),
    }
}

/// Pushes the reply to the client that waits for it; the error is for people.
async fn push<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    reply: &Reply,
    queue: u32,
    body: &[u8],
) -> Result<(), String> {
    let Some(client_id) = properties::get(&reply.properties, name::REPLY_TO_CLIENT) else {
        let missing = name::REPLY_TO_CLIENT;
        return Err(format!(
            "push reply message fail, it has no property {missing}."
        ));
    };
    let directory = shard.directory();
    let connections = directory.clients().connections(client_id);
    let own = shard.settings().index;
    let here = connections.iter().find(|id| id.shard == own);
    let Some(&connection) = here.or(connections.first()) else {
        return Err(format!(
            "push reply message fail, channel of <{client_id}> not found."
        ));
    };
    let command = pushed(shard, caller, reply, queue);
    let called = shard.call_client(connection, command, body.to_vec(), PUSH_WAIT);
    match called.await {
        Ok((answer, _)) if answer.code == response_code::SUCCESS => Ok(()),
        Ok((answer, _)) => Err(format!(
            "push reply message to {client_id} fail, it answered {}: {}",
            answer.code,
            answer.remark.unwrap_or_default()
        )),
        Err(error) => Err(format!("push reply message to {client_id} fail: {error}")),
    }
}

fn pushed<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    reply: &Reply,
    queue: u32,
) -> Command {
    let now_ms = shard.runtime().wall_ms();
    let host = caller.store_host();
    let mut told = reply.properties.clone();
    properties::set(&mut told, name::PUSH_REPLY_TIME, &now_ms.to_string());
    Command::request(request_code::PUSH_REPLY_MESSAGE_TO_CLIENT, 0)
        .field("producerGroup", &reply.producer_group)
        .field("topic", &reply.topic)
        .field("defaultTopic", &reply.default_topic)
        .field("defaultTopicQueueNums", reply.default_topic_queues)
        .field("queueId", queue)
        .field("sysFlag", reply.sys_flag)
        .field("bornTimestamp", reply.born_ms)
        .field("flag", reply.flag)
        .field("properties", told)
        .field("reconsumeTimes", reply.reconsume_times)
        .field("unitMode", reply.unit_mode)
        .field("bornHost", caller.peer())
        .field("storeHost", format!("{}:{}", host.address, host.port))
        .field("storeTimestamp", now_ms)
}

fn store<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Caller<D>,
    reply: &Reply,
    queue: u32,
    body: &[u8],
) -> Result<Stored, Refused> {
    let peer = caller.peer();
    let property = |name| properties::get(&reply.properties, name).unwrap_or_default();
    let keys = property(name::KEYS);
    let keys: Vec<&str> = keys.split(' ').filter(|key| !key.is_empty()).collect();
    let others = properties::pairs(&reply.properties);
    let others: Vec<(&str, &str)> = others
        .filter(|(found, _)| ![name::KEYS, name::TAGS].contains(found))
        .collect();
    let record = Record {
        born_time_ms: reply.born_ms,
        keys: &keys,
        tag: property(name::TAGS),
        properties: &others,
        envelope: Some(Envelope {
            flag: reply.flag,
            sys_flag: reply.sys_flag,
            reconsume_times: reply.reconsume_times,
            body_crc: body_crc(body),
            prepared_position: 0,
            born_host: Some((peer.ip().to_canonical(), u32::from(peer.port()))),
            properties: &reply.properties,
        }),
        body,
    };
    Ok(delay::store(shard, &reply.topic, queue, &record)?)
}
