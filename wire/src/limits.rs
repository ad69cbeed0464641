//! Every bound of the protocol and of the record batch.

/// Largest native frame, the length field included.
pub const FRAME_BYTES_MAX: usize = 64 << 20;
/// Largest header table of a native frame.
pub const FRAME_HEADER_BYTES_MAX: usize = 16 << 20;
/// Largest record batch, and largest size of its records section when uncompressed.
pub const BATCH_BYTES_MAX: usize = 15 << 20;
/// Most records in a batch.
pub const BATCH_RECORDS_MAX: usize = 65_536;
/// Most key hashes in a batch.
pub const BATCH_KEYS_MAX: usize = 262_144;
/// Largest message (body + keys + tag + properties) unless a topic says otherwise.
pub const MESSAGE_BYTES_MAX_DEFAULT: usize = 4 << 20;
/// All properties of a message together: what RocketMQ can carry.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;
/// Longest topic, group, node or shard name.
pub const NAME_BYTES_MAX: usize = 127;
/// Longest node name.
pub const NODE_NAME_BYTES_MAX: usize = 60;
/// Longest client id or member name.
pub const CLIENT_ID_BYTES_MAX: usize = 255;
/// Most queues of a topic.
pub const TOPIC_QUEUES_MAX: u32 = 65_536;
/// Produce requests of one producer to one queue that may be unanswered.
pub const PRODUCER_IN_FLIGHT_MAX: usize = 5;
/// Fetch requests of one session that may be unanswered: one answer is on its way while the next is gathered.
pub const FETCH_REQUESTS_MAX: usize = 2;

const _: () = assert!(BATCH_BYTES_MAX + FRAME_HEADER_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX_DEFAULT + PROPERTIES_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(BATCH_RECORDS_MAX < BATCH_BYTES_MAX);

/// Whether `name` may name a topic or a group: `[%|A-Za-z0-9_-]{1,127}`, as RocketMQ has it.
pub fn is_valid_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-'))
}

/// Whether `name` may name a node: `[A-Za-z0-9_-]{1,60}`.
pub fn is_valid_node_name(name: &str) -> bool {
    (1..=NODE_NAME_BYTES_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}
