//! The loopback alone: blocking sockets, a thread on each core.

use super::{cores, failed};
use crate::BenchError;
use crate::histogram::Latencies;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A message and an answer as producers see them.
const REQUEST_BYTES: usize = 1024;
const ANSWER_BYTES: usize = 64;
const CHUNK_BYTES: usize = 1 << 20;

/// Times of a request of 1 KiB and its answer of 64 bytes.
pub(super) fn round_trips(duration: Duration) -> Result<Latencies, BenchError> {
    let answer = |mut stream: TcpStream| {
        let mut request = [0; REQUEST_BYTES];
        while stream.read_exact(&mut request).is_ok() {
            stream.write_all(&[0; ANSWER_BYTES])?;
        }
        Ok(0)
    };
    let (stream, server) = pair(answer).map_err(|source| failed("connect to", source))?;
    // A thread of its own, because it is pinned.
    let asked = ended(std::thread::spawn(move || ask(stream, duration)));
    ended(server)?;
    asked
}

fn ask(mut stream: TcpStream, duration: Duration) -> io::Result<Latencies> {
    cores::pin_sender();
    let mut times = Latencies::new();
    let started = Instant::now();
    while started.elapsed() < duration {
        let begun = Instant::now();
        stream.write_all(&[0; REQUEST_BYTES])?;
        stream.read_exact(&mut [0; ANSWER_BYTES])?;
        times.record(begun.elapsed());
    }
    Ok(times)
}

/// Megabytes (10^6 bytes) a second through one connection.
pub(super) fn throughput(duration: Duration) -> Result<f64, BenchError> {
    let drain = |mut stream: TcpStream| {
        let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0);
        loop {
            match stream.read(&mut chunk)? {
                0 => return Ok(bytes),
                read => bytes += read as u64,
            }
        }
    };
    let (mut stream, server) = pair(drain).map_err(|source| failed("connect to", source))?;
    let started = Instant::now();
    let pushed = std::thread::spawn(move || {
        cores::pin_sender();
        let chunk = vec![0; CHUNK_BYTES];
        while started.elapsed() < duration {
            stream.write_all(&chunk)?;
        }
        Ok(0)
    });
    ended(pushed)?;
    let bytes = ended(server)?;
    Ok(bytes as f64 / started.elapsed().as_secs_f64() / 1e6)
}

type Running<T = u64> = JoinHandle<io::Result<T>>;

/// A connected socket, and a thread on the serving core that has the other end.
fn pair(
    work: impl FnOnce(TcpStream) -> io::Result<u64> + Send + 'static,
) -> io::Result<(TcpStream, Running)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let (accepted, _) = listener.accept()?;
    for end in [&stream, &accepted] {
        end.set_nodelay(true)?;
    }
    let server = std::thread::spawn(move || {
        cores::pin_server();
        work(accepted)
    });
    Ok((stream, server))
}

fn ended<T>(thread: Running<T>) -> Result<T, BenchError> {
    let outcome = thread.join();
    let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
    outcome.map_err(|source| failed("serve", source))
}
