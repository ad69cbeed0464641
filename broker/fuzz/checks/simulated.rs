//! Files on a simulated disk.

use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::disk::{BLOCK_BYTES, Disk, DiskFile, Durability};
use ringmq_storage_engine::runtime::sim::SimExecutor;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

/// Runs `with` on an empty disk.
pub fn on_disk<T: 'static, F: Future<Output = T> + 'static>(with: impl FnOnce(SimDisk) -> F) -> T {
    let executor = SimExecutor::new(1);
    executor.set_poll_budget(1_000_000);
    let options = SimDiskOptions {
        latency_max: Duration::ZERO,
        ..SimDiskOptions::default()
    };
    let disk = SimDisk::new(&executor.runtime(), options);
    executor.run(with(disk)).expect("it ends")
}

/// Makes a file, filled up with zeros to whole blocks.
pub async fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.create(name).await.expect("no fault");
    let mut buffer = disk.alloc(bytes.len().max(1).next_multiple_of(BLOCK_BYTES));
    buffer.fill(0);
    buffer[..bytes.len()].copy_from_slice(bytes);
    let written = file.write_at(Rc::new(buffer), 0, Durability::Durable);
    written.await.expect("no fault");
}
