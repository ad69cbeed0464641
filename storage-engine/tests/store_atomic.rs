//! Several records in one frame: after any power cut all of them are there, or none.
#![allow(clippy::print_stdout, reason = "a failing test shows its seed")]

mod support;

use ringmq_storage_engine::disk::sim::{CrashPolicy, SimDisk, SimDiskOptions};
use ringmq_storage_engine::position::QueueHandle;
use ringmq_storage_engine::runtime::sim::{SeededRandom, SimExecutor, SimRuntime};
use ringmq_storage_engine::state_machine::StateMachine;
use ringmq_storage_engine::store::{
    Append, AppendError, Appended, Store, StoreOptions, Urgency, WriteMode,
};
use support::{TestState, big_batch, create_queue, seed};

type SimStore = Store<SimDisk, SimRuntime, TestState>;

/// Written together: each has as many messages as the other.
const PAIR: [QueueHandle; 2] = [QueueHandle(1), QueueHandle(2)];

async fn open(disk: &SimDisk, runtime: &SimRuntime, write_mode: WriteMode) -> SimStore {
    let options = StoreOptions {
        write_mode,
        ..StoreOptions::test_min()
    };
    let state = TestState::default();
    let store = Store::open(disk.clone(), runtime.clone(), options, state).await;
    store.expect("it opens")
}

fn ends(store: &SimStore) -> [u64; 2] {
    PAIR.map(|queue| store.with_state(|state| state.next_offset(queue).map_or(0, |next| next.0)))
}

/// Appends one batch to each queue of the pair, with a control record between them.
fn append_pair(store: &SimStore, batches: &[Vec<u8>; 2]) -> Result<Vec<Appended>, AppendError> {
    let base = |queue| {
        store
            .with_state(|state| state.next_offset(queue))
            .expect("it exists")
    };
    let control = create_queue(3);
    let records = [
        Append::Batch {
            queue: PAIR[0],
            base_offset: base(PAIR[0]),
            batch: &batches[0],
        },
        Append::Control(&control),
        Append::Batch {
            queue: PAIR[1],
            base_offset: base(PAIR[1]),
            batch: &batches[1],
        },
    ];
    store.append_atomic(&records, Urgency::Ordinary)
}

async fn live(disk: SimDisk, runtime: SimRuntime, write_mode: WriteMode, seed: u64) -> u64 {
    let store = open(&disk, &runtime, write_mode).await;
    let [one, other] = ends(&store);
    assert_eq!(one, other, "a part of a pair");
    if store.with_state(|state| state.next_offset(PAIR[0]).is_none()) {
        let create = PAIR.map(|queue| create_queue(queue.0));
        let create = create.each_ref().map(|record| Append::Control(record));
        store
            .append_atomic(&create, Urgency::Ordinary)
            .expect("taken");
    }
    let mut random = SeededRandom::new(seed, "pairs");
    for _ in 0..24 {
        // From far below a block to most of a frame, so that frames and segments fill up in many ways.
        let batches = [0u8, 1].map(|fill| big_batch(1 + random.index(6_000), fill));
        loop {
            match append_pair(&store, &batches) {
                Ok(appended) => {
                    if random.index(3) == 0 {
                        let end = appended.last().expect("three records").end;
                        store.durable(end).await.expect("durable");
                    }
                    break;
                }
                Err(AppendError::Busy) => store.wait_room(16 << 10).await.expect("it runs"),
                Err(error) => panic!("not appended: {error}"),
            }
        }
        let [one, other] = ends(&store);
        assert_eq!(one, other);
    }
    store.stop().await.expect("stopped");
    ends(&store)[0]
}

#[test]
fn no_cut_leaves_a_part() {
    let base = seed(4_711);
    println!("RINGMQ_SEED={base}");
    let mut cuts = 0;
    for write_mode in [WriteMode::DurableWrite, WriteMode::WriteThenSync] {
        let executor = SimExecutor::new(base);
        let disk = SimDisk::new(&executor.runtime(), SimDiskOptions::default());
        let whole = executor.run(live(disk.clone(), executor.runtime(), write_mode, base));
        whole.expect("without a cut the run ends");
        for point in 0..=disk.effects() {
            let executor = SimExecutor::new(base);
            let runtime = executor.runtime();
            let disk = SimDisk::new(&runtime, SimDiskOptions::default());
            disk.crash_at(point);
            let cut = executor.run(live(disk.clone(), runtime.clone(), write_mode, base));
            if cut.is_ok() {
                continue;
            }
            executor.abort_all();
            for policy in CrashPolicy::ALL {
                let image = disk.crash_onto(&runtime, policy, base ^ point);
                let after = executor.run(live(image, runtime.clone(), write_mode, base));
                assert!(after.expect("it goes on") >= 24);
                cuts += 1;
            }
        }
    }
    println!("{cuts} cuts");
    assert!(cuts > 100);
}

#[test]
fn what_fits_no_frame_together_is_refused_whole() {
    let executor = SimExecutor::new(3);
    let runtime = executor.runtime();
    let disk = SimDisk::new(&runtime, SimDiskOptions::default());
    let ended = executor.run(async move {
        let store = open(&disk, &runtime, WriteMode::DurableWrite).await;
        for queue in PAIR {
            store.append_control(&create_queue(queue.0)).expect("taken");
        }
        let before = store.with_state(StateMachine::digest);
        let each_fits = [0u8, 1].map(|fill| big_batch(9_000, fill));
        let refused = append_pair(&store, &each_fits).expect_err("too large together");
        assert!(matches!(refused, AppendError::TooLarge { .. }), "{refused}");
        assert_eq!(store.with_state(StateMachine::digest), before);
        assert!(
            store
                .append_atomic(&[], Urgency::Ordinary)
                .expect("nothing")
                .is_empty()
        );
        store.stop().await.expect("stopped");
    });
    ended.expect("the test ends");
}
