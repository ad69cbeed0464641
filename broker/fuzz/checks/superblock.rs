//! The superblock, as given and under a right checksum: what decodes encodes to the same bytes.

use ringmq_storage_engine::data_dir::Superblock;

pub fn check(bytes: &[u8]) {
    read(bytes);
    let mut block = bytes.to_vec();
    block.resize(4096, 0);
    block[..12].copy_from_slice(b"RINGMQSB\x01\0\0\0");
    let sum = crc32fast::hash(&block[16..]);
    block[12..16].copy_from_slice(&sum.to_le_bytes());
    read(&block);
}

fn read(block: &[u8]) {
    if let Ok(superblock) = Superblock::decode(block) {
        assert_eq!(superblock.encode(), block);
    }
}
