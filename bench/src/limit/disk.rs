//! The disk alone.

use super::scratch::Scratch;
use super::serving::{executor, joined, open_durable};
use super::{cores, failed};
use crate::BenchError;
use crate::histogram::Latencies;
use glommio::io::OpenOptions;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const BLOCK_BYTES: u64 = 4096;
const BUFFER_BYTES: usize = 16 << 20;

/// (block bytes, reads under way) of the sequential reads.
pub(super) const READS: &[(usize, usize)] = &[
    (128 << 10, 1),
    (256 << 10, 1),
    (1 << 20, 1),
    (128 << 10, 4),
    (256 << 10, 4),
    (1 << 20, 4),
];

/// Times of durable 4 KiB writes, one after the other, into written space.
pub(super) fn durable_writes(
    scratch: &Scratch,
    duration: Duration,
) -> Result<Latencies, BenchError> {
    let (path, bytes) = (scratch.path().to_owned(), scratch.bytes);
    let (told, result) = mpsc::channel();
    let running = executor(cores::serving(), BUFFER_BYTES, move || async move {
        let file = open_durable(&path).await?;
        let mut latencies = Latencies::new();
        let (started, mut position) = (Instant::now(), 0);
        while started.elapsed() < duration {
            let mut buffer = file.alloc_dma_buffer(BLOCK_BYTES as usize);
            buffer.as_bytes_mut().fill(7);
            let begun = Instant::now();
            if file.write_at(buffer, position).await? != BLOCK_BYTES as usize {
                return Err(io::ErrorKind::WriteZero.into());
            }
            latencies.record(begun.elapsed());
            position = (position + BLOCK_BYTES) % bytes;
        }
        file.close().await?;
        let _ = told.send(latencies);
        Ok(())
    })?;
    joined(running)?;
    received(&result)
}

/// Megabytes (10^6 bytes) a second of direct reads from the file's start on, `depth` under way.
pub(super) fn sequential_read(
    scratch: &Scratch,
    block: usize,
    depth: usize,
    duration: Duration,
) -> Result<f64, BenchError> {
    let (path, bytes) = (scratch.path().to_owned(), scratch.bytes);
    let (told, result) = mpsc::channel();
    let running = executor(cores::serving(), BUFFER_BYTES, move || async move {
        let file = OpenOptions::new().read(true).dma_open(&path).await?;
        let (file, next) = (Rc::new(file), Rc::new(Cell::new(0)));
        let started = Instant::now();
        let readers: Vec<_> = (0..depth)
            .map(|_| {
                let (file, next) = (file.clone(), next.clone());
                glommio::spawn_local(async move {
                    while started.elapsed() < duration {
                        let position = next.replace(next.get() + block as u64);
                        let position = position % (bytes - bytes % block as u64);
                        if file.read_at_aligned(position, block).await?.len() != block {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for reader in readers {
            reader.await?;
        }
        let _ = told.send(next.get() as f64 / started.elapsed().as_secs_f64() / 1e6);
        Ok(())
    })?;
    joined(running)?;
    received(&result)
}

fn received<T>(result: &mpsc::Receiver<T>) -> Result<T, BenchError> {
    let gone = |_| failed("measure", io::Error::other("the executor ended"));
    result.try_recv().map_err(gone)
}
