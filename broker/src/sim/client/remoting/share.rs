//! Which queues are a member's: the averaging rule of RocketMQ's clients, by the sorted ids of the group.

use std::ops::Range;

/// The share of member number `index` of `members`: neighbours, as many as the others have or one more.
pub fn of(queues: u32, members: usize, index: usize) -> Range<u32> {
    let (members, index) = (members as u32, index as u32);
    let (each, left) = (queues / members, queues % members);
    let first = index * each + index.min(left);
    first..first + each + u32::from(index < left)
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_cover_every_queue_once() {
        for (queues, members) in (0..9).flat_map(|q| (1..5).map(move |m| (q, m))) {
            let shares = (0..members).flat_map(|index| super::of(queues, members, index));
            assert!(shares.eq(0..queues), "{queues} for {members}");
        }
    }
}
