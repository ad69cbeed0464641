//! What a group subscribes to, for a pull that does not say it.

use crate::handler::remoting::Refused;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::body::heartbeat::{MessageModel, Subscription};
use ringmq_wire::remoting::response_code;
use std::sync::Arc;

/// The subscription of the group's last heartbeats to the topic. `version` is the pull's: the client may have
/// changed its mind since it was heard of, which is no error of its own and is tried again after a second.
///
/// That the group has no native members is the caller's to check ([`refuse_native`]).
///
/// Errors: 24 if the group or its subscription is not known, 25 if what is known is older, 16 if the group consumes
/// in broadcast mode and may not, or may not read this topic.
pub fn subscription<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    group: &str,
    topic: &str,
    version: i64,
) -> Result<Arc<Subscription>, Refused> {
    let directory = shard.directory();
    let Some(consumers) = directory.clients().consumers(group) else {
        let remark = format!("the consumer's group info not exist: {group}");
        return Err(Refused::new(response_code::SUBSCRIPTION_NOT_EXIST, remark));
    };
    let is_broadcast = consumers.settings.message_model == MessageModel::Broadcasting;
    let forbidden = shard.with_state(|state| {
        let settings = state.group_settings(group)?;
        if is_broadcast && !settings.consume_broadcast {
            return Some((4, "consumes in broadcast mode, which its settings forbid"));
        }
        let is_forbidden = settings.is_forbidden(topic);
        is_forbidden.then_some((5, "may not read this topic"))
    });
    if let Some((kind, why)) = forbidden {
        let remark = format!("the consumer group[{group}] {why}: {topic}");
        let refused = Refused::new(response_code::NO_PERMISSION, remark);
        return Err(refused.field("forbiddenType", kind));
    }
    let Some(known) = consumers.subscriptions.get(topic) else {
        let remark = format!("the consumer's subscription not exist: group {group}, topic {topic}");
        return Err(Refused::new(response_code::SUBSCRIPTION_NOT_EXIST, remark));
    };
    if known.version < version {
        let remark =
            format!("the consumer's subscription not latest: group {group}, topic {topic}");
        return Err(Refused::new(response_code::SUBSCRIPTION_NOT_LATEST, remark));
    }
    Ok(known.clone())
}

/// Refuses (16) what would consume for a group that has native members at this node.
pub fn refuse_native<D: Disk, R: Runtime>(shard: &Shard<D, R>, group: &str) -> Result<(), Refused> {
    let directory = shard.directory();
    let native = directory.group(group);
    let Some(member) = native.and_then(|group| group.members.values().next()) else {
        return Ok(());
    };
    Err(Refused::new(
        response_code::NO_PERMISSION,
        format!(
            "group {group} has members of the native protocol ({} at {}); RocketMQ clients may join when they have left, or under another group name",
            member.member, member.client_address
        ),
    ))
}
