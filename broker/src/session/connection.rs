//! glommio glue of one connection: a reader, a writer, and what the supervisor may do to both.
//!
//! The writer sends what is in the outbox in few large sends. Everything else is in [`super::reader`],
//! [`super::native`], [`super::serve`] and [`super::watch`], which name no runtime.

use super::inbox::Inbox;
use super::link::{Link, Phase};
use super::native::Session;
use super::reader::{Ended, Reader, now_ms};
use super::receiving::Receiving;
use super::remoting;
use super::serve::Connection;
use super::source::{Receive, Source};
use super::watch::SendWatch;
use crate::handler::remoting::Origin;
use crate::shard::Shard;
use futures_lite::future::{or, poll_fn};
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Pieces of one send.
const SLICES_MAX: usize = 64;
/// Bytes that one connection receives, or sends, without waiting before the rings get a turn. They are looked at when no
/// task is ready, or after the preemption timer; until then neither the frames of the log that these bytes filled nor
/// the reads for the next answer are with the disk.
const BYTES_OF_TURN: usize = 256 << 10;
/// Shorter than a turn takes.
const NEXT_TURN: Duration = Duration::from_micros(1);
/// How long a closed connection may go on sending what nobody reads, so that it gets our last answer.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection and its supervisor share.
pub struct Wire<D: Disk> {
    stream: RefCell<TcpStream>,
    receiving: RefCell<Receiving>,
    link: Rc<Link<D>>,
    send_watch: RefCell<SendWatch>,
    /// Bytes received since this connection last waited.
    received: Cell<usize>,
    origin: Origin,
}

impl<D: Disk> Wire<D> {
    /// A connection that was just accepted.
    pub fn new<R: Runtime>(
        shard: &Shard<D, R>,
        stream: TcpStream,
        number: u64,
        peer: SocketAddr,
    ) -> Rc<Self> {
        // A socket that is gone already tells at the first read.
        let _ = stream.set_nodelay(true);
        let session = Session::new(*shard.limits(), now_ms(shard));
        // The same for a socket without an end of ours.
        let local = stream.local_addr().unwrap_or(peer);
        Rc::new(Self {
            stream: RefCell::new(stream),
            receiving: RefCell::new(Receiving::Native(Rc::new(RefCell::new(session)))),
            link: Rc::new(Link::new(shard)),
            send_watch: RefCell::default(),
            received: Cell::new(0),
            origin: Origin {
                number,
                peer,
                local,
            },
        })
    }

    /// Drops a peer that let a deadline pass; to be called about once a second.
    pub fn supervise<R: Runtime>(&self, shard: &Shard<D, R>) {
        let now_ms = now_ms(shard);
        let late = self.receiving.borrow().check(now_ms, self.link.owes());
        let late = late.map(|timeout| timeout.to_string());
        let (waiting, sent) = (self.link.has_unsent(), self.link.sent_bytes());
        let stalled = self
            .send_watch
            .borrow_mut()
            .check(shard.limits(), now_ms, waiting, sent)
            .map(|stalled| stalled.to_string());
        if let Some(reason) = late.or(stalled) {
            tracing::info!(
                shard = shard.name(),
                connection = self.origin.number,
                peer = %self.origin.peer,
                "connection dropped: {reason}"
            );
            self.kill();
        }
    }

    /// Nothing more is read; what was received or begun is still answered.
    pub fn stop_reading(&self) {
        self.shut(Shutdown::Read);
    }

    /// Ends the connection at once; unsent answers are dropped.
    pub fn kill(&self) {
        self.link.kill();
        self.shut(Shutdown::Both);
    }

    fn shut(&self, how: Shutdown) {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        // An error says that the peer was faster.
        let _ = self.with_fd(|fd| rustix::net::shutdown(fd, how));
    }

