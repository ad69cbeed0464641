//! What the two protocols have in common for a load generator.

use crate::BenchError;
use crate::args::{Consume, Load, Protocol};
use crate::cluster::Lane;
use crate::outgoing::Outgoing;
use crate::socket::{Framing, Socket};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// A server's no.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The code's name.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Whether the same request may work later.
    pub(crate) is_retryable: bool,
    /// The server's advice; 0 without.
    pub(crate) retry_after_ms: u32,
}

impl Refusal {
    pub(crate) fn into_error(self, operation: &'static str, address: &str) -> BenchError {
        BenchError::Refused {
            operation,
            address: address.to_string(),
            code: self.code,
            message: self.message,
        }
    }
}

/// An answer to a send.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The request's number, as far as the protocol carries it.
    pub(crate) number: u64,
    pub(crate) refusal: Option<Refusal>,
}

/// How a lane's sends are written and their answers read.
pub(crate) trait Sending: Sized + Send + 'static {
    type Framing: Framing;
    /// The bits of a request's number that an answer carries back.
    const NUMBER_MASK: u64;
    fn connect(
        address: &str,
    ) -> impl Future<Output = Result<Socket<Self::Framing>, BenchError>> + Send;
    fn new(lane: &Lane, load: &Load) -> Self;
    /// Appends send `number`, to the queue that is its turn.
    fn put(&self, number: u64, payload: &Bytes, output: &mut Outgoing);
    /// What an answer says; `Err`: it is no answer to a send.
    fn answer(frame: &<Self::Framing as Framing>::Frame) -> Result<Answer, String>;
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Start,
    End,
}

/// Reads the queues of a lane.
pub(crate) trait Fetching: Sized + Send + 'static {
    fn open(
        lane: &Lane,
        from: From,
        fetch_bytes: u32,
    ) -> impl Future<Output = Result<Self, BenchError>> + Send;
    /// The ends of the lane's queues now.
    fn ends(lane: &Lane) -> impl Future<Output = Result<BTreeMap<u32, u64>, BenchError>> + Send;
    /// Where each queue will be read next.
    fn next(&self) -> &BTreeMap<u32, u64>;
    /// What came; nothing if nothing came within the server's wait.
    fn fetch(&mut self, look: Look) -> impl Future<Output = Result<Fetched, BenchError>> + Send;
}

/// How closely fetched messages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// They are counted by their headers.
    Count,
    /// Every checksum is checked, too.
    Verify,
    /// The stamps of `latency` are read.
    Stamps,
}

impl Look {
    pub(crate) fn of(arguments: &Consume) -> Self {
        if arguments.verify {
            Self::Verify
        } else {
            Self::Count
        }
    }
}

/// Messages of one fetch.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) messages: u64,
    /// Bytes as they crossed the network.
    pub(crate) bytes: u64,
    /// When the batches among them were due.
    pub(crate) stamps: Vec<Duration>,
}

/// Payloads of sends in the protocol's form.
pub(crate) fn encode<'a>(
    protocol: Protocol,
    load: &Load,
    bodies: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BenchError> {
    match protocol {
        Protocol::Native => crate::native::batch::encode(load, bodies),
        Protocol::Remoting => Ok(crate::remoting::batch::encode(load, bodies)),
        #[cfg(feature = "any-peer")]
        _ => Err(protocol.unsupported()),
    }
}
