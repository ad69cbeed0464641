//! Maps whose keys are queues, in the form that Java writes and all clients read: an object as a key, which is no JSON.

use serde_json::Value;

/// `{{"brokerName":…,"queueId":…,"topic":…}:value,…}`. Clients of some languages need this order of the key's fields.
#[derive(Debug)]
pub(super) struct QueueTable<'a> {
    broker: &'a str,
    text: String,
}

impl<'a> QueueTable<'a> {
    /// An empty map of a broker's queues.
    pub(super) fn new(broker: &'a str) -> Self {
        Self {
            broker,
            text: String::from("{"),
        }
    }

    pub(super) fn push(&mut self, topic: &str, queue: u32, value: &Value) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        let (broker, topic) = (Value::from(self.broker), Value::from(topic));
        self.text.push_str(&format!(
            r#"{{"brokerName":{broker},"queueId":{queue},"topic":{topic}}}:{value}"#
        ));
    }

    /// The text of the map.
    pub(super) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_looks_as_java_writes_it() {
        assert_eq!(QueueTable::new("b").finish(), "{}");
        let mut table = QueueTable::new("s00-a");
        table.push("T", 3, &json!({ "maxOffset": 4 }));
        table.push("T", 4, &json!(7));
        let expected = r#"{{"brokerName":"s00-a","queueId":3,"topic":"T"}:{"maxOffset":4},{"brokerName":"s00-a","queueId":4,"topic":"T"}:7}"#;
        assert_eq!(table.finish(), expected);
    }
}
