//! One multiplexed connection: many requests in flight, answers matched by correlation id.
//!
//! Two tasks own the socket's halves. The reader hands answers to whoever waits for them; the writer keeps frames in
//! the order in which they were submitted and joins small ones into one write. When either half fails, every waiter
//! learns the cause and the connection never comes back: [`super::Link`] makes a new one. When the last handle is
//! dropped the writer closes the socket.

use super::{
    call::Call,
    io::{self, Frame},
};
use crate::error::{Error, ErrorKind, Refusal};
use bytes::Bytes;
use ringmq_wire::{
    codes::{ErrorCode, Kind},
    native::{self, flags, schema},
};
use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};

/// Frames that wait for the socket; their payload bytes are bounded by whoever submits them.
const OUTGOING_FRAMES_MAX: usize = 256;
/// Pushed answers of one watch that wait to be taken; at the bound the reader waits.
const PUSHED_ANSWERS_MAX: usize = 64;

/// How a connection introduces itself.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Unique per client.
    pub(crate) client_id: String,
    /// Bound on connecting and on the answer to Hello.
    pub(crate) connect_timeout: Duration,
}

/// A live or dead connection; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Frame>,
}

/// What both tasks and all handles see.
#[derive(Debug)]
pub(super) struct Shared {
    address: String,
    started: Instant,
    /// Milliseconds after `started` at which bytes last came.
    last_received_ms: AtomicU64,
    next_correlation: AtomicU64,
    waiters: Mutex<Waiters>,
    /// Becomes true once, after the cause was stored.
    closed: watch::Sender<bool>,
    hello: OnceLock<schema::HelloResponseT>,
}

#[derive(Debug, Default)]
struct Waiters {
    closed_because: Option<String>,
    by_correlation: HashMap<u64, Waiter>,
}

#[derive(Debug)]
enum Waiter {
    One(oneshot::Sender<Answer>),
    Many(mpsc::Sender<Answer>),
}

/// A frame from the server, its payload still packed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) header: Bytes,
    pub(super) payload: Bytes,
}

/// The answer to come. Dropping it forgets the request; the server may still do it.
#[derive(Debug)]
pub(crate) struct Reply<C> {
    receiver: oneshot::Receiver<Answer>,
    registration: Registration,
    call: PhantomData<fn() -> C>,
}

/// Answers to come to a request that is answered again and again.
#[derive(Debug)]
pub(crate) struct Replies<C> {
    receiver: mpsc::Receiver<Answer>,
    registration: Registration,
    call: PhantomData<fn() -> C>,
}

/// Takes the waiter away when nobody waits any more.
#[derive(Debug)]
struct Registration {
    shared: Arc<Shared>,
    correlation_id: u64,
}

impl Connection {
    /// Connects, says hello, and makes sure that it is `server` who answers.
    pub(crate) async fn open(
        server: &str,
        address: &str,
        identity: &Identity,
    ) -> Result<Self, Error> {
        let within = identity.connect_timeout;
        let opening = async {
            let stream = TcpStream::connect(address)
                .await
                .map_err(|cause| disconnected(address, cause.to_string()))?;
            // Frames are joined here already; Nagle's algorithm would only add waiting.
            let _ = stream.set_nodelay(true);
            let connection = Self::start(address, stream);
            let hello = schema::HelloRequestT {
                version_min: native::VERSION,
                version_max: native::VERSION,
                features: 0,
                client_id: identity.client_id.clone(),
                software: Some(concat!("ringmq-rust/", env!("CARGO_PKG_VERSION")).to_owned()),
            };
            let (hello, _) = connection
                .submit(&hello, Bytes::new())
                .await?
                .answer()
                .await?;
            let answered = hello.server.as_deref().unwrap_or_default();
            if answered != server {
                let cause = format!("`{answered}` listens there and not `{server}`");
                return Err(disconnected(address, cause));
            }
            tracing::debug!(address, server, "connected");
            connection
                .shared
                .hello
                .set(hello)
                .expect("Hello is sent once");
            Ok(connection)
        };
        match tokio::time::timeout(within, opening).await {
            Ok(result) => result.map_err(|e: Error| e.during("connect", address)),
            Err(_) => {
                let waited_ms = within.as_millis() as u64;
                Err(Error::new(
                    "connect",
                    address,
                    ErrorKind::TimedOut {
                        waited_ms,
                        cause: None,
                    },
                ))
            }
        }
    }

