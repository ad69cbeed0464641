//! Reads under way: whoever wants the same bytes meanwhile gets those of the one read.

use super::plan::Span;
use crate::disk::{Disk, DiskFile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// Reads under way, by what they read.
pub(super) struct Flights<D: Disk> {
    under_way: RefCell<BTreeMap<Span, Rc<Flight<D>>>>,
}

struct Flight<D: Disk> {
    over: Cell<bool>,
    bytes: RefCell<Option<ReadOf<D>>>,
    waiting: RefCell<Vec<Waker>>,
}

impl<D: Disk> Default for Flights<D> {
    fn default() -> Self {
        Self {
            under_way: RefCell::default(),
        }
    }
}

impl<D: Disk> Flights<D> {
    pub(super) fn count(&self) -> usize {
        self.under_way.borrow().len()
    }

    pub(super) fn contains(&self, span: &Span) -> bool {
        self.under_way.borrow().contains_key(span)
    }

    /// The bytes of `span`: read by `read`, or by somebody else who is at it. Who waited for a read that failed or was
    /// given up reads anew, so that everybody has an error of his own.
    pub(super) async fn join<E>(
        &self,
        span: Span,
        read: impl AsyncFnOnce() -> Result<ReadOf<D>, E>,
    ) -> Result<ReadOf<D>, E> {
        loop {
            let other = self.under_way.borrow().get(&span).cloned();
            let Some(other) = other else {
                break;
            };
            if let Some(bytes) = other.landed().await {
                return Ok(bytes);
            }
        }
        let flight = Rc::new(Flight {
            over: Cell::new(false),
            bytes: RefCell::new(None),
            waiting: RefCell::default(),
        });
        self.under_way.borrow_mut().insert(span, Rc::clone(&flight));
        let _landing = Landing {
            flights: self,
            span,
            flight: Rc::clone(&flight),
        };
        let bytes = read().await?;
        *flight.bytes.borrow_mut() = Some(bytes.clone());
        Ok(bytes)
    }
}

impl<D: Disk> Flight<D> {
    async fn landed(&self) -> Option<ReadOf<D>> {
        poll_fn(|context| {
            if self.over.get() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
        self.bytes.borrow().clone()
    }
}

/// Ends a flight, also when its future is dropped on the way.
struct Landing<'a, D: Disk> {
    flights: &'a Flights<D>,
    span: Span,
    flight: Rc<Flight<D>>,
}

impl<D: Disk> Drop for Landing<'_, D> {
    fn drop(&mut self) {
        self.flights.under_way.borrow_mut().remove(&self.span);
        self.flight.over.set(true);
        for waker in self.flight.waiting.take() {
            waker.wake();
        }
    }
}
