//! glommio glue of one connection: a reader, a writer, and what the supervisor may do to both.
//!
//! The reader takes bytes from the socket into the session and does what its steps say; it stops reading while the
//! connection's or the shard's budget is spent, which the peer feels through TCP. The writer sends what is in the
//! outbox in few large sends. Decisions are in [`super::native`], [`super::serve`] and [`super::watch`].

use super::link::{Link, Phase};
use super::native::{Session, Step};
use super::opening::Foreign;
use super::serve::{Connection, RequestPermits};
use super::watch::SendWatch;
use crate::handler::Refusal;
use crate::shard::Shard;
use futures_lite::future::{or, poll_fn};
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_wire::codes::Kind;
use ringmq_wire::native::FramePrefix;
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
/// Times that a batch asks for room in the log, others being faster, before its producer is told `Busy`.
const LOG_ATTEMPTS: usize = 16;
/// How long a closed connection may go on sending what nobody reads, so that it gets our last answer.
const LINGER: Duration = Duration::from_secs(2);

/// What a connection and its supervisor share.
pub struct Wire<D: Disk> {
    stream: RefCell<TcpStream>,
    session: RefCell<Session>,
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
            session: RefCell::new(session),
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

    /// Receives once into the session; 0 at the end of the stream.
    async fn receive<R: Runtime>(&self, shard: &Shard<D, R>) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut session = self.session.borrow_mut();
            let mut stream = self.stream.borrow_mut();
            let polled = Pin::new(&mut *stream).poll_read(cx, session.unfilled());
            polled.map_ok(|count| {
                session.filled(count, now_ms(shard));
                count
            })
        })
        .await
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

/// Serves a connection until it ends. `admitted`: false answers `Busy` to its Hello.
pub async fn serve<D: Disk, R: Runtime>(shard: Shard<D, R>, wire: Rc<Wire<D>>, admitted: bool) {
    let link = Rc::clone(&wire.link);
    let connection = Connection::new(shard.clone(), link, wire.number, wire.peer);
    let writer = {
        let wire = Rc::clone(&wire);
        glommio::spawn_local(async move { wire.write().await })
    };
    let mut reader = Reader {
        shard,
        wire,
        connection,
        admitted,
        permits: None,
    };
    let ended_by_us = reader.run().await;
    reader.permits = None;
    reader.connection.close_fetch_sessions();
    reader.wire.link.drain();
    writer.await;
    if ended_by_us {
        linger(&reader).await;
    }
    reader.connection.closed();
}

struct Reader<D: Disk, R: Runtime> {
    shard: Shard<D, R>,
    wire: Rc<Wire<D>>,
    connection: Connection<D, R>,
    admitted: bool,
    permits: Option<RequestPermits>,
}

impl<D: Disk, R: Runtime> Reader<D, R> {
    /// Until the stream ends or may not be read further; true: by our decision.
    async fn run(&mut self) -> bool {
        loop {
            let step = self.wire.session.borrow_mut().step();
            let goes_on = match step {
                Step::Read => match self.wire.receive(&self.shard).await {
                    Ok(0) | Err(_) => return false,
                    Ok(_) => {
                        glommio::yield_if_needed().await;
                        true
                    }
                },
                Step::Reserve(bytes) => {
                    self.reserve(bytes).await;
                    true
                }
                Step::Hello(prefix) => {
                    let mut session = self.wire.session.borrow_mut();
                    let accepted = if self.admitted {
                        self.connection.hello(&prefix, session.header(&prefix))
                    } else {
                        self.connection.refuse(&prefix, &self.full());
                        false
                    };
                    if accepted {
                        session.accepted();
                    }
                    session.consume(&prefix);
                    self.permits = None;
                    accepted
                }
                Step::Request(kind, prefix) => {
                    self.request(kind, &prefix).await;
                    true
                }
                Step::Refuse {
                    kind,
                    correlation_id,
                    refusal,
                    close,
                } => {
                    self.permits = None;
                    self.shard.counters().refusal(refusal.code);
                    self.wire.link.refuse(kind, correlation_id, &refusal);
                    !close
                }
                Step::Foreign(foreign) => {
                    self.foreign(foreign);
                    false
                }
            };
            if !goes_on {
                self.wire.session.borrow_mut().close();
                return true;
            }
        }
    }

    async fn reserve(&mut self, bytes: usize) {
        let link = &self.wire.link;
        // A peer that does not take its answers is not read either. The shard's budget of answers is not waited
        // for: other peers' slowness must not stop a producer.
        link.unsent.room().await;
        let slot = link.requests.acquire(1).await;
        let bytes = link.received.acquire(bytes).await;
        self.permits = Some(RequestPermits { bytes, slot });
        let mut session = self.wire.session.borrow_mut();
        session.reserved(now_ms(&self.shard));
    }

    async fn request(&mut self, kind: Kind, prefix: &FramePrefix) {
        let Some(permits) = self.permits.take() else {
            // The session announces every frame before it gives it.
            return self.wire.session.borrow_mut().consume(prefix);
        };
        if kind == Kind::Produce {
            self.produce(prefix, permits).await;
        } else {
            let session = self.wire.session.borrow();
            let header = session.header(prefix);
            self.connection.request(kind, prefix, header, permits);
        }
        self.wire.session.borrow_mut().consume(prefix);
    }

    /// Waits while the log has no room, and with it everything behind on this connection: that is back-pressure,
    /// and it keeps the order.
    async fn produce(&self, prefix: &FramePrefix, mut permits: RequestPermits) {
        for attempt in 1..=LOG_ATTEMPTS {
            let busy = {
                let session = self.wire.session.borrow();
                let (header, payload) = (session.header(prefix), session.payload(prefix));
                let patient = attempt < LOG_ATTEMPTS;
                self.connection
                    .produce(prefix, header, payload, permits, patient)
            };
            let Some(unused) = busy else { return };
            permits = unused;
            self.connection.wait_for_log(prefix.payload_bytes()).await;
        }
    }

    fn full(&self) -> Refusal {
        let max = self.shard.limits().connections_max;
        let message = format!("{} has its {max} connections", self.shard.name());
        Refusal::busy(message, 1000)
    }

    fn foreign(&self, foreign: Foreign) {
        tracing::warn!(
            shard = self.shard.name(),
            peer = %self.wire.peer,
            "connection refused: {}",
            foreign.explain()
        );
        if let Some(answer) = foreign.answer() {
            self.wire.link.answer(answer.to_vec());
        }
    }
}

/// Closing with received bytes unread would reset the connection and take our last answer with it.
async fn linger<D: Disk, R: Runtime>(reader: &Reader<D, R>) {
    if reader.wire.link.phase() == Phase::Dead {
        return;
    }
    reader.wire.shut(Shutdown::Write);
    let discard = async {
        while let Ok(1..) = reader.wire.receive(&reader.shard).await {
            let _ = reader.wire.session.borrow_mut().step();
        }
    };
    or(discard, reader.shard.runtime().sleep(LINGER)).await;
}

/// Monotonic time in milliseconds, as sessions take it.
fn now_ms<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> u64 {
    shard.now().as_millis() as u64
}
