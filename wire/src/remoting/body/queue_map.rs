//! Maps with queues as keys, as Java writes them: `{{"brokerName":"b","queueId":0,"topic":"t"}:5}`.
//!
//! That is no JSON. Java also reads a key that is a string, but the Go client does not, so this form is written. Readers
//! take both.

use std::io::Write;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};

use super::dialect;
use super::locks::MessageQueue;

/// Queues and what belongs to them, in the order in which they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMap<V>(pub Vec<(MessageQueue, V)>);

impl<V> Default for QueueMap<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Serialize> QueueMap<V> {
    /// Appends the map to a body.
    pub fn append_to(&self, body: &mut Vec<u8>) {
        body.push(b'{');
        for (index, (queue, value)) in self.0.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend(super::encode(queue));
            body.push(b':');
            body.extend(super::encode(value));
        }
        body.push(b'}');
    }

    /// A body that is an object of members in JSON and this map: `{members,"name":{...}}`.
    pub(super) fn body(&self, name: &str, members: &[(&str, &dyn Member)]) -> Vec<u8> {
        let mut body = vec![b'{'];
        for (name, value) in members {
            write!(body, "\"{name}\":").expect("memory takes everything");
            value.append_to(&mut body);
            body.push(b',');
        }
        write!(body, "\"{name}\":").expect("memory takes everything");
        self.append_to(&mut body);
        body.push(b'}');
        body
    }
}

/// A value beside the map.
pub(super) trait Member {
    fn append_to(&self, body: &mut Vec<u8>);
}

impl<T: Serialize> Member for T {
    fn append_to(&self, body: &mut Vec<u8>) {
        body.extend(super::encode(self));
    }
}

/// Reads a map whose keys are texts of queues: what [`dialect`] makes of both forms.
impl<'de, V: DeserializeOwned> Deserialize<'de> for QueueMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Option::<serde_json::Map<_, _>>::deserialize(deserializer)?;
        let entries = map.unwrap_or_default().into_iter().map(|(key, value)| {
            let key = dialect::parse(key.as_bytes()).map_err(Error::custom)?;
            let queue = serde_json::from_value(key).map_err(Error::custom)?;
            let value = serde_json::from_value(value).map_err(Error::custom)?;
            Ok((queue, value))
        });
        entries.collect::<Result<_, _>>().map(Self)
    }
}
