//! Which sealed segments go, and whether the disk has room: a pure decision.
//!
//! - Only the oldest goes, then the next: what is left is always a suffix of the log.
//! - A segment goes when it is too old, when the log is too large, or when the disk is too full. It stays, whatever
//!   the disk says, while a reader is in it, or a kept snapshot or an undelivered message still needs it.
//! - Disk use is compared in thousandths, so that the decision is the same on every machine.

use crate::disk::DiskSpace;
use crate::position::Position;

/// A sealed segment, as retention sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedSegment {
    /// Number in the log; file names carry it.
    pub number: u64,
    /// Its end: the base of the next one.
    pub end: Position,
    /// On disk, index included.
    pub bytes: u64,
    /// Store time of its last record.
    pub last_store_time_ms: i64,
    /// Somebody is reading it.
    pub pinned: bool,
}

/// What an operator sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Messages are kept this long, unless the disk is too full.
    pub keep_ms: i64,
    /// All segments of the shard together, the active one included.
    pub bytes_max: Option<u64>,
    /// Disk use from which the oldest segment goes early, one at a time.
    pub early_permille: u16,
    /// Disk use from which as many go as it takes to get below.
    pub forced_permille: u16,
    /// Disk use from which appends are refused.
    pub refuse_permille: u16,
}

impl Default for RetentionLimits {
    fn default() -> Self {
        Self {
            keep_ms: 72 * 3600 * 1000,
            bytes_max: None,
            early_permille: 750,
            forced_permille: 850,
            refuse_permille: 900,
        }
    }
}

/// Everything the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct RetentionInput<'a> {
    /// Oldest first.
    pub sealed: &'a [SealedSegment],
    /// The active segment and the spares: they count, but never go.
    pub other_bytes: u64,
    /// What lies at or above must stay: the older kept snapshot is replayed from here.
    pub needed_from: Position,
    /// What lies at or above must stay: somebody who reads it later asked for that. A snapshot changes nothing here.
    pub kept_from: Option<Position>,
    /// Store time.
    pub now_ms: i64,
    pub space: DiskSpace,
    pub limits: RetentionLimits,
}

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    Age,
    LogSize,
    DiskEarly,
    DiskForced,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPlan {
    /// Oldest first.
    pub remove: Vec<(u64, RemovalReason)>,
    /// Unlink what is removed, and spares, instead of keeping them for reuse.
    pub unlink: bool,
    /// The disk is too full for appends.
    pub refuse_appends: bool,
    /// A segment should go but the snapshots need it: a new snapshot would free it.
    pub wants_snapshot: bool,
}

/// Decides.
pub fn decide(input: &RetentionInput<'_>) -> RetentionPlan {
    let limits = &input.limits;
    let mut use_now = DiskUse::of(input.space);
    let mut plan = RetentionPlan {
        unlink: use_now.permille() >= limits.early_permille,
        refuse_appends: use_now.permille() >= limits.refuse_permille,
        ..RetentionPlan::default()
    };
    let mut log_bytes = input
        .sealed
        .iter()
        .map(|segment| segment.bytes)
        .sum::<u64>()
        + input.other_bytes;
    let mut early_left = 1;
    for segment in input.sealed {
        let Some(reason) = reason_to_remove(segment, input, log_bytes, use_now, early_left) else {
            break;
        };
        if input.kept_from.is_some_and(|kept| segment.end > kept) {
            break;
        }
        if segment.end > input.needed_from {
            plan.wants_snapshot = true;
            break;
        }
        if segment.pinned {
            break;
        }
        if reason == RemovalReason::DiskEarly {
            early_left -= 1;
        }
        plan.remove.push((segment.number, reason));
        log_bytes -= segment.bytes;
        // Age and size may free space that is recycled, not returned; counting it would only delay a removal.
        if plan.unlink {
            use_now.free_bytes = use_now.free_bytes.saturating_add(segment.bytes);
        }
    }
    plan
}

fn reason_to_remove(
    segment: &SealedSegment,
    input: &RetentionInput<'_>,
    log_bytes: u64,
    use_now: DiskUse,
    early_left: u32,
) -> Option<RemovalReason> {
    let limits = &input.limits;
    if input.now_ms.saturating_sub(segment.last_store_time_ms) > limits.keep_ms {
        return Some(RemovalReason::Age);
    }
    if limits.bytes_max.is_some_and(|max| log_bytes > max) {
        return Some(RemovalReason::LogSize);
    }
    let permille = use_now.permille();
    if permille >= limits.forced_permille {
        return Some(RemovalReason::DiskForced);
    }
    (permille >= limits.early_permille && early_left > 0).then_some(RemovalReason::DiskEarly)
}

#[derive(Debug, Clone, Copy)]
struct DiskUse {
    total_bytes: u64,
    free_bytes: u64,
}

impl DiskUse {
    fn of(space: DiskSpace) -> Self {
        Self {
            total_bytes: space.total_bytes,
            free_bytes: space.free_bytes,
        }
    }

    /// A disk of no size counts as empty: the file system does not tell.
    fn permille(self) -> u16 {
        let used = self.total_bytes.saturating_sub(self.free_bytes);
        u128::from(used)
            .saturating_mul(1000)
            .checked_div(u128::from(self.total_bytes))
            .unwrap_or(0) as u16
    }
}

#[cfg(test)]
mod tests;
