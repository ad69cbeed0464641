//! A network in memory: streams of bytes that take time, arrive in any pieces, and break.
//!
//! - Within one direction of one connection bytes keep their order; between connections nothing does.
//! - A direction takes a bounded number of bytes that its reader has not read; then the writer waits.
//! - A connection can be cut (both ends see an error) or become half-open (bytes vanish and nobody is told).

use super::draw::Draw;
use futures_lite::future::{or, poll_fn};
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a connection attempt waits when nobody answers it at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What goes wrong by itself, and how slow it is.
#[derive(Debug, Clone, Copy)]
pub struct NetOptions {
    /// Each piece takes between nothing and this.
    pub latency_max: Duration,
    /// One piece in so many takes up to a second more; 0: none.
    pub stall_one_in: u64,
    /// Unread bytes of one direction.
    pub window_bytes: usize,
    /// Most bytes that one receive gives, drawn anew each time.
    pub piece_bytes_max: usize,
}

/// Why a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// After what was sent: an orderly close.
    Eof,
    /// At once.
    Reset,
}

#[derive(Debug, Default)]
struct PipeState {
    /// In order of sending, each with the moment of its arrival.
    pieces: VecDeque<(Duration, VecDeque<u8>)>,
    buffered: usize,
    last_arrival: Duration,
    end: Option<End>,
    /// The writing end was closed; whether the reader learns of it is up to the network.
    writer_gone: bool,
    /// The reading end wants no more: `Eof` discards what comes, `Reset` tells the writer.
    reader_gone: Option<End>,
    /// Half-open: what is sent from now on never arrives, and neither does its end.
    mute: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe(RefCell<PipeState>);

impl Pipe {
    fn wake(&self) {
        let mut state = self.0.borrow_mut();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn end(&self, end: End) {
        let mut state = self.0.borrow_mut();
        if !state.mute && state.end != Some(End::Reset) {
            state.end = Some(end);
            if end == End::Reset {
                state.pieces.clear();
                state.buffered = 0;
            }
        }
        drop(state);
        self.wake();
    }

    /// Whoever writes into it is told so; who reads is not.
    fn mute(&self) {
        self.0.borrow_mut().mute = true;
    }
}

/// One end of a connection; dropping it closes the connection.
pub struct Stream {
    inbound: Rc<Pipe>,
    outbound: Rc<Pipe>,
    net: Net,
    runtime: SimRuntime,
}

impl Stream {
    /// Receives at least one byte; none at the end of the stream.
    pub async fn read(&self, most: usize) -> io::Result<Vec<u8>> {
        let most = most.min(self.net.draw_piece());
        loop {
            let arrives = {
                let mut state = self.inbound.0.borrow_mut();
                let now = self.runtime.now();
                match state.reader_gone {
                    Some(End::Reset) => return Err(io::ErrorKind::ConnectionReset.into()),
                    Some(End::Eof) => return Ok(Vec::new()),
                    None => {}
                }
                match (state.end, state.pieces.front_mut()) {
                    (Some(End::Reset), _) => return Err(io::ErrorKind::ConnectionReset.into()),
                    (_, Some((at, piece))) if *at <= now => {
                        let count = most.min(piece.len());
                        let bytes: Vec<u8> = piece.drain(..count).collect();
                        if piece.is_empty() {
                            state.pieces.pop_front();
                        }
                        state.buffered -= count;
                        let writer = state.writer.take();
                        drop(state);
                        writer.into_iter().for_each(Waker::wake);
                        return Ok(bytes);
                    }
                    (_, Some((at, _))) => Some(*at - now),
                    (Some(End::Eof), None) => return Ok(Vec::new()),
                    (None, None) => None,
                }
            };
            match arrives {
                Some(wait) => or(self.runtime.sleep(wait), self.changed()).await,
                None => self.changed().await,
            }
        }
    }

