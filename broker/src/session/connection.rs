//! glommio glue of one connection: a reader, a writer, and what the supervisor may do to both.
//!
//! The writer sends what is in the outbox in few large sends. Everything else is in [`super::reader`],
//! [`super::native`], [`super::serve`] and [`super::watch`], which name no runtime.

use super::link::{Link, Phase};
use super::native::Session;
use super::reader::{Reader, Source, now_ms};
use super::serve::Connection;
use super::watch::SendWatch;
use crate::shard::Shard;
use futures_lite::future::{or, poll_fn};
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

/// Pieces of one send.
const SLICES_MAX: usize = 64;
/// How long a closed connection may go on sending what nobody reads, so that it gets our last answer.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection and its supervisor share.
pub struct Wire<D: Disk> {
    stream: RefCell<TcpStream>,
    session: Rc<RefCell<Session>>,
    link: Rc<Link<D>>,
    send_watch: RefCell<SendWatch>,
    number: u64,
    peer: SocketAddr,
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
        Rc::new(Self {
            stream: RefCell::new(stream),
            session: Rc::new(RefCell::new(session)),
            link: Rc::new(Link::new(shard)),
            send_watch: RefCell::default(),
            number,
            peer,
        })
    }

    /// Drops a peer that let a deadline pass; to be called about once a second.
    pub fn supervise<R: Runtime>(&self, shard: &Shard<D, R>) {
        let now_ms = now_ms(shard);
        let late = {
            let mut session = self.session.borrow_mut();
            session.release_idle(now_ms);
            session
                .check(now_ms, self.link.owes())
                .map(|timeout| timeout.to_string())
        };
        let (waiting, sent) = (self.link.has_unsent(), self.link.sent_bytes());
        let stalled = self
            .send_watch
            .borrow_mut()
            .check(shard.limits(), now_ms, waiting, sent)
            .map(|stalled| stalled.to_string());
        if let Some(reason) = late.or(stalled) {
            tracing::info!(
                shard = shard.name(),
                connection = self.number,
                peer = %self.peer,
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

    /// Sends what the socket takes at once, or waits until it takes something.
    async fn send(&self) -> io::Result<()> {
        let count = self.link.with_outbox(|outbox| {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let used = outbox.next_slices(&mut slices);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let mut control = SendAncillaryBuffer::default();
            self.with_fd(|fd| rustix::net::sendmsg(fd, &slices[..used], &mut control, flags))
        });
        let count = match count {
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {
                poll_fn(|cx| {
                    if self.link.phase() == Phase::Dead {
                        return std::task::Poll::Ready(Ok(0));
                    }
                    self.link.with_outbox(|outbox| {
                        let mut stream = self.stream.borrow_mut();
                        Pin::new(&mut *stream).poll_write(cx, outbox.front())
                    })
                })
                .await?
            }
            Err(error) => return Err(error.into()),
        };
        if self.link.phase() != Phase::Dead {
            self.link.sent(count);
        }
        Ok(())
    }

    /// Sends answers until the connection is drained or dead.
    async fn write(&self) {
        loop {
            let phase = poll_fn(|cx| self.link.poll_work(cx)).await;
            if phase == Phase::Dead || !self.link.has_unsent() {
                return;
            }
            if self.send().await.is_err() {
                self.kill();
                return;
            }
            glommio::yield_if_needed().await;
        }
    }
}

impl<D: Disk> Source for Rc<Wire<D>> {
    async fn receive(&self, session: &RefCell<Session>) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut session = session.borrow_mut();
            let mut stream = self.stream.borrow_mut();
            Pin::new(&mut *stream).poll_read(cx, session.unfilled())
        })
        .await
    }

    async fn breathe(&self) {
        glommio::yield_if_needed().await;
    }
}

/// Serves a connection until it ends. `admitted`: false answers `Busy` to its Hello.
pub async fn serve<D: Disk, R: Runtime>(shard: Shard<D, R>, wire: Rc<Wire<D>>, admitted: bool) {
    let link = Rc::clone(&wire.link);
    let connection = Connection::new(shard.clone(), Rc::clone(&link), wire.number, wire.peer);
    let writer = {
        let wire = Rc::clone(&wire);
        glommio::spawn_local(async move { wire.write().await })
    };
    let session = Rc::clone(&wire.session);
    let mut reader = Reader::new(shard, session, link, connection, wire, admitted);
    let ended_by_us = reader.run().await;
    reader.end();
    writer.await;
    if ended_by_us {
        linger(&reader).await;
    }
    reader.connection.closed();
}

/// Closing with received bytes unread would reset the connection and take our last answer with it.
async fn linger<D: Disk, R: Runtime>(reader: &Reader<D, R, Rc<Wire<D>>>) {
    if reader.link.phase() == Phase::Dead {
        return;
    }
    reader.source.shut(Shutdown::Write);
    let discard = async {
        while let Ok(1..) = reader.receive().await {
            let _ = reader.session.borrow_mut().step();
        }
    };
    or(discard, reader.shard.runtime().sleep(LINGER)).await;
}
