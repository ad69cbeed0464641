//! `shard.meta`: the few numbers of a shard's log that are not in the log.
//!
//! Two slots of 4096 bytes are written in turn, each durably, so that a torn write always leaves the other. Written
//! at open, cut, roll, snapshot, retention, clean stop, and after a moment of idleness.
//!
//! ```text
//!    0  magic u32 = "RQSM" | version u16 = 1 | reserved u16, zero
//!    8  generation u64             rises with every write; slot = generation mod 2
//!   16  log_id u128
//!   32  epoch u64                  of the last opening or cut
//!   40  durable u64                everything below is on disk
//!   48  log_start u64              nothing is kept below
//!   56  term u64 | vote u64        0: nobody
//!   72  clean u8: 0 or 1 | reserved, 3 bytes, zero | cut_count u32, at most 128
//!   80  cuts: cut_count x (epoch u64, position u64), both rising; zeros up to
//! 4092  checksum u32               CRC-32 over bytes 0..4092
//! ```
//! A cut says: what an earlier epoch wrote at or above this position was dropped for good.

mod file;

pub use file::MetaFile;

use crate::disk::BLOCK_BYTES;
use crate::format::{COUNT_MAX, put, u16_at, u32_at, u64_at, u128_at};
use crate::position::Position;

/// File name.
pub const META_FILE: &str = "shard.meta";
/// Bytes of one slot.
pub const SLOT_BYTES: usize = BLOCK_BYTES;
/// Most cuts that are remembered.
pub const CUTS_MAX: usize = 128;
const MAGIC: u32 = u32::from_le_bytes(*b"RQSM");
/// Format version.
pub const VERSION: u16 = 1;
const CUTS_AT: usize = 80;
const CHECKSUM_AT: usize = SLOT_BYTES - 4;
const _: () = assert!(CUTS_AT + 16 * CUTS_MAX <= CHECKSUM_AT);

/// A dropped suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The epoch that starts with the cut.
    pub epoch: u64,
    pub position: Position,
}

/// Content of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMeta {
    pub generation: u64,
    pub log_id: u128,
    pub epoch: u64,
    pub durable: Position,
    pub log_start: Position,
    pub term: u64,
    pub vote: u64,
    pub clean: bool,
    cuts: Vec<Cut>,
}

/// What a slot holds. Never written and no longer readable demand opposite reactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    Empty,
    Present(ShardMeta),
    Unreadable(String),
    /// Written by a newer program.
    Newer(u16),
}

/// What both slots say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// Never written.
    Empty,
    Present {
        meta: ShardMeta,
        /// The other slot is damaged: it may have been the newer one.
        other_lost: bool,
    },
    Unreadable(String),
    Newer(u16),
}

impl ShardMeta {
    /// Of a new log.
    pub fn new(log_id: u128) -> Self {
        Self {
            generation: 0,
            log_id,
            epoch: 0,
            durable: Position(0),
            log_start: Position(0),
            term: 1,
            vote: 0,
            clean: false,
            cuts: Vec::new(),
        }
    }

    /// Starts `epoch` at `position`: what earlier epochs wrote at or above it is void.
    ///
    /// A cut makes every older one at or above its position redundant, so the list rises in both columns. The
    /// oldest is forgotten when the list is full: it lies so far back that the log around it was replayed by each
    /// of the openings since.
    pub fn cut(&mut self, epoch: u64, position: Position) {
        assert!(epoch > self.epoch, "an epoch starts once");
        self.epoch = epoch;
        self.cuts.retain(|cut| cut.position < position);
        if self.cuts.len() == CUTS_MAX {
            self.cuts.remove(0);
        }
        self.cuts.push(Cut { epoch, position });
        self.durable = self.durable.min(position);
    }

    /// Forgets cuts below the start of the log.
    pub fn set_log_start(&mut self, log_start: Position) {
        self.log_start = log_start;
        self.cuts.retain(|cut| cut.position >= log_start);
    }

    /// Cuts, rising.
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// The lowest position that a later epoch than `epoch` cut off: what `epoch` wrote there is void.
    pub fn valid_below(&self, epoch: u64) -> Position {
        let later = self.cuts.iter().find(|cut| cut.epoch > epoch);
        later.map_or(Position(u64::MAX), |cut| cut.position)
    }

