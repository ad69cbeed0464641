//! Memory, descriptors and threads of a process over time, and whether they grow.

use serde::Serialize;
use std::path::Path;

/// Growth of memory that is no growth: pages that caches and the allocator have yet to touch.
const MEMORY_SLACK_BYTES: u64 = 8 << 20;
const MEMORY_SLACK_SHARE: f64 = 0.03;
/// Descriptors come and go with segments and connections.
const DESCRIPTOR_SLACK: u64 = 8;
/// Fewer readings after settling prove nothing: caches may still be filling.
const READINGS_MIN: usize = 120;

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Seconds since the run began.
    pub(super) at_s: f64,
    pub(super) rss_bytes: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// Reads a process; `None` where /proc has no such process.
pub(super) fn read(pid: u32, at_s: f64) -> Option<Sample> {
    let directory = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(directory.join("status")).ok()?;
    let number = |label: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(label))?;
        line.split_whitespace().next()?.parse().ok()
    };
    Some(Sample {
        at_s,
        rss_bytes: number("VmRSS:")? * 1024,
        descriptors: std::fs::read_dir(directory.join("fd")).ok()?.count() as u64,
        threads: number("Threads:")?,
    })
}

/// One life of the process, summed up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Life {
    pub(super) pid: u32,
    /// How it ended; nothing: with the run.
    pub(super) end: Option<super::broker::End>,
    pub(super) first: Option<Sample>,
    pub(super) middle: Option<Sample>,
    pub(super) last: Option<Sample>,
}

impl Life {
    pub(super) fn of(pid: u32, end: Option<super::broker::End>, samples: &[Sample]) -> Self {
        Self {
            pid,
            end,
            first: samples.first().copied(),
            middle: samples.get(samples.len() / 2).copied(),
            last: samples.last().copied(),
        }
    }
}

/// Whether a quantity stands still.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Trend {
    /// Median over the first quarter after settling.
    pub(super) early: u64,
    /// Median over the last quarter.
    pub(super) late: u64,
    pub(super) flat: bool,
}

/// The verdict over a life.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Flatness {
    pub(super) readings: usize,
    pub(super) rss_bytes: Trend,
    pub(super) descriptors: Trend,
}

impl Flatness {
    /// Judges a life; its first third is left out, because caches fill. `None`: too short to judge.
    pub(super) fn of(samples: &[Sample]) -> Option<Self> {
        let settled = &samples[samples.len() / 3..];
        if settled.len() < READINGS_MIN {
            return None;
        }
        let rss = trend(
            settled,
            |sample| sample.rss_bytes,
            |early| MEMORY_SLACK_BYTES.max((early as f64 * MEMORY_SLACK_SHARE) as u64),
        );
        let descriptors = trend(settled, |sample| sample.descriptors, |_| DESCRIPTOR_SLACK);
        Some(Self {
            readings: settled.len(),
            rss_bytes: rss,
            descriptors,
        })
    }

    pub(super) fn is_flat(&self) -> bool {
        self.rss_bytes.flat && self.descriptors.flat
    }
}

fn trend(samples: &[Sample], of: impl Fn(&Sample) -> u64, slack: impl Fn(u64) -> u64) -> Trend {
    let quarter = samples.len() / 4;
    let median = |samples: &[Sample]| {
        let mut values: Vec<u64> = samples.iter().map(&of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let early = median(&samples[..quarter]);
    let late = median(&samples[samples.len() - quarter..]);
    Trend {
        early,
        late,
        flat: late <= early + slack(early),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(rss_bytes: impl Fn(u64) -> u64, descriptors: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..270)
            .map(|n| Sample {
                at_s: n as f64,
                rss_bytes: rss_bytes(n),
                descriptors: descriptors(n),
                threads: 4,
            })
            .collect()
    }

    #[test]
    fn filling_caches_are_no_growth_and_leaks_are() {
        let mib = 1 << 20;
        let filling = life(|n| (100 + n.min(80) * 8) * mib, |_| 50);
        assert!(Flatness::of(&filling).expect("long enough").is_flat());
        let waving = life(|n| (300 + n % 7) * mib, |n| 50 + n % 5);
        assert!(Flatness::of(&waving).expect("long enough").is_flat());
        let leaking = life(|n| (300 + n) * mib, |_| 50);
        assert!(!Flatness::of(&leaking).expect("long enough").is_flat());
        let descriptors = life(|_| 300 * mib, |n| 50 + n / 3);
        assert!(!Flatness::of(&descriptors).expect("long enough").is_flat());
        assert_eq!(Flatness::of(&filling[..100]), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_read() {
        let before = read(std::process::id(), 1.0).expect("it lives");
        let files: Vec<_> = (0..20)
            .map(|_| std::fs::File::open("/proc/self/status").expect("Linux"))
            .collect();
        let after = read(std::process::id(), 2.0).expect("it lives");
        // Other tests of this process open files, too.
        assert!(after.descriptors + 10 > before.descriptors + files.len() as u64);
        assert!(after.rss_bytes > 0 && after.threads > 0);
    }
}