    /// Waits until something else than time could change what a read gives.
    async fn changed(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut registered, true) {
                return Poll::Ready(());
            }
            self.inbound.0.borrow_mut().reader = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Sends some of the bytes, and says how many.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let room = poll_fn(|cx| {
            let mut state = self.outbound.0.borrow_mut();
            let refused = state.reader_gone == Some(End::Reset) && !state.mute;
            if state.writer_gone || state.end.is_some() || refused {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let room = self
                .net
                .options()
                .window_bytes
                .saturating_sub(state.buffered);
            if room == 0 {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(io::Result::Ok(room))
        })
        .await?;
        let count = bytes.len().min(room);
        let latency = self.net.draw_latency();
        let mut state = self.outbound.0.borrow_mut();
        if state.reader_gone.is_some() {
            return Ok(count);
        }
        state.buffered += count;
        if !state.mute {
            let arrival = state.last_arrival.max(self.runtime.now() + latency);
            state.last_arrival = arrival;
            let piece = bytes[..count].iter().copied().collect();
            state.pieces.push_back((arrival, piece));
            let reader = state.reader.take();
            drop(state);
            reader.into_iter().for_each(Waker::wake);
        }
        Ok(count)
    }

    /// Sends all of the bytes.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Ends both directions at once: reads and writes under way return.
    pub fn abort(&self) {
        self.close(End::Reset);
    }

    /// Reads return the end of the stream; what is queued can still be sent.
    pub fn stop_reading(&self) {
        self.stop_reading_as(End::Eof);
    }

    fn close(&self, end: End) {
        self.outbound.0.borrow_mut().writer_gone = true;
        self.outbound.end(end);
        self.stop_reading_as(End::Reset);
    }

    fn stop_reading_as(&self, end: End) {
        let mut state = self.inbound.0.borrow_mut();
        state.reader_gone = state.reader_gone.max(Some(end));
        state.pieces.clear();
        state.buffered = 0;
        drop(state);
        self.inbound.wake();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close(End::Eof);
    }
}

/// A connection as the network sees it.
#[derive(Debug)]
struct Line {
    server: String,
    pipes: [Weak<Pipe>; 2],
}

impl Line {
    fn each(&self, act: impl Fn(&Pipe)) {
        self.pipes
            .iter()
            .filter_map(Weak::upgrade)
            .for_each(|pipe| act(&pipe));
    }
}

/// Connections that wait to be accepted at an address.
#[derive(Default)]
struct Port {
    waiting: RefCell<VecDeque<Stream>>,
    waker: Cell<Option<Waker>>,
}

/// Takes connections until it is dropped.
pub struct Listener {
    address: String,
    port: Rc<Port>,
    net: Net,
}

impl Listener {
    pub async fn accept(&self) -> Stream {
        poll_fn(|cx| match self.port.waiting.borrow_mut().pop_front() {
            Some(stream) => Poll::Ready(stream),
            None => {
                self.port.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.net.state.borrow_mut();
        let same = |port: &Rc<Port>| Rc::ptr_eq(port, &self.port);
        if state.ports.get(&self.address).is_some_and(same) {
            state.ports.remove(&self.address);
        }
        drop(state);
        let waiting = std::mem::take(&mut *self.port.waiting.borrow_mut());
        drop(waiting);
    }
}

/// The network; a cheap handle.
#[derive(Clone)]
pub struct Net {
    state: Rc<RefCell<State>>,
}

struct State {
    options: NetOptions,
    draw: Draw,
    ports: BTreeMap<String, Rc<Port>>,
    lines: Vec<Line>,
    cuts: u64,
    half_opened: u64,
    connections: u64,
}

impl Net {
    pub fn new(options: NetOptions, draw: Draw) -> Self {
        Self {
            state: Rc::new(RefCell::new(State {
                options,
                draw,
                ports: BTreeMap::new(),
                lines: Vec::new(),
                cuts: 0,
                half_opened: 0,
                connections: 0,
            })),
        }
    }

    fn options(&self) -> NetOptions {
        self.state.borrow().options
    }

    pub fn set_options(&self, options: NetOptions) {
        self.state.borrow_mut().options = options;
    }

    fn draw_latency(&self) -> Duration {
        let mut state = self.state.borrow_mut();
        let options = state.options;
        let mut latency = state.draw.duration(options.latency_max);
        if options.stall_one_in > 0 && state.draw.one_in(options.stall_one_in) {
            latency += state.draw.duration(Duration::from_secs(1));
        }
        latency
    }

    fn draw_piece(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let max = state.options.piece_bytes_max;
        1 + state.draw.index(max)
    }

    /// Takes connections to `address`, replacing whoever did before.
    pub fn listen(&self, address: &str) -> Listener {
        let port = Rc::<Port>::default();
        let ports = &mut self.state.borrow_mut().ports;
        ports.insert(address.to_owned(), Rc::clone(&port));
        Listener {
            address: address.to_owned(),
            port,
            net: self.clone(),
        }
    }

    /// Connects from the machine of `client`.
    pub async fn connect(&self, client: &SimRuntime, address: &str) -> io::Result<Stream> {
        let latency = self.draw_latency();
        client.sleep(latency).await;
        let port = self.state.borrow().ports.get(address).cloned();
        let Some(port) = port else {
            // A host that is gone does not even refuse.
            if self.state.borrow_mut().draw.one_in(4) {
                client.sleep(CONNECT_TIMEOUT).await;
                return Err(io::ErrorKind::TimedOut.into());
            }
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let (up, down) = (Rc::<Pipe>::default(), Rc::<Pipe>::default());
        let stream = |inbound: &Rc<Pipe>, outbound: &Rc<Pipe>| Stream {
            inbound: Rc::clone(inbound),
            outbound: Rc::clone(outbound),
            net: self.clone(),
            runtime: client.clone(),
        };
        let mut state = self.state.borrow_mut();
        state.connections += 1;
        state.lines.retain(|line| line.pipes[0].strong_count() > 0);
        state.lines.push(Line {
            server: address.to_owned(),
            pipes: [Rc::downgrade(&up), Rc::downgrade(&down)],
        });
        drop(state);
        port.waiting.borrow_mut().push_back(stream(&up, &down));
        port.waker.take().into_iter().for_each(Waker::wake);
        Ok(stream(&down, &up))
    }

    /// Breaks one connection, drawn at random: cut, half-open in one direction, or in both.
    pub fn break_one(&self) {
        let mut state = self.state.borrow_mut();
        state.lines.retain(|line| line.pipes[0].strong_count() > 0);
        if state.lines.is_empty() {
            return;
        }
        let count = state.lines.len();
        let line = state.draw.index(count);
        let how = state.draw.index(4);
        let pipes = state.lines[line].pipes.clone();
        if how < 2 {
            state.cuts += 1;
        } else {
            state.half_opened += 1;
        }
        drop(state);
        let pipes: Vec<Rc<Pipe>> = pipes.iter().filter_map(Weak::upgrade).collect();
        match how {
            0 | 1 => pipes.iter().for_each(|pipe| pipe.end(End::Reset)),
            2 => pipes.iter().for_each(|pipe| pipe.mute()),
            _ => pipes.iter().take(1).for_each(|pipe| pipe.mute()),
        }
    }

    /// The machine that serves these addresses is gone. `silently`: its peers are not told, as after a power cut.
    pub fn lost(&self, addresses: &[String], silently: bool) {
        let mut state = self.state.borrow_mut();
        let mut lines = std::mem::take(&mut state.lines);
        for address in addresses {
            state.ports.remove(address);
        }
        drop(state);
        for line in lines.iter().filter(|line| addresses.contains(&line.server)) {
            if silently {
                line.each(Pipe::mute);
            } else {
                line.each(|pipe| pipe.end(End::Reset));
            }
        }
        lines.retain(|line| !addresses.contains(&line.server));
        self.state.borrow_mut().lines.append(&mut lines);
    }

    /// Connections made, cut, and made half-open.
    pub fn counts(&self) -> [u64; 3] {
        let state = self.state.borrow();
        [state.connections, state.cuts, state.half_opened]
    }
}
