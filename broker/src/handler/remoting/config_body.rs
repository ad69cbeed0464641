//! Settings of topics and groups between the state and the bodies of RocketMQ's tools.

use super::Refused;
use crate::state::{GroupSettings, TableVersion, Topic};
use ringmq_wire::remoting::body::groups::GroupConfig;
use ringmq_wire::remoting::body::topics::{DataVersion, TopicConfig, TopicFilterType};
use ringmq_wire::remoting::body::{self, BodyError};
use ringmq_wire::remoting::response_code;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Reads a body that a tool wrote.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refused> {
    body::decode(bytes).map_err(|error: BodyError| {
        let remark = format!("the body cannot be read: {error}");
        Refused::new(response_code::INVALID_PARAMETER, remark)
    })
}

/// A table's version, which tools and brokers compare.
pub(super) fn data_version(version: TableVersion) -> DataVersion {
    DataVersion {
        counter: i64::try_from(version.counter).unwrap_or(i64::MAX),
        state_version: 0,
        timestamp: version.time_ms,
    }
}

/// A topic as this shard has it.
pub(super) fn topic_config(name: &str, topic: &Topic) -> TopicConfig {
    let settings = &topic.settings;
    let attributes = topic.attributes.iter();
    TopicConfig {
        attributes: attributes
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        order: settings.order,
        perm: settings.perm(),
        read_queues: topic.read_queues() as i32,
        topic_filter_type: if settings.multi_tag {
            TopicFilterType::MultiTag
        } else {
            TopicFilterType::SingleTag
        },
        name: name.to_owned(),
        sys_flag: settings.sys_flag,
        write_queues: topic.write_queues() as i32,
    }
}

/// What nothing here acts on; kept as JSON in [`GroupSettings::more`].
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct More {
    attributes: BTreeMap<String, String>,
    group_retry_policy: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    subscription_data_set: Value,
}

/// A group as this shard has it.
pub(super) fn group_config(name: &str, settings: &GroupSettings) -> GroupConfig {
    let more: More = serde_json::from_str(&settings.more).unwrap_or_default();
    GroupConfig {
        attributes: more.attributes,
        broker_id: settings.broker_id,
        consume_broadcast_enable: settings.consume_broadcast,
        consume_enable: settings.consume_enable,
        consume_from_min_enable: settings.consume_from_min,
        consume_message_orderly: settings.consume_orderly,
        consume_timeout_minute: settings.consume_timeout_minutes,
        name: name.to_owned(),
        group_retry_policy: more.group_retry_policy,
        subscription_data_set: more.subscription_data_set,
        sys_flag: settings.sys_flag,
        notify_consumer_ids_changed_enable: settings.notify_changes,
        retry_max_times: settings.retry_max,
        retry_queue_nums: settings.retry_queues,
        which_broker_when_consume_slowly: settings.broker_when_slow,
    }
}

/// The settings that a tool wants. Which topics the group may not read is not among them.
pub(super) fn group_settings(config: GroupConfig) -> GroupSettings {
    let more = More {
        attributes: config.attributes,
        group_retry_policy: config.group_retry_policy,
        subscription_data_set: config.subscription_data_set,
    };
    let more = if more == More::default() {
        String::new()
    } else {
        serde_json::to_string(&more).unwrap_or_default()
    };
    GroupSettings {
        consume_enable: config.consume_enable,
        consume_from_min: config.consume_from_min_enable,
        consume_broadcast: config.consume_broadcast_enable,
        consume_orderly: config.consume_message_orderly,
        notify_changes: config.notify_consumer_ids_changed_enable,
        retry_queues: config.retry_queue_nums,
        retry_max: config.retry_max_times,
        broker_id: config.broker_id,
        broker_when_slow: config.which_broker_when_consume_slowly,
        sys_flag: config.sys_flag,
        consume_timeout_minutes: config.consume_timeout_minute,
        more: more.into(),
        ..GroupSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What mqadmin 4.9.7 sends.
    const OLD: &[u8] = br#"{"brokerId":0,"consumeBroadcastEnable":false,"consumeEnable":true,"consumeFromMinEnable":false,"groupName":"adm_group","notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"whichBrokerWhenConsumeSlowly":1}"#;

    #[test]
    fn an_old_tool_sends_less() {
        let config: GroupConfig = read(OLD).expect("read");
        assert_eq!(config.name, "adm_group");
        let expected = GroupSettings {
            consume_from_min: false,
            consume_broadcast: false,
            ..GroupSettings::default()
        };
        assert_eq!(group_settings(config), expected);
    }

    #[test]
    fn what_nothing_acts_on_comes_back() {
        let sent = br#"{"groupName":"g","retryMaxTimes":3,"groupRetryPolicy":{"type":"EXPONENTIAL"},"attributes":{"a":"b"},"subscriptionDataSet":[{"topic":"t","expressionType":"TAG","expression":"*","version":1}]}"#;
        let config: GroupConfig = read(sent).expect("read");
        let settings = group_settings(config.clone());
        assert_eq!(settings.retry_max, 3);
        assert_eq!(group_config("g", &settings), config);
    }
}
