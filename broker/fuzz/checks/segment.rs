//! A frame of a segment and its records, as given and under right checksums.

use ringmq_storage_engine::commitlog::frame::{FRAME_HEADER_BYTES, FrameHeader, Link};
use ringmq_storage_engine::commitlog::record::{EngineRecord, RawRecords, RecordKind};
use ringmq_storage_engine::position::Position;
use ringmq_wire::batch::BatchView;

pub fn check(bytes: &[u8]) {
    read(bytes);
    if bytes.len() < FRAME_HEADER_BYTES {
        return;
    }
    // Behind right checksums lies what a writer with a defect could have left.
    let mut frame = bytes.to_vec();
    let body = frame.len() - FRAME_HEADER_BYTES;
    let body = body - body % 8;
    frame[..8].copy_from_slice(b"RQF1\x01\0\0\0");
    frame[32..36].copy_from_slice(&(body as u32).to_le_bytes());
    let sum = crc32fast::hash(&frame[FRAME_HEADER_BYTES..][..body]);
    frame[60..64].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32fast::hash(&frame[..72]);
    frame[72..76].copy_from_slice(&sum.to_le_bytes());
    let local = [&frame[72..76], &frame[80..120]].concat();
    frame[76..80].copy_from_slice(&crc32fast::hash(&local).to_le_bytes());
    read(&frame);
    records(&bytes[FRAME_HEADER_BYTES..]);
}

fn read(frame: &[u8]) {
    let Ok((header, checksum)) = FrameHeader::parse(frame) else {
        return;
    };
    let mut encoded = [0; FRAME_HEADER_BYTES];
    assert_eq!(header.encode(&mut encoded), checksum);
    assert_eq!(encoded, frame[..FRAME_HEADER_BYTES]);
    let _ = header.check_follows(&Link::GENESIS, header.log_id, Position(0));
    assert!(header.link(checksum).end > header.position);
    if let Ok(body) = header.body(frame) {
        records(body);
    }
}

fn records(body: &[u8]) {
    let mut end = 0;
    for record in RawRecords::new(body).flatten() {
        assert_eq!(record.offset, end);
        end = record.end();
        assert!(end <= body.len());
        match record.kind {
            RecordKind::Batch => {
                if let Ok(batch) = BatchView::parse_unverified(record.payload) {
                    batch.key_hashes().for_each(drop);
                    batch.tags_codes().for_each(drop);
                }
            }
            RecordKind::Engine => drop(EngineRecord::decode(record.payload)),
            RecordKind::Control => {}
        }
    }
}
