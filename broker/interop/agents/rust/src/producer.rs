//! Sends messages in the ways that the client has.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_STANDARD};
use cheetah_string::CheetahString;
use rocketmq_client_rust::{ClientConfig, DefaultMQProducer, MessageUtil};
use rocketmq_model::{
    common::message::{MessageTrait, message_queue::MessageQueue, message_single::Message},
    result::SendResult,
};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use crate::{Agent, Outcome, output, text};

/// Attempts after the first. A refused connection is tried again at the same broker, after a pause, until five failures have opened its
/// circuit breaker; only then does the client turn to another broker. Its own default, two, is used up before that.
const RETRIES: u32 = 8;

#[derive(Clone)]
pub struct Producer {
    inner: Arc<DefaultMQProducer>,
}

impl Producer {
    pub async fn start(agent: &Agent) -> Outcome<Self> {
        let config = ClientConfig::builder()
            .namesrv_addr(agent.namesrv.clone())
            .instance_name(format!("{}-producer", agent.instance))
            .build()?;
        let mut inner = DefaultMQProducer::builder(agent.client.clone())
            .client_config(config)
            .producer_group(format!("interop-{}", agent.instance))
            .retry_times_when_send_failed(RETRIES)
            .build();
        inner.start().await?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    pub async fn stop(self) {
        if let Some(mut inner) = Arc::into_inner(self.inner) {
            inner.shutdown().await;
        }
    }

    /// One result for each message: `{offset, queue, broker, msg_id, status}` or `{error}`. A batch has one for all.
    pub async fn produce(&self, command: &Value) -> Outcome {
        let topic = text(command, "topic")?;
        let specs = command["messages"].as_array().ok_or("no messages")?;
        let messages: Vec<(Message, Option<usize>)> = specs
            .iter()
            .map(|spec| message(topic, spec))
            .collect::<Outcome<_>>()?;
        let results = match text(command, "how")? {
            "batch" => {
                let messages = messages.into_iter().map(|(message, _)| message).collect();
                vec![report(self.inner.send_batch(messages).await.map(Some))]
            }
            "oneway" => self.oneway(messages).await,
            "async" => self.callbacks(messages).await?,
            _ => {
                self.concurrently(messages, command["in_flight"].as_u64().unwrap_or(1))
                    .await
            }
        };
        Ok(json!(results))
    }

    /// Messages with a key, whenever they were stored.
    pub async fn query(&mut self, command: &Value) -> Outcome {
        let (topic, key) = (text(command, "topic")?, text(command, "key")?);
        let inner = Arc::get_mut(&mut self.inner).ok_or("sends are under way")?;
        let found = inner
            .query_message(topic, key, 32, 0, i64::MAX as u64)
            .await?;
        let found = found.message_list().iter().map(output::message);
        Ok(json!(found.collect::<Vec<_>>()))
    }

    /// The message with an id of the broker's kind.
    pub async fn view(&mut self, command: &Value) -> Outcome {
        let (topic, id) = (text(command, "topic")?, text(command, "message")?);
        let inner = Arc::get_mut(&mut self.inner).ok_or("sends are under way")?;
        Ok(output::message(&inner.view_message(topic, id).await?))
    }

    /// Sends a request and waits for the reply.
    pub async fn request(&self, command: &Value) -> Outcome {
        let (message, _) = message(text(command, "topic")?, command)?;
        let timeout = command["timeout"].as_u64().unwrap_or(10_000);
        let reply = self.inner.request(message, timeout).await?;
        let body = reply.get_body().map(|body| BASE64_STANDARD.encode(body));
        Ok(json!({ "body": body }))
    }

    /// Sends what a consumer answers a request with.
    pub async fn reply(&self, request: &Message, body: &[u8]) -> Outcome<()> {
        let reply = MessageUtil::create_reply_message(request, body)?;
        self.inner.send(reply).await?;
        Ok(())
    }

    async fn oneway(&self, messages: Vec<(Message, Option<usize>)>) -> Vec<Value> {
        let mut results = Vec::new();
        for (message, _) in messages {
            results.push(match self.inner.send_oneway(message).await {
                Ok(()) => json!({}),
                Err(error) => json!({ "error": error.to_string() }),
            });
        }
        results
    }

    async fn callbacks(&self, messages: Vec<(Message, Option<usize>)>) -> Outcome<Vec<Value>> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let mut results = vec![Value::Null; messages.len()];
        for (index, (message, _)) in messages.into_iter().enumerate() {
            let sender = sender.clone();
            let callback = move |result: Option<&SendResult>, error: Option<&_>| {
                let outcome = match (result, error) {
                    (Some(result), _) => sent(result),
                    (None, Some(error)) => {
                        let error: &rocketmq_client_rust::ClientError = error;
                        json!({ "error": error.to_string() })
                    }
                    (None, None) => json!({ "error": "called back with nothing" }),
                };
                let _ = sender.send((index, outcome));
            };
            self.inner.send_with_callback(message, callback).await?;
        }
        drop(sender);
        while let Some((index, outcome)) = receiver.recv().await {
            results[index] = outcome;
        }
        Ok(results)
    }

