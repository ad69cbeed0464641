//! A whole directory with edited bytes, opened and read: no panic, no endless loop, and no wrong message, unless the
//! edit also put the checksums right, as no damage does.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/bytes/directory.rs"]
mod directory;
#[path = "reseal.rs"]
mod reseal;

use directory::{AUDIT, Left, Machine, ORDERS, SmallStore, options};
use ringmq_broker::state::ShardState;
use ringmq_storage_engine::disk::sim::{Damage, SimDisk};
use ringmq_storage_engine::disk::{BLOCK_BYTES, Disk};
use ringmq_storage_engine::position::{QueueHandle, QueueOffset};
use ringmq_storage_engine::runtime::sim::SimExecutor;
use ringmq_storage_engine::store::{ReadError, ReadLimits, Store};
use std::collections::BTreeMap;
use std::rc::Rc;

type Messages = BTreeMap<(QueueHandle, u64), Vec<u8>>;

struct Base {
    machine: Machine,
    files: Vec<(String, Vec<u8>)>,
    messages: Rc<Messages>,
}

thread_local! {
    static BASES: [Base; 3] = [Left::Clean, Left::Crashed, Left::Mending].map(Base::new);
}

/// First byte: which directory (bits 0 and 2), and whether checksums are put right (bit 1). Then edits: file u8, offset u24, bits to flip u8.
pub fn check(bytes: &[u8]) {
    let Some((mode, edits)) = bytes.split_first() else {
        return;
    };
    let is_resealed = mode & 2 != 0;
    BASES.with(|bases| {
        let base = match mode & 5 {
            0 => &bases[0],
            1 => &bases[1],
            _ => &bases[2],
        };
        let (executor, disk) = base.machine.copy();
        base.edit(&disk, edits, is_resealed);
        let known = (!is_resealed).then(|| Rc::clone(&base.messages));
        let runtime = executor.runtime();
        let looked = executor.run(async move {
            let opened = Store::open(disk, runtime, options(), ShardState::default()).await;
            if let Ok(store) = opened {
                read_all(&store, known.as_deref()).await;
            }
        });
        looked.expect("it ends");
        executor.abort_all();
    });
}

impl Base {
    fn new(left: Left) -> Self {
        let machine = Machine::live(left);
        let (executor, disk) = machine.copy();
        let listing = disk.clone();
        let entries = executor.run(async move { listing.list().await.expect("no fault") });
        let entries = entries.expect("it ends");
        let files = entries
            .into_iter()
            .map(|entry| (disk.bytes(&entry.name).expect("listed"), entry.name))
            .map(|(bytes, name)| (name, bytes))
            .collect();
        Self {
            messages: Rc::new(messages(&executor, disk)),
            machine,
            files,
        }
    }

    fn edit(&self, disk: &SimDisk, edits: &[u8], reseal: bool) {
        let mut edited: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for edit in edits.chunks_exact(5).take(16) {
            let file = usize::from(edit[0]) % self.files.len();
            if self.files[file].1.is_empty() {
                continue;
            }
            let bytes = edited
                .entry(file)
                .or_insert_with(|| self.files[file].1.clone());
            let at = u32::from_le_bytes([edit[1], edit[2], edit[3], 0]) as usize % bytes.len();
            bytes[at] ^= edit[4];
        }
        for (file, bytes) in &mut edited {
            let name = &self.files[*file].0;
            if reseal {
                reseal::reseal(name, bytes, &self.files[*file].1);
            }
            for (block, content) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
                let before = &self.files[*file].1[block * BLOCK_BYTES..][..BLOCK_BYTES];
                if content != before {
                    let damage = Damage::Bytes(content.to_vec());
                    disk.damage(name, (block * BLOCK_BYTES) as u64, damage);
                }
            }
        }
    }
}

fn messages(executor: &SimExecutor, disk: SimDisk) -> Messages {
    let runtime = executor.runtime();
    let read = executor.run(async move {
        let opened = Store::open(disk, runtime, options(), ShardState::default()).await;
        read_all(&opened.expect("undamaged"), None).await
    });
    read.expect("it ends")
}

/// Reads every queue over all damage, and asks by key and by position.
async fn read_all(store: &SmallStore, known: Option<&Messages>) -> Messages {
    let mut all = Messages::new();
    for queue in [ORDERS[0], ORDERS[1], AUDIT] {
        let _ = store.find_key(queue, 1, i64::MIN, i64::MAX, 10).await;
        let _ = store.offset_at_time(queue, 1_767_225_600_100).await;
        let (Some(min), Some(visible)) = (store.min_offset(queue), store.visible_offset(queue))
        else {
            continue;
        };
        let mut from = min;
        let mut errors = 0;
        while from < visible && errors < 50 {
            match store.read(queue, from, ReadLimits::default()).await {
                Ok(read) => {
                    assert!(read.next_offset > from, "a read goes on");
                    for batch in &read.batches {
                        let place = (queue, batch.header.base_offset);
                        let right = known.is_none_or(|known| {
                            known
                                .get(&place)
                                .is_some_and(|bytes| *bytes == *batch.bytes)
                        });
                        assert!(right, "{place:?} is wrong");
                        let _ = store.read_position(batch.position).await;
                        all.insert(place, batch.bytes.to_vec());
                    }
                    from = read.next_offset;
                }
                Err(ReadError::Corrupt { next_readable, .. }) if next_readable > from => {
                    from = next_readable;
                    errors += 1;
                }
                Err(_) => {
                    from = QueueOffset(from.0 + 1);
                    errors += 1;
                }
            }
        }
    }
    all
}