    fn start(address: &str, stream: TcpStream) -> Self {
        let (outgoing, frames) = mpsc::channel(OUTGOING_FRAMES_MAX);
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            started: Instant::now(),
            last_received_ms: AtomicU64::new(0),
            // 0 is the writer's own pings.
            next_correlation: AtomicU64::new(1),
            waiters: Mutex::default(),
            closed: watch::Sender::new(false),
            hello: OnceLock::new(),
        });
        let (read_half, write_half) = stream.into_split();
        tokio::spawn(io::read_answers(Arc::clone(&shared), read_half));
        tokio::spawn(io::write_frames(Arc::clone(&shared), write_half, frames));
        Self { shared, outgoing }
    }

    pub(crate) fn is_open(&self) -> bool {
        !*self.shared.closed.borrow()
    }

    /// Puts a request in line. Requests reach the server in the order in which these calls return.
    pub(crate) async fn submit<C: Call>(
        &self,
        request: &C,
        payload: Bytes,
    ) -> Result<Reply<C>, Error> {
        let (sender, receiver) = oneshot::channel();
        let registration = self.register(Waiter::One(sender))?;
        self.send(request, registration.correlation_id, payload)
            .await?;
        Ok(Reply {
            receiver,
            registration,
            call: PhantomData,
        })
    }

    /// Sends a request that is answered at each change.
    pub(crate) async fn watch<C: Call>(&self, request: &C) -> Result<Replies<C>, Error> {
        let (sender, receiver) = mpsc::channel(PUSHED_ANSWERS_MAX);
        let registration = self.register(Waiter::Many(sender))?;
        self.send(request, registration.correlation_id, Bytes::new())
            .await?;
        Ok(Replies {
            receiver,
            registration,
            call: PhantomData,
        })
    }

    /// Sends a request that is not answered.
    pub(crate) async fn notify<C: Call>(&self, request: &C, payload: Bytes) -> Result<(), Error> {
        let correlation_id = self.shared.next_correlation.fetch_add(1, Ordering::Relaxed);
        self.send(request, correlation_id, payload).await
    }

    /// One request, one answer, within `timeout`.
    pub(crate) async fn call<C: Call>(
        &self,
        request: &C,
        timeout: Duration,
    ) -> Result<C::Response, Error> {
        let (response, _) = self.call_with_payload(request, timeout).await?;
        Ok(response)
    }

    /// As [`Self::call`], with the bytes behind the answer's header.
    pub(crate) async fn call_with_payload<C: Call>(
        &self,
        request: &C,
        timeout: Duration,
    ) -> Result<(C::Response, Bytes), Error> {
        let exchange = async { self.submit(request, Bytes::new()).await?.answer().await };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(timed_out::<C>(&self.shared.address, timeout)),
        }
    }

    fn register(&self, waiter: Waiter) -> Result<Registration, Error> {
        let correlation_id = self.shared.next_correlation.fetch_add(1, Ordering::Relaxed);
        let mut waiters = self.shared.waiters.lock().expect("no holder panics");
        if let Some(cause) = &waiters.closed_because {
            return Err(disconnected(&self.shared.address, cause.clone()));
        }
        waiters.by_correlation.insert(correlation_id, waiter);
        drop(waiters);
        Ok(Registration {
            shared: Arc::clone(&self.shared),
            correlation_id,
        })
    }

    async fn send<C: Call>(&self, request: &C, id: u64, payload: Bytes) -> Result<(), Error> {
        let head = request.frame(id, payload.len());
        let sent = self.outgoing.send(Frame { head, payload }).await;
        sent.map_err(|_| self.shared.lost())
    }
}