    /// Writes the slot; `out` has [`SLOT_BYTES`].
    pub fn encode(&self, out: &mut [u8]) {
        let out = &mut out[..SLOT_BYTES];
        out.fill(0);
        put(out, 0, &MAGIC.to_le_bytes());
        put(out, 4, &VERSION.to_le_bytes());
        put(out, 8, &self.generation.to_le_bytes());
        put(out, 16, &self.log_id.to_le_bytes());
        put(out, 32, &self.epoch.to_le_bytes());
        put(out, 40, &self.durable.0.to_le_bytes());
        put(out, 48, &self.log_start.0.to_le_bytes());
        put(out, 56, &self.term.to_le_bytes());
        put(out, 64, &self.vote.to_le_bytes());
        out[72] = u8::from(self.clean);
        put(out, 76, &(self.cuts.len() as u32).to_le_bytes());
        for (i, cut) in self.cuts.iter().enumerate() {
            put(out, CUTS_AT + 16 * i, &cut.epoch.to_le_bytes());
            put(out, CUTS_AT + 16 * i + 8, &cut.position.0.to_le_bytes());
        }
        let checksum = crc32fast::hash(&out[..CHECKSUM_AT]);
        put(out, CHECKSUM_AT, &checksum.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let count = u32_at(bytes, 76) as usize;
        if count > CUTS_MAX {
            return Err("too many cuts");
        }
        let cuts_end = CUTS_AT + 16 * count;
        let zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == 0);
        if !zero(6..8) || bytes[72] > 1 || !zero(73..76) || !zero(cuts_end..CHECKSUM_AT) {
            return Err("reserved bytes are set");
        }
        // Both are raised by the next opening.
        if u64_at(bytes, 8).max(u64_at(bytes, 32)) > COUNT_MAX {
            return Err("it counts more openings than there can be");
        }
        let cuts: Vec<Cut> = bytes[CUTS_AT..cuts_end]
            .chunks_exact(16)
            .map(|cut| Cut {
                epoch: u64_at(cut, 0),
                position: Position(u64_at(cut, 8)),
            })
            .collect();
        let rising =
            |pair: &[Cut]| pair[0].epoch < pair[1].epoch && pair[0].position < pair[1].position;
        if !cuts.windows(2).all(rising) {
            return Err("cuts do not rise");
        }
        Ok(Self {
            generation: u64_at(bytes, 8),
            log_id: u128_at(bytes, 16),
            epoch: u64_at(bytes, 32),
            durable: Position(u64_at(bytes, 40)),
            log_start: Position(u64_at(bytes, 48)),
            term: u64_at(bytes, 56),
            vote: u64_at(bytes, 64),
            clean: bytes[72] == 1,
            cuts,
        })
    }
}

impl Slot {
    /// Decodes a slot; less than [`SLOT_BYTES`] is an empty one.
    pub fn parse(bytes: &[u8]) -> Self {
        if bytes.len() < SLOT_BYTES || bytes[..SLOT_BYTES].iter().all(|b| *b == 0) {
            return Self::Empty;
        }
        let bytes = &bytes[..SLOT_BYTES];
        if u32_at(bytes, CHECKSUM_AT) != crc32fast::hash(&bytes[..CHECKSUM_AT]) {
            return Self::Unreadable("its checksum does not hold".to_owned());
        }
        if u32_at(bytes, 0) != MAGIC {
            return Self::Unreadable("it is no slot of shard.meta".to_owned());
        }
        match u16_at(bytes, 4) {
            VERSION => {}
            0 => return Self::Unreadable("format version 0 was never written".to_owned()),
            version => return Self::Newer(version),
        }
        match ShardMeta::decode(bytes) {
            Ok(meta) => Self::Present(meta),
            Err(what) => Self::Unreadable(what.to_owned()),
        }
    }
}

