//! One client connection: recognise the protocol, then requests in, answers and watch pushes out, in one task.
//!
//! Everything is written by this task before it reads on, so a client that does not take its answers stops itself and
//! nobody else; after the transfer timeout it is closed.

use crate::answers;
use crate::config::Config;
use crate::directory::{Directory, Signal};
use crate::foreign::{Foreign, Opening, recognise};
use crate::kv::KvStore;
use crate::reader::{LargeFrames, ReadError, Reader};
use crate::requests::{Next, Session, handle};
use crate::route_table::Refusal;
use crate::watch::ConnectionId;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::PREFACE;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) directory: Directory,
    pub(crate) config: Config,
    pub(crate) large_frames: LargeFrames,
    pairs: Mutex<KvStore>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> std::io::Result<Self> {
        Ok(Self {
            directory: Directory::new(&config),
            large_frames: LargeFrames::new(config.large_frame_bytes_max),
            pairs: Mutex::new(KvStore::open(config.kv_file.clone())?),
            config,
        })
    }

    /// The pairs of strings, for one access.
    pub(crate) fn pairs(&self) -> MutexGuard<'_, KvStore> {
        // Every change is complete before anything in it could panic half-way; going on beats stopping.
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the client closed it")]
    Closed,
    #[error("the server stops")]
    Stopping,
    #[error("nothing came for {0} ms")]
    Idle(u64),
    #[error("a frame did not arrive whole in time")]
    SlowFrame,
    #[error("the client did not take its answers in time")]
    SlowReader,
    #[error("the client was told to go: {0}")]
    Refused(String),
    #[error("route changes were not taken in time, and too many wait")]
    WatchOverflow,
    #[error("it opened with {}", .0.explanation())]
    Foreign(Foreign),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("writing failed: {0}")]
    Write(std::io::Error),
}

pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    pub(crate) session: Session,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) last_request: Instant,
}

/// What the other side opened with.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Native,
    Remoting,
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    id: ConnectionId,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let (read_half, writer) = stream.into_split();
    let mut connection = Connection {
        reader: Reader::new(read_half, shared.large_frames.clone()),
        writer,
        session: Session {
            connection: id,
            signal: Arc::new(Signal::default()),
            client_id: None,
        },
        stop,
        last_request: Instant::now(),
        shared: shared.clone(),
    };
    let end = connection.run().await;
    shared.directory.connection_closed(id);
    let client = connection.session.client_id.as_deref().unwrap_or("-");
    match end {
        End::Foreign(_) => tracing::warn!(%peer, "connection refused: {end}"),
        End::Closed | End::Stopping => tracing::debug!(%peer, client, "connection ended: {end}"),
        _ => tracing::info!(%peer, client, "connection closed: {end}"),
    }
}

/// Completes when the server stops, or is gone.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

impl Connection {
    async fn run(&mut self) -> End {
        let protocol = match self.open().await {
            Ok(protocol) => protocol,
            Err(end) => return end,
        };
        loop {
            let step = match protocol {
                Protocol::Native => self.step().await,
                Protocol::Remoting => self.remoting_step().await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Waits for the first bytes.
    async fn open(&mut self) -> Result<Protocol, End> {
        let deadline = Instant::now() + self.transfer_timeout();
        loop {
            match recognise(self.reader.buffered()) {
                Opening::Native => {
                    self.reader.skip(PREFACE.len());
                    return Ok(Protocol::Native);
                }
                Opening::Remoting => return Ok(Protocol::Remoting),
                Opening::Foreign(foreign) => {
                    self.write(&foreign.answer()).await?;
                    return Err(End::Foreign(foreign));
                }
                Opening::Incomplete => {}
            }
            tokio::select! {
                read = self.reader.fill(PREFACE.len()) => {
                    if read.map_err(ReadError::from)? == 0 {
                        return Err(End::Closed);
                    }
                }
                () = sleep_until(deadline) => return Err(End::SlowFrame),
                () = stopping(&mut self.stop) => return Err(End::Stopping),
            }
        }
    }

    /// One request or one push.
    async fn step(&mut self) -> Result<(), End> {
        let idle_deadline = self.idle_deadline();
        let frame_deadline = self.frame_deadline();
        let signal = self.session.signal.clone();
        let request = tokio::select! {
            request = self.reader.next() => request,
            () = signal.raised() => return self.push().await,
            () = sleep_until(frame_deadline.unwrap_or(idle_deadline)) => {
                return Err(match self.reader.frame_started() {
                    // The frame began while this step was waiting: its own deadline counts from there.
                    Some(_) if frame_deadline.is_none() => return Ok(()),
                    Some(_) => End::SlowFrame,
                    None => End::Idle(self.shared.config.idle_timeout_ms),
                });
            }
            () = stopping(&mut self.stop) => return Err(End::Stopping),
        };
        match request {
            Ok(Some(request)) => {
                self.last_request = Instant::now();
                let shared = self.shared.clone();
                let next = handle(
                    &shared.directory,
                    &shared.config,
                    &mut self.session,
                    &request.prefix,
                    &request.header,
                );
                drop(request);
                self.perform(next).await
            }
            Ok(None) => Err(End::Closed),
            Err(ReadError::Io(error)) => Err(ReadError::Io(error).into()),
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::Malformed, error.to_string());
                let frame = answers::error(Kind::Hello.number(), 0, &refusal);
                self.write(&frame).await?;
                Err(error.into())
            }
        }
    }

    async fn perform(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Answer(frame) => self.write(&frame).await,
            Next::Watching => Ok(()),
            Next::Close(frame) => {
                self.write(&frame).await?;
                Err(End::Refused("see the answer".to_string()))
            }
        }
    }

    /// Sends one frame of route changes; more of them come back by the signal, after requests had their turn.
    async fn push(&mut self) -> Result<(), End> {
        if self.session.signal.is_closed() {
            return Err(End::WatchOverflow);
        }
        if let Some((frame, more)) = self.shared.directory.next_push(self.session.connection) {
            self.write(&frame).await?;
            if more {
                self.session.signal.raise();
            }
        }
        Ok(())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        match timeout(self.transfer_timeout(), self.writer.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Write(error)),
            Err(_) => Err(End::SlowReader),
        }
    }

    /// When a client that sends nothing has done so for too long.
    pub(crate) fn idle_deadline(&self) -> Instant {
        self.last_request + Duration::from_millis(self.shared.config.idle_timeout_ms)
    }

    /// When the frame that has begun must be there.
    pub(crate) fn frame_deadline(&self) -> Option<Instant> {
        let started = self.reader.frame_started()?;
        Some(started + self.transfer_timeout())
    }

    fn transfer_timeout(&self) -> Duration {
        Duration::from_millis(self.shared.config.transfer_timeout_ms)
    }
}
