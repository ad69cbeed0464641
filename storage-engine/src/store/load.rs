//! From the files of a shard to what a store is made of: recovery, as `commitlog::recovery` decides it.

use super::behind::{Behind, Search};
use super::rebuild::rebuild_index;
use super::replay::{Replay, Replayed};
use super::tail_copy::TailCopy;
use super::{Damage, OpenError, StoreOptions};
use crate::commitlog::frame::Link;
use crate::commitlog::placement::Geometry;
use crate::commitlog::recovery::{Claims, Verdict, collect_claims, decide, reach_bytes};
use crate::commitlog::scan::FrameScan;
use crate::commitlog::segments::Segments;
use crate::disk::{Disk, DiskFile};
use crate::index::bundle::{DirectoryEntry, SealedAt};
use crate::index::{Catalog, CatalogOptions, IndexError};
use crate::position::Position;
use crate::runtime::Runtime;
use crate::shard_meta::{Loaded, META_FILE, MetaFile, ShardMeta};
use crate::snapshot::{self, LoadedSnapshots, SnapshotError, SnapshotOutcome, Snapshots};
use crate::state_machine::StateMachine;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A recovered log.
pub(super) struct Recovered<D: Disk, S> {
    pub(super) meta_file: MetaFile<D>,
    pub(super) meta: ShardMeta,
    pub(super) segments: Rc<Segments<D>>,
    pub(super) catalog: Catalog<D>,
    pub(super) state: S,
    pub(super) link: Link,
    pub(super) damage: Option<Damage>,
    pub(super) behind: Behind,
    pub(super) ended: BTreeMap<u64, SealedAt>,
    pub(super) indexed_segment: Option<u64>,
    pub(super) snapshots: Snapshots<D>,
}

/// Sizes of a directory's log.
pub(super) fn geometry(options: &StoreOptions) -> Geometry {
    Geometry {
        segment_bytes: options.segment_bytes,
        reserve_bytes: options.segment_reserve_bytes,
        frame_bytes_max: options.frame_bytes_max,
    }
}

