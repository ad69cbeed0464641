//! An examination as lines for people.

use super::view::{DirectoryView, FindingView, ShardView};
use std::fmt::Write as _;

/// What `check` prints.
#[must_use]
pub fn describe(view: &DirectoryView) -> String {
    let mut text = format!(
        "{}: node {}, cluster {}, shards {}\n",
        view.path,
        view.node,
        view.cluster,
        view.shards.len()
    );
    view.findings.iter().for_each(|f| finding(&mut text, f));
    view.shards.iter().for_each(|s| shard(&mut text, s));
    text.push_str(match view.verdict {
        "whole" => "whole: every message can be read\n",
        "repairable" => {
            "repairable: every message can be read; `ringmq-broker repair` makes the rest again\n"
        }
        _ => "DAMAGED: what is not named above can be read\n",
    });
    text
}

fn shard(text: &mut String, shard: &ShardView) {
    let stop = if shard.clean {
        "stopped cleanly"
    } else {
        "not stopped cleanly"
    };
    let sum = |of: fn(&super::SegmentView) -> u64| shard.segments.iter().map(of).sum::<u64>();
    let _ = writeln!(
        text,
        "{}: log {}..{}, epoch {}, {stop}; {} frames, {} batches, {} messages; a start replays from {}",
        shard.shard,
        shard.log_start,
        shard.end,
        shard.epoch,
        sum(|s| s.frames),
        sum(|s| s.batches),
        sum(|s| s.messages),
        shard.replay_from
    );
    for segment in &shard.segments {
        let _ = writeln!(
            text,
            "  segment {}, up to {}: {} frames, {} batches, {} messages, index {}",
            segment.segment,
            segment.end,
            segment.frames,
            segment.batches,
            segment.messages,
            segment.index
        );
    }
    for snapshot in &shard.snapshots {
        let state = if snapshot.good { "good" } else { "unusable" };
        let _ = writeln!(text, "  snapshot {}: {state}", snapshot.file);
    }
    shard.findings.iter().for_each(|f| finding(text, f));
    for gap in &shard.lost_messages {
        let _ = writeln!(
            text,
            "  lost messages: {} queue {}, offsets {} to {}",
            gap.topic,
            gap.queue,
            gap.from,
            gap.to.saturating_sub(1)
        );
    }
    if let Some(position) = shard.read_only_below {
        let _ = writeln!(
            text,
            "  the shard starts read-only: it serves what lies below {position}; \
             `ringmq-broker repair --cut-tail {}@{position}` gives up the rest",
            shard.shard
        );
    }
}

fn finding(text: &mut String, finding: &FindingView) {
    let label = match finding.severity {
        "lost" => "LOST",
        other => other,
    };
    let _ = write!(text, "  {label}: {} byte {}", finding.file, finding.offset);
    if finding.bytes > 0 {
        let _ = write!(text, ", {} bytes", finding.bytes);
    }
    if let Some(position) = finding.position {
        let _ = write!(text, " (position {position})");
    }
    let _ = writeln!(text, ": {}", finding.what);
}

/// What `repair` prints: one line an action.
#[must_use]
pub fn describe_repair(actions: &[String], applied: bool) -> String {
    let mut text = String::new();
    for action in actions {
        let _ = writeln!(text, "{} {action}", if applied { "done:" } else { "would" });
    }
    match (actions.is_empty(), applied) {
        (true, _) => text.push_str("nothing to repair\n"),
        (false, false) => text.push_str("nothing was changed; add --apply to do it\n"),
        (false, true) => {}
    }
    text
}
