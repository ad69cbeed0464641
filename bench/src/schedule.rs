//! When sends are due, and which of them count. Pure.

use std::time::Duration;

/// An open loop: send number n is due at n times the period, whatever happened to the sends before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// None: always due.
    period: Option<Duration>,
    first: Duration,
}

impl Schedule {
    /// `share` of `shares` interleaved schedules that together have `rate` sends a second.
    pub(crate) fn at_rate(rate: f64, share: usize, shares: usize) -> Self {
        let whole = Duration::from_secs_f64(1.0 / rate);
        Self {
            period: Some(Duration::from_secs_f64(shares as f64 / rate)),
            first: whole.mul_f64(share as f64),
        }
    }

    pub(crate) fn unlimited() -> Self {
        Self {
            period: None,
            first: Duration::ZERO,
        }
    }

    /// When send number `n` is due, from the start; none: as soon as there is room.
    pub(crate) fn due(&self, n: u64) -> Option<Duration> {
        let period = self.period?;
        Some(self.first + Duration::from_secs_f64(period.as_secs_f64() * n as f64))
    }
}

/// The measured stretch of a run, from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Duration,
    pub(crate) end: Duration,
}

impl Window {
    pub(crate) fn new(warm_up: Duration, duration: Duration) -> Self {
        Self {
            begin: warm_up,
            end: warm_up + duration,
        }
    }

    pub(crate) fn contains(&self, at: Duration) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_interleave_to_the_whole_rate() {
        let shares: Vec<_> = (0..4)
            .map(|share| Schedule::at_rate(100.0, share, 4))
            .collect();
        let mut due: Vec<_> = (0..25)
            .flat_map(|n| shares.iter().filter_map(move |share| share.due(n)))
            .collect();
        due.sort();
        for (n, at) in due.iter().enumerate() {
            let ideal = Duration::from_millis(10 * n as u64);
            assert!(at.abs_diff(ideal) < Duration::from_micros(1), "{n}: {at:?}");
        }
        assert_eq!(Schedule::unlimited().due(5), None);
    }
}