impl Shared {
    pub(super) fn received(&self) {
        self.last_received_ms
            .store(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    pub(super) fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_received_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(last)
    }

    pub(super) fn idle_bound(&self) -> Option<Duration> {
        let idle_ms = self.hello.get()?.connection_idle_ms;
        (idle_ms > 0).then(|| Duration::from_millis(u64::from(idle_ms)))
    }

    pub(super) fn subscribe_closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Gives an answer to its waiter; answers that nobody waits for any more are dropped.
    pub(super) async fn deliver(&self, correlation_id: u64, answer: Answer) {
        let stream = {
            let mut waiters = self.waiters.lock().expect("no holder panics");
            match waiters.by_correlation.get(&correlation_id) {
                None => return,
                Some(Waiter::Many(sender)) if answer.flags & flags::ERROR == 0 => sender.clone(),
                Some(_) => {
                    match waiters.by_correlation.remove(&correlation_id) {
                        Some(Waiter::One(sender)) => drop(sender.send(answer)),
                        Some(Waiter::Many(sender)) => drop(sender.try_send(answer)),
                        None => {}
                    }
                    return;
                }
            }
        };
        // A watcher that went away is no reason to stop reading.
        let _ = stream.send(answer).await;
    }

    /// Ends the connection; the first cause counts.
    pub(super) fn close(&self, cause: String) {
        let waiters = {
            let mut waiters = self.waiters.lock().expect("no holder panics");
            waiters.closed_because.get_or_insert_with(|| {
                tracing::debug!(address = %self.address, %cause, "connection closed");
                cause
            });
            std::mem::take(&mut waiters.by_correlation)
        };
        drop(waiters);
        self.closed.send_replace(true);
    }

    fn lost(&self) -> Error {
        let waiters = self.waiters.lock().expect("no holder panics");
        let cause = waiters.closed_because.clone();
        disconnected(&self.address, cause.unwrap_or_else(|| "closed".to_owned()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut waiters = self.shared.waiters.lock().expect("no holder panics");
        waiters.by_correlation.remove(&self.correlation_id);
    }
}

impl<C: Call> Reply<C> {
    /// Waits for the answer without a deadline: until it comes or the connection ends.
    pub(crate) async fn answer(mut self) -> Result<(C::Response, Bytes), Error> {
        let answer = (&mut self.receiver).await;
        let answer = answer.map_err(|_| self.registration.shared.lost())?;
        read_answer::<C>(&self.registration.shared.address, answer)
    }

    /// Waits for the answer until `timeout` has passed.
    pub(crate) async fn answer_within(
        self,
        timeout: Duration,
    ) -> Result<(C::Response, Bytes), Error> {
        let address = self.registration.shared.address.clone();
        match tokio::time::timeout(timeout, self.answer()).await {
            Ok(result) => result,
            Err(_) => Err(timed_out::<C>(&address, timeout)),
        }
    }
}

impl<C: Call> Replies<C> {
    /// The next answer; an error ends the stream.
    pub(crate) async fn next(&mut self) -> Result<C::Response, Error> {
        let shared = &self.registration.shared;
        let answer = self.receiver.recv().await.ok_or_else(|| shared.lost())?;
        Ok(read_answer::<C>(&shared.address, answer)?.0)
    }
}

fn read_answer<C: Call>(address: &str, answer: Answer) -> Result<(C::Response, Bytes), Error> {
    let protocol = |cause: String| Error::new(C::KIND.name(), address, ErrorKind::Protocol(cause));
    if answer.kind != C::KIND.number() {
        return Err(protocol(format!(
            "answer of kind {} to {}",
            answer.kind,
            C::KIND.name()
        )));
    }
    if answer.flags & flags::ERROR == 0 {
        let header = C::response(&answer.header).map_err(|e| protocol(e.to_string()))?;
        return Ok((header, answer.payload));
    }
    let error = native::header::<schema::ErrorResponse<'_>>(&answer.header)
        .map_err(|e| protocol(e.to_string()))?;
    let refusal = Refusal {
        code: ErrorCode::from_number(error.code()),
        code_number: error.code(),
        message: error.message().unwrap_or_default().to_owned(),
        retry_after_ms: error.retry_after_ms(),
        position: error.position(),
        next_offset: error.next_offset(),
        epoch: error.epoch(),
        sequence: error.sequence(),
    };
    Err(Error::new(C::KIND.name(), address, refusal))
}

fn disconnected(address: &str, cause: String) -> Error {
    Error::new(
        "request",
        "",
        ErrorKind::Disconnected {
            address: address.to_owned(),
            cause,
        },
    )
}

fn timed_out<C: Call>(address: &str, timeout: Duration) -> Error {
    let waited_ms = timeout.as_millis() as u64;
    Error::new(
        C::KIND.name(),
        address,
        ErrorKind::TimedOut {
            waited_ms,
            cause: None,
        },
    )
}

/// The writer's own liveness probe.
pub(super) fn ping() -> Frame {
    debug_assert_eq!(schema::PingRequestT::KIND, Kind::Ping);
    Frame {
        head: schema::PingRequestT::default().frame(0, 0),
        payload: Bytes::new(),
    }
}
