//! From batches to messages. Everything is checked: a batch that is not what the producer sent is not delivered.

use bytes::Bytes;
use ringmq_wire::batch::{BatchError, BatchHeader, BatchView, Properties, RecordView};

/// What the bodies of a batch that RocketMQ producers compressed may become, all together.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// A batch, taken apart.
#[derive(Debug)]
pub(crate) struct DecodedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) messages: Vec<Decoded>,
    /// What the messages take in memory.
    pub(crate) bytes: usize,
}

/// One message; shares the memory of its batch.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    pub(crate) offset: u64,
    pub(crate) born_time_ms: i64,
    pub(crate) body: Bytes,
    /// Kept because keys, tag and properties are seldom looked at: cut out only then.
    text: Text,
}

#[derive(Debug, Clone, Default)]
struct Text {
    keys: Bytes,
    tag: Bytes,
    properties: Vec<(Bytes, Bytes)>,
}

impl Decoded {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        text(&self.text.keys)
            .split(' ')
            .filter(|key| !key.is_empty())
    }

    pub(crate) fn tag(&self) -> Option<&str> {
        Some(text(&self.text.tag)).filter(|tag| !tag.is_empty())
    }

    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.text
            .properties
            .iter()
            .map(|(name, value)| (text(name), text(value)))
    }
}

/// Checks and decodes a batch as a broker delivers it.
pub(crate) fn batch(bytes: &Bytes) -> Result<DecodedBatch, BatchError> {
    let view = BatchView::parse_placed(bytes)?;
    let header = *view.header();
    let section = view.records_section(bytes)?;
    let mut messages = Vec::with_capacity(header.record_count as usize);
    let mut plain_bytes = 0;
    for record in view.records(&section) {
        let record = record?;
        let mut message = decode(&section, &header, &record);
        if let Some(body) = plain_body(&record, message.offset, PLAIN_BYTES_MAX - plain_bytes) {
            plain_bytes += body.len();
            message.body = body;
        }
        messages.push(message);
    }
    Ok(DecodedBatch {
        header,
        messages,
        bytes: bytes.len().max(section.len()) + plain_bytes,
    })
}

fn decode(section: &Bytes, header: &BatchHeader, record: &RecordView<'_>) -> Decoded {
    let slice = |text: &str| slice_of(section, text.as_bytes());
    Decoded {
        offset: header.base_offset + u64::from(record.offset_delta),
        born_time_ms: record.born_time_ms,
        body: slice_of(section, record.body),
        text: Text {
            keys: slice(record.keys),
            tag: slice(record.tag),
            properties: properties(&record.properties, slice),
        },
    }
}

/// The body of a RocketMQ producer that compressed it. One that cannot be undone is delivered as it was sent: the
/// batch is whole, and its other messages must not wait for this one.
fn plain_body(record: &RecordView<'_>, offset: u64, bytes_max: usize) -> Option<Bytes> {
    let envelope = record
        .envelope
        .filter(|envelope| envelope.is_compressed())?;
    match envelope.plain_body(record.body, bytes_max) {
        Ok(plain) => Some(plain.into()),
        Err(error) => {
            tracing::warn!(offset, %error, "a body stays as its RocketMQ producer sent it");
            None
        }
    }
}

fn properties(found: &Properties<'_>, slice: impl Fn(&str) -> Bytes) -> Vec<(Bytes, Bytes)> {
    found
        .iter()
        .map(|(name, value)| (slice(name), slice(value)))
        .collect()
}

/// Empty slices need not point into the section.
fn slice_of(section: &Bytes, part: &[u8]) -> Bytes {
    if part.is_empty() {
        Bytes::new()
    } else {
        section.slice_ref(part)
    }
}

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).expect("cut from checked text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::batch::{BatchBuilder, BatchOptions, Envelope, Record, place};

    /// 5,000 zero bytes as a Java client of RocketMQ 4.9.7 compressed them.
    const ZEROS: [u8; 28] = [
        0x78, 0x5e, 0xed, 0xc1, 0x31, 0x01, 0x00, 0x00, 0x00, 0xc2, 0xa0, 0xf5, 0x4f, 0x6d, 0x0a,
        0x3f, 0xa0, 0x00, 0x00, 0x00, 0x00, 0x80, 0xb7, 0x01, 0x13, 0x88, 0x00, 0x01,
    ];

    fn stored(bodies: &[(i32, &[u8])]) -> Bytes {
        let mut builder = BatchBuilder::new();
        for (sys_flag, body) in bodies {
            let envelope = Envelope {
                flag: 0,
                sys_flag: *sys_flag,
                reconsume_times: 0,
                body_crc: 0,
                prepared_position: 0,
                born_host: None,
                properties: "",
            };
            let record = Record {
                born_time_ms: 0,
                keys: &[],
                tag: "",
                properties: &[],
                envelope: Some(envelope),
                body,
            };
            builder.push(&record).expect("carryable");
        }
        let mut bytes = builder.finish(&BatchOptions::default()).expect("small");
        place(&mut bytes, 1, 0, 1);
        bytes.into()
    }

    #[test]
    fn bodies_that_rocketmq_producers_compressed_arrive_as_they_were_given() {
        let bytes = stored(&[(0x301, &ZEROS), (0, &ZEROS), (0x301, b"none of it")]);
        let decoded = batch(&bytes).expect("whole");
        let bodies: Vec<&Bytes> = decoded
            .messages
            .iter()
            .map(|message| &message.body)
            .collect();
        assert_eq!(bodies[0], &vec![0; 5_000]);
        assert_eq!(bodies[1], &ZEROS[..], "nobody said that it is compressed");
        assert_eq!(bodies[2], &b"none of it"[..], "as it was sent");
        assert_eq!(decoded.bytes, bytes.len() + 5_000);
    }
}
