//! When a waiting message is due. Pure.
//!
//! A message is due at the wall time of its arrival plus its level's delay. The wall clock may have been wrong: if it
//! went back since, messages would wait for longer than their level says, or block those behind them for as long.
//! What was waiting when that is noticed is due one delay after that at the latest, which is never early: it had
//! arrived by then.

use ringmq_storage_engine::position::QueueOffset;

/// A bound on how long what waits may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Latest {
    /// Messages below this offset had arrived when the bound was set.
    end: QueueOffset,
    due_ms: i64,
}

impl Latest {
    /// When the message at `offset`, marked with `due_ms`, is due. `visible` is the end of its queue now.
    pub fn due_ms(
        &mut self,
        offset: QueueOffset,
        due_ms: i64,
        delay_ms: i64,
        now_ms: i64,
        visible: QueueOffset,
    ) -> i64 {
        let bound_ms = now_ms.saturating_add(delay_ms);
        let known_ms = self.apply(offset, due_ms);
        if known_ms <= bound_ms {
            return known_ms;
        }
        // Only a clock that went back since makes a message wait for longer than its level's delay.
        *self = Self {
            end: visible,
            due_ms: bound_ms,
        };
        self.apply(offset, due_ms)
    }

    fn apply(&self, offset: QueueOffset, due_ms: i64) -> i64 {
        if offset < self.end {
            due_ms.min(self.due_ms)
        } else {
            due_ms
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_went_back_delays_by_one_delay_at_most() {
        let mut latest = Latest::default();
        let at = QueueOffset;
        assert_eq!(latest.due_ms(at(0), 1_050, 100, 1_000, at(3)), 1_050);
        // The clock goes back by 500; three messages had arrived, and are due by 550 + 100.
        assert_eq!(latest.due_ms(at(0), 1_050, 100, 550, at(3)), 650);
        assert_eq!(latest.due_ms(at(2), 1_090, 100, 600, at(9)), 650);
        // One that arrived later keeps its own time.
        assert_eq!(latest.due_ms(at(3), 655, 100, 600, at(9)), 655);
        // It goes back again.
        assert_eq!(latest.due_ms(at(2), 1_090, 100, 10, at(4)), 110);
        assert_eq!(latest.due_ms(at(3), 655, 100, 20, at(9)), 110);
    }
}
