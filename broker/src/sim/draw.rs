//! Draws of one simulated concern, on a stream of its own.

use ringmq_storage_engine::runtime::sim::SeededRandom;
use std::time::Duration;

/// A named stream of random choices.
#[derive(Debug, Clone)]
pub struct Draw(SeededRandom);

impl Draw {
    pub fn new(seed: u64, stream: &str) -> Self {
        Self(SeededRandom::new(seed, stream))
    }

    /// A stream for one of several that share a name.
    pub fn numbered(seed: u64, stream: &str, number: u64) -> Self {
        Self::new(seed, &format!("{stream} {number}"))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// Between both, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most - least + 1)
    }

    pub fn index(&mut self, len: usize) -> usize {
        self.0.index(len)
    }

    pub fn one_in(&mut self, one_in: u64) -> bool {
        self.0.one_in(one_in)
    }

    pub fn coin(&mut self) -> bool {
        self.0.coin()
    }

    /// Up to `max`.
    pub fn duration(&mut self, max: Duration) -> Duration {
        let max_us = u64::try_from(max.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(self.0.below(max_us + 1))
    }

    /// Between both, in milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.0.index(from.len())]
    }
}
