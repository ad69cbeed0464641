//! The serving side of the bare loop.

use super::scratch::Scratch;
use super::{cores, failed};
use crate::BenchError;
use futures_lite::io::split;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::channels::local_channel;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::net::{TcpListener, TcpStream};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

/// As in the broker: how long a task may run before others are looked at.
const PREEMPTION: Duration = Duration::from_millis(20);
/// O_DSYNC: a write returns once its own range is durable.
const DURABLE: i32 = rustix::fs::OFlags::DSYNC.bits() as i32;

/// What distinguishes one cell of the table from another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) bytes: usize,
    pub(super) in_flight: usize,
    pub(super) connections: usize,
    pub(super) buffer_bytes: usize,
}

/// A running loop. It ends when its last connection does.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    executor: ExecutorJoinHandle<io::Result<()>>,
}

impl Server {
    pub(super) fn finish(self) -> Result<(), BenchError> {
        joined(self.executor)
    }
}

/// Starts the loop on the serving core.
pub(super) fn start(scratch: &Scratch, shape: Shape) -> Result<Server, BenchError> {
    let (path, file_bytes) = (scratch.path().to_owned(), scratch.bytes);
    let (bound, address) = mpsc::channel();
    let executor = executor(cores::serving(), shape.buffer_bytes, move || async move {
        let log = Rc::new(Log::open(&path, file_bytes).await?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // Nobody waits for the address: then nobody will connect either.
        let _ = bound.send(listener.local_addr()?);
        let mut serving = Vec::new();
        for _ in 0..shape.connections {
            let stream = listener.accept().await?;
            stream.set_nodelay(true)?;
            serving.push(glommio::spawn_local(serve(
                stream,
                log.clone(),
                shape.bytes,
            )));
        }
        for connection in serving {
            connection.await?;
        }
        Ok(())
    })?;
    match address.recv() {
        Ok(address) => Ok(Server { address, executor }),
        Err(_) => Err(joined(executor)
            .err()
            .unwrap_or_else(|| failed("listen on", io::Error::other("the executor ended")))),
    }
}

/// Runs one executor with `buffer_bytes` of registered memory.
pub(super) fn executor<F>(
    placement: Placement,
    buffer_bytes: usize,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<ExecutorJoinHandle<io::Result<()>>, BenchError>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    LocalExecutorBuilder::new(placement)
        .name("limit")
        .io_memory(buffer_bytes)
        .preempt_timer(PREEMPTION)
        .spawn(work)
        .map_err(|error| failed("start the executor of", io::Error::other(error.to_string())))
}

/// Waits for an executor and takes its result out of both wrappings.
pub(super) fn joined(executor: ExecutorJoinHandle<io::Result<()>>) -> Result<(), BenchError> {
    let outcome = match executor.join() {
        Ok(outcome) => outcome,
        Err(error) => Err(io::Error::other(error.to_string())),
    };
    outcome.map_err(|source| failed("serve", source))
}

/// Opens a written file for durable direct writes.
pub(super) async fn open_durable(path: &Path) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(DURABLE);
    options.dma_open(path).await.map_err(io::Error::from)
}

/// Where the loop writes: round and round in written space.
struct Log {
    file: DmaFile,
    bytes: u64,
    next: Cell<u64>,
}

impl Log {
    async fn open(path: &Path, bytes: u64) -> io::Result<Self> {
        Ok(Self {
            file: open_durable(path).await?,
            bytes,
            next: Cell::new(0),
        })
    }

    async fn append(&self, buffer: DmaBuffer) -> io::Result<()> {
        let wanted = buffer.len();
        let mut position = self.next.get();
        if position + wanted as u64 > self.bytes {
            position = 0;
        }
        self.next.set(position + wanted as u64);
        // glommio: a short write is reported as success with its length.
        match self.file.write_at(buffer, position).await? {
            written if written == wanted => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

/// Reads requests of `bytes`, writes each on its own, answers each with one byte once it is durable.
async fn serve(stream: TcpStream, log: Rc<Log>, bytes: usize) -> io::Result<()> {
    let (mut reader, mut writer) = split(stream);
    let (done, durable) = local_channel::new_unbounded();
    let done = Rc::new(done);
    let answering = glommio::spawn_local(async move {
        while let Some(outcome) = durable.recv().await {
            let outcome: io::Result<()> = outcome;
            outcome?;
            writer.write_all(&[1]).await?;
        }
        Ok(())
    });
    loop {
        let mut buffer = log.file.alloc_dma_buffer(bytes);
        match reader.read_exact(buffer.as_bytes_mut()).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            read => read?,
        }
        black_box(crc32fast::hash(buffer.as_bytes()));
        let (log, done) = (log.clone(), done.clone());
        let write = async move {
            // The receiver ended with an error of its own, which is the one that counts.
            let _ = done.try_send(log.append(buffer).await);
        };
        glommio::spawn_local(write).detach();
    }
    drop(done);
    answering.await
}
