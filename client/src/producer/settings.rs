//! Settings of a producer, with the reason for each default.

use ringmq_wire::{batch, native::schema};
use std::time::Duration;

/// When the broker answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Once the message is on disk.
    #[default]
    Durable,
    /// Once the broker has it in memory; a crash of the broker may lose it.
    Received,
    /// Not at all: sending is writing to the socket. No retries, no duplicates detected, receipts without offset.
    None,
}

impl From<Acks> for schema::Acks {
    fn from(acks: Acks) -> Self {
        match acks {
            Acks::Durable => Self::Durable,
            Acks::Received => Self::Received,
            Acks::None => Self::None,
        }
    }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl From<Compression> for batch::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// All settings; see [`super::ProducerBuilder`] for what they mean.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) acks: Acks,
    pub(crate) compression: Compression,
    pub(crate) batch_bytes: usize,
    pub(crate) batch_messages: usize,
    pub(crate) linger: Duration,
    pub(crate) in_flight: usize,
    pub(crate) memory_bytes: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) create_topics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            acks: Acks::Durable,
            compression: Compression::None,
            // Large enough that a durable write costs little a message, small enough for a quick first answer.
            batch_bytes: 256 << 10,
            batch_messages: 16_384,
            // Only used while something is in flight already: a lone message never waits.
            linger: Duration::from_millis(5),
            in_flight: ringmq_wire::limits::PRODUCER_IN_FLIGHT_MAX,
            memory_bytes: 64 << 20,
            // Outlasts the restart of a broker with a large log.
            delivery_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(10),
            create_topics: true,
        }
    }
}
