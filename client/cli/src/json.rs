//! What JSON output looks like: these types are its contract, apart from the client library's.

use crate::time::format_utc;
use ringmq::{FoundMessage, Received};
use serde::Serialize;

/// One message.
#[derive(Debug, Serialize)]
pub(crate) struct MessageView<'a> {
    topic: &'a str,
    queue: u32,
    offset: u64,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<&'a str>,
    born_time: String,
    store_time: String,
    keys: Vec<&'a str>,
    tag: Option<&'a str>,
    /// Pairs, because names may repeat and have an order.
    properties: Vec<(&'a str, &'a str)>,
    /// The body if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// The body if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl<'a> From<&'a Received> for MessageView<'a> {
    fn from(message: &'a Received) -> Self {
        let (body, body_base64) = text_or_base64(message.body());
        Self {
            topic: message.topic(),
            queue: message.queue().queue,
            offset: message.offset(),
            position: message.position(),
            shard: None,
            born_time: format_utc(message.born_time_ms()),
            store_time: format_utc(message.store_time_ms()),
            keys: message.keys().collect(),
            tag: message.tag(),
            properties: message.properties().collect(),
            body,
            body_base64,
        }
    }
}

impl<'a> From<&'a FoundMessage> for MessageView<'a> {
    fn from(message: &'a FoundMessage) -> Self {
        let (body, body_base64) = text_or_base64(&message.body);
        Self {
            topic: &message.queue.topic,
            queue: message.queue.queue,
            offset: message.offset,
            position: message.position,
            shard: Some(&message.shard),
            born_time: format_utc(message.born_time_ms),
            store_time: format_utc(message.store_time_ms),
            keys: message.keys.iter().map(String::as_str).collect(),
            tag: message.tag.as_deref(),
            properties: message
                .properties
                .iter()
                .map(|(n, v)| (n.as_str(), v.as_str()))
                .collect(),
            body,
            body_base64,
        }
    }
}

impl MessageView<'_> {
    /// For people, a line a field.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![
            format!("topic       {}", self.topic),
            format!("queue       {}", self.queue),
            format!("offset      {}", self.offset),
            format!("position    {}", self.position),
        ];
        lines.extend(self.shard.map(|shard| format!("shard       {shard}")));
        lines.push(format!("born        {}", self.born_time));
        lines.push(format!("stored      {}", self.store_time));
        if !self.keys.is_empty() {
            lines.push(format!("keys        {}", self.keys.join(" ")));
        }
        lines.extend(self.tag.map(|tag| format!("tag         {tag}")));
        let properties = self.properties.iter();
        lines.extend(properties.map(|(name, value)| format!("property    {name}={value}")));
        lines.extend(self.body.map(|body| format!("body        {body}")));
        lines.extend(
            self.body_base64
                .as_ref()
                .map(|body| format!("body64      {body}")),
        );
        lines.join("\n")
    }
}

fn text_or_base64(body: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(body) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(base64(body))),
    }
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            if index <= chunk.len() {
                text.push(char::from(
                    ALPHABET[(group >> (18 - 6 * index)) as usize & 63],
                ));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(text_or_base64(&[0xff]), (None, Some("/w==".to_string())));
    }
}
