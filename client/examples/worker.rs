//! Handles messages eight at a time, in order for each key: `cargo run -p ringmq --example worker -- TOPIC GROUP`
#![allow(clippy::print_stdout, reason = "it is what the example does")]

use ringmq::{Client, Received};

async fn handle(message: Received) -> Result<(), std::string::FromUtf8Error> {
    let text = String::from_utf8(message.body().to_vec())?;
    println!("{:?}, attempt {}: {text}", message.key(), message.attempt());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let group = arguments.next().unwrap_or_else(|| "billing".to_owned());
    let client = Client::builder().build().await?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    client
        .worker(topic, group)
        .concurrency(8)
        .attempts_max(5)
        .run_until(handle, stop)
        .await?;
    Ok(())
}
