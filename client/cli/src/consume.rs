//! `ringmq consume`: messages to stdout, in order per queue.
//!
//! A message counts as done when its bytes have been written to stdout, not before: with a group, what a closed pipe or
//! a crash kept from being written is delivered again to whoever reads next.

use crate::args::{Consume, MessageFormat};
use crate::error::CliError;
use crate::json::MessageView;
use crate::output::{DataBuffer, Output, is_watched};
use crate::stop;
use crate::values::Start;
use futures_util::FutureExt;
use ringmq::{Admin, Client, Consumer, Error, ErrorCode, ErrorKind, OffsetSpec, Received};
use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::task::unconstrained;
use tokio::time::{sleep, timeout};

/// Data waits this long for company before it is written.
const FLUSH_DELAY: Duration = Duration::from_millis(20);
/// How often the end is looked for while nothing comes.
const IDLE_CHECK: Duration = Duration::from_millis(100);
/// How often other members' progress is looked at.
const GROUP_CHECK: Duration = Duration::from_secs(1);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
const PREFETCH_BYTES: usize = 32 << 20;

pub(crate) async fn run(
    client: &Client,
    arguments: Consume,
    output: &Output,
) -> Result<(), CliError> {
    let admin = client.admin();
    let ends = ends(&admin, &arguments).await?;
    let starts_at_end = match &arguments.group {
        Some(group) if arguments.from.is_none() => is_new(&admin, group).await,
        _ => false,
    };
    let consumer = build(client, &arguments).await?;
    let mut printing = Printing {
        admin,
        ends,
        buffer: DataBuffer::new(),
        unflushed_since: None,
        printed: 0,
        last: HashMap::new(),
        group_checked: None,
        starts_at_end,
        failure: None,
        arguments,
        output,
        consumer,
    };
    let outcome = printing.run().await;
    printing.finish(outcome).await
}

/// Where each queue ended when the command began; none with --follow.
async fn ends(admin: &Admin, arguments: &Consume) -> Result<Option<BTreeMap<u32, u64>>, CliError> {
    let found = admin
        .offsets_at(&arguments.topic, OffsetSpec::Latest)
        .await?;
    if let Some(missing) = arguments
        .queue
        .iter()
        .find(|q| found.iter().all(|(n, _)| n != *q))
    {
        let topic = &arguments.topic;
        return Err(CliError::Failed(format!(
            "topic {topic} has no queue {missing}"
        )));
    }
    if arguments.follow {
        return Ok(None);
    }
    let wanted = |queue: &u32| arguments.queue.is_empty() || arguments.queue.contains(queue);
    let found = found.into_iter().filter(|(queue, _)| wanted(queue));
    let ends = found
        .map(|(queue, end)| Ok((queue, end?)))
        .collect::<Result<_, Error>>()?;
    Ok(Some(ends))
}

/// For a remark only: a failure to find out is no failure.
async fn is_new(admin: &Admin, group: &str) -> bool {
    let described = admin.describe_group(group).await;
    described.is_err_and(|error| error.code() == Some(ErrorCode::GroupNotFound))
}

async fn build(client: &Client, arguments: &Consume) -> Result<Consumer, CliError> {
    let start = arguments
        .from
        .unwrap_or(match (&arguments.group, arguments.follow) {
            (None, false) => Start::Earliest,
            _ => Start::Latest,
        });
    let mut builder = client
        .consumer()
        .topic(&arguments.topic)
        .start_at(start.into())
        .tags(&arguments.tag)
        .prefetch_bytes(PREFETCH_BYTES);
    if let Some(group) = &arguments.group {
        builder = builder.group(group);
    } else if !arguments.queue.is_empty() {
        builder = builder.queues(arguments.queue.iter().copied());
    }
    Ok(builder.build().await?)
}

struct Printing<'a> {
    arguments: Consume,
    output: &'a Output,
    admin: Admin,
    consumer: Consumer,
    ends: Option<BTreeMap<u32, u64>>,
    buffer: DataBuffer,
    unflushed_since: Option<Instant>,
    printed: u64,
    /// The last message of each queue that is in the buffer.
    last: HashMap<u32, Received>,
    group_checked: Option<Instant>,
    /// The group is new and nothing was said about where it starts.
    starts_at_end: bool,
    /// Something could not be read; the rest was.
    failure: Option<Error>,
}

