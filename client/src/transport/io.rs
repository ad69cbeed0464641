//! The two tasks of a connection.

use super::connection::{Answer, Shared, ping};
use bytes::{Bytes, BytesMut};
use ringmq_wire::native::{self, Decoded, FRAME_PREFIX_BYTES, PREFACE, flags};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
    time::MissedTickBehavior,
};

/// After this much silence the server is asked for a sign of life…
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// …and after this much more without one the connection is given up.
const PING_ANSWER_MAX: Duration = Duration::from_secs(10);
/// A write that makes no progress for longer means that the other side is gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Larger payloads are written from where they are; smaller ones are copied into one write with their neighbours.
const COPY_BYTES_MAX: usize = 16 << 10;
/// Frames are joined up to about this size.
const JOINED_BYTES_MAX: usize = 256 << 10;
/// Least room offered to a read.
const READ_BYTES_MIN: usize = 64 << 10;

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Frame {
    /// Prefix and header.
    pub(super) head: Vec<u8>,
    /// What follows.
    pub(super) payload: Bytes,
}

/// Reads frames until the connection ends.
pub(super) async fn read_answers(shared: Arc<Shared>, mut socket: OwnedReadHalf) {
    let mut closed = shared.subscribe_closed();
    let cause = tokio::select! {
        cause = read_until_failure(&shared, &mut socket) => cause,
        _ = closed.wait_for(|closed| *closed) => return,
    };
    shared.close(cause);
}

async fn read_until_failure(shared: &Shared, socket: &mut OwnedReadHalf) -> String {
    let mut buffer = BytesMut::new();
    loop {
        let missing = match take_frames(shared, &mut buffer).await {
            Ok(missing) => missing,
            Err(cause) => return cause,
        };
        buffer.reserve(missing.max(READ_BYTES_MIN));
        match socket.read_buf(&mut buffer).await {
            Ok(0) => return "closed by the server".to_owned(),
            Ok(_) => shared.received(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Delivers all whole frames; says how many bytes the next one still lacks.
async fn take_frames(shared: &Shared, buffer: &mut BytesMut) -> Result<usize, String> {
    loop {
        let prefix = match native::decode(buffer).map_err(|error| error.to_string())? {
            Decoded::Incomplete(needed) => return Ok(needed.saturating_sub(buffer.len())),
            Decoded::Ready(prefix) => prefix,
        };
        if buffer.len() < prefix.frame_bytes {
            return Ok(prefix.frame_bytes - buffer.len());
        }
        if prefix.flags & flags::RESPONSE == 0 {
            return Err("the server sent a request".to_owned());
        }
        let mut frame = buffer.split_to(prefix.frame_bytes).freeze();
        let payload = frame.split_off(FRAME_PREFIX_BYTES + prefix.header_bytes);
        let header = frame.slice(FRAME_PREFIX_BYTES..);
        let answer = Answer {
            kind: prefix.kind,
            flags: prefix.flags,
            header,
            payload,
        };
        shared.deliver(prefix.correlation_id, answer).await;
    }
}

/// Writes frames until the last sender is gone or the connection ends.
pub(super) async fn write_frames(
    shared: Arc<Shared>,
    mut socket: OwnedWriteHalf,
    mut frames: mpsc::Receiver<Frame>,
) {
    let mut closed = shared.subscribe_closed();
    let cause = tokio::select! {
        cause = write_until_failure(&shared, &mut socket, &mut frames) => cause,
        _ = closed.wait_for(|closed| *closed) => return,
    };
    let _ = socket.shutdown().await;
    shared.close(cause);
}

async fn write_until_failure(
    shared: &Shared,
    socket: &mut OwnedWriteHalf,
    frames: &mut mpsc::Receiver<Frame>,
) -> String {
    let mut joined = Vec::with_capacity(4096);
    joined.extend_from_slice(&PREFACE);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pinged = false;
    loop {
        let frame = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => frame,
                None => return "no longer used".to_owned(),
            },
            _ = tick.tick() => {
                let allowed = shared.idle_bound().map_or(SILENCE_MAX, |idle| SILENCE_MAX.min(idle / 3));
                let silence = shared.silence();
                if silence < allowed {
                    pinged = false;
                    continue;
                }
                if silence > allowed + PING_ANSWER_MAX {
                    return format!("silent for {} ms", silence.as_millis());
                }
                if pinged {
                    continue;
                }
                pinged = true;
                ping()
            }
        };
        if let Err(cause) = write_joined(socket, frames, frame, &mut joined).await {
            return cause;
        }
    }
}

/// Writes `frame` and whatever else waits already.
async fn write_joined(
    socket: &mut OwnedWriteHalf,
    frames: &mut mpsc::Receiver<Frame>,
    frame: Frame,
    joined: &mut Vec<u8>,
) -> Result<(), String> {
    let mut next = Some(frame);
    while let Some(frame) = next {
        joined.extend_from_slice(&frame.head);
        if frame.payload.len() <= COPY_BYTES_MAX {
            joined.extend_from_slice(&frame.payload);
        } else {
            write_all(socket, joined).await?;
            joined.clear();
            write_all(socket, &frame.payload).await?;
        }
        next = if joined.len() < JOINED_BYTES_MAX {
            frames.try_recv().ok()
        } else {
            None
        };
    }
    write_all(socket, joined).await?;
    joined.clear();
    Ok(())
}

async fn write_all(socket: &mut OwnedWriteHalf, mut bytes: &[u8]) -> Result<(), String> {
    while !bytes.is_empty() {
        match tokio::time::timeout(WRITE_STALL_MAX, socket.write(bytes)).await {
            Ok(Ok(0)) => return Err("the socket takes no more bytes".to_owned()),
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("no bytes accepted for {WRITE_STALL_MAX:?}")),
        }
    }
    Ok(())
}
