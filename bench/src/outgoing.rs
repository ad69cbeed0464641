//! Bytes on their way to a socket. Small ones are gathered, large ones are shared: a batch that was made once before
//! the run is never copied again by the generator.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::WriteHalf;

/// From here on a slice of its own costs less than a copy.
const SHARED_BYTES_MIN: usize = 4096;
/// Slices of one write.
const SLICES_MAX: usize = 64;

/// What waits to be written, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// What comes behind the pieces.
    tail: BytesMut,
    bytes: usize,
}

impl Outgoing {
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// What was copied since the last piece that is shared.
    #[cfg(test)]
    pub(crate) fn tail(&self) -> &[u8] {
        &self.tail
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.tail.put_slice(bytes);
    }

    /// Shares, if that is worth it.
    pub(crate) fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(bytes);
        }
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        self.bytes += bytes.len();
        self.pieces.push_back(bytes.clone());
    }

    /// Writes some of it.
    pub(crate) async fn write_some(&mut self, writer: &mut WriteHalf<'_>) -> io::Result<()> {
        let written = if self.pieces.is_empty() {
            writer.write(&self.tail).await?
        } else {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let waiting = self.pieces.iter().map(|piece| &piece[..]);
            let waiting = waiting.chain(std::iter::once(&self.tail[..]));
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(waiting) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            writer.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.pieces.front_mut() {
            if written < first.len() {
                return first.advance(written);
            }
            written -= first.len();
            self.pieces.pop_front();
        }
        self.tail.advance(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(outgoing: &Outgoing) -> Vec<u8> {
        let pieces = outgoing.pieces.iter().map(|piece| &piece[..]);
        let pieces = pieces.chain(std::iter::once(&outgoing.tail[..]));
        pieces.collect::<Vec<_>>().concat()
    }

    #[test]
    fn order_is_kept_whatever_is_written_at_once() {
        let large = Bytes::from((0..9000u32).map(|n| n as u8).collect::<Vec<_>>());
        for step in [1, 100, 4097, 40_000] {
            let mut outgoing = Outgoing::default();
            let mut expected = Vec::new();
            for n in 0..3u8 {
                outgoing.put(&[n; 10]);
                outgoing.put_shared(&large);
                outgoing.put_shared(&large.slice(..100));
                expected.extend_from_slice(&[n; 10]);
                expected.extend_from_slice(&large);
                expected.extend_from_slice(&large[..100]);
            }
            while !outgoing.is_empty() {
                assert_eq!(all(&outgoing), expected);
                assert_eq!(outgoing.len(), expected.len());
                let written = step.min(outgoing.len());
                outgoing.advance(written);
                expected.drain(..written);
            }
            assert!(outgoing.pieces.is_empty() && outgoing.tail.is_empty());
        }
    }
}