impl Printing<'_> {
    async fn run(&mut self) -> Result<(), CliError> {
        let stop = stop::requested();
        tokio::pin!(stop);
        let mut last_came = Instant::now();
        while self.arguments.max.is_none_or(|max| self.printed < max) {
            // The budget of cooperative scheduling would look like "nothing there" every 128 messages.
            let at_hand = unconstrained(self.consumer.next()).now_or_never();
            let next = match at_hand {
                Some(next) => next,
                None => match self.wait(stop.as_mut(), last_came).await? {
                    Waited::Next(next) => *next,
                    Waited::Again => continue,
                    Waited::Enough => return Ok(()),
                },
            };
            match next {
                Some(Ok(message)) => {
                    last_came = Instant::now();
                    self.print(message)?;
                }
                Some(Err(error)) => self.note(error)?,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Nothing is at hand: write what is due, look for the end, wait a little.
    async fn wait(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        last_came: Instant,
    ) -> Result<Waited, CliError> {
        let due = self.unflushed_since.map(|since| since + FLUSH_DELAY);
        let flush_in = due.map(|due| due.saturating_duration_since(Instant::now()));
        if flush_in == Some(Duration::ZERO) {
            self.flush()?;
            return Ok(Waited::Again);
        }
        if self.buffer.is_empty() && self.is_at_end().await? {
            return Ok(Waited::Enough);
        }
        if self
            .arguments
            .timeout
            .is_some_and(|timeout| last_came.elapsed() >= timeout)
        {
            return Ok(Waited::Enough);
        }
        tokio::select! {
            next = self.consumer.next() => Ok(Waited::Next(Box::new(next))),
            () = sleep(flush_in.unwrap_or(IDLE_CHECK)) => Ok(Waited::Again),
            () = stop => Ok(Waited::Enough),
        }
    }

    fn print(&mut self, message: Received) -> Result<(), CliError> {
        let queue = message.queue().queue;
        let beyond = |end: &u64| message.offset() >= *end;
        if self
            .ends
            .as_ref()
            .and_then(|ends| ends.get(&queue))
            .is_some_and(beyond)
        {
            return Ok(());
        }
        match self.arguments.output {
            MessageFormat::Body => self.buffer.line(message.body()),
            MessageFormat::Json => {
                let line = serde_json::to_vec(&MessageView::from(&message));
                let line = line.map_err(|error| CliError::Local {
                    what: "write JSON".to_string(),
                    source: error.into(),
                })?;
                self.buffer.line(&line);
            }
        }
        self.printed += 1;
        self.unflushed_since.get_or_insert_with(Instant::now);
        self.last.insert(queue, message);
        if self.buffer.is_full() {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes what was collected, and acknowledges it.
    fn flush(&mut self) -> Result<(), CliError> {
        self.unflushed_since = None;
        self.buffer.flush()?;
        for (_, message) in self.last.drain() {
            message.ack_through();
        }
        Ok(())
    }

    /// The library goes on after errors that pass; others are told, and decide the exit code.
    fn note(&mut self, error: Error) -> Result<(), CliError> {
        match error.kind() {
            ErrorKind::TopicNotFound | ErrorKind::Closed => Err(error.into()),
            _ if error.is_retryable() => {
                tracing::warn!(%error, "reading is interrupted");
                Ok(())
            }
            _ => {
                self.output.remark(&format!("ringmq: {error}"));
                self.failure.get_or_insert(error);
                Ok(())
            }
        }
    }

    /// Whether every queue has been read to where it ended at the start; with a group, by whichever member.
    async fn is_at_end(&mut self) -> Result<bool, CliError> {
        let Some(ends) = &self.ends else {
            return Ok(false);
        };
        let mine: BTreeMap<u32, u64> = self
            .consumer
            .positions()
            .into_iter()
            .map(|position| (position.queue.queue, position.next_offset))
            .collect();
        if mine
            .iter()
            .any(|(queue, at)| ends.get(queue).is_some_and(|end| at < end))
        {
            return Ok(false);
        }
        let others: Vec<(u32, u64)> = ends
            .iter()
            .filter(|(queue, end)| **end > 0 && !mine.contains_key(queue))
            .map(|(queue, end)| (*queue, *end))
            .collect();
        let Some(group) = &self.arguments.group else {
            return Ok(others.is_empty());
        };
        if others.is_empty() {
            return Ok(true);
        }
        if self
            .group_checked
            .is_some_and(|at| at.elapsed() < GROUP_CHECK)
        {
            return Ok(false);
        }
        self.group_checked = Some(Instant::now());
        match self.admin.describe_group(group).await {
            Ok(described) => Ok(others.iter().all(|(queue, end)| {
                let state = described.queues.iter().find(|state| {
                    state.queue.queue == *queue && *state.queue.topic == *self.arguments.topic
                });
                state.is_some_and(|state| match state.committed {
                    Some(committed) => committed >= *end,
                    // Another member has it and found nothing to read.
                    None => state.holder.is_some(),
                })
            })),
            // Asked again in a while.
            Err(error) if error.is_retryable() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn finish(mut self, outcome: Result<(), CliError>) -> Result<(), CliError> {
        let outcome = outcome.and_then(|()| self.flush());
        let closed = timeout(CLOSE_TIMEOUT, self.consumer.close()).await;
        outcome?;
        match closed {
            Ok(closed) => closed?,
            Err(_) => {
                let what = "the group's place could not be committed in time".to_string();
                return Err(CliError::Failed(what));
            }
        }
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        let nothing = self.printed == 0 && self.ends.is_some();
        match &self.arguments.group {
            Some(group) if nothing && self.starts_at_end => self.output.remark(&format!(
                "group {group} is new and starts at the end; --from earliest reads what is there"
            )),
            Some(group) if nothing => {
                self.output
                    .remark(&format!("nothing new for group {group}"));
            }
            _ if is_watched() => self.output.remark(&format!("{} messages", self.printed)),
            _ => {}
        }
        Ok(())
    }
}

enum Waited {
    Next(Box<Option<Result<Received, Error>>>),
    Again,
    Enough,
}
