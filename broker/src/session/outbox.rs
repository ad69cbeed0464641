//! Answers on their way to the socket, in order.
//!
//! Small pieces are copied together, so that many answers leave in one send; large ones are sent from where they
//! are. A guard goes with each answer (what it counts, what it pins) and is dropped when its last byte is sent.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Deref;

/// A shared piece up to this is copied: that is cheaper than a slice of its own, and frees what it pins.
const COPIED_BYTES_MAX: usize = 8 << 10;
/// Copied pieces are gathered up to this.
const GATHERED_BYTES_MAX: usize = 64 << 10;

/// See the module. `P`: shared bytes; `G`: what is dropped with the last byte of an answer.
#[derive(Debug)]
pub struct Outbox<P, G> {
    pieces: VecDeque<Piece<P>>,
    /// Bytes of the first piece that are sent.
    first_sent: usize,
    /// Bytes ever pushed and ever sent.
    pushed: u64,
    sent: u64,
    /// With the count of pushed bytes at which each is done.
    guards: VecDeque<(u64, G)>,
}

/// Bytes of an answer.
#[derive(Debug)]
pub enum Piece<P> {
    Owned(Vec<u8>),
    Shared(P),
}

impl<P: Deref<Target = [u8]>> Deref for Piece<P> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl<P, G> Default for Outbox<P, G> {
    fn default() -> Self {
        Self {
            pieces: VecDeque::new(),
            first_sent: 0,
            pushed: 0,
            sent: 0,
            guards: VecDeque::new(),
        }
    }
}

impl<P: Deref<Target = [u8]>, G> Outbox<P, G> {
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that wait.
    pub fn unsent_bytes(&self) -> u64 {
        self.pushed - self.sent
    }

    /// Bytes ever sent: whether this rises is whether the peer takes what it asked for.
    pub fn sent_bytes(&self) -> u64 {
        self.sent
    }

    /// Queues an answer: `head`, then the payload.
    pub fn push(&mut self, head: Vec<u8>, payload: impl IntoIterator<Item = Piece<P>>, guard: G) {
        self.push_piece(Piece::Owned(head));
        for piece in payload {
            self.push_piece(piece);
        }
        self.guards.push_back((self.pushed, guard));
    }

    /// Queues a small answer that `write` appends to those before it; `guard` is told its bytes.
    pub fn push_written(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        guard: impl FnOnce(usize) -> G,
    ) {
        let bytes = match self.pieces.back_mut() {
            Some(Piece::Owned(last)) if last.len() + COPIED_BYTES_MAX <= GATHERED_BYTES_MAX => {
                let before = last.len();
                write(last);
                last.len() - before
            }
            _ => {
                let mut first = Vec::with_capacity(COPIED_BYTES_MAX);
                write(&mut first);
                let bytes = first.len();
                self.pieces.push_back(Piece::Owned(first));
                bytes
            }
        };
        self.pushed += bytes as u64;
        self.guards.push_back((self.pushed, guard(bytes)));
    }

