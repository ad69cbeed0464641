//! A deterministic executor: one thread, virtual time, every choice drawn from a seed.
//!
//! Invariants:
//! - Nothing depends on wall time, addresses, hash order or threads: the same seed and the same tasks give
//!   the same order of polls, which the trace hash proves.
//! - Time moves only when no task is ready, and then straight to the next timer.
//! - Tasks belong to machines ([`SimRuntime::machine`]): one of them can lose its power while the others go on.
//! - A run ends: finished, halted (a simulated crash), stuck (nothing ready, no timer) or over its poll
//!   budget (a livelock).

mod executor;
mod random;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::Runtime;
use executor::{Core, MachineId, WHOLE_RUN};
pub use random::{Fnv, SeededRandom};

/// Why a run ended before its future did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SimStop {
    /// Someone called [`SimRuntime::halt`]: the simulated machine lost power.
    #[error("halted")]
    Halted,
    /// Nothing is ready and no timer is set: the future can never finish.
    #[error("stuck: no task is ready and no timer is set")]
    Stuck,
    /// More polls than the budget allows: a livelock.
    #[error("over the budget of {0} polls: a livelock?")]
    OverBudget(u64),
}

/// Polls allowed in one call of [`SimExecutor::run`] unless told otherwise.
pub const POLL_BUDGET: u64 = 20_000_000;

/// Owns the tasks of one simulated machine.
pub struct SimExecutor {
    core: Rc<Core>,
    poll_budget: Cell<u64>,
}

/// A handle to a [`SimExecutor`]; outlives it harmlessly (spawned tasks are then dropped at once).
#[derive(Clone)]
pub struct SimRuntime {
    core: Weak<Core>,
    clock: Rc<Clock>,
    machine: MachineId,
}

/// Time and randomness, shared by handles so that they need no live executor.
struct Clock {
    now: Cell<Duration>,
    wall_base_ms: Cell<i64>,
    random: RefCell<SeededRandom>,
    seed: u64,
}

/// Wall clock at virtual time zero: 2026-01-01.
const WALL_BASE_MS: i64 = 1_767_225_600_000;

impl SimExecutor {
    /// An executor without tasks, at virtual time zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let clock = Rc::new(Clock {
            now: Cell::new(Duration::ZERO),
            wall_base_ms: Cell::new(WALL_BASE_MS),
            random: RefCell::new(SeededRandom::new(seed, "runtime")),
            seed,
        });
        Self {
            core: Rc::new(Core::new(clock, SeededRandom::new(seed, "schedule"))),
            poll_budget: Cell::new(POLL_BUDGET),
        }
    }

    /// A handle for tasks.
    #[must_use]
    pub fn runtime(&self) -> SimRuntime {
        SimRuntime {
            core: Rc::downgrade(&self.core),
            clock: Rc::clone(&self.core.clock),
            machine: WHOLE_RUN,
        }
    }

    /// Limits the polls of each later `run`.
    pub fn set_poll_budget(&self, polls: u64) {
        self.poll_budget.set(polls);
    }

    /// Runs all tasks until `future` is done. Background tasks stay and go on in the next call.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Result<T, SimStop> {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        let waiting = Box::pin(async move {
            let value = future.await;
            *slot.borrow_mut() = Some(value);
        });
        let task = self.core.spawn(WHOLE_RUN, waiting);
        let outcome = self
            .core
            .run_until(self.poll_budget.get(), || result.borrow().is_some());
        if outcome.is_err() {
            self.core.abort(task);
        }
        outcome?;
        let value = result.borrow_mut().take();
        Ok(value.expect("the run ended because the result is there"))
    }

    /// Lets virtual time pass, running everything that becomes ready.
    pub fn advance(&self, duration: Duration) -> Result<(), SimStop> {
        let runtime = self.runtime();
        self.run(async move { runtime.sleep(duration).await })
    }

    /// Drops every task, as a crash does, and clears a halt.
    pub fn abort_all(&self) {
        self.core.abort_all();
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        self.core.live_tasks()
    }

    /// Hash over everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.core.trace.borrow().finish()
    }
}

impl Drop for SimExecutor {
    fn drop(&mut self) {
        // Tasks may hold what holds the executor's clock; ending them first breaks any such circle.
        self.core.abort_all();
    }
}

impl SimRuntime {
    /// A new machine on the same executor: what it spawns can be halted and killed apart from everything else.
    #[must_use]
    pub fn machine(&self) -> Self {
        let machine = self.core.upgrade().map_or(WHOLE_RUN, |c| c.new_machine());
        Self {
            machine,
            ..self.clone()
        }
    }

    /// The machine lost power: nothing of it is polled any more. Unless it is one of several, the run stops at once.
    pub fn halt(&self) {
        if let Some(core) = self.core.upgrade() {
            core.halt(self.machine);
        }
    }

    /// Whether this machine, being one of several, was halted or killed.
    #[must_use]
    pub fn is_dark(&self) -> bool {
        let core = self.core.upgrade();
        core.is_none_or(|core| core.is_dark(self.machine))
    }

    /// Drops every task of this machine, which is one of several, for good.
    pub fn kill(&self) {
        assert_ne!(self.machine, WHOLE_RUN, "a run ends with its executor");
        if let Some(core) = self.core.upgrade() {
            core.kill(self.machine);
        }
    }

    /// Adds an event to the trace hash.
    pub fn trace(&self, event: u64) {
        if let Some(core) = self.core.upgrade() {
            core.trace.borrow_mut().write_u64(event);
        }
    }

    /// Makes the wall clock jump.
    pub fn shift_wall_clock_ms(&self, by_ms: i64) {
        let base = self.clock.wall_base_ms.get();
        self.clock.wall_base_ms.set(base + by_ms);
    }

    /// The seed of the executor, for deriving further streams.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.clock.seed
    }
}

impl Runtime for SimRuntime {
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(core) = self.core.upgrade() {
            core.spawn(self.machine, Box::pin(task));
        }
    }

    fn now(&self) -> Duration {
        self.clock.now.get()
    }

    fn wall_ms(&self) -> i64 {
        let passed_ms = i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX);
        self.clock.wall_base_ms.get().saturating_add(passed_ms)
    }

    async fn sleep(&self, duration: Duration) {
        Sleep {
            runtime: self.clone(),
            deadline: self.now().saturating_add(duration),
            timer: None,
        }
        .await;
    }

    async fn yield_now(&self) {
        futures_lite::future::yield_now().await;
    }

    fn random_u64(&self) -> u64 {
        self.clock.random.borrow_mut().next_u64()
    }
}

struct Sleep {
    runtime: SimRuntime,
    deadline: Duration,
    timer: Option<executor::TimerId>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(core) = self.runtime.core.upgrade() else {
            return Poll::Pending;
        };
        if let Some(timer) = self.timer.take() {
            core.cancel_timer(&timer);
        }
        if core.clock.now.get() >= self.deadline {
            return Poll::Ready(());
        }
        self.timer = Some(core.set_timer(self.deadline, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(timer), Some(core)) = (self.timer.take(), self.runtime.core.upgrade()) {
            core.cancel_timer(&timer);
        }
    }
}

#[cfg(test)]
mod tests;
