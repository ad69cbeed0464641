//! Settings of consumer groups, as RocketMQ's tools make them. A group without settings is one of native members only.

use super::limits::{GROUP_FORBIDDEN_MAX, GROUP_MORE_BYTES_MAX};
use super::record::ControlRecord;
use super::{Refuse, ShardState, groups};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_wire::codes::ErrorCode;

/// RocketMQ's subscription group on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Whether the group may pull at all.
    pub consume_enable: bool,
    pub consume_from_min: bool,
    /// Whether members may consume in broadcast mode.
    pub consume_broadcast: bool,
    pub consume_orderly: bool,
    /// Whether members are told when others come and go.
    pub notify_changes: bool,
    /// Queues of the group's retry topic; none (0 or less): messages are not retried.
    pub retry_queues: i32,
    /// Retries before a message is a dead letter, unless the request says otherwise.
    pub retry_max: i32,
    pub broker_id: i64,
    pub broker_when_slow: i64,
    pub sys_flag: i32,
    pub consume_timeout_minutes: i32,
    /// Queues from this one on were made after the group; `None`: not known. Handles only rise, so this stands for a
    /// time of creation.
    pub younger_from: Option<QueueHandle>,
    /// Topics that the group may not read, by rising name.
    pub forbidden: Vec<Box<str>>,
    /// JSON object of fields that tools set and nothing here acts on; empty: none.
    pub more: Box<str>,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            consume_enable: true,
            consume_from_min: true,
            consume_broadcast: true,
            consume_orderly: false,
            notify_changes: true,
            retry_queues: 1,
            retry_max: 16,
            broker_id: 0,
            broker_when_slow: 1,
            sys_flag: 0,
            consume_timeout_minutes: 15,
            younger_from: None,
            forbidden: Vec::new(),
            more: "".into(),
        }
    }
}

impl GroupSettings {
    /// Whether the queue was made after the group.
    pub fn is_younger(&self, queue: QueueHandle) -> bool {
        self.younger_from.is_some_and(|first| queue >= first)
    }

    /// Whether the group may not read this topic.
    pub fn is_forbidden(&self, topic: &str) -> bool {
        self.forbidden
            .binary_search_by(|name| (**name).cmp(topic))
            .is_ok()
    }

    /// Allows or forbids a topic.
    pub fn set_forbidden(&mut self, topic: &str, forbidden: bool) {
        match self.forbidden.binary_search_by(|name| (**name).cmp(topic)) {
            Err(at) if forbidden => self.forbidden.insert(at, topic.into()),
            Ok(at) if !forbidden => drop(self.forbidden.remove(at)),
            _ => {}
        }
    }
}

/// Makes or changes the settings of a group. `None`: they are so already. When the group was made is not for the
/// caller to say.
pub fn put(
    state: &ShardState,
    group: &str,
    mut settings: GroupSettings,
) -> Result<Option<ControlRecord>, Refuse> {
    groups::check_name(group)?;
    if settings.forbidden.len() > GROUP_FORBIDDEN_MAX {
        return Err(Refuse::new(
            ErrorCode::InvalidRequest,
            format!("a group may be kept from {GROUP_FORBIDDEN_MAX} topics at most"),
        ));
    }
    if settings.more.len() > GROUP_MORE_BYTES_MAX {
        return Err(Refuse::new(
            ErrorCode::InvalidRequest,
            format!("further settings of a group have at most {GROUP_MORE_BYTES_MAX} bytes"),
        ));
    }
    let old = state.group_settings(group);
    settings.younger_from = match old {
        Some(old) => old.younger_from,
        None => Some(QueueHandle(state.meta().next_handle)),
    };
    match old {
        Some(old) if *old == settings => return Ok(None),
        Some(_) => {}
        None => room(state)?,
    }
    Ok(Some(ControlRecord::GroupSettingsPut {
        group: group.into(),
        settings: Box::new(settings),
    }))
}

/// Removes the settings of a group. `None`: there are none.
pub fn remove(state: &ShardState, group: &str) -> Option<ControlRecord> {
    state.group_settings(group)?;
    Some(ControlRecord::GroupSettingsRemove {
        group: group.into(),
    })
}

fn room(state: &ShardState) -> Result<(), Refuse> {
    let limit = state.limits().groups_max;
    if state.group_settings_count() < limit {
        return Ok(());
    }
    Err(Refuse::new(
        ErrorCode::Busy,
        format!("the shard keeps settings of {limit} groups; delete groups that are not used"),
    ))
}
