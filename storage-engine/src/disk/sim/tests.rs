use super::*;
use crate::disk::{DiskFile, Durability};
use crate::runtime::sim::SimExecutor;

fn block(disk: &SimDisk, fill: u8) -> Rc<SimBuf> {
    let mut buf = disk.alloc(BLOCK_BYTES);
    buf.fill(fill);
    Rc::new(buf)
}

/// One file of three blocks: 0 durable, 1 volatile then synced, 2 volatile.
async fn three_blocks(disk: SimDisk) -> SimFile {
    let file = disk.create("a").await.unwrap();
    disk.sync_dir().await.unwrap();
    file.write_at(block(&disk, 1), 0, Durability::Durable)
        .await
        .unwrap();
    file.write_at(block(&disk, 2), 4096, Durability::Volatile)
        .await
        .unwrap();
    file.sync_data().await.unwrap();
    file.write_at(block(&disk, 3), 8192, Durability::Volatile)
        .await
        .unwrap();
    file
}

#[test]
fn a_power_cut_loses_what_no_sync_covered() {
    let executor = SimExecutor::new(1);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    let file = executor.run(three_blocks(disk.clone())).unwrap();
    assert_eq!(disk.uncovered(), 2, "one write and its length");
    let lost = disk.crash(CrashPolicy::LoseAll, 0).bytes("a").unwrap();
    assert_eq!(lost.len(), 8192);
    assert_eq!((lost[0], lost[4096]), (1, 2));
    let kept = disk.crash(CrashPolicy::KeepAll, 0).bytes("a").unwrap();
    assert_eq!((kept.len(), kept[8192]), (12288, 3));
    drop(file);
}
