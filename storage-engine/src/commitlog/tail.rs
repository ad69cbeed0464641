//! The end of the log: frames being filled, waiting and in flight. Pure: no disk, no clock, no task.
//!
//! ```text
//!   durable ──── in flight (<= 4) ──── waiting ──── open frame ──── appended
//!           GroupCommit                sealed       OpenFrame
//! ```
//! A frame gets its position when it is opened, so that a record's position is known at once. A record that does not
//! fit seals the open frame and opens the next; a frame that does not fit the segment starts the next one, if that is
//! prepared.

use super::frame::{Link, frame_bytes};
use super::group_commit::{DispatchLimits, GroupCommit};
use super::open_frame::{FrameIdentity, OpenFrame, QueueSpan, SealedFrame};
use super::placement::{Geometry, Writer};
use super::record::{EngineRecord, RecordKind, STORE_TIME_BYTES, record_bytes};
use super::unreleased::Unreleased;
use crate::disk::{BLOCK_BYTES, DiskBuffer};
use crate::position::{Frontiers, Position, QueueHandle, QueueOffset};
use std::collections::VecDeque;
use std::rc::Rc;

/// Smallest and largest buffer for records that would fit a smaller one.
const FRAME_HINT_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;

/// Why a record has no place right now. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Larger than a frame; the limit is that of a payload.
    TooLarge { limit: usize },
    /// The in-flight bound is reached.
    Busy,
    /// This segment must be prepared first.
    SegmentMissing(u64),
}

/// What the tail needs from outside.
pub struct Surroundings<'a, B> {
    /// Whether a segment is prepared.
    pub is_prepared: &'a dyn Fn(u64) -> bool,
    /// A buffer of whole blocks.
    pub alloc: &'a dyn Fn(usize) -> B,
}

/// What comes back when a frame is released.
#[derive(Debug)]
pub struct Released {
    pub spans: Vec<QueueSpan>,
    pub body_bytes: usize,
    pub frame_bytes: usize,
    pub record_count: u32,
}

/// Bounds of the tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailLimits {
    pub in_flight_bytes_max: usize,
    pub dispatch: DispatchLimits,
}

/// See the module.
pub struct LogTail<B: DiskBuffer> {
    geometry: Geometry,
    limits: TailLimits,
    identity: FrameIdentity,
    link: Link,
    open: Option<OpenFrame<B>>,
    sealed: VecDeque<SealedFrame<B>>,
    sealed_bytes: usize,
    group: GroupCommit<Released>,
    unreleased: Unreleased,
    appended: Position,
    in_flight_bytes: usize,
    frame_hint_bytes: usize,
    /// The space behind `link` may hold frames of an earlier epoch: the first frame must overwrite their start.
    behind_cut: bool,
    roll_wanted: bool,
}

impl<B: DiskBuffer> LogTail<B> {
    /// Goes on behind `link`; everything up to there is durable.
    pub fn new(
        geometry: Geometry,
        limits: TailLimits,
        identity: FrameIdentity,
        link: Link,
    ) -> Self {
        Self {
            geometry,
            limits,
            identity,
            link,
            open: None,
            sealed: VecDeque::new(),
            sealed_bytes: 0,
            group: GroupCommit::new(limits.dispatch, link.end),
            unreleased: Unreleased::default(),
            appended: link.end,
            in_flight_bytes: 0,
            frame_hint_bytes: *FRAME_HINT_BYTES.start(),
            behind_cut: true,
            roll_wanted: false,
        }
    }

    /// Makes an open frame that takes a record with this payload.
    pub fn reserve(
        &mut self,
        payload_bytes: usize,
        writer: Writer,
        around: &Surroundings<'_, B>,
    ) -> Result<(), Refusal> {
        self.reserve_records(record_bytes(payload_bytes), writer, around)
    }

