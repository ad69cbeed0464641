//! Counters of a store.

/// Values by power of two: bucket `i` counts values below `2^i` that are not in a lower bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; Self::BUCKETS],
    pub count: u64,
    pub sum: u64,
}

impl Histogram {
    pub const BUCKETS: usize = 40;

    pub fn record(&mut self, value: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// A bound that this share of the values is below; 0 without values.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let mut buckets = (0..Self::BUCKETS).filter(|_| self.count > 0);
        let bucket = buckets.find(|&bucket| {
            seen += self.buckets[bucket];
            seen >= wanted.max(1)
        });
        bucket.map_or(0, Self::upper_bound)
    }

    /// Exclusive upper bound of a bucket.
    pub fn upper_bound(bucket: usize) -> u64 {
        1 << bucket
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; Self::BUCKETS],
            count: 0,
            sum: 0,
        }
    }
}

/// A copy of a store's counters; all but the gauges only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreMetrics {
    pub batches_appended: u64,
    pub messages_appended: u64,
    pub controls_appended: u64,
    /// Bytes of records.
    pub bytes_appended: u64,
    pub frames_written: u64,
    /// Bytes of frames, padding included.
    pub frame_bytes_written: u64,
    pub append_refused_busy: u64,
    pub append_refused_no_space: u64,
    pub batches_read: u64,
    pub bytes_read: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    pub segments_sealed: u64,
    pub segments_retired: u64,
    pub snapshots_written: u64,
    pub meta_writes: u64,
    /// From dispatch to durable.
    pub durable_write_us: Histogram,
    pub frame_bytes: Histogram,
    /// Records in one frame.
    pub group_records: Histogram,

    /// Gauge: appended and not yet durable.
    pub in_flight_bytes: u64,
    /// Gauge: bytes of the log from its start to its end.
    pub log_bytes: u64,
    /// Gauge: bytes of the tail cache.
    pub cache_bytes: u64,
    /// Gauge: file system of the data directory.
    pub disk_total_bytes: u64,
    pub disk_free_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_below_their_bound() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, u64::MAX] {
            histogram.record(value);
        }
        assert_eq!(histogram.buckets[0], 1, "0");
        assert_eq!(histogram.buckets[1], 1, "1");
        assert_eq!(histogram.buckets[2], 2, "2 and 3");
        assert_eq!(histogram.buckets[3], 1, "4");
        assert_eq!(histogram.buckets[Histogram::BUCKETS - 1], 1);
        assert_eq!((histogram.count, histogram.sum), (6, u64::MAX));
        assert_eq!(histogram.quantile(0.5), 4, "3 of 6 are below");
        assert_eq!(histogram.quantile(0.0), 1);
        assert_eq!(histogram.quantile(1.0), 1 << (Histogram::BUCKETS - 1));
        assert_eq!(Histogram::default().quantile(1.0), 0);
    }
}
