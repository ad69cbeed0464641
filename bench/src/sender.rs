//! One connection that sends: frames out as they fall due, answers in, times recorded.

use crate::BenchError;
use crate::args::{Acks, Load};
use crate::cluster::Lane;
use crate::histogram::Latencies;
use crate::outgoing::Outgoing;
use crate::progress::Counters;
use crate::protocol::Sending;
use crate::schedule::{Schedule, Window};
use crate::socket::{FrameReader, Framing, Halves};
use crate::ticker::Ticker;
use crate::timeline::Timeline;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

/// Bytes waiting for the socket; more are not made ready.
const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// How long answers may take after the last send.
const DRAIN: Duration = Duration::from_secs(30);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What a lane is to do.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) lane: Lane,
    pub(crate) schedule: Schedule,
    pub(crate) window: Window,
    pub(crate) started: Instant,
    pub(crate) load: Load,
}

/// What came of it, within the window.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) acknowledged: Latencies,
    /// From due to handed to the socket's queue: what the generator itself, or a full window, added.
    pub(crate) delayed: Latencies,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) timeline: Timeline,
    /// Acknowledged before and after the window, too.
    pub(crate) messages_in_all: u64,
}

impl Sent {
    pub(crate) fn nothing() -> Self {
        Self {
            acknowledged: Latencies::new(),
            delayed: Latencies::new(),
            messages: 0,
            bytes: 0,
            timeline: Timeline::default(),
            messages_in_all: 0,
        }
    }

    /// Enters what another connection did.
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged.add(&other.acknowledged);
        self.delayed.add(&other.delayed);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.timeline.add(&other.timeline);
        self.messages_in_all += other.messages_in_all;
    }

    /// Enters an acknowledgement, in or out of the window.
    pub(crate) fn acknowledge(
        &mut self,
        window: Window,
        due: Duration,
        now: Duration,
        messages: u64,
    ) {
        self.messages_in_all += messages;
        if window.contains(due) {
            let time = now.saturating_sub(due);
            self.acknowledged.record(time);
            self.timeline.record(due - window.begin, time, messages);
        }
    }
}

struct Sender<S> {
    plan: Plan,
    protocol: S,
    sent: Sent,
    counters: Arc<Counters>,
    /// When each unanswered send was due and its size; answers may come in any order.
    unanswered: VecDeque<Option<(Duration, u64)>>,
    first_unanswered: u64,
    answered_early: usize,
    number: u64,
    output: Outgoing,
    paused_until: Duration,
}

/// Runs a lane to the end of its window; `batch` makes the batch that is due at a time.
pub(crate) async fn run<S: Sending>(
    plan: Plan,
    counters: Arc<Counters>,
    mut batch: impl FnMut(Duration) -> Result<Bytes, BenchError>,
) -> Result<Sent, BenchError> {
    let mut connection = S::connect(&plan.lane.address).await?;
    let address = connection.address.clone();
    let Halves {
        mut reader,
        mut writer,
    } = connection.halves();
    let ticker = Ticker::start(plan.schedule, plan.window.end, plan.started);
    let mut sender = Sender::<S>::new(plan, counters);
    let answers = sender.plan.load.acks != Acks::None;
    loop {
        let now = sender.now();
        let ended = now >= sender.plan.window.end;
        if !ended {
            sender.fill(now, &mut batch)?;
        } else if sender.is_done() || now > sender.plan.window.end + DRAIN {
            sender.give_up_on_the_rest();
            return Ok(sender.sent);
        }
        let wake = sender.wake_at(ended);
        tokio::select! {
            written = sender.output.write_some(&mut writer), if !sender.output.is_empty() => {
                written.map_err(|source| BenchError::Io {
                    operation: "write to",
                    address: address.clone(),
                    source,
                })?;
            }
            frame = reader.next(), if answers => {
                sender.answer(&frame?)?;
                sender.answers_at_hand(&mut reader)?;
            }
            () = ticker.due(), if !ended => {}
            () = sleep_until(wake.into()) => {}
        }
    }
}

