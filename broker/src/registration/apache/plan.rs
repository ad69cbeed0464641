//! What an Apache name server is told next about one shard. Pure.
//!
//! ```text
//!   table changed, or 30 s since the last one ──▶ Register, always everything
//!   10 s since the last answer                ──▶ Ask: do you know this version? If not: Register
//! ```

use std::collections::BTreeSet;

/// How often it hears from the shard.
const ASK_MS: u64 = 10_000;
/// How often it is told everything, needed or not.
const REGISTER_MS: u64 = 30_000;

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Register,
    /// Ask about this version.
    Ask(u64),
    /// Nothing before this time, unless the table changes.
    WaitUntil(u64),
}

/// What the name server knows of the shard.
#[derive(Debug, Clone, Default)]
pub(super) struct ApachePlan {
    confirmed: u64,
    registered_ms: u64,
    answered_ms: u64,
    told: BTreeSet<String>,
}

impl ApachePlan {
    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// The topics of the last registration.
    pub(super) fn told(&self) -> &BTreeSet<String> {
        &self.told
    }

    /// `version` is that of the shard's table; 0: it has not loaded its topics.
    pub(super) fn next(&self, now_ms: u64, version: u64) -> Next {
        if version == 0 {
            return Next::WaitUntil(now_ms + ASK_MS);
        }
        let register_ms = self.registered_ms + REGISTER_MS;
        if self.confirmed != version || now_ms >= register_ms {
            return Next::Register;
        }
        let ask_ms = self.answered_ms + ASK_MS;
        if now_ms >= ask_ms {
            return Next::Ask(version);
        }
        Next::WaitUntil(ask_ms.min(register_ms))
    }

    pub(super) fn registered(&mut self, now_ms: u64, version: u64, told: BTreeSet<String>) {
        self.confirmed = version;
        self.registered_ms = now_ms;
        self.answered_ms = now_ms;
        self.told = told;
    }

    /// It answered whether it knows the version.
    pub(super) fn asked(&mut self, now_ms: u64, knows: bool) {
        self.answered_ms = now_ms;
        if !knows {
            self.confirmed = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_on_change_a_question_every_ten_seconds_everything_every_thirty() {
        let mut plan = ApachePlan::default();
        assert_eq!(plan.next(0, 0), Next::WaitUntil(10_000));
        assert_eq!(plan.next(5, 1), Next::Register);
        plan.registered(5, 1, BTreeSet::new());
        assert_eq!(plan.next(6, 1), Next::WaitUntil(10_005));
        assert_eq!(plan.next(6, 2), Next::Register);
        for round in 1..3 {
            assert_eq!(plan.next(5 + round * 10_000, 1), Next::Ask(1));
            plan.asked(5 + round * 10_000, true);
        }
        assert_eq!(plan.next(30_004, 1), Next::WaitUntil(30_005));
        assert_eq!(plan.next(30_005, 1), Next::Register);
    }

    #[test]
    fn a_name_server_that_forgot_is_told_everything_at_once() {
        let mut plan = ApachePlan::default();
        plan.registered(0, 4, BTreeSet::new());
        plan.asked(10_000, false);
        assert_eq!(plan.next(10_000, 4), Next::Register);
    }
}
