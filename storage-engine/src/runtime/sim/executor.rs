//! The tasks, the ready set and the timers of a simulated machine.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Clock, Fnv, SeededRandom, SimStop};

pub(super) type TaskId = u64;
pub(super) type TimerId = (Duration, u64);
pub(super) type MachineId = u32;
/// The machine that is the whole run: its halt stops everything.
pub(super) const WHOLE_RUN: MachineId = 0;
type Task = Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct Core {
    pub(super) clock: Rc<Clock>,
    pub(super) halted: Cell<bool>,
    pub(super) trace: RefCell<Fnv>,
    tasks: RefCell<BTreeMap<TaskId, Slot>>,
    next_task: Cell<TaskId>,
    next_machine: Cell<MachineId>,
    /// Machines without power, whose tasks are not polled; those killed since take no new tasks either.
    dark: RefCell<BTreeSet<MachineId>>,
    ready: Arc<ReadySet>,
    schedule: RefCell<SeededRandom>,
    timers: RefCell<BTreeMap<TimerId, Waker>>,
    next_timer: Cell<u64>,
}

/// A task and whose it is.
struct Slot {
    machine: MachineId,
    /// `None` while the task is being polled.
    task: Option<Task>,
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
            next_machine: Cell::new(WHOLE_RUN + 1),
            dark: RefCell::default(),
            ready: Arc::default(),
            schedule: RefCell::new(schedule),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
        }
    }

    pub(super) fn spawn(&self, machine: MachineId, task: Task) -> TaskId {
        let id = self.next_task.get();
        self.next_task.set(id + 1);
        if !self.is_dark(machine) {
            let slot = Slot {
                machine,
                task: Some(task),
            };
            self.tasks.borrow_mut().insert(id, slot);
            self.ready.push(id);
        }
        id
    }

    pub(super) fn new_machine(&self) -> MachineId {
        let machine = self.next_machine.get();
        self.next_machine.set(machine + 1);
        machine
    }

    pub(super) fn is_dark(&self, machine: MachineId) -> bool {
        self.dark.borrow().contains(&machine)
    }

    /// Nothing of the machine is polled any more; of the whole run's, nothing at all.
    pub(super) fn halt(&self, machine: MachineId) {
        if machine == WHOLE_RUN {
            self.halted.set(true);
        } else {
            self.dark.borrow_mut().insert(machine);
        }
    }

    /// Drops every task of a machine.
    pub(super) fn kill(&self, machine: MachineId) {
        self.halt(machine);
        // Taken out first: dropping a task may come back to us.
        let mut gone = Vec::new();
        self.tasks.borrow_mut().retain(|_, slot| {
            let stays = slot.machine != machine;
            if !stays {
                gone.extend(slot.task.take());
            }
            stays
        });
        drop(gone);
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
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let slot = tasks.get_mut(&id);
            slot.filter(|slot| !self.is_dark(slot.machine))
                .and_then(|slot| slot.task.take())
        };
        let Some(mut task) = taken else {
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
                    slot.task = Some(task);
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
        self.dark.borrow_mut().clear();
    }

    pub(super) fn live_tasks(&self) -> usize {
        self.tasks.borrow().len()
    }
}
