//! What an examination found.

use crate::position::{Position, QueueHandle, QueueOffset};
use crate::snapshot::SnapshotInfo;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is missing: a torn tail, bytes that nobody reads.
    Note,
    /// Something that can be made again from the rest.
    Derived,
    /// Messages or state that are nowhere else.
    Lost,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub file: String,
    /// First byte of it in the file.
    pub offset: u64,
    /// How much; 0: not known.
    pub bytes: u64,
    /// The position in the log, where it is one.
    pub position: Option<Position>,
    pub what: String,
}

/// How a segment's index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexState {
    /// It says what the segment says.
    Good,
    /// Not written yet: the next start makes it.
    NotSealed,
    /// It should be there.
    Missing,
    /// It cannot be used.
    Bad,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    pub number: u64,
    /// Position behind its last whole frame.
    pub end: Position,
    pub frames: u64,
    pub batches: u64,
    pub messages: u64,
    pub index: IndexState,
}

/// One snapshot; no `info`: it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotReport {
    pub name: String,
    pub info: Option<SnapshotInfo>,
}

/// Messages of a queue that a damaged part of the log held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueGap {
    pub queue: QueueHandle,
    pub from: QueueOffset,
    /// The next offset that can be read.
    pub to: QueueOffset,
    /// Where that lies.
    pub position: Position,
}

/// One shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardReport {
    pub epoch: u64,
    pub is_clean: bool,
    pub log_start: Position,
    /// What `shard.meta` says is on disk.
    pub durable: Position,
    /// Behind the last whole frame that counts.
    pub end: Position,
    /// Where the next start replays the log from.
    pub replay_from: Position,
    /// The first damage that a start meets: it opens read-only below.
    pub read_only_below: Option<Position>,
    pub segments: Vec<SegmentReport>,
    pub snapshots: Vec<SnapshotReport>,
    pub gaps: Vec<QueueGap>,
    /// Ends of frames at which a tail can be cut, next to damage.
    pub cuts: Vec<Position>,
    pub findings: Vec<Finding>,
}

impl ShardReport {
    /// The gravest finding.
    pub fn severity(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    pub(super) fn note(&mut self, file: &str, offset: u64, bytes: u64, what: &str) {
        self.add(Severity::Note, file, offset, bytes, what);
    }

    pub(super) fn derived(&mut self, file: &str, offset: u64, bytes: u64, what: &str) {
        self.add(Severity::Derived, file, offset, bytes, what);
    }

    pub(super) fn lost(&mut self, file: &str, offset: u64, bytes: u64, what: &str) {
        self.add(Severity::Lost, file, offset, bytes, what);
    }

    fn add(&mut self, severity: Severity, file: &str, offset: u64, bytes: u64, what: &str) {
        self.findings.push(Finding {
            severity,
            file: file.to_owned(),
            offset,
            bytes,
            position: None,
            what: what.to_owned(),
        });
    }

    /// The last finding is at this position of the log.
    pub(super) fn at(&mut self, position: Position) {
        if let Some(last) = self.findings.last_mut() {
            last.position = Some(position);
        }
    }

    pub(super) fn sort(&mut self) {
        self.findings
            .sort_by(|a, b| (b.severity, &a.file, a.offset).cmp(&(a.severity, &b.file, b.offset)));
    }
}
