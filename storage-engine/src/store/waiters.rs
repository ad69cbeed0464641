//! Who waits for which position to be durable. Woken in log order.

use crate::position::Position;
use std::collections::BTreeMap;
use std::task::Waker;

/// One waiter's ticket.
pub(super) type Ticket = (Position, u64);

/// All waiters of a store.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: BTreeMap<Ticket, Waker>,
    next: u64,
}

impl Waiters {
    /// A new ticket for `end`.
    pub(super) fn ticket(&mut self, end: Position) -> Ticket {
        self.next += 1;
        (end, self.next)
    }

    /// Waits, or goes on waiting with another waker.
    pub(super) fn wait(&mut self, ticket: Ticket, waker: &Waker) {
        match self.waiting.get_mut(&ticket) {
            Some(known) => known.clone_from(waker),
            None => {
                self.waiting.insert(ticket, waker.clone());
            }
        }
    }

    /// Gives up.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Those who waited for `durable` or less, in log order.
    pub(super) fn released(&mut self, durable: Position) -> Vec<Waker> {
        let later = self.waiting.split_off(&(durable, u64::MAX));
        let released = std::mem::replace(&mut self.waiting, later);
        released.into_values().collect()
    }

    /// Everybody.
    pub(super) fn all(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_below_the_frontier_are_released() {
        let mut waiters = Waiters::default();
        let tickets: Vec<_> = [8, 4, 8, 12]
            .map(|end| waiters.ticket(Position(end)))
            .into();
        tickets
            .iter()
            .for_each(|ticket| waiters.wait(*ticket, Waker::noop()));
        waiters.leave(tickets[2]);
        assert_eq!(waiters.released(Position(3)).len(), 0);
        assert_eq!(waiters.released(Position(8)).len(), 2);
        assert_eq!(waiters.all().len(), 1);
    }
}
