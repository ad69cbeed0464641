//! Writing zeros a little ahead of the log while frames are small.
//!
//! A durable write into space that was never written costs about twice as much as one into written space, because the
//! file system has to record that it is written now. For small frames that matters, so a window ahead of the write
//! position is filled with zeros, a piece at a time. At high rates it would double the writes, and is left out.
//!
//! Never two writes to the same place: a piece starts behind every frame that was dispatched, and a frame that runs
//! into the piece being written waits for it.

use super::inner::Inner;
use crate::commitlog::segments::SegmentFile;
use crate::disk::{Disk, DiskFile, Durability};
use crate::runtime::Runtime;
use crate::state_machine::StateMachine;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// Bytes of one write of zeros.
const PIECE_BYTES_MAX: u64 = 256 << 10;
/// Frames up to this size are small.
const SMALL_FRAME_BYTES: usize = 64 << 10;
/// Between two pieces.
const PAUSE: Duration = Duration::from_millis(1);

/// The piece that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    segment: u64,
    from: u64,
    to: u64,
}

impl Piece {
    /// Whether a write to `range` of `segment` has to wait.
    pub(super) fn overlaps(&self, segment: u64, range: &Range<u64>) -> bool {
        self.segment == segment && range.start < self.to && self.from < range.end
    }
}

/// The next piece in a segment: behind what was written, if the whole piece lies in the window.
fn next_piece(
    segment_bytes: u64,
    fresh_from: u64,
    write_offset: u64,
    ahead_bytes: u64,
) -> Option<Range<u64>> {
    let piece_bytes = PIECE_BYTES_MAX.min(ahead_bytes);
    let from = fresh_from.max(write_offset);
    let to = (from + piece_bytes).min(segment_bytes);
    (from < to && to <= write_offset + ahead_bytes).then_some(from..to)
}

impl<D: Disk, R: Runtime, S: StateMachine> Inner<D, R, S> {
    pub(super) async fn run_zeroing(self: Rc<Self>) {
        let ahead_bytes = self.options.zero_ahead_bytes;
        if ahead_bytes == 0 {
            return;
        }
        let mut zeros = self.disk.alloc(PIECE_BYTES_MAX.min(ahead_bytes) as usize);
        zeros.fill(0);
        let zeros = Rc::new(zeros);
        loop {
            let due = self.signals.durable.until(|| {
                if self.is_over() {
                    return Some(None);
                }
                self.piece_to_zero(ahead_bytes).map(Some)
            });
            let Some((segment, range)) = due.await else {
                return;
            };
            let whole = range.end - range.start == zeros.len() as u64;
            let buffer = if whole {
                Rc::clone(&zeros)
            } else {
                let mut rest = self.disk.alloc((range.end - range.start) as usize);
                rest.fill(0);
                Rc::new(rest)
            };
            self.zeroing.set(Some(Piece {
                segment: segment.number,
                from: range.start,
                to: range.end,
            }));
            let written = segment
                .file
                .write_at(buffer, range.start, Durability::Durable)
                .await;
            self.zeroing.set(None);
            if written.is_ok() {
                segment
                    .fresh_from
                    .set(segment.fresh_from.get().max(range.end));
            }
            self.signals.zeroed.notify();
            if let Err(error) = written {
                // The log itself is not concerned: its own writes will say what they meet.
                tracing::warn!(%error, "no more zeros are written ahead");
                return;
            }
            drop(segment);
            self.runtime.sleep(PAUSE).await;
        }
    }

    /// In the active segment, then at the start of the next one.
    fn piece_to_zero(&self, ahead_bytes: u64) -> Option<(Rc<SegmentFile<D>>, Range<u64>)> {
        let tail = self.tail.borrow();
        if tail.frame_hint_bytes() > SMALL_FRAME_BYTES {
            return None;
        }
        let here = self.geometry.segment_of(tail.end());
        let offset = self.geometry.offset_of(tail.end());
        [(here, offset), (here + 1, 0)]
            .into_iter()
            .find_map(|(number, write_offset)| {
                let segment = self.segments.opened(number)?;
                let fresh_from = segment.fresh_from.get();
                let bytes = self.geometry.segment_bytes;
                let range = next_piece(bytes, fresh_from, write_offset, ahead_bytes)?;
                Some((segment, range))
            })
    }

    /// Waits while zeros are being written into `range`.
    pub(super) async fn wait_zeroed(&self, segment: u64, range: &Range<u64>) {
        let free = self.signals.zeroed.until(|| {
            let busy = self
                .zeroing
                .get()
                .is_some_and(|piece| piece.overlaps(segment, range));
            (!busy).then_some(())
        });
        free.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn pieces_fill_the_window_and_stop_at_its_end() {
        let next = |fresh, write| next_piece(4096 * KIB, fresh, write, 1024 * KIB);
        assert_eq!(next(0, 0), Some(0..256 * KIB));
        assert_eq!(next(768 * KIB, 0), Some(768 * KIB..1024 * KIB));
        assert_eq!(next(1024 * KIB, 0), None, "the window is full");
        assert_eq!(next(1024 * KIB, 255 * KIB), None, "a whole piece or none");
        assert_eq!(next(1024 * KIB, 256 * KIB), Some(1024 * KIB..1280 * KIB));
        assert_eq!(
            next(0, 300 * KIB),
            Some(300 * KIB..556 * KIB),
            "behind the frames"
        );
        assert_eq!(next(4000 * KIB, 3900 * KIB), Some(4000 * KIB..4096 * KIB));
        assert_eq!(next(4096 * KIB, 3900 * KIB), None, "all is written");
    }

    #[test]
    fn only_writes_into_the_piece_wait() {
        let piece = Piece {
            segment: 3,
            from: 8,
            to: 16,
        };
        assert!(piece.overlaps(3, &(15..20)) && piece.overlaps(3, &(0..9)));
        assert!(!piece.overlaps(3, &(16..20)) && !piece.overlaps(3, &(0..8)));
        assert!(!piece.overlaps(4, &(8..16)));
    }
}
