//! The tasks, the ready set and the timers of a simulated machine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Clock, Fnv, SeededRandom, SimStop};

pub(super) type TaskId = u64;
pub(super) type TimerId = (Duration, u64);
type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct Core {
    pub(super) clock: Rc<Clock>,
    pub(super) halted: Cell<bool>,
    pub(super) trace: RefCell<Fnv>,
    /// `None` while the task is being polled.
    tasks: RefCell<BTreeMap<TaskId, Option<Task>>>,
    next_task: Cell<TaskId>,
    ready: Arc<ReadySet>,
    schedule: RefCell<SeededRandom>,
    timers: RefCell<BTreeMap<TimerId, Waker>>,
    next_timer: Cell<u64>,
}

/// Tasks that were woken, in order of waking. A mutex only because wakers must be `Send`.
#[derive(Default)]
struct ReadySet {
    woken: Mutex<Vec<TaskId>>,
}

impl ReadySet {
    fn push(&self, task: TaskId) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !woken.contains(&task) {
            woken.push(task);
        }
    }

    fn take(&self, pick: impl FnOnce(usize) -> usize) -> Option<TaskId> {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if woken.is_empty() {
            return None;
        }
        let at = pick(woken.len());
        Some(woken.remove(at))
    }

    fn clear(&self) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

struct TaskWaker {
    task: TaskId,
    ready: Arc<ReadySet>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.push(self.task);
    }
}

impl Core {
    pub(super) fn new(clock: Rc<Clock>, schedule: SeededRandom) -> Self {
        Self {
            clock,
            halted: Cell::new(false),
            trace: RefCell::default(),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
            ready: Arc::default(),
            schedule: RefCell::new(schedule),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
        }
    }

    pub(super) fn spawn(&self, task: Task) -> TaskId {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        self.tasks.borrow_mut().insert(id, Some(task));
        self.ready.push(id);
        id
    }

    pub(super) fn run_until(&self, budget: u64, done: impl Fn() -> bool) -> Result<(), SimStop> {
        let mut polls = 0;
        while !done() {
            if self.halted.get() {
                return Err(SimStop::Halted);
            }
            let picked = self.ready.take(|len| self.schedule.borrow_mut().index(len));
            match picked {
                Some(task) => {
                    polls += 1;
                    if polls > budget {
                        return Err(SimStop::OverBudget(budget));
                    }
                    self.poll(task);
                }
                None => self.move_time().ok_or(SimStop::Stuck)?,
            }
        }
        Ok(())
    }

    fn poll(&self, id: TaskId) {
        // Woken after it ended, or woken again by itself while being polled: nothing to do, or next round.
        let Some(mut task) = self.tasks.borrow_mut().get_mut(&id).and_then(Option::take) else {
            return;
        };
        self.trace.borrow_mut().write_u64(id);
        let waker = Waker::from(Arc::new(TaskWaker {
            task: id,
            ready: Arc::clone(&self.ready),
        }));
        match task.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                // Gone if the task aborted everything.
                if let Some(slot) = self.tasks.borrow_mut().get_mut(&id) {
                    *slot = Some(task);
                }
            }
            Poll::Ready(()) => {
                self.tasks.borrow_mut().remove(&id);
            }
        }
    }

    /// Moves time to the earliest timer and wakes everything due then.
    fn move_time(&self) -> Option<()> {
        let (due, _) = *self.timers.borrow().keys().next()?;
        self.clock.now.set(self.clock.now.get().max(due));
        self.trace
            .borrow_mut()
            .write_u64(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
        loop {
            let waker = {
                let mut timers = self.timers.borrow_mut();
                match timers.first_entry() {
                    Some(first) if first.key().0 <= due => first.remove(),
                    _ => return Some(()),
                }
            };
            waker.wake();
        }
    }

    pub(super) fn set_timer(&self, deadline: Duration, waker: Waker) -> TimerId {
        let id = (deadline, self.next_timer.get());
        self.next_timer.set(id.1 + 1);
        self.timers.borrow_mut().insert(id, waker);
        id
    }

    pub(super) fn cancel_timer(&self, timer: &TimerId) {
        self.timers.borrow_mut().remove(timer);
    }

    pub(super) fn abort(&self, task: TaskId) {
        // Taken out first: dropping a task may come back to us.
        let aborted = self.tasks.borrow_mut().remove(&task);
        drop(aborted);
    }

    pub(super) fn abort_all(&self) {
        loop {
            let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        let timers = std::mem::take(&mut *self.timers.borrow_mut());
        drop(timers);
        self.ready.clear();
        self.halted.set(false);
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.tasks.borrow().len()
    }
}
