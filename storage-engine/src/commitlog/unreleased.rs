//! Which offsets of which queues are not visible yet. Queues at rest cost nothing.

use super::open_frame::QueueSpan;
use crate::position::{QueueHandle, QueueOffset};
use std::collections::BTreeMap;

#[derive(Debug)]
struct Pending {
    first: QueueOffset,
    end: QueueOffset,
}

/// Queues with batches in frames that are not released.
#[derive(Debug, Default)]
pub(super) struct Unreleased {
    queues: BTreeMap<QueueHandle, Pending>,
}

impl Unreleased {
    /// A batch was appended.
    pub(super) fn add(&mut self, span: QueueSpan) {
        let pending = self.queues.entry(span.queue).or_insert(Pending {
            first: span.base,
            end: span.base,
        });
        pending.end = span.next;
    }

    /// A frame with this span was released. Frames are released in log order.
    pub(super) fn release(&mut self, span: &QueueSpan) {
        let Some(pending) = self.queues.get_mut(&span.queue) else {
            return;
        };
        pending.first = span.next;
        if pending.first >= pending.end {
            self.queues.remove(&span.queue);
        }
    }

    /// The first offset of a queue that is not released.
    pub(super) fn first(&self, queue: QueueHandle) -> Option<QueueOffset> {
        self.queues.get(&queue).map(|pending| pending.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_pending_until_its_last_span_is_released() {
        let span = |base, next| QueueSpan {
            queue: QueueHandle(1),
            base: QueueOffset(base),
            next: QueueOffset(next),
        };
        let mut unreleased = Unreleased::default();
        unreleased.add(span(5, 7));
        unreleased.add(span(7, 8));
        unreleased.add(span(8, 9));
        assert_eq!(unreleased.first(QueueHandle(1)), Some(QueueOffset(5)));
        unreleased.release(&span(5, 8));
        assert_eq!(unreleased.first(QueueHandle(1)), Some(QueueOffset(8)));
        unreleased.release(&span(8, 9));
        assert_eq!(unreleased.first(QueueHandle(1)), None);
        assert_eq!(unreleased.first(QueueHandle(2)), None);
    }
}
