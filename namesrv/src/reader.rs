//! Frames from a socket, with bounded memory.
//!
//! A connection reads into a small buffer. A frame over [`SMALL_FRAME_BYTES`] waits for its share of the memory that all
//! connections have for such frames, and gives it back when it has been handled. The buffer grows as bytes arrive, so
//! that a length alone allocates nothing.

use bytes::{Bytes, BytesMut};
use ringmq_wire::limits::FRAME_HEADER_BYTES_MAX;
use ringmq_wire::native::{Decoded, FRAME_PREFIX_BYTES, FrameError, FramePrefix, decode};
use ringmq_wire::remoting;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Frames up to this size need no share.
pub(crate) const SMALL_FRAME_BYTES: usize = 64 << 10;
const READ_BYTES_MIN: usize = 4 << 10;
const PERMIT_BYTES: usize = 1 << 10;
/// Largest frame of either protocol that a name server reads.
const FRAME_BYTES_MAX: usize = FRAME_PREFIX_BYTES + FRAME_HEADER_BYTES_MAX;
const _: () = assert!(remoting::FRAME_BYTES_MAX + 4 <= FRAME_BYTES_MAX);

/// The memory that all connections share for large frames.
#[derive(Debug, Clone)]
pub(crate) struct LargeFrames(Arc<Semaphore>);

impl LargeFrames {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes_max / PERMIT_BYTES)))
    }
}

/// A whole request; names servers get no payloads.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) prefix: FramePrefix,
    pub(crate) header: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a request to a name server has no payload, this one has {0} bytes")]
    Payload(usize),
    #[error("remoting frame: {0}")]
    Remoting(#[from] remoting::FrameError),
    #[error("{0}")]
    RemotingHeader(#[from] remoting::HeaderError),
    #[error("connection failed: {0}")]
    Io(#[from] std::io::Error),
}

#[derive(Debug)]
pub(crate) struct Reader<R> {
    stream: R,
    buffer: BytesMut,
    share: Option<OwnedSemaphorePermit>,
    large_frames: LargeFrames,
    /// When the first byte of the frame in the buffer arrived.
    frame_started: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(stream: R, large_frames: LargeFrames) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            share: None,
            large_frames,
            frame_started: None,
        }
    }

    /// Since when the frame in the buffer is incomplete.
    pub(crate) fn frame_started(&self) -> Option<Instant> {
        self.frame_started
    }

    /// Reads more bytes; 0 at the end. Cancel safe.
    pub(crate) async fn fill(&mut self, bytes: usize) -> std::io::Result<usize> {
        let step = bytes.clamp(READ_BYTES_MIN, SMALL_FRAME_BYTES);
        self.buffer.reserve(step);
        let read = self.stream.read_buf(&mut self.buffer).await?;
        if read > 0 && self.frame_started.is_none() {
            self.frame_started = Some(Instant::now());
        }
        Ok(read)
    }

    /// What was read and not yet taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops bytes from the front.
    pub(crate) fn skip(&mut self, bytes: usize) {
        drop(self.buffer.split_to(bytes));
        self.restart_clock();
    }

    /// The next request; none at the end of the stream. Cancel safe: nothing read is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Request>, ReadError> {
        loop {
            match decode(&self.buffer)? {
                Decoded::Ready(prefix) => return self.take(prefix).map(Some),
                Decoded::Incomplete(needed) => {
                    self.claim(needed).await;
                    if self.fill(needed - self.buffer.len()).await? == 0 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Claims memory for a frame of that size, if it is a large one.
    pub(crate) async fn claim(&mut self, needed: usize) {
        debug_assert!(needed <= FRAME_BYTES_MAX);
        if needed > SMALL_FRAME_BYTES && self.share.is_none() {
            let permits = (needed / PERMIT_BYTES) as u32;
            let semaphore = self.large_frames.0.clone();
            // The semaphore is never closed; without a share the frame is read all the same.
            self.share = semaphore.acquire_many_owned(permits).await.ok();
        }
    }

    fn take(&mut self, prefix: FramePrefix) -> Result<Request, ReadError> {
        if prefix.payload_bytes() > 0 {
            return Err(ReadError::Payload(prefix.payload_bytes()));
        }
        let (frame, share) = self.split(prefix.frame_bytes);
        Ok(Request {
            prefix,
            header: frame.slice(prefix.header_range()),
            _share: share,
        })
    }

    /// Takes a whole frame from the front, and its claim.
    pub(crate) fn split(&mut self, frame_bytes: usize) -> (Bytes, Option<OwnedSemaphorePermit>) {
        let frame = self.buffer.split_to(frame_bytes).freeze();
        let share = self.share.take();
        if share.is_some() {
            // Leave the large allocation to the request alone.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.restart_clock();
        (frame, share)
    }

    fn restart_clock(&mut self) {
        self.frame_started = (!self.buffer.is_empty()).then(Instant::now);
    }
}
