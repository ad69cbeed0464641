//! Bounds and schedules of a store.

use crate::disk::BLOCK_BYTES;

/// How a frame is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// One O_DSYNC write.
    DurableWrite,
    /// A write, then a sync.
    WriteThenSync,
}

/// Everything that can be tuned. `segment_bytes` and `frame_bytes_max` are constants of a data directory.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreOptions {
    pub segment_bytes: u64,
    /// End of a segment that only control records may use.
    pub segment_reserve_bytes: u64,
    pub frame_bytes_max: usize,
    /// Bytes appended and not yet durable. Recovery looks for what was in flight within twice this: lower it only after
    /// a clean stop.
    pub in_flight_bytes_max: usize,
    pub frames_in_flight_max: usize,
    /// With writes in flight, a frame goes out only when it has this much.
    pub dispatch_bytes: usize,
    pub write_mode: WriteMode,
    /// Frames kept in memory for tail readers.
    pub cache_bytes: usize,
    /// Chunks of the log kept in memory for readers behind the tail.
    pub read_cache_bytes: usize,
    pub retention_ms: i64,
    pub retention_bytes: Option<u64>,
    /// Shares of the file system in use at which bundles go early, go at once, and appends are refused.
    pub disk_early_percent: u8,
    pub disk_forced_percent: u8,
    pub disk_refuse_percent: u8,
    /// A snapshot starts after max(this, 2 x the last snapshot) of log.
    pub snapshot_every_bytes: u64,
    pub snapshot_chunk_bytes: usize,
    /// Retired segments kept for reuse.
    pub spare_segments_max: usize,
    /// How far ahead of the write position fresh space is zero-filled while frames are small; 0 turns it off.
    pub zero_ahead_bytes: u64,
    /// `shard.meta` is written after this much idleness when the durable frontier in it is old.
    pub idle_meta_ms: u64,
    /// How often retention and watermarks are looked at.
    pub retention_check_ms: u64,
    /// A segment is rolled early at this much index.
    pub index_bytes_max: usize,
    /// Pages of sealed segments' indexes kept in memory.
    pub index_cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 256 << 20,
            segment_reserve_bytes: 1 << 20,
            frame_bytes_max: 16 << 20,
            in_flight_bytes_max: 32 << 20,
            frames_in_flight_max: 4,
            dispatch_bytes: 128 << 10,
            write_mode: WriteMode::DurableWrite,
            cache_bytes: 64 << 20,
            read_cache_bytes: 16 << 20,
            retention_ms: 72 * 3600 * 1000,
            retention_bytes: None,
            disk_early_percent: 75,
            disk_forced_percent: 85,
            disk_refuse_percent: 90,
            snapshot_every_bytes: 512 << 20,
            snapshot_chunk_bytes: 64 << 10,
            spare_segments_max: 2,
            zero_ahead_bytes: 4 << 20,
            idle_meta_ms: 100,
            retention_check_ms: 10_000,
            index_bytes_max: crate::index::limits::INDEX_BYTES_ROLL as usize,
            index_cache_bytes: 16 << 20,
        }
    }
}

impl StoreOptions {
    /// The smallest sensible store: segments of 16 blocks, frames of up to 4. For tests that want every edge soon.
    pub fn test_min() -> Self {
        let block = BLOCK_BYTES;
        Self {
            segment_bytes: 16 * block as u64,
            segment_reserve_bytes: block as u64,
            frame_bytes_max: 4 * block,
            in_flight_bytes_max: 16 * block,
            dispatch_bytes: block,
            cache_bytes: 8 * block,
            read_cache_bytes: 64 << 10,
            snapshot_every_bytes: 24 * block as u64,
            snapshot_chunk_bytes: 256,
            zero_ahead_bytes: 0,
            index_cache_bytes: 256 << 10,
            idle_meta_ms: 5,
            retention_check_ms: 50,
            ..Self::default()
        }
    }

    /// What is wrong with these options, if anything.
    pub fn check(&self) -> Result<(), &'static str> {
        let block = BLOCK_BYTES as u64;
        let aligned = |bytes: u64| bytes > 0 && bytes.is_multiple_of(block);
        if !aligned(self.segment_bytes) || !aligned(self.segment_reserve_bytes) {
            return Err("segment_bytes and segment_reserve_bytes must be multiples of 4096");
        }
        if !aligned(self.frame_bytes_max as u64) {
            return Err("frame_bytes_max must be a multiple of 4096");
        }
        if self.frame_bytes_max as u64 + self.segment_reserve_bytes > self.segment_bytes {
            return Err("a frame and the reserve must fit into a segment");
        }
        if self.in_flight_bytes_max < self.frame_bytes_max {
            return Err("in_flight_bytes_max must hold the largest frame");
        }
        if self.frames_in_flight_max == 0 || self.dispatch_bytes == 0 {
            return Err("frames_in_flight_max and dispatch_bytes must not be 0");
        }
        let percents = [
            self.disk_early_percent,
            self.disk_forced_percent,
            self.disk_refuse_percent,
        ];
        if !percents.is_sorted() || self.disk_refuse_percent > 100 {
            return Err("disk watermarks must rise and be at most 100");
        }
        Ok(())
    }
}
