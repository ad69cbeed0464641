//! Bodies and batches.

use crate::BenchError;
use crate::args::{Load, Protocol};
use crate::protocol::encode;
use bytes::Bytes;

/// Different batches that are sent in turn, so that nothing compresses or caches unduly well.
const BATCHES: usize = 8;
const STAMP_BYTES: usize = 8;

/// A body with a random part and a part that repeats.
pub(crate) fn body(load: &Load) -> Vec<u8> {
    let bytes = load.message_bytes as usize;
    let random = (bytes as f64 * load.random_share) as usize;
    let mut body = vec![b'.'; bytes];
    rand::fill(&mut body[..random]);
    body
}

/// Batches made before the run.
pub(crate) fn prebuilt(protocol: Protocol, load: &Load) -> Result<Vec<Bytes>, BenchError> {
    (0..BATCHES)
        .map(|_| {
            let bodies: Vec<_> = (0..load.batch).map(|_| body(load)).collect();
            encode(protocol, load, bodies.iter().map(Vec::as_slice)).map(Bytes::from)
        })
        .collect()
}

/// A batch whose first message says when it was due; the others say nothing.
pub(crate) fn stamped(
    protocol: Protocol,
    load: &Load,
    body: &mut [u8],
    due_ns: u64,
) -> Result<Bytes, BenchError> {
    let mut others = body.to_vec();
    others[..STAMP_BYTES].fill(0);
    body[..STAMP_BYTES].copy_from_slice(&due_ns.to_le_bytes());
    let bodies = std::iter::once(&*body).chain((1..load.batch).map(|_| &*others));
    encode(protocol, load, bodies).map(Bytes::from)
}

/// What [`stamped`] wrote into the first message.
pub(crate) fn stamp(body: &[u8]) -> Option<u64> {
    let stamp = u64::from_le_bytes(*body.first_chunk::<STAMP_BYTES>()?);
    (stamp != 0).then_some(stamp)
}
