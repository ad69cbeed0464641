//! A store on the simulated disk whose one queue holds numbered messages, each of which says which one it is.

use super::{TestState, batch, bodies, create_queue};
use ringmq_storage_engine::disk::sim::{SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::sim::{SimExecutor, SimRuntime};
use ringmq_storage_engine::store::{AppendError, OpenError, ReadLimits, Store, StoreOptions};

pub type SimStore = Store<SimDisk, SimRuntime, TestState>;

pub const QUEUE: QueueHandle = QueueHandle(1);

pub fn body(number: u64) -> String {
    format!("message {number} {}", "z".repeat(1500))
}

pub async fn open(
    disk: &SimDisk,
    runtime: &SimRuntime,
    options: &StoreOptions,
) -> Result<SimStore, OpenError> {
    let (disk, runtime) = (disk.clone(), runtime.clone());
    Store::open(disk, runtime, options.clone(), TestState::default()).await
}

pub async fn create(store: &SimStore, queue: QueueHandle) {
    let created = store.append_control(&create_queue(queue.0));
    let created = created.expect("there is room");
    store.durable(created.end).await.expect("it runs");
}

/// Appends these messages, each durable before the next one.
pub async fn append(store: &SimStore, numbers: std::ops::Range<u64>) {
    for number in numbers {
        loop {
            match store.append_batch(QUEUE, QueueOffset(number), &batch(&[&body(number)])) {
                Ok(appended) => break store.durable(appended.end).await.expect("it runs"),
                Err(AppendError::Busy) => store.wait_room(4096).await.expect("it runs"),
                Err(error) => panic!("not appended: {error}"),
            }
        }
    }
}

/// A new store with that many messages, all durable.
pub async fn open_with(
    disk: &SimDisk,
    runtime: &SimRuntime,
    options: &StoreOptions,
    messages: u64,
) -> SimStore {
    let store = open(disk, runtime, options).await.expect("it opens");
    create(&store, QUEUE).await;
    append(&store, 0..messages).await;
    store
}

pub const ONE: ReadLimits = ReadLimits {
    max_bytes: 1,
    max_batches: 1,
};

/// Messages from the minimum offset on, each at its place; panics at damage.
pub async fn read_all(store: &SimStore) -> std::ops::Range<u64> {
    let first = store.min_offset(QUEUE).expect("it is known");
    let mut at = first;
    loop {
        let read = store.read(QUEUE, at, ONE).await.expect("readable");
        if read.batches.is_empty() {
            return first.0..at.0;
        }
        assert_eq!(bodies(&read.batches[0].bytes), [body(at.0).into_bytes()]);
        at = read.next_offset;
    }
}

pub fn on_disk<F: Future<Output = ()> + 'static>(test: impl FnOnce(SimDisk, SimRuntime) -> F) {
    let executor = SimExecutor::new(17);
    let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
    let ended = executor.run(test(disk, executor.runtime()));
    ended.expect("the test runs to its end");
}
