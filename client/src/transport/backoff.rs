//! How long to wait before the next attempt: doubling, bounded, jittered so that clients do not march in step.

use std::time::Duration;

/// Delay sequence of one retried thing. Pure: the caller supplies the randomness.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base_ms: u64,
    max_ms: u64,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(base_ms: u64, max_ms: u64) -> Self {
        Self {
            base_ms,
            max_ms,
            failures: 0,
        }
    }

    /// The delay after one more failure. `jitter` is uniform in 0.0..1.0; the delay lies between half of the
    /// nominal one and all of it.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let doublings = self.failures.min(20);
        self.failures = self.failures.saturating_add(1);
        let nominal_ms = (self.base_ms << doublings).min(self.max_ms);
        Duration::from_secs_f64(nominal_ms as f64 / 1000.0 * (0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }

    /// As [`Self::next`], with the thread's generator.
    pub(crate) fn next_random(&mut self) -> Duration {
        self.next(rand::random())
    }

    /// The thing worked again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_within_bounds_and_grow(
            base_ms in 1u64..1000, factor in 1u64..100, jitters in prop::collection::vec(0.0f64..1.0, 1..80)
        ) {
            let max_ms = base_ms * factor;
            let mut backoff = Backoff::new(base_ms, max_ms);
            let mut nominal = base_ms;
            for jitter in jitters {
                let delay = backoff.next(jitter).as_secs_f64() * 1000.0;
                prop_assert!(delay >= nominal as f64 / 2.0 - 0.01 && delay <= nominal as f64 + 0.01);
                nominal = (nominal * 2).min(max_ms);
            }
            backoff.reset();
            prop_assert!(backoff.next(1.0) <= Duration::from_millis(base_ms));
        }
    }
}
