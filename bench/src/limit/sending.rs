//! The sending side of the bare loop: blocking sockets, a thread each, all on the sending core.

use super::serving::Shape;
use super::{cores, failed};
use crate::BenchError;
use crate::schedule::Window;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes that were acknowledged within the measured time.
pub(super) fn run(
    address: SocketAddr,
    shape: Shape,
    warm_up: Duration,
    duration: Duration,
) -> Result<u64, BenchError> {
    let window = Window::new(warm_up, duration);
    let started = Instant::now();
    let send = move || send(address, shape, window, started);
    let threads: Vec<_> = (0..shape.connections)
        .map(|_| std::thread::spawn(send))
        .collect();
    let mut bytes = 0;
    for thread in threads {
        let ended = thread.join();
        let sent = ended.unwrap_or_else(|_| Err(io::Error::other("a sending thread panicked")));
        bytes += sent.map_err(|source| failed("send to", source))?;
    }
    Ok(bytes)
}

fn send(address: SocketAddr, shape: Shape, window: Window, started: Instant) -> io::Result<u64> {
    cores::pin_sender();
    let mut request = vec![0; shape.bytes];
    rand::fill(&mut request[..]);
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = [0; 64];
    let (mut unanswered, mut bytes) = (0, 0);
    loop {
        while unanswered < shape.in_flight && started.elapsed() < window.end {
            stream.write_all(&request)?;
            unanswered += 1;
        }
        if unanswered == 0 {
            return Ok(bytes);
        }
        let answered = stream.read(&mut answers)?;
        if answered == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        unanswered -= answered;
        if window.contains(started.elapsed()) {
            bytes += (answered * shape.bytes) as u64;
        }
    }
}
