//! Mending a shard that nobody serves: indexes are made again from their segments, and a tail is cut by name.

use super::rebuild::rebuild_index;
use crate::commitlog::placement::Geometry;
use crate::commitlog::segments::Segments;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskErrorKind};
use crate::examine::Sizes;
use crate::index::bundle;
use crate::index::{Catalog, CatalogOptions, IndexError};
use crate::position::Position;
use crate::shard_meta::{Loaded, MetaFile, ShardMeta};
use crate::snapshot;
use std::rc::Rc;

/// Memory for pages of indexes while some are made again.
const CACHE_BYTES: usize = 16 << 20;

/// Why a shard cannot be mended this way.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("shard.meta cannot be used: {0}")]
    Meta(String),
}

/// Makes the index of each of these sealed segments again. Queues of removed topics stay in its directory, which
/// does no harm: nobody asks for them.
pub async fn rebuild_indexes<D: Disk>(
    disk: &D,
    sizes: Sizes,
    numbers: &[u64],
) -> Result<(), MendError> {
    let (_, meta) = meta(disk).await?;
    let geometry = geometry(sizes);
    let segments = Rc::new(Segments::look(disk, geometry).await?);
    let catalog = Catalog::new(
        disk.clone(),
        CatalogOptions {
            log_id: meta.log_id,
            segment_bytes: sizes.segment_bytes,
            cache_bytes: CACHE_BYTES,
        },
    );
    let Some(last) = numbers.iter().max() else {
        return Ok(());
    };
    let start = geometry.segment_of(meta.log_start);
    for number in segments.numbers() {
        if number >= start && number <= *last {
            catalog.add_sealed(number, None);
        }
    }
    for number in numbers {
        rebuild_index(&segments, geometry, &catalog, &meta, *number, &|_| true).await?;
    }
    disk.sync_dir().await?;
    Ok(())
}

/// Drops everything at and above `position`, acknowledged or not: a new epoch begins there, and snapshots and indexes
/// that know more are removed. The caller has made sure that a frame ends at `position` and that the state can still
/// be made.
pub async fn cut_tail<D: Disk>(
    disk: &D,
    sizes: Sizes,
    position: Position,
) -> Result<(), MendError> {
    let (file, mut meta) = meta(disk).await?;
    let geometry = geometry(sizes);
    let segments = Segments::look(disk, geometry).await?;
    // Derived files first: after a crash on the way the log is still whole.
    for name in snapshots_above(disk, position).await? {
        disk.remove(&name).await?;
    }
    for number in segments.numbers() {
        if geometry.next_base(geometry.base_of(number)) > position {
            match disk.remove(&bundle::file_name(number)).await {
                Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
        }
    }
    disk.sync_dir().await?;
    let epoch = meta.epoch + 1;
    meta.cut(epoch, position);
    meta.clean = false;
    // Both slots: an older one must not bring back what is cut.
    file.write(&mut meta).await?;
    file.write(&mut meta).await?;
    file.close().await?;
    Ok(())
}

/// Snapshots that hold what lies at or above `position`.
pub async fn snapshots_above<D: Disk>(
    disk: &D,
    position: Position,
) -> Result<Vec<String>, DiskError> {
    let names = snapshot::names(disk).await?.into_iter();
    Ok(names
        .filter(|name| snapshot::stamp_in(name).is_some_and(|stamp| stamp > position))
        .collect())
}

fn geometry(sizes: Sizes) -> Geometry {
    Geometry {
        segment_bytes: sizes.segment_bytes,
        reserve_bytes: BLOCK_BYTES as u64,
        frame_bytes_max: sizes.frame_bytes_max,
    }
}

async fn meta<D: Disk>(disk: &D) -> Result<(MetaFile<D>, ShardMeta), MendError> {
    match MetaFile::open(disk).await? {
        (file, Loaded::Present { meta, .. }) => Ok((file, meta)),
        (_, Loaded::Newer(version)) => Err(MendError::Meta(format!("version {version} is newer"))),
        (_, Loaded::Unreadable(why)) => Err(MendError::Meta(why)),
        (_, Loaded::Empty) => Err(MendError::Meta("it is empty".to_owned())),
    }
}
