//! A snapshot file, as given and with every checksum on the way put right, restored into a shard's state.

#[path = "simulated.rs"]
mod simulated;

use ringmq_broker::state::ShardState;
use ringmq_storage_engine::snapshot;
use ringmq_storage_engine::state_machine::StateMachine;

const BLOCK: usize = 4096;
const LOG_ID: u128 = 7;

pub fn check(bytes: &[u8]) {
    load(bytes.to_vec());
    load(put_right(bytes));
}

fn load(file: Vec<u8>) {
    simulated::on_disk(|disk| async move {
        simulated::write(&disk, "00000000000000008192.snap", &file).await;
        let mut state = ShardState::default();
        let restore = |stamp, chunk: &[u8]| state.restore_chunk(stamp, chunk);
        let loaded = snapshot::load(&disk, LOG_ID, restore).await;
        if loaded.is_ok_and(|loaded| loaded.damaged.is_empty()) {
            state.restore_finished();
            let _ = state.digest();
        }
    });
}

/// A header of this log, then items whose lengths and kinds are the input's and whose checksums hold.
fn put_right(bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; BLOCK];
    file[..16].copy_from_slice(b"RNGQSNP1\x01\0\0\0\0\0\0\0");
    file[16..32].copy_from_slice(&LOG_ID.to_le_bytes());
    file[32..40].copy_from_slice(&4096u64.to_le_bytes());
    let sum = crc32fast::hash(&file[..BLOCK - 4]);
    file[BLOCK - 4..].copy_from_slice(&sum.to_le_bytes());
    let mut sums = crc32fast::Hasher::new();
    let mut rest = bytes;
    let mut number = 0u32;
    // Of each chunk: a byte of stamp, a u16 length, its bytes.
    while let Some((head, tail)) = rest.split_first_chunk::<3>() {
        let stamp = 4096 + 4096 * u64::from(head[0] > 100);
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len());
        let sum = item(&mut file, 1, number, stamp, &tail[..len]);
        sums.update(&sum.to_le_bytes());
        rest = &tail[len..];
        number += 1;
    }
    let last = 8192;
    item(&mut file, 1, number, last, &[1, 1, 0, 0, 0, 0, 0, 0]);
    let sum = sum_of_last(&file, 32);
    sums.update(&sum.to_le_bytes());
    item(
        &mut file,
        2,
        number + 1,
        last,
        &sums.finalize().to_le_bytes(),
    );
    file
}

fn sum_of_last(file: &[u8], item_bytes: usize) -> u32 {
    let item = &file[file.len() - item_bytes..];
    u32::from_le_bytes(*item[12..].first_chunk().expect("long enough"))
}

fn item(file: &mut Vec<u8>, kind: u32, number: u32, stamp: u64, payload: &[u8]) -> u32 {
    let start = file.len();
    file.extend_from_slice(&kind.to_le_bytes());
    file.extend_from_slice(&number.to_le_bytes());
    file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(&[0; 4]);
    file.extend_from_slice(&stamp.to_le_bytes());
    file.extend_from_slice(payload);
    file.resize(start + 24 + payload.len().next_multiple_of(8), 0);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&LOG_ID.to_le_bytes());
    hasher.update(&file[start..start + 12]);
    hasher.update(&file[start + 16..]);
    let sum = hasher.finalize();
    file[start + 12..start + 16].copy_from_slice(&sum.to_le_bytes());
    sum
}
