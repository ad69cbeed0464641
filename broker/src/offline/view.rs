//! An examination in the words of an operator; also the JSON of `check --json`.

use super::names::Names;
use ringmq_storage_engine::examine::{Finding, IndexState, Severity, ShardReport};
use serde::Serialize;

/// A data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DirectoryView {
    pub path: String,
    pub node: String,
    pub cluster: String,
    /// `whole`, `repairable` (only what can be made again is damaged) or `damaged`.
    pub verdict: &'static str,
    /// Of the superblocks.
    pub findings: Vec<FindingView>,
    pub shards: Vec<ShardView>,
}

/// A shard. Positions are bytes of its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardView {
    pub shard: String,
    pub epoch: u64,
    pub clean: bool,
    pub log_start: u64,
    pub end: u64,
    pub replay_from: u64,
    /// Damage that a start meets: it opens read-only and serves what lies below.
    pub read_only_below: Option<u64>,
    pub segments: Vec<SegmentView>,
    pub snapshots: Vec<SnapshotView>,
    /// Messages that damaged parts of the log held.
    pub lost_messages: Vec<GapView>,
    /// Positions that `repair --cut-tail` takes, besides the end.
    pub cuts: Vec<u64>,
    pub findings: Vec<FindingView>,
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SegmentView {
    pub segment: u64,
    pub end: u64,
    pub frames: u64,
    pub batches: u64,
    pub messages: u64,
    pub index: &'static str,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotView {
    pub file: String,
    pub good: bool,
}

/// Offsets of a queue that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapView {
    pub topic: String,
    pub queue: u32,
    pub from: u64,
    /// The next offset that can be read.
    pub to: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FindingView {
    /// `note`, `derived` or `lost`.
    pub severity: &'static str,
    pub file: String,
    pub offset: u64,
    /// 0: not known.
    pub bytes: u64,
    pub position: Option<u64>,
    pub what: String,
}

impl DirectoryView {
    /// The gravest finding.
    pub(super) fn severity(&self) -> Option<Severity> {
        let of_shards = self.shards.iter().flat_map(|shard| &shard.findings);
        let all = self.findings.iter().chain(of_shards);
        all.map(|finding| match finding.severity {
            "lost" => Severity::Lost,
            "derived" => Severity::Derived,
            _ => Severity::Note,
        })
        .max()
    }

    /// Whether there is nothing to repair.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.severity()
            .is_none_or(|gravest| gravest == Severity::Note)
    }
}

impl ShardView {
    pub(super) fn of(name: &str, report: &ShardReport, names: &Names) -> Self {
        let segments = report.segments.iter().map(|segment| SegmentView {
            segment: segment.number,
            end: segment.end.0,
            frames: segment.frames,
            batches: segment.batches,
            messages: segment.messages,
            index: match segment.index {
                IndexState::Good => "good",
                IndexState::NotSealed => "not sealed",
                IndexState::Missing => "missing",
                IndexState::Bad => "bad",
            },
        });
        let snapshots = report.snapshots.iter().map(|snapshot| SnapshotView {
            file: snapshot.name.clone(),
            good: snapshot.info.is_some(),
        });
        let lost_messages = report.gaps.iter().map(|gap| {
            let (topic, queue) = names.of(gap.queue);
            GapView {
                topic,
                queue,
                from: gap.from.0,
                to: gap.to.0,
            }
        });
        Self {
            shard: name.to_owned(),
            epoch: report.epoch,
            clean: report.is_clean,
            log_start: report.log_start.0,
            end: report.end.0,
            replay_from: report.replay_from.0,
            read_only_below: report.read_only_below.map(|position| position.0),
            segments: segments.collect(),
            snapshots: snapshots.collect(),
            lost_messages: lost_messages.collect(),
            cuts: report.cuts.iter().map(|position| position.0).collect(),
            findings: report.findings.iter().map(FindingView::of).collect(),
        }
    }
}

impl FindingView {
    fn of(finding: &Finding) -> Self {
        Self {
            severity: match finding.severity {
                Severity::Note => "note",
                Severity::Derived => "derived",
                Severity::Lost => "lost",
            },
            file: finding.file.clone(),
            offset: finding.offset,
            bytes: finding.bytes,
            position: finding.position.map(|position| position.0),
            what: finding.what.clone(),
        }
    }

    pub(super) fn of_superblock(name: &str, what: String) -> Self {
        Self {
            severity: "derived",
            file: name.to_owned(),
            offset: 0,
            bytes: 0,
            position: None,
            what,
        }
    }
}
