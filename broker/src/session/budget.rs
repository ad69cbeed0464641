//! Bounded bytes: a connection's share and the shard's, with waiting in order of arrival.
//!
//! A [`Budget`] of a connection names the shard's as its parent; a [`Permit`] counts in both until it is
//! dropped. Whoever does not fit waits, and nobody overtakes: a large frame is not starved by small ones. One
//! permit larger than the whole budget is granted when nothing else is out, so that nothing waits for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// See the module. A clone is a pointer.
#[derive(Debug, Clone)]
pub struct Budget {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    max: usize,
    used: Cell<usize>,
    next_ticket: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Option<Waker>)>>,
    parent: Option<Budget>,
}

/// Counts until it is dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Budget,
    amount: usize,
}

/// A place in the queue of one budget; leaves it when dropped.
struct Ticket<'a> {
    inner: &'a Inner,
    number: u64,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Self::build(max, None)
    }

    /// A part of this budget with a bound of its own.
    pub fn child(&self, max: usize) -> Self {
        Self::build(max, Some(self.clone()))
    }

    fn build(max: usize, parent: Option<Self>) -> Self {
        Self {
            inner: Rc::new(Inner {
                max,
                used: Cell::new(0),
                next_ticket: Cell::new(0),
                waiting: RefCell::default(),
                parent,
            }),
        }
    }

    pub fn used(&self) -> usize {
        self.inner.used.get()
    }

    pub fn max(&self) -> usize {
        self.inner.max
    }

    /// Waits until `amount` fits here and in every parent.
    pub async fn acquire(&self, amount: usize) -> Permit {
        let mut level = Some(self);
        let mut taken = Taken {
            from: self,
            until: None,
            amount,
        };
        while let Some(budget) = level {
            budget.inner.take(amount).await;
            taken.until = Some(budget);
            level = budget.inner.parent.as_ref();
        }
        taken.into_permit()
    }

    /// Waits until this budget has room, whatever its parents have.
    pub async fn room(&self) {
        self.inner.take(1).await;
        self.inner.give(1);
    }

    /// Whether [`Self::room`] would not wait.
    pub fn has_room(&self) -> bool {
        self.inner.waiting.borrow().is_empty() && self.inner.fits(1)
    }

    /// Takes `amount` now, or nothing. Fails also while others wait.
    pub fn try_acquire(&self, amount: usize) -> Option<Permit> {
        let mut level = Some(self);
        while let Some(budget) = level {
            let inner = &budget.inner;
            if !inner.waiting.borrow().is_empty() || !inner.fits(amount) {
                return None;
            }
            level = inner.parent.as_ref();
        }
        Some(self.force(amount))
    }

    /// Takes `amount` whatever the bound: for what is there already and cannot wait.
    pub fn force(&self, amount: usize) -> Permit {
        self.add(amount);
        Permit {
            budget: self.clone(),
            amount,
        }
    }

    fn add(&self, amount: usize) {
        let mut level = Some(self);
        while let Some(budget) = level {
            budget.inner.used.set(budget.inner.used.get() + amount);
            level = budget.inner.parent.as_ref();
        }
    }

    fn release(&self, amount: usize) {
        let mut level = Some(self);
        while let Some(budget) = level {
            budget.inner.give(amount);
            level = budget.inner.parent.as_ref();
        }
    }
}

impl Inner {
    fn fits(&self, amount: usize) -> bool {
        let used = self.used.get();
        used == 0 || used.saturating_add(amount) <= self.max
    }

    fn give(&self, amount: usize) {
        self.used.set(self.used.get() - amount);
        self.wake_first();
    }

