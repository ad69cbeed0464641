//! A producer that sends at a rate, through restarts, and accounts for every answer.

use super::Run;
use super::body::Stamp;
use ringmq::{Acks, Client, Compression, Delivery, Message};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// Answers waited for; more, and the producer waits.
const UNANSWERED_MAX: usize = 50_000;
/// Longer than any restart takes: a message that fails after that is lost to its sender.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(600);
const TICK: Duration = Duration::from_millis(20);

/// Sends until `until`, then waits for the last answer.
pub(super) async fn run(run: Arc<Run>, client: Client, producer: u32, until: Instant) {
    let compressions = [Compression::None, Compression::Lz4, Compression::Zstd];
    let sender = client
        .producer()
        .acks(Acks::Durable)
        .compression(compressions[producer as usize % compressions.len()])
        .delivery_timeout(DELIVERY_TIMEOUT)
        .build();
    let (unanswered, answers) = mpsc::channel(UNANSWERED_MAX);
    let accounting = tokio::spawn(account(Arc::clone(&run), answers));
    let mut ticks = tokio::time::interval(TICK);
    // What a restart held up is not made up for: the rate is what the broker can take afterwards, too.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let a_tick = f64::from(run.rate) / f64::from(run.producers) * TICK.as_secs_f64();
    let (mut due, mut sequences) = (0.0, vec![0u64; run.queues as usize]);
    let mut turn = producer;
    while Instant::now() < until {
        ticks.tick().await;
        due += a_tick;
        while due >= 1.0 {
            due -= 1.0;
            turn = (turn + 1) % run.queues;
            let sequence = &mut sequences[turn as usize];
            let stamp = Stamp {
                run: run.id,
                producer,
                queue: turn,
                sequence: *sequence,
            };
            match sender.enqueue(message(&run, &stamp)).await {
                Ok(delivery) => {
                    *sequence += 1;
                    // Fails only if the accounting has failed, and that ends the run.
                    let _ = unanswered.send((stamp, delivery)).await;
                }
                Err(error) => run
                    .ledger
                    .violation(format!("{stamp:?} was refused: {error}")),
            }
        }
    }
    drop(unanswered);
    if let Err(error) = accounting.await {
        run.ledger.violation(format!("accounting failed: {error}"));
    }
    if let Err(error) = sender.close().await {
        run.ledger
            .violation(format!("producer {producer}: {error}"));
    }
}

fn message(run: &Run, stamp: &Stamp) -> Message {
    let body = stamp.body(run.message_bytes);
    let message = Message::new(&run.topic, body).queue(stamp.queue);
    // Some with keys, tags and properties, so that the index has work.
    match stamp.sequence % 8 {
        0 => message
            .key(format!("k{}", stamp.sequence % 1000))
            .tag("eighth"),
        1 => message.property("producer", stamp.producer.to_string()),
        _ => message,
    }
}

async fn account(run: Arc<Run>, mut answers: mpsc::Receiver<(Stamp, Delivery)>) {
    while let Some((stamp, delivery)) = answers.recv().await {
        match delivery.await {
            Ok(receipt) => match receipt.offset {
                Some(offset) => run.ledger.acknowledged(&stamp, receipt.queue, offset),
                None => run.ledger.violation(format!("{stamp:?} has no offset")),
            },
            Err(error) => run.ledger.violation(format!("{stamp:?} failed: {error}")),
        }
    }
}
