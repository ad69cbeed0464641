//! Bodies and batches.

use crate::BenchError;
use crate::args::Load;
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record};
use std::time::UNIX_EPOCH;

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
pub(crate) fn prebuilt(load: &Load) -> Result<Vec<Vec<u8>>, BenchError> {
    (0..BATCHES)
        .map(|_| {
            let bodies: Vec<_> = (0..load.batch).map(|_| body(load)).collect();
            encode(load, bodies.iter().map(Vec::as_slice))
        })
        .collect()
}

/// A batch whose first message says when it was due.
pub(crate) fn stamped(load: &Load, body: &mut [u8], due_ns: u64) -> Result<Vec<u8>, BenchError> {
    body[..STAMP_BYTES].copy_from_slice(&due_ns.to_le_bytes());
    let body = &*body;
    encode(load, (0..load.batch).map(|_| body))
}

/// What [`stamped`] wrote.
pub(crate) fn stamp(body: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*body.first_chunk::<STAMP_BYTES>()?))
}

fn encode<'a>(load: &Load, bodies: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, BenchError> {
    let born_time_ms = UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as i64;
    let mut builder = BatchBuilder::new();
    let refused = |error| BenchError::Cluster(format!("cannot make such a batch: {error}"));
    for body in bodies {
        let record = Record {
            born_time_ms,
            keys: &[],
            tag: "",
            properties: &[],
            envelope: None,
            body,
        };
        builder.push(&record).map_err(refused)?;
    }
    let options = BatchOptions {
        compression: load.compression.into(),
        ..Default::default()
    };
    builder.finish(&options).map_err(refused)
}
