//! How much goes through a shard: rates and sums over the last minutes, hours and day, as RocketMQ's tools show them.
//!
//! Kept in memory since the start of the process, in rings of slots that are cleared when their time comes again, so
//! that nothing has to tick. Topics and groups that get no messages any more make room for others.

use std::collections::BTreeMap;
use std::time::Duration;

/// Topics with numbers of their own, and as many groups of them; more are counted in the totals alone.
const TABLE_MAX: usize = 4096;

/// A sum over a time that slides in steps of a slot. The slot under way counts.
#[derive(Debug, Clone)]
struct Ring<const SLOTS: usize> {
    slot: Duration,
    /// Number of the newest slot.
    newest: u64,
    /// When it ends.
    newest_end: Duration,
    sums: [u64; SLOTS],
}

impl<const SLOTS: usize> Ring<SLOTS> {
    fn new(slot: Duration) -> Self {
        Self {
            slot,
            newest: 0,
            newest_end: slot,
            sums: [0; SLOTS],
        }
    }

    fn advance(&mut self, now: Duration) {
        // Asked several times a message: no division in most of them.
        if now < self.newest_end {
            return;
        }
        let number = (now.as_millis() / self.slot.as_millis()) as u64;
        let passed = number.saturating_sub(self.newest).min(SLOTS as u64);
        for step in 1..=passed {
            let cleared = (number + 1 - step) % SLOTS as u64;
            self.sums[cleared as usize] = 0;
        }
        self.newest = self.newest.max(number);
        self.newest_end = self.slot * u32::try_from(self.newest + 1).unwrap_or(u32::MAX);
    }

    fn add(&mut self, now: Duration, amount: u64) {
        self.advance(now);
        let sum = &mut self.sums[(self.newest % SLOTS as u64) as usize];
        *sum = sum.saturating_add(amount);
    }

    /// Sum over the newest `slots` slots.
    fn sum(&mut self, now: Duration, slots: usize) -> u64 {
        self.advance(now);
        let newest = (0..slots.min(SLOTS) as u64).filter_map(|back| self.newest.checked_sub(back));
        newest
            .map(|slot| self.sums[(slot % SLOTS as u64) as usize])
            .sum()
    }
}

/// Sums over a minute, an hour and a day.
#[derive(Debug, Clone)]
pub struct Flow {
    minute: Ring<6>,
    hour: Ring<6>,
    day: Ring<24>,
}

/// What one span of a [`Flow`] saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub sum: u64,
    /// A second.
    pub rate: f64,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            minute: Ring::new(Duration::from_secs(10)),
            hour: Ring::new(Duration::from_secs(600)),
            day: Ring::new(Duration::from_secs(3600)),
        }
    }
}

impl Flow {
    fn add(&mut self, now: Duration, amount: u64) {
        self.minute.add(now, amount);
        self.hour.add(now, amount);
        self.day.add(now, amount);
    }

    pub fn minute(&mut self, now: Duration) -> Span {
        Span::over(self.minute.sum(now, 6), 60.0)
    }

    pub fn hour(&mut self, now: Duration) -> Span {
        Span::over(self.hour.sum(now, 6), 3600.0)
    }

    pub fn day(&mut self, now: Duration) -> Span {
        Span::over(self.day.sum(now, 24), 86_400.0)
    }
}

impl Span {
    fn over(sum: u64, seconds: f64) -> Self {
        Self {
            sum,
            rate: sum as f64 / seconds,
        }
    }
}

/// Messages and bytes one way.
#[derive(Debug, Clone, Default)]
pub struct Flows {
    pub messages: Flow,
    pub bytes: Flow,
    last: Duration,
}

/// What a group does with a topic.
#[derive(Debug, Clone, Default)]
pub struct GroupFlows {
    pub read: Flows,
    /// Reads that found something, and the milliseconds that they took.
    pub reads: Flow,
    pub read_ms: Flow,
    /// Messages that were sent back to be tried again.
    pub sent_back: Flow,
    /// By queue, where the group reads next.
    pulled: BTreeMap<i32, u64>,
    last: Duration,
}

/// One read by a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupRead {
    /// RocketMQ's number: local to the shard.
    pub queue: i32,
    /// Where it reads next.
    pub next: u64,
    pub messages: u64,
    pub bytes: u64,
    pub took: Duration,
}

impl GroupFlows {
    /// Where the group reads next in a queue, if it read there since the start.
    pub fn pulled(&self, queue: i32) -> Option<u64> {
        self.pulled.get(&queue).copied()
    }
}

impl Flows {
    fn add(&mut self, now: Duration, messages: u64, bytes: u64) {
        self.messages.add(now, messages);
        self.bytes.add(now, bytes);
        self.last = now;
    }
}

