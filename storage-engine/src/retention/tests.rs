use super::RemovalReason::{DiskEarly, DiskForced, LogSize};
use super::*;

const HOUR_MS: i64 = 3600 * 1000;

fn segments(count: u64) -> Vec<SealedSegment> {
    (0..count)
        .map(|number| SealedSegment {
            number,
            end: Position((number + 1) * 100),
            bytes: 100,
            last_store_time_ms: number as i64 * HOUR_MS,
            pinned: false,
        })
        .collect()
}

fn input(sealed: &[SealedSegment], free_bytes: u64) -> RetentionInput<'_> {
    RetentionInput {
        sealed,
        other_bytes: 100,
        needed_from: Position(u64::MAX),
        kept_from: None,
        now_ms: 10 * HOUR_MS,
        space: DiskSpace {
            total_bytes: 10_000,
            free_bytes,
        },
        limits: RetentionLimits::default(),
    }
}

fn removed(plan: &RetentionPlan) -> Vec<u64> {
    plan.remove.iter().map(|(number, _)| *number).collect()
}

#[test]
fn nothing_goes_without_a_reason() {
    let sealed = segments(10);
    assert_eq!(decide(&input(&sealed, 5000)), RetentionPlan::default());
}

#[test]
fn age_and_size_take_the_oldest() {
    let sealed = segments(10);
    let mut by_age = input(&sealed, 5000);
    by_age.limits.keep_ms = 7 * HOUR_MS;
    assert_eq!(removed(&decide(&by_age)), [0, 1, 2]);
    let mut by_size = input(&sealed, 5000);
    by_size.limits.bytes_max = Some(850);
    let plan = decide(&by_size);
    assert_eq!(plan.remove, [0, 1, 2].map(|number| (number, LogSize)));
    assert!(!plan.unlink);
}

#[test]
fn a_full_disk_takes_one_early_then_as_many_as_needed_then_refuses() {
    let sealed = segments(10);
    let early = decide(&input(&sealed, 2500));
    assert_eq!(early.remove, [(0, DiskEarly)]);
    assert!(early.unlink && !early.refuse_appends);
    // 86 % in use: two segments bring it below 85 %, and it ends with an early one.
    let forced = decide(&input(&sealed, 1400));
    let reasons: Vec<_> = forced.remove.iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, [DiskForced, DiskForced, DiskEarly]);
    assert!(!forced.refuse_appends);
    assert!(decide(&input(&sealed, 1000)).refuse_appends);
    assert!(!decide(&input(&sealed, 1001)).refuse_appends);
    let back = decide(&input(&sealed, 2501));
    assert_eq!(back, RetentionPlan::default());
}

#[test]
fn pins_and_snapshots_hold_a_segment_and_all_behind_it() {
    let mut sealed = segments(10);
    sealed[2].pinned = true;
    assert_eq!(removed(&decide(&input(&sealed, 0))), [0, 1]);
    let sealed = segments(10);
    let mut held = input(&sealed, 0);
    held.needed_from = Position(399);
    let plan = decide(&held);
    assert_eq!(removed(&plan), [0, 1, 2]);
    assert!(plan.wants_snapshot && plan.refuse_appends);
    held.needed_from = Position(0);
    assert!(removed(&decide(&held)).is_empty());
}

#[test]
fn odd_numbers_do_no_harm() {
    let mut sealed = segments(3);
    sealed[0].last_store_time_ms = i64::MIN;
    sealed[1].last_store_time_ms = i64::MAX;
    for (total_bytes, free_bytes) in [(0, 0), (0, 9), (5, 9), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        let mut odd = input(&sealed, 0);
        odd.space = DiskSpace {
            total_bytes,
            free_bytes,
        };
        assert_eq!(removed(&decide(&odd)).first(), Some(&0));
    }
}

/// What is left is always a suffix, and nothing needed or pinned goes, whatever the numbers.
#[test]
fn every_plan_removes_a_free_prefix() {
    use proptest::prelude::*;
    let segment = (1u64..1000, any::<i64>(), proptest::bool::weighted(0.1));
    let space = (0u64..100_000, 0u64..100_000);
    proptest!(|(parts in proptest::collection::vec(segment, 0..20), needed in 0u64..2000, space in space, max in proptest::option::of(0u64..9000))| {
        let mut sealed = segments(parts.len() as u64);
        for (segment, (bytes, time, pinned)) in sealed.iter_mut().zip(parts) {
            segment.bytes = bytes;
            segment.last_store_time_ms = time;
            segment.pinned = pinned;
        }
        let mut any = input(&sealed, space.1);
        any.space.total_bytes = space.0;
        any.needed_from = Position(needed);
        any.limits.bytes_max = max;
        let plan = decide(&any);
        let numbers = removed(&plan);
        prop_assert_eq!(&numbers, &(0..numbers.len() as u64).collect::<Vec<_>>());
        for segment in &sealed[..numbers.len()] {
            prop_assert!(!segment.pinned && segment.end <= Position(needed));
        }
    });
}
