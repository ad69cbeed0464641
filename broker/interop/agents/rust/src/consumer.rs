//! Push consumers, each with a rule for which messages to refuse.

use std::{collections::HashMap, sync::Mutex};

use rocketmq_client_rust::{
    ClientConfig, ClientResult, ConsumeConcurrentlyContext, ConsumeConcurrentlyStatus,
    ConsumeOrderlyContext, ConsumeOrderlyStatus, DefaultMQPushConsumer, MQPushConsumer,
    MessageListenerConcurrently, MessageListenerOrderly,
};
use rocketmq_model::common::{
    consumer::consume_from_where::ConsumeFromWhere, message::message_ext::MessageExt,
};
use rocketmq_protocol::protocol::heartbeat::message_model::MessageModel;
use serde_json::{Value, json};

use crate::{Agent, Outcome, output, producer::Producer, text};

/// Listeners that run at a time. By default the client has twenty of them, in a pool of two threads a core with room for eight more
/// tasks a core; what finds no room counts as refused by the listener, and a broadcasting consumer forgets what was refused.
const LISTENERS: u32 = 2;

pub struct Consumer {
    inner: DefaultMQPushConsumer,
}

/// Reports every delivery and refuses a message until it was delivered often enough.
struct Listener {
    name: String,
    /// Deliveries of a message that are refused before one is accepted.
    refuse: usize,
    /// Only messages with this in their body are refused.
    refuse_body: String,
    /// Deliveries so far, by topic-wide place of the message. An orderly consumer is given the same record again.
    seen: Mutex<HashMap<String, usize>>,
    /// Answers every message, for request and reply.
    replier: Option<(Producer, tokio::runtime::Handle)>,
}

impl Listener {
    /// Whether the message is accepted.
    fn take(&self, message: &MessageExt, times: usize) -> bool {
        let mut event = output::message(message);
        event["event"] = json!("message");
        event["consumer"] = json!(self.name);
        let body = message.body().unwrap_or_default();
        let concerned = String::from_utf8_lossy(&body).contains(&self.refuse_body);
        let accepted = times >= self.refuse || !concerned;
        event["accepted"] = json!(accepted);
        output::line(&event);
        if let Some((producer, runtime)) = &self.replier {
            let producer = producer.clone();
            let request = message.message_inner().clone();
            let reply = [b"reply to ", body.as_ref()].concat();
            runtime.spawn(async move {
                if let Err(error) = producer.reply(&request, &reply).await {
                    eprintln!("reply: {error}");
                }
            });
        }
        accepted
    }
}

impl MessageListenerConcurrently for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        _: &ConsumeConcurrentlyContext,
    ) -> ClientResult<ConsumeConcurrentlyStatus> {
        let times = |message: &MessageExt| message.reconsume_times() as usize;
        let accepted = messages
            .iter()
            .all(|message| self.take(message, times(message)));
        Ok(match accepted {
            true => ConsumeConcurrentlyStatus::ConsumeSuccess,
            false => ConsumeConcurrentlyStatus::ReconsumeLater,
        })
    }
}

impl MessageListenerOrderly for Listener {
    fn consume_message(
        &self,
        messages: &[&MessageExt],
        context: &mut ConsumeOrderlyContext,
    ) -> ClientResult<ConsumeOrderlyStatus> {
        for message in messages {
            let place = format!(
                "{}/{}/{}",
                message.broker_name(),
                message.queue_id(),
                message.queue_offset()
            );
            let times = {
                let mut seen = self.seen.lock().expect("nobody panics with it");
                let count = seen.entry(place).or_default();
                *count += 1;
                *count - 1
            };
            if !self.take(message, times) {
                context.set_suspend_current_queue_time_millis(100);
                return Ok(ConsumeOrderlyStatus::SuspendCurrentQueueAMoment);
            }
        }
        Ok(ConsumeOrderlyStatus::Success)
    }
}

impl Consumer {
    pub async fn start(agent: &Agent, command: &Value, replier: Option<Producer>) -> Outcome<Self> {
        let name = text(command, "name")?.to_owned();
        let config = ClientConfig::builder()
            .namesrv_addr(agent.namesrv.clone())
            .instance_name(format!("{}-{name}", agent.instance))
            .build()?;
        let model = match command["model"].as_str() {
            Some("broadcasting") => MessageModel::Broadcasting,
            _ => MessageModel::Clustering,
        };
        let mut builder = DefaultMQPushConsumer::builder(agent.client.clone())
            .client_config(config)
            .consumer_group(text(command, "group")?)
            .consume_from_where(ConsumeFromWhere::ConsumeFromFirstOffset)
            .consume_thread_min(LISTENERS)
            .consume_thread_max(LISTENERS)
            .message_model(model);
        if let Some(times) = command["max_reconsume"].as_i64() {
            builder = builder.max_reconsume_times(times as i32);
        }
        let mut inner = builder.build();
        inner
            .subscribe(
                text(command, "topic")?,
                command["tags"].as_str().unwrap_or("*"),
            )
            .await?;
        let listener = Listener {
            name,
            refuse: command["refuse"].as_u64().unwrap_or(0) as usize,
            refuse_body: command["refuse_body"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            seen: Mutex::default(),
            replier: replier.map(|producer| (producer, tokio::runtime::Handle::current())),
        };
        match command["ordered"] == true {
            true => inner.register_message_listener_orderly(listener),
            false => inner.register_message_listener_concurrently(listener),
        }
        inner.start().await?;
        Ok(Self { inner })
    }

    pub async fn stop(mut self) {
        self.inner.shutdown().await;
    }
}
