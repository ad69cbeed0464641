//! When a peer takes too long to take its answers. Pure.

use crate::limits::Limits;

/// A window of time in which a peer must have taken its share of what waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendWatch {
    window: Option<Window>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    since_ms: u64,
    sent_bytes: u64,
}

/// A peer that must be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{taken_bytes} bytes of the answers were taken in {window_ms} ms")]
pub struct SendStalled {
    taken_bytes: u64,
    window_ms: u64,
}

impl SendWatch {
    /// `waiting`: unsent bytes wait now; `sent_bytes`: ever sent.
    pub fn check(
        &mut self,
        limits: &Limits,
        now_ms: u64,
        waiting: bool,
        sent_bytes: u64,
    ) -> Option<SendStalled> {
        let here = Window {
            since_ms: now_ms,
            sent_bytes,
        };
        let Some(window) = self.window.filter(|_| waiting) else {
            self.window = waiting.then_some(here);
            return None;
        };
        let window_ms = now_ms.saturating_sub(window.since_ms);
        if window_ms < limits.write_stall_ms {
            return None;
        }
        let taken_bytes = sent_bytes - window.sent_bytes;
        if taken_bytes < limits.slow_bytes_per_s * window_ms / 1000 {
            return Some(SendStalled {
                taken_bytes,
                window_ms,
            });
        }
        self.window = Some(here);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_brisk_peers_stay_dead_and_dribbling_ones_go() {
        let limits = Limits::DEFAULT;
        let rate = limits.slow_bytes_per_s;
        // (bytes taken each second, whether something always waits, whether it stays)
        let cases = [
            (0, false, true),
            (0, true, false),
            (100, true, false),
            (2 * rate, true, true),
        ];
        for (per_s, waiting, stays) in cases {
            let mut watch = SendWatch::default();
            let dropped =
                (0..300).any(|s| watch.check(&limits, s * 1000, waiting, s * per_s).is_some());
            assert_eq!(dropped, !stays, "{per_s} bytes/s, waiting: {waiting}");
        }
        // One moment without anything waiting starts anew.
        let mut watch = SendWatch::default();
        for s in 0..300 {
            let waiting = s % 20 != 0;
            assert_eq!(watch.check(&limits, s * 1000, waiting, 0), None);
        }
    }
}
