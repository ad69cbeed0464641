//! Native protocol v1: a preface, then length-prefixed frames in both directions.
//!
//! A client opens with [`PREFACE`]; the server sends no preface of its own. The first request is `Hello`.
//! Requests are pipelined; answers carry the request's correlation id and may come in another order.

mod frame;
#[allow(
    unsafe_code,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    unused_qualifications,
    unused_imports,
    unsafe_op_in_unsafe_fn,
    mismatched_lifetime_syntaxes
)]
#[rustfmt::skip]
mod generated;

pub use frame::{
    Decoded, FRAME_PREFIX_BYTES, FrameError, FramePrefix, decode, encode_prefix, flags,
};
pub use generated::ringmq::native as schema;

/// What a client sends first: magic, version 1, three reserved zero bytes.
pub const PREFACE: [u8; 8] = *b"RNGQ\x01\0\0\0";
/// The only protocol version so far.
pub const VERSION: u16 = 1;
/// What a name server calls itself in its answer to Hello, where a shard gives its name.
pub const NAME_SERVER: &str = "namesrv";

/// Reads a header table, checking every offset in it.
pub fn header<'a, T: flatbuffers::Follow<'a> + flatbuffers::Verifiable + 'a>(
    bytes: &'a [u8],
) -> Result<T::Inner, FrameError> {
    // Tables of one frame are bounded by the frame; the default of one million tables suits 16 MiB headers.
    flatbuffers::root::<T>(bytes).map_err(|error| FrameError::Header(error.to_string()))
}

/// Builds a whole frame from a packed header and a payload length; the payload is sent behind it.
///
/// `pack` writes the table and returns its offset, e.g. `|b| request.pack(b)`.
pub fn encode<T>(
    kind: crate::codes::Kind,
    frame_flags: u16,
    correlation_id: u64,
    payload_len: usize,
    pack: impl FnOnce(&mut flatbuffers::FlatBufferBuilder<'static>) -> flatbuffers::WIPOffset<T>,
) -> Vec<u8> {
    let mut builder = flatbuffers::FlatBufferBuilder::with_capacity(256);
    let root = pack(&mut builder);
    builder.finish_minimal(root);
    let header = builder.finished_data();
    let mut frame = Vec::with_capacity(FRAME_PREFIX_BYTES + header.len());
    frame.extend_from_slice(&encode_prefix(
        kind.number(),
        frame_flags,
        correlation_id,
        header,
        payload_len,
    ));
    frame.extend_from_slice(header);
    frame
}
