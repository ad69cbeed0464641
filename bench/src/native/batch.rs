//! Record batches.

use crate::BenchError;
use crate::args::Load;
use crate::payload;
use crate::protocol::{Fetched, Look};
use bytes::Bytes;
use ringmq_wire::batch::{BatchBuilder, BatchError, BatchHeader, BatchOptions, BatchView, Record};
use std::time::{Duration, UNIX_EPOCH};

/// The batch of these bodies.
pub(crate) fn encode<'a>(
    load: &Load,
    bodies: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BenchError> {
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

/// Adds a stored batch to what was fetched.
pub(crate) fn count(batch: &[u8], look: Look, fetched: &mut Fetched) -> Result<(), BatchError> {
    let header = match look {
        Look::Verify => *BatchView::parse_placed(batch)?.header(),
        Look::Count | Look::Stamps => BatchHeader::parse(batch)?,
    };
    fetched.messages += u64::from(header.record_count);
    fetched.bytes += batch.len() as u64;
    if look == Look::Stamps {
        fetched.stamps.extend(stamp(batch)?);
    }
    Ok(())
}

/// The stamp of the batch's first message.
fn stamp(batch: &[u8]) -> Result<Option<Duration>, BatchError> {
    let shared = Bytes::copy_from_slice(batch);
    let view = BatchView::parse_unverified(&shared)?;
    let section = view.records_section(&shared)?;
    let first = view.records(&section).next().transpose()?;
    let stamp = first.and_then(|record| payload::stamp(record.body));
    Ok(stamp.map(Duration::from_nanos))
}
