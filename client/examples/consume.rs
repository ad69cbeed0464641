//! Reads a topic as a member of a group until Ctrl-C: `cargo run -p ringmq --example consume -- TOPIC GROUP`
#![allow(clippy::print_stdout, reason = "it is what the example does")]

use ringmq::{Client, StartAt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let group = arguments.next().unwrap_or_else(|| "audit".to_owned());
    let client = Client::builder().build().await?;
    let mut consumer = client
        .consumer()
        .topic(topic)
        .group(group)
        .start_at(StartAt::Earliest)
        .on_assigned(|queues| println!("reading {queues:?}"))
        .on_revoked(|queues| println!("no longer reading {queues:?}"))
        .build()
        .await?;
    loop {
        let message = tokio::select! {
            message = consumer.next() => message,
            _ = tokio::signal::ctrl_c() => break,
        };
        match message {
            Some(Ok(message)) => {
                let text = String::from_utf8_lossy(message.body());
                println!("{} {}: {text}", message.queue(), message.offset());
                message.ack();
            }
            Some(Err(error)) => println!("{error}"),
            None => break,
        }
    }
    // Commits what was acknowledged and hands the queues over at once.
    consumer.close().await?;
    Ok(())
}
