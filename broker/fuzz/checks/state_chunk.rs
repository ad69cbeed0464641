//! Chunks of a snapshot, as many as the input holds: a state that took them can be looked at, digested and written
//! again, and what it writes restores to the same state.

use ringmq_broker::state::ShardState;
use ringmq_storage_engine::position::Position;
use ringmq_storage_engine::state_machine::StateMachine;

pub fn check(bytes: &[u8]) {
    let Some(state) = restored(chunks(bytes)) else {
        return;
    };
    if state.defect().is_some() {
        return;
    }
    let written = snapshot(&state);
    let again = restored(written.iter().map(Vec::as_slice)).expect("it wrote it itself");
    assert_eq!(again.defect(), None);
    assert_eq!(again.digest(), state.digest());
}

/// A u16 length, then that many bytes.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (chunk, rest) = rest.split_at(len);
        bytes = rest;
        Some(chunk)
    })
}

fn restored<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Option<ShardState> {
    let mut state = ShardState::default();
    for (number, chunk) in chunks.enumerate() {
        state
            .restore_chunk(Position(number as u64 * 4096), chunk)
            .ok()?;
    }
    state.restore_finished();
    let _ = (
        state.next_offsets(),
        state.topic_count(),
        state.group_queue_count(),
    );
    Some(state)
}

fn snapshot(state: &ShardState) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    let mut after: Option<Vec<u8>> = None;
    loop {
        let chunk = state.snapshot_chunk(after.as_deref(), 200);
        chunks.push(chunk.bytes);
        match chunk.next {
            Some(next) => after = Some(next),
            None => return chunks,
        }
    }
}