    fn wake_first(&self) {
        let waker = self
            .waiting
            .borrow_mut()
            .front_mut()
            .and_then(|(_, waker)| waker.take());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn take(&self, amount: usize) {
        if self.waiting.borrow().is_empty() && self.fits(amount) {
            self.used.set(self.used.get() + amount);
            return;
        }
        let number = self.next_ticket.get();
        self.next_ticket.set(number + 1);
        self.waiting.borrow_mut().push_back((number, None));
        let ticket = Ticket {
            inner: self,
            number,
        };
        poll_fn(|cx| ticket.poll(cx, amount)).await;
    }
}

impl Ticket<'_> {
    fn poll(&self, cx: &mut Context<'_>, amount: usize) -> Poll<()> {
        let mut waiting = self.inner.waiting.borrow_mut();
        let first = waiting
            .front()
            .is_some_and(|(number, _)| *number == self.number);
        if first && self.inner.fits(amount) {
            self.inner.used.set(self.inner.used.get() + amount);
            return Poll::Ready(());
        }
        if let Some((_, waker)) = waiting
            .iter_mut()
            .find(|(number, _)| *number == self.number)
        {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.inner
            .waiting
            .borrow_mut()
            .retain(|(number, _)| *number != self.number);
        self.inner.wake_first();
    }
}

/// What an unfinished [`Budget::acquire`] has taken so far; gives it back when dropped.
struct Taken<'a> {
    from: &'a Budget,
    until: Option<&'a Budget>,
    amount: usize,
}

impl Taken<'_> {
    fn into_permit(mut self) -> Permit {
        self.until = None;
        Permit {
            budget: self.from.clone(),
            amount: self.amount,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let Some(until) = self.until else { return };
        let mut level = Some(self.from);
        while let Some(budget) = level {
            budget.inner.give(self.amount);
            if Rc::ptr_eq(&budget.inner, &until.inner) {
                return;
            }
            level = budget.inner.parent.as_ref();
        }
    }
}

impl Permit {
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Counts `amount` from now on; more than before is taken whatever the bound.
    pub fn resize(&mut self, amount: usize) {
        if amount > self.amount {
            self.budget.add(amount - self.amount);
        } else {
            self.budget.release(self.amount - amount);
        }
        self.amount = amount;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn waits_in_order_and_counts_in_the_parent() {
        let shard = Budget::new(100);
        let (a, b) = (shard.child(80), shard.child(80));
        block_on(async {
            let first = a.acquire(80).await;
            assert_eq!(shard.used(), 80);
            let mut large = pin!(b.acquire(60));
            assert!(poll_once(large.as_mut()).await.is_none());
            // Fits, but may not overtake.
            let c = shard.child(10);
            let mut small = pin!(c.acquire(10));
            assert!(poll_once(small.as_mut()).await.is_none());
            assert!(shard.try_acquire(1).is_none());
            drop(first);
            assert!(poll_once(small.as_mut()).await.is_none());
            let large = poll_once(large.as_mut()).await.expect("room for it");
            let small = poll_once(small.as_mut()).await.expect("its turn");
            assert_eq!((shard.used(), b.used(), c.used()), (70, 60, 10));
            drop((large, small));
        });
        assert_eq!((shard.used(), a.used(), b.used()), (0, 0, 0));
    }

    #[test]
    fn an_abandoned_wait_gives_back_what_it_took() {
        let shard = Budget::new(10);
        let child = shard.child(10);
        block_on(async {
            let held = shard.acquire(10).await;
            {
                let mut waiting = pin!(child.acquire(5));
                assert!(poll_once(waiting.as_mut()).await.is_none());
                assert_eq!(child.used(), 5);
            }
            assert_eq!(child.used(), 0);
            drop(held);
            assert!(child.try_acquire(10).is_some());
        });
        assert_eq!(shard.used(), 0);
    }

    #[test]
    fn larger_than_everything_goes_alone() {
        let budget = Budget::new(10);
        block_on(async {
            let mut one = budget.acquire(50).await;
            assert!(budget.try_acquire(1).is_none());
            one.resize(4);
            assert!(budget.try_acquire(6).is_some());
            assert!(budget.try_acquire(7).is_none());
        });
    }
}
