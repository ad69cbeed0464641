//! Lines on standard output, whole even when several threads write.

use std::io::Write;

use base64::{Engine, prelude::BASE64_STANDARD};
use rocketmq_model::common::message::{MessageTrait, message_ext::MessageExt};
use serde_json::{Value, json};

/// Writes one object as one line.
pub fn line(value: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever started us is gone if this fails; there is nobody to tell.
    let _ = writeln!(out, "{value}");
    let _ = out.flush();
}

/// A received message, as every agent reports it.
pub fn message(message: &MessageExt) -> Value {
    let body = message.body().unwrap_or_default();
    let properties = message.properties().iter();
    let properties = properties.map(|(name, value)| (name.to_string(), json!(value.as_str())));
    json!({
        "topic": message.topic().as_str(),
        "body": BASE64_STANDARD.encode(body),
        "tag": message.get_tags().map(|tag| tag.to_string()),
        "keys": MessageTrait::get_keys(message).map(|keys| keys.to_string()),
        "broker": message.broker_name(),
        "queue": message.queue_id(),
        "offset": message.queue_offset(),
        "position": message.commit_log_offset(),
        "times": message.reconsume_times(),
        "msg_id": message.msg_id().as_str(),
        "born_host": message.born_host().to_string(),
        "born": message.born_timestamp(),
        "stored": message.store_timestamp(),
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    })
}