    /// Makes an open frame that takes records of so many bytes in all, headers and padding included. They are in one
    /// frame if they are pushed before anything else is asked of the tail.
    pub fn reserve_records(
        &mut self,
        records_bytes: usize,
        writer: Writer,
        around: &Surroundings<'_, B>,
    ) -> Result<(), Refusal> {
        if records_bytes > self.geometry.body_bytes_max() {
            let limit = self.geometry.body_bytes_max() - record_bytes(0);
            return Err(Refusal::TooLarge { limit });
        }
        if writer != Writer::Engine && self.room() < records_bytes {
            return Err(Refusal::Busy);
        }
        if !self.roll_wanted
            && self
                .open
                .as_ref()
                .is_some_and(|frame| frame.fits_records(records_bytes))
        {
            return Ok(());
        }
        let end = self
            .open
            .as_ref()
            .map_or(self.link.end, OpenFrame::sealed_end);
        let (position, room) = self.place(end, frame_bytes(records_bytes), writer, around)?;
        self.seal_open(true);
        if position != end {
            self.overwrite_cut(around);
            self.roll_wanted = false;
        }
        let wanted = frame_bytes(records_bytes).max(self.frame_hint_bytes);
        let buffer = (around.alloc)(wanted.min(room));
        self.open = Some(OpenFrame::new(buffer, position));
        Ok(())
    }

    /// Where a frame of `bytes` goes that cannot start before `end`, and how large it may be there.
    fn place(
        &self,
        end: Position,
        bytes: usize,
        writer: Writer,
        around: &Surroundings<'_, B>,
    ) -> Result<(Position, usize), Refusal> {
        let base = self.geometry.is_base(end);
        let here = self.geometry.segment_of(end);
        if base && !(around.is_prepared)(here) {
            return Err(Refusal::SegmentMissing(here));
        }
        let room = self.geometry.frame_room(end, Writer::Ordinary);
        if bytes <= room && (base || !self.roll_wanted) {
            return Ok((end, room));
        }
        let next_base = self.geometry.next_base(end);
        let next = self.geometry.segment_of(next_base);
        if (around.is_prepared)(next) {
            let room = self.geometry.frame_room(next_base, Writer::Ordinary);
            return Ok((next_base, room));
        }
        let room = self.geometry.frame_room(end, writer);
        if writer != Writer::Ordinary && bytes <= room {
            return Ok((end, bytes));
        }
        Err(Refusal::SegmentMissing(next))
    }

    /// A frame that an earlier epoch wrote behind the link would still fit to it, were it left standing while the log
    /// goes on in the next segment.
    fn overwrite_cut(&mut self, around: &Surroundings<'_, B>) {
        if !self.behind_cut || self.geometry.is_base(self.link.end) {
            return;
        }
        let buffer = (around.alloc)(BLOCK_BYTES);
        let mut frame = OpenFrame::new(buffer, self.link.end);
        let record = EngineRecord::Opening.encode();
        frame.push_timed(RecordKind::Engine, &record, self.link.store_time_ms.max(0));
        self.in_flight_bytes += record_bytes(STORE_TIME_BYTES + record.len());
        self.open = Some(frame);
        self.seal_open(false);
    }

    /// The open frame; `reserve` made it.
    pub fn open_mut(&mut self) -> &mut OpenFrame<B> {
        self.open.as_mut().expect("reserve makes an open frame")
    }

    /// The open frame, to look at what was put into it.
    pub fn open_frame(&self) -> &OpenFrame<B> {
        self.open.as_ref().expect("reserve makes an open frame")
    }

    /// Takes note of the record that was just pushed.
    pub fn pushed(&mut self, payload_bytes: usize, span: Option<QueueSpan>) {
        self.in_flight_bytes += record_bytes(payload_bytes);
        self.appended = self.open_frame().end();
        if let Some(span) = span {
            self.unreleased.add(span);
        }
    }

    fn seal_open(&mut self, full: bool) {
        let Some(frame) = self.open.take() else {
            return;
        };
        let durable = self.group.frontiers().1;
        let sealed = frame.seal(self.identity, &self.link, durable);
        self.link = sealed.link;
        self.appended = self.appended.max(sealed.link.end);
        self.behind_cut = false;
        self.sealed_bytes += sealed.buffer.len();
        self.learn_size(sealed.buffer.len(), full);
        self.sealed.push_back(sealed);
    }