/// A total of the whole shard, with its rates over ten seconds, a minute and ten minutes, and its values at the last
/// two midnights (UTC).
#[derive(Debug)]
pub struct Total {
    recent: Ring<601>,
    now: u64,
    day: u64,
    this_morning: u64,
    yesterday_morning: u64,
}

impl Default for Total {
    fn default() -> Self {
        Self {
            recent: Ring::new(Duration::from_secs(1)),
            now: 0,
            day: 0,
            this_morning: 0,
            yesterday_morning: 0,
        }
    }
}

impl Total {
    fn add(&mut self, clock: Clock, amount: u64) {
        self.day_has_come(clock);
        self.recent.add(clock.monotonic, amount);
        self.now += amount;
    }

    fn day_has_come(&mut self, clock: Clock) {
        const DAY_MS: i64 = 86_400_000;
        let today = (clock.wall_ms / DAY_MS).max(0) as u64;
        if today > self.day {
            self.yesterday_morning = match today - self.day {
                1 => self.this_morning,
                _ => self.now,
            };
            self.this_morning = self.now;
            self.day = today;
        }
    }

    /// A second, over the last 10 seconds, minute and 10 minutes. The second under way does not count.
    pub fn rates(&mut self, clock: Clock) -> [f64; 3] {
        [10, 60, 600].map(|seconds| {
            let with_this_second = self.recent.sum(clock.monotonic, seconds + 1);
            let this_second = self.recent.sum(clock.monotonic, 1);
            (with_this_second - this_second) as f64 / seconds as f64
        })
    }

    /// At the last midnight but one, at the last midnight, and now.
    pub fn mornings(&mut self, clock: Clock) -> [u64; 3] {
        self.day_has_come(clock);
        [self.yesterday_morning, self.this_morning, self.now]
    }
}

/// The time that counting needs.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub monotonic: Duration,
    /// Since 1970.
    pub wall_ms: i64,
}

/// Everything counted.
#[derive(Debug, Default)]
pub struct Traffic {
    pub put: Total,
    pub got: Total,
    /// The same over a minute, an hour and a day.
    pub put_flow: Flow,
    pub got_flow: Flow,
    /// Reads that found messages, and those that did not.
    pub found: Total,
    pub missed: Total,
    /// The longest read of a group since the start.
    pub read_max: Duration,
    topics: BTreeMap<Box<str>, Flows>,
    /// By topic, then by group.
    groups: BTreeMap<Box<str>, BTreeMap<Box<str>, GroupFlows>>,
    group_count: usize,
}

/// A row that was used last at this time.
trait Used {
    fn last(&self) -> Duration;
}

impl Used for Flows {
    fn last(&self) -> Duration {
        self.last
    }
}

impl Used for GroupFlows {
    fn last(&self) -> Duration {
        self.last
    }
}

impl Traffic {
    /// Messages were stored.
    pub fn stored(&mut self, clock: Clock, topic: &str, messages: u64, bytes: u64) {
        self.put.add(clock, messages);
        self.put_flow.add(clock.monotonic, messages);
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= TABLE_MAX {
                forget_idle(&mut self.topics, clock.monotonic);
            }
            if self.topics.len() >= TABLE_MAX {
                return;
            }
            self.topics.insert(topic.into(), Flows::default());
        }
        if let Some(flows) = self.topics.get_mut(topic) {
            flows.add(clock.monotonic, messages, bytes);
        }
    }

    /// A read found messages, or none.
    pub fn read(&mut self, clock: Clock, messages: u64) {
        if messages == 0 {
            self.missed.add(clock, 1);
            return;
        }
        self.found.add(clock, 1);
        self.got.add(clock, messages);
        self.got_flow.add(clock.monotonic, messages);
    }

    /// What was read is a group's.
    pub fn read_by(&mut self, clock: Clock, topic: &str, group: &str, read: GroupRead) {
        self.read_max = self.read_max.max(read.took);
        let Some(flows) = self.of_group(clock, topic, group) else {
            return;
        };
        let (now, took_ms) = (clock.monotonic, read.took.as_millis() as u64);
        flows.pulled.insert(read.queue, read.next);
        flows.read.add(now, read.messages, read.bytes);
        flows.reads.add(now, 1);
        flows.read_ms.add(now, took_ms);
    }

    /// A member of the group sent a message back.
    pub fn sent_back(&mut self, clock: Clock, topic: &str, group: &str) {
        if let Some(flows) = self.of_group(clock, topic, group) {
            flows.sent_back.add(clock.monotonic, 1);
        }
    }

    /// The group's row, made if there is room.
    fn of_group(&mut self, clock: Clock, topic: &str, group: &str) -> Option<&mut GroupFlows> {
        if self.group(topic, group).is_none() && !self.make_group(clock, topic, group) {
            return None;
        }
        let flows = self.group(topic, group)?;
        flows.last = clock.monotonic;
        Some(flows)
    }

    fn make_group(&mut self, clock: Clock, topic: &str, group: &str) -> bool {
        if self.group_count >= TABLE_MAX {
            for groups in self.groups.values_mut() {
                forget_idle(groups, clock.monotonic);
            }
            self.groups.retain(|_, groups| !groups.is_empty());
            self.group_count = self.groups.values().map(BTreeMap::len).sum();
        }
        if self.group_count >= TABLE_MAX {
            return false;
        }
        let groups = self.groups.entry(topic.into()).or_default();
        groups.insert(group.into(), GroupFlows::default());
        self.group_count += 1;
        true
    }

    /// What was stored of a topic.
    pub fn topic(&mut self, topic: &str) -> Option<&mut Flows> {
        self.topics.get_mut(topic)
    }

    /// What a group did with a topic.
    pub fn group(&mut self, topic: &str, group: &str) -> Option<&mut GroupFlows> {
        self.groups.get_mut(topic)?.get_mut(group)
    }
}

