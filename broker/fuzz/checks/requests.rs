//! Requests of every kind that a shard decides by itself, with arguments that are often right.

use arbitrary::{Result, Unstructured};
use ringmq_wire::batch::{BatchBuilder, BatchOptions, Compression, Record};
use ringmq_wire::codes::Kind;
use ringmq_wire::native::schema::*;
use ringmq_wire::native::{PREFACE, encode};

/// Preface and Hello.
pub fn greeting() -> Vec<u8> {
    let hello = HelloRequestT {
        version_min: 1,
        version_max: 1,
        client_id: "fuzz".to_owned(),
        ..HelloRequestT::default()
    };
    let mut bytes = PREFACE.to_vec();
    bytes.extend(encode(Kind::Hello, 0, 1, 0, |b| hello.pack(b)));
    bytes
}

/// One request frame.
pub fn request(kind: u8, script: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let id = u64::from(script.arbitrary::<u16>()?);
    macro_rules! frame {
        ($kind:ident, $table:expr) => {{
            let table = $table;
            encode(Kind::$kind, 0, id, 0, |b| table.pack(b))
        }};
    }
    Ok(match kind % 16 {
        0 => greeting()[PREFACE.len()..].to_vec(),
        1 => frame!(Ping, PingRequestT::default()),
        2..=4 => return produce(id, script),
        5 | 6 => frame!(Fetch, fetch(script)?),
        7 => frame!(OffsetQuery, offset_query(script)?),
        8 => frame!(OffsetCommit, commit(script)?),
        9 => frame!(
            OffsetFetch,
            OffsetFetchRequestT {
                group: group(script)?,
                topic: topic(script)?,
                queues: Some(queues(script)?),
            }
        ),
        10 => frame!(OffsetReset, reset(script)?),
        11 => frame!(
            LeaseAcquire,
            LeaseAcquireRequestT {
                group: group(script)?,
                member: "m".to_owned(),
                topic: topic(script)?,
                queues: Some(queues(script)?),
                term_ms: script.arbitrary()?,
            }
        ),
        12 => frame!(
            LeaseRelease,
            LeaseReleaseRequestT {
                group: group(script)?,
                member: "m".to_owned(),
                topic: topic(script)?,
                queues: Some(queues(script)?),
            }
        ),
        13 => frame!(MessageQuery, message_query(script)?),
        14 => frame!(
            TopicDescribe,
            TopicDescribeRequestT {
                name: topic(script)?
            }
        ),
        _ => frame!(ShardStatus, ShardStatusRequestT::default()),
    })
}

fn topic(script: &mut Unstructured<'_>) -> Result<String> {
    Ok(match script.arbitrary::<u8>()? % 8 {
        0 => script.arbitrary()?,
        1 => "missing".to_owned(),
        _ => "orders".to_owned(),
    })
}

fn group(script: &mut Unstructured<'_>) -> Result<String> {
    let names = ["g", "h", "", "%RETRY%g"];
    Ok((*script.choose(&names)?).to_owned())
}

fn queues(script: &mut Unstructured<'_>) -> Result<Vec<u32>> {
    let count = script.int_in_range(0..=3)?;
    (0..count).map(|_| queue(script)).collect()
}

/// 0 and 1 are there.
fn queue(script: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match script.arbitrary::<u8>()? {
        255 => script.arbitrary()?,
        byte => u32::from(byte % 3),
    })
}

fn offset(script: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match script.arbitrary::<u8>()? {
        255 => script.arbitrary()?,
        byte => u64::from(byte % 16),
    })
}

fn produce(id: u64, script: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let request = ProduceRequestT {
        topic: topic(script)?,
        queue: queue(script)?,
        acks: *script.choose(&[Acks::Durable, Acks::Received, Acks::None])?,
        incarnation: if script.ratio(1, 8)? { 7 } else { 0 },
    };
    let mut batch = batch(script)?;
    if script.ratio(1, 6)? {
        let at = script.arbitrary::<u16>()? as usize % batch.len();
        batch[at] ^= script.arbitrary::<u8>()?;
    }
    let mut frame = encode(Kind::Produce, 0, id, batch.len(), |b| request.pack(b));
    frame.extend(batch);
    Ok(frame)
}