/// Recovers the log. Afterwards `shard.meta` has the new epoch and everything up to the link is durable, unless there
/// is damage: then nothing was changed.
pub(super) async fn recover<D: Disk, R: Runtime, S: StateMachine>(
    disk: &D,
    runtime: &R,
    options: &StoreOptions,
    mut state: S,
) -> Result<Recovered<D, S>, OpenError> {
    let geometry = geometry(options);
    let segments = Segments::load(disk, geometry, options.spare_segments_max).await?;
    let segments = Rc::new(segments);
    let (meta_file, loaded) = MetaFile::open(disk).await?;
    let Known {
        mut meta,
        slot_lost,
    } = known(loaded, &segments, runtime)?;
    let catalog = Catalog::new(
        disk.clone(),
        CatalogOptions {
            log_id: meta.log_id,
            segment_bytes: options.segment_bytes,
            cache_bytes: options.index_cache_bytes,
        },
    );
    let tail_copy = TailCopy {
        disk,
        segments: &segments,
        geometry,
        log_id: meta.log_id,
        epoch: meta.epoch,
    };
    tail_copy.put_back().await?;
    let loaded = load_snapshot(disk, &meta, &mut state).await?;
    let start = start_of_replay(&geometry, &segments, &meta, &loaded)?;
    for number in segments.numbers() {
        let base = geometry.base_of(number);
        if base >= meta.log_start && base < start {
            catalog.add_sealed(number, None);
        }
    }
    let mut scan = FrameScan::new(Rc::clone(&segments), geometry);
    let replay = Replay::new(geometry, &catalog, &mut state);
    let mut replayed = replay.run(runtime, &mut scan, &meta, start).await?;
    load_start(&segments, geometry, &catalog, &meta).await?;
    let link = link_of(&replayed, start);

    let mut claims = if meta.clean && !slot_lost && meta.durable == link.end {
        mark!("recovery: after a clean stop");
        Claims::of_meta(&meta)
    } else {
        mark!("recovery: claims are looked for behind the end");
        let reach = reach_bytes(options.in_flight_bytes_max, options.frame_bytes_max);
        collect_claims(&mut scan, &geometry, link.end, reach, &meta).await?
    };
    if let SnapshotOutcome::Present(info) = loaded.outcome {
        mark!("recovery: from a snapshot");
        // A snapshot is published only when the log is durable up to its last stamp.
        claims.durable = claims.durable.max(info.last_stamp);
    }
    let damage = match decide(link.end, &claims) {
        Verdict::Damage { durable } => {
            mark!("recovery: damage below the frontier");
            Some(damage_at(&geometry, link.end, durable, &replayed))
        }
        // A snapshot is published only when the log is durable beyond it, so something claimed more than this.
        Verdict::TornTail if replayed.link.is_none() && start != Position(0) => {
            let what = format!(
                "no frame at the start of the replay, {start}: {}",
                replayed.miss
            );
            return Err(OpenError::StateUnavailable(what));
        }
        Verdict::TornTail => {
            mark!("recovery: the tail is cut");
            if claims.frames_behind > 0 {
                mark!("recovery: whole frames behind a hole are dropped");
            }
            replayed.prove(claims.durable);
            let unproven = &replayed.unproven;
            tail_copy.write_again(&mut scan, &meta, unproven).await?;
            sync_tail(&geometry, &segments, meta.durable, link.end).await?;
            // A lost slot may have held a later epoch in which nothing was written.
            let epoch = claims.epoch.max(link.epoch).max(meta.epoch) + 1 + u64::from(slot_lost);
            meta.durable = link.end;
            meta.clean = false;
            meta.cut(epoch, link.end);
            meta_file.write(&mut meta).await?;
            tracing::info!(
                end = link.end.0,
                epoch,
                replayed_from = start.0,
                behind = replayed.miss,
                frames_behind = claims.frames_behind,
                "the log is recovered"
            );
            None
        }
    };
    let mut behind = Behind::default();
    if let Some(damage) = &damage {
        tracing::error!(%damage, "the log is read-only");
        let search = Search {
            geometry,
            catalog: &catalog,
            meta: &meta,
            state: &state,
            segment: replayed.segment,
            durable: damage.durable,
        };
        behind = search.run(runtime, &mut scan, &link).await?;
    } else {
        // With damage, what the state knows and the index does not is damaged, not gone.
        let next_offsets = state.next_offsets().into_iter();
        let next_offsets =
            next_offsets.map(|(queue, next_offset)| DirectoryEntry { queue, next_offset });
        catalog.set_next_offsets(next_offsets.collect());
    }
    Ok(Recovered {
        meta_file,
        meta,
        segments,
        catalog,
        state,
        link,
        damage,
        behind,
        ended: replayed.ended,
        indexed_segment: replayed.segment,
        snapshots: loaded.snapshots,
    })
}

struct Known {
    meta: ShardMeta,
    slot_lost: bool,
}

fn known<D: Disk, R: Runtime>(
    loaded: Loaded,
    segments: &Segments<D>,
    runtime: &R,
) -> Result<Known, OpenError> {
    let is_new = segments.numbers().is_empty();
    match loaded {
        Loaded::Present { meta, other_lost } => {
            let slot_lost = other_lost;
            if slot_lost {
                mark!("recovery: one slot of shard.meta is lost");
            }
            Ok(Known { meta, slot_lost })
        }
        Loaded::Newer(found) => {
            mark!("recovery: shard.meta is of a newer version");
            Err(OpenError::NewerVersion {
                file: META_FILE.to_owned(),
                found,
                known: crate::shard_meta::VERSION,
            })
        }
        // Segments come only after the first write of shard.meta has ended.
        Loaded::Empty | Loaded::Unreadable(_) if is_new => {
            if loaded != Loaded::Empty {
                mark!("recovery: the first write of shard.meta is torn");
            }
            let log_id = u128::from(runtime.random_u64()) << 64 | u128::from(runtime.random_u64());
            mark!("recovery: a new directory");
            let (meta, slot_lost) = (ShardMeta::new(log_id), false);
            Ok(Known { meta, slot_lost })
        }
        Loaded::Empty => {
            mark!("recovery: shard.meta is empty beside segments");
            let why = "it is empty, but there are segments";
            Err(OpenError::MetaUnreadable(why.to_owned()))
        }
        Loaded::Unreadable(why) => {
            mark!("recovery: both slots of shard.meta are lost");
            Err(OpenError::MetaUnreadable(why))
        }
    }
}

