//! Drives the `rocketmq-client-rust` crate as told on standard input: one JSON object a line in, answers and received
//! messages one a line out. `../README.md` lists the commands; the agents of the other clients take the same ones.

#![recursion_limit = "512"]
#![allow(deprecated)] // The classic pull consumer is what older programs use.

mod admin;
mod consumer;
mod output;
mod producer;
mod pull;
mod runtime;

use std::{collections::HashMap, error::Error, sync::Arc};

use rocketmq_client_rust::ClientRuntime;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

type Outcome<T = Value> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the agent keeps between commands.
struct Agent {
    client: Arc<ClientRuntime>,
    namesrv: String,
    instance: String,
    producer: Option<producer::Producer>,
    consumers: HashMap<String, consumer::Consumer>,
}

impl Agent {
    /// The one producer, started at its first use.
    async fn producer(&mut self) -> Outcome<&mut producer::Producer> {
        if self.producer.is_none() {
            self.producer = Some(producer::Producer::start(self).await?);
        }
        Ok(self.producer.as_mut().expect("started"))
    }

    async fn obey(&mut self, command: &Value) -> Outcome {
        match text(command, "do")? {
            "produce" => self.producer().await?.produce(command).await,
            "query" => self.producer().await?.query(command).await,
            "view" => self.producer().await?.view(command).await,
            "request" => self.producer().await?.request(command).await,
            "consume" => {
                let name = text(command, "name")?.to_owned();
                let replier = match command["reply"] == true {
                    true => Some(self.producer().await?.clone()),
                    false => None,
                };
                let consumer = consumer::Consumer::start(self, command, replier).await?;
                self.consumers.insert(name, consumer);
                Ok(json!({}))
            }
            "stop" => {
                let name = text(command, "name")?;
                let consumer = self.consumers.remove(name).ok_or("no such consumer")?;
                consumer.stop().await;
                Ok(json!({}))
            }
            "pull" => pull::pull(self, command).await,
            "admin" => admin::run(self, command).await,
            other => Err(format!("unknown command {other}").into()),
        }
    }
}

/// A field that must be there and be text.
fn text<'a>(command: &'a Value, name: &str) -> Outcome<&'a str> {
    let value = command[name].as_str();
    value.ok_or_else(|| format!("the command has no {name}").into())
}

// One worker: the client goes round the queues with an index for each thread. A send that is tried again on another thread may meet
// a second shard of a node that is gone, and then a third.
#[tokio::main(worker_threads = 1)]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let (namesrv, instance) = (arguments.next(), arguments.next());
    let runtime = runtime::Runtime::start()?;
    let mut agent = Agent {
        client: runtime.client(),
        namesrv: namesrv.ok_or("usage: NAME-SERVERS INSTANCE")?,
        instance: instance.ok_or("usage: NAME-SERVERS INSTANCE")?,
        producer: None,
        consumers: HashMap::new(),
    };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        if command["do"] == "quit" {
            break;
        }
        let answer = match agent.obey(&command).await {
            Ok(value) => json!({ "answer": command["id"], "value": value }),
            Err(error) => json!({ "answer": command["id"], "error": error.to_string() }),
        };
        output::line(&answer);
    }
    for (_, consumer) in agent.consumers.drain() {
        consumer.stop().await;
    }
    if let Some(producer) = agent.producer.take() {
        producer.stop().await;
    }
    // The client's background tasks may outlive its shutdown; the process does not wait for them.
    std::process::exit(0);
}
