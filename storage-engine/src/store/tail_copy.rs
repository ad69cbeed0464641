//! Making the newest frames durable at a start, which may only seem to be.
//!
//! After a failed sync, caches of the kernel or of a host go on serving bytes that no later sync writes. A process that
//! is started again on a machine that stayed up reads them like any others, and syncing again proves nothing. So a
//! start writes the frames again that nothing recorded as durable. Some of them may have been acknowledged a moment
//! before the end, and a power cut in the middle of a write may tear its blocks. Therefore a copy of all of them is made
//! durable first, in a file of its own; a start that finds one puts it back before it reads the log.
//!
//! ```text
//! tail-0.copy or tail-1.copy, in blocks of 4096 bytes
//!    0  magic u32 = "RQTC" | version u32 = 1
//!    8  log_id u128
//!   24  epoch u64                  in shard.meta, while the copy counts
//!   32  frame_bytes u64            of all frames
//!   40  checksum u32 of the frames | zeros up to
//! 4092  checksum u32 of bytes 0..4092
//! 4096  frames, as in the log
//! ```
//! Nothing is appended while a copy counts: a start raises the epoch only when the copy is gone.

use super::OpenError;
use crate::commitlog::frame::FrameHeader;
use crate::commitlog::placement::Geometry;
use crate::commitlog::scan::{FrameScan, insist};
use crate::commitlog::segments::Segments;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskErrorKind, DiskFile, Durability};
use crate::format::{put, round_up, u32_at, u64_at, u128_at};
use crate::position::Position;
use crate::shard_meta::ShardMeta;
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

const MAGIC: u32 = u32::from_le_bytes(*b"RQTC");
const VERSION: u32 = 1;
const CHECKSUM_AT: usize = BLOCK_BYTES - 4;
/// Two, so that a copy that is found can be copied itself: it, too, may only seem to be durable.
const NAMES: [&str; 2] = ["tail-0.copy", "tail-1.copy"];
/// Bytes written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// Frames that nothing is known to have recorded as durable, oldest first.
pub(super) type Unproven = VecDeque<Range<Position>>;

/// Where copies are, what they belong to, and where they go.
pub(super) struct TailCopy<'a, D: Disk> {
    pub(super) disk: &'a D,
    pub(super) segments: &'a Segments<D>,
    pub(super) geometry: Geometry,
    pub(super) log_id: u128,
    pub(super) epoch: u64,
}

