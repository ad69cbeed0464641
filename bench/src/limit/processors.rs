//! The processors alone: how often, and for how long, they are taken from a thread that never waits.
//!
//! By other programs, by interrupts, and on a virtual machine by the host, which need not tell. What runs in such a gap
//! waits, whatever program it is: no server's tail is shorter than this one.

use super::cores;
use serde::Serialize;
use std::thread;
use std::time::{Duration, Instant};

/// Shorter ones are interrupts.
const GAP_MIN: Duration = Duration::from_micros(100);

/// What one round found, over all processors.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Gaps {
    /// Part of the time that was taken away.
    pub(crate) lost_percent: f64,
    /// Gaps of more than a millisecond, each second of each processor.
    pub(crate) over_1ms_per_second: f64,
    pub(crate) longest_us: f64,
}

/// Keeps every processor busy for a while.
pub(super) fn gaps(duration: Duration) -> Gaps {
    let watching: Vec<_> = cores::all()
        .into_iter()
        .map(|core| thread::spawn(move || watch(core, duration)))
        .collect();
    let seen: Vec<Vec<Duration>> = watching.into_iter().filter_map(|w| w.join().ok()).collect();
    let time = duration.as_secs_f64() * seen.len().max(1) as f64;
    let all = || seen.iter().flatten();
    Gaps {
        lost_percent: 100.0 * all().sum::<Duration>().as_secs_f64() / time,
        over_1ms_per_second: all().filter(|gap| gap.as_millis() >= 1).count() as f64 / time,
        longest_us: all().max().map_or(0.0, |gap| gap.as_secs_f64() * 1e6),
    }
}

fn watch(core: usize, duration: Duration) -> Vec<Duration> {
    cores::pin(Some(core));
    let mut gaps = Vec::new();
    let started = Instant::now();
    let mut last = started;
    while last - started < duration {
        let now = Instant::now();
        if now - last >= GAP_MIN {
            gaps.push(now - last);
        }
        last = now;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twice as many threads as processors: half of the time of each is somebody else's.
    #[test]
    fn time_that_others_take_is_seen() {
        let duration = Duration::from_millis(300);
        let other = thread::spawn(move || gaps(duration));
        let seen = gaps(duration);
        other.join().expect("it only looks at the clock");
        assert!(
            seen.lost_percent > 10.0 && seen.lost_percent < 100.0,
            "{seen:?}"
        );
        assert!(
            seen.longest_us >= 100.0 && seen.over_1ms_per_second > 0.0,
            "{seen:?}"
        );
    }
}