/// Nothing of the last day is left of these.
fn forget_idle<T: Used>(table: &mut BTreeMap<Box<str>, T>, now: Duration) {
    const DAY: Duration = Duration::from_secs(86_400);
    table.retain(|_, row| now.saturating_sub(row.last()) < DAY);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(seconds: u64) -> Clock {
        Clock {
            monotonic: Duration::from_secs(seconds),
            wall_ms: seconds as i64 * 1000,
        }
    }

    const READ: GroupRead = GroupRead {
        queue: 3,
        next: 8,
        messages: 2,
        bytes: 20,
        took: Duration::from_millis(70),
    };

    proptest! {
        /// A ring's sum is that of the amounts whose slots are among the newest.
        #[test]
        fn a_ring_sums_what_is_recent(
            steps in prop::collection::vec((0u64..40, 0u64..100), 0..60),
            slots in 1usize..=6,
        ) {
            let mut ring = Ring::<6>::new(Duration::from_secs(10));
            let mut all = Vec::new();
            let mut now = 0;
            for (step, amount) in steps {
                now += step;
                ring.add(Duration::from_secs(now), amount);
                all.push((now / 10, amount));
            }
            now += 7;
            let newest = now / 10;
            let recent = all.iter().filter(|(slot, _)| newest - slot < slots as u64);
            let expected: u64 = recent.map(|(_, amount)| amount).sum();
            prop_assert_eq!(ring.sum(Duration::from_secs(now), slots), expected);
        }
    }

    #[test]
    fn mornings_move_at_midnight() {
        const DAY: u64 = 86_400;
        let mut total = Total::default();
        total.add(clock(10 * DAY + 5), 3);
        assert_eq!(total.mornings(clock(10 * DAY + 6)), [0, 0, 3]);
        total.add(clock(11 * DAY), 4);
        assert_eq!(total.mornings(clock(11 * DAY + 1)), [0, 3, 7]);
        assert_eq!(total.mornings(clock(12 * DAY)), [3, 7, 7]);
        assert_eq!(total.mornings(clock(15 * DAY)), [7, 7, 7]);
    }

    #[test]
    fn rates_leave_out_the_second_under_way() {
        let mut total = Total::default();
        total.add(clock(100), 50);
        assert_eq!(total.rates(clock(100)), [0.0; 3]);
        let [ten, minute, _] = total.rates(clock(101));
        assert_eq!((ten, minute), (5.0, 50.0 / 60.0));
        assert_eq!(total.rates(clock(111))[0], 0.0);
    }

    #[test]
    fn the_tables_are_bounded_and_forget_what_is_idle() {
        let mut traffic = Traffic::default();
        for number in 0..TABLE_MAX + 10 {
            traffic.stored(clock(5), &format!("t{number}"), 1, 1);
            traffic.read_by(clock(5), "t", &format!("g{number}"), READ);
        }
        assert_eq!(traffic.topics.len(), TABLE_MAX);
        assert_eq!(traffic.group_count, TABLE_MAX);
        assert!(traffic.topic("t5000").is_none());
        traffic.stored(clock(90_000), "new", 2, 20);
        traffic.read_by(clock(90_000), "t", "new", READ);
        let minute = traffic
            .topic("new")
            .map(|flows| flows.messages.minute(Duration::from_secs(90_000)).sum);
        assert_eq!(minute, Some(2));
        let group = traffic.group("t", "new").expect("room was made");
        let now = Duration::from_secs(90_000);
        assert_eq!((group.pulled(3), group.pulled(4)), (Some(8), None));
        assert_eq!(
            (group.reads.minute(now).sum, group.read_ms.day(now).sum),
            (1, 70)
        );
        assert_eq!(traffic.read_max, READ.took);
    }
}
