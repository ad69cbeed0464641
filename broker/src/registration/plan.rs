//! What one name server is told next about one shard. Pure: time arrives in milliseconds of a monotonic clock.
//!
//! ```text
//!   confirmed < table version ──▶ Register (a change, or everything from 0)
//!   confirmed = table version ──▶ Heartbeat every 2 s
//!   "stale" answer            ──▶ confirmed = 0
//!   refused                   ──▶ the same again after 5 s
//! ```

use ringmq_wire::codes::ErrorCode;

use super::HEARTBEAT_MS;
use crate::node::{ShareChanges, ShareTable};

/// Shares in one request, in bytes; the rest follows in further requests.
const REGISTER_BYTES_MAX: usize = 4 << 20;
/// Wait after a refusal that only an operator can do something about.
const REFUSED_WAIT_MS: u64 = 5_000;

/// What to do now.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Send this.
    Register(ShareChanges),
    /// Say that the shard lives, at this version.
    Heartbeat(u64),
    /// Nothing before this time, unless the table changes.
    WaitUntil(u64),
}

/// What the name server knows of the shard.
#[derive(Debug, Clone, Default)]
pub struct ShardPlan {
    confirmed: u64,
    /// `None`: the connection is new, and the other side may not be who it was.
    last_answer_ms: Option<u64>,
    refused_until_ms: u64,
}

impl ShardPlan {
    /// The version that the name server confirmed.
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// What to tell it.
    pub fn next(&self, now_ms: u64, table: &ShareTable) -> Next {
        if now_ms < self.refused_until_ms {
            return Next::WaitUntil(self.refused_until_ms);
        }
        if let Some(changes) = table.changes(self.confirmed, REGISTER_BYTES_MAX) {
            return Next::Register(changes);
        }
        if self.confirmed == 0 {
            // The shard has not loaded its topics; a change of its table will tell.
            return Next::WaitUntil(now_ms + HEARTBEAT_MS);
        }
        match self.last_answer_ms {
            Some(at_ms) if now_ms < at_ms + HEARTBEAT_MS => Next::WaitUntil(at_ms + HEARTBEAT_MS),
            _ => Next::Heartbeat(self.confirmed),
        }
    }

    /// It took the registration or the heartbeat.
    pub fn accepted(&mut self, now_ms: u64, version: u64) {
        self.confirmed = version;
        self.last_answer_ms = Some(now_ms);
        self.refused_until_ms = 0;
    }

    /// It refused.
    pub fn refused(&mut self, now_ms: u64, code: Option<ErrorCode>) {
        if code == Some(ErrorCode::StaleRegistration) && self.confirmed > 0 {
            // At once: nobody can find the shard until it is known again.
            self.confirmed = 0;
        } else {
            self.confirmed = 0;
            self.refused_until_ms = now_ms + REFUSED_WAIT_MS;
        }
    }

    /// The connection is new: make sure that the other side is who it was.
    pub fn reconnected(&mut self) {
        self.last_answer_ms = None;
        self.refused_until_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::native::schema::TopicRecordT;

    fn table(topics: &[&str]) -> ShareTable {
        let mut table = ShareTable::default();
        for name in topics {
            let mut topic = TopicRecordT::default();
            topic.name = (*name).to_owned();
            table.put(topic);
        }
        table.loaded();
        table
    }

    fn register(next: Next) -> ShareChanges {
        match next {
            Next::Register(changes) => changes,
            other => panic!("{other:?} is no registration"),
        }
    }

    #[test]
    fn everything_then_heartbeats_then_changes() {
        let mut table = table(&["a", "b"]);
        let mut plan = ShardPlan::default();
        let all = register(plan.next(10_000, &table));
        assert_eq!((all.base_version, all.shares.len()), (0, 2));
        plan.accepted(10_000, all.version);
        assert_eq!(plan.next(10_001, &table), Next::WaitUntil(12_000));
        assert_eq!(plan.next(12_000, &table), Next::Heartbeat(all.version));
        table.remove("a");
        let change = register(plan.next(10_001, &table));
        assert_eq!(change.base_version, all.version);
        assert_eq!(change.removed, ["a"]);
    }

    #[test]
    fn a_name_server_that_forgot_is_told_everything_at_once() {
        let table = table(&["a"]);
        let mut plan = ShardPlan::default();
        plan.accepted(0, table.version());
        plan.refused(5, Some(ErrorCode::StaleRegistration));
        assert_eq!(register(plan.next(5, &table)).base_version, 0);
        // But not in a tight loop, if it says so to a whole registration.
        plan.refused(6, Some(ErrorCode::StaleRegistration));
        assert_eq!(plan.next(6, &table), Next::WaitUntil(5_006));
    }

    #[test]
    fn a_taken_name_is_tried_again_later() {
        let table = table(&[]);
        let mut plan = ShardPlan::default();
        plan.refused(100, Some(ErrorCode::ShardNameTaken));
        assert_eq!(plan.next(101, &table), Next::WaitUntil(5_100));
        assert_eq!(register(plan.next(5_100, &table)).base_version, 0);
    }

    #[test]
    fn a_new_connection_begins_with_a_heartbeat() {
        let table = table(&[]);
        let mut plan = ShardPlan::default();
        plan.accepted(50_000, table.version());
        plan.reconnected();
        assert_eq!(plan.next(50_001, &table), Next::Heartbeat(table.version()));
    }

    #[test]
    fn a_shard_that_has_not_loaded_is_not_mentioned() {
        let plan = ShardPlan::default();
        let next = plan.next(50_000, &ShareTable::default());
        assert_eq!(next, Next::WaitUntil(52_000));
    }
}