impl<S: Sending> Sender<S> {
    fn new(plan: Plan, counters: Arc<Counters>) -> Self {
        Self {
            protocol: S::new(&plan.lane, &plan.load),
            plan,
            sent: Sent::nothing(),
            counters,
            unanswered: VecDeque::new(),
            first_unanswered: 0,
            answered_early: 0,
            number: 0,
            output: Outgoing::default(),
            paused_until: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.plan.started.elapsed()
    }

    fn is_done(&self) -> bool {
        self.unanswered.is_empty() && self.output.is_empty()
    }

    fn has_room(&self) -> bool {
        self.unanswered.len() - self.answered_early < self.plan.load.in_flight as usize
            && self.output.len() < OUTPUT_BYTES_MAX
    }

    /// The next moment at which there is something to do if nothing happens before.
    fn wake_at(&self, ended: bool) -> Instant {
        let end = self.plan.window.end;
        let paused = self.paused_until > self.now();
        let at = match (ended, paused) {
            (true, _) => end + DRAIN + Duration::from_millis(1),
            (false, true) => self.paused_until.min(end),
            (false, false) => end,
        };
        self.plan.started + at
    }

    /// Makes ready what is due and has room.
    fn fill(
        &mut self,
        now: Duration,
        batch: &mut impl FnMut(Duration) -> Result<Bytes, BenchError>,
    ) -> Result<(), BenchError> {
        while self.has_room() && now >= self.paused_until {
            let due = self.plan.schedule.due(self.number).unwrap_or(now);
            if due > now {
                break;
            }
            let payload = batch(due)?;
            self.protocol.put(self.number, &payload, &mut self.output);
            self.number += 1;
            let bytes = payload.len() as u64;
            if self.plan.window.contains(due) {
                self.sent.delayed.record(now.saturating_sub(due));
            }
            if self.plan.load.acks == Acks::None {
                self.first_unanswered = self.number;
                self.count(now, bytes);
            } else {
                self.unanswered.push_back(Some((due, bytes)));
            }
        }
        Ok(())
    }

    fn answers_at_hand(
        &mut self,
        reader: &mut FrameReader<'_, S::Framing>,
    ) -> Result<(), BenchError> {
        while let Some(frame) = reader.buffered()? {
            self.answer(&frame)?;
        }
        Ok(())
    }

    fn answer(&mut self, frame: &<S::Framing as Framing>::Frame) -> Result<(), BenchError> {
        let unexpected = |what: String| BenchError::Protocol {
            operation: "read from",
            address: self.plan.lane.address.clone(),
            what,
        };
        let answer = S::answer(frame).map_err(unexpected)?;
        let index = answer.number.wrapping_sub(self.first_unanswered) & S::NUMBER_MASK;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some((due, bytes)) = self.unanswered.get_mut(index).and_then(Option::take) else {
            return Err(unexpected("an answer to nothing that was asked".into()));
        };
        self.answered_early += 1;
        while let Some(None) = self.unanswered.front() {
            self.unanswered.pop_front();
            self.first_unanswered += 1;
            self.answered_early -= 1;
        }
        let now = self.now();
        if let Some(refusal) = answer.refusal {
            if !refusal.is_retryable {
                return Err(refusal.into_error("produce to", &self.plan.lane.address));
            }
            let advice = Duration::from_millis(u64::from(refusal.retry_after_ms));
            self.counters.add_error(refusal.code);
            self.paused_until = now + advice.max(BUSY_PAUSE);
            return Ok(());
        }
        let messages = u64::from(self.plan.load.batch);
        self.sent.acknowledge(self.plan.window, due, now, messages);
        self.count(now, bytes);
        Ok(())
    }

    fn count(&mut self, now: Duration, bytes: u64) {
        let messages = u64::from(self.plan.load.batch);
        self.counters.add(messages, bytes);
        if self.plan.window.contains(now) {
            self.sent.messages += messages;
            self.sent.bytes += bytes;
        }
    }

    /// What is unanswered at the end is an error, and no time at all would flatter: it is recorded as the wait so far.
    fn give_up_on_the_rest(&mut self) {
        let now = self.now();
        for (due, _) in self.unanswered.drain(..).flatten() {
            self.counters.add_error("Unanswered".into());
            if self.plan.window.contains(due) {
                self.sent.acknowledged.record(now.saturating_sub(due));
            }
        }
    }
}
