//! A run second by second, so that a stall shows where it was.

use crate::histogram::Latencies;
use serde::Serialize;
use std::time::Duration;

/// Seconds that are kept apart; later ones count in the last.
const SECONDS_MAX: usize = 600;

/// Times by the second in which the send was due.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline(Vec<(u64, Latencies)>);

/// One second of a run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Second {
    pub(crate) second: usize,
    pub(crate) messages: u64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) max_us: f64,
}

impl Timeline {
    /// Records a send that was due `at`, counted from the start of the measured time.
    pub(crate) fn record(&mut self, at: Duration, time: Duration, messages: u64) {
        let second = (at.as_secs() as usize).min(SECONDS_MAX - 1);
        while self.0.len() <= second {
            self.0.push((0, Latencies::coarse()));
        }
        let (count, times) = &mut self.0[second];
        *count += messages;
        times.record(time);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        while self.0.len() < other.0.len() {
            self.0.push((0, Latencies::coarse()));
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.0 += theirs.0;
            mine.1.add(&theirs.1);
        }
    }

    pub(crate) fn seconds(&self) -> Vec<Second> {
        let seconds = self.0.iter().enumerate();
        seconds
            .filter_map(|(second, (messages, times))| {
                let times = times.summary()?;
                Some(Second {
                    second,
                    messages: *messages,
                    p50_us: times.p50_us,
                    p99_us: times.p99_us,
                    max_us: times.max_us,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_stays_in_its_second() {
        let (mut whole, mut lane) = (Timeline::default(), Timeline::default());
        for ms in 0..3000 {
            let stalled = (1500..1510).contains(&ms);
            let time = Duration::from_micros(if stalled { 50_000 } else { 100 });
            lane.record(Duration::from_millis(ms), time, 10);
        }
        whole.add(&lane);
        let seconds = whole.seconds();
        assert_eq!(seconds.len(), 3);
        assert!(seconds.iter().all(|second| second.messages == 10_000));
        let worst: Vec<bool> = seconds.iter().map(|s| s.max_us > 40_000.0).collect();
        assert_eq!(worst, [false, true, false]);
    }
}
