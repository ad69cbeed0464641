//! Counters that all connections share, shown while a run goes on if somebody is watching.

use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const REFRESH: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
pub(crate) struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Counters {
    pub(crate) fn add(&self, messages: u64, bytes: u64) {
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_error(&self, name: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        *errors.entry(name).or_default() += 1;
    }

    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.errors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn seen(&self) -> (u64, u64) {
        (
            self.messages.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }
}

/// Shows progress on a terminal until dropped.
#[derive(Debug)]
pub(crate) struct Progress(Option<(ProgressBar, JoinHandle<()>)>);

impl Progress {
    pub(crate) fn show(counters: &Arc<Counters>, total: Duration) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new(total.as_millis() as u64);
        let template = "{bar:30} {elapsed} of {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let task = tokio::spawn(refresh(bar.clone(), counters.clone(), total));
        Self(Some((bar, task)))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, task)) = &self.0 {
            task.abort();
            bar.finish_and_clear();
        }
    }
}

async fn refresh(bar: ProgressBar, counters: Arc<Counters>, total: Duration) {
    let started = Instant::now();
    let mut last = (started, counters.seen());
    loop {
        tokio::time::sleep(REFRESH).await;
        let now = (Instant::now(), counters.seen());
        let seconds = (now.0 - last.0).as_secs_f64();
        let messages = (now.1.0 - last.1.0) as f64 / seconds;
        let mib = (now.1.1 - last.1.1) as f64 / seconds / f64::from(1 << 20);
        bar.set_position(started.elapsed().as_millis() as u64);
        bar.set_message(format!(
            "{}s  {messages:.0} msg/s  {mib:.1} MiB/s",
            total.as_secs()
        ));
        last = now;
    }
}
