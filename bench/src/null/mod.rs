//! `null`: a server that speaks the native protocol, acknowledges and stores nothing.
//!
//! What the load generator reaches against it is the generator's own ceiling; a broker's figure near it says
//! nothing about the broker. Blocking sockets and a thread a connection: there is hardly a cheaper way to answer.

mod answers;
mod connection;

use crate::BenchError;
use crate::args::{Acks, Compression, Load};
use crate::payload;
use crate::protocol;
use answers::Answers;
use clap::Args;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// Parameters of the null server.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Bytes of a message body that consumers are given
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(8..=4_194_304))]
    pub(crate) message_bytes: u32,
    /// Messages in a batch that consumers are given
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) batch: u32,
}

/// Serves until the process is killed.
pub(crate) fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let failed = |source| BenchError::Io {
        operation: "listen on",
        address: arguments.listen.to_string(),
        source,
    };
    let load = Load {
        message_bytes: arguments.message_bytes,
        batch: arguments.batch,
        in_flight: 1,
        acks: Acks::Durable,
        compression: Compression::None,
        random_share: 1.0,
    };
    let body = payload::body(&load);
    let bodies = std::iter::repeat_n(&body[..], load.batch as usize);
    let batch = protocol::encode(crate::args::Protocol::Native, &load, bodies)?;
    let answers = Arc::new(Answers::new(batch, arguments.batch));
    let listener = TcpListener::bind(arguments.listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // The same first word as the broker's line, so that both are waited for alike.
    crate::report::print(&format!("ready broker={address}\n"))?;
    loop {
        let (stream, _) = listener.accept().map_err(failed)?;
        let answers = answers.clone();
        std::thread::spawn(move || connection::serve(stream, &answers));
    }
}
