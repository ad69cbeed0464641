//! What is known of a group of RocketMQ consumers in one queue: they commit without leases, so two that both believe to
//! have the queue may overtake each other. What is committed is what one of the commits under way said, or the last one
//! before them; it is never anything else, and never older.

use std::collections::BTreeMap;

/// Names a commit or a question under way.
pub type Ticket = u64;

#[derive(Debug)]
struct Flight {
    offset: u64,
    /// The lowest offset of it and of all that were under way at the same time.
    lowest: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct SharedOffset {
    /// At least this is committed, unless something is under way.
    floor: u64,
    commits: BTreeMap<Ticket, Flight>,
    /// Questions under way, and the lowest answer that is right.
    questions: BTreeMap<Ticket, u64>,
    /// The lowest commit that got no answer: it may happen late, behind others.
    stray: Option<u64>,
    next_ticket: Ticket,
}

impl SharedOffset {
    /// A commit is about to be asked for.
    pub fn commit_asked(&mut self, offset: u64) -> Ticket {
        for flight in self.commits.values_mut() {
            flight.lowest = flight.lowest.min(offset);
        }
        for lowest in self.questions.values_mut() {
            *lowest = offset.min(*lowest);
        }
        let lowest = self.lowest_under_way().min(offset);
        let ticket = self.ticket();
        self.commits.insert(ticket, Flight { offset, lowest });
        ticket
    }

    /// It is written.
    pub fn committed(&mut self, ticket: Ticket) {
        let flight = self.landed(ticket);
        self.floor = flight.lowest.min(self.stray.unwrap_or(u64::MAX));
    }

    /// It was taken, but need not be written yet: a crash may lose it.
    pub fn taken(&mut self, ticket: Ticket) {
        let flight = self.landed(ticket);
        self.floor = self.floor.min(flight.lowest);
    }

    /// Nothing was answered, or nothing that says what became of it.
    pub fn unanswered(&mut self, ticket: Ticket) {
        let flight = self.landed(ticket);
        self.floor = self.floor.min(flight.lowest);
        let stray = self.stray.unwrap_or(u64::MAX);
        self.stray = Some(stray.min(flight.offset));
    }

    /// Somebody is about to ask what is committed.
    pub fn asked(&mut self) -> Ticket {
        let lowest = self.lowest_under_way().min(self.floor);
        let ticket = self.ticket();
        self.questions.insert(ticket, lowest);
        ticket
    }

    /// The answer, if there was one: at least the offset that is returned must be in it.
    pub fn answered(&mut self, ticket: Ticket) -> u64 {
        let lowest = self.questions.remove(&ticket);
        lowest.expect("it was asked")
    }

    fn lowest_under_way(&self) -> u64 {
        let offsets = self.commits.values().map(|flight| flight.offset);
        offsets.min().unwrap_or(u64::MAX)
    }

    fn landed(&mut self, ticket: Ticket) -> Flight {
        let flight = self.commits.remove(&ticket);
        flight.expect("it was asked for")
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        self.next_ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(offset: &mut SharedOffset) -> u64 {
        let question = offset.asked();
        offset.answered(question)
    }

    #[test]
    fn one_after_the_other_the_last_one_counts() {
        let mut offset = SharedOffset::default();
        for at in [5, 9, 7] {
            let commit = offset.commit_asked(at);
            offset.committed(commit);
            assert_eq!(floor(&mut offset), at);
        }
        let lazy = offset.commit_asked(20);
        offset.taken(lazy);
        assert_eq!(floor(&mut offset), 7, "a crash may lose it");
    }

    #[test]
    fn of_two_at_a_time_either_may_be_the_last() {
        let mut offset = SharedOffset::default();
        let (low, high) = (offset.commit_asked(3), offset.commit_asked(8));
        offset.committed(low);
        let question = offset.asked();
        offset.committed(high);
        assert_eq!(floor(&mut offset), 3);
        let later = offset.commit_asked(9);
        offset.committed(later);
        assert_eq!(floor(&mut offset), 9);
        assert_eq!(offset.answered(question), 3, "it was asked before");
    }

    #[test]
    fn what_got_no_answer_may_come_at_any_time() {
        let mut offset = SharedOffset::default();
        let lost = offset.commit_asked(4);
        offset.unanswered(lost);
        let commit = offset.commit_asked(10);
        offset.committed(commit);
        assert_eq!(floor(&mut offset), 4);
    }
}
