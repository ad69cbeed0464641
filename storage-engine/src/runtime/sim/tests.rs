//! The executor repeats itself, moves time by itself, and says why a run ended.

use super::*;

/// A few tasks that interleave; the order in which they log is the schedule.
fn interleaving(seed: u64) -> (Vec<u32>, u64) {
    let executor = SimExecutor::new(seed);
    let log = Rc::new(RefCell::new(Vec::new()));
    for task in 0..4 {
        let (runtime, log) = (executor.runtime(), Rc::clone(&log));
        executor.runtime().spawn(async move {
            for _ in 0..5 {
                log.borrow_mut().push(task);
                runtime.yield_now().await;
            }
        });
    }
    executor.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(executor.tasks(), 0);
    let order = log.borrow().clone();
    (order, executor.trace_hash())
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_others_differ() {
    assert_eq!(interleaving(7), interleaving(7));
    let orders: std::collections::BTreeSet<_> = (0..10).map(|seed| interleaving(seed).0).collect();
    assert!(
        orders.len() > 5,
        "ten seeds gave {} schedules",
        orders.len()
    );
}

#[test]
fn time_is_virtual_and_timers_fire_in_order() {
    let executor = SimExecutor::new(1);
    let log = Rc::new(RefCell::new(Vec::new()));
    for ms in [30, 10, 20] {
        let (runtime, log) = (executor.runtime(), Rc::clone(&log));
        executor.runtime().spawn(async move {
            runtime.sleep(Duration::from_millis(ms)).await;
            log.borrow_mut().push((ms, runtime.now()));
        });
    }
    executor.advance(Duration::from_secs(3600)).unwrap();
    let expected: Vec<_> = [10, 20, 30]
        .map(|ms| (ms, Duration::from_millis(ms)))
        .to_vec();
    assert_eq!(*log.borrow(), expected);
    assert_eq!(executor.runtime().wall_ms(), WALL_BASE_MS + 3_600_000);
}

#[test]
fn a_run_that_cannot_finish_says_why() {
    let executor = SimExecutor::new(1);
    assert_eq!(
        executor.run(std::future::pending::<()>()),
        Err(SimStop::Stuck)
    );
    executor.set_poll_budget(100);
    let runtime = executor.runtime();
    let livelock = async move {
        loop {
            runtime.yield_now().await;
        }
    };
    assert_eq!(executor.run::<()>(livelock), Err(SimStop::OverBudget(100)));
    let runtime = executor.runtime();
    let crash = async move {
        runtime.halt();
        std::future::pending::<()>().await;
    };
    assert_eq!(executor.run(crash), Err(SimStop::Halted));
    executor.abort_all();
    assert_eq!(executor.tasks(), 0);
    assert_eq!(executor.run(async { 5 }), Ok(5));
}

#[test]
fn one_machine_goes_dark_and_the_others_go_on() {
    let executor = SimExecutor::new(3);
    let (a, b) = (executor.runtime().machine(), executor.runtime().machine());
    let ticks = Rc::new(RefCell::new([0, 0]));
    for (index, machine) in [a.clone(), b.clone()].into_iter().enumerate() {
        let (ticks, runtime) = (Rc::clone(&ticks), machine.clone());
        machine.spawn(async move {
            loop {
                runtime.sleep(Duration::from_millis(1)).await;
                ticks.borrow_mut()[index] += 1;
            }
        });
    }
    executor.advance(Duration::from_micros(10_500)).unwrap();
    assert_eq!(*ticks.borrow(), [10, 10]);
    a.halt();
    assert!(a.is_dark() && !b.is_dark());
    executor.advance(Duration::from_micros(10_700)).unwrap();
    assert_eq!(*ticks.borrow(), [10, 21]);
    a.kill();
    assert_eq!(executor.tasks(), 1);
    a.spawn(async { unreachable!("a machine without power") });
    executor.advance(Duration::from_micros(10_500)).unwrap();
    assert_eq!(*ticks.borrow(), [10, 31]);
}