    /// Buffers follow the load: a few KiB while frames go out at once, up to the largest hint when they fill up.
    fn learn_size(&mut self, bytes: usize, full: bool) {
        let next = if full {
            self.frame_hint_bytes * 4
        } else {
            (bytes * 2)
                .next_power_of_two()
                .max(self.frame_hint_bytes / 2)
        };
        self.frame_hint_bytes = next.clamp(*FRAME_HINT_BYTES.start(), *FRAME_HINT_BYTES.end());
    }

    /// The next frame to write, if one goes out now. It counts as dispatched.
    pub fn dispatch(&mut self) -> Option<(Position, Rc<B>)> {
        let open_bytes = self.open.as_ref().map_or(0, OpenFrame::pending_bytes);
        if !self.group.should_dispatch(self.sealed_bytes + open_bytes) {
            return None;
        }
        if self.sealed.is_empty() {
            self.seal_open(false);
        }
        let sealed = self.sealed.pop_front()?;
        self.sealed_bytes -= sealed.buffer.len();
        let released = Released {
            body_bytes: sealed.header.body_bytes as usize,
            frame_bytes: sealed.buffer.len(),
            record_count: sealed.header.record_count,
            spans: sealed.spans,
        };
        let start = sealed.header.position;
        self.group.dispatched(start, sealed.header.end(), released);
        Some((start, sealed.buffer))
    }

    /// Whether `dispatch` would give a frame.
    pub fn wants_dispatch(&self) -> bool {
        let open_bytes = self.open.as_ref().map_or(0, OpenFrame::pending_bytes);
        self.group.should_dispatch(self.sealed_bytes + open_bytes)
    }

    /// The frame at `start` is written but not durable.
    pub fn written(&mut self, start: Position) {
        self.group.written(start);
    }

    /// The frame at `start` is durable; gives what that released.
    pub fn durable(&mut self, start: Position) -> Vec<Released> {
        let released = self.group.durable(start);
        for frame in &released {
            self.in_flight_bytes -= frame.body_bytes;
            frame
                .spans
                .iter()
                .for_each(|span| self.unreleased.release(span));
        }
        released
    }

    /// A write failed: nothing moves any more.
    pub fn fail(&mut self) {
        self.group.fail();
        self.open = None;
        self.sealed.clear();
        self.sealed_bytes = 0;
    }

    /// Nothing is open, waiting or in flight.
    pub fn is_idle(&self) -> bool {
        self.group.in_flight() == 0 && self.sealed.is_empty() && self.open.is_none()
    }

    /// The next record starts a segment, if that is prepared.
    pub fn roll_next(&mut self) {
        self.roll_wanted = true;
    }

    /// Bytes of records that may be added before `Busy`. A largest record is always taken when nothing is in flight.
    pub fn room(&self) -> usize {
        self.limits
            .in_flight_bytes_max
            .saturating_sub(self.in_flight_bytes)
    }

    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    pub fn frontiers(&self) -> Frontiers {
        let (written, durable) = self.group.frontiers();
        Frontiers {
            appended: self.appended,
            written,
            durable,
            visible: durable,
        }
    }

    /// The first offset of `queue` that is not released; `None` if all are.
    pub fn first_unreleased(&self, queue: QueueHandle) -> Option<QueueOffset> {
        self.unreleased.first(queue)
    }

    /// Where the frame behind the last one would start.
    pub fn end(&self) -> Position {
        self.open
            .as_ref()
            .map_or(self.link.end, OpenFrame::sealed_end)
    }

    /// How large the next frame is expected to be.
    pub fn frame_hint_bytes(&self) -> usize {
        self.frame_hint_bytes
    }

    /// Epoch, term and log id of the frames.
    pub fn identity(&self) -> FrameIdentity {
        self.identity
    }

    /// The end of the chain of sealed frames.
    pub fn link(&self) -> &Link {
        &self.link
    }
}

#[cfg(test)]
mod tests;
