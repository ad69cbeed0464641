//! Both slots of `shard.meta`, as given and under right checksums: what decodes encodes to the same bytes.

use ringmq_storage_engine::shard_meta::{SLOT_BYTES, Slot, choose};

pub fn check(bytes: &[u8]) {
    let mut file = bytes.to_vec();
    file.resize(2 * SLOT_BYTES, 0);
    read(&file);
    for slot in file.chunks_exact_mut(SLOT_BYTES) {
        slot[..4].copy_from_slice(b"RQSM");
        let sum = crc32fast::hash(&slot[..SLOT_BYTES - 4]);
        slot[SLOT_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
    }
    read(&file);
}

fn read(file: &[u8]) {
    let (one, other) = file.split_at(SLOT_BYTES);
    for slot in [one, other] {
        if let Slot::Present(meta) = Slot::parse(slot) {
            let mut encoded = vec![0; SLOT_BYTES];
            meta.encode(&mut encoded);
            assert_eq!(encoded, slot);
            let _ = meta.valid_below(meta.epoch / 2);
        }
    }
    let _ = choose([Slot::parse(one), Slot::parse(other)]);
}
