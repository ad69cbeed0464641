//! Reading frames one after the other, a window at a time.

use super::frame::{FrameError, FrameHeader, Link};
use super::placement::Geometry;
use super::segments::Segments;
use crate::cache::SharedSlice;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::position::Position;
use crate::shard_meta::ShardMeta;
use std::rc::Rc;

/// Bytes read at once while frames are small.
const WINDOW_BYTES: usize = 1 << 20;

/// Times that a file or its bytes are asked for before they count as unreadable. What a start cannot read it takes for
/// torn or damaged, so a failure that passes must not end it.
const ATTEMPTS: usize = 5;

/// A frame as it was read.
pub struct ScannedFrame<D: Disk> {
    pub header: FrameHeader,
    pub link: Link,
    /// The whole frame; header and records have been checked.
    pub bytes: SharedSlice<D>,
}

impl<D: Disk> ScannedFrame<D> {
    /// The records.
    pub fn body(&self) -> &[u8] {
        let end = super::frame::FRAME_HEADER_BYTES + self.header.body_bytes as usize;
        &self.bytes[super::frame::FRAME_HEADER_BYTES..end]
    }
}

/// Why there is no valid frame at a position.
#[derive(Debug, thiserror::Error)]
pub enum Miss {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("an epoch that was cut off at {0} wrote this frame")]
    CutOff(Position),
    #[error("a frame of {frame_bytes} bytes does not fit at byte {offset} of a segment")]
    DoesNotFit { frame_bytes: usize, offset: u64 },
    #[error("segment {0} is not there")]
    NoSegment(u64),
    /// Says nothing about the log: descriptors or memory may be short.
    #[error(transparent)]
    NotOpened(DiskError),
    #[error(transparent)]
    Unreadable(#[from] DiskError),
}

struct Window<D: Disk> {
    start: Position,
    bytes: <D::File as DiskFile>::Read,
}

/// Reads frames at positions that mostly rise.
pub struct FrameScan<D: Disk> {
    segments: Rc<Segments<D>>,
    geometry: Geometry,
    window: Option<Window<D>>,
}

impl<D: Disk> FrameScan<D> {
    pub fn new(segments: Rc<Segments<D>>, geometry: Geometry) -> Self {
        Self {
            segments,
            geometry,
            window: None,
        }
    }

    /// `len` bytes at a block boundary, not across segments.
    async fn read(&mut self, at: Position, len: usize) -> Result<SharedSlice<D>, Miss> {
        if let Some(window) = &self.window
            && at >= window.start
        {
            let from = (at.0 - window.start.0) as usize;
            if from + len <= window.bytes.len() {
                return Ok(SharedSlice::of_read(window.bytes.clone(), from..from + len));
            }
        }
        let number = self.geometry.segment_of(at);
        if !self.segments.contains(number) {
            return Err(Miss::NoSegment(number));
        }
        let segment = insist(async || self.segments.file(number).await).await;
        let segment = segment.map_err(Miss::NotOpened)?;
        let offset = self.geometry.offset_of(at);
        let left = segment.file.len().saturating_sub(offset);
        if left < len as u64 {
            return Err(FrameError::Truncated(len).into());
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        let wanted = WINDOW_BYTES.max(len).min(most);
        let bytes = match segment.file.read_at(offset, wanted).await {
            Ok(bytes) => bytes,
            // One bad block must not hide the good ones around it.
            Err(_) => {
                mark!("recovery: one bad read is made again, and shorter");
                insist(async || segment.file.read_at(offset, len).await)
                    .await
                    .inspect_err(|_| mark!("recovery: bytes of the log are unreadable"))?
            }
        };
        let slice = SharedSlice::of_read(bytes.clone(), 0..len);
        self.window = Some(Window { start: at, bytes });
        Ok(slice)
    }

    /// Where the first segment behind the one of `at` begins that is there: a forged position may name any of 2^50.
    pub fn next_segment(&self, at: Position) -> Option<Position> {
        let number = self.segments.next_behind(self.geometry.segment_of(at))?;
        Some(self.geometry.base_of(number))
    }

    /// The header at `at`, whatever it belongs to.
    pub async fn header_at(&mut self, at: Position) -> Result<(FrameHeader, u32), Miss> {
        let block = self.read(at, BLOCK_BYTES).await?;
        Ok(FrameHeader::parse(&block)?)
    }

    /// The frame at `at`, if it continues `link` (`None`: the scan starts here) and no cut voids it.
    pub async fn frame_at(
        &mut self,
        at: Position,
        link: Option<&Link>,
        meta: &ShardMeta,
    ) -> Result<ScannedFrame<D>, Miss> {
        let (header, checksum) = self.header_at(at).await?;
        let unlinked = Link {
            next_index: header.index,
            checksum: header.previous_checksum,
            ..Link::GENESIS
        };
        header.check_follows(link.unwrap_or(&unlinked), meta.log_id, at)?;
        let valid_below = meta.valid_below(header.epoch);
        if at >= valid_below {
            mark!("recovery: a frame of a dropped life is passed over");
            return Err(Miss::CutOff(valid_below));
        }
        let frame_bytes = header.frame_bytes();
        let offset = self.geometry.offset_of(at);
        if frame_bytes > self.geometry.frame_bytes_max
            || offset + frame_bytes as u64 > self.geometry.segment_bytes
        {
            return Err(Miss::DoesNotFit {
                frame_bytes,
                offset,
            });
        }
        let bytes = self.read(at, frame_bytes).await?;
        header.body(&bytes)?;
        Ok(ScannedFrame {
            header,
            link: header.link(checksum),
            bytes,
        })
    }

    /// The frame that follows `link`: where it ends, or at the start of the next segment. A frame that was left
    /// standing when a later epoch went on in the next segment loses against that one.
    pub async fn next_frame(
        &mut self,
        link: &Link,
        meta: &ShardMeta,
    ) -> Result<ScannedFrame<D>, Miss> {
        let here = self.frame_at(link.end, Some(link), meta).await;
        if matches!(here, Ok(_) | Err(Miss::NotOpened(_))) || self.geometry.is_base(link.end) {
            return here;
        }
        let next_base = self.geometry.next_base(link.end);
        if !self.segments.contains(self.geometry.segment_of(next_base)) {
            return here;
        }
        match self.frame_at(next_base, Some(link), meta).await {
            Err(miss) if !matches!(miss, Miss::NotOpened(_)) => here,
            rolled => {
                mark!("recovery: the log goes on in the next segment");
                rolled
            }
        }
    }
}

/// Asks again for what is not had at once, a few times.
pub(crate) async fn insist<T>(
    mut ask: impl AsyncFnMut() -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    for attempt in 1..ATTEMPTS {
        match ask().await {
            Err(error) => tracing::warn!(%error, attempt, "the log was not read; once more"),
            got => return got,
        }
    }
    ask().await
}
