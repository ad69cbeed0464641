//! Making a store of a recovered log, and starting its tasks.

use super::inner::{Condition, Inner, Signals};
use super::load::{Recovered, geometry, recover};
use super::meta_keeper::MetaKeeper;
use super::read::SegmentFiles;
use super::waiters::Waiters;
use super::{OpenError, StoreMetrics, StoreOptions};
use crate::cache::TailCache;
use crate::commitlog::group_commit::DispatchLimits;
use crate::commitlog::open_frame::FrameIdentity;
use crate::commitlog::tail::{LogTail, TailLimits};
use crate::disk::{Disk, DiskErrorKind};
use crate::reader::{Reader, ReaderOptions};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use crate::sync::Turn;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Opens the store of one shard.
pub(super) async fn open<D: Disk, R: Runtime, S: StateMachine>(
    disk: D,
    runtime: R,
    options: StoreOptions,
    state: S,
) -> Result<Rc<Inner<D, R, S>>, OpenError> {
    options.check().map_err(OpenError::Options)?;
    let recovered = recover(&disk, &runtime, &options, state).await?;
    let inner = Rc::new(assemble(disk, runtime, options, recovered));
    let read_only = inner.condition.damage.borrow().is_some();
    if !read_only {
        retire_below_start(&inner).await?;
        prepare_first(&inner).await?;
    }
    inner.refresh_space().await;
    inner.start_tasks(read_only);
    Ok(inner)
}

fn assemble<D: Disk, R: Runtime, S: StateMachine>(
    disk: D,
    runtime: R,
    options: StoreOptions,
    recovered: Recovered<D, S>,
) -> Inner<D, R, S> {
    let geometry = geometry(&options);
    let limits = TailLimits {
        in_flight_bytes_max: options.in_flight_bytes_max,
        dispatch: DispatchLimits {
            frames_in_flight_max: options.frames_in_flight_max,
            dispatch_bytes: options.dispatch_bytes,
        },
    };
    let identity = FrameIdentity {
        log_id: recovered.meta.log_id,
        term: recovered.meta.term,
        epoch: recovered.meta.epoch,
    };
    let link = recovered.link;
    let newest = recovered.snapshots.newest();
    let last_snapshot = newest.map_or((recovered.meta.log_start, 0), |s| (s.replay_from, s.bytes));
    let files = SegmentFiles(Rc::clone(&recovered.segments));
    let reader_options = ReaderOptions {
        cache_bytes: options.read_cache_bytes,
        ..ReaderOptions::new(options.segment_bytes)
    };
    let reader = Reader::new(runtime.clone(), files, reader_options);
    let condition = Condition::default();
    *condition.damage.borrow_mut() = recovered.damage;
    let behind = recovered.behind;
    Inner {
        disk,
        runtime,
        geometry,
        state: RefCell::new(recovered.state),
        tail: RefCell::new(LogTail::new(geometry, limits, identity, link)),
        cache: RefCell::new(TailCache::new(options.cache_bytes)),
        options,
        catalog: recovered.catalog,
        segments: recovered.segments,
        reader,
        behind,
        meta: MetaKeeper::new(recovered.meta_file, recovered.meta),
        metrics: RefCell::new(StoreMetrics::default()),
        waiters: RefCell::new(Waiters::default()),
        listener: RefCell::new(None),
        last_store_time_ms: Cell::new(link.store_time_ms),
        indexed_segment: Cell::new(recovered.indexed_segment),
        ended: RefCell::new(recovered.ended),
        segment_times: RefCell::default(),
        last_snapshot: Cell::new(last_snapshot),
        kept_from: Cell::new(None),
        snapshots: RefCell::new(Some(recovered.snapshots)),
        snapshotting: Cell::new(false),
        rebuilding: Turn::default(),
        zeroing: Cell::new(None),
        snapshot_turn: Turn::default(),
        sealing: Turn::default(),
        waits_for_disk_since: Cell::new(None),
        condition,
        signals: Signals::default(),
    }
}

/// A crash can come between the record of a new log start and the end of what it retires.
async fn retire_below_start<D: Disk, R: Runtime, S: StateMachine>(
    inner: &Inner<D, R, S>,
) -> Result<(), OpenError> {
    let start = inner.geometry.segment_of(inner.meta.log_start());
    for number in inner.segments.numbers() {
        if number < start {
            mark!("recovery: a retired segment is still there");
            tracing::info!(segment = number, "a retired segment was still there");
            inner.segments.retire(number, false).await?;
        }
    }
    Ok(())
}

/// The segment to write to must be there; the one behind it should.
async fn prepare_first<D: Disk, R: Runtime, S: StateMachine>(
    inner: &Inner<D, R, S>,
) -> Result<(), OpenError> {
    let end = inner.tail.borrow().end();
    let segment = inner.geometry.segment_of(end);
    for number in [segment, segment + 1] {
        match inner.segments.prepare(number).await {
            Ok(_) => {}
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                tracing::warn!(%error, segment = number, "no space for the next segment");
                mark!("recovery: no space for the next segment");
                inner.condition.no_space.set(true);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(active) = inner.segments.opened(segment) {
        active.fresh_from.set(inner.geometry.offset_of(end));
    }
    Ok(())
}
