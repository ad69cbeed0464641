//! How queues are dealt to members. Pure: every member computes the same from the same list.

use super::Assignment;

/// The queues of `topic` (numbered 0 to `queues`) that `member` reads. `members` is sorted and holds each name once; a
/// member that is not among them reads nothing.
pub(super) fn queues_of(
    strategy: Assignment,
    topic: &str,
    queues: u32,
    members: &[&str],
    member: &str,
) -> Vec<u32> {
    let Ok(index) = members.binary_search(&member) else {
        return Vec::new();
    };
    let (count, index) = (members.len() as u64, index as u64);
    match strategy {
        Assignment::Averagely => {
            // The first `queues % count` members read one more.
            let boundary = |index: u64| {
                (u64::from(queues) / count * index + index.min(u64::from(queues) % count)) as u32
            };
            (boundary(index)..boundary(index + 1)).collect()
        }
        Assignment::Circle => (0..queues)
            .filter(|q| u64::from(*q) % count == index)
            .collect(),
        Assignment::ConsistentHash => (0..queues)
            .filter(|q| heaviest(topic, *q, members) == Some(member))
            .collect(),
    }
}

/// Rendezvous hashing: each queue goes to the member with the highest weight, so a member that comes or goes moves only
/// its own queues. Members of other versions must agree, so the weights never change.
fn heaviest<'a>(topic: &str, queue: u32, members: &[&'a str]) -> Option<&'a str> {
    let weight = |member: &str| {
        let seed = fnv(
            fnv(0xcbf2_9ce4_8422_2325, topic.as_bytes()),
            &queue.to_le_bytes(),
        );
        mix(fnv(seed, member.as_bytes()))
    };
    members.iter().copied().max_by_key(|member| weight(member))
}

/// FNV-1a.
fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finisher of SplitMix64: FNV alone leaves the high bits of similar names alike.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    const STRATEGIES: [Assignment; 3] = [
        Assignment::Averagely,
        Assignment::Circle,
        Assignment::ConsistentHash,
    ];

    fn names(members: &BTreeSet<String>) -> Vec<&str> {
        members.iter().map(String::as_str).collect()
    }

    fn owners(strategy: Assignment, queues: u32, members: &[&str]) -> BTreeMap<u32, String> {
        let mut owners = BTreeMap::new();
        for member in members {
            for queue in queues_of(strategy, "t", queues, members, member) {
                assert_eq!(
                    owners.insert(queue, (*member).to_owned()),
                    None,
                    "queue {queue} twice"
                );
            }
        }
        owners
    }

    proptest! {
        #[test]
        fn every_queue_has_one_owner(
            queues in 1u32..200, members in prop::collection::btree_set("[a-z]{1,8}", 1..20)
        ) {
            for strategy in STRATEGIES {
                let owners = owners(strategy, queues, &names(&members));
                prop_assert_eq!(owners.len(), queues as usize);
                prop_assert_eq!(queues_of(strategy, "t", queues, &names(&members), "~"), Vec::<u32>::new());
            }
        }

        #[test]
        fn averagely_and_circle_differ_by_one_at_most(
            queues in 1u32..200, members in prop::collection::btree_set("[a-z]{1,8}", 1..20)
        ) {
            for strategy in [Assignment::Averagely, Assignment::Circle] {
                let members = names(&members);
                let counts: Vec<_> = members
                    .iter()
                    .map(|m| queues_of(strategy, "t", queues, &members, m).len())
                    .collect();
                let (least, most) = (counts.iter().min(), counts.iter().max());
                prop_assert!(most.expect("not empty") - least.expect("not empty") <= 1);
            }
        }

        #[test]
        fn a_member_that_leaves_moves_only_its_own_queues_by_consistent_hash(
            queues in 1u32..200, members in prop::collection::btree_set("[a-z]{1,8}", 2..20)
        ) {
            let before = owners(Assignment::ConsistentHash, queues, &names(&members));
            let gone = members.first().expect("at least two").clone();
            let mut rest = members;
            rest.remove(&gone);
            let after = owners(Assignment::ConsistentHash, queues, &names(&rest));
            for (queue, owner) in before {
                prop_assert!(owner == gone || after[&queue] == owner);
            }
        }
    }

    #[test]
    fn consistent_hash_is_not_far_from_even() {
        let members: Vec<String> = (0..8).map(|n| format!("host@{n}")).collect();
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        for member in &members {
            let count = queues_of(Assignment::ConsistentHash, "t", 800, &members, member).len();
            assert!((60..=140).contains(&count), "{member} has {count} of 800");
        }
    }
}
