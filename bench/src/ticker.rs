//! Wakes a lane when its next send is due, more finely than the runtime's timer (1 ms).

use crate::schedule::Schedule;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Sends closer together than this are woken together.
const GRAIN: Duration = Duration::from_micros(100);
/// So that a ticker ends soon after its lane did.
const NAP_MAX: Duration = Duration::from_millis(100);

/// A thread that sleeps from due time to due time. Without a rate there is none.
#[derive(Debug)]
pub(crate) struct Ticker {
    notify: Arc<Notify>,
    stopped: Arc<AtomicBool>,
}

impl Ticker {
    pub(crate) fn start(schedule: Schedule, end: Duration, started: Instant) -> Self {
        let ticker = Self {
            notify: Arc::default(),
            stopped: Arc::default(),
        };
        if schedule.due(0).is_some() {
            let (notify, stopped) = (ticker.notify.clone(), ticker.stopped.clone());
            std::thread::spawn(move || tick(schedule, end, started, &notify, &stopped));
        }
        ticker
    }

    pub(crate) async fn due(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn tick(schedule: Schedule, end: Duration, started: Instant, notify: &Notify, stop: &AtomicBool) {
    let mut number = 0;
    while let Some(due) = schedule.due(number)
        && due < end
        && !stop.load(Ordering::Relaxed)
    {
        let wait = due.saturating_sub(started.elapsed());
        if wait > GRAIN {
            std::thread::sleep(wait.min(NAP_MAX));
            continue;
        }
        std::thread::sleep(GRAIN.min(wait));
        // All that is due by now is one wake.
        let now = started.elapsed();
        while schedule.due(number).is_some_and(|due| due <= now) {
            number += 1;
        }
        notify.notify_one();
    }
}
