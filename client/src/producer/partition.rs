//! Which queue a message goes to. Pure.

use crate::route::Route;
use ringmq_wire::batch::key_hash;

/// Chooses queues of one topic.
#[derive(Debug)]
pub(super) struct Partition {
    queues: u32,
    /// Queues whose shard is up; never empty: when none is up, all are tried.
    live: Vec<u32>,
    next: usize,
}

impl Partition {
    pub(super) fn new(route: &Route) -> Self {
        let mut partition = Self {
            queues: 0,
            live: Vec::new(),
            next: rand::random_range(0..65_536),
        };
        partition.update(route);
        partition
    }

    pub(super) fn update(&mut self, route: &Route) {
        self.queues = route.queues;
        self.live = (0..route.queues)
            .filter(|queue| route.is_live(*queue))
            .collect();
        if self.live.is_empty() {
            self.live = (0..route.queues).collect();
        }
    }

    /// The queue asked for; or that of the key, whether its shard is up or not, because the order of a key matters more
    /// than speed; or the next one in turn whose shard is up.
    pub(super) fn choose(&mut self, wanted: Option<u32>, key: Option<&str>) -> Result<u32, String> {
        if let Some(queue) = wanted {
            return if queue < self.queues {
                Ok(queue)
            } else {
                Err(format!(
                    "queue {queue} is not in the topic, which has {}",
                    self.queues
                ))
            };
        }
        if let Some(key) = key {
            return Ok(key_hash(key) % self.queues);
        }
        self.next = (self.next + 1) % self.live.len();
        Ok(self.live[self.next])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn route(queues: u32, live: &[&str]) -> Route {
        Route {
            topic: Arc::from("t"),
            incarnation: (0, 1),
            queues,
            placement: vec![Arc::from("s00-a"), Arc::from("s00-b")],
            live: live.iter().map(|shard| Arc::from(*shard)).collect(),
            message_bytes_max: 0,
            writable: true,
            version: 1,
        }
    }

    #[test]
    fn keyless_messages_go_round_the_live_queues_evenly() {
        let mut partition = Partition::new(&route(5, &["s00-a"]));
        let mut counts = [0; 5];
        for _ in 0..300 {
            counts[partition.choose(None, None).expect("there are queues") as usize] += 1;
        }
        assert_eq!(counts, [100, 0, 100, 0, 100]);
        partition.update(&route(5, &[]));
        let all: std::collections::BTreeSet<_> = (0..5)
            .map(|_| partition.choose(None, None).expect("there are queues"))
            .collect();
        assert_eq!(all.len(), 5, "with no shard up all queues are tried");
    }

    #[test]
    fn a_key_keeps_its_queue_when_shards_come_and_go() {
        let mut partition = Partition::new(&route(8, &["s00-a", "s00-b"]));
        let before: Vec<_> = (0..100)
            .map(|n| partition.choose(None, Some(&n.to_string())))
            .collect();
        partition.update(&route(8, &["s00-b"]));
        let after: Vec<_> = (0..100)
            .map(|n| partition.choose(None, Some(&n.to_string())))
            .collect();
        assert_eq!(before, after);
        assert_eq!(partition.choose(Some(7), Some("x")), Ok(7));
        assert!(partition.choose(Some(8), None).is_err());
    }
}