async fn load_snapshot<D: Disk, S: StateMachine>(
    disk: &D,
    meta: &ShardMeta,
    state: &mut S,
) -> Result<LoadedSnapshots<D>, OpenError> {
    let unavailable = |error: SnapshotError| match error {
        SnapshotError::Disk(error) => OpenError::Disk(error),
        other => OpenError::StateUnavailable(other.to_string()),
    };
    let restore = |stamp, bytes: &[u8]| state.restore_chunk(stamp, bytes);
    let loaded = snapshot::load(disk, meta.log_id, restore)
        .await
        .map_err(unavailable)?;
    for error in &loaded.damaged {
        tracing::error!(%error, "a snapshot was passed over");
    }
    state.restore_finished();
    Ok(loaded)
}

/// Base of the segment from which state and index are rebuilt: the one that holds the last byte below the snapshot's
/// first stamp, so that there is a frame to go on from.
fn start_of_replay<D: Disk>(
    geometry: &Geometry,
    segments: &Segments<D>,
    meta: &ShardMeta,
    loaded: &LoadedSnapshots<D>,
) -> Result<Position, OpenError> {
    let start = match loaded.outcome {
        SnapshotOutcome::Present(info) => {
            let last_byte = Position(info.replay_from.0.saturating_sub(1));
            geometry.base_of(geometry.segment_of(last_byte))
        }
        SnapshotOutcome::Absent => Position(0),
        SnapshotOutcome::Unreadable => {
            mark!("recovery: no snapshot is whole");
            Position(0)
        }
    };
    let number = geometry.segment_of(start);
    if start < meta.log_start || (!segments.contains(number) && !segments.numbers().is_empty()) {
        mark!("recovery: the log does not reach back to where the state could begin");
        return Err(OpenError::StateUnavailable(format!(
            "it would have to be replayed from {start}, but the log starts at {} (snapshots: {:?})",
            meta.log_start, loaded.outcome
        )));
    }
    Ok(start)
}

/// Lets the catalog know where queues start; a bundle that cannot be read is made again.
async fn load_start<D: Disk>(
    segments: &Rc<Segments<D>>,
    geometry: Geometry,
    catalog: &Catalog<D>,
    meta: &ShardMeta,
) -> Result<(), OpenError> {
    let unavailable = |error: IndexError| OpenError::StateUnavailable(error.to_string());
    match catalog.load_start().await {
        Err(IndexError::NeedsRebuild { segment, cause }) => {
            mark!("recovery: an index is made again");
            tracing::warn!(segment, %cause, "rebuilding an index");
            match rebuild_index(segments, geometry, catalog, meta, segment, &|_| true).await {
                // Whoever asks for what is in it meets the error, until there is space.
                Err(IndexError::Write { cause, .. }) if cause.kind.is_retryable() => {
                    mark!("recovery: no space to make an index again");
                    tracing::warn!(%cause, segment, "an index has to wait");
                    Ok(())
                }
                Err(error) => Err(unavailable(error)),
                Ok(()) => catalog.load_start().await.map_err(unavailable),
            }
        }
        other => other.map_err(unavailable),
    }
}

/// The chain so far. With no frame where a later replay starts, nothing is proven behind its start: what is older can
/// be read, but nothing can be appended.
fn link_of(replayed: &Replayed, start: Position) -> Link {
    replayed.link.unwrap_or(Link {
        end: start,
        ..Link::GENESIS
    })
}

fn damage_at(
    geometry: &Geometry,
    valid_end: Position,
    durable: Position,
    replayed: &Replayed,
) -> Damage {
    Damage {
        segment: geometry.segment_of(valid_end),
        offset: geometry.offset_of(valid_end),
        position: valid_end,
        durable,
        cause: replayed.miss.clone(),
    }
}

/// What was read may still be in the device's cache only.
async fn sync_tail<D: Disk>(
    geometry: &Geometry,
    segments: &Segments<D>,
    durable: Position,
    valid_end: Position,
) -> Result<(), OpenError> {
    let first = geometry.segment_of(durable.min(valid_end));
    for number in first..=geometry.segment_of(valid_end) {
        if segments.contains(number) {
            segments.file(number).await?.file.sync_data().await?;
        }
    }
    Ok(())
}