    /// Synchronous sends, a few of them at a time.
    async fn concurrently(
        &self,
        messages: Vec<(Message, Option<usize>)>,
        in_flight: u64,
    ) -> Vec<Value> {
        let permits = Arc::new(Semaphore::new(in_flight as usize));
        let mut tasks = Vec::new();
        for (message, queue) in messages {
            let permit = permits.clone().acquire_owned().await.expect("never closed");
            let producer = self.inner.clone();
            tasks.push(tokio::spawn(async move {
                let _permit = permit;
                report(match queue {
                    None => producer.send(message).await,
                    Some(queue) => producer.send_with_selector(message, select, queue).await,
                })
            }));
        }
        let mut results = Vec::new();
        for task in tasks {
            results.push(
                task.await
                    .unwrap_or_else(|error| json!({ "error": error.to_string() })),
            );
        }
        results
    }
}

/// The queue with this place among all queues of the topic, in the order of their brokers.
fn select(queues: &[MessageQueue], _: &Message, queue: &usize) -> Option<MessageQueue> {
    let mut sorted: Vec<_> = queues.to_vec();
    sorted.sort_by_key(|queue| (queue.broker_name().to_string(), queue.queue_id()));
    sorted.get(queue % sorted.len()).cloned()
}

fn message(topic: &str, spec: &Value) -> Outcome<(Message, Option<usize>)> {
    let body = BASE64_STANDARD.decode(text(spec, "body")?)?;
    let mut message = Message::new_with_vec(topic, body);
    if let Some(tag) = spec["tag"].as_str() {
        MessageTrait::set_tags(&mut message, tag.into());
    }
    if let Some(keys) = spec["keys"].as_str() {
        MessageTrait::set_keys(&mut message, keys.into());
    }
    if let Some(level) = spec["delay"].as_i64() {
        MessageTrait::set_delay_time_level(&mut message, level as i32);
    }
    for (name, value) in spec["properties"].as_object().into_iter().flatten() {
        let value = value.as_str().ok_or("a property is text")?;
        let value = CheetahString::from(value);
        message.put_property(CheetahString::from(name.as_str()), value);
    }
    Ok((message, spec["queue"].as_u64().map(|queue| queue as usize)))
}

fn report(result: rocketmq_client_rust::ClientResult<Option<SendResult>>) -> Value {
    match result {
        Ok(Some(result)) => sent(&result),
        Ok(None) => json!({ "error": "no result" }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn sent(result: &SendResult) -> Value {
    let queue = result.message_queue.as_ref();
    json!({
        "status": format!("{:?}", result.send_status),
        "msg_id": result.msg_id.as_ref().map(ToString::to_string),
        "offset_msg_id": result.offset_msg_id,
        "broker": queue.map(|queue| queue.broker_name().to_string()),
        "queue": queue.map(|queue| queue.queue_id()),
        "offset": result.queue_offset,
    })
}