    /// Fills `slices` with what to send next, `bytes_max` at most, and returns how many it used.
    pub fn next_slices<'a>(&'a self, slices: &mut [IoSlice<'a>], bytes_max: usize) -> usize {
        let mut used = 0;
        let mut skip = self.first_sent;
        let mut room = bytes_max;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            if room == 0 {
                break;
            }
            let unsent = &piece[skip..];
            let part = &unsent[..unsent.len().min(room)];
            *slice = IoSlice::new(part);
            room -= part.len();
            skip = 0;
            used += 1;
        }
        used
    }

    /// The bytes at the front; empty when nothing waits.
    pub fn front(&self) -> &[u8] {
        self.pieces
            .front()
            .map_or(&[], |piece| &piece[self.first_sent..])
    }

    /// The socket took `count` bytes. Returns the guards of answers that are sent whole.
    pub fn advance(&mut self, mut count: usize) -> impl Iterator<Item = G> + use<'_, P, G> {
        self.sent += count as u64;
        assert!(self.sent <= self.pushed, "no more is sent than there was");
        while let Some(piece) = self.pieces.front() {
            let left = piece.len() - self.first_sent;
            if count < left {
                self.first_sent += count;
                break;
            }
            count -= left;
            self.first_sent = 0;
            self.pieces.pop_front();
        }
        let done = self
            .guards
            .iter()
            .take_while(|(end, _)| *end <= self.sent)
            .count();
        self.guards.drain(..done).map(|(_, guard)| guard)
    }

    /// Drops everything unsent.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.guards.clear();
        self.first_sent = 0;
        self.sent = self.pushed;
    }

    fn push_piece(&mut self, piece: Piece<P>) {
        let len = piece.len();
        if len == 0 {
            return;
        }
        self.pushed += len as u64;
        if len > COPIED_BYTES_MAX {
            self.pieces.push_back(piece);
            return;
        }
        if let Some(Piece::Owned(last)) = self.pieces.back_mut()
            && last.len() + len <= GATHERED_BYTES_MAX
        {
            last.extend_from_slice(&piece);
            return;
        }
        let owned = match piece {
            Piece::Owned(bytes) => bytes,
            Piece::Shared(bytes) => bytes.to_vec(),
        };
        self.pieces.push_back(Piece::Owned(owned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn large_shared_bytes_are_not_copied_and_small_ones_are_gathered() {
        let shared = Rc::<[u8]>::from(vec![7u8; COPIED_BYTES_MAX + 1]);
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(vec![1; 100], [Piece::Shared(Rc::from(vec![2; 50]))], ());
        }
        outbox.push(vec![1; 100], [Piece::Shared(Rc::clone(&shared))], ());
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(outbox.next_slices(&mut slices, usize::MAX), 2);
        assert_eq!(slices[0].len(), 550);
        assert_eq!(slices[1].as_ptr(), shared.as_ptr());
    }

    struct Done(Rc<Cell<usize>>);

    impl Drop for Done {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    proptest! {
        #[test]
        fn bytes_leave_in_order_and_guards_with_their_last_byte(
            answers in prop::collection::vec((1usize..300, prop::collection::vec(0usize..20_000, 0..4)), 1..30),
            sends in prop::collection::vec((1usize..40_000, 1usize..6), 1..60),
        ) {
            let done = Rc::new(Cell::new(0));
            let mut outbox: Outbox<Rc<[u8]>, Done> = Outbox::default();
            let (mut expected, mut ends, mut got) = (Vec::new(), Vec::new(), Vec::new());
            let mut answers = answers.into_iter().enumerate();
            for (most, slices_max) in sends.into_iter().cycle() {
                if let Some((index, (head, payload))) = answers.next() {
                    let head = vec![index as u8; head];
                    if payload.is_empty() {
                        expected.extend_from_slice(&head);
                        ends.push(expected.len());
                        let guard = |bytes| {
                            assert_eq!(bytes, head.len());
                            Done(Rc::clone(&done))
                        };
                        outbox.push_written(|out| out.extend_from_slice(&head), guard);
                        continue;
                    }
                    let payload = payload.into_iter().map(|len| vec![!index as u8; len]);
                    let payload = payload.collect::<Vec<_>>();
                    expected.extend_from_slice(&head);
                    payload.iter().for_each(|piece| expected.extend_from_slice(piece));
                    ends.push(expected.len());
                    let shared = payload.into_iter().map(|piece| Piece::Shared(Rc::from(piece)));
                    outbox.push(head, shared, Done(Rc::clone(&done)));
                } else if outbox.is_empty() {
                    break;
                }
                let mut slices = [IoSlice::new(&[]); 6];
                let used = outbox.next_slices(&mut slices[..slices_max], 2 * most);
                let offered: usize = slices[..used].iter().map(|slice| slice.len()).sum();
                prop_assert!(offered <= 2 * most && (used > 0) != outbox.is_empty());
                let mut taken = 0;
                for slice in &slices[..used] {
                    let take = slice.len().min(most - taken);
                    got.extend_from_slice(&slice[..take]);
                    taken += take;
                }
                outbox.advance(taken).for_each(drop);
                prop_assert_eq!(done.get(), ends.iter().filter(|end| **end <= got.len()).count());
                prop_assert_eq!(outbox.unsent_bytes(), (expected.len() - got.len()) as u64);
            }
            prop_assert_eq!(got, expected);
        }
    }
}
