//! `ringmq produce`: one message a line.

use crate::args::{Acks, Compression, Produce};
use crate::error::CliError;
use crate::lines::{self, Block};
use crate::output::{Output, is_watched};
use crate::stop;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use ringmq::{Client, Delivery, Message, Producer};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Messages handed over whose outcome is not known yet; the producer bounds their bytes, this their number.
const UNSETTLED_MAX: usize = 200_000;
/// Larger than the library's default: a file has no one who waits for the first answer.
const BATCH_BYTES: usize = 512 << 10;

pub(crate) async fn run(
    client: &Client,
    arguments: Produce,
    output: &Output,
) -> Result<(), CliError> {
    let topic = client.admin().describe_topic(&arguments.topic).await?.topic;
    let mut input = lines::open(&arguments.file)?;
    let mut sender = Sender::start(client, arguments, topic.queues);
    let progress = Progress::new(input.size_bytes);
    let started = Instant::now();
    let mut interrupted = false;
    let stop = stop::requested();
    tokio::pin!(stop);
    let outcome = loop {
        let block = tokio::select! {
            block = input.blocks.recv() => block,
            () = &mut stop => {
                interrupted = true;
                None
            }
        };
        match block {
            None => break Ok(()),
            Some(Err(error)) => break Err(error),
            Some(Ok(block)) => {
                let bytes = block.bytes;
                if let Err(error) = sender.send_all(block).await {
                    break Err(error);
                }
                progress.add(bytes);
            }
        }
    };
    let (stored, settled) = sender.finish().await;
    progress.finish();
    let seconds = started.elapsed().as_secs_f64();
    output.remark(&format!(
        "{stored} messages to {} in {seconds:.1} s",
        topic.name
    ));
    // What the broker said comes before what followed from it.
    settled.and(outcome)?;
    if interrupted {
        return Err(CliError::Failed("interrupted".to_string()));
    }
    Ok(())
}

struct Sender {
    arguments: Produce,
    producer: Producer,
    queues: u32,
    line: u64,
    unsettled: mpsc::Sender<(u64, Delivery)>,
    settling: JoinHandle<(u64, Result<(), CliError>)>,
}

impl Sender {
    fn start(client: &Client, arguments: Produce, queues: u32) -> Self {
        let producer = client
            .producer()
            .acks(arguments.acks.into())
            .compression(arguments.compression.into())
            .batch_bytes(BATCH_BYTES)
            .delivery_timeout(arguments.delivery_timeout)
            .create_topics(false)
            .build();
        let (unsettled, deliveries) = mpsc::channel(UNSETTLED_MAX);
        let settling = tokio::spawn(settle(deliveries));
        Self {
            arguments,
            producer,
            queues,
            line: 0,
            unsettled,
            settling,
        }
    }

    async fn send_all(&mut self, block: Block) -> Result<(), CliError> {
        for line in block.lines {
            self.line += 1;
            let message = self.message(line)?;
            let delivery = self.producer.enqueue(message).await;
            let delivery = delivery.map_err(|source| CliError::Send {
                line: self.line,
                source,
            })?;
            if self.unsettled.send((self.line, delivery)).await.is_err() {
                // An earlier message failed; finish() says which.
                return Err(CliError::Failed("stopped at the first failure".to_string()));
            }
        }
        Ok(())
    }

    fn message(&self, line: Bytes) -> Result<Message, CliError> {
        let arguments = &self.arguments;
        let (key, body) = match &arguments.key_separator {
            None => (None, line),
            Some(separator) => split_key(line, separator.as_bytes()),
        };
        let mut message = Message::new(arguments.topic.as_str(), body);
        if let Some(key) = key {
            let key = std::str::from_utf8(&key).map_err(|_| {
                CliError::Failed(format!("line {}: the key is not UTF-8 text", self.line))
            })?;
            message = message.key(key);
        }
        message.tag = arguments.tag.clone();
        message.properties = arguments.property.clone();
        message.queue = arguments.queue;
        if arguments.queues_in_turn {
            message.queue = Some(((self.line - 1) % u64::from(self.queues)) as u32);
        }
        Ok(message)
    }

    /// How many messages were stored, and the first failure.
    async fn finish(self) -> (u64, Result<(), CliError>) {
        drop(self.unsettled);
        self.settling.await.unwrap_or_else(|error| {
            (
                0,
                Err(CliError::Failed(format!(
                    "collecting the outcomes failed: {error}"
                ))),
            )
        })
    }
}

/// Waits for outcomes in the order of the lines; ends at the first failure.
async fn settle(mut deliveries: mpsc::Receiver<(u64, Delivery)>) -> (u64, Result<(), CliError>) {
    let mut stored = 0;
    while let Some((line, delivery)) = deliveries.recv().await {
        match delivery.await {
            Ok(_) => stored += 1,
            Err(source) => return (stored, Err(CliError::Send { line, source })),
        }
    }
    (stored, Ok(()))
}

/// The key in front of the first separator and the body behind it; without one, no key.
fn split_key(line: Bytes, separator: &[u8]) -> (Option<Bytes>, Bytes) {
    match line
        .windows(separator.len())
        .position(|window| window == separator)
    {
        Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
        None => (None, line),
    }
}

/// Bytes read, shown on a terminal.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new(size: Option<u64>) -> Self {
        if !is_watched() {
            return Self(None);
        }
        let (bar, template) = match size {
            Some(size) => (
                ProgressBar::new(size),
                "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            ),
            None => (
                ProgressBar::new_spinner(),
                "{spinner} {bytes} {bytes_per_sec}",
            ),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl From<Acks> for ringmq::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::Durable => Self::Durable,
            Acks::Received => Self::Received,
            Acks::None => Self::None,
        }
    }
}

impl From<Compression> for ringmq::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_at_the_first_separator() {
        let split = |line: &'static str| split_key(Bytes::from(line), b"::");
        assert_eq!(split("k::a::b"), (Some("k".into()), "a::b".into()));
        assert_eq!(split("::body"), (Some("".into()), "body".into()));
        assert_eq!(split("a:b"), (None, "a:b".into()));
    }
}
