//! Which tags a batch may hold, in 32 bits.

/// One bit for each tags code, by hash: says "surely not" or "perhaps". Records without a tag have code 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagsSummary(pub u32);

impl TagsSummary {
    /// Summary of all codes of a batch.
    pub fn of(codes: impl Iterator<Item = u32>) -> Self {
        Self(codes.fold(0, |bits, code| bits | bit(code)))
    }

    /// False: no record of the batch has this code.
    pub fn may_hold(self, code: u32) -> bool {
        self.0 & bit(code) != 0
    }
}

fn bit(code: u32) -> u32 {
    1 << (code.wrapping_mul(0x9E37_79B1) >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_went_in_may_be_held() {
        for code in [0, 1, 2, 65, 66, 0x7fff_ffff, u32::MAX] {
            assert!(TagsSummary::of([7, code].into_iter()).may_hold(code));
        }
        assert!(!TagsSummary::of(std::iter::once(65)).may_hold(0));
        assert!(!TagsSummary::default().may_hold(0));
    }
}
