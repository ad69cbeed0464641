//! Readers: members of the group, which together must see everything once, and slow ones, which may only miss what
//! retention took.

use super::Run;
use super::body::Stamp;
use super::ledger::Gap;
use ringmq::{Client, Consumer, Error, ErrorKind, Received, StartAt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a member stays before it leaves and comes back.
const STAY: Duration = Duration::from_secs(100);
/// Wait before building a consumer again that could not be built.
const RETRY: Duration = Duration::from_millis(500);
/// Questions about a gap that may stay without an answer while the broker is away.
const ANSWERS_AWAITED: u32 = 60;
/// Messages a second of a slow reader.
const SLOW_RATE: u32 = 50;

/// A member of the group. Leaves and comes back, so that queues move, until told to stop.
pub(super) async fn member(
    run: Arc<Run>,
    client: Client,
    number: u32,
    mut stop: watch::Receiver<bool>,
) {
    let mut stay = STAY + STAY * number / 3;
    while !*stop.borrow() {
        let builder = client.consumer().topic(&run.topic).group(&run.group);
        let builder = builder.start_at(StartAt::Earliest);
        let mut consumer = match builder
            .session_timeout(Duration::from_secs(10))
            .build()
            .await
        {
            Ok(consumer) => consumer,
            Err(error) => {
                run.ledger.trouble(kind_of("member", &error));
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let leave = Instant::now() + stay;
        stay = STAY;
        loop {
            let next = tokio::select! {
                next = consumer.next() => next,
                () = tokio::time::sleep_until(leave) => break,
                _ = stop.changed() => break,
            };
            match next {
                Some(Ok(message)) => take(&run, &client, &message).await,
                Some(Err(error)) => trouble(&run, "member", &error),
                None => break,
            }
        }
        close(&run, "member", consumer).await;
    }
}

async fn take(run: &Run, client: &Client, message: &Received) {
    let (queue, offset) = (message.queue().queue, message.offset());
    match Stamp::read(message.body(), run.message_bytes).filter(|stamp| stamp.run == run.id) {
        Some(stamp) => {
            if let Some(gap) = run.ledger.delivered(queue, offset, &stamp) {
                judge(run, client, &gap).await;
            }
        }
        None => run
            .ledger
            .violation(format!("queue {queue} offset {offset}: not what was sent")),
    }
    message.ack();
}

/// Asks whether retention took what the group did not get. A broker that cannot say within a while took nothing.
async fn judge(run: &Run, client: &Client, gap: &Gap) {
    for _ in 0..ANSWERS_AWAITED {
        if let Some(min_offset) = min_offset(run, client, gap.queue).await {
            if min_offset >= gap.offsets.end {
                run.ledger.expired(gap);
            } else {
                run.ledger.lost(gap);
            }
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
    run.ledger.lost(gap);
}

/// Where queues begin that the group has not read from there on: nobody else asks, if it reads nothing any more.
pub(super) async fn settle(run: &Run, client: &Client) {
    for queue in 0..run.queues {
        if let Some(min_offset) = min_offset(run, client, queue).await {
            run.ledger.begins(queue, min_offset);
        }
    }
}

/// A reader without a group that cannot keep up.
pub(super) async fn slow(run: Arc<Run>, client: Client, mut stop: watch::Receiver<bool>) {
    let builder = client.consumer().topic(&run.topic);
    let builder = builder.start_at(StartAt::Earliest).prefetch_bytes(64 << 10);
    let mut consumer = match builder.build().await {
        Ok(consumer) => consumer,
        Err(error) => {
            run.ledger.violation(format!("a slow reader: {error}"));
            return;
        }
    };
    let mut places: BTreeMap<u32, u64> = BTreeMap::new();
    loop {
        let next = tokio::select! {
            next = consumer.next() => next,
            _ = stop.changed() => break,
        };
        match next {
            Some(Ok(message)) => look(&run, &client, &message, &mut places).await,
            Some(Err(error)) => trouble(&run, "slow reader", &error),
            None => break,
        }
        tokio::time::sleep(Duration::from_secs(1) / SLOW_RATE).await;
    }
    close(&run, "slow reader", consumer).await;
}

async fn look(run: &Run, client: &Client, message: &Received, places: &mut BTreeMap<u32, u64>) {
    let (queue, offset) = (message.queue().queue, message.offset());
    let next = places.insert(queue, offset + 1).unwrap_or(0);
    let what = |problem| format!("slow reader, queue {queue} offset {offset}: {problem}");
    if Stamp::read(message.body(), run.message_bytes).is_none() {
        run.ledger.violation(what("not what was sent"));
    }
    if offset < next {
        run.ledger.violation(what("behind what it had"));
    }
    if offset > next && !is_expired(run, client, queue, offset).await {
        run.ledger.violation(what("what it skipped is there"));
    }
    run.ledger.read_slowly(offset.saturating_sub(next));
}

/// Whether retention has taken what lies below `offset`; also if nobody can say, because the broker is away.
async fn is_expired(run: &Run, client: &Client, queue: u32, offset: u64) -> bool {
    let min_offset = min_offset(run, client, queue).await;
    min_offset.is_none_or(|min_offset| min_offset >= offset)
}

/// Where a queue begins, if the broker says so.
async fn min_offset(run: &Run, client: &Client, queue: u32) -> Option<u64> {
    let topic = client.admin().describe_topic(&run.topic).await.ok()?;
    let described = topic.queues.iter().find(|found| found.queue == queue);
    described.map(|found| found.min_offset)
}

async fn close(run: &Run, who: &str, consumer: Consumer) {
    if let Err(error) = consumer.close().await {
        run.ledger.trouble(kind_of(who, &error));
    }
}

fn trouble(run: &Run, who: &str, error: &Error) {
    if matches!(error.kind(), ErrorKind::Damaged { .. }) {
        run.ledger.violation(format!("{who}: {error}"));
    } else {
        run.ledger.trouble(kind_of(who, error));
    }
}

/// The error without what makes each one different.
fn kind_of(who: &str, error: &Error) -> String {
    match (error.code(), error.kind()) {
        (Some(code), _) => format!("{who}: refused: {code:?}"),
        (None, ErrorKind::TimedOut { .. }) => format!("{who}: timed out"),
        (None, ErrorKind::Disconnected { .. }) => format!("{who}: disconnected"),
        (None, ErrorKind::NoRoute) => format!("{who}: no route"),
        (None, other) => format!("{who}: {other}"),
    }
}