impl<D: Disk> TailCopy<'_, D> {
    /// Puts a copy back that an interrupted start has left; to be called before the log is read.
    pub(super) async fn put_back(&self) -> Result<(), DiskError> {
        let mut found = None;
        for (number, name) in NAMES.into_iter().enumerate() {
            if let Some(frames) = self.read(name).await? {
                found = Some((number, frames));
            }
        }
        if let Some((number, frames)) = found {
            mark!("recovery: a copy of the tail is put back");
            tracing::info!(bytes = frames.len(), "an interrupted start is taken up");
            // Without room for a second copy the first one has to do.
            if !self.copy(NAMES[1 - number], &frames).await? {
                mark!("recovery: a copy of the tail is put back without another");
            }
            self.write_in_place(&frames).await?;
        }
        self.remove().await
    }

    /// Writes these frames again, durably, and keeps a copy meanwhile.
    pub(super) async fn write_again(
        &self,
        scan: &mut FrameScan<D>,
        meta: &ShardMeta,
        unproven: &Unproven,
    ) -> Result<(), OpenError> {
        if unproven.is_empty() {
            return Ok(());
        }
        mark!("recovery: the tail is written again");
        let mut frames = Vec::new();
        for range in unproven {
            let frame = scan.frame_at(range.start, None, meta).await;
            let frame = frame.map_err(|miss| {
                let at = range.start;
                OpenError::StateUnavailable(format!("the frame at {at} was there before: {miss}"))
            })?;
            frames.extend_from_slice(&frame.bytes);
            frames.resize(round_up(frames.len(), BLOCK_BYTES), 0);
        }
        if self.copy(NAMES[0], &frames).await? {
            self.write_in_place(&frames).await?;
        } else {
            mark!("recovery: no space to write the tail again");
            // A full disk is no reason not to serve, and without a copy it is safer to leave them as they are.
            tracing::warn!("no space to write the newest frames again; they are only synced");
        }
        Ok(self.remove().await?)
    }

    /// False: there is no space for it.
    async fn copy(&self, name: &str, frames: &[u8]) -> Result<bool, DiskError> {
        match self.try_copy(name, frames).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn try_copy(&self, name: &str, frames: &[u8]) -> Result<(), DiskError> {
        remove_if_there(self.disk, name).await?;
        let file = self.disk.create(name).await?;
        let mut bytes = self.header(frames);
        bytes.extend_from_slice(frames);
        write(self.disk, &file, 0, &bytes).await?;
        file.sync_data().await?;
        self.disk.sync_dir().await?;
        file.close().await
    }

    fn header(&self, frames: &[u8]) -> Vec<u8> {
        let mut header = vec![0; BLOCK_BYTES];
        put(&mut header, 0, &MAGIC.to_le_bytes());
        put(&mut header, 4, &VERSION.to_le_bytes());
        put(&mut header, 8, &self.log_id.to_le_bytes());
        put(&mut header, 24, &self.epoch.to_le_bytes());
        put(&mut header, 32, &(frames.len() as u64).to_le_bytes());
        put(&mut header, 40, &crc32fast::hash(frames).to_le_bytes());
        let checksum = crc32fast::hash(&header[..CHECKSUM_AT]);
        put(&mut header, CHECKSUM_AT, &checksum.to_le_bytes());
        header
    }

    /// The frames of a copy that counts.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let file = match self.disk.open(name).await {
            Ok(file) => file,
            Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = usize::try_from(file.len()).unwrap_or(0) / BLOCK_BYTES * BLOCK_BYTES;
        let bytes = if len > BLOCK_BYTES {
            insist(async || file.read_at(0, len).await).await.ok()
        } else {
            None
        };
        file.close().await?;
        let frames = bytes.and_then(|bytes| self.frames_of(&bytes));
        if frames.is_none() {
            // It was torn by a power cut, so nothing had been written in place yet, or a later start has left it.
            mark!("recovery: a copy of the tail does not count");
        }
        Ok(frames)
    }

    fn frames_of(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = bytes.split_at(BLOCK_BYTES);
        let holds = u32_at(header, CHECKSUM_AT) == crc32fast::hash(&header[..CHECKSUM_AT])
            && u32_at(header, 0) == MAGIC
            && u32_at(header, 4) == VERSION;
        let ours = u128_at(header, 8) == self.log_id && u64_at(header, 24) == self.epoch;
        let len = usize::try_from(u64_at(header, 32)).ok()?;
        let frames = rest.get(..len).filter(|_| holds && ours)?;
        let whole = crc32fast::hash(frames) == u32_at(header, 40) && self.have_places(frames);
        whole.then(|| frames.to_vec())
    }

    /// Whether these are frames in whole blocks, and each has its place in a segment.
    fn have_places(&self, mut frames: &[u8]) -> bool {
        while !frames.is_empty() {
            let Ok((header, _)) = FrameHeader::parse(frames) else {
                return false;
            };
            let bytes = round_up(header.frame_bytes(), BLOCK_BYTES);
            let end = self.geometry.offset_of(header.position) + bytes as u64;
            if bytes > frames.len() || end > self.geometry.segment_bytes {
                return false;
            }
            frames = &frames[bytes..];
        }
        true
    }

    /// Each frame names its place.
    async fn write_in_place(&self, mut frames: &[u8]) -> Result<(), DiskError> {
        while let Ok((header, _)) = FrameHeader::parse(frames) {
            let bytes = round_up(header.frame_bytes(), BLOCK_BYTES);
            let number = self.geometry.segment_of(header.position);
            if self.segments.contains(number) {
                let segment = self.segments.file(number).await?;
                let offset = self.geometry.offset_of(header.position);
                write(self.disk, &segment.file, offset, &frames[..bytes]).await?;
            }
            frames = &frames[bytes..];
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), DiskError> {
        let mut removed = false;
        for name in NAMES {
            removed |= remove_if_there(self.disk, name).await?;
        }
        if removed {
            self.disk.sync_dir().await?;
        }
        Ok(())
    }
}

/// Writes durably; `bytes` are whole blocks.
async fn write<D: Disk>(
    disk: &D,
    file: &D::File,
    mut offset: u64,
    bytes: &[u8],
) -> Result<(), DiskError> {
    for part in bytes.chunks(WRITE_BYTES) {
        let mut buffer = disk.alloc(part.len());
        buffer.copy_from_slice(part);
        file.write_at(Rc::new(buffer), offset, Durability::Durable)
            .await?;
        offset += part.len() as u64;
    }
    Ok(())
}

async fn remove_if_there<D: Disk>(disk: &D, name: &str) -> Result<bool, DiskError> {
    match disk.remove(name).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
