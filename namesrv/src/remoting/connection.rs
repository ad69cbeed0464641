//! A connection that speaks the remoting protocol: one request after the other.

use super::{RemotingFrame, handle};
use crate::connection::{Connection, End};
use crate::reader::ReadError;
use ringmq_wire::remoting::{Command, FramePrefix};
use std::sync::Arc;
use tokio::time::{Instant, sleep_until};

impl Connection {
    /// One request and its answer.
    pub(crate) async fn remoting_step(&mut self) -> Result<(), End> {
        let idle_deadline = self.idle_deadline();
        let frame_deadline = self.frame_deadline();
        tokio::select! {
            frame = self.reader.next_remoting() => match frame {
                Ok(Some(frame)) => {
                    self.last_request = Instant::now();
                    self.answer(frame).await
                }
                Ok(None) => Err(End::Closed),
                Err(error) => Err(error.into()),
            },
            () = sleep_until(frame_deadline.unwrap_or(idle_deadline)) => {
                match self.reader.frame_started() {
                    // The frame began while this step was waiting: its own deadline counts from there.
                    Some(_) if frame_deadline.is_none() => Ok(()),
                    Some(_) => Err(End::SlowFrame),
                    None => Err(End::Idle(self.shared.config.idle_timeout_ms)),
                }
            }
            () = crate::connection::stopping(&mut self.stop) => Err(End::Stopping),
        }
    }

    async fn answer(&mut self, frame: RemotingFrame) -> Result<(), End> {
        let header = frame.header().map_err(ReadError::from)?;
        if header.is_response() {
            // We ask nothing: somebody answers what was never asked.
            return Ok(());
        }
        let serialization = frame.serialization();
        let command = Command::from_header(&header);
        let oneway = command.is_oneway();
        let connection = self.session.connection;
        let shared = Arc::clone(&self.shared);
        // Some requests wait for the disk or unfold a large body; other connections must not wait along.
        let (response, body) = if is_heavy(&command, frame.body()) {
            let work = move || handle(&shared, connection, &command, frame.body());
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| End::Stopping)?
        } else {
            handle(&shared, connection, &command, frame.body())
        };
        if oneway {
            return Ok(());
        }
        let head = response.encode_head(serialization, body.len());
        debug_assert!(matches!(FramePrefix::parse(&head), Ok(Some(_))));
        self.write(&head).await?;
        self.write(&body).await
    }
}

/// Bodies that take long to read.
const LARGE_BODY_BYTES: usize = 64 << 10;

fn is_heavy(command: &Command, body: &[u8]) -> bool {
    use ringmq_wire::remoting::request_code::{DELETE_KV_CONFIG, PUT_KV_CONFIG};
    body.len() > LARGE_BODY_BYTES
        || command.get("compressed") == Some("true")
        || [PUT_KV_CONFIG, DELETE_KV_CONFIG].contains(&command.code)
}
