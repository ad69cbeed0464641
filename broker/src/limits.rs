//! Every bound of a shard's sessions, in one place.
//!
//! Each has a defined answer when it is reached: a connection is answered with `Busy` and closed, a reader
//! waits (back-pressure through TCP), a slow or silent peer is dropped.

use ringmq_wire::limits::{BATCH_BYTES_MAX, FRAME_HEADER_BYTES_MAX};

/// Bounds of one shard's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of the shard; the next one is told `Busy` and closed.
    pub connections_max: usize,
    /// Unanswered request bytes and unsent answer bytes of one connection; its socket is not read above it.
    pub connection_bytes_max: usize,
    /// The same over all connections of the shard.
    pub shard_bytes_max: usize,
    /// Unanswered requests of one connection.
    pub connection_requests_max: usize,
    /// Fetch sessions of one connection.
    pub fetch_sessions_max: usize,
    /// Queues of one fetch session.
    pub fetch_slots_max: usize,
    /// Longest long poll, whatever the request asks for.
    pub fetch_wait_ms_max: u32,
    /// Payload of one fetch answer, whatever the request asks for.
    pub fetch_bytes_max: usize,
    /// Messages of one answer to a query by key.
    pub query_messages_max: usize,
    /// Largest header table of a request; what a client sends is small.
    pub request_header_bytes_max: usize,
    /// Size of a message unless its topic says otherwise.
    pub message_bytes_max: usize,
    /// A connection that sent nothing for longer is closed, unless the broker owes it an answer.
    pub idle_ms: u64,
    /// A frame must be whole this long after its first byte, plus the time at [`Self::slow_bytes_per_s`].
    pub frame_ms: u64,
    /// Least rate at which a peer must send a begun frame and take answers.
    pub slow_bytes_per_s: u64,
    /// A peer that takes no byte of a waiting answer for longer is dropped.
    pub write_stall_ms: u64,
}

impl Limits {
    /// What a broker uses unless it is told otherwise.
    pub const DEFAULT: Self = Self {
        connections_max: 4096,
        connection_bytes_max: 32 << 20,
        shard_bytes_max: 256 << 20,
        connection_requests_max: 1024,
        fetch_sessions_max: 256,
        fetch_slots_max: 131_072,
        fetch_wait_ms_max: 60_000,
        fetch_bytes_max: 16 << 20,
        query_messages_max: 64,
        request_header_bytes_max: FRAME_HEADER_BYTES_MAX,
        message_bytes_max: ringmq_wire::limits::MESSAGE_BYTES_MAX_DEFAULT,
        idle_ms: 120_000,
        frame_ms: 30_000,
        slow_bytes_per_s: 16 << 10,
        write_stall_ms: 30_000,
    };

    /// Small bounds, so that tests reach them at once.
    pub const TEST_MIN: Self = Self {
        connections_max: 4,
        connection_bytes_max: 256 << 10,
        shard_bytes_max: 512 << 10,
        connection_requests_max: 8,
        fetch_sessions_max: 2,
        fetch_slots_max: 16,
        fetch_wait_ms_max: 2_000,
        fetch_bytes_max: 64 << 10,
        query_messages_max: 4,
        request_header_bytes_max: 64 << 10,
        message_bytes_max: 16 << 10,
        idle_ms: 1_000,
        frame_ms: 500,
        slow_bytes_per_s: 1 << 20,
        write_stall_ms: 500,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

const _: () = assert!(Limits::DEFAULT.connection_bytes_max <= Limits::DEFAULT.shard_bytes_max);
const _: () = assert!(Limits::DEFAULT.fetch_bytes_max <= Limits::DEFAULT.connection_bytes_max);
const _: () = assert!(BATCH_BYTES_MAX <= Limits::DEFAULT.fetch_bytes_max);
const _: () = assert!(
    BATCH_BYTES_MAX + Limits::DEFAULT.request_header_bytes_max
        <= Limits::DEFAULT.connection_bytes_max
);