    #[allow(unsafe_code, reason = "glommio gives its socket only as a raw number")]
    fn with_fd<T>(&self, use_it: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        let stream = self.stream.borrow();
        // SAFETY: the stream owns the descriptor and is borrowed for the whole call.
        use_it(unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) })
    }

    /// Sends what the socket takes at once of a turn's bytes, or waits until it takes something. Returns how many it sent
    /// without waiting.
    async fn send(&self) -> io::Result<usize> {
        let count = self.link.with_outbox(|outbox| {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = outbox.next_slices(&mut slices, BYTES_OF_TURN);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut control = SendAncillaryBuffer::default();
            self.with_fd(|fd| rustix::net::sendmsg(fd, &slices[..used], &mut control, flags))
        });
        let (count, at_once) = match count {
            Ok(count) => (count, count),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                let count = poll_fn(|cx| {
                    if self.link.phase() == Phase::Dead {
                        return std::task::Poll::Ready(Ok(0));
                    }
                    self.link.with_outbox(|outbox| {
                        let mut stream = self.stream.borrow_mut();
                        Pin::new(&mut *stream).poll_write(cx, outbox.front())
                    })
                });
                (count.await?, 0)
            }
            Err(error) => return Err(error.into()),
        };
        if self.link.phase() != Phase::Dead {
            self.link.sent(count);
        }
        Ok(at_once)
    }

    /// Sends answers until the connection is drained or dead.
    async fn write(&self) {
        let mut sent = 0;
        loop {
            let phase = poll_fn(|cx| self.link.poll_work(cx)).await;
            if phase == Phase::Dead || !self.link.has_unsent() {
                return;
            }
            match self.send().await {
                Ok(0) => sent = 0,
                Ok(count) => sent += count,
                Err(_) => return self.kill(),
            }
            if sent < BYTES_OF_TURN {
                glommio::yield_if_needed().await;
            } else {
                sent = 0;
                take_turn().await;
            }
        }
    }
}

impl<D: Disk> Source for Rc<Wire<D>> {
    async fn receive<S: Receive>(&self, session: &RefCell<S>) -> io::Result<usize> {
        let count = poll_fn(|cx| {
            let mut session = session.borrow_mut();
            let mut stream = self.stream.borrow_mut();
            let read = Pin::new(&mut *stream).poll_read(cx, session.unfilled());
            if read.is_pending() {
                self.received.set(0);
            }
            read
        })
        .await?;
        self.received.set(self.received.get() + count);
        Ok(count)
    }

    async fn breathe(&self) {
        if self.received.get() < BYTES_OF_TURN {
            return glommio::yield_if_needed().await;
        }
        self.received.set(0);
        take_turn().await;
    }
}

/// Lets the rings have their turn. glommio: no way to ask for it but a timer, which is looked at in one.
async fn take_turn() {
    glommio::timer::sleep(NEXT_TURN).await;
}

/// Serves a connection until it ends. `admitted`: false answers "busy" to its first request.
pub async fn serve<D: Disk, R: Runtime>(shard: Shard<D, R>, wire: Rc<Wire<D>>, admitted: bool) {
    let writer = {
        let wire = Rc::clone(&wire);
        glommio::spawn_local(async move { wire.write().await })
    };
    let session = wire.receiving.borrow().native();
    let (link, origin) = (Rc::clone(&wire.link), wire.origin);
    let connection = Connection::new(shard.clone(), Rc::clone(&link), origin.number, origin.peer);
    let mut reader = Reader::new(
        shard.clone(),
        session,
        link,
        connection,
        Rc::clone(&wire),
        admitted,
    );
    let ended = reader.run().await;
    if ended == Ended::Remoting {
        let inbox = reader.session.borrow_mut().take_inbox();
        return serve_remoting(shard, wire, inbox, writer, admitted).await;
    }
    reader.end();
    writer.await;
    if ended == Ended::ByUs {
        linger(&shard, &wire, &reader.session).await;
    }
    reader.connection.closed();
}

/// Goes on with a connection that turned out to be a RocketMQ client's.
async fn serve_remoting<D: Disk, R: Runtime>(
    shard: Shard<D, R>,
    wire: Rc<Wire<D>>,
    inbox: Inbox,
    writer: glommio::Task<()>,
    admitted: bool,
) {
    let session = remoting::Session::new(*shard.limits(), inbox, now_ms(&shard));
    let session = Rc::new(RefCell::new(session));
    wire.receiving
        .replace(Receiving::Remoting(Rc::clone(&session)));
    let link = Rc::clone(&wire.link);
    let connection = remoting::Connection::new(shard.clone(), Rc::clone(&link), wire.origin);
    let mut reader = remoting::Reader::new(
        shard.clone(),
        session,
        link,
        connection,
        Rc::clone(&wire),
        admitted,
    );
    let ended_by_us = reader.run().await;
    reader.end();
    writer.await;
    if ended_by_us {
        linger(&shard, &wire, &reader.session).await;
    }
    wire.link.kill();
}

/// Closing with received bytes unread would reset the connection and take our last answer with it.
async fn linger<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    wire: &Rc<Wire<D>>,
    session: &RefCell<impl Receive>,
) {
    if wire.link.phase() == Phase::Dead {
        return;
    }
    wire.shut(Shutdown::Write);
    let discard = async {
        while let Ok(count @ 1..) = wire.receive(session).await {
            let mut session = session.borrow_mut();
            session.filled(count, now_ms(shard));
            session.discard_received();
        }
    };
    or(discard, shard.runtime().sleep(LINGER)).await;
}
