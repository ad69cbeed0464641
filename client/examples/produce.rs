//! Sends a few messages and prints where they were stored: `cargo run -p ringmq --example produce -- TOPIC TEXT…`
#![allow(clippy::print_stdout, reason = "it is what the example does")]

use ringmq::{Client, Message};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let client = Client::builder().build().await?;
    let producer = client.producer().build();
    // Handed over first, awaited later: the messages share batches.
    let mut deliveries = Vec::new();
    for text in arguments {
        deliveries.push(producer.enqueue(Message::new(&topic, text)).await?);
    }
    for delivery in deliveries {
        match delivery.await {
            Ok(receipt) => println!("queue {} offset {:?}", receipt.queue, receipt.offset),
            Err(error) => println!("{error} (worth another try: {})", error.is_retryable()),
        }
    }
    producer.close().await?;
    Ok(())
}
