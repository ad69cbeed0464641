//! The receive buffer of a connection: bytes go in as the socket has them, whole frames come out.
//!
//! Small frames are read many at a time. A large frame is read straight into one buffer of its size, and no
//! byte behind it is read with it, so nothing of it is ever moved. `start <= end <= buffer.len()`; bytes at
//! `start..end` are received and not consumed.

/// First size of the buffer.
const SMALL_BYTES: usize = 16 << 10;
/// The buffer grows up to this by itself while reads fill it; larger only for one large frame.
const READ_BYTES_MAX: usize = 256 << 10;
/// A buffer up to this is kept for the next frame, because making one means to fill it with zeros first. Clients gather
/// up to a megabyte of messages; what is around them must fit too.
const KEPT_BYTES_MAX: usize = 2 << 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// What the next read should have room for.
    read_bytes: usize,
}

impl Inbox {
    /// Received and not consumed.
    pub fn received(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Where the socket writes next; never empty. `needed`: bytes of [`Self::received`] that the frame at its
    /// start has in all.
    pub fn unfilled(&mut self, needed: usize) -> &mut [u8] {
        let large = needed > READ_BYTES_MAX;
        let held = self.end - self.start;
        let room = if large {
            needed.max(held + 1)
        } else {
            needed
                .max(held + 1)
                .max(self.read_bytes.clamp(SMALL_BYTES, READ_BYTES_MAX))
        };
        if self.start + room > self.buffer.len() {
            self.make_room(room);
        }
        let until = if large {
            self.start + room
        } else {
            self.buffer.len()
        };
        &mut self.buffer[self.end..until]
    }

    /// The socket wrote `count` bytes into [`Self::unfilled`].
    pub fn fill(&mut self, count: usize) {
        self.end += count;
        assert!(
            self.end <= self.buffer.len(),
            "a read fits the space it was given"
        );
        if self.end == self.buffer.len() && self.buffer.len() <= READ_BYTES_MAX {
            self.read_bytes = (2 * self.buffer.len()).min(READ_BYTES_MAX);
        }
    }

    /// Done with the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        assert!(
            self.start <= self.end,
            "only received bytes can be consumed"
        );
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buffer.len() > KEPT_BYTES_MAX {
                self.buffer = Vec::new();
            }
        }
    }

    /// Gives the memory of an idle connection back.
    pub fn release_if_empty(&mut self) {
        if self.start == self.end {
            *self = Self::default();
        }
    }

    /// Bytes of memory held.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    fn make_room(&mut self, room: usize) {
        let held = self.end - self.start;
        if room > self.buffer.len() {
            let mut larger = Vec::with_capacity(room);
            larger.extend_from_slice(&self.buffer[self.start..self.end]);
            larger.resize(room, 0);
            self.buffer = larger;
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.start = 0;
        self.end = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_large_frame_is_read_alone_and_in_place() {
        let mut inbox = Inbox::default();
        inbox.unfilled(24)[..100].fill(7);
        inbox.fill(100);
        let space = inbox.unfilled(3 << 20).len();
        assert_eq!(space, (3 << 20) - 100);
        let before = inbox.received().as_ptr();
        inbox.fill(1 << 20);
        assert_eq!(inbox.unfilled(3 << 20).len(), (2 << 20) - 100);
        assert_eq!(inbox.received().as_ptr(), before);
        inbox.fill((2 << 20) - 100);
        inbox.consume(3 << 20);
        assert!(inbox.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn a_busy_connection_gets_a_larger_buffer_within_the_bound() {
        let mut inbox = Inbox::default();
        for _ in 0..20 {
            let space = inbox.unfilled(24).len();
            inbox.fill(space);
            let held = inbox.received().len();
            inbox.consume(held);
        }
        assert_eq!(inbox.capacity(), READ_BYTES_MAX);
        inbox.release_if_empty();
        assert_eq!(inbox.capacity(), 0);
    }

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in prop::collection::vec((1usize..70_000, 0usize..400_000, 0usize..80_000), 1..60)
        ) {
            let mut inbox = Inbox::default();
            let (mut written, mut read) = (0u64, 0u64);
            let byte = |at: u64| (at % 251) as u8;
            for (write, needed, consume) in steps {
                let needed = needed.max(inbox.received().len() + 1);
                let space = inbox.unfilled(needed);
                prop_assert!(!space.is_empty());
                let write = write.min(space.len());
                for slot in &mut space[..write] {
                    *slot = byte(written);
                    written += 1;
                }
                inbox.fill(write);
                let consume = consume.min(inbox.received().len());
                for got in &inbox.received()[..consume] {
                    prop_assert_eq!(*got, byte(read));
                    read += 1;
                }
                inbox.consume(consume);
                prop_assert_eq!(inbox.received().len() as u64, written - read);
            }
        }
    }
}