/// Puts the slots together.
pub fn choose(slots: [Slot; 2]) -> Loaded {
    match slots {
        [Slot::Newer(version), _] | [_, Slot::Newer(version)] => Loaded::Newer(version),
        [Slot::Present(a), Slot::Present(b)] => {
            let meta = if a.generation > b.generation { a } else { b };
            let other_lost = false;
            Loaded::Present { meta, other_lost }
        }
        [Slot::Present(meta), Slot::Unreadable(_)] | [Slot::Unreadable(_), Slot::Present(meta)] => {
            let other_lost = true;
            Loaded::Present { meta, other_lost }
        }
        [Slot::Present(meta), Slot::Empty] | [Slot::Empty, Slot::Present(meta)] => {
            let other_lost = false;
            Loaded::Present { meta, other_lost }
        }
        [Slot::Empty, Slot::Empty] => Loaded::Empty,
        [Slot::Unreadable(why), _] | [_, Slot::Unreadable(why)] => Loaded::Unreadable(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(generation: u64) -> ShardMeta {
        let mut meta = ShardMeta::new(42);
        meta.generation = generation;
        meta.durable = Position(8192);
        meta.cut(1, Position(4096));
        meta.cut(3, Position(8192));
        meta
    }

    fn encoded(meta: &ShardMeta) -> Vec<u8> {
        let mut bytes = vec![0xcc; SLOT_BYTES];
        meta.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_slot_comes_back_and_every_flipped_bit_is_found() {
        let meta = sample(7);
        let good = encoded(&meta);
        assert_eq!(Slot::parse(&good), Slot::Present(meta));
        for bit in 0..SLOT_BYTES * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(Slot::parse(&bad), Slot::Unreadable(_)),
                "bit {bit}"
            );
        }
    }

    /// The checksum may hold by forgery only, but then nothing may be guessed.
    #[test]
    fn a_version_that_was_never_written_is_refused_and_a_newer_one_is_named() {
        let with_version = |version: u16| {
            let mut bytes = encoded(&sample(7));
            put(&mut bytes, 4, &version.to_le_bytes());
            let sum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
            put(&mut bytes, CHECKSUM_AT, &sum.to_le_bytes());
            Slot::parse(&bytes)
        };
        assert!(matches!(with_version(0), Slot::Unreadable(_)));
        assert_eq!(with_version(VERSION), Slot::Present(sample(7)));
        assert_eq!(with_version(2), Slot::Newer(2));
    }

    #[test]
    fn counts_that_cannot_be_raised_are_refused() {
        let mut meta = sample(u64::MAX);
        assert!(matches!(Slot::parse(&encoded(&meta)), Slot::Unreadable(_)));
        meta.generation = 7;
        meta.epoch = u64::MAX;
        assert!(matches!(Slot::parse(&encoded(&meta)), Slot::Unreadable(_)));
    }

    #[test]
    fn slots_are_put_together() {
        let present = |generation| Slot::Present(sample(generation));
        let lost = || Slot::Unreadable("torn".to_owned());
        let chosen = |generation, other_lost| Loaded::Present {
            meta: sample(generation),
            other_lost,
        };
        assert_eq!(choose([present(4), present(5)]), chosen(5, false));
        assert_eq!(choose([present(6), present(5)]), chosen(6, false));
        assert_eq!(choose([present(4), lost()]), chosen(4, true));
        assert_eq!(choose([lost(), present(5)]), chosen(5, true));
        assert_eq!(choose([Slot::Empty, present(1)]), chosen(1, false));
        assert_eq!(choose([Slot::Empty, Slot::Empty]), Loaded::Empty);
        assert!(matches!(choose([lost(), lost()]), Loaded::Unreadable(_)));
        assert!(matches!(
            choose([Slot::Empty, lost()]),
            Loaded::Unreadable(_)
        ));
        assert_eq!(choose([present(4), Slot::Newer(2)]), Loaded::Newer(2));
    }

    #[test]
    fn a_cut_swallows_the_higher_ones_before_it() {
        let mut meta = ShardMeta::new(1);
        meta.cut(1, Position(0));
        meta.cut(2, Position(4096));
        meta.cut(3, Position(12288));
        meta.cut(5, Position(8192));
        assert_eq!(meta.valid_below(0), Position(0));
        assert_eq!(meta.valid_below(1), Position(4096));
        assert_eq!(meta.valid_below(2), Position(8192), "3 was swallowed by 5");
        assert_eq!(meta.valid_below(4), Position(8192));
        assert_eq!(meta.valid_below(5), Position(u64::MAX));
        meta.set_log_start(Position(4096));
        assert_eq!(meta.cuts().len(), 2);
    }

    #[test]
    fn cuts_are_bounded() {
        let mut meta = ShardMeta::new(1);
        for epoch in 1..=300 {
            meta.cut(epoch, Position(4096 * epoch));
        }
        assert_eq!(meta.cuts().len(), CUTS_MAX);
        assert_eq!(Slot::parse(&encoded(&meta)), Slot::Present(meta));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), SLOT_BYTES), fix: bool) {
            if fix {
                let sum = crc32fast::hash(&bytes[..CHECKSUM_AT]);
                put(&mut bytes, CHECKSUM_AT, &sum.to_le_bytes());
            }
            let _ = Slot::parse(&bytes);
        }
    }
}
