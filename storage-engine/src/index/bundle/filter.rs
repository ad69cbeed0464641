//! A Bloom filter in pages of 32,704 bits: a lookup reads one page.
//!
//! A pair is mixed to 64 bits (SplitMix64's finisher over `queue << 32 | key hash`); the upper half chooses the
//! page, then bit i of seven is `(a + i * b) mod 32,704`, where a and b come from a second mix. At ten bits a pair
//! about one lookup in a hundred reads the keys for nothing.

use super::page::{PAGE_HEADER_BYTES, PAGE_ROOM_BYTES};

const PAGE_BITS: u32 = 8 * PAGE_ROOM_BYTES as u32;
const BITS_PER_KEY: u64 = 10;
const PROBES: u32 = 7;

/// Pages for this many pairs.
pub(super) fn pages_for(keys: u64) -> u32 {
    // At most 2^32 keys: they count against the size at which a segment is rolled.
    (keys * BITS_PER_KEY).div_ceil(u64::from(PAGE_BITS)) as u32
}

/// A filter being filled.
#[derive(Debug)]
pub(super) struct Filter {
    bits: Vec<u8>,
    pages: u32,
}

impl Filter {
    pub(super) fn for_keys(keys: u64) -> Self {
        let pages = pages_for(keys);
        Self {
            bits: vec![0; pages as usize * PAGE_ROOM_BYTES],
            pages,
        }
    }

    pub(super) fn insert(&mut self, hash: u32, queue: u32) {
        let probe = Probe::of(hash, queue);
        let start = probe.page(self.pages) as usize * PAGE_ROOM_BYTES;
        for bit in probe.bits() {
            self.bits[start + bit as usize / 8] |= 1 << (bit % 8);
        }
    }

    /// The pages' rooms in order.
    pub(super) fn rooms(&self) -> impl Iterator<Item = &[u8]> {
        self.bits.chunks(PAGE_ROOM_BYTES)
    }
}

/// Where a pair is in a filter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    mixed: u64,
}

impl Probe {
    pub(super) fn of(hash: u32, queue: u32) -> Self {
        Self {
            mixed: mix(u64::from(queue) << 32 | u64::from(hash)),
        }
    }

    /// Page of the filter, of `pages` (not zero).
    pub(super) fn page(self, pages: u32) -> u32 {
        (((self.mixed >> 32) * u64::from(pages)) >> 32) as u32
    }

    /// False: the pair is not in the bundle.
    pub(super) fn may_be_in(self, page: &[u8]) -> bool {
        let room = &page[PAGE_HEADER_BYTES..];
        self.bits()
            .all(|bit| room[bit as usize / 8] & 1 << (bit % 8) != 0)
    }

    fn bits(self) -> impl Iterator<Item = u32> {
        let second = mix(self.mixed);
        let (a, b) = (second as u32, (second >> 32) as u32 | 1);
        (0..PROBES).map(move |i| a.wrapping_add(i.wrapping_mul(b)) % PAGE_BITS)
    }
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_and_little_else() {
        let mut filter = Filter::for_keys(20_000);
        for hash in 0..20_000 {
            filter.insert(hash, hash % 7);
        }
        let pages: Vec<Vec<u8>> = filter
            .rooms()
            .map(|room| [&[0; PAGE_HEADER_BYTES], room].concat())
            .collect();
        let hit = |hash, queue| {
            let probe = Probe::of(hash, queue);
            probe.may_be_in(&pages[probe.page(pages.len() as u32) as usize])
        };
        assert!((0..20_000).all(|hash| hit(hash, hash % 7)));
        let wrong = (20_000..40_000).filter(|hash| hit(*hash, hash % 7)).count();
        assert!(wrong < 400, "{wrong} of 20,000 absent keys seem present");
    }
}
