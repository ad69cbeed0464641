//! Times, in nanoseconds, and their summary in microseconds.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 600_000_000_000;
/// Points of a distribution that are worth drawing.
const QUANTILES: [f64; 17] = [
    0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99995,
    0.99999, 1.0,
];

/// Recorded times from 1 µs to 10 minutes, to three digits.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is reported.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean_us: f64,
    pub(crate) min_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p99_9_us: f64,
    pub(crate) p99_99_us: f64,
    pub(crate) max_us: f64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 3);
        Self(histogram.expect("the bounds are constants that the crate accepts"))
    }

    /// To two digits: a tenth of the memory.
    pub(crate) fn coarse() -> Self {
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, 2);
        Self(histogram.expect("the bounds are constants that the crate accepts"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(ns);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    /// (quantile, µs), closer together towards the end; empty without times.
    pub(crate) fn distribution(&self) -> Vec<(f64, f64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let us = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        QUANTILES.iter().map(|q| (*q, us(*q))).collect()
    }

    pub(crate) fn summary(&self) -> Option<Summary> {
        if self.0.is_empty() {
            return None;
        }
        let us = |ns: u64| ns as f64 / 1e3;
        let quantile = |quantile| us(self.0.value_at_quantile(quantile));
        Some(Summary {
            count: self.0.len(),
            mean_us: self.0.mean() / 1e3,
            min_us: us(self.0.min()),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
            p99_99_us: quantile(0.9999),
            max_us: us(self.0.max()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_in_microseconds() {
        let mut latencies = Latencies::new();
        assert!(latencies.summary().is_none());
        for ms in 1..=1000 {
            latencies.record(Duration::from_millis(ms));
        }
        let mut all = Latencies::new();
        all.add(&latencies);
        let summary = all.summary().expect("recorded");
        assert_eq!(summary.count, 1000);
        assert!((summary.p50_us - 500_000.0).abs() < 1_000.0, "{summary:?}");
        assert!((summary.p99_us - 990_000.0).abs() < 1_000.0, "{summary:?}");
    }
}
