//! Record batches, as given and under a right checksum: bounded memory, records stay within their section.

use bytes::Bytes;
use ringmq_wire::batch::BatchView;

fn read(bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    let Ok(view) = BatchView::parse(&shared) else {
        return;
    };
    view.tags_codes().for_each(drop);
    view.key_hashes().for_each(drop);
    let Ok(section) = view.records_section(&shared) else {
        return;
    };
    for record in view.records(&section).flatten() {
        record.properties.iter().for_each(drop);
    }
}

pub fn check(bytes: &[u8]) {
    read(bytes);
    if bytes.len() > 80 {
        // A right checksum lets the fuzzer reach what is behind it.
        let mut bytes = bytes.to_vec();
        let len = bytes.len() as u32;
        bytes[0..4].copy_from_slice(&len.to_le_bytes());
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[0..8]);
        hasher.update(&bytes[36..]);
        let sum = hasher.finalize();
        bytes[32..36].copy_from_slice(&sum.to_le_bytes());
        read(&bytes);
    }
}