fn batch(script: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new();
    let body = vec![b'x'; usize::from(script.arbitrary::<u16>()? % 5000)];
    for _ in 0..script.int_in_range(1..=4)? {
        let record = Record {
            born_time_ms: script.arbitrary()?,
            keys: &["key"],
            tag: "tag",
            properties: &[("a", "b")],
            envelope: None,
            body: &body,
        };
        builder.push(&record).expect("carryable");
    }
    let options = BatchOptions {
        compression: *script.choose(&[Compression::None, Compression::Lz4, Compression::Zstd])?,
        producer_id: u64::from(script.arbitrary::<u8>()? % 3),
        producer_epoch: u32::from(script.arbitrary::<u8>()? % 2),
        base_sequence: u32::from(script.arbitrary::<u8>()? % 8),
    };
    Ok(builder.finish(&options).expect("small"))
}

fn fetch(script: &mut Unstructured<'_>) -> Result<FetchRequestT> {
    let mut add = Vec::new();
    for _ in 0..script.int_in_range(0..=2)? {
        add.push(FetchAddT {
            slot: queue(script)?,
            topic: topic(script)?,
            queue: queue(script)?,
            offset: offset(script)?,
            tags: script.ratio(1, 4)?.then(|| vec!["tag".to_owned()]),
            group: script.ratio(1, 4)?.then(|| "g".to_owned()),
        });
    }
    Ok(FetchRequestT {
        session: u32::from(script.arbitrary::<u8>()? % 4),
        add: Some(add),
        remove: script.ratio(1, 6)?.then(|| vec![0, 1]),
        pause: script.ratio(1, 6)?.then(|| vec![0]),
        resume: script.ratio(1, 6)?.then(|| vec![0]),
        max_wait_ms: u32::from(script.arbitrary::<u16>()?),
        min_bytes: u32::from(script.arbitrary::<u16>()?),
        max_bytes: u32::from(script.arbitrary::<u16>()?),
        max_bytes_queue: u32::from(script.arbitrary::<u16>()?),
        ..FetchRequestT::default()
    })
}

fn offset_query(script: &mut Unstructured<'_>) -> Result<OffsetQueryRequestT> {
    Ok(OffsetQueryRequestT {
        topic: topic(script)?,
        queues: Some(queues(script)?),
        at: OffsetAt(script.arbitrary::<u8>()? as _),
        time_ms: script.arbitrary()?,
    })
}

fn commit(script: &mut Unstructured<'_>) -> Result<OffsetCommitRequestT> {
    let commit = OffsetCommitT {
        topic: topic(script)?,
        queue: queue(script)?,
        offset: offset(script)?,
        lease: script.arbitrary()?,
    };
    Ok(OffsetCommitRequestT {
        group: group(script)?,
        member: script.ratio(1, 2)?.then(|| "m".to_owned()),
        commits: Some(vec![commit]),
    })
}

fn reset(script: &mut Unstructured<'_>) -> Result<OffsetResetRequestT> {
    let reset = OffsetResetT {
        queue: queue(script)?,
        offset: offset(script)?,
    };
    Ok(OffsetResetRequestT {
        group: group(script)?,
        topic: topic(script)?,
        resets: Some(vec![reset]),
        force: script.arbitrary()?,
    })
}

fn message_query(script: &mut Unstructured<'_>) -> Result<MessageQueryRequestT> {
    Ok(MessageQueryRequestT {
        by: MessageQueryBy(script.arbitrary::<u8>()? as _),
        position: u64::from(script.arbitrary::<u32>()?),
        topic: script.ratio(3, 4)?.then(|| "orders".to_owned()),
        queue: queue(script)?,
        offset: offset(script)?,
        key: script.ratio(3, 4)?.then(|| "key".to_owned()),
        from_ms: 0,
        to_ms: i64::MAX,
        max_messages: u32::from(script.arbitrary::<u8>()?),
    })
}
