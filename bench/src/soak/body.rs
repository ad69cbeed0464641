//! Bodies that say what they are: every byte follows from run, producer, queue and sequence, so a reader can tell a
//! body that is not exactly what was sent.
//!
//! ```text
//!  0  run u64 | producer u32 | queue u32 | sequence u64
//! 24  bytes that follow from those, as many as follow from them
//! ```

/// Bytes before the filling.
pub(super) const STAMP_BYTES: usize = 24;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) run: u64,
    pub(super) producer: u32,
    pub(super) queue: u32,
    /// Rises by one with each message of the producer to the queue.
    pub(super) sequence: u64,
}

impl Stamp {
    /// The body; `average_bytes` is equal for all messages of a run.
    pub(super) fn body(&self, average_bytes: u32) -> Vec<u8> {
        let mut filling = Filling::of(self);
        let room = 2 * u64::from(average_bytes).saturating_sub(STAMP_BYTES as u64) - 8;
        let bytes = STAMP_BYTES + (filling.next() % room.max(1)) as usize;
        let mut body = Vec::with_capacity(bytes + 8);
        body.extend_from_slice(&self.run.to_le_bytes());
        body.extend_from_slice(&self.producer.to_le_bytes());
        body.extend_from_slice(&self.queue.to_le_bytes());
        body.extend_from_slice(&self.sequence.to_le_bytes());
        while body.len() < bytes {
            // Half of it repeats, so that there is something to compress.
            let word = filling.next();
            body.extend_from_slice(&word.to_le_bytes());
            body.extend_from_slice(&[b'.'; 8]);
        }
        body.truncate(bytes);
        body
    }

    /// What a body says it is, if every byte agrees.
    pub(super) fn read(body: &[u8], average_bytes: u32) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let small = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
        let stamp = Self {
            run: number(0)?,
            producer: small(8)?,
            queue: small(12)?,
            sequence: number(16)?,
        };
        (stamp.body(average_bytes) == body).then_some(stamp)
    }
}

/// xorshift64*: the bytes have to follow from the stamp, nothing more.
struct Filling(u64);

impl Filling {
    fn of(stamp: &Stamp) -> Self {
        let place = u64::from(stamp.producer) << 32 | u64::from(stamp.queue);
        let mut filling = Self(stamp.run ^ place.rotate_left(17) ^ stamp.sequence | 1);
        filling.next();
        filling
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(sequence: u64) -> Stamp {
        Stamp {
            run: 0xfeed,
            producer: 2,
            queue: 7,
            sequence,
        }
    }

    #[test]
    fn a_body_comes_back_and_sizes_vary() {
        let sizes: Vec<usize> = (0..1000).map(|n| stamp(n).body(512).len()).collect();
        for sequence in 0..1000 {
            let body = stamp(sequence).body(512);
            assert_eq!(Stamp::read(&body, 512), Some(stamp(sequence)));
        }
        let average = sizes.iter().sum::<usize>() / sizes.len();
        assert!((450..570).contains(&average), "{average}");
        assert!(sizes.iter().any(|size| *size < 100) && sizes.iter().any(|size| *size > 900));
        assert!(!stamp(1).body(32).is_empty());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        let good = stamp(5).body(100);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Stamp::read(&bad, 100), Some(stamp(5)), "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(Stamp::read(&good[..len], 100), None);
        }
    }
}
