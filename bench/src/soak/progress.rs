//! How far the group was behind, and for how long it stood still.

use super::ledger::Counts;
use serde::Serialize;

/// The group over a run, from readings of the ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Progress {
    /// Most messages that were acknowledged and not delivered at a reading.
    pub(super) behind_max: u64,
    /// Longest time without a delivery while there was something to deliver, and when it ended.
    pub(super) still_s_max: f64,
    pub(super) still_until_s: f64,
    #[serde(skip)]
    delivered: u64,
    #[serde(skip)]
    moved_at_s: f64,
}

impl Progress {
    pub(super) fn observe(&mut self, at_s: f64, counts: &Counts) {
        let got = counts.delivered + counts.expired_for_group;
        let behind = counts.acknowledged.saturating_sub(got);
        self.behind_max = self.behind_max.max(behind);
        let still_s = at_s - self.moved_at_s;
        if behind > 0 && still_s > self.still_s_max {
            (self.still_s_max, self.still_until_s) = (still_s, at_s);
        }
        if behind == 0 || counts.delivered > self.delivered {
            (self.delivered, self.moved_at_s) = (counts.delivered, at_s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_stand_is_found_and_idleness_is_none() {
        let mut progress = Progress::default();
        let readings = [
            (0, 0),
            (5, 5),
            (5, 5),
            (5, 5),
            (9, 6),
            (20, 6),
            (30, 6),
            (30, 29),
            (40, 30),
        ];
        for (second, (acknowledged, delivered)) in readings.into_iter().enumerate() {
            let counts = Counts {
                acknowledged,
                delivered,
                ..Counts::default()
            };
            progress.observe(10.0 * second as f64, &counts);
        }
        assert_eq!(progress.behind_max, 24);
        assert_eq!((progress.still_s_max, progress.still_until_s), (30.0, 70.0));
    }
}
